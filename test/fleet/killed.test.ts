import { setTimeout as wait } from "node:timers/promises";
import { expect, test } from "vitest";
import { countOf, report } from "./counts.ts";
import type { Fleet, Worker } from "./harness.ts";
import { isStarved, reusesIn, strayIn } from "./ledger.ts";
import { machineTime } from "./machine-time.ts";
import type { LeaseWord, TokenRequest } from "./messages.ts";
import { chooseSeed, randomOf } from "./random.ts";
import { TEST_TIMEOUT_MS, onEachStore } from "./suite.ts";

/** Full size: FLEET_ROTATIONS=10000 FLEET_KILL_EVERY_MS=2000. A failing run is repeated with the FLEET_SEED it printed, as far as timing allows. */
const ROTATIONS = countOf("FLEET_ROTATIONS", 25);
const KILL_EVERY_MS = countOf("FLEET_KILL_EVERY_MS", 300);

/** However quick the machine is. */
const LEAST_KILLS = 4;
/** How often the next kill comes whether or not anything was sent since the last; if always, nothing might ever be sent. */
const HASTE = 1 / 3;
/** After so many kills without a rotation between them the next waits for one: a third send in vain is followed by a rest of 30 s. */
const KILLS_IN_A_ROW = 2;
const LEASE_MS = 1_000;

const SUBJECT = "ada";

/** Two processes that refresh the same session without end, and are killed now and then. */
class KilledFleet {
  readonly killed = new Map<string, number>();
  /** Logins that were found to be lost. */
  lost = 0;
  readonly #fleet: Fleet;
  readonly #random: () => number;
  readonly #workers: { readonly name: string; readonly worker: Worker }[] = [];
  /** Those that were killed, too. */
  readonly #all = new Map<string, Worker>();
  #count = 0;
  #signingIn: Promise<void> = Promise.resolve();
  #failure: unknown;

  constructor(fleet: Fleet, random: () => number) {
    this.#fleet = fleet;
    this.#random = random;
  }

  async add(): Promise<void> {
    const name = `w${String(this.#count++)}`;
    const worker = await this.#fleet.startWorker(name, { leaseTtlMs: LEASE_MS });
    this.#workers.push({ name, worker });
    this.#all.set(name, worker);
    void this.#watch(worker);
    await worker.call("rotate", { subject: SUBJECT, seed: Math.floor(this.#random() * 2 ** 32) });
  }

  async killOne(): Promise<void> {
    const [victim] = this.#workers.splice(Math.floor(this.#random() * this.#workers.length), 1);
    if (victim === undefined) throw new TypeError("unreachable: there are two");
    // Before: another process may take the lease of a dead one sooner than we hear of its end.
    this.killed.set(victim.name, machineTime());
    await victim.worker.kill();
  }

  /** Signs in again wherever a worker says that somebody must, once. */
  async #watch(worker: Worker): Promise<void> {
    const isTold = (): Promise<boolean> =>
      worker.until("reauthorization").then(
        () => true,
        () => false,
      );
    while (await isTold()) {
      this.#signingIn = this.#signingIn.then(() => this.signInIfLost());
      this.#signingIn.catch((error: unknown) => (this.#failure ??= error));
    }
  }

  /** What a worker said of its leases. */
  wordsOf(name: string): readonly LeaseWord[] {
    return (this.#all.get(name)?.words ?? []) as readonly LeaseWord[];
  }

  /** One process asks and refreshes once more: what one without time saved late may be dead, and is found out. */
  async findOut(): Promise<void> {
    await this.signInIfLost();
    const worker = await this.#fleet.startWorker("last", { leaseTtlMs: LEASE_MS });
    await worker.call("ask", { subjects: [SUBJECT], callers: 1 });
    await worker.call("ask", { subjects: [SUBJECT], callers: 1, rejected: true });
    await this.signInIfLost();
  }

  /** @throws What went wrong while nobody looked. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure as Error;
  }

  async signInIfLost(): Promise<void> {
    const { state, cause } = await this.#fleet.stored(SUBJECT);
    if (state !== "reauthorization_required") return;
    expect(cause).toBe("rotation_lost");
    this.lost += 1;
    await this.#fleet.logIn([SUBJECT]);
  }

  async rest(): Promise<Readonly<Record<string, number>>> {
    const failures = await Promise.all(this.#workers.map(({ worker }) => worker.call("rest", null)));
    await this.#signingIn;
    return Object.assign({}, ...failures) as Readonly<Record<string, number>>;
  }
}

onEachStore("killed at random", (suite) => {
  const seed = chooseSeed();
  test(
    `R-66 R-25 two processes, one session, ${String(ROTATIONS)} rotations, kill -9 about every ${String(KILL_EVERY_MS)} ms (seed ${String(seed)})`,
    () =>
      suite.withFleet({}, async (fleet) => {
        const random = randomOf(seed);
        await fleet.logIn([SUBJECT]);
        const startedAt = performance.now();
        const fleetOfTwo = new KilledFleet(fleet, random);
        await fleetOfTwo.add();
        await fleetOfTwo.add();
        const log: TokenRequest[] = [];
        const rotations = (): number => log.filter(({ status }) => status === 200).length;
        let rotationsBefore = 0;
        let inARow = 0;
        while (rotations() < ROTATIONS || fleetOfTwo.killed.size < LEAST_KILLS) {
          const seen = log.length;
          const inHaste = random() < HASTE;
          const mayKill = (): boolean =>
            inARow >= KILLS_IN_A_ROW ? rotations() > rotationsBefore : inHaste || log.length > seen;
          do {
            await wait(2 * KILL_EVERY_MS * random());
            fleetOfTwo.check();
            log.push(...(await fleet.log(log.length)));
          } while (!mayKill());
          inARow = rotations() > rotationsBefore ? 1 : inARow + 1;
          rotationsBefore = rotations();
          await fleetOfTwo.killOne();
          await fleetOfTwo.add();
        }
        const failures = await fleetOfTwo.rest();
        await fleetOfTwo.findOut();
        log.push(...(await fleet.log(log.length)));

        const reuses = reusesIn(log);
        const { killed, lost } = fleetOfTwo;
        // A spent token is sent again only if who spent it was killed before it could save what it got.
        // Or if the machine gave one of them no time: a pause.
        const starved = reuses.filter((reuse) =>
          isStarved(reuse, LEASE_MS, fleetOfTwo.wordsOf(reuse.first.by), killed.get(reuse.first.by)),
        );
        const wrong = reuses.filter((reuse) => {
          const { first, again, next, successorUsed } = reuse;
          if (starved.includes(reuse)) return false;
          const killedAt = killed.get(first.by) ?? Infinity;
          return killedAt > again.arrivedAt || next !== undefined || successorUsed;
        });
        expect(wrong).toEqual([]);
        expect(strayIn(log)).toEqual([]);
        // What the server refused was a spent token, and every login that died of it was found to be lost.
        const refused = log.filter(({ status }) => status !== 200);
        expect(refused.filter((request) => !reuses.some(({ again }) => again === request))).toEqual([]);
        expect(new Set(reuses.map(({ again }) => again.family)).size).toBe(lost);
        expect(await fleet.stored(SUBJECT)).toMatchObject({ state: "active" });
        expect(await fleet.isStoredTokenLive(SUBJECT)).toBe(true);
        report(
          `${suite.store}: seed ${String(seed)}: ${String(rotations())} rotations, ${String(killed.size)} kills, ` +
            `${String(lost)} logins lost (killed between send and save), ${String(reuses.length)} spent tokens seen (${String(starved.length)} by processes without time), ` +
            `other failures ${JSON.stringify(failures)}`,
          startedAt,
        );
      }),
    TEST_TIMEOUT_MS,
  );
});
