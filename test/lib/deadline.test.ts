import { describe, expect, test } from "vitest";
import { manualClock } from "warehouse-oauth/testing";
import type { Clock } from "../../src/lib/clock.ts";
import { setDeadline } from "../../src/lib/deadline.ts";
import { heldUp } from "./held-up-clock.ts";

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
    const machine = heldUp(clock);
    setDeadline(machine, 1_000, () => (calls += 1));
    await clock.advance(999);
    await machine.block(22); // by now it is 21 ms late
    expect(calls).toBe(0);
    await clock.advance(249);
    expect(calls).toBe(0);
    await clock.advance(1);
    expect(calls).toBe(1);
  });

  test("a little late is as good as in time", async () => {
    const clock = manualClock();
    let calls = 0;
    const machine = heldUp(clock);
    setDeadline(machine, 1_000, () => (calls += 1));
    await clock.advance(999);
    await machine.block(21);
    expect(calls).toBe(1);
  });

  test("is cancelled before its time, and while it reads on", async () => {
    const clock = manualClock();
    let calls = 0;
    setDeadline(clock, 1_000, () => (calls += 1))();
    const machine = heldUp(clock);
    const cancel = setDeadline(machine, 1_000, () => (calls += 1));
    await machine.block(5_000);
    await clock.advance(100);
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
