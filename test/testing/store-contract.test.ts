import { describe, expect, it } from "vitest";
import { memoryStore, type Lease, type TokenStore } from "warehouse-oauth";
import { raceStore, storeContract } from "warehouse-oauth/testing";

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
async function overwrite(store: TokenStore, ...[key, record]: Parameters<TokenStore["write"]>): Promise<string> {
  for (;;) {
    const current = await store.read(key, {});
    const version = await store.write(key, record, { ifVersion: current?.version });
    if (version !== undefined) return version;
  }
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
    "says that it renewed",
    "renewed goes on",
    (store) => ({
      lease: async (key, { ttlMs }) => {
        const lease = await leaseOf(store, key, ttlMs);
        return lease && { ...lease, renew: () => Promise.resolve(true) };
      },
    }),
  ],
  [
    "keeps its leases in its records",
    "does not hang on the record",
    (store) => {
      const held = new Map<string, Lease>();
      return {
        lease: async (key, { ttlMs }) => {
          const lease = await leaseOf(store, key, ttlMs);
          if (lease !== undefined) held.set(key, lease);
          return lease;
        },
        delete: async (key, options) => {
          await held.get(key)?.release();
          return store.delete(key, options);
        },
      };
    },
  ],
  [
    "keeps the times of the record before",
    "as it was written",
    (store) => ({
      write: async (key, record, options) => {
        const before = await store.read(key, {});
        return store.write(key, { ...before?.record, ...record }, options);
      },
    }),
  ],
  [
    "rounds times",
    "as it was written",
    (store) => ({
      write: (key, { dueAt, ...record }, options) =>
        store.write(key, { ...record, ...(dueAt !== undefined && { dueAt: Math.round(dueAt) }) }, options),
    }),
  ],
  [
    "checks first and writes then",
    "through one client",
    (store) => {
      const meet = meeting();
      return {
        write: async (key, record, { ifVersion }) => {
          if ((await store.read(key, {}))?.version !== ifVersion) return undefined;
          await meet();
          return overwrite(store, key, record, { ifVersion });
        },
      };
    },
  ],
  [
    "looks first and takes a lease then",
    "through one client",
    () => {
      const held = new Set<string>();
      const meet = meeting();
      return {
        lease: async (key) => {
          if (held.has(key)) return undefined;
          await meet();
          held.add(key);
          const release = (): Promise<void> => Promise.resolve(void held.delete(key));
          return { renew: () => Promise.resolve(true), release };
        },
      };
    },
  ],
  [
    "takes a prefix for a pattern",
    "by its letters",
    (store) => ({
      keys: async ({ prefix = "", limit }) => {
        const pattern = new RegExp(`^${prefix.replaceAll("_", ".").replaceAll(/[*?[\]\\]/g, "\\$&")}`);
        return ((await store.keys?.({ limit: 10_000 })) ?? []).filter((key) => pattern.test(key)).slice(0, limit);
      },
    }),
  ],
  [
    "orders keys as people do",
    "by their code",
    (store) => ({
      keys: async ({ limit, ...options }) => {
        const all = (await store.keys?.({ ...options, limit: 10_000 })) ?? [];
        return all.toSorted((a, b) => a.localeCompare(b)).slice(0, limit);
      },
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

/** Another turn of the event loop: whoever waits gets in between. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Who comes waits for a second one, so that both are in the gap at once; not for ever, lest one who is alone hang. */
function meeting(): () => Promise<void> {
  let waiting: (() => void) | undefined;
  return () =>
    new Promise((resolve) => {
      if (waiting === undefined) {
        waiting = resolve;
        setTimeout(() => {
          if (waiting === resolve) waiting = undefined;
          resolve();
        }, 25);
      } else {
        waiting();
        waiting = undefined;
        resolve();
      }
    });
}

/** Check and write as one step, for as long as nobody else has the data open. */
function mutexForEachOpening(): () => TokenStore {
  const shared = memoryStore();
  const meet = meeting();
  return () => {
    let last: Promise<unknown> = Promise.resolve();
    const opening = broken(() => ({
      read: async (...call) => {
        await turn();
        return shared.read(...call);
      },
      write: (key, record, { ifVersion }) => {
        const next = last.then(async () => {
          if ((await shared.read(key, {}))?.version !== ifVersion) return undefined;
          await meet();
          return overwrite(shared, key, record, { ifVersion });
        });
        last = next;
        return next;
      },
      delete: (...call) => shared.delete(...call),
      lease: (key, { ttlMs }) => leaseOf(shared, key, ttlMs),
    }));
    return opening();
  };
}

/** One opening knows nothing of the leases of the other. */
function leasesForEachOpening(): () => TokenStore {
  const shared = memoryStore();
  return broken(() => ({
    read: async (...call) => {
      await turn();
      return shared.read(...call);
    },
    write: (...call) => shared.write(...call),
    delete: (...call) => shared.delete(...call),
  }));
}

/** What one opening read, it believes in. */
function copiesForEachOpening(): () => TokenStore {
  const shared = memoryStore();
  return () => {
    const copies = new Map<string, Awaited<ReturnType<TokenStore["read"]>>>();
    const opening = broken(() => ({
      read: async (key, options) => {
        if (!copies.has(key)) copies.set(key, await shared.read(key, options));
        return copies.get(key);
      },
      write: async (key, record, options) => {
        const version = await shared.write(key, record, options);
        if (version !== undefined) copies.set(key, { record, version });
        return version;
      },
      delete: (...call) => shared.delete(...call),
    }));
    return opening();
  };
}

const openings: readonly [string, string, () => () => TokenStore][] = [
  ["does not share", "see the same", () => () => memoryStore()],
  ["believes in its copies", "reads at once", copiesForEachOpening],
  ["is atomic in one opening only", "through two openings", mutexForEachOpening],
  ["has leases for each opening", "see the same", leasesForEachOpening],
  ["has leases for each opening", "through two openings", leasesForEachOpening],
];

describe("storeContract", () => {
  it.each(["lease", "due", "keys"] as const)("passes nothing that a store without %s cannot show", async (method) => {
    const open = (): TokenStore => {
      const methods = Object.entries(broken(() => ({}))()).filter(([name]) => name !== method);
      return Object.fromEntries(methods) as unknown as TokenStore;
    };
    const failed: string[] = [];
    for (const { name, run } of storeContract({ open })) {
      await run().catch((error: unknown) => failed.push(`${name}: ${String(error)}`));
    }
    expect(failed.length).toBeGreaterThan(0);
    for (const failure of failed) expect(failure).toContain(`if that is meant, say so: lacks: ["${method}"]`);
    for (const { run } of storeContract({ open, lacks: [method] })) await run();
  });

  it("refuses an option that it does not have", () => {
    const misspelt = { open: () => memoryStore(), share: true };
    expect(() => storeContract(misspelt)).toThrow(expect.objectContaining({ code: "config_invalid", option: "share" }));
  });

  it.each(mistakes)("finds a store that %s", async (_what, part, change) => {
    const failed: string[] = [];
    const open = broken(change);
    for (const { name, run } of storeContract({ open }).filter(({ name }) => name.includes(part))) {
      await run().catch(() => failed.push(name));
    }
    expect(failed).toContainEqual(expect.stringContaining(part));
  });

  it("finds a store that renews no lease, however long it is", async () => {
    const open = broken((store) => ({
      lease: async (key, { ttlMs }) => {
        const lease = await leaseOf(store, key, ttlMs);
        return lease && { ...lease, renew: () => Promise.resolve(false) };
      },
    }));
    const renewed = storeContract({ open }).find(({ name }) => name.includes("renewed goes on"));
    await expect(renewed?.run()).rejects.toThrow("a lease that is held cannot be renewed");
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

  it("finds a store that lets all in when a lease ends by time", async () => {
    let calls = 0;
    const open = broken((store) => ({
      lease: async (key, { ttlMs }) => {
        calls += 1;
        if (calls === 1) return leaseOf(store, key, ttlMs);
        // It ends between two of the contract's races, which are of eight.
        return calls > 1 + 8 ? eternal : undefined;
      },
    }));
    const byTime = storeContract({ open }).find(({ name }) => name.includes("by time"));
    await expect(byTime?.run()).rejects.toThrow("8 took over one lease");
  });

  describe("with two openings", () => {
    it.each(openings)("finds a store that %s", async (_what, part, open) => {
      const found = storeContract({ open: open(), shared: true }).find(({ name }) => name.includes(part));
      await expect(found?.run()).rejects.toThrow("the store contract is broken");
    });
  });

  describe("with another process", () => {
    const racing = (open: () => TokenStore): Promise<void> | undefined =>
      storeContract({ open, elsewhere: (plan) => raceStore(open(), plan) })
        .find(({ name }) => name.includes("two processes"))
        ?.run();

    it("takes a store that both share", async () => {
      const store = memoryStore();
      await racing(() => store);
    });

    it("finds a store that is atomic in one process only", async () => {
      await expect(racing(mutexForEachOpening())).rejects.toThrow(/writes passed and were lost/);
    });

    it("finds leases that are of one process only", async () => {
      await expect(racing(leasesForEachOpening())).rejects.toThrow(/times two held one lease/);
    });

    it("leaves nothing behind", async () => {
      const store = memoryStore();
      await racing(() => store);
      expect(await store.keys?.({ limit: 10 })).toEqual([]);
    });
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
    const lacks = ["lease", "due", "keys"] as const;
    for (const { run } of storeContract({ open: simple, lacks })) await run();
  });
});
