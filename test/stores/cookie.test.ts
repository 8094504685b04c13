// Sessions in sealed cookies: requirements S-062 to S-067, S-071, S-074, S-078.
import * as fc from "fast-check";
import { inspect } from "node:util";
import { beforeEach, describe, expect, test } from "vitest";
import { TokenManager, exportTokens, rotateWithoutLease } from "warehouse-oauth";
import type { TokenStore } from "warehouse-oauth";
import { cookieStore } from "warehouse-oauth/stores/cookie";
import type { CookieStore, CookieStoreOptions } from "warehouse-oauth/stores/cookie";
import { encryptedStore, keyRing } from "warehouse-oauth/stores/encrypted";
import { fakeBigQuery, fakeDatabricks, fakeSnowflake, manualClock, storeContract } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { readChunks } from "../../src/lib/cookie-chunks.ts";
import { addressOf, sealText } from "../../src/lib/sealing/seal.ts";
import { thrownBy } from "../session/acme-room.ts";

const random = (): Uint8Array => crypto.getRandomValues(new Uint8Array(32));
const OLD = { id: "2025", key: random() };
const NEW = { id: "2026", key: random() };
const keys = keyRing([NEW, OLD]);
const HOUR = 3_600_000;

/** A browser: keeps what it is told, forgets what has ended, sends the rest. */
class Browser {
  readonly cookies = new Map<string, { readonly value: string; readonly until: number }>();
  readonly #clock: ManualClock;

  constructor(clock: ManualClock) {
    this.#clock = clock;
  }

  header(): string | undefined {
    const sent = [...this.cookies].filter(([, { until }]) => until > this.#clock.now());
    return sent.length === 0 ? undefined : sent.map(([name, { value }]) => `${name}=${value}`).join("; ");
  }

  take(headers: readonly string[]): void {
    for (const header of headers) {
      const match =
        /^(__Host-[\w.-]+)=([\w.-]*); Path=\/; Max-Age=(\d+); Secure; HttpOnly; SameSite=(?:Lax|Strict)$/.exec(header);
      if (match === null) throw new Error(`an odd cookie: ${header.slice(0, 80)}`);
      const [, name = "", value = "", age = ""] = match;
      expect(header.length).toBeLessThanOrEqual(4_096);
      if (Number(age) === 0) this.cookies.delete(name);
      else this.cookies.set(name, { value, until: this.#clock.now() + Number(age) * 1_000 });
    }
  }
}

let clock: ManualClock;
let browser: Browser;

beforeEach(() => {
  clock = manualClock();
  browser = new Browser(clock);
});

const open = (options: Partial<CookieStoreOptions> = {}): CookieStore =>
  cookieStore({ keys, clock, cookieHeader: browser.header(), ...options });

async function put(store: CookieStore, key: string, value: string): Promise<string> {
  const version = await store.write(key, { value }, { ifVersion: (await store.read(key, {}))?.version });
  if (version === undefined) throw new Error("refused");
  return version;
}

/** A response: what a request left is in the browser afterwards. */
async function answer(store: CookieStore): Promise<readonly string[]> {
  const headers = await store.setCookieHeaders();
  browser.take(headers);
  return headers;
}

async function leave(value: string, options: Partial<CookieStoreOptions> = {}): Promise<readonly string[]> {
  const store = open(options);
  await put(store, "a", value);
  return answer(store);
}

const valueOf = async (store: TokenStore): Promise<string | undefined> => (await store.read("a", {}))?.record.value;

describe("the contract of every store", () => {
  const cases = storeContract({
    open: () => cookieStore({ keys, cookieHeader: undefined, maxBytes: 15_360 }),
    lacks: ["lease", "due", "keys"],
  });
  // Its largest record has 64 KB, and that is what cookies cannot hold: see "cookie_too_large" below.
  const fitting = cases.filter(({ name }) => !name.startsWith("a record comes back as it was written"));
  test("is left out where a record is larger than all cookies together", () => {
    expect(fitting).toHaveLength(cases.length - 1);
  });
  for (const { name, run } of fitting) test(name, run);
});

describe("S-062 the cookie", () => {
  test("has these attributes and no others", async () => {
    const [header, ...more] = await leave("text");
    expect(more).toEqual([]);
    expect(header).toMatch(/^__Host-warehouse\.0=[\w.-]+; Path=\/; Max-Age=3600; Secure; HttpOnly; SameSite=Lax$/);
    const strict = open({ sameSite: "Strict", name: "__Host-Http-app", maxAgeMs: 1_500 });
    await put(strict, "a", "text");
    expect(await strict.setCookieHeaders()).toEqual([
      expect.stringMatching(/^__Host-Http-app\.0=[\w.-]+; Path=\/; Max-Age=2; Secure; HttpOnly; SameSite=Strict$/),
    ]);
  });

  test.each<[string, Partial<Record<keyof CookieStoreOptions, unknown>>, string]>([
    ["a name without the prefix", { name: "session" }, "name"],
    ["a name with a semicolon", { name: "__Host-a;b" }, "name"],
    ["a name with a dot", { name: "__Host-a.b" }, "name"],
    ["no keys", { keys: undefined }, "keys"],
    ["keys that are no ring", { keys: [NEW] }, "keys"],
    ["an age of two days", { maxAgeMs: 2 * 86_400_000 }, "maxAgeMs"],
    ["an age that is no number", { maxAgeMs: NaN }, "maxAgeMs"],
    ["more than Node takes", { maxBytes: 20_000 }, "maxBytes"],
    ["SameSite=None", { sameSite: "None" }, "sameSite"],
    ["two sources", { cookieHeader: "a=b", request: new Request("https://app.example") }, "request"],
  ])("%s is refused", async (_, options, option) => {
    const run = (): unknown => cookieStore({ keys, ...options } as CookieStoreOptions);
    expect(await thrownBy(run)).toMatchObject({ code: "config_invalid", option });
  });

  test("no options are refused", async () => {
    expect(await thrownBy(() => cookieStore(undefined as never))).toMatchObject({ code: "invalid_argument" });
  });

  test("S-067 the response is for nobody else", async () => {
    const headers = new Headers({ vary: "Accept" });
    const store = open();
    await put(store, "a", "text");
    await store.applyTo(headers);
    expect(headers.getSetCookie()).toHaveLength(1);
    expect(headers.get("cache-control")).toBe("no-store");
    expect(headers.get("vary")).toBe("Accept, Cookie");
  });

  test("is not written when nothing changed", async () => {
    await leave("text");
    const store = open();
    expect(await valueOf(store)).toBe("text");
    expect(await store.setCookieHeaders()).toEqual([]);
    const headers = new Headers();
    await store.applyTo(headers);
    expect([headers.getSetCookie(), headers.get("vary")]).toEqual([[], "Cookie"]);
  });
});

describe("from request to request", () => {
  test("what was written comes back, from a request or a header", async () => {
    const store = open();
    const first = await put(store, "a", "first");
    await store.write("b", { value: "é \u0000", dueAt: 5, deleteAfter: clock.now() + 10 }, { ifVersion: undefined });
    await answer(store);
    const cookie = `other=1; ${browser.header() ?? ""}; theme=dark`;
    for (const next of [
      open({ cookieHeader: cookie }),
      cookieStore({ keys, clock, request: new Request("https://app.example", { headers: { cookie } }) }),
    ]) {
      expect(await next.presented()).toBe("valid");
      expect(await next.read("a", {})).toEqual({ record: { value: "first" }, version: first });
      expect((await next.read("b", {}))?.record).toEqual({
        value: "é \u0000",
        dueAt: 5,
        deleteAfter: clock.now() + 10,
      });
    }
    expect(await cookieStore({ keys, request: new Request("https://app.example") }).presented()).toBe("absent");
    await clock.advance(10);
    expect(await open().read("b", {})).toBeUndefined();
  });

  test("writes keep to the version within a request, and deleting the last one takes the cookies away", async () => {
    await leave("x".repeat(4_000));
    expect(browser.cookies.size).toBe(2);
    const store = open();
    const version = (await store.read("a", {}))?.version;
    expect(await store.write("a", { value: "no" }, { ifVersion: "other" })).toBeUndefined();
    expect(await store.delete("a", { ifVersion: "other" })).toBe(false);
    expect(await store.delete("a", { ifVersion: version ?? "" })).toBe(true);
    expect(await answer(store)).toEqual(
      [0, 1].map(
        (at) => expect.stringMatching(new RegExp(`^__Host-warehouse\\.${String(at)}=; Path=/; Max-Age=0; `)) as string,
      ),
    );
    expect(browser.cookies.size).toBe(0);
  });

  test("clear takes everything away, and what is saved after it begins anew", async () => {
    await leave("old");
    await clock.advance(HOUR / 2);
    const store = open();
    store.clear();
    expect(await valueOf(store)).toBeUndefined();
    await put(store, "a", "new");
    await answer(store);
    await clock.advance(HOUR - 1);
    expect(await valueOf(open())).toBe("new");
    const last = open();
    last.clear();
    await answer(last);
    expect(browser.header()).toBeUndefined();
    expect(await open().setCookieHeaders()).toEqual([]);
  });

  test("the first key seals, all open", async () => {
    await leave("text", { keys: keyRing([OLD]) });
    const store = open();
    expect(await valueOf(store)).toBe("text");
    await put(store, "a", "again");
    await answer(store);
    expect(await open({ keys: keyRing([OLD]) }).presented()).toBe("invalid");
    expect(await valueOf(open({ keys: keyRing([NEW]) }))).toBe("again");
  });
});

describe("S-063 chunks", () => {
  test("are at most 4096 bytes with their attributes, and the length decides how many, to the byte", async () => {
    const counts = new Map<number, number>();
    for (let length = 2_690; length < 2_850; length += 1) {
      const headers = await leave("x".repeat(length));
      const sizes = headers.filter((header) => !header.includes("Max-Age=0")).map((header) => header.length);
      expect(Math.max(...sizes)).toBeLessThanOrEqual(4_096);
      counts.set(sizes.length, Math.max(counts.get(sizes.length) ?? 0, sizes[0] ?? 0));
      expect(await valueOf(open())).toBe("x".repeat(length));
    }
    expect(counts.get(1)).toBeGreaterThanOrEqual(4_095);
    expect(counts.get(2)).toBe(4_096);
  });

  test("any text of any length goes in and comes out, or is cookie_too_large and changes nothing", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "grapheme", maxLength: 40 }), fc.nat({ max: 400 }), async (text, times) => {
        fc.pre(!/\p{Surrogate}/u.test(text));
        const value = text.repeat(times);
        const store = open();
        const before = await valueOf(store);
        const version = (await store.read("a", {}))?.version;
        const fits = await store.write("a", { value }, { ifVersion: version }).then(
          () => true,
          (error: unknown) => {
            expect(error).toMatchObject({ name: "StoreError", code: "cookie_too_large", operation: "write" });
            return false;
          },
        );
        const headers = await answer(store);
        const size = (browser.header() ?? "").length;
        expect(size).toBeLessThanOrEqual(8_192);
        expect(fits || headers.length === 0).toBe(true);
        expect(await valueOf(open())).toBe(fits ? value : before);
      }),
      { numRuns: 60 },
    );
  });

  test("cookie_too_large comes at the ceiling, and the ceiling can be moved", async () => {
    const tooLarge = { code: "cookie_too_large", action: "fix_config" };
    const error = await thrownBy(() => leave("x".repeat(6_200)));
    expect(error).toMatchObject(tooLarge);
    expect((error as Error).message).toContain("8192");
    await leave("x".repeat(6_200), { maxBytes: 15_360 });
    expect(await valueOf(open())).toHaveLength(6_200);
    expect(await thrownBy(() => leave("x".repeat(200), { maxBytes: 300 }))).toMatchObject(tooLarge);
  });

  test("a session that shrinks deletes the chunks that are left over", async () => {
    await leave("x".repeat(5_000));
    expect(browser.cookies.size).toBe(2);
    await leave("x");
    expect(browser.cookies.size).toBe(1);
    expect(await valueOf(open())).toBe("x");
  });

  test("of two responses that meet in the browser the later one wins, however many cookies each has", async () => {
    const lengths = [10, 3_500, 6_800];
    for (const earlier of lengths) {
      for (const later of lengths) {
        browser.cookies.clear();
        await leave("before".padEnd(3_500));
        const [first, second] = [open({ maxBytes: 15_360 }), open({ maxBytes: 15_360 })];
        await put(first, "a", "earlier".padEnd(earlier));
        await put(second, "a", "later".padEnd(later));
        await answer(first);
        await answer(second);
        const next = open();
        expect(await next.presented()).toBe("valid");
        expect((await valueOf(next))?.trimEnd()).toBe("later");
        await put(next, "a", "short");
        await answer(next);
        expect([...browser.cookies.keys()], "the next write takes away what was left over").toEqual([
          "__Host-warehouse.0",
        ]);
      }
    }
  });

  test("an extra chunk is one that was left over: it is in no session", async () => {
    await leave("x".repeat(5_000));
    const header = browser.header() ?? "";
    for (const [number, value] of [
      [2, ""],
      [2, "AAAA"],
      [7, "AAAA"],
    ] as const) {
      const store = open({ cookieHeader: `${header}; __Host-warehouse.${String(number)}=${value}` });
      expect(await store.presented()).toBe("valid");
      expect(await valueOf(store)).toBe("x".repeat(5_000));
    }
  });

  test("missing, swapped, repeated and stale chunks are no session", async () => {
    await leave("x".repeat(5_000));
    const before = [...browser.cookies].map(([name, { value }]) => ({ name, value }));
    await leave("y".repeat(5_000));
    const now = [...browser.cookies].map(([name, { value }]) => ({ name, value }));
    const [first, second] = now;
    const [, stale] = before;
    if (first === undefined || second === undefined || stale === undefined) throw new Error("unreachable");
    const write = (cookies: readonly { readonly name: string; readonly value: string }[]): string =>
      cookies.map(({ name, value }) => `${name}=${value}`).join("; ");
    expect(await open({ cookieHeader: write([second, first]) }).presented()).toBe("valid");
    const bad = [
      [first],
      [second],
      [
        { ...first, value: second.value },
        { ...second, value: first.value },
      ],
      [first, first, second],
      [first, second, second],
      [first, stale],
      [{ ...first, value: first.value + second.value }],
      [
        first,
        { ...second, value: second.value.slice(0, 100) },
        { name: "__Host-warehouse.2", value: second.value.slice(100) },
      ],
    ];
    for (const cookies of bad) {
      const store = open({ cookieHeader: write(cookies) });
      expect(await store.presented()).toBe("invalid");
      expect(await valueOf(store)).toBeUndefined();
    }
  });

  test("a login over cookies that are no session leaves none of them", async () => {
    await leave("x".repeat(5_000));
    browser.cookies.set("__Host-warehouse.5", { value: "tossed", until: Infinity });
    await leave("login");
    expect([...browser.cookies.keys()]).toEqual(["__Host-warehouse.0"]);
    expect(await valueOf(open())).toBe("login");
    // Nor those of a header that was too long to be looked at.
    const store = open({ cookieHeader: `junk=${"x".repeat(20_000)}; ${browser.header() ?? ""}` });
    await put(store, "a", "again");
    expect(await store.setCookieHeaders()).toHaveLength(9);
  });
});

describe("S-064 whatever is wrong with a cookie, it is no session and no error", () => {
  const isNone = async (cookieHeader: string, what: "invalid" | "expired" | "absent" = "invalid"): Promise<void> => {
    const store = open({ cookieHeader });
    expect(await store.read("a", {})).toBeUndefined();
    expect(await store.presented()).toBe(what);
    expect(await store.setCookieHeaders()).toEqual([]);
  };

  test("a flipped bit, at every byte", async () => {
    await leave("text");
    const header = browser.header() ?? "";
    const from = header.indexOf("=") + 1;
    for (let at = from; at < header.length; at += 1) {
      for (const bit of [0, 1, 5]) {
        const changed = String.fromCharCode(header.charCodeAt(at) ^ (1 << bit));
        await isNone(header.slice(0, at) + changed + header.slice(at + 1));
      }
    }
  });

  test("a cut one, at every byte", async () => {
    await leave("text");
    const header = browser.header() ?? "";
    for (let end = header.indexOf("=") + 2; end < header.length; end += 1) await isNone(header.slice(0, end));
  });

  test("S-074 what was sealed for something else, or under another name", async () => {
    await leave("text");
    const { value = "" } = browser.cookies.get("__Host-warehouse.0") ?? {};
    await isNone(`__Host-warehouse.0=${value}`.replace("warehouse", "other"), "absent");
    expect(await open({ name: "__Host-other", cookieHeader: `__Host-other.0=${value}` }).presented()).toBe("invalid");
    const address = await addressOf(JSON.stringify(["__Host-warehouse", 1, value.length]));
    for (const purpose of ["record", "refresh-token", "data-key"] as const) {
      await isNone(`__Host-warehouse.0=${await sealText("{}", { purpose, address }, await keys.sealing(purpose))}`);
    }
    const database = encryptedStore(cookieStore({ keys, cookieHeader: undefined }), { keys });
    await database.write("a", { value: "text" }, { ifVersion: undefined });
  });

  test("what is sealed as it must be, and holds something else", async () => {
    const key = await keys.sealing("cookie");
    for (const text of [
      "",
      "null",
      "[]",
      "{}",
      '{"iat":0,"exp":9e15,"records":{}}',
      '{"iat":0,"exp":9e15,"records":[1]}',
    ]) {
      const { length } = await sealText(text, { purpose: "cookie", address: await addressOf("") }, key);
      const address = await addressOf(JSON.stringify(["__Host-warehouse", 1, length]));
      await isNone(`__Host-warehouse.0=${await sealText(text, { purpose: "cookie", address }, key)}`);
    }
  });

  test("one of another deployment, and one whose key is gone", async () => {
    await leave("text", { keys: keyRing([{ id: NEW.id, key: random() }]) });
    await isNone(browser.header() ?? "");
    await leave("text", { keys: keyRing([{ id: "gone", key: random() }]) });
    await isNone(browser.header() ?? "");
  });

  test("S-065 one that ended, however often it was written meanwhile; one from the future", async () => {
    await leave("first");
    const copy = browser.header() ?? "";
    await clock.advance(HOUR - 2);
    const [header] = await leave("second");
    expect(header).toContain("Max-Age=1;");
    const later = browser.header() ?? "";
    expect(await valueOf(open({ cookieHeader: later }))).toBe("second");
    await clock.advance(1);
    expect(await valueOf(open({ cookieHeader: copy }))).toBe("first");
    await clock.advance(1);
    await isNone(copy, "expired");
    await isNone(later, "expired");
    await leave("tomorrow");
    const early = browser.header() ?? "";
    clock.jump(-300_000);
    expect(await valueOf(open({ cookieHeader: early }))).toBe("tomorrow");
    clock.jump(-1);
    await isNone(early);
  });

  test("S-066 headers that are odd", async () => {
    await leave("text");
    const header = browser.header() ?? "";
    for (const cookieHeader of [
      `;;; =x; y; ${header}; =`,
      `${header};`,
      `\t ${header} \t`,
      header.replace("=", " = "),
      `a=%E0%A4%A; ${header}`,
      `${header}; __host-warehouse.0=x`,
      `${header}; __Host-warehouse=x; __Host-warehouse.00=x; __Host-warehouse.x=1; __Host-warehouse.=x`,
    ]) {
      expect(await valueOf(open({ cookieHeader })), cookieHeader.slice(0, 30)).toBe("text");
    }
    await isNone(`${header}; ${header}`);
    await isNone(`${header}; __Host-warehouse.0=`);
    await isNone(header.replace("=", '="').concat('"'));
    await isNone(`${header}; junk=${"x".repeat(16_384)}`);
    for (const cookieHeader of ["", ";", "=", "a", "__Host-warehouse.0"]) await isNone(cookieHeader, "absent");
    await isNone("__Host-warehouse.0=");
  });

  test("S-071 anything at all", async () => {
    await leave("text");
    const header = browser.header() ?? "";
    const odd = fc.oneof(
      fc.string(),
      fc.array(fc.nat({ max: 0x2ff })).map((codes) => String.fromCharCode(...codes)),
      fc
        .tuple(fc.nat(header.length), fc.string())
        .map(([at, text]) => header.slice(0, at) + text + header.slice(at + 1)),
      fc.string().map((text) => `__Host-warehouse.0=${text}`),
    );
    await fc.assert(
      fc.asyncProperty(odd, async (cookieHeader) => {
        const store = open({ cookieHeader });
        const state = await store.presented();
        expect(await valueOf(store)).toBe(state === "valid" ? "text" : undefined);
      }),
    );
  });

  test("S-066 is read in linear time: what a header may hold at most costs what it is long", () => {
    const pair = "__Host-warehouse.0=x;";
    expect(readChunks(pair.repeat(780), "__Host-warehouse")).toEqual({ chunks: undefined, numbers: [0] });
    expect(readChunks("=".repeat(16_384), "__Host-warehouse")).toEqual({ chunks: [], numbers: [] });
    expect(readChunks(";".repeat(5_000_000), "__Host-warehouse").chunks).toBeUndefined();
  });
});

describe("S-078 with a manager", () => {
  test.each([
    ["Databricks", fakeDatabricks],
    ["Snowflake", fakeSnowflake],
  ])("%s rotates refresh tokens, and is refused", async (_, fakeWarehouse) => {
    const fake = fakeWarehouse({ clock });
    const store = open();
    const manager = new TokenManager({ store, clock, background: "none" });
    const tokens = await fake.issueTokens();
    const run = (): Promise<unknown> => manager.save(fake.client, { subject: "browser" }, tokens);
    expect(await thrownBy(run)).toMatchObject({ name: "ConfigurationError", code: "store_incapable", option: "store" });
    expect(await store.setCookieHeaders()).toEqual([]);
    const knowing = new TokenManager({ store, clock, [rotateWithoutLease]: true });
    await knowing.save(fake.client, { subject: "browser" }, tokens);
    expect(await store.setCookieHeaders()).not.toEqual([]);
  });

  test("BigQuery does not: sign in, use, refresh, sign out, each in a request of its own", async () => {
    const fake = fakeBigQuery({ clock });
    const request = async <T>(work: (manager: TokenManager, store: CookieStore) => Promise<T>): Promise<T> => {
      const store = open();
      const manager = new TokenManager({ store, clock, background: "none" });
      const result = await work(manager, store);
      await answer(store);
      return result;
    };
    const browserSession = { subject: "browser" };
    const { accessToken, refreshToken } = exportTokens(await fake.issueTokens());
    expect(await request((manager) => manager.session(fake.client, browserSession).status())).toEqual({
      state: "absent",
    });
    const tokens = await fake.issueTokens();
    await request(async (manager, store) => {
      store.clear();
      await manager.save(fake.client, browserSession, tokens);
    });
    const sent = browser.header() ?? "";
    expect(sent).not.toContain(accessToken);
    expect(sent).not.toContain(refreshToken);
    const token = (): Promise<string> =>
      request((manager) => manager.session(fake.client, browserSession).getAccessToken());
    expect(await token()).toBe(tokens.accessToken);
    await clock.advance(HOUR - 60_000);
    const renewed = await token();
    expect(renewed).not.toBe(tokens.accessToken);
    expect(await token()).toBe(renewed);
    expect(fake.requests.filter(({ grant }) => grant === "refresh_token")).toHaveLength(1);
    await request(async (manager, store) => {
      await manager.session(fake.client, browserSession).revoke();
      store.clear();
    });
    expect(browser.header()).toBeUndefined();
    // The documented limit: a copy that somebody made works until it ends, but its tokens are revoked.
    const copied = cookieStore({ keys, clock, cookieHeader: sent });
    expect(await copied.presented()).toBe("valid");
    await clock.advance(60_000);
    expect(await cookieStore({ keys, clock, cookieHeader: sent }).presented()).toBe("expired");
  });
});

describe("S-080 nothing prints", () => {
  test("no value and no key in what is inspected, thrown or sent", async () => {
    const store = open();
    await put(store, "a", "canary-value");
    const error = await thrownBy(() => put(store, "a", "canary-value".repeat(1_000)));
    const secret = Buffer.from(NEW.key).toString("hex").slice(0, 12);
    const output = [
      inspect([store, error, keys], { depth: 9, showHidden: true }),
      JSON.stringify([store, error, keys]),
      ...(await store.setCookieHeaders()),
    ].join("\n");
    expect(output).not.toContain("canary");
    expect(output).not.toContain(btoa("canary"));
    expect(output).not.toContain(secret);
    expect(inspect(store)).toBe("CookieStore [redacted]");
  });
});
