// A store that seals another: requirements S-075, S-076, S-077, S-080, R-73; the contract of every store.
import * as fc from "fast-check";
import { inspect } from "node:util";
import { beforeEach, describe, expect, test } from "vitest";
import { TokenManager, exportTokens, memoryStore } from "warehouse-oauth";
import type { StoredRecord, TokenStore } from "warehouse-oauth";
import { encryptedStore, keyRing, localKeyProvider } from "warehouse-oauth/stores/encrypted";
import type { DataKeyContext, EncryptedStore, KeyProvider, KeyRing } from "warehouse-oauth/stores/encrypted";
import { fakeDatabricks, manualClock, storeContract } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { acmeServer, thrownBy } from "../session/acme-room.ts";
import { keyService } from "./key-service.ts";
import type { KeyService } from "./key-service.ts";

const { signal } = new AbortController();
const random = (): Uint8Array => crypto.getRandomValues(new Uint8Array(32));
const OLD = { id: "2025", key: random() };
const NEW = { id: "2026", key: random() };

let inner: Required<TokenStore>;
let ring: KeyRing;
let store: EncryptedStore;

beforeEach(() => {
  inner = memoryStore() as Required<TokenStore>;
  ring = keyRing([OLD]);
  store = encryptedStore(inner, { keys: ring });
});

async function put(to: TokenStore, key: string, value: string, times: Partial<StoredRecord> = {}): Promise<string> {
  const ifVersion = (await inner.read(key, {}))?.version;
  const version = await to.write(key, { value, ...times }, { ifVersion });
  if (version === undefined) throw new Error("refused");
  return version;
}

async function valueAt(from: TokenStore, key: string): Promise<string | undefined> {
  return (await from.read(key, {}))?.record.value;
}

/** Ids of the keys in what is stored, and what else its headers say. */
async function headersAt(key: string): Promise<{ readonly kid: string; readonly wk?: string }[]> {
  const value = (await valueAt(inner, key)) ?? "";
  return value
    .split("~")
    .map(
      (part) => JSON.parse(atob(part.slice(0, part.indexOf(".")).replaceAll("-", "+").replaceAll("_", "/"))) as never,
    );
}

async function change(key: string, edit: (value: string) => string): Promise<void> {
  const found = await inner.read(key, { signal });
  if (found === undefined) throw new Error("nothing there");
  await inner.write(key, { ...found.record, value: edit(found.record.value) }, { signal, ifVersion: found.version });
}

describe("the contract of every store, with a ring", () => {
  const shared = memoryStore();
  const keys = keyRing([NEW, OLD]);
  for (const { name, run } of storeContract({ open: () => encryptedStore(shared, { keys }), shared: true }))
    test(name, run);
});

describe("the contract of every store, with a key provider", () => {
  const shared = memoryStore();
  const keys = localKeyProvider(keyRing([NEW]));
  for (const { name, run } of storeContract({ open: () => encryptedStore(shared, { keys }), shared: true }))
    test(name, run);
});

describe("what it says it can", () => {
  test("is what the store inside can", () => {
    expect(store.capabilities).toBe(inner.capabilities);
    const poor = encryptedStore(
      {
        capabilities: { compareAndSet: false, durable: true },
        read: (key, options) => inner.read(key, options),
        write: (key, record, options) => inner.write(key, record, options),
        delete: (key, options) => inner.delete(key, options),
      },
      { keys: ring },
    );
    expect(poor.capabilities).toEqual({ compareAndSet: false, durable: true });
    for (const name of ["lease", "due", "keys"] as const) {
      expect(poor).not.toHaveProperty(name);
      expect(store).toHaveProperty(name);
    }
  });

  test("times and keys stay outside, for the database to look at", async () => {
    await put(store, "a", "text", { dueAt: 5, deleteAfter: Date.now() + 60_000 });
    expect((await inner.read("a", { signal }))?.record).toMatchObject({ dueAt: 5 });
    expect(await store.due?.({ signal, before: 6, limit: 1 })).toEqual([{ key: "a", dueAt: 5 }]);
  });
});

describe("S-076 a record belongs where it was written", () => {
  test("pasted over another it is decrypt_failed, and the same for parts of it", async () => {
    const value = (who: string): string => JSON.stringify({ tokens: { accessToken: who, refreshToken: `rt-${who}` } });
    await put(store, "acme/ada//c", value("ada"));
    await put(store, "acme/eve//c", value("eve"));
    const [ada = "", eve = ""] = [await valueAt(inner, "acme/ada//c"), await valueAt(inner, "acme/eve//c")];
    const [adaMain = "", adaToken = ""] = ada.split("~");
    const [eveMain = "", eveToken = ""] = eve.split("~");
    for (const pasted of [
      ada,
      `${adaMain}~${eveToken}`,
      `${eveMain}~${adaToken}`,
      adaMain,
      eveMain,
      adaToken,
      `${eve}~`,
    ]) {
      await change("acme/eve//c", () => pasted);
      expect(await thrownBy(() => store.read("acme/eve//c", { signal }))).toMatchObject({
        name: "StoreError",
        code: "decrypt_failed",
        action: "reauthorize",
        operation: "read",
      });
    }
    await change("acme/eve//c", () => eve);
    expect(await valueAt(store, "acme/eve//c")).toBe(value("eve"));
  });

  test("the refresh token of an older version does not go with the newer record", async () => {
    const value = (turn: number): string => `{"tokens":{"refreshToken":"rt-${String(turn)}"}}`;
    await put(store, "a", value(1));
    const before = await valueAt(inner, "a");
    await put(store, "a", value(2));
    await change("a", (now) => [now.split("~")[0], before?.split("~")[1]].join("~"));
    expect(await thrownBy(() => store.read("a", { signal }))).toMatchObject({ code: "decrypt_failed" });
  });

  test("a flipped bit, a cut and plain text are decrypt_failed", async () => {
    await put(store, "a", '{"refreshToken":"rt"}');
    const sealed = (await valueAt(inner, "a")) ?? "";
    const flip = (at: number): string =>
      sealed.slice(0, at) + String.fromCharCode(sealed.charCodeAt(at) ^ 1) + sealed.slice(at + 1);
    const bad = ["", "~", "{}", '{"refreshToken":"rt"}', sealed.slice(0, -1), `${sealed}~`, "A".repeat(9_000_000)];
    for (let at = 0; at < sealed.length; at += 1) bad.push(flip(at));
    const codes: string[] = [];
    for (const value of bad) {
      await change("a", () => value);
      const error = await thrownBy(() => store.read("a", { signal }));
      expect(error).toMatchObject({ name: "StoreError", action: "reauthorize" });
      codes.push((error as { code: string }).code);
    }
    // Where the id of a key was changed into that of another, the key is unknown: nothing is authenticated without one.
    expect(new Set(codes)).toEqual(new Set(["decrypt_failed", "unknown_key"]));
    expect(codes.filter((code) => code === "unknown_key").length).toBeLessThan(16);
  });

  test("every text comes back as it was, with or without a refresh token in it", async () => {
    const text = fc.oneof(
      fc.json(),
      fc.string({ unit: "grapheme" }),
      fc
        .record({ tokens: fc.record({ refreshToken: fc.string(), more: fc.string() }) })
        .map((value) => JSON.stringify(value)),
      fc
        .array(fc.constantFrom('"refreshToken":"', '"', "\\", "\\\\", "x", ":", "~", "1"))
        .map((parts) => parts.join("")),
    );
    await fc.assert(
      fc.asyncProperty(text, async (value) => {
        fc.pre(!/\p{Surrogate}/u.test(value));
        await put(store, "a", value);
        expect(await valueAt(store, "a")).toBe(value);
      }),
      { numRuns: 100 },
    );
  });
});

describe("refresh tokens have keys of their own", () => {
  test("the rest opens without them, and has none in it", async () => {
    const contexts: DataKeyContext[] = [];
    const local = localKeyProvider(ring);
    const dataOnly: KeyProvider = {
      wrap: (dataKey, context, options) => {
        contexts.push(context);
        return local.wrap(dataKey, context, options);
      },
      unwrap: (wrapped, context, options) =>
        context.purpose === "record" ? local.unwrap(wrapped, context, options) : Promise.resolve("key_gone"),
    };
    const clock = manualClock();
    const server = acmeServer(clock);
    const manager = new TokenManager({ clock, store: encryptedStore(inner, { keys: dataOnly }) });
    const { key } = await manager.save(server.client, { subject: "ada", tenant: "a/b c" }, server.tokens());
    expect(contexts).toEqual([
      { tenant: "a/b c", purpose: "refresh-token" },
      { tenant: "a/b c", purpose: "record" },
    ]);
    expect(await headersAt(key)).toHaveLength(2);
    // Whoever may unwrap the one may not unwrap the other.
    const reader = encryptedStore(inner, { keys: dataOnly });
    expect(await thrownBy(() => reader.read(key, { signal }))).toMatchObject({ code: "unknown_key" });
  });
});

describe("S-077 the key ring", () => {
  test("the first key seals, all open, and a write seals anew", async () => {
    await put(store, "a", "text");
    const both = encryptedStore(inner, { keys: keyRing([NEW, OLD]) });
    expect(await valueAt(both, "a")).toBe("text");
    expect(await headersAt("a")).toMatchObject([{ kid: "2025" }]);
    await put(both, "a", "text");
    expect(await headersAt("a")).toMatchObject([{ kid: "2026" }]);
    expect(await valueAt(encryptedStore(inner, { keys: keyRing([OLD, NEW]) }), "a")).toBe("text");
  });

  test("without its key a record is unknown_key, and says which", async () => {
    await put(store, "a", "text");
    const without = encryptedStore(inner, { keys: keyRing([NEW]) });
    const error = await thrownBy(() => without.read("a", { signal }));
    expect(error).toMatchObject({ name: "StoreError", code: "unknown_key", action: "reauthorize", retryable: false });
    expect((error as Error).message).toContain('"2025"');
  });

  test("an id from the store that is no plain one is not repeated", async () => {
    const odd = encryptedStore(inner, {
      keys: {
        wrap: async () => Promise.resolve({ keyId: "<script>", wrapped: random() }),
        unwrap: () => Promise.resolve("key_gone"),
      },
    });
    await put(odd, "a", "text");
    const fresh = encryptedStore(inner, { keys: localKeyProvider(ring) });
    // The local provider did not wrap these bytes.
    expect(await thrownBy(() => fresh.read("a", { signal }))).toMatchObject({ code: "decrypt_failed" });
    const gone = encryptedStore(inner, {
      keys: { ...localKeyProvider(ring), unwrap: () => Promise.resolve("key_gone") },
    });
    const error = await thrownBy(() => gone.read("a", { signal }));
    expect(error).toMatchObject({ code: "unknown_key" });
    expect((error as Error).message).not.toContain("script");
  });

  test("another key under the same id is decrypt_failed", async () => {
    await put(store, "a", "text");
    const other = encryptedStore(inner, { keys: keyRing([{ id: OLD.id, key: random() }]) });
    expect(await thrownBy(() => other.read("a", { signal }))).toMatchObject({ code: "decrypt_failed" });
  });

  test.each<[string, () => unknown, object]>([
    ["an empty ring", () => keyRing([]), { code: "config_invalid", option: "keys" }],
    ["an id twice", () => keyRing([OLD, OLD]), { code: "config_invalid" }],
    ["an odd id", () => keyRing([{ id: "a b", key: random() }]), { code: "config_invalid" }],
    ["a password", () => keyRing([{ id: "a", key: "hunter2" }]), { code: "config_invalid" }],
    ["a short key", () => keyRing([{ id: "a", key: new Uint8Array(31) }]), { code: "config_invalid" }],
    ["no array", () => keyRing({} as never), { code: "invalid_argument" }],
    ["no store", () => encryptedStore(undefined as never, { keys: ring }), { code: "invalid_argument" }],
    ["no options", () => encryptedStore(inner, undefined as never), { code: "invalid_argument" }],
    ["no keys", () => encryptedStore(inner, {} as never), { code: "config_invalid", option: "keys" }],
    ["keys as an array", () => encryptedStore(inner, { keys: [OLD] as never }), { code: "config_invalid" }],
    ["a cache for a ring", () => encryptedStore(inner, { keys: ring, dataKeys: {} }), { code: "config_invalid" }],
    [
      "a cache of no time",
      () => encryptedStore(inner, { keys: localKeyProvider(ring), dataKeys: { maxAgeMs: 0 } }),
      { code: "config_invalid" },
    ],
  ])("%s is refused", async (_, run, error) => {
    expect(await thrownBy(run)).toMatchObject(error);
  });
});

describe("a manager on a store that cannot be opened", () => {
  const ADA = { subject: "ada", tenant: "acme" };

  async function signIn(clock: ManualClock): Promise<{ key: string; server: ReturnType<typeof acmeServer> }> {
    const server = acmeServer(clock);
    const { key } = await new TokenManager({ clock, store }).save(server.client, ADA, server.tokens());
    return { key, server };
  }

  const UNREADABLE: readonly (readonly [string, string, (key: string) => Promise<TokenStore>])[] = [
    ["the key was removed", "unknown_key", () => Promise.resolve(encryptedStore(inner, { keys: keyRing([NEW]) }))],
    [
      "the record is somebody else's",
      "decrypt_failed",
      async (key) => {
        await put(store, "other/eve//c", "{}");
        const stolen = await valueAt(inner, "other/eve//c");
        await change(key, () => stolen ?? "");
        return store;
      },
    ],
  ];

  test.each(UNREADABLE)(
    "S-077 %s: %s says sign in again, a login replaces it, and so does a logout",
    async (_, code, breakIt) => {
      const clock = manualClock();
      const { key, server } = await signIn(clock);
      const broken = await breakIt(key);
      const manager = new TokenManager({ clock, store: broken });
      const session = manager.session(server.client, ADA);
      if (code === "unknown_key") expect(await session.status()).toMatchObject({ cause: "key_removed" });
      else expect(await thrownBy(() => session.status())).toMatchObject({ code });
      for (const ask of [() => session.getAccessToken(), () => session.refresh()]) {
        expect(await thrownBy(ask)).toMatchObject({
          name: "StoreError",
          code,
          action: "reauthorize",
          retryable: false,
        });
      }
      expect(session.peek()).toBeUndefined();
      expect(server.calls).toEqual([]);

      await manager.save(server.client, ADA, server.tokens({ accessToken: "new" }));
      expect(await session.getAccessToken()).toBe("new");
      expect(await session.status()).toMatchObject({ state: "active" });
      await change(key, (value) => value.slice(1));
      const other = new TokenManager({ clock, store: broken }).session(server.client, ADA);
      await other.forget();
      expect(await other.status()).toEqual({ state: "revoked" });
    },
  );

  test.each(UNREADABLE)(
    "S-077 %s: %s is also what a logout says that could not revoke at the warehouse",
    async (_, code, breakIt) => {
      const clock = manualClock();
      const { key, server } = await signIn(clock);
      const session = new TokenManager({ clock, store: await breakIt(key) }).session(server.client, ADA);
      expect(await thrownBy(() => session.revoke())).toMatchObject({ name: "StoreError", code, action: "reauthorize" });
      expect(await session.status()).toEqual({ state: "revoked" });
      expect(server.calls).toEqual([]);
    },
  );

  test("tokens in memory are served while they are good, whatever happens to the keys", async () => {
    const clock = manualClock();
    const { key, server } = await signIn(clock);
    const session = new TokenManager({ clock, store }).session(server.client, ADA);
    expect(await session.getAccessToken()).toBe("access-0");
    await change(key, () => "nonsense");
    await clock.advance(60_000);
    expect(await session.getAccessToken()).toBe("access-0");
  });

  test("a key service that is down is store_unavailable: later, and nobody signs in again", async () => {
    const clock = manualClock();
    const service = keyService(ring);
    const keys = { keys: service, clock };
    const server = acmeServer(clock);
    await new TokenManager({ clock, store: encryptedStore(inner, keys) }).save(server.client, ADA, server.tokens());

    const manager = new TokenManager({ clock, store: encryptedStore(inner, keys) });
    const session = manager.session(server.client, ADA);
    service.down = true;
    const error = await thrownBy(() => session.getAccessToken());
    expect(error).toMatchObject({ code: "store_unavailable", action: "retry", cause: { code: "ECONNREFUSED" } });
    expect(inspect(error, { depth: 9, showHidden: true })).not.toContain("secret-of-the-service");
    expect(await thrownBy(() => manager.save(server.client, ADA, server.tokens()))).toMatchObject({
      code: "store_unavailable",
    });
    service.down = false;
    expect(await session.getAccessToken()).toBe("access-0");
  });
});

describe("S-080 nothing prints, and nothing is stored in the clear", () => {
  test("canary: no token and no key in what is stored, thrown or inspected", async () => {
    const clock = manualClock();
    const fake = fakeDatabricks({ clock, refreshRotation: "single-use" });
    const text = Buffer.from(OLD.key).toString("base64");
    const seen: string[] = [];
    const watched: TokenStore = {
      capabilities: inner.capabilities,
      read: (key, options) => inner.read(key, options),
      write: (key, record, options) => {
        seen.push(JSON.stringify([key, record]));
        return inner.write(key, record, options);
      },
      delete: (key, options) => inner.delete(key, options),
      lease: (key, options) => inner.lease(key, options),
    };
    for (const keys of [keyRing([{ id: "k", key: text }]), localKeyProvider(keyRing([{ id: "k", key: text }]))]) {
      const sealed = encryptedStore(watched, { keys, clock });
      const manager = new TokenManager({ clock, store: sealed });
      const tokens = await fake.issueTokens();
      const { key } = await manager.save(fake.client, { subject: "ada" }, tokens);
      await manager.session(fake.client, { subject: "ada" }).refresh();
      const later = JSON.parse((await valueAt(sealed, key)) ?? "") as {
        tokens: { accessToken: string; refreshToken: string };
      };
      await change(key, (value) => `x${value}`);
      const error = await thrownBy(() => sealed.read(key, { signal }));
      const output = [
        ...seen,
        inspect([sealed, keys, error], { depth: 9, showHidden: true, getters: true }),
        JSON.stringify([sealed, keys, error]),
        String((error as Error).stack),
      ].join("\n");
      const { accessToken, refreshToken = "" } = exportTokens(tokens);
      const canaries = [
        accessToken,
        refreshToken,
        later.tokens.accessToken,
        later.tokens.refreshToken,
        text.slice(0, 12),
      ];
      for (const canary of [...canaries, Buffer.from(OLD.key).toString("hex").slice(0, 12)]) {
        expect(canary.length).toBeGreaterThan(8);
        expect(output).not.toContain(canary);
        expect(output).not.toContain(btoa(canary).slice(0, 12));
      }
      expect(inspect(sealed)).toBe("EncryptedStore [redacted]");
    }
  });
});

describe("a key provider", () => {
  let clock: ManualClock;
  let service: KeyService;
  let sealed: EncryptedStore;
  const open = (): EncryptedStore => encryptedStore(inner, { keys: service, clock });

  beforeEach(() => {
    clock = manualClock();
    service = keyService(ring);
    sealed = open();
  });

  const counts = (): Record<string, number> => {
    const count: Record<string, number> = {};
    for (const { what, context } of service.asked) {
      const name = `${what} ${context.tenant ?? "-"} ${context.purpose}`;
      count[name] = (count[name] ?? 0) + 1;
    }
    return count;
  };

  test("is asked once for each tenant, however many records there are", async () => {
    const keys = Array.from({ length: 100 }, (_, at) => `t${String(at % 2)}/s${String(at)}//c`);
    await Promise.all(keys.map((key) => put(sealed, key, key)));
    const other = open();
    for (const from of [sealed, other]) {
      expect(await Promise.all(keys.map((key) => valueAt(from, key)))).toEqual(keys);
    }
    expect(counts()).toEqual({
      "wrap t0 record": 1,
      "wrap t1 record": 1,
      "unwrap t0 record": 1,
      "unwrap t1 record": 1,
    });
  });

  test("keys without a tenant belong to none, and odd keys are keys", async () => {
    for (const key of ["/ada//c", "nothing", "%E0%A4%A/x//c", "a%20b/x//c"]) {
      await put(sealed, key, key);
      expect(await valueAt(open(), key)).toBe(key);
    }
    expect(new Set(service.asked.map(({ context }) => context.tenant))).toEqual(new Set([undefined, "a b"]));
  });

  test("data keys are kept for a bounded time, and a key that is taken away works no longer", async () => {
    await put(sealed, "t/a//c", "text");
    const first = (await headersAt("t/a//c"))[0]?.wk;
    await clock.advance(299_999);
    await put(sealed, "t/b//c", "text");
    expect((await headersAt("t/b//c"))[0]?.wk).toBe(first);
    await clock.advance(2);
    await put(sealed, "t/b//c", "text");
    expect((await headersAt("t/b//c"))[0]?.wk).not.toBe(first);
    service.ring = keyRing([NEW]);
    expect(await thrownBy(() => sealed.read("t/a//c", { signal }))).toMatchObject({ code: "unknown_key" });
    // That is not kept: the key may have come back.
    service.ring = keyRing([NEW, OLD]);
    expect(await valueAt(sealed, "t/a//c")).toBe("text");
  });

  test("data keys are kept in a bounded number, the last used ones", async () => {
    const small = encryptedStore(inner, { keys: service, clock, dataKeys: { maxCount: 2 } });
    for (const tenant of ["t1", "t2", "t1", "t3", "t1", "t2"]) await put(small, `${tenant}/a//c`, "text");
    expect(counts()).toEqual({ "wrap t1 record": 1, "wrap t2 record": 2, "wrap t3 record": 1 });
  });

  test("one caller who goes away does not take the answer from the others", async () => {
    await put(sealed, "t/a//c", "text");
    const other = open();
    const leaving = new AbortController();
    const gone = thrownBy(() => other.read("t/a//c", { signal: leaving.signal }));
    const waiting = other.read("t/a//c", { signal });
    const reason = new Error("left");
    leaving.abort(reason);
    expect(await gone).toBe(reason);
    expect((await waiting)?.record.value).toBe("text");
  });

  test("one that does not answer is given up after four seconds, told so, and asked again", async () => {
    await put(sealed, "t/a//c", "text");
    const other = open();
    service.silent = true;
    const reading = thrownBy(() => other.read("t/a//c", { signal }));
    await clock.advance(4_001);
    expect(await reading).toMatchObject({ code: "store_unavailable", operation: "read" });
    service.silent = false;
    expect(await valueAt(other, "t/a//c")).toBe("text");
  });

  test.each<[string, Partial<KeyProvider>]>([
    ["no id", { wrap: () => Promise.resolve({ keyId: "", wrapped: random() }) }],
    ["no bytes", { wrap: () => Promise.resolve({ keyId: "k", wrapped: "text" as never }) }],
    ["too many bytes", { wrap: () => Promise.resolve({ keyId: "k", wrapped: new Uint8Array(9_000) }) }],
    ["nothing", { wrap: () => Promise.resolve(undefined as never) }],
    ["a short data key", { unwrap: () => Promise.resolve(new Uint8Array(16)) }],
  ])("one that answers with %s is told so", async (_, changes) => {
    await put(sealed, "t/a//c", "text");
    const odd = encryptedStore(inner, { keys: { ...service, ...changes }, clock });
    const run = "wrap" in changes ? () => put(odd, "t/b//c", "x") : () => odd.read("t/a//c", { signal });
    const refused = { name: "TypeError", code: "invalid_argument" };
    expect(await thrownBy(run)).toMatchObject(refused);
    if ("wrap" in changes) service.ring = keyRing([NEW, OLD]);
    expect(await thrownBy(() => odd.reseal())).toMatchObject(refused);
  });

  test("records of a ring are unknown_key to it, and the other way round", async () => {
    await put(store, "t/a//c", "text");
    expect(await thrownBy(() => sealed.read("t/a//c", { signal }))).toMatchObject({ code: "unknown_key" });
    await put(sealed, "t/b//c", "text");
    expect(await thrownBy(() => store.read("t/b//c", { signal }))).toMatchObject({ code: "unknown_key" });
  });

  test("a wrapped key that is no base64url is decrypt_failed, and nobody is asked", async () => {
    await put(sealed, "t/a//c", "text");
    await change("t/a//c", (value) => {
      const [header = "", ...rest] = value.split(".");
      const changed = { ...(JSON.parse(atob(header)) as object), wk: "*" };
      return [btoa(JSON.stringify(changed)).replaceAll("=", ""), ...rest].join(".");
    });
    service.asked.length = 0;
    expect(await thrownBy(() => open().read("t/a//c", { signal }))).toMatchObject({ code: "decrypt_failed" });
    expect(service.asked).toEqual([]);
  });

  test("a wrapped key of another tenant, or of another purpose, is of no use", async () => {
    const local = localKeyProvider(ring);
    const wrapped = await local.wrap(random(), { tenant: "t", purpose: "record" }, { signal });
    expect(await local.unwrap(wrapped, { tenant: "t", purpose: "record" }, { signal })).toHaveLength(32);
    expect(await local.unwrap(wrapped, { tenant: "u", purpose: "record" }, { signal })).toBe("unreadable");
    expect(await local.unwrap(wrapped, { tenant: "t", purpose: "refresh-token" }, { signal })).toBe("unreadable");
    const elsewhere = localKeyProvider(keyRing([{ id: OLD.id, key: random() }]));
    expect(await elsewhere.unwrap(wrapped, { tenant: "t", purpose: "record" }, { signal })).toBe("unreadable");
  });

  test("a sweep asks for a new data key first: the key service may have another key", async () => {
    await put(sealed, "t/a//c", '{"refreshToken":"rt"}');
    service.ring = keyRing([NEW, OLD]);
    expect(await sealed.reseal()).toMatchObject({ resealed: 1, current: 0 });
    expect(await headersAt("t/a//c")).toMatchObject([{ kid: "2026" }, { kid: "2026" }]);
    expect(await sealed.reseal()).toMatchObject({ resealed: 0, current: 1 });
  });
});

describe("reseal", () => {
  const fill = async (count: number): Promise<string[]> => {
    const keys = Array.from({ length: count }, (_, at) => `t/${String(at).padStart(4, "0")}//c`);
    for (const key of keys) await put(store, key, `{"refreshToken":"rt of ${key}"}`, { dueAt: 7 });
    return keys;
  };

  test("seals everything with the first key, says how far it is, and changes nothing else", async () => {
    const keys = await fill(250);
    const next = encryptedStore(inner, { keys: keyRing([NEW, OLD]) });
    await put(next, keys[3] ?? "", "new already");
    await change(keys[5] ?? "", () => "nonsense");
    const told: unknown[] = [];
    const unreadable: unknown[] = [];
    const result = await next.reseal({
      onProgress: (progress) => told.push(progress),
      onUnreadable: (...what) => unreadable.push(what),
    });
    expect(result).toEqual({ looked: 250, resealed: 248, current: 1, unreadable: 1, skipped: 0, after: keys.at(-1) });
    expect(told).toMatchObject([{ looked: 100, after: keys[99] }, { looked: 200 }, { looked: 250 }]);
    expect(unreadable).toEqual([[keys[5], "decrypt_failed"]]);
    const alone = encryptedStore(inner, { keys: keyRing([NEW]) });
    expect(await alone.read(keys[0] ?? "", { signal })).toMatchObject({
      record: { value: `{"refreshToken":"rt of ${keys[0] ?? ""}"}`, dueAt: 7 },
    });
    expect(await valueAt(inner, keys[5] ?? "")).toBe("nonsense");
    expect(await next.reseal()).toMatchObject({ resealed: 0, current: 249, unreadable: 1 });
  });

  test.each<[string, () => unknown]>([
    [
      "throw",
      () => {
        throw new Error("listener");
      },
    ],
    // It would end the process: the test run fails of it.
    ["reject", () => Promise.reject(new Error("listener"))],
  ])("S-104 listeners that %s end no sweep", async (_, listener) => {
    const [first = ""] = await fill(3);
    const told = listener;
    await change(first, () => "nonsense");
    const next = encryptedStore(inner, { keys: keyRing([NEW, OLD]) });
    const progress = await next.reseal({ onProgress: told, onUnreadable: told });
    expect(progress).toMatchObject({ resealed: 2, unreadable: 1 });
  });

  test("of one prefix, and on from where it was cut short", async () => {
    const keys = await fill(150);
    const next = encryptedStore(inner, { keys: keyRing([NEW, OLD]) });
    const stop = new AbortController();
    const reason = new Error("enough");
    let after: string | undefined;
    const cut = thrownBy(() =>
      next.reseal({
        signal: stop.signal,
        onProgress: (progress) => {
          ({ after } = progress);
          stop.abort(reason);
        },
      }),
    );
    expect(await cut).toBe(reason);
    expect(after).toBe(keys[99]);
    expect(await next.reseal({ prefix: "nobody/" })).toMatchObject({ looked: 0, after: undefined });
    expect(await next.reseal({ prefix: "t/", ...(after !== undefined && { after }) })).toMatchObject({
      looked: 50,
      resealed: 50,
    });
  });

  test("never undoes a write that comes between its read and its write", async () => {
    await fill(1);
    const key = "t/0000//c";
    const old = store;
    let races = 0;
    const racing: TokenStore = {
      capabilities: inner.capabilities,
      keys: (options) => inner.keys(options),
      delete: (name, options) => inner.delete(name, options),
      async read(name, options) {
        const found = await inner.read(name, options);
        if (races < 3) await put(old, key, `written ${String((races += 1))}`);
        return found;
      },
      write: (name, record, options) => inner.write(name, record, options),
    };
    const next = encryptedStore(racing, { keys: keyRing([NEW, OLD]) });
    expect(await next.reseal()).toMatchObject({ resealed: 1, skipped: 0 });
    expect(await valueAt(encryptedStore(inner, { keys: keyRing([NEW]) }), key)).toBe("written 3");
    races = -100;
    await put(old, key, "again");
    expect(await next.reseal()).toMatchObject({ resealed: 0, skipped: 1 });
  });

  test("a record that is deleted meanwhile stays deleted", async () => {
    await fill(2);
    const racing: TokenStore = {
      capabilities: inner.capabilities,
      keys: (options) => inner.keys(options),
      delete: (name, options) => inner.delete(name, options),
      async read(name, options) {
        const found = await inner.read(name, options);
        await inner.delete(name, { signal });
        return found;
      },
      write: (name, record, options) => inner.write(name, record, options),
    };
    expect(await encryptedStore(racing, { keys: keyRing([NEW, OLD]) }).reseal()).toMatchObject({
      looked: 2,
      skipped: 2,
    });
    expect(await inner.keys({ signal, limit: 10 })).toEqual([]);
  });

  test("stops at a store or a key service that is down, with a coded error", async () => {
    await fill(20);
    const broken = (name: "keys" | "read" | "write"): EncryptedStore => {
      const methods = {
        keys: (options: never) => inner.keys(options),
        read: (key: string, options: never) => inner.read(key, options),
        write: (key: string, record: StoredRecord, options: never) => inner.write(key, record, options),
        delete: (key: string, options: never) => inner.delete(key, options),
        [name]: () => Promise.reject(new Error("down")),
      };
      return encryptedStore(
        { capabilities: inner.capabilities, ...methods },
        {
          keys: keyRing([NEW, OLD]),
        },
      );
    };
    for (const name of ["keys", "read", "write"] as const) {
      expect(await thrownBy(() => broken(name).reseal())).toMatchObject({
        code: "store_unavailable",
        cause: { name: "Error" },
      });
    }
    const service = keyService(ring);
    const sealed = encryptedStore(inner, { keys: service });
    await sealed.reseal();
    await put(sealed, "t/0000//c", "text");
    service.down = true;
    expect(await thrownBy(() => sealed.reseal({ prefix: "t/0000" }))).toMatchObject({ code: "store_unavailable" });
  });

  test("needs a store that lists keys and compares versions", async () => {
    const without = {
      capabilities: inner.capabilities,
      read: inner.read.bind(inner),
      write: inner.write.bind(inner),
      delete: inner.delete.bind(inner),
    };
    expect(await thrownBy(() => encryptedStore(without, { keys: ring }).reseal())).toMatchObject({
      code: "store_incapable",
    });
    const blind = { ...without, keys: inner.keys.bind(inner), capabilities: { compareAndSet: false, durable: true } };
    expect(await thrownBy(() => encryptedStore(blind, { keys: ring }).reseal())).toMatchObject({
      code: "store_incapable",
    });
    expect(await thrownBy(() => store.reseal({ atOnce: 0 }))).toMatchObject({
      code: "config_invalid",
      option: "atOnce",
    });
  });
});
