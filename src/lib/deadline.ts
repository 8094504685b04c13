import type { Clock } from "./clock.ts";

/** A timer that fires later than this was held up: by a blocked event loop, a stopped process, a sleep. */
const HELD_UP_MS = 20;

/** Timers fire before sockets are read: time to find what arrived meanwhile (requirements R-63). */
const READ_ON_MS = 250;

/**
 * Calls back when the time for something is over. A process that was held up first gets to read what came in time, so that
 * an answer is not called missing because nobody looked.
 *
 * @returns What cancels it.
 */
export function setDeadline(clock: Clock, limitMs: number, onOver: () => void): () => void {
  const overAt = clock.monotonic() + limitMs;
  let cancel = clock.setTimer(
    () => {
      if (clock.monotonic() - overAt > HELD_UP_MS) cancel = clock.setTimer(onOver, READ_ON_MS, { keepAlive: true });
      else onOver();
    },
    limitMs,
    { keepAlive: true },
  );
  return () => {
    cancel();
  };
}
