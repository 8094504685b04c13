import { setTimeout as wait } from "node:timers/promises";
import { expect, test } from "vitest";
import { countOf, report } from "./counts.ts";
import type { Fleet, Worker } from "./harness.ts";
import { merge, reusesIn, strayIn } from "./ledger.ts";
import { chooseSeed, randomOf } from "./random.ts";
import { throughPort } from "./stores.ts";
import { TEST_TIMEOUT_MS, onEachStore } from "./suite.ts";
import { startTcpProxy } from "./tcp-proxy.ts";
import type { TcpProxy } from "./tcp-proxy.ts";

/** Full size: FLEET_OUTAGES=30. */
const OUTAGES = countOf("FLEET_OUTAGES", 3);
const PROCESSES = 2;
const CALLERS = 10;
const SUBJECTS = ["ada", "grace", "edsger"];
const HOUR = 3_600_000;

const LEASE_MS = 30_000;

/** What callers may see; the last two where they wait for the lease of somebody who could not give it back. */
const KNOWN_CODES = new Set(["store_unavailable", "lease_lost", "lease_timeout", "timeout"]);

/** Only to end a test that hangs: much longer than a lease, a caller, a circuit and a driver wait. */
const RECOVERS_WITHIN_MS = 600_000;

async function expire(workers: readonly Worker[]): Promise<void> {
  await Promise.all(workers.map((worker) => worker.call("passTime", { ms: HOUR })));
}

async function askAll(
  workers: readonly Worker[],
): Promise<{ readonly served: number; readonly codes: readonly string[] }> {
  const asked = await Promise.all(
    workers.map((worker) => worker.call("ask", { subjects: SUBJECTS, callers: CALLERS })),
  );
  const { tokens, errors } = merge(asked);
  return { served: Object.values(tokens).reduce((sum, count) => sum + count, 0), codes: Object.keys(errors) };
}

/** Asks until all are served: without anybody's help, and soon. */
async function recovered(workers: readonly Worker[]): Promise<void> {
  const giveUpAt = performance.now() + RECOVERS_WITHIN_MS;
  for (;;) {
    const { served, codes } = await askAll(workers);
    if (served === PROCESSES * CALLERS * SUBJECTS.length) return;
    if (performance.now() > giveUpAt) throw new Error(`still failing: ${codes.join(", ")}`);
    await wait(100);
  }
}

/** No token sent twice, none lost, and what the store holds is what the server would take. */
async function expectNothingLost(fleet: Fleet): Promise<number> {
  const log = (await fleet.log()).filter(({ status, sent }) => status !== 0 && sent !== "");
  expect(log.filter(({ status }) => status !== 200)).toEqual([]);
  expect(reusesIn(log)).toEqual([]);
  expect(strayIn(log)).toEqual([]);
  for (const subject of SUBJECTS) {
    expect(await fleet.stored(subject)).toMatchObject({ state: "active" });
    expect(await fleet.isStoredTokenLive(subject)).toBe(true);
  }
  return log.length;
}

onEachStore(
  "outage of the store",
  (suite) => {
    const seed = chooseSeed();
    test(
      `R-46 R-69 ${String(OUTAGES)} times the store crashes or its network is cut in the middle of a round (seed ${String(seed)})`,
      async () => {
        const { service, address } = suite.running;
        if (service === undefined) throw new TypeError("unreachable: it has a server");
        const proxy = await startTcpProxy(service.port);
        await suite.withFleet({ workersUse: throughPort(address, proxy.port) }, async (fleet) => {
          const random = randomOf(seed);
          const startedAt = performance.now();
          await fleet.logIn(SUBJECTS);
          // Leases outlive the outage: who has an answer and cannot save it must not meet another who sends again.
          const workers = await fleet.startWorkers(PROCESSES, { leaseTtlMs: LEASE_MS });
          const codes = new Set<string>();
          for (let outage = 0; outage < OUTAGES; outage++) {
            await expire(workers);
            // In the middle of a round: one request has arrived, and waits before or after it is processed.
            const kind = random() < 0.5 ? "hold-before" : "hold-after";
            await fleet.server.call("fault", { kind, times: 1 });
            const asking = askAll(workers);
            await fleet.server.until("held");
            if (outage % 2 === 0) {
              await service.crash();
              await fleet.server.call("release", null);
              await service.restart();
            } else {
              proxy.cut();
              await fleet.server.call("release", null);
              await proxy.refused();
              proxy.mend();
            }
            for (const code of (await asking).codes) codes.add(code);
            await recovered(workers);
          }
          // Everybody else's connections are broken, too.
          const requests = await expectNothingLost(fleet);
          expect([...codes].filter((code) => !KNOWN_CODES.has(code))).toEqual([]);
          const told = [...codes].join(", ") || "nothing";
          report(
            `${suite.store}: seed ${String(seed)}: ${String(OUTAGES)} outages, ${String(requests)} token requests, callers saw ${told}`,
            startedAt,
          );
        });
        await proxy.close();
      },
      TEST_TIMEOUT_MS,
    );
  },
  "every server",
);

onEachStore(
  "outage of the network",
  (suite) => {
    test(
      "R-20 R-53 R-54 the network to the token endpoint is cut under a request",
      async () => {
        let proxy: TcpProxy | undefined;
        const route = async (port: number): Promise<number> => (proxy = await startTcpProxy(port)).port;
        await suite.withFleet({ route }, async (fleet) => {
          const startedAt = performance.now();
          await fleet.logIn(SUBJECTS, { agedMs: 2 * HOUR });
          const workers = await fleet.startWorkers(PROCESSES);
          await fleet.server.call("fault", { kind: "hold-before", times: SUBJECTS.length });
          const asking = askAll(workers);
          // All are under way, none is processed.
          for (let left = SUBJECTS.length; left > 0; left--) await fleet.server.until("held");
          proxy?.cut();
          for (let left = SUBJECTS.length; left > 0; left--) await fleet.server.until("sender gone");
          proxy?.mend();
          // The callers who waited get their tokens: nothing of it reached them.
          expect(await asking).toEqual({ served: PROCESSES * CALLERS * SUBJECTS.length, codes: [] });
          expect(await expectNothingLost(fleet)).toBe(SUBJECTS.length);
          report(
            `${suite.store}: network to the token endpoint cut under ${String(SUBJECTS.length)} requests`,
            startedAt,
          );
        });
        await proxy?.close();
      },
      TEST_TIMEOUT_MS,
    );
  },
  "one store",
);
