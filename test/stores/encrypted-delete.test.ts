// S-077 A record that nobody can open is deleted for a login, and nothing else is: a delete may be late, or sent twice.
import { beforeEach, expect, test } from "vitest";
import { OAuthError, StoreError, TokenManager } from "warehouse-oauth";
import type { TokenStore } from "warehouse-oauth";
import { encryptedStore, keyRing } from "warehouse-oauth/stores/encrypted";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { acmeServer, storeWith, thrownBy } from "../session/acme-room.ts";

const random = (): Uint8Array => crypto.getRandomValues(new Uint8Array(32));
const lostKey = keyRing([{ id: "2025", key: random() }]);
const keys = keyRing([{ id: "2026", key: random() }]);
const ADA = { subject: "ada" };

let clock: ManualClock;
let inner: TokenStore;

beforeEach(() => {
  clock = manualClock();
  inner = storeWith(clock);
});

function withDelete(deleteRecord: TokenStore["delete"]): TokenStore {
  return {
    capabilities: inner.capabilities,
    read: (key, options) => inner.read(key, options),
    write: (key, record, options) => inner.write(key, record, options),
    delete: deleteRecord,
    lease: async (key, options) => inner.lease?.(key, options),
  };
}

async function secondsPass(count: number): Promise<void> {
  for (let second = 0; second < count; second += 1) await clock.advance(1_000);
}

test("S-077 a delete that comes late, from a process without connections, leaves the login that came meanwhile", async () => {
  const server = acmeServer(clock, { refreshRotation: "single-use" });
  const signIn = (store: TokenStore, refreshToken: string): ReturnType<TokenManager["save"]> =>
    new TokenManager({ clock, store }).save(server.client, ADA, server.tokens({ refreshToken }));
  await signIn(encryptedStore(inner, { keys: lostKey }), "unreadable");
  let runLate = (): Promise<unknown> => Promise.reject(new Error("nothing was deleted"));
  const starved = withDelete(
    (key, options) =>
      new Promise((resolve) => {
        runLate = () => inner.delete(key, options).then(resolve);
      }),
  );
  const failing = thrownBy(() => signIn(encryptedStore(starved, { keys }), "never saved"));
  await secondsPass(7);
  expect(await failing).toMatchObject({ code: "store_unavailable" });
  const session = await signIn(encryptedStore(inner, { keys }), "good");
  await runLate();
  const found = await encryptedStore(inner, { keys }).read(session.key, {});
  expect(found?.record.value).toContain('"refreshToken":"good"');
});

test("S-077 a delete that a client sends once more, its answer lost, deletes once", async () => {
  const store = encryptedStore(
    withDelete(async (key, options) => {
      await inner.delete(key, options);
      await inner.write(key, { value: "the login after it" }, { ifVersion: undefined });
      return inner.delete(key, options);
    }),
    { keys },
  );
  await store.write("a", { value: "text" }, { ifVersion: undefined });
  expect(await store.delete("a", {})).toBe(false);
  expect((await inner.read("a", {}))?.record.value).toBe("the login after it");
});

test("absent counts as deleted, and a version that is given is kept to", async () => {
  const store = encryptedStore(inner, { keys });
  expect(await store.delete("a", {})).toBe(true);
  const version = await store.write("a", { value: "text" }, { ifVersion: undefined });
  expect(await store.delete("a", { ifVersion: "another" })).toBe(false);
  expect(await store.delete("a", { ifVersion: version ?? "" })).toBe(true);
  expect(await inner.read("a", {})).toBeUndefined();
});

test("nothing is deleted once the caller is gone", async () => {
  const gone = new AbortController();
  const reason = new Error("gone");
  const store = encryptedStore(
    {
      ...withDelete((key, options) => inner.delete(key, options)),
      async read(key, options) {
        const found = await inner.read(key, options);
        gone.abort(reason);
        return found;
      },
    },
    { keys },
  );
  await store.write("a", { value: "text" }, { ifVersion: undefined });
  expect(await thrownBy(() => store.delete("a", { signal: gone.signal }))).toBe(reason);
  expect(await inner.read("a", {})).toBeDefined();
});

test("what the store inside cannot read is deleted; where it does not answer, nothing is", async () => {
  const failing = (error: Error): TokenStore => ({
    ...withDelete((key, options) => inner.delete(key, options)),
    read: () => Promise.reject(error),
  });
  await inner.write("a", { value: "cut" }, { ifVersion: undefined });
  const down = encryptedStore(failing(new Error("down")), { keys });
  expect(OAuthError.is(await thrownBy(() => down.delete("a", {})))).toBe(false);
  expect(await inner.read("a", {})).toBeDefined();
  const cut = encryptedStore(failing(new StoreError("decrypt_failed", "cut", "read")), { keys });
  expect(await cut.delete("a", {})).toBe(true);
  expect(await inner.read("a", {})).toBeUndefined();
});
