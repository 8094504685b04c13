// The store that needs nothing: requirements S-078, R-40, R-41; the contract of every store.
import { beforeEach, describe, expect, test } from "vitest";
import { memoryStore } from "warehouse-oauth";
import type { TokenStore } from "warehouse-oauth";
import { manualClock, storeContract } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";

const signal = new AbortController().signal;

let clock: ManualClock;
let store: Required<TokenStore>;

beforeEach(() => {
  clock = manualClock();
  store = memoryStore({ clock }) as Required<TokenStore>;
});

const write = (key: string, times: { dueAt?: number; deleteAfter?: number } = {}, ifVersion?: string) =>
  store.write(key, { value: `value of ${key}`, ...times }, { signal, ifVersion });

describe("the contract of every store", () => {
  for (const { name, run } of storeContract({ open: () => memoryStore() })) test(name, run);
});

test("S-078 says what it can: compare and set, and nothing outlives the process", () => {
  expect(store.capabilities).toEqual({ compareAndSet: true, durable: false });
});

describe("records", () => {
  test("a version is never used twice, not even after a delete", async () => {
    const versions = new Set<string | undefined>();
    for (let time = 0; time < 5; time++) {
      versions.add(await write("a"));
      await store.delete("a", { signal });
    }
    expect(versions.size).toBe(5);
    expect(versions.has(undefined)).toBe(false);
  });

  test("what was written cannot be changed from outside", async () => {
    const record = { value: "x", dueAt: 1 };
    await store.write("a", record, { signal, ifVersion: undefined });
    record.value = "y";
    const found = await store.read("a", { signal });
    expect(found?.record.value).toBe("x");
    expect(Object.isFrozen(found?.record)).toBe(true);
  });

  test("is gone when its time is over, to the millisecond", async () => {
    await write("a", { deleteAfter: clock.now() + 10 });
    await clock.advance(9);
    expect(await store.read("a", { signal })).toBeDefined();
    await clock.advance(1);
    expect(await store.read("a", { signal })).toBeUndefined();
    expect(await write("a")).toBeDefined();
  });

  test("deletes only the version that was meant", async () => {
    const version = await write("a");
    expect(await store.delete("a", { signal, ifVersion: "other" })).toBe(false);
    expect(await store.read("a", { signal })).toBeDefined();
    expect(await store.delete("a", { signal, ifVersion: version ?? "" })).toBe(true);
    expect(await store.delete("a", { signal, ifVersion: version ?? "" })).toBe(true);
    expect(await store.delete("b", { signal })).toBe(true);
  });

  test("the dead never outgrow the living: each write looks at two", async () => {
    for (let n = 0; n < 1_000; n++) await write(`dead-${String(n)}`, { deleteAfter: clock.now() + 1 });
    await clock.advance(1);
    for (let n = 0; n < 1_200; n++) await write(`living-${String(n)}`);
    const keys = await store.keys({ signal, limit: 10_000 });
    expect(keys.filter((key) => key.startsWith("dead"))).toEqual([]);
    expect(keys).toHaveLength(1_200);
  });
});

describe("leases", () => {
  const lease = (key: string, ttlMs = 60_000) => store.lease(key, { signal, ttlMs });

  test("R-41 one holder; the next after release", async () => {
    const first = await lease("a");
    expect(await lease("a")).toBeUndefined();
    expect(await lease("b")).toBeDefined();
    await first?.release();
    expect(await lease("a")).toBeDefined();
  });

  test("ends by the monotonic clock, to the millisecond", async () => {
    await lease("a");
    clock.jump(3_600_000);
    expect(await lease("a")).toBeUndefined();
    await clock.advance(59_999);
    expect(await lease("a")).toBeUndefined();
    await clock.advance(1);
    expect(await lease("a")).toBeDefined();
  });

  test("a renewal gives it its time again; a lost one cannot be renewed", async () => {
    const held = await lease("a");
    await clock.advance(59_999);
    expect(await held?.renew(60_000)).toBe(true);
    await clock.advance(59_999);
    expect(await lease("a")).toBeUndefined();
    await clock.advance(1);
    expect(await held?.renew(60_000)).toBe(false);
    const other = await lease("a");
    expect(other).toBeDefined();
    expect(await held?.renew(60_000)).toBe(false);
  });

  test("R-43 releasing a lost lease leaves that of another alone", async () => {
    const lost = await lease("a");
    await clock.advance(60_000);
    await lease("a");
    await lost?.release();
    expect(await lease("a")).toBeUndefined();
  });
});

describe("due and keys", () => {
  test("due before the time, earliest first, no more than asked for", async () => {
    await write("later", { dueAt: 30 });
    await write("soon", { dueAt: 10 });
    await write("never");
    await write("middle", { dueAt: 20 });
    expect(await store.due({ signal, before: 30, limit: 10 })).toEqual([
      { key: "soon", dueAt: 10 },
      { key: "middle", dueAt: 20 },
    ]);
    expect(await store.due({ signal, before: 31, limit: 2 })).toHaveLength(2);
    expect(await store.due({ signal, before: 10, limit: 10 })).toEqual([]);
  });

  test("keys in order, after one, with a prefix", async () => {
    for (const key of ["b/2", "a/1", "b/1", "c/1"]) await write(key);
    expect(await store.keys({ signal, limit: 10 })).toEqual(["a/1", "b/1", "b/2", "c/1"]);
    expect(await store.keys({ signal, prefix: "b/", limit: 10 })).toEqual(["b/1", "b/2"]);
    expect(await store.keys({ signal, after: "b/1", limit: 1 })).toEqual(["b/2"]);
  });
});
