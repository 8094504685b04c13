import { describe, expect, test } from "vitest";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import type { Clock } from "../../src/lib/clock.ts";
import { setDeadline } from "../../src/lib/deadline.ts";

/** A clock whose timers fire late, by what the process was held up. */
function heldUp(clock: ManualClock, ms: number): Clock {
  let at = 0;
  return {
    now: () => clock.now() + at,
    monotonic: () => clock.monotonic() + at,
    setTimer: (callback, delayMs, options) =>
      clock.setTimer(
        () => {
          at = ms;
          callback();
        },
        delayMs,
        options,
      ),
  };
}

describe("setDeadline", () => {
  test("calls once when the time is over", async () => {
    const clock = manualClock();
    let calls = 0;
    setDeadline(clock, 1_000, () => (calls += 1));
    await clock.advance(999);
    expect(calls).toBe(0);
    await clock.advance(1);
    expect(calls).toBe(1);
    await clock.advance(10_000);
    expect(calls).toBe(1);
  });

  test("R-63 a process that was held up reads on first", async () => {
    const clock = manualClock();
    let calls = 0;
    setDeadline(heldUp(clock, 21), 1_000, () => (calls += 1));
    await clock.advance(1_000);
    expect(calls).toBe(0);
    await clock.advance(249);
    expect(calls).toBe(0);
    await clock.advance(1);
    expect(calls).toBe(1);
  });

  test("a little late is as good as in time", async () => {
    const clock = manualClock();
    let calls = 0;
    setDeadline(heldUp(clock, 20), 1_000, () => (calls += 1));
    await clock.advance(1_000);
    expect(calls).toBe(1);
  });

  test("is cancelled before its time, and while it reads on", async () => {
    const clock = manualClock();
    let calls = 0;
    setDeadline(clock, 1_000, () => (calls += 1))();
    const cancel = setDeadline(heldUp(clock, 5_000), 1_000, () => (calls += 1));
    await clock.advance(1_100);
    cancel();
    await clock.advance(10_000);
    expect(calls).toBe(0);
  });

  test("R-07 the process stays until it is over", () => {
    const seen: unknown[] = [];
    const callbacks: (() => void)[] = [];
    const clock: Clock = {
      now: () => 0,
      monotonic: () => seen.length * 1_000,
      setTimer: (callback, _delayMs, options) => {
        seen.push(options);
        callbacks.push(callback);
        return () => undefined;
      },
    };
    setDeadline(clock, 1, () => undefined);
    callbacks[0]?.();
    expect(seen).toEqual([{ keepAlive: true }, { keepAlive: true }]);
  });
});
