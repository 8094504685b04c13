import { setTimeout as wait } from "node:timers/promises";
import { expect, test } from "vitest";
import { countOf, report } from "./counts.ts";
import type { Fleet, Worker } from "./harness.ts";
import { isStarved, reusesIn, strayIn } from "./ledger.ts";
import type { Reuse } from "./ledger.ts";
import type { LeaseWord, ServerFault, TokenRequest } from "./messages.ts";
import { chooseSeed, randomOf } from "./random.ts";
import { TEST_TIMEOUT_MS, onEachStore } from "./suite.ts";

/** Full size: FLEET_SOAK=300. */
const STEPS = countOf("FLEET_SOAK", 6);

const SUBJECTS = ["ada", "grace", "edsger"];
const CALLERS = 5;
const LEASE_MS = 1_000;
const HOUR = 3_600_000;

/** `retry.maxAttempts`, as it is by default. */
const MAX_ATTEMPTS = 4;

/** Sockets to server and store that are kept for the next request, IPC, and what Node itself holds. */
const MOST_HANDLES = 20;

const FAULTS: readonly ServerFault["kind"][] = ["unavailable", "too-many", "drop-before", "drop-after"];

/** What a caller may see of all this; everything else would be news. */
const KNOWN_CODES = new Set([
  "server_unavailable",
  "network_error",
  "rate_limited",
  "circuit_open",
  "lease_lost",
  "lease_timeout",
  "reauthorization_required",
]);

const TERMINAL = new Set(["refresh_failed", "reauthorization_required"]);

/** One run: steps that are drawn from a seed, and what was counted meanwhile. */
class Soak {
  readonly codes = new Set<string>();
  /** Processes that were killed. */
  readonly killed = new Set<string>();
  /** Processes that were stopped for a while. */
  readonly stopped = new Set<string>();
  /** Logins that were found to be dead, and how often that was said. */
  lost = 0;
  told = 0;
  readonly #fleet: Fleet;
  readonly #random: () => number;
  readonly #workers: { readonly name: string; readonly worker: Worker }[] = [];
  /** Those that were killed, too. */
  readonly #all = new Map<string, Worker>();
  #count = 0;
  #hours = 0;

  constructor(fleet: Fleet, random: () => number) {
    this.#fleet = fleet;
    this.#random = random;
  }

  get workers(): readonly Worker[] {
    return this.#workers.map(({ worker }) => worker);
  }

  async add(): Promise<void> {
    const name = `w${String(this.#count++)}`;
    const worker = await this.#fleet.startWorker(name, { leaseTtlMs: LEASE_MS });
    await worker.call("passTime", { ms: this.#hours * HOUR });
    this.#workers.push({ name, worker });
    this.#all.set(name, worker);
  }

  /** Spent tokens that were sent although nothing had happened to who spent them, or to the answer. */
  unexplained(log: readonly TokenRequest[]): readonly Reuse[] {
    return reusesIn(log).filter((reuse) => {
      const { by, isDelivered } = reuse.first;
      if (!isDelivered || this.killed.has(by) || this.stopped.has(by)) return false;
      return !isStarved(reuse, LEASE_MS, (this.#all.get(by)?.words ?? []) as readonly LeaseWord[]);
    });
  }

  #draw<T>(from: readonly T[]): T {
    const drawn = from[Math.floor(this.#random() * from.length)];
    if (drawn === undefined) throw new TypeError("unreachable: nothing to draw from");
    return drawn;
  }

  async step(): Promise<void> {
    const kind = this.#draw(["calm", "fault", "fault", "kill", "pause"] as const);
    if (kind === "fault") {
      const times = 1 + Math.floor(this.#random() * 2);
      await this.#fleet.server.call("fault", { kind: this.#draw(FAULTS), times });
    }
    this.#hours += 1;
    await Promise.all(this.workers.map((worker) => worker.call("passTime", { ms: HOUR })));
    const asking = this.ask();
    if (kind === "pause") {
      const { name, worker } = this.#draw(this.#workers);
      this.stopped.add(name);
      worker.signal("SIGSTOP");
      await wait(2 * LEASE_MS * this.#random());
      worker.signal("SIGCONT");
    }
    await asking;
    await this.#fleet.server.call("release", null);
    if (kind === "kill") await this.#killOne();
    await this.signIn();
  }

  /** All ask for everything; a failure is told to its callers, and once to whoever listens. */
  async ask(): Promise<void> {
    const before = (await this.#fleet.log()).length;
    await Promise.all(
      this.workers.map(async (worker) => {
        const asked = await Promise.all(
          SUBJECTS.map(async (subject) => ({
            subject,
            asked: await worker.call("ask", { subjects: [subject], callers: CALLERS }),
          })),
        );
        const events = await worker.call("events", null);
        for (const { subject, asked: result } of asked) {
          const terminal = events.filter((event) => event.subject === subject && TERMINAL.has(event.type));
          this.#check(
            Object.entries(result.errors),
            terminal.map(({ type }) => type),
          );
        }
      }),
    );
    const requests = (await this.#fleet.log(before)).length;
    expect(requests).toBeLessThanOrEqual(this.#workers.length * SUBJECTS.length * MAX_ATTEMPTS);
  }

  #check(errors: readonly (readonly [string, number])[], terminal: readonly string[]): void {
    for (const [code] of errors) this.codes.add(code);
    const [code, count] = errors[0] ?? [];
    if (code === undefined) {
      expect(terminal).toEqual([]);
      return;
    }
    // All callers of a flight see the same.
    expect([code, count, errors.length]).toEqual([code, CALLERS, 1]);
    if (code === "reauthorization_required") {
      this.told += terminal.length;
      expect(terminal.filter((type) => type !== "reauthorization_required")).toEqual([]);
    } else if (code !== "lease_timeout") expect({ code, terminal }).toEqual({ code, terminal: ["refresh_failed"] });
  }

  async #killOne(): Promise<void> {
    const [victim] = this.#workers.splice(Math.floor(this.#random() * this.#workers.length), 1);
    if (victim === undefined) throw new TypeError("unreachable: there are two");
    const asking = victim.worker.call("ask", { subjects: SUBJECTS, callers: 1, rejected: true }).catch(() => undefined);
    await wait(20 * this.#random());
    await victim.worker.kill();
    await asking;
    this.killed.add(victim.name);
    await this.add();
    await this.ask();
  }

  async signIn(): Promise<void> {
    for (const subject of SUBJECTS) {
      const { state, cause } = await this.#fleet.stored(subject);
      if (state !== "reauthorization_required") continue;
      expect(cause).toBe("rotation_lost");
      this.lost += 1;
      await this.#fleet.logIn([subject], { agedMs: -this.#hours * HOUR });
    }
  }
}

onEachStore(
  "soak",
  (suite) => {
    const seed = chooseSeed();
    test(
      `R-76 ${String(STEPS)} steps of faults, kills, pauses and hours (seed ${String(seed)})`,
      () =>
        suite.withFleet({}, async (fleet) => {
          const startedAt = performance.now();
          await fleet.logIn(SUBJECTS);
          const soak = new Soak(fleet, randomOf(seed));
          await soak.add();
          await soak.add();
          for (let step = 0; step < STEPS; step++) await soak.step();
          // Quiet again: everybody is served.
          await soak.ask();
          await soak.signIn();

          const log = await fleet.log();
          expect(soak.unexplained(log)).toEqual([]);
          expect(strayIn(log)).toEqual([]);
          expect([...soak.codes].filter((code) => !KNOWN_CODES.has(code))).toEqual([]);
          // Once each; who was killed may have found it out and not have said it here.
          expect(soak.told).toBeLessThanOrEqual(soak.lost);
          expect(soak.lost - soak.told).toBeLessThanOrEqual(soak.killed.size * SUBJECTS.length);
          for (const subject of SUBJECTS) expect(await fleet.isStoredTokenLive(subject)).toBe(true);
          for (const worker of soak.workers) {
            const { handles, warnings } = await worker.call("resources", null);
            expect(warnings).toEqual([]);
            const count = Object.values(handles).reduce((sum, some) => sum + some, 0);
            expect({ handles, isBounded: count <= MOST_HANDLES }).toEqual({ handles, isBounded: true });
            expect(await worker.call("close", null)).toEqual([]);
          }
          report(
            `${suite.store}: seed ${String(seed)}: ${String(STEPS)} steps, ${String(log.length)} token requests, ` +
              `${String(soak.killed.size)} kills, ${String(soak.lost)} logins lost, callers saw ${[...soak.codes].join(", ") || "nothing"}`,
            startedAt,
          );
        }),
      TEST_TIMEOUT_MS,
    );
  },
  "one store",
);
