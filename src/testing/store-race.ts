import { systemClock } from "../lib/clock.ts";
import type { Lease, TokenStore } from "../session/store.ts";
import { NO_OPTIONS, expect, sleep } from "./store-case.ts";

/** Who races where. JSON-safe, so that it can be sent to another process. */
export interface StoreRacePlan {
  /** What is raced for; two keys of it are used, and one for each racer. */
  readonly key: string;
  /** Which of the racers this is, from 0. */
  readonly racer: number;
  /** How many there are: each waits for all before it begins. */
  readonly racers: number;
  /** How often each must win. */
  readonly rounds: number;
}

/** What became of one racer. JSON-safe, so that another process can send it back. */
export interface StoreRaceReport {
  /** Versions of the writes that passed. */
  readonly versions: readonly string[];
  /** Writes that gave way to another racer's. */
  readonly conflicts: number;
  /** Leases that were got; 0 where the store has none. */
  readonly leases: number;
  /** Times when somebody else had written what was read and written under a lease. */
  readonly trespasses: number;
}

/** Longer than a process takes to start, and than any race here takes, on a busy machine. */
const PATIENCE_MS = 60_000;

/** Longer than any racer holds it, so that only a `release` hands it on. */
const LEASE_MS = 60_000;

/** Between two looks at what another racer holds: a few milliseconds, uneven by racer, so that none always loses. */
const LOOK_MS = 2;

/** The keys of a race: to be deleted after it. */
export function raceKeys({ key, racers }: Omit<StoreRacePlan, "racer">): readonly string[] {
  return [counterOf(key), guardedOf(key), ...Array.from({ length: racers }, (_, racer) => readyOf(key, racer))];
}

const counterOf = (key: string): string => `${key}/counter`;
const guardedOf = (key: string): string => `${key}/guarded`;
const readyOf = (key: string, racer: number): string => `${key}/ready/${String(racer)}`;

/**
 * Races for one record and for one lease against others that do the same: the half of {@link storeContract}'s races that
 * runs in another process. Counts up by compare-and-set, then under the lease, and reports what it won.
 *
 * @example
 *
 * ```ts
 * // racer.ts, forked by the test with `elsewhere: (plan) => …send(plan), and wait for the message…`
 * import type { TokenStore } from "warehouse-oauth";
 * import { raceStore, type StoreRacePlan } from "warehouse-oauth/testing";
 *
 * declare function openMyStore(): Promise<TokenStore>;
 *
 * process.once("message", (plan) => {
 *   void openMyStore()
 *     .then((store) => raceStore(store, plan as StoreRacePlan))
 *     .then((report) => process.send?.(report));
 * });
 * ```
 */
export async function raceStore(store: TokenStore, plan: StoreRacePlan): Promise<StoreRaceReport> {
  const giveUpAt = systemClock.monotonic() + PATIENCE_MS;
  await untilAllAreReady(store, plan, giveUpAt);
  const versions: string[] = [];
  let conflicts = 0;
  while (versions.length < plan.rounds) {
    assertInTime(giveUpAt, "a racer's writes never passed");
    // Now as fast as can be, now slowly, lest the first be through before the last has begun.
    const version = await countUp(store, counterOf(plan.key), versions.length % 2 === 0 ? undefined : LOOK_MS);
    if (version === undefined) conflicts += 1;
    else versions.push(version);
  }
  return { versions, conflicts, ...(await raceForLease(store, plan, giveUpAt)) };
}

/** Runs a race between all who are given, and checks that nothing was lost and nobody was let in twice. */
export async function checkRace(
  store: TokenStore,
  race: Omit<StoreRacePlan, "racer" | "racers">,
  entrants: readonly ((plan: StoreRacePlan) => Promise<StoreRaceReport>)[],
): Promise<void> {
  const racers = entrants.length;
  const reports = await Promise.all(entrants.map((enter, racer) => enter({ ...race, racers, racer })));
  const versions = reports.flatMap((report) => report.versions);
  expect(versions.length === racers * race.rounds, "a racer gave up");
  expect(new Set(versions).size === versions.length, "two writes got one version");
  const lost = versions.length - (await countAt(store, counterOf(race.key)));
  expect(lost === 0, `${String(lost)} of ${String(versions.length)} writes passed and were lost`);
  const sum = (of: (report: StoreRaceReport) => number): number => reports.reduce((total, one) => total + of(one), 0);
  const trespasses = sum((report) => report.trespasses);
  expect(trespasses === 0, `${String(trespasses)} times two held one lease, or its holder read an old copy`);
  const guarded = await countAt(store, guardedOf(race.key));
  expect(guarded === sum((report) => report.leases), "writes under a lease were lost");
}

function assertInTime(giveUpAt: number, message: string): void {
  expect(systemClock.monotonic() < giveUpAt, message);
}

async function untilAllAreReady(
  store: TokenStore,
  { key, racer, racers }: StoreRacePlan,
  giveUpAt: number,
): Promise<void> {
  await store.write(readyOf(key, racer), { value: "ready" }, { ifVersion: undefined });
  for (let other = 0; other < racers; other += 1) {
    while ((await store.read(readyOf(key, other), NO_OPTIONS)) === undefined) {
      assertInTime(giveUpAt, "a racer never came to the race: does it open the same store?");
      await sleep(LOOK_MS);
    }
  }
}

async function raceForLease(
  store: TokenStore,
  { key, racer, rounds }: StoreRacePlan,
  giveUpAt: number,
): Promise<Pick<StoreRaceReport, "leases" | "trespasses">> {
  const target = guardedOf(key);
  let [leases, trespasses] = [0, 0];
  while (leases < rounds) {
    assertInTime(giveUpAt, "a racer never got the lease: is it released?");
    const lease: Lease | undefined = await store.lease?.(target, { ttlMs: LEASE_MS });
    if (lease !== undefined) {
      leases += 1;
      while ((await countUp(store, target, LOOK_MS)) === undefined) {
        assertInTime(giveUpAt, "writes under a lease never passed");
        trespasses += 1;
      }
      await lease.release();
    } else if (store.lease === undefined) break;
    else await sleep(LOOK_MS + racer);
  }
  return { leases, trespasses };
}

async function countAt(store: TokenStore, key: string): Promise<number> {
  return Number((await store.read(key, NO_OPTIONS))?.record.value ?? 0);
}

/** Reads, adds one, and writes if nobody wrote meanwhile. With `pauseMs` in between, for others to get in. */
async function countUp(store: TokenStore, key: string, pauseMs?: number): Promise<string | undefined> {
  const found = await store.read(key, NO_OPTIONS);
  if (pauseMs !== undefined) await sleep(pauseMs);
  const next = String(Number(found?.record.value ?? 0) + 1);
  return store.write(key, { value: next }, { ifVersion: found?.version });
}
