import {
  CircuitOpenError,
  OAuthError,
  RateLimitError,
  ReauthorizationRequiredError,
  StoreError,
} from "../core/index.ts";
import type { AnyOAuthError } from "../core/index.ts";
import { withRetryAfter } from "../lib/backoff.ts";
import type { Clock } from "../lib/clock.ts";
import { Limiter } from "../lib/limiter.ts";
import type { LimiterPlace } from "../lib/limiter.ts";
import { Circuit } from "./circuit.ts";
import type { CircuitListener } from "./circuit.ts";
import { RetryBudget } from "./retry.ts";

/** What may be sent to one token endpoint by one client. */
export interface ConcurrencyOptions {
  /** Refreshes at once. Default is 10. */
  readonly atOnce?: number;
  /** Refreshes started per second. Default is 20. */
  readonly perSecond?: number;
}

const DEFAULT_AT_ONCE = 10;
/** Of {@link ConcurrencyOptions}. */
export const DEFAULT_PER_SECOND = 20;

/** A place at the endpoint. Exactly one of `succeeded`, `failed` and `abandon` is called, once. */
export interface Place {
  /**
   * Before sending: 0 if it is this one's turn, which it nearly always is, or the milliseconds after which to ask again.
   *
   * @throws {@link CircuitOpenError}
   */
  takeTurn(): number;
  /**
   * Whether the endpoint has asked for a pause since: getting a secret takes its time.
   *
   * @throws {@link CircuitOpenError}
   */
  isHeldUp(): boolean;
  succeeded(): void;
  failed(error: unknown): void;
  /** Nothing was sent. */
  abandon(): void;
}

/** Asks for a place, and can be hurried on. */
export interface PlaceRequest {
  readonly granted: Promise<Place>;
  /** A caller waits now. */
  promote(): void;
}

/** Failures that were counted where they were met. */
const counted = new WeakSet<AnyOAuthError>();

/** What all sessions of one client share at its token endpoint: circuit, then limit, then budget of retries. */
export class EndpointGate {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #circuit: Circuit;
  readonly #limiter: Limiter;
  readonly #budget = new RetryBudget();
  /** Whose `obtain` asks other sessions of this client: as a probe it would stand in the way of the one that it asks. */
  readonly #asksOthers = new WeakSet<object>();

  constructor(clock: Clock, random: () => number, options: ConcurrencyOptions, listener: CircuitListener) {
    this.#clock = clock;
    this.#random = random;
    this.#circuit = new Circuit(clock, random, listener);
    this.#limiter = new Limiter({
      clock,
      atOnce: options.atOnce ?? DEFAULT_AT_ONCE,
      perSecond: options.perSecond ?? DEFAULT_PER_SECOND,
      createDeadlineError: (retryAfterMs) =>
        new RateLimitError(
          "rate_limited",
          "too many refreshes wait for this token endpoint, or it asked for a pause",
          Math.ceil(retryAfterMs),
        ),
    });
  }

  /** Whether nothing would be lost with it. */
  get idle(): boolean {
    return this.#circuit.idle && this.#limiter.idle && this.#budget.full;
  }

  /** How long a place asked for now would take, milliseconds. */
  waitMs(foreground: boolean): number {
    return this.#limiter.peekWait(foreground ? "foreground" : "background");
  }

  /**
   * Gives a place if one is free and nobody waits for it.
   *
   * @param source As for {@link EndpointGate.request}.
   *
   * @throws {@link CircuitOpenError}
   */
  enterNow(source: object): Place | undefined {
    this.#circuit.check();
    const place = this.#limiter.acquireNow();
    return place && this.#enter(place, source);
  }

  /**
   * Asks for a place.
   *
   * @param source What asks, for telling one failing session from an outage.
   *
   * @throws {@link CircuitOpenError} at once or through `granted`; through it also: {@link RateLimitError}, the reason of
   * `signal`.
   */
  request(
    source: object,
    options: { readonly foreground: boolean; readonly signal: AbortSignal; readonly waitMs: number },
  ): PlaceRequest {
    this.#circuit.check();
    const deadlineAt = this.#clock.monotonic() + options.waitMs;
    const priority = options.foreground ? "foreground" : "background";
    const request = this.#limiter.request({ priority, signal: options.signal, deadlineAt });
    return {
      granted: request.granted.then((place) => this.#enter(place, source)),
      promote: () => {
        // From here on it is a caller's wait.
        request.promote(this.#clock.monotonic() + options.waitMs);
      },
    };
  }

  /** Whether a retry is paid for. */
  mayRetry(error: OAuthError): boolean {
    return this.#budget.spend(error);
  }

  /** The circuit has the last word: it may have opened while the request stood in line. */
  #enter(place: LimiterPlace, source: object): Place {
    try {
      return this.#place(place, source, this.#passCircuit(source));
    } catch (error) {
      place.release();
      throw error;
    }
  }

  #place({ takeTurn, isPaused, release }: LimiterPlace, source: object, entersAsProbe: boolean): Place {
    let isProbe = entersAsProbe;
    // It may have opened since the place was given.
    const passCircuit = (): void => {
      if (!isProbe) isProbe = this.#passCircuit(source);
    };
    const abandon = (): void => {
      release();
      if (isProbe) this.#circuit.abandon();
    };
    return {
      takeTurn: () => {
        passCircuit();
        return takeTurn();
      },
      isHeldUp: () => {
        passCircuit();
        return isPaused();
      },
      succeeded: () => {
        release();
        this.#budget.refund();
        this.#circuit.succeeded();
      },
      failed: (error) => {
        if (isPassedOn(error)) {
          if (isProbe) this.#asksOthers.add(source);
          abandon();
          return;
        }
        if (OAuthError.is(error)) counted.add(error);
        // One "too many" is meant for all sessions of this client, the next in line among them (requirements R-31).
        if (OAuthError.is(error) && error.retryAfterMs !== undefined) {
          const pauseMs = withRetryAfter(0, error.retryAfterMs, this.#random);
          this.#limiter.pauseUntil(this.#clock.monotonic() + pauseMs);
        }
        release();
        this.#circuit.failed(error, source);
      },
      abandon,
    };
  }

  /** @returns Whether it is the probe. @throws {@link CircuitOpenError} */
  #passCircuit(source: object): boolean {
    if (!this.#asksOthers.has(source)) return this.#circuit.enter();
    // The probe is the request of the one that it asks.
    this.#circuit.check();
    return false;
  }
}

/**
 * Whether an `obtain` passes on what another session met, here or at another server, where it was counted; or what this
 * process decided without asking anybody.
 */
function isPassedOn(error: unknown): boolean {
  if (!OAuthError.is(error)) return false;
  const isOwn = error instanceof RateLimitError || error instanceof ReauthorizationRequiredError;
  if (isOwn && error.status === undefined) return true;
  return error instanceof CircuitOpenError || error instanceof StoreError || counted.has(error);
}
