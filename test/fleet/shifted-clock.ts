import type { Clock } from "warehouse-oauth";

/** The system's clock, of which the wall can be moved on: an hour in no time. Timers and durations stay real. */
export function shiftedClock(): Clock & { pass(ms: number): void } {
  let shiftMs = 0;
  return {
    now: () => Date.now() + shiftMs,
    monotonic: () => performance.now(),
    setTimer(callback, delayMs, options) {
      const timer = setTimeout(callback, delayMs);
      if (options?.keepAlive !== true) timer.unref();
      return () => {
        clearTimeout(timer);
      };
    },
    pass(ms) {
      shiftMs += ms;
    },
  };
}
