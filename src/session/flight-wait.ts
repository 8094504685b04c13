import { abortable } from "../lib/abortable.ts";
import type { Clock } from "../lib/clock.ts";
import type { Flight } from "./flight.ts";
import { inTime } from "./waits.ts";

/** A caller without a signal waits this long, then gets an error that says so. */
const CALLER_WAIT_MS = 30_000;
/** Callers that come so close together share a timer. */
const SAME_WAIT_MS = 1_000;

/**
 * Waits for a flight as one of its callers: an abort detaches this caller only.
 *
 * @throws The abort reason, what the flight failed with, or `timeout` for a caller without a signal.
 */
export function waitForFlight(clock: Clock, flight: Flight, signal: AbortSignal | undefined): Promise<string> {
  const { promise } = flight;
  if (promise === undefined) throw new TypeError("unreachable: a flight without a promise");
  return signal === undefined ? boundedWait(clock, flight, promise) : abortable(promise, signal);
}

/** One timer for all callers of a flight that come within a second and have no signal of their own. */
function boundedWait(clock: Clock, flight: Flight, promise: Promise<string>): Promise<string> {
  const now = clock.monotonic();
  if (flight.bounded === undefined || now - flight.bounded.since > SAME_WAIT_MS) {
    const message = `no access token within ${String(CALLER_WAIT_MS)} ms; the refresh goes on`;
    flight.bounded = { since: now, promise: inTime(clock, CALLER_WAIT_MS, message, promise) };
  }
  return flight.bounded.promise;
}
