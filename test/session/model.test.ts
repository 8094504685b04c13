import fc from "fast-check";
import { afterEach, describe, expect, test, vi } from "vitest";
import { makeCryptoRepeatable } from "./model/repeatable-crypto.ts";
import { PAST_FAILURES } from "./model/past-failures.ts";
import { runSchedule } from "./model/run-schedule.ts";
import type { Report } from "./model/run-schedule.ts";
import { schedule } from "./model/schedule.ts";
import type { Schedule } from "./model/schedule.ts";

/** What fits in a quarter of a minute; CI runs 10 000 and more (`MODEL_RUNS`). */
const DEFAULT_RUNS = 2_000;

/** The same schedules each time, so that a change that breaks nothing is not refused; `MODEL_SEED=random` draws others. */
const DEFAULT_SEED = "20261122";

/** A failing run is printed with these; given back, they replay it: MODEL_SEED=… MODEL_PATH=… */
const { MODEL_RUNS: runs = String(DEFAULT_RUNS), MODEL_SEED = DEFAULT_SEED, MODEL_PATH: path } = process.env;

const seed = MODEL_SEED === "random" ? String(crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) : MODEL_SEED;

const TIMEOUT_MS = 3_600_000;

function play(plan: Schedule): Promise<Report> {
  vi.restoreAllMocks();
  makeCryptoRepeatable(1);
  return runSchedule(plan);
}

describe("model of the rotation transaction", () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  test(
    `R-66 random interleavings of callers, timers, answers, crashes, clocks, processes and faults (seed ${seed})`,
    async () => {
      await fc.assert(
        fc.asyncProperty(schedule, async (plan) => {
          const { violations, log } = await play(plan);
          expect(violations, log.join("\n")).toEqual([]);
        }),
        { numRuns: Number(runs), seed: Number(seed), ...(path !== undefined && { path }), endOnFailure: false },
      );
    },
    TIMEOUT_MS,
  );

  test.each(PAST_FAILURES)("R-66 what went wrong once: %j", async (plan) => {
    const { violations, log } = await play(plan);
    expect(violations, log.join("\n")).toEqual([]);
  });

  test("the same schedule is the same run", async () => {
    const [plan] = fc.sample(schedule, { numRuns: 1, seed: 7 });
    if (plan === undefined) throw new TypeError("unreachable: one was asked for");
    expect(await play(plan)).toEqual(await play(plan));
  });
});
