import { fork } from "node:child_process";
import { once } from "node:events";
import type { StoreRacePlan, StoreRaceReport } from "warehouse-oauth/testing";
import { bundlePrograms } from "../fleet/bundle.ts";
import type { StoreAddress } from "../fleet/messages.ts";

/** Other processes for the races of a store contract. */
export interface Elsewhere {
  /** Races in a process of its own, on the store of an address. */
  race(address: StoreAddress, plan: StoreRacePlan): Promise<StoreRaceReport>;
  remove(): Promise<void>;
}

export async function buildRacer(): Promise<Elsewhere> {
  const bundle = await bundlePrograms(["test/stores/racer.ts"]);
  return {
    async race(address, plan) {
      const child = fork(bundle.pathOf("racer"), { execArgv: [] });
      try {
        child.send({ address, plan });
        const ended = once(child, "exit").then(() => {
          throw new Error("the racer ended without a report");
        });
        const [report] = (await Promise.race([once(child, "message"), ended])) as [StoreRaceReport];
        return report;
      } finally {
        if (child.exitCode === null) child.disconnect();
      }
    },
    remove: () => bundle.remove(),
  };
}
