import { ConfigurationError } from "../core/index.ts";
import { systemClock } from "../lib/clock.ts";
import type { Lease, StoredRecord, TokenStore } from "../session/store.ts";
import type { ContractCase } from "./warehouse-contract.ts";

/** What a store contract works with. */
export interface StoreContractOptions {
  /** Gives an empty store. */
  open(): TokenStore | Promise<TokenStore>;
  /** A second call of `open` sees the same data. Default is `false`. */
  readonly shared?: boolean;
}

/** Calls have a deadline in the manager; here they only must not need one to be absent. */
const NO_OPTIONS = Object.freeze({});

/** Long enough that no slow test machine loses it, and never waited for. */
const LONG_LEASE_MS = 60_000;

/** Waited for, by the system's clock: a store measures its leases by a clock of its own. */
const SHORT_LEASE_MS = 200;

/** How long a lost lease may take to become free again before it counts as never. */
const LEASE_PATIENCE_MS = 10_000;

const LEASE_POLL_MS = 50;

/** How many write at the same time. */
const RACERS = 8;

/** Due before everything that a shared store may hold otherwise: the first milliseconds of 1970. */
const FIRST_DUE = 1;

/** Keys as a manager may write them, and as file systems, SQL and URLs dislike them. */
const ODD_PARTS = ["a|b", "a/b", "../a", "a%2Fb", "a b", "a'b\"c", "a:b", "é", "日本", "A", "x".repeat(300)];

interface Bench {
  readonly store: TokenStore;
  /** Opens once more, where data is shared. */
  readonly reopen: () => Promise<TokenStore>;
  /** A key that no other case uses. */
  readonly key: (part?: string) => string;
  readonly prefix: string;
}

type Check = (bench: Bench) => Promise<void>;

/**
 * Lists what every store must do, with what it says it can: compare-and-set where `capabilities` names it, leases, `due`
 * and `keys` where it has the methods. Uses keys of its own and deletes them. Leases are tested by real time.
 *
 * @example
 *
 * ```ts
 * import { describe, test } from "node:test";
 * import type { TokenStore } from "warehouse-oauth";
 * import { storeContract } from "warehouse-oauth/testing";
 *
 * declare function openMyStore(): Promise<TokenStore>;
 *
 * describe("my store", () => {
 *   for (const { name, run } of storeContract({ open: openMyStore, shared: true })) void test(name, run);
 * });
 * ```
 */
export function storeContract(options: StoreContractOptions): readonly ContractCase[] {
  const cases: [string, Check][] = [...RECORD_CASES, ...LEASE_CASES, ...LIST_CASES];
  if (options.shared === true) cases.push(...SHARED_CASES);
  return Object.freeze(cases.map(([name, check]) => Object.freeze({ name, run: () => runCase(options, check) })));
}

async function runCase(options: StoreContractOptions, check: Check): Promise<void> {
  const store = await options.open();
  const prefix = `contract-${crypto.randomUUID()}-`;
  const used = new Set<string>();
  try {
    await check({
      store,
      prefix,
      reopen: async () => options.open(),
      key(part = "key") {
        used.add(prefix + part);
        return prefix + part;
      },
    });
  } finally {
    for (const key of used) await store.delete(key, NO_OPTIONS);
  }
}

function expect(condition: boolean, message: string): asserts condition {
  if (!condition) throw new ConfigurationError("config_invalid", `the store contract is broken: ${message}`);
}

/** Writes where it must succeed, and gives the version. */
async function put(store: TokenStore, key: string, record: StoredRecord, ifVersion?: string): Promise<string> {
  const version = await store.write(key, record, { ifVersion });
  expect(version !== undefined, "a write on the current version was refused");
  return version;
}

const RECORD_CASES: readonly [string, Check][] = [
  [
    "a key that nobody wrote is absent, and deleting it is done",
    async ({ store, key }) => {
      expect((await store.read(key(), NO_OPTIONS)) === undefined, "read gave something for a key that nobody wrote");
      expect(await store.delete(key(), NO_OPTIONS), "delete of an absent key must say true: it is gone");
    },
  ],
  [
    "a record comes back as it was written, with its version",
    async ({ store, key }) => {
      const now = 1_767_225_600_000;
      const records: StoredRecord[] = [
        { value: "" },
        { value: "é 日本 \u0000 \"'\\ \n", dueAt: now * 2 },
        { value: "v".repeat(65_536), dueAt: now * 2, deleteAfter: now * 3 },
      ];
      let version: string | undefined;
      for (const record of records) {
        version = await put(store, key(), record, version);
        const read = await store.read(key(), NO_OPTIONS);
        expect(read?.version === version, "read gave another version than write");
        for (const member of ["value", "dueAt", "deleteAfter"] as const) {
          expect(read.record[member] === record[member], `"${member}" came back changed`);
        }
      }
    },
  ],
  [
    "odd keys are keys, each for itself",
    async ({ store, key }) => {
      for (const part of ODD_PARTS) await put(store, key(part), { value: part });
      await put(store, key("a"), { value: "lower case" });
      for (const part of ODD_PARTS) {
        const read = await store.read(key(part), NO_OPTIONS);
        expect(read?.record.value === part, `the record of the key part ${part.slice(0, 20)} is another's`);
      }
      expect(await store.delete(key("A"), NO_OPTIONS), "delete did not say true");
      expect((await store.read(key("a"), NO_OPTIONS)) !== undefined, "keys that differ in case are one key");
    },
  ],
  [
    "a version is never used twice for a key, not even after a delete",
    async ({ store, key }) => {
      const seen = new Set<string>();
      for (let round = 0; round < 3; round += 1) {
        let version: string | undefined;
        for (let write = 0; write < 3; write += 1) {
          version = await put(store, key(), { value: "the same" }, version);
          expect(!seen.has(version), "a version came back");
          seen.add(version);
        }
        await store.delete(key(), NO_OPTIONS);
      }
    },
  ],
  [
    "compare-and-set writes on the current version only, and a conflict changes nothing",
    async ({ store, key }) => {
      if (!store.capabilities.compareAndSet) return;
      expect(
        (await store.write(key(), { value: "0" }, { ifVersion: "none" })) === undefined,
        'a write with "ifVersion" passed where nothing is stored',
      );
      const first = await put(store, key(), { value: "1" });
      const second = await put(store, key(), { value: "2" }, first);
      for (const ifVersion of [undefined, first, "none"]) {
        const conflict = await store.write(key(), { value: "lost" }, { ifVersion });
        expect(conflict === undefined, "a write on another version passed");
      }
      const read = await store.read(key(), NO_OPTIONS);
      expect(read?.record.value === "2" && read.version === second, "a refused write changed the record");
    },
  ],
  [
    "of many writes on one version, one passes",
    async ({ store, key }) => {
      if (!store.capabilities.compareAndSet) return;
      for (const start of [undefined, await put(store, key("second"), { value: "start" })]) {
        const target = key(start === undefined ? "first" : "second");
        const versions = await Promise.all(
          Array.from({ length: RACERS }, (_, racer) =>
            store.write(target, { value: String(racer) }, { ifVersion: start }),
          ),
        );
        const winners = versions.flatMap((version, racer) => (version === undefined ? [] : [racer]));
        expect(winners.length === 1, `${String(winners.length)} of ${String(RACERS)} writes on one version passed`);
        const read = await store.read(target, NO_OPTIONS);
        expect(read?.record.value === String(winners[0]), "the record is not the winner's");
      }
    },
  ],
  [
    "delete keeps to the version it is given, and a record made anew is another one",
    async ({ store, key }) => {
      const first = await put(store, key(), { value: "1" });
      const second = await put(store, key(), { value: "2" }, first);
      if (store.capabilities.compareAndSet) {
        expect(!(await store.delete(key(), { ifVersion: first })), "delete of an older version said true");
        expect((await store.read(key(), NO_OPTIONS)) !== undefined, "delete of an older version deleted");
      }
      expect(await store.delete(key(), { ifVersion: second }), "delete of the current version said false");
      expect((await store.read(key(), NO_OPTIONS)) === undefined, "a deleted record is still there");
      if (!store.capabilities.compareAndSet) return;
      await put(store, key(), { value: "anew" });
      const stale = await store.write(key(), { value: "stale" }, { ifVersion: second });
      expect(stale === undefined, "a write on a version from before the delete passed");
    },
  ],
];

const LEASE_CASES: readonly [string, Check][] = [
  [
    "a lease has one holder, for its key only, until it is released",
    async ({ store, key }) => {
      if (store.lease === undefined) return;
      const options = { ttlMs: LONG_LEASE_MS };
      const taken = await Promise.all(Array.from({ length: RACERS }, () => tryLease(store, key(), options.ttlMs)));
      const [lease, ...others] = taken.flatMap((got) => (got === undefined ? [] : [got]));
      expect(lease !== undefined && others.length === 0, `${String(others.length + 1)} hold one lease`);
      const elsewhere = await store.lease(key("other"), options);
      expect(elsewhere !== undefined, "a lease of one key keeps another key");
      await elsewhere.release();
      expect(await lease.renew(LONG_LEASE_MS), "a lease that is held was not renewed");
      expect((await store.lease(key(), options)) === undefined, "a held lease was given away");
      await put(store, key(), { value: "written under a lease" });
      await lease.release();
      const next = await store.lease(key(), options);
      expect(next !== undefined, "a released lease cannot be got");
      await lease.release();
      expect(!(await lease.renew(LONG_LEASE_MS)), "a released lease was renewed");
      expect((await store.lease(key(), options)) === undefined, "an old holder released the new one's lease");
      await next.release();
    },
  ],
  [
    "a lease ends by time, and its old holder has no part in it any more",
    async ({ store, key }) => {
      if (store.lease === undefined) return;
      const old = await store.lease(key(), { ttlMs: SHORT_LEASE_MS });
      expect(old !== undefined, "a free lease cannot be got");
      const until = systemClock.monotonic() + LEASE_PATIENCE_MS;
      let next = await store.lease(key(), { ttlMs: LONG_LEASE_MS });
      while (next === undefined && systemClock.monotonic() < until) {
        await sleep(LEASE_POLL_MS);
        next = await store.lease(key(), { ttlMs: LONG_LEASE_MS });
      }
      expect(next !== undefined, "a lease whose holder died never became free");
      expect(!(await old.renew(LONG_LEASE_MS)), "a lost lease was renewed");
      await old.release();
      expect((await store.lease(key(), { ttlMs: LONG_LEASE_MS })) === undefined, "a lost lease released the new one");
      expect(await next.renew(LONG_LEASE_MS), "the new holder lost its lease to the old one");
      await next.release();
    },
  ],
];

const LIST_CASES: readonly [string, Check][] = [
  [
    "due lists what is due before a time, earliest first, and follows every write",
    async ({ store, key }) => {
      if (store.due === undefined) return;
      const at = (order: number): number => FIRST_DUE + order;
      const late = await put(store, key("late"), { value: "", dueAt: at(3) });
      await put(store, key("early"), { value: "", dueAt: at(1) });
      await put(store, key("at the line"), { value: "", dueAt: at(4) });
      await put(store, key("never"), { value: "" });
      const list = async (limit: number): Promise<string[]> => {
        const found = (await store.due?.({ before: at(4), limit })) ?? [];
        return found.map(({ key: name }) => name);
      };
      expect(same(await list(10), [key("early"), key("late")]), '"due" is incomplete, unordered, or goes too far');
      expect(same(await list(1), [key("early")]), '"due" ignores "limit"');
      const entries = await store.due({ before: at(4), limit: 1 });
      expect(entries[0]?.dueAt === at(1), '"due" gives another time than was written');
      await put(store, key("late"), { value: "" }, late);
      await store.delete(key("early"), NO_OPTIONS);
      expect((await list(10)).length === 0, '"due" lists what was deleted or is due no more');
    },
  ],
  [
    "keys lists keys of a prefix in order, page by page",
    async ({ store, key, prefix }) => {
      if (store.keys === undefined) return;
      for (const part of ["c", "a", "b"]) await put(store, key(part), { value: "" });
      const all = await store.keys({ prefix, limit: 10 });
      expect(same(all, [key("a"), key("b"), key("c")]), '"keys" is incomplete, unordered, or ignores "prefix"');
      const page = await store.keys({ prefix, after: key("a"), limit: 1 });
      expect(same(page, [key("b")]), '"keys" ignores "after" or "limit"');
    },
  ],
];

const SHARED_CASES: readonly [string, Check][] = [
  [
    "two openings see the same records, versions and leases",
    async ({ store, reopen, key }) => {
      const other = await reopen();
      const first = await put(store, key(), { value: "from one" });
      const read = await other.read(key(), NO_OPTIONS);
      expect(read?.record.value === "from one" && read.version === first, "the other opening does not see the record");
      await put(other, key(), { value: "from the other" }, first);
      if (store.capabilities.compareAndSet) {
        const conflict = await store.write(key(), { value: "lost" }, { ifVersion: first });
        expect(conflict === undefined, "a write on a version that the other opening replaced passed");
      }
      const lease = await store.lease?.(key(), { ttlMs: LONG_LEASE_MS });
      if (lease === undefined) return;
      expect((await other.lease?.(key(), { ttlMs: LONG_LEASE_MS })) === undefined, "both openings hold one lease");
      await lease.release();
    },
  ],
];

async function tryLease(store: TokenStore, key: string, ttlMs: number): Promise<Lease | undefined> {
  return store.lease?.(key, { ttlMs });
}

function same(found: readonly string[], wanted: readonly string[]): boolean {
  return found.length === wanted.length && found.every((text, at) => text === wanted[at]);
}

function sleep(durationMs: number): Promise<void> {
  return new Promise((resolve) => {
    systemClock.setTimer(resolve, durationMs, { keepAlive: true });
  });
}
