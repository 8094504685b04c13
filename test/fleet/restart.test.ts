import { setTimeout as wait } from "node:timers/promises";
import { expect, test } from "vitest";
import { countOf, report } from "./counts.ts";
import type { Fleet, Worker } from "./harness.ts";
import { busiestSecond, reusesIn } from "./ledger.ts";
import type { TokenRequest } from "./messages.ts";
import { TEST_TIMEOUT_MS, onEachStore } from "./suite.ts";

/** Full size: FLEET_RESTARTED=50 FLEET_MANAGERS=5 FLEET_DUE=200 FLEET_PER_SECOND=2 FLEET_SPREAD=1. */
const PROCESSES = countOf("FLEET_RESTARTED", 3);
/**
 * How many of these one program is: a manager, connections and an identity each. The memory of a small machine holds ten
 * programs, and not fifty.
 */
const MANAGERS = countOf("FLEET_MANAGERS", 1);
const SESSIONS = countOf("FLEET_DUE", 10);
const PER_SECOND = countOf("FLEET_PER_SECOND", 10);

/** Part of the minute over which due sessions of a restart are spread. */
const SPREAD = countOf("FLEET_SPREAD", 0.02);

const LONG_AGO_MS = 7_200_000;
const LOGINS_AT_ONCE = 200;

async function logInAll(fleet: Fleet, subjects: readonly string[]): Promise<void> {
  for (let from = 0; from < subjects.length; from += LOGINS_AT_ONCE) {
    await fleet.logIn(subjects.slice(from, from + LOGINS_AT_ONCE), { agedMs: LONG_AGO_MS });
  }
}

/** Waits until all are refreshed, and until nobody is at one too many: then all are closed. */
async function untilAllRefreshed(
  fleet: Fleet,
  workers: readonly Worker[],
  count: number,
): Promise<readonly TokenRequest[]> {
  const log: TokenRequest[] = [];
  while (log.filter(({ status }) => status === 200).length < count) {
    await wait(200);
    log.push(...(await fleet.log(log.length)));
  }
  for (const worker of workers) while ((await worker.call("sending", null)) > 0) await wait(20);
  await Promise.all(workers.map((worker) => worker.call("close", null)));
  return fleet.log();
}

onEachStore(
  "restart of a fleet",
  (suite) => {
    const all = PROCESSES * SESSIONS;
    test(
      `R-65 R-10 ${String(PROCESSES)} processes start with ${String(SESSIONS)} due sessions each, ${String(PER_SECOND)} a second allowed to each`,
      () =>
        suite.withFleet({}, async (fleet) => {
          const subjects = Array.from({ length: all }, (_, index) => `user${String(index)}`);
          await logInAll(fleet, subjects);
          // They know nothing but the store: each finds all that is due, and all want to refresh it.
          const workers = await fleet.startWorkers(PROCESSES / MANAGERS, {
            managers: MANAGERS,
            perSecond: PER_SECOND,
            jitter: SPREAD,
            resolves: true,
          });
          const startedAt = performance.now();
          await Promise.all(workers.map((worker) => worker.call("start", { subjects: [] })));
          const log = await untilAllRefreshed(fleet, workers, all);

          // How long the first took says why: an answer that takes longer than a client waits is a lost one.
          const reuses = reusesIn(log).map(({ first, again }) => ({
            first: first.by,
            tookMs: Math.round(first.answeredAt - first.sentAt),
            again: again.by,
            laterMs: Math.round(again.sentAt - first.sentAt),
          }));
          expect(reuses).toEqual([]);
          expect(log.filter(({ status }) => status !== 200)).toEqual([]);
          expect(new Set(log.map(({ family }) => family)).size).toBe(all);
          expect(log).toHaveLength(all);
          const perWorker = [...new Set(log.map(({ by }) => by))].map((name) =>
            busiestSecond(log.filter(({ by }) => by === name).map(({ sentAt }) => sentAt)),
          );
          // One more: the time is taken a moment after the turn, and not always the same moment.
          expect(Math.max(...perWorker)).toBeLessThanOrEqual(PER_SECOND + 1);
          const arrived = busiestSecond(log.map(({ arrivedAt }) => arrivedAt));
          // What was held up on the way may arrive with what follows.
          expect(arrived).toBeLessThanOrEqual(PROCESSES * PER_SECOND * 2);
          const durationMs =
            Math.max(...log.map(({ sentAt }) => sentAt)) - Math.min(...log.map(({ sentAt }) => sentAt));
          expect(all).toBeLessThanOrEqual(PROCESSES * (PER_SECOND * (1 + durationMs / 1_000) + 1));
          report(
            `${suite.store}: ${String(PROCESSES)} processes, ${String(all)} due sessions: ${String(log.length)} token requests, ` +
              `busiest second of a process ${String(Math.max(...perWorker))} of ${String(PER_SECOND)}, ` +
              `of the server ${String(arrived)} of ${String(PROCESSES * PER_SECOND)}`,
            startedAt,
          );
        }),
      TEST_TIMEOUT_MS,
    );
  },
  "one store",
);
