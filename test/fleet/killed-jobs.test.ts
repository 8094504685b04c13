import { setTimeout as wait } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bundlePrograms } from "./bundle.ts";
import type { Bundle } from "./bundle.ts";
import { Fleet, buildPrograms } from "./harness.ts";
import type { Programs } from "./harness.ts";
import type { JobWorkerOperations, JobWorkerSetup, ServerFault } from "./messages.ts";
import { RemoteProgram } from "./remote.ts";
import { fleetStores } from "./stores.ts";
import type { RunningStore } from "./stores.ts";
import { TEST_TIMEOUT_MS } from "./suite.ts";

const LEASE_MS = 1_000;
const LONG_AGO_MS = 7_200_000;
const SUBJECT = "ada";

const QUEUES = [
  ["pg-boss", "postgres"],
  ["BullMQ", "redis"],
] as const;

describe.each(QUEUES)("kill -9 of a worker of %s in the middle of a job", (queue, name) => {
  const store = fleetStores.find((one) => one.name === name);
  const reason = store === undefined ? `left out: no ${name} among FLEET_STORES` : store.missing;
  describe.skipIf(reason !== undefined)(reason ?? `on ${name}`, () => {
    let programs: Programs;
    let bundle: Bundle;
    let running: RunningStore;
    beforeAll(async () => {
      if (store === undefined) return;
      [programs, bundle, running] = await Promise.all([
        buildPrograms(),
        bundlePrograms(["test/fleet/job-worker.ts"]),
        store.start(),
      ]);
    });
    afterAll(async () => {
      await running.stop();
      await bundle.remove();
      await programs.remove();
    });

    /** One worker takes the job and is killed while its request is held; another one begins. */
    async function killOne(
      kind: ServerFault["kind"],
      judge: (fleet: Fleet, spent: string | undefined) => Promise<void>,
    ): Promise<void> {
      const fleet = await Fleet.open(programs, running.address);
      const workers: RemoteProgram<JobWorkerOperations>[] = [];
      const join = async (called: string): Promise<RemoteProgram<JobWorkerOperations>> => {
        const { issuer, tokenEndpoint } = fleet;
        const setup: JobWorkerSetup = {
          name: called,
          store: running.address,
          issuer,
          tokenEndpoint,
          leaseTtlMs: LEASE_MS,
        };
        const worker = await RemoteProgram.start<JobWorkerOperations>(bundle.pathOf("job-worker"), setup);
        workers.push(worker);
        return worker;
      };
      try {
        await fleet.logIn([SUBJECT], { agedMs: LONG_AGO_MS });
        const { refreshToken } = await fleet.stored(SUBJECT);
        await fleet.server.call("fault", { kind, times: 1 });
        const dying = await join("dying");
        await dying.call("start", null);
        expect(await dying.call("schedule", { subject: SUBJECT })).toBe(true);
        await fleet.server.until("held");
        await dying.kill();
        await fleet.server.until("sender gone");
        await fleet.untilFree(SUBJECT);
        const next = await join("next");
        await next.call("start", null);
        await judge(fleet, refreshToken);
        expect(await next.call("close", null)).toEqual([]);
      } finally {
        await Promise.all(workers.map((worker) => worker.kill()));
        await fleet.close();
      }
    }

    const sentIn = async (fleet: Fleet): Promise<readonly string[]> =>
      (await fleet.log()).filter(({ sent }) => sent !== "").map(({ by, status }) => `${by}: ${String(status)}`);

    test(
      `R-25 ${queue}: before the request is processed: another worker refreshes once, each token is sent once`,
      () =>
        killOne("hold-before", async (fleet, spent) => {
          while ((await fleet.stored(SUBJECT)).refreshToken === spent) await wait(50);
          expect(await fleet.stored(SUBJECT)).toMatchObject({ generation: 2, state: "active" });
          expect(await fleet.isStoredTokenLive(SUBJECT)).toBe(true);
          expect(await sentIn(fleet)).toEqual(["next: 200"]);
        }),
      TEST_TIMEOUT_MS,
    );

    test(
      `R-25 R-44 ${queue}: after it was processed: another worker finds the token spent, and says so once`,
      () =>
        killOne("hold-after", async (fleet) => {
          while ((await fleet.stored(SUBJECT)).state === "active") await wait(50);
          expect(await fleet.stored(SUBJECT)).toMatchObject({
            state: "reauthorization_required",
            cause: "rotation_lost",
          });
          expect(await sentIn(fleet)).toEqual(["dying: 200", "next: 400"]);
        }),
      TEST_TIMEOUT_MS,
    );
  });
});
