import { setTimeout as sleep } from "node:timers/promises";

/** So many looks in a row at which nobody new has asked. They are counted and not timed: a machine that stands still has none. */
const QUIET_LOOKS = 40;
const LOOK_MS = 5;

/** Waits for the first who asks, and then until nobody new does; no longer than until the signal. */
export async function allAsked(count: () => number, signal: AbortSignal): Promise<void> {
  const before = count();
  let last = before;
  for (let quiet = 0; quiet < QUIET_LOOKS && !signal.aborted; quiet++) {
    await sleep(LOOK_MS);
    if (count() !== last || last === before) quiet = 0;
    last = count();
  }
}
