import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import type { Clock } from "../../src/lib/clock.ts";
import { Limiter } from "../../src/lib/limiter.ts";
import type { LimiterOptions, LimiterPlace, LimiterRequestOptions } from "../../src/lib/limiter.ts";

/** A monotonic clock that moves when told, with the timers that were set on it. */
class StepClock implements Clock {
  time = 1000;
  readonly timers = new Map<
    number,
    { readonly at: number; readonly callback: () => void; readonly keepAlive: boolean }
  >();
  #nextId = 0;
  timersSet = 0;

  now(): number {
    throw new Error("a limiter has no use for the wall clock");
  }

  monotonic(): number {
    return this.time;
  }

  setTimer(callback: () => void, delayMs: number, options?: { readonly keepAlive?: boolean }): () => void {
    expect(delayMs).toBeGreaterThanOrEqual(1);
    expect(delayMs).toBeLessThanOrEqual(900_000);
    const id = this.#nextId++;
    this.timersSet += 1;
    this.timers.set(id, { at: this.time + delayMs, callback, keepAlive: options?.keepAlive === true });
    return () => this.timers.delete(id);
  }

  get keepsAlive(): boolean {
    return [...this.timers.values()].some(({ keepAlive }) => keepAlive);
  }

  async advance(durationMs: number): Promise<void> {
    const end = this.time + durationMs;
    for (;;) {
      await settle();
      const [next] = [...this.timers].sort(([, a], [, b]) => a.at - b.at);
      if (next === undefined || next[1].at > end) break;
      this.timers.delete(next[0]);
      this.time = Math.max(this.time, next[1].at);
      next[1].callback();
    }
    this.time = end;
    await settle();
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
}

class DeadlineError extends Error {
  readonly retryAfterMs: number;

  constructor(retryAfterMs: number) {
    super("deadline");
    this.retryAfterMs = retryAfterMs;
  }
}

interface Asked {
  started: number | undefined;
  error: unknown;
  release: LimiterPlace["release"] | undefined;
  takeTurn: LimiterPlace["takeTurn"] | undefined;
  readonly promote: (deadlineAt?: number) => void;
}

/** A limiter, its clock, and a list of who started when. */
function setUp(options: Partial<LimiterOptions> = {}): {
  clock: StepClock;
  limiter: Limiter;
  started: string[];
  ask: (name: string, requestOptions?: LimiterRequestOptions) => Asked;
} {
  const clock = new StepClock();
  const createDeadlineError = (retryAfterMs: number): Error => new DeadlineError(retryAfterMs);
  const limiter = new Limiter({ clock, atOnce: 2, perSecond: 10, createDeadlineError, ...options });
  const started: string[] = [];
  return {
    clock,
    limiter,
    started,
    ask(name, requestOptions) {
      const request = limiter.request(requestOptions);
      const asked: Asked = {
        started: undefined,
        error: undefined,
        release: undefined,
        takeTurn: undefined,
        promote: (deadlineAt) => {
          request.promote(deadlineAt);
        },
      };
      request.granted.then(
        ({ release, takeTurn }) => {
          started.push(name);
          asked.started = clock.time;
          asked.release = release;
          asked.takeTurn = takeTurn;
        },
        (error: unknown) => {
          asked.error = error;
        },
      );
      return asked;
    },
  };
}

/** So high a rate that only the places count. */
const UNLIMITED_RATE = { perSecond: 1_000_000 };

describe("Limiter", () => {
  it("R-33 lets no more than atOnce run, in the order of asking", async () => {
    const { clock, limiter, started, ask } = setUp(UNLIMITED_RATE);
    const asked = ["a", "b", "c", "d"].map((name) => ask(name));
    await settle();
    expect(started).toEqual(["a", "b"]);
    expect([limiter.running, limiter.waiting]).toEqual([2, 2]);
    await clock.advance(60_000);
    expect(started).toEqual(["a", "b"]);
    asked[1]?.release?.();
    await settle();
    expect(started).toEqual(["a", "b", "c"]);
    asked[0]?.release?.();
    asked[2]?.release?.();
    await settle();
    asked[3]?.release?.();
    expect(started).toEqual(["a", "b", "c", "d"]);
    expect([limiter.running, limiter.waiting]).toEqual([0, 0]);
  });

  it("R-33 counts a release once", async () => {
    const { limiter, started, ask } = setUp(UNLIMITED_RATE);
    const first = ask("a");
    for (const name of ["b", "c", "d"]) ask(name);
    await settle();
    first.release?.();
    first.release?.();
    await settle();
    expect(started).toEqual(["a", "b", "c"]);
    expect(limiter.running).toBe(2);
  });

  it("R-33 starts one per interval at 10 a second, and two at once at 20 after a rest", async () => {
    const slow = setUp({ atOnce: 100, perSecond: 10 });
    const times = Array.from({ length: 4 }, (_, index) => slow.ask(String(index)));
    await slow.clock.advance(1000);
    expect(times.map(({ started }) => started)).toEqual([1000, 1100, 1200, 1300]);

    const fast = setUp({ atOnce: 100, perSecond: 20 });
    const burst = Array.from({ length: 4 }, (_, index) => fast.ask(String(index)));
    await fast.clock.advance(1000);
    expect(burst.map(({ started }) => started)).toEqual([1000, 1000, 1053, 1106]);
  });

  it("R-33 keeps a rate below one a second", async () => {
    const { clock, ask } = setUp({ perSecond: 0.001 });
    const asked = [ask("a"), ask("b")];
    await clock.advance(999_999);
    expect(asked.map(({ started }) => started)).toEqual([1000, undefined]);
    await clock.advance(1);
    expect(asked[1]?.started).toBe(1_001_000);
  });

  it("R-33 serves foreground before background", async () => {
    const { started, limiter, ask } = setUp({ ...UNLIMITED_RATE, atOnce: 1 });
    const asked = [
      ask("running"),
      ask("background 1", { priority: "background" }),
      ask("background 2", { priority: "background" }),
      ask("foreground 1", { priority: "foreground" }),
      ask("foreground 2"),
    ];
    for (let turn = 0; turn < 5; turn += 1) {
      await settle();
      for (const { release } of asked) release?.();
    }
    expect(started).toEqual(["running", "foreground 1", "foreground 2", "background 1", "background 2"]);
    expect(limiter.running).toBe(0);
  });

  it("R-33 promotes from the background, behind the foreground that waits already", async () => {
    const { started, ask } = setUp({ ...UNLIMITED_RATE, atOnce: 1 });
    const asked = [
      ask("running"),
      ask("b1", { priority: "background" }),
      ask("b2", { priority: "background" }),
      ask("b3", { priority: "background" }),
      ask("f1"),
      ask("f2"),
    ];
    asked[2]?.promote();
    asked[2]?.promote();
    asked[4]?.promote();
    asked[0]?.promote();
    for (let turn = 0; turn < 6; turn += 1) {
      await settle();
      for (const { release } of asked) release?.();
    }
    asked[1]?.promote();
    expect(started).toEqual(["running", "f1", "f2", "b2", "b1", "b3"]);
  });

  it("R-33 gives a promoted request the deadline of who waits for it", async () => {
    const { clock, ask } = setUp({ atOnce: 1 });
    ask("running");
    const endless = ask("endless", { priority: "background" });
    const patient = ask("patient", { priority: "background", deadlineAt: 900_000 });
    const kept = ask("kept", { priority: "background", deadlineAt: 3000 });
    endless.promote(2000);
    patient.promote(2000);
    kept.promote();
    await clock.advance(999);
    expect([endless.error, patient.error]).toEqual([undefined, undefined]);
    await clock.advance(1);
    expect(endless.error).toBeInstanceOf(DeadlineError);
    expect(patient.error).toBeInstanceOf(DeadlineError);
    await clock.advance(1000);
    expect(kept.error).toBeInstanceOf(DeadlineError);
  });

  it("R-33 ends a wait at its deadline, and leaves the others", async () => {
    const { clock, limiter, started, ask } = setUp({ ...UNLIMITED_RATE, atOnce: 1 });
    const running = ask("running");
    const late = ask("late", { deadlineAt: 1500 });
    const patient = ask("patient", { deadlineAt: 5000 });
    await clock.advance(499);
    expect(late.error).toBeUndefined();
    await clock.advance(1);
    expect(late.error).toBeInstanceOf(DeadlineError);
    expect((late.error as DeadlineError).retryAfterMs).toBeGreaterThan(0);
    running.release?.();
    await settle();
    expect([started, patient.error, limiter.waiting]).toEqual([["running", "patient"], undefined, 0]);
    await clock.advance(10_000);
    expect(patient.error).toBeUndefined();
  });

  it("R-33 refuses a deadline that has passed even when a place is free", async () => {
    const { ask, limiter } = setUp();
    const late = ask("late", { deadlineAt: 1000 });
    await settle();
    expect([late.error instanceof DeadlineError, late.started, limiter.running]).toEqual([true, undefined, 0]);
  });

  it("detaches on abort with the reason untouched, from the front, the middle and the end of a line", async () => {
    const { clock, limiter, started, ask } = setUp({ ...UNLIMITED_RATE, atOnce: 1 });
    const running = ask("running");
    const aborters = Array.from({ length: 5 }, () => new AbortController());
    const asked = aborters.map(({ signal }, index) => ask(String(index), { signal, deadlineAt: 2000 + index }));
    aborters[2]?.abort("middle");
    aborters[0]?.abort("front");
    aborters[4]?.abort("end");
    await settle();
    expect(asked.map(({ error }) => error)).toEqual(["front", undefined, "middle", undefined, "end"]);
    expect(limiter.waiting).toBe(2);
    ask("6");
    running.release?.();
    await settle();
    asked[1]?.release?.();
    await settle();
    asked[3]?.release?.();
    await settle();
    expect(started).toEqual(["running", "1", "3", "6"]);
    await clock.advance(10_000);
    expect(asked.map(({ error }) => error)).toEqual(["front", undefined, "middle", undefined, "end"]);
  });

  it("keeps a place that was given when its signal aborts later, and leaves no listener", async () => {
    const { clock, limiter, ask } = setUp({ atOnce: 1 });
    const aborter = new AbortController();
    const remove = vi.spyOn(aborter.signal, "removeEventListener");
    const given = ask("given", { signal: aborter.signal });
    const late = ask("late", { signal: aborter.signal, deadlineAt: 1200 });
    await clock.advance(300);
    expect(late.error).toBeInstanceOf(DeadlineError);
    aborter.abort();
    await settle();
    expect([given.started, given.error, limiter.running]).toEqual([1000, undefined, 1]);
    expect(remove).toHaveBeenCalledTimes(2);
  });

  it("does not ask for anything when the signal is aborted already", async () => {
    const { limiter, ask } = setUp();
    const asked = ask("a", { signal: AbortSignal.abort("before") });
    asked.promote();
    await settle();
    expect([asked.error, limiter.running, limiter.waiting]).toEqual(["before", 0, 0]);
    await expect(limiter.acquire({ signal: AbortSignal.abort("again") })).rejects.toBe("again");
  });

  it("R-31 starts nothing during a pause, and never shortens one", async () => {
    const { clock, limiter, ask } = setUp();
    limiter.pauseUntil(8000);
    limiter.pauseUntil(5000);
    limiter.pauseUntil(NaN);
    const asked = [ask("a"), ask("b", { priority: "background" })];
    expect([limiter.peekWait(), limiter.peekWait("background")]).toEqual([7100, 7200]);
    await clock.advance(6999);
    expect(asked.map(({ started }) => started)).toEqual([undefined, undefined]);
    await clock.advance(1000);
    expect(asked.map(({ started }) => started)).toEqual([8000, 8100]);
  });

  it("R-31 pauses those who wait already, and fails those whose deadline comes before its end", async () => {
    const { clock, limiter, ask } = setUp({ atOnce: 1 });
    const running = ask("running");
    const hurried = ask("hurried", { deadlineAt: 16_000 });
    const patient = ask("patient", { deadlineAt: 120_000 });
    const background = ask("background", { priority: "background" });
    await settle();
    limiter.pauseUntil(61_000);
    await settle();
    expect(hurried.error).toBeInstanceOf(DeadlineError);
    expect((hurried.error as DeadlineError).retryAfterMs).toBeGreaterThanOrEqual(60_000);
    const refused = ask("refused", { deadlineAt: 61_000 });
    await settle();
    expect(refused.error).toBeInstanceOf(DeadlineError);
    running.release?.();
    await clock.advance(59_999);
    expect([patient.started, background.started]).toEqual([undefined, undefined]);
    await clock.advance(1);
    expect(patient.started).toBe(61_000);
    patient.release?.();
    await clock.advance(100);
    expect(background.started).toBe(61_100);
  });

  it("R-31 pauses for little more than an hour at most", async () => {
    const { clock, limiter, ask } = setUp();
    limiter.pauseUntil(Infinity);
    const asked = ask("a");
    await clock.advance(3_600_000 * 1.1 - 1);
    expect(asked.started).toBeUndefined();
    await clock.advance(2);
    expect(asked.started).toBeDefined();
  });

  it("R-07 sets a timer only while time matters, and keeps the process alive only for the foreground", async () => {
    const { clock, limiter, ask } = setUp({ atOnce: 1, perSecond: 1 });
    expect([clock.timers.size, limiter.idle]).toEqual([0, true]);
    const running = ask("running");
    expect([clock.timers.size, limiter.idle]).toEqual([0, false]);
    const aborter = new AbortController();
    const background = ask("background", { priority: "background", signal: aborter.signal });
    expect(clock.timers.size).toBe(0);
    await settle();
    running.release?.();
    expect([clock.timers.size, clock.keepsAlive]).toEqual([1, false]);
    background.promote();
    expect([clock.timers.size, clock.keepsAlive]).toEqual([1, true]);
    aborter.abort();
    expect([clock.timers.size, limiter.waiting, limiter.idle]).toEqual([0, 0, false]);
    await clock.advance(1000);
    expect(limiter.idle).toBe(true);
    limiter.pauseUntil(10_000);
    expect([limiter.idle, clock.timers.size]).toEqual([false, 0]);
  });

  it("does not set its timer again when nothing changed about it", () => {
    const { clock, limiter, ask } = setUp({ atOnce: 1, perSecond: 1 });
    limiter.pauseUntil(100_000);
    for (let index = 0; index < 100; index += 1) ask(String(index));
    expect(clock.timersSet).toBe(1);
  });

  it("starts whoever is due when a timer comes early or late (R-09)", async () => {
    const { clock, ask } = setUp({ atOnce: 10, perSecond: 5 });
    const asked = Array.from({ length: 4 }, (_, index) => ask(String(index)));
    await settle();
    const [early] = clock.timers.values();
    clock.timers.clear();
    clock.time += 100;
    early?.callback();
    await settle();
    expect(asked.filter(({ started }) => started !== undefined)).toHaveLength(1);
    const [late] = clock.timers.values();
    clock.timers.clear();
    clock.time += 60_000;
    late?.callback();
    await settle();
    // A second, not a minute, is made up for.
    expect(asked.filter(({ started }) => started !== undefined)).toHaveLength(2);
  });

  it("estimates the wait from pause, rate, places and those ahead", async () => {
    const { clock, limiter, ask } = setUp({ atOnce: 2, perSecond: 10 });
    expect(limiter.peekWait()).toBe(0);
    const first = ask("a");
    expect(limiter.peekWait()).toBe(100);
    const second = ask("b");
    await clock.advance(1000);
    // Both places taken: half a second is assumed until something was measured.
    expect(limiter.peekWait()).toBe(500);
    ask("c", { priority: "background" });
    ask("d", { priority: "background" });
    expect(limiter.peekWait("foreground")).toBe(500);
    expect(limiter.peekWait("background")).toBe(1000);
    await clock.advance(9000);
    first.release?.();
    second.release?.();
    await settle();
    // Places were held for ten seconds, so now more is expected.
    expect(limiter.peekWait("background")).toBeGreaterThan(2000);
  });

  it.each([
    { atOnce: 0 },
    { atOnce: 1.5 },
    { atOnce: NaN },
    { perSecond: 0 },
    { perSecond: -1 },
    { perSecond: NaN },
    { perSecond: Infinity },
  ])("refuses %j", (options) => {
    expect(() => setUp(options)).toThrow(
      expect.objectContaining({ name: "TypeError", code: "invalid_argument" }) as Error,
    );
  });

  it("refuses a deadline that is no number", () => {
    const { limiter } = setUp();
    expect(() => limiter.request({ deadlineAt: NaN })).toThrow(
      expect.objectContaining({ code: "invalid_argument" }) as Error,
    );
    expect(limiter.waiting).toBe(0);
  });

  const load = fc.array(
    fc.record({
      waitMs: fc.nat(400),
      holdMs: fc.nat(900),
      priority: fc.constantFrom("foreground" as const, "background" as const),
      deadlineMs: fc.option(fc.nat(3000), { nil: undefined }),
      abortMs: fc.option(fc.nat(1500), { nil: undefined }),
      pauseMs: fc.option(fc.nat(2000), { nil: undefined, freq: 8 }),
    }),
    { minLength: 1, maxLength: 60 },
  );

  it("R-10 R-33 never exceeds places or rate under any load, and serves everybody or tells them why not", async () => {
    await fc.assert(
      fc.asyncProperty(
        load,
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 50 }),
        async (steps, atOnce, perSecond) => {
          const { clock, limiter, ask } = setUp({ atOnce, perSecond });
          const asked: { readonly step: (typeof steps)[number]; readonly at: number; readonly result: Asked }[] = [];
          const ends: { readonly at: number; readonly end: () => void }[] = [];
          let pausedUntil = 0;
          // Lets time pass, gives places back when their time is over, and looks that the limits hold.
          const pass = async (durationMs: number): Promise<void> => {
            const until = clock.time + durationMs;
            for (;;) {
              ends.sort((a, b) => a.at - b.at);
              const next = ends[0];
              if (next === undefined || next.at > until) break;
              ends.shift();
              await clock.advance(Math.max(0, next.at - clock.time));
              next.end();
              await settle();
            }
            await clock.advance(until - clock.time);
          };
          for (const step of steps) {
            await pass(step.waitMs);
            if (step.pauseMs !== undefined) {
              pausedUntil = Math.max(pausedUntil, clock.time + step.pauseMs);
              limiter.pauseUntil(clock.time + step.pauseMs);
            }
            const aborter = new AbortController();
            const at = clock.time;
            const result = ask(String(asked.length), {
              priority: step.priority,
              signal: aborter.signal,
              deadlineAt: step.deadlineMs === undefined ? undefined : at + step.deadlineMs,
            });
            asked.push({ step, at, result });
            if (step.abortMs !== undefined) {
              ends.push({
                at: at + step.abortMs,
                end: () => {
                  aborter.abort("left");
                },
              });
            }
            await settle();
            expect(limiter.running).toBeLessThanOrEqual(atOnce);
          }
          // Held places come back in time order, until nobody is left.
          for (let turn = 0; turn < 400 && (limiter.running > 0 || limiter.waiting > 0); turn += 1) {
            await pass(250);
            expect(limiter.running).toBeLessThanOrEqual(atOnce);
            for (const { step, result } of asked) {
              if (result.started !== undefined && clock.time >= result.started + step.holdMs) result.release?.();
            }
            await settle();
          }
          expect([limiter.running, limiter.waiting, clock.timers.size]).toEqual([0, 0, 0]);

          const starts = asked.flatMap(({ result }) => result.started ?? []).sort((a, b) => a - b);
          starts.forEach((start, index) => {
            const next = starts[index + perSecond];
            // A microsecond for the rounding of sums.
            if (next !== undefined) expect(next - start).toBeGreaterThanOrEqual(1000 - 0.001);
          });
          for (const { step, at, result } of asked) {
            if (result.started !== undefined) {
              expect(result.error).toBeUndefined();
              if (step.deadlineMs !== undefined) expect(result.started).toBeLessThan(at + step.deadlineMs);
            } else if (result.error === "left") expect(step.abortMs).toBeDefined();
            else expect(result.error).toBeInstanceOf(DeadlineError);
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  it("R-65 places whose holders come to their start together start one by one, however late they ask again", async () => {
    const { clock, ask } = setUp({ atOnce: 5, perSecond: 10 });
    const asked = ["a", "b", "c", "d", "e"].map((name) => ask(name));
    await clock.advance(5_000);
    const waits = (): (number | undefined)[] => asked.map(({ takeTurn }) => takeTurn?.());
    expect(waits()).toEqual([0, 100, 100, 100, 100]);
    await clock.advance(50);
    expect(waits()).toEqual([50, 50, 50, 50, 50]);
    await clock.advance(60_000); // the process stood still
    expect(waits()).toEqual([0, 100, 100, 100, 100]);
  });

  it("R-31 a place whose holder comes to its start in a pause starts after it", async () => {
    const { clock, limiter, ask } = setUp(UNLIMITED_RATE);
    const asked = ask("a");
    await settle();
    limiter.pauseUntil(clock.monotonic() + 3_000);
    expect(asked.takeTurn?.()).toBe(3_000);
    await clock.advance(2_999);
    expect(asked.takeTurn?.()).toBe(1);
    await clock.advance(1);
    expect(asked.takeTurn?.()).toBe(0);
  });

  it("R-33 a place that starts when it is given does not wait", async () => {
    const { clock, limiter } = setUp({ atOnce: 10, perSecond: 20 });
    const waits: number[] = [];
    for (let index = 0; index < 100; index += 1) {
      void limiter.acquire().then(({ takeTurn, release }) => {
        waits.push(takeTurn());
        release();
      });
    }
    await clock.advance(60_000);
    expect(waits).toHaveLength(100);
    expect(Math.max(...waits)).toBeLessThan(1e-6);
  });

  it("R-10 drains 10 000 at no more than the configured rate", async () => {
    const { clock, limiter } = setUp({ atOnce: 10, perSecond: 20 });
    const starts: number[] = [];
    for (let index = 0; index < 10_000; index += 1) {
      void limiter.acquire({ priority: "background" }).then(({ release }) => {
        starts.push(clock.time);
        release();
      });
    }
    await clock.advance(600_000);
    expect(starts).toHaveLength(10_000);
    const tooClose = starts.filter((start, index) => (starts[index + 20] ?? Infinity) - start < 1000 - 0.001);
    expect(tooClose).toEqual([]);
    expect(clock.timers.size).toBe(0);
  });
});
