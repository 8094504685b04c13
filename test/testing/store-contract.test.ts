import { describe, expect, it } from "vitest";
import { memoryStore, type Lease, type TokenStore } from "warehouse-oauth";
import { storeContract } from "warehouse-oauth/testing";

describe("memoryStore", () => {
  for (const { name, run } of storeContract({ open: () => memoryStore() })) it(name, run);
});

describe("memoryStore, opened twice", () => {
  const store = memoryStore();
  for (const { name, run } of storeContract({ open: () => store, shared: true })) it(name, run);
});

/** A memory store with one method that is wrong. */
function broken(change: (store: TokenStore) => Partial<TokenStore>): () => TokenStore {
  return () => {
    const store = memoryStore();
    const whole: TokenStore = {
      capabilities: store.capabilities,
      read: (key, options) => store.read(key, options),
      write: (key, record, options) => store.write(key, record, options),
      delete: (key, options) => store.delete(key, options),
      lease: (key, options) => leaseOf(store, key, options.ttlMs),
      due: async (options) => (await store.due?.(options)) ?? [],
      keys: async (options) => (await store.keys?.(options)) ?? [],
    };
    return { ...whole, ...change(store) };
  };
}

async function leaseOf(store: TokenStore, key: string, ttlMs: number): Promise<Lease | undefined> {
  return store.lease?.(key, { ttlMs });
}

/** Writes whatever the version. */
async function overwrite(
  store: TokenStore,
  ...[key, record]: Parameters<TokenStore["write"]>
): Promise<string | undefined> {
  const current = await store.read(key, {});
  return store.write(key, record, { ifVersion: current?.version });
}

const eternal: Lease = { renew: () => Promise.resolve(true), release: () => Promise.resolve() };

const mistakes: readonly [string, string, (store: TokenStore) => Partial<TokenStore>][] = [
  ["writes over a conflict", "compare-and-set", (store) => ({ write: (...call) => overwrite(store, ...call) })],
  [
    "uses a version again",
    "never used twice",
    (store) => ({
      write: async (...call) => ((await store.write(...call)) === undefined ? undefined : "1"),
      read: async (key, options) => {
        const read = await store.read(key, options);
        return read && { ...read, version: "1" };
      },
    }),
  ],
  [
    "cuts a value",
    "as it was written",
    (store) => ({
      write: (key, record, options) => store.write(key, { ...record, value: record.value.slice(0, 4_000) }, options),
    }),
  ],
  [
    "drops dueAt",
    "as it was written",
    (store) => ({
      write: (key, { value }, options) => store.write(key, { value }, options),
    }),
  ],
  [
    "ignores the case of keys",
    "odd keys",
    (store) => ({
      read: (key, options) => store.read(key.toLowerCase(), options),
      write: (key, record, options) => store.write(key.toLowerCase(), record, options),
      delete: (key, options) => store.delete(key.toLowerCase(), options),
    }),
  ],
  ["deletes any version", "delete keeps", (store) => ({ delete: (key) => store.delete(key, {}) })],
  ["does not delete", "delete keeps", () => ({ delete: () => Promise.resolve(true) })],
  ["says false of an absent key", "nobody wrote", () => ({ delete: () => Promise.resolve(false) })],
  ["gives a lease to everybody", "one holder", () => ({ lease: () => Promise.resolve(eternal) })],
  [
    "has one lease for all keys",
    "one holder",
    (store) => ({ lease: (_key, { ttlMs }) => leaseOf(store, "all", ttlMs) }),
  ],
  [
    "never lets go of a lease by itself",
    "one holder",
    (store) => ({
      lease: async (key, { ttlMs }) => (await leaseOf(store, key, ttlMs)) && eternal,
    }),
  ],
  [
    "lists by key instead of time",
    "due lists",
    (store) => ({
      due: async (options) => [...((await store.due?.(options)) ?? [])].reverse(),
    }),
  ],
  [
    "lists due at the line",
    "due lists",
    (store) => ({
      due: async ({ before, limit }) => (await store.due?.({ before: before + 1, limit })) ?? [],
    }),
  ],
  [
    "lists keys from the first again",
    "keys lists",
    (store) => ({
      keys: async ({ prefix = "", limit }) => (await store.keys?.({ prefix, limit })) ?? [],
    }),
  ],
];

describe("storeContract", () => {
  it.each(mistakes)("finds a store that %s", async (_what, part, change) => {
    const failed: string[] = [];
    const open = broken(change);
    for (const { name, run } of storeContract({ open }).filter(({ name }) => !name.includes("by time"))) {
      await run().catch(() => failed.push(name));
    }
    expect(failed).toContainEqual(expect.stringContaining(part));
  });

  it("finds a store whose lost lease can be renewed", async () => {
    const open = broken((store) => ({
      lease: async (key, { ttlMs }) => {
        const lease = await leaseOf(store, key, ttlMs);
        return lease && { ...lease, renew: () => Promise.resolve(true) };
      },
    }));
    const byTime = storeContract({ open }).find(({ name }) => name.includes("by time"));
    await expect(byTime?.run()).rejects.toThrow("a lost lease was renewed");
  });

  it("finds openings that do not share", async () => {
    const cases = storeContract({ open: () => memoryStore(), shared: true });
    await expect(cases.at(-1)?.run()).rejects.toThrow("the other opening does not see the record");
  });

  it("asks a simple store for no more than it says it can", async () => {
    const open = broken((store) => ({
      capabilities: { compareAndSet: false, durable: false },
      write: (...call) => overwrite(store, ...call),
    }));
    const simple = (): TokenStore => {
      const store = open();
      return {
        capabilities: store.capabilities,
        read: (...call) => store.read(...call),
        write: (...call) => store.write(...call),
        delete: (...call) => store.delete(...call),
      };
    };
    for (const { run } of storeContract({ open: simple })) await run();
  });
});
