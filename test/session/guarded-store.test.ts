// A store as the manager sees it: requirements, DESIGN 5 ("every store operation has a deadline").
import { beforeEach, describe, expect, test } from "vitest";
import { ConfigurationError, StoreError } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { GuardedStore } from "../../src/session/guarded-store.ts";
import type { SessionRecord } from "../../src/session/record.ts";
import { acmeServer, storeWith, storeWithout, thrownBy } from "./acme-room.ts";

let clock: ManualClock;
let record: SessionRecord;

beforeEach(() => {
  clock = manualClock();
  record = {
    generation: 1,
    state: "active",
    cause: undefined,
    tokens: acmeServer(clock).tokens(),
    rotates: false,
    loginAt: clock.now(),
    intent: undefined,
    revokeLate: false,
  };
});

const guard = (changes: Parameters<typeof storeWith>[1] = {}): GuardedStore =>
  new GuardedStore(storeWith(clock, changes), clock);

const never = (): Promise<never> => new Promise(() => undefined);

describe("GuardedStore", () => {
  test("writes, reads and compares versions", async () => {
    const store = guard();
    expect(await store.read("a")).toBeUndefined();
    const version = await store.write("a", record, { dueAt: 5 }, undefined);
    const found = await store.read("a");
    expect(found?.version).toBe(version);
    expect(found?.record.tokens?.accessToken).toBe("access-0");
    expect(await store.write("a", record, {}, undefined)).toBeUndefined();
    expect(await store.write("a", record, {}, version)).not.toBe(version);
  });

  test("hands times on to the store, and keys to the caller", async () => {
    const store = guard();
    await store.write("a", record, { dueAt: 5, deleteAfter: clock.now() + 9 }, undefined);
    expect(await store.due(6, 10)).toEqual([{ key: "a", dueAt: 5 }]);
    expect(await store.due(5, 10)).toEqual([]);
    await clock.advance(9);
    expect(await store.read("a")).toBeUndefined();
  });

  test("knows what the store can", () => {
    expect(guard().durable).toBe(true);
    expect(guard({ capabilities: { compareAndSet: true, durable: false } }).durable).toBe(false);
    expect(guard().coordinates).toBe(true);
    expect(guard({ capabilities: { compareAndSet: false, durable: true } }).coordinates).toBe(false);
    const bare = storeWithout(clock, ["lease", "due"]);
    const store = new GuardedStore(bare, clock);
    expect(store.coordinates).toBe(false);
    expect(store.listsDue).toBe(false);
    expect(guard().listsDue).toBe(true);
  });

  test("a store without due has nothing due, without lease a lease that nobody contests", async () => {
    const bare = storeWithout(clock, ["lease", "due"]);
    const store = new GuardedStore(bare, clock);
    expect(await store.due(Infinity, 10)).toEqual([]);
    const first = await store.lease("a", 60_000);
    await clock.advance(1e6);
    expect(first?.isOurs).toBe(true);
    expect((await store.lease("a", 60_000))?.isOurs).toBe(true);
  });

  test("one lease at a time", async () => {
    const store = guard();
    const first = await store.lease("a", 60_000);
    expect(first?.isOurs).toBe(true);
    expect(await store.lease("a", 60_000)).toBeUndefined();
    await first?.release();
    expect((await store.lease("a", 60_000))?.isOurs).toBe(true);
  });

  test("a lease counts from when it was asked for", async () => {
    const store = guard({
      lease: async () => {
        await clock.advance(4_000);
        return { renew: () => Promise.reject(new Error("x")), release: () => Promise.resolve() };
      },
    });
    // The store's own advance must not be waited for inside another one.
    const lease = await store.lease("a", 10_000);
    await clock.advance(5_999);
    expect(lease?.isOurs).toBe(true);
    await clock.advance(1);
    expect(lease?.isOurs).toBe(false);
  });
});

describe("R-46 a lease that comes after the deadline", () => {
  test("is given back: nobody here knows of it, and nobody else could have it", async () => {
    let grant: (() => void) | undefined;
    let released = 0;
    const store = guard({
      lease: async () => {
        await new Promise<void>((resolve) => (grant = resolve));
        return { renew: () => Promise.resolve(true), release: () => Promise.resolve(void (released += 1)) };
      },
    });
    const asked = thrownBy(() => store.lease("a", 60_000));
    await clock.advance(5_000);
    expect(await asked).toMatchObject({ code: "store_unavailable", operation: "lease" });
    expect(released).toBe(0);
    grant?.();
    await clock.advance(0);
    expect(released).toBe(1);
  });
});

const OPERATIONS = {
  read: (store: GuardedStore) => store.read("a"),
  write: (store: GuardedStore) => store.write("a", record, {}, undefined),
  lease: (store: GuardedStore) => store.lease("a", 60_000),
  due: (store: GuardedStore) => store.due(0, 1),
} as const;

describe.each(Object.entries(OPERATIONS))("R-69 trouble at %s", (operation, run) => {
  test("an error becomes a coded one, and keeps no more than its name and code", async () => {
    const cause = Object.assign(new Error("password=hunter2"), { code: "ECONNREFUSED", secret: "hunter2" });
    const error = await thrownBy(() => run(guard({ [operation]: () => Promise.reject(cause) })));
    expect(error).toBeInstanceOf(StoreError);
    expect(error).toMatchObject({
      code: "store_unavailable",
      operation,
      retryable: true,
      cause: { code: "ECONNREFUSED" },
    });
    expect(JSON.stringify(error) + String(error)).not.toContain("hunter2");
    expect(String(error)).toContain(`"${operation}"`);
  });

  test("so does one that is thrown at once", async () => {
    const broken = (): never => {
      throw new Error("x");
    };
    expect(await thrownBy(() => run(guard({ [operation]: broken })))).toMatchObject({ code: "store_unavailable" });
  });

  test("the store's own coded errors say more, and pass", async () => {
    const own = new StoreError("unknown_key", "the key is gone", "read");
    expect(await thrownBy(() => run(guard({ [operation]: () => Promise.reject(own) })))).toBe(own);
    const config = new ConfigurationError("config_invalid", "x");
    expect(await thrownBy(() => run(guard({ [operation]: () => Promise.reject(config) })))).toBe(config);
  });

  test("five seconds, then an error and an aborted signal", async () => {
    const signals: AbortSignal[] = [];
    const hang = (...args: unknown[]): Promise<never> => {
      signals.push((args.at(-1) as { signal: AbortSignal }).signal);
      return never();
    };
    const failed = thrownBy(() => run(guard({ [operation]: hang })));
    await clock.advance(4_999);
    expect(signals[0]?.aborted).toBe(false);
    await clock.advance(1);
    expect(await failed).toMatchObject({ code: "store_unavailable", operation });
    expect(signals[0]?.aborted).toBe(true);
    expect(String(await failed)).toContain("5000 ms");
  });

  test("an answer in time leaves no timer and no aborted signal", async () => {
    let signal: AbortSignal | undefined;
    const answer = (...args: unknown[]): Promise<undefined> => {
      signal = (args.at(-1) as { signal: AbortSignal }).signal;
      return Promise.resolve(undefined);
    };
    await run(guard({ [operation]: answer }));
    await clock.advance(60_000);
    expect(signal?.aborted).toBe(false);
  });
});

test("a text that nobody wrote is decrypt_failed, not a crash", async () => {
  const store = guard({ read: () => Promise.resolve({ record: { value: "{" }, version: "1" }) });
  expect(await thrownBy(() => store.read("a"))).toMatchObject({ code: "decrypt_failed", action: "reauthorize" });
});
