import { expect, test } from "vitest";
import { countOf, report } from "./counts.ts";
import { merge } from "./ledger.ts";
import { TEST_TIMEOUT_MS, onEachStore } from "./suite.ts";

/** Full size: FLEET_ROUNDS=200 FLEET_PROCESSES=8. */
const ROUNDS = countOf("FLEET_ROUNDS", 4);
const PROCESSES = countOf("FLEET_PROCESSES", 3);
const CALLERS = countOf("FLEET_CALLERS", 100);

const HOUR = 3_600_000;
const SUBJECT = "ada";

onEachStore("at expiry", (suite) => {
  const size = `${String(PROCESSES)} processes x ${String(CALLERS)} callers, ${String(ROUNDS)} rounds`;
  test(
    `R-40 R-41 R-64 ${size}: each time one token request, and its token for all`,
    () =>
      suite.withFleet({}, async (fleet) => {
        await fleet.logIn([SUBJECT]);
        const workers = await fleet.startWorkers(PROCESSES);
        const startedAt = performance.now();
        let seen = 0;
        for (let round = 0; round < ROUNDS; round++) {
          // The token ends for all at the same moment; every fourth time a server refuses it instead.
          const rejected = round % 4 === 3;
          if (!rejected) await Promise.all(workers.map((worker) => worker.call("passTime", { ms: HOUR })));
          const asked = await Promise.all(
            workers.map((worker) => worker.call("ask", { subjects: [SUBJECT], callers: CALLERS, rejected })),
          );
          const log = await fleet.log(seen);
          seen += log.length;
          const { tokens, errors } = merge(asked);
          const answers = log.map(({ status }) => status);
          expect({ round, errors, answers }).toEqual({ round, errors: {}, answers: [200] });
          expect(tokens).toEqual({ [log[0]?.accessToken ?? "none"]: PROCESSES * CALLERS });
          expect(await fleet.isStoredTokenLive(SUBJECT)).toBe(true);
        }
        report(`${suite.store}: ${size}: ${String(seen)} token requests`, startedAt);
      }),
    TEST_TIMEOUT_MS,
  );
});
