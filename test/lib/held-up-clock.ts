import type { ManualClock } from "warehouse-oauth/testing";
import type { Clock } from "../../src/lib/clock.ts";

/** The clock of a process whose event loop can be blocked. */
export interface HeldUpClock extends Clock {
  /** Both clocks move on, and only then fires what became due meanwhile, in order. */
  block(durationMs: number): Promise<void>;
}

/** A manual clock as such a process sees it. */
export function heldUp(clock: ManualClock): HeldUpClock {
  let blockedMs = 0;
  const waiting = new Set<{ readonly dueAt: number; fire(): void }>();
  const held: HeldUpClock = {
    now: () => clock.now() + blockedMs,
    monotonic: () => clock.monotonic() + blockedMs,
    setTimer(callback, delayMs, options) {
      const timer = {
        dueAt: held.monotonic() + delayMs,
        fire: () => {
          cancel();
          callback();
        },
      };
      const cancelInner = clock.setTimer(
        () => {
          timer.fire();
        },
        delayMs,
        options,
      );
      const cancel = (): void => {
        waiting.delete(timer);
        cancelInner();
      };
      waiting.add(timer);
      return cancel;
    },
    async block(durationMs) {
      blockedMs += durationMs;
      const due = [...waiting].filter(({ dueAt }) => dueAt <= held.monotonic());
      for (const timer of due.sort((one, other) => one.dueAt - other.dueAt)) {
        if (waiting.has(timer)) timer.fire();
        await Promise.resolve();
      }
    },
  };
  return held;
}
