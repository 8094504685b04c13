import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { clampTimerDelay, MAX_TIMER_MS, MIN_TIMER_MS, systemClock } from "../../src/lib/clock.ts";

describe("clampTimerDelay", () => {
  it.each([
    [0, MIN_TIMER_MS],
    [-5, MIN_TIMER_MS],
    [0.2, MIN_TIMER_MS],
    [1.2, 2],
    [1000, 1000],
    [2 ** 31, MAX_TIMER_MS],
    [177_733_951_521_000, MAX_TIMER_MS],
    [Infinity, MAX_TIMER_MS],
    [-Infinity, MIN_TIMER_MS],
    [NaN, MAX_TIMER_MS],
  ])("R-05 turns %d into %d ms", (delayMs, expected) => {
    expect(clampTimerDelay(delayMs)).toBe(expected);
  });

  it("R-05 gives whole milliseconds that a platform timer can keep, never early", () => {
    fc.assert(
      fc.property(fc.double(), (delayMs) => {
        const clamped = clampTimerDelay(delayMs);
        expect(Number.isInteger(clamped) && clamped >= MIN_TIMER_MS && clamped <= MAX_TIMER_MS).toBe(true);
        if (delayMs <= MAX_TIMER_MS) expect(clamped).toBeGreaterThanOrEqual(delayMs);
      }),
    );
  });
});

describe("systemClock", () => {
  it("calls back once, and not after being cancelled", async () => {
    const calls: string[] = [];
    const cancel = systemClock.setTimer(() => calls.push("cancelled"), 1);
    cancel();
    await new Promise<void>((resolve) => {
      systemClock.setTimer(
        () => {
          calls.push("kept");
          resolve();
        },
        2,
        { keepAlive: true },
      );
    });
    expect(calls).toEqual(["kept"]);
  });

  it("has a monotonic clock that does not go back", () => {
    const before = systemClock.monotonic();
    expect(systemClock.monotonic()).toBeGreaterThanOrEqual(before);
    expect(Number.isFinite(systemClock.now())).toBe(true);
  });
});
