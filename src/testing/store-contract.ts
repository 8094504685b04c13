import { assertKnownOptions } from "../core/index.ts";
import type { TokenStore } from "../session/store.ts";
import { NO_OPTIONS, expect, put } from "./store-case.ts";
import type { StoreBench, StoreCase } from "./store-case.ts";
import { LEASE_CASES } from "./store-lease-cases.ts";
import { LIST_CASES } from "./store-list-cases.ts";
import { checkRace, raceKeys, raceStore } from "./store-race.ts";
import type { StoreRacePlan, StoreRaceReport } from "./store-race.ts";
import { RECORD_CASES } from "./store-record-cases.ts";
import type { ContractCase } from "./warehouse-contract.ts";

/** What a store contract works with. */
export interface StoreContractOptions {
  /** Gives an empty store. */
  open(): TokenStore | Promise<TokenStore>;
  /** A second call of `open` sees the same data. Default is `false`. */
  readonly shared?: boolean;
  /** Methods that the store does not have: what is said of them is left out. One that is missing and not named here fails. */
  readonly lacks?: readonly ("lease" | "due" | "keys")[];
  /**
   * Runs {@link raceStore} on the same data in another process, and gives its report. Without it nothing is raced between
   * processes.
   */
  readonly elsewhere?: (plan: StoreRacePlan) => Promise<StoreRaceReport>;
}

/** How often each racer must win: some hundred chances to get in between another's two steps. */
const ROUNDS = 25;

/** Long enough that no slow test machine loses it, and never waited for. */
const LONG_LEASE_MS = 60_000;

/**
 * Lists what every store must do, with what it says it can: compare-and-set where `capabilities` names it; leases, `due`
 * and `keys` unless `lacks` names them. Uses keys of its own and deletes them. Leases are tested by real time.
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
  assertKnownOptions(options, "storeContract", ["open", "shared", "lacks", "elsewhere"]);
  const cases: StoreCase[] = [...RECORD_CASES, ...LEASE_CASES, ...LIST_CASES, RACE_CASE];
  if (options.shared === true) cases.push(...SHARED_CASES);
  if (options.elsewhere !== undefined) cases.push(raceElsewhere(options.elsewhere));
  const { lacks = [] } = options;
  const wanted = cases.filter(([, , needs]) => needs === undefined || !lacks.includes(needs));
  return Object.freeze(wanted.map(([name, check]) => Object.freeze({ name, run: () => runCase(options, check) })));
}

async function runCase(options: StoreContractOptions, check: StoreCase[1]): Promise<void> {
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

/** Runs a race between stores or processes with keys of its own, where there is something to race for. */
async function runRace({ store, key, prefix }: StoreBench, entrants: readonly Entrant[]): Promise<void> {
  if (!store.capabilities.compareAndSet) return;
  const race = { key: key("race"), rounds: ROUNDS };
  // Told to `key`, so that they are deleted after the case.
  for (const used of raceKeys({ ...race, racers: entrants.length })) key(used.slice(prefix.length));
  await checkRace(store, race, entrants);
}

type Entrant = (plan: StoreRacePlan) => Promise<StoreRaceReport>;

const enterWith =
  (store: TokenStore): Entrant =>
  (plan) =>
    raceStore(store, plan);

const RACE_CASE: StoreCase = [
  "two writers racing through one client lose nothing, and hold a lease one after the other",
  (bench) => runRace(bench, [enterWith(bench.store), enterWith(bench.store)]),
];

const SHARED_CASES: readonly StoreCase[] = [
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
  [
    "what one opening wrote or deleted, the other reads at once",
    async ({ store, reopen, key }) => {
      const other = await reopen();
      let version: string | undefined;
      for (let write = 0; write < ROUNDS; write += 1) {
        const [writer, reader] = write % 2 === 0 ? [store, other] : [other, store];
        version = await put(writer, key(), { value: String(write) }, version);
        const read = await reader.read(key(), NO_OPTIONS);
        expect(read?.record.value === String(write) && read.version === version, "a read gave an old copy");
      }
      await store.delete(key(), NO_OPTIONS);
      expect((await other.read(key(), NO_OPTIONS)) === undefined, "a read gave what the other opening had deleted");
    },
  ],
  [
    "two writers racing through two openings lose nothing, and hold a lease one after the other",
    async (bench) => runRace(bench, [enterWith(bench.store), enterWith(await bench.reopen())]),
  ],
];

function raceElsewhere(elsewhere: Entrant): StoreCase {
  return [
    "two writers racing from two processes lose nothing, and hold a lease one after the other",
    (bench) => runRace(bench, [enterWith(bench.store), elsewhere]),
  ];
}
