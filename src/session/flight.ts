import type { RefreshReason } from "./events.ts";
import type { PlaceRequest } from "./endpoint-gate.ts";

/** What a flight knows of its requests so far, and of their answers. */
export interface FlightHistory {
  failures: number;
  /** Requests whose answer was lost, and since when, monotonic milliseconds. */
  ambiguousSends: number;
  ambiguousSince: number;
  announced: boolean;
  /** The process was paused for so long that it had to begin anew: once is bad luck. */
  lostLease: boolean;
  /** The refresh token is left alone for a while: nothing was tried, what failed before is said again. */
  rested: boolean;
  /** The process was paused for so long that the tokens that came had ended: once is bad luck, too. */
  overslept: boolean;
  /** Tokens of others that were found newer than what the flight began with. */
  adoptions: number;
}

/** One refresh of one session in this process, and all who wait for it. */
export class Flight {
  readonly reason: RefreshReason;
  /** The generation that was found stale, expired or rejected: a later one ends the flight. */
  seenGeneration: number;
  /** Monotonic milliseconds; starts anew when a caller begins to wait. */
  startedAt: number;
  /** Aborts what was not sent yet, when the manager closes. */
  readonly cancel: AbortController = new AbortController();
  /** A request has left: from here on nothing stops the flight before its tokens are saved. */
  sent = false;
  readonly history: FlightHistory = {
    failures: 0,
    ambiguousSends: 0,
    ambiguousSince: 0,
    announced: false,
    lostLease: false,
    rested: false,
    overslept: false,
    adoptions: 0,
  };
  promise: Promise<string> | undefined;
  /** The same, with the time that callers without a signal have, and since when (monotonic milliseconds). */
  bounded: { readonly since: number; readonly promise: Promise<string> } | undefined;
  #foreground: boolean;
  #place: PlaceRequest | undefined;

  constructor(reason: RefreshReason, seenGeneration: number, foreground: boolean, startedAt: number) {
    this.reason = reason;
    this.seenGeneration = seenGeneration;
    this.#foreground = foreground;
    this.startedAt = startedAt;
  }

  /** Whether a caller waits. */
  get foreground(): boolean {
    return this.#foreground;
  }

  /** A caller waits now: limits for callers apply, and the place in the line moves up. */
  promote(now: number): void {
    if (this.#foreground) return;
    this.#foreground = true;
    this.startedAt = now;
    this.#place?.promote();
  }

  waitsFor(place: PlaceRequest | undefined): void {
    this.#place = place;
  }
}
