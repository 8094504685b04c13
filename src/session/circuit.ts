import { CircuitOpenError, ReauthorizationRequiredError, TokenEndpointError, TransportError } from "../core/index.ts";
import type { ErrorCode } from "../core/index.ts";
import type { Clock } from "../lib/clock.ts";

/** Failures in a row that open the circuit: from several sessions, or from one alone (requirements R-34). */
const FAILURES_OF_SEVERAL = 5;
const FAILURES_OF_ONE = 10;

/** Refusals of the client itself that open it: a bad secret must not hammer the server or lock the account. */
const CLIENT_REFUSALS = 3;

/** With fewer refusals than open it beside the failures that do, it is open by then. */
const KEPT_FAILURES = FAILURES_OF_ONE + CLIENT_REFUSALS - 1;

/** Failures further apart are not one outage. */
const WINDOW_MS = 60_000;

/** The wait before a probe is drawn from this range, so that a fleet does not probe together. */
const MIN_OPEN_MS = 30_000;
const MAX_OPEN_MS = 60_000;

interface Closed {
  readonly name: "closed";
  /** In a row, the newest last; no more than can matter. */
  failures: readonly Failure[];
}
interface Failure {
  /** Monotonic milliseconds. */
  readonly at: number;
  readonly source: unknown;
  /** The client itself was refused. */
  readonly refused: boolean;
}
interface Open {
  readonly name: "open";
  readonly until: number;
  readonly code: ErrorCode;
}
interface HalfOpen {
  readonly name: "half-open";
  readonly until: number;
  readonly code: ErrorCode;
}

/** What a change of state is told to. */
export interface CircuitListener {
  opened(code: ErrorCode, retryAfterMs: number): void;
  closed(): void;
}

/**
 * Stops asking a token endpoint that fails for everybody, and lets one request find out when it is back. Errors of one
 * grant do not count: they are answers.
 */
export class Circuit {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #listener: CircuitListener;
  #state: Closed | Open | HalfOpen = newClosed();

  constructor(clock: Clock, random: () => number, listener: CircuitListener) {
    this.#clock = clock;
    this.#random = random;
    this.#listener = listener;
  }

  /** Whether nothing would be lost with this circuit. */
  get idle(): boolean {
    return this.#state.name === "closed" && this.#state.failures.length === 0;
  }

  /**
   * Says whether a request would pass now.
   *
   * @throws {@link CircuitOpenError} with the time until the next probe.
   */
  check(): void {
    const state = this.#state;
    const now = this.#clock.monotonic();
    if (state.name === "closed" || (state.name === "open" && now >= state.until)) return;
    const waitMs = state.name === "open" ? state.until - now : MIN_OPEN_MS;
    throw new CircuitOpenError(
      `nothing is sent to this token endpoint for now: its last answers were "${state.code}"`,
      waitMs,
    );
  }

  /**
   * Lets a request pass, or not. Whoever passes reports what became of it.
   *
   * @returns Whether it is the probe.
   *
   * @throws {@link CircuitOpenError} with the time until the next probe.
   */
  enter(): boolean {
    this.check();
    const state = this.#state;
    if (state.name !== "open") return false;
    this.#state = { ...state, name: "half-open" };
    return true;
  }

  /** The probe was not sent after all: the next one is it. */
  abandon(): void {
    if (this.#state.name === "half-open") this.#state = { ...this.#state, name: "open" };
  }

  succeeded(): void {
    const wasClosed = this.#state.name === "closed";
    if (wasClosed && this.idle) return;
    this.#state = newClosed();
    if (!wasClosed) this.#listener.closed();
  }

  /** @param source What failed: failures of several sources are an outage sooner than those of one. */
  failed(error: unknown, source: unknown): void {
    const state = this.#state;
    const refused = error instanceof TokenEndpointError && error.code === "client_auth_failed";
    const transient = error instanceof TransportError;
    if (!refused && !transient) {
      // The server answered about one grant: it is there. What is no proper answer may come from anything in between.
      const answered = error instanceof ReauthorizationRequiredError || error instanceof TokenEndpointError;
      if (answered && !error.ambiguous) this.succeeded();
      else if (state.name === "half-open") this.#open(state.code);
      return;
    }
    // Sent when it was time for a probe, as what a session asked for that is not the probe itself.
    const isOverdue = state.name === "open" && this.#clock.monotonic() >= state.until;
    if (state.name === "half-open" || isOverdue) {
      this.#open(error.code);
    } else if (state.name === "closed") {
      const now = this.#clock.monotonic();
      const recent = state.failures.filter(({ at }) => now - at <= WINDOW_MS);
      state.failures = [...recent.slice(1 - KEPT_FAILURES), { at: now, source, refused }];
      if (isOutage(state.failures)) this.#open(error.code);
    }
  }

  #open(code: ErrorCode): void {
    const waitMs = MIN_OPEN_MS + this.#random() * (MAX_OPEN_MS - MIN_OPEN_MS);
    this.#state = { name: "open", until: this.#clock.monotonic() + waitMs, code };
    this.#listener.opened(code, waitMs);
  }
}

/** Two sources are as good as many. */
function isOutage(failures: readonly Failure[]): boolean {
  const refusals = failures.filter(({ refused }) => refused).length;
  const hasSeveralSources = failures.some(({ source }) => source !== failures[0]?.source);
  const limit = hasSeveralSources ? FAILURES_OF_SEVERAL : FAILURES_OF_ONE;
  return refusals >= CLIENT_REFUSALS || failures.length - refusals >= limit;
}

function newClosed(): Closed {
  return { name: "closed", failures: [] };
}
