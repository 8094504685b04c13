import { afterAll, beforeAll, describe } from "vitest";
import { Fleet, buildPrograms } from "./harness.ts";
import type { FleetSetup, Programs } from "./harness.ts";
import { fleetStores } from "./stores.ts";
import type { RunningStore } from "./stores.ts";

/** Starting servers and many processes on a machine that has other things to do. */
const STARTS_WITHIN_MS = 120_000;

/** Full sizes take minutes. */
export const TEST_TIMEOUT_MS = 3_600_000;

/** What the tests on one store share. */
export class Suite {
  readonly store: string;
  #programs: Programs | undefined;
  #running: RunningStore | undefined;

  constructor(store: string) {
    this.store = store;
  }

  get running(): RunningStore {
    if (this.#running === undefined) throw new TypeError("unreachable: started before the tests");
    return this.#running;
  }

  async start(start: () => Promise<RunningStore>): Promise<void> {
    this.#programs = await buildPrograms();
    this.#running = await start();
  }

  async stop(): Promise<void> {
    await this.#running?.stop();
    await this.#programs?.remove();
  }

  /** An authorization server and workers of its own for one test; ended whatever happens. */
  async withFleet(setup: FleetSetup, run: (fleet: Fleet) => Promise<void>): Promise<void> {
    if (this.#programs === undefined) throw new TypeError("unreachable: started before the tests");
    const fleet = await Fleet.open(this.#programs, this.running.address, setup);
    try {
      await run(fleet);
    } finally {
      await fleet.close();
    }
  }
}

/** Whether all is run on all stores: where CI demands the services, or somebody wants it. */
const RUNS_ALL = process.env["REQUIRE_SERVICES"] !== undefined || process.env["FLEET_ALL"] !== undefined;

/** What depends little on the store: usually one is enough. */
const ONE = "file";

/**
 * The same tests on every store; what is left out is named where its tests would stand.
 *
 * @param where What is enough by default; `FLEET_ALL=1` runs all on all. A file store has no server.
 */
export function onEachStore(
  title: string,
  define: (suite: Suite) => void,
  where: "every store" | "one store" | "every server" = "every store",
): void {
  const stores = fleetStores.filter(({ name, isSealed = false }) => {
    if (where === "every server" && name === ONE) return false;
    return where === "every store" || !isSealed;
  });
  describe.each(stores)("$name", (store) => {
    const { name } = store;
    const spared =
      where === "one store" && name !== ONE && !RUNS_ALL
        ? `left out: usually on the ${ONE} store only; set FLEET_ALL=1`
        : undefined;
    const reason = store.missing ?? spared;
    describe.skipIf(reason !== undefined)(reason === undefined ? title : `${title}: ${reason}`, () => {
      const suite = new Suite(name);
      beforeAll(() => suite.start(() => store.start()), STARTS_WITHIN_MS);
      afterAll(() => suite.stop());
      define(suite);
    });
  });
}
