import { MAX_RETRY_AFTER_WAIT_MS, RETRY_AFTER_SPREAD } from "./backoff.ts";
import { clampTimerDelay } from "./clock.ts";
import type { Clock } from "./clock.ts";
import { DueQueue } from "./due-queue.ts";
import type { DueSlot } from "./due-queue.ts";
import { invalidArgument } from "./invalid-argument.ts";

/** Whether a caller waits for it. */
export type LimiterPriority = "foreground" | "background";

/** A place that was given: at most `atOnce` of them are out. */
export interface LimiterPlace {
  /**
   * Takes the turn to start if it has come, and gives 0; or gives the milliseconds after which to ask again. Places are
   * given at the rate of starts, so it is 0, unless what came between place and start took one holder longer than another,
   * or a pause has begun.
   */
  readonly takeTurn: () => number;
  /** Whether a pause has begun since. */
  readonly isPaused: () => boolean;
  /** Gives it back. Calling it again does nothing. */
  readonly release: () => void;
}

/** How a {@link Limiter} limits. */
export interface LimiterOptions {
  /** Time and timers. */
  readonly clock: Clock;
  /** Places: how many may run at the same time. A whole number, 1 or more. */
  readonly atOnce: number;
  /** How many may start within any second. More than 0; may be a fraction. */
  readonly perSecond: number;
  /** Makes the error for a request whose deadline is over, or before the end of a pause; gets what {@link Limiter.peekWait} estimates. */
  readonly createDeadlineError: (retryAfterMs: number) => Error;
}

/** Options of {@link Limiter.request}. */
export interface LimiterRequestOptions {
  /** Default is `"foreground"`. */
  readonly priority?: LimiterPriority | undefined;
  /** Ends the wait; its reason is passed on untouched. A place already given stays given. */
  readonly signal?: AbortSignal | undefined;
  /** Monotonic milliseconds at which the wait is over. Default is to wait without end. */
  readonly deadlineAt?: number | undefined;
}

/** A place that was asked for. */
export interface LimiterRequest {
  /** The place: to be given back when done. */
  readonly granted: Promise<LimiterPlace>;
  /** Moves a waiting background request behind the foreground ones, with this deadline if there is one. Does nothing to others. */
  promote(deadlineAt?: number): void;
}

/** Part of the rate that may start at once after a rest: with 20 a second these are 2. */
const BURST_SHARE = 0.1;

/** Longest pause: the longest wait that a server's hint leads to, with its jitter. */
const MAX_PAUSE_MS = MAX_RETRY_AFTER_WAIT_MS * (1 + RETRY_AFTER_SPREAD);

/** How long a place is thought to be held before any was given back: a token endpoint that is neither near nor slow. */
const FIRST_HOLD_MS = 500;

/** Weight of the newest hold in the average: about the last ten count. */
const HOLD_WEIGHT = 0.2;

/**
 * Limits what is sent to one endpoint: at most `atOnce` requests at the same time, and at most `perSecond` starts in
 * any one second.
 *
 * The rate is a token bucket on the monotonic clock. It holds a tenth of the rate, at least 1, and is refilled slower by
 * as much, so that even a full bucket never leads to more than `perSecond` starts in a second: 20 a second are 2 at
 * once, then one every 53 ms. Foreground goes before background, and within each the first comes first. One timer
 * runs, and only while somebody waits for time to pass; it keeps the process alive while a foreground request waits.
 */
export class Limiter {
  readonly #clock: Clock;
  readonly #atOnce: number;
  readonly #createDeadlineError: (retryAfterMs: number) => Error;
  readonly #places: Bucket;
  /** Places that were given one by one would otherwise start together. */
  readonly #starts: Bucket;
  readonly #foreground = new WaitingLine();
  readonly #background = new WaitingLine();
  readonly #deadlines = new DueQueue<Waiter>();
  #pausedUntil = -Infinity;
  #running = 0;
  #typicalHoldMs = FIRST_HOLD_MS;
  #timer: Timer | undefined;

  constructor({ clock, atOnce, perSecond, createDeadlineError }: LimiterOptions) {
    if (!Number.isInteger(atOnce) || atOnce < 1) {
      throw invalidArgument(`expected "atOnce" to be a whole number of 1 or more, got ${String(atOnce)}`);
    }
    if (!Number.isFinite(perSecond) || perSecond <= 0) {
      throw invalidArgument(`expected "perSecond" to be a number above 0, got ${String(perSecond)}`);
    }
    const burst = Math.max(1, Math.floor(perSecond * BURST_SHARE));
    this.#clock = clock;
    this.#atOnce = atOnce;
    this.#createDeadlineError = createDeadlineError;
    this.#places = new Bucket(perSecond, burst);
    this.#starts = new Bucket(perSecond, burst);
  }

  /** Number of places given and not given back. */
  get running(): number {
    return this.#running;
  }

  /** Number of requests that wait. */
  get waiting(): number {
    return this.#foreground.length + this.#background.length;
  }

  /** Tells whether nothing would be lost with this limiter: none runs or waits, no pause, and a full bucket. */
  get idle(): boolean {
    const now = this.#clock.monotonic();
    const isFull = this.#places.fullAt <= now && this.#starts.fullAt <= now;
    return this.#running === 0 && this.waiting === 0 && this.#pausedUntil <= now && isFull;
  }

  /**
   * Asks for a place and waits for it.
   *
   * @throws The reason of `signal`, untouched, or what `createDeadlineError` made.
   */
  acquire(options?: LimiterRequestOptions): Promise<LimiterPlace> {
    return this.request(options).granted;
  }

  /** Gives a place if one is free and nobody waits for it: the usual case, without a promise and a signal. */
  acquireNow(): LimiterPlace | undefined {
    const now = this.#clock.monotonic();
    const isFree = this.waiting === 0 && this.#running < this.#atOnce && this.#nextStartAt() <= now;
    return isFree ? this.#take(now) : undefined;
  }

  /** Asks for a place. As {@link Limiter.acquire}, but what waits in the background can be promoted. */
  request({ priority = "foreground", signal, deadlineAt }: LimiterRequestOptions = {}): LimiterRequest {
    if (signal?.aborted === true) {
      return { granted: Promise.reject<LimiterPlace>(signal.reason as Error), promote: () => undefined };
    }
    const waiter = new Waiter(signal, (waiting) => {
      this.#leave(waiting);
      this.#advance();
    });
    if (deadlineAt !== undefined) waiter.deadline = this.#deadlines.add(deadlineAt, waiter);
    (priority === "foreground" ? this.#foreground : this.#background).push(waiter);
    this.#advance();
    return {
      granted: waiter.granted,
      promote: (newDeadlineAt) => {
        this.#promote(waiter, newDeadlineAt);
      },
    };
  }

  /**
   * Lets nothing start before this time of the monotonic clock, as a server's `Retry-After` wishes. Requests whose deadline
   * comes earlier fail now. Never shortens a pause; an hour and a tenth is the longest.
   */
  pauseUntil(monotonicMs: number): void {
    const until = Math.min(monotonicMs, this.#clock.monotonic() + MAX_PAUSE_MS);
    // Also false for what is not a number.
    if (!(until > this.#pausedUntil)) return;
    this.#pausedUntil = until;
    this.#advance();
  }

  /**
   * Estimates how many milliseconds a request made now would wait; 0 if it would start at once.
   *
   * Pause and rate are known; how long places are held is guessed from the last ones, so an endpoint that has just
   * begun to hang is underestimated.
   */
  peekWait(priority: LimiterPriority = "foreground"): number {
    const now = this.#clock.monotonic();
    const ahead = this.#foreground.length + (priority === "background" ? this.#background.length : 0);
    const resumeAt = Math.max(now, this.#pausedUntil);
    const rateAt = this.#places.nextAt(resumeAt, ahead);
    const missing = Math.max(0, this.#running + ahead + 1 - this.#atOnce);
    const placeMs = Math.ceil(missing / this.#atOnce) * this.#typicalHoldMs;
    return Math.max(resumeAt - now, rateAt - now, placeMs);
  }

  /** Ends what is too late, starts what may start, and sets the timer for the next change. */
  #advance(): void {
    const now = this.#clock.monotonic();
    this.#endOverdue(now);
    for (let next = this.#nextToStart(now); next !== undefined; next = this.#nextToStart(now)) this.#start(next, now);
    this.#setTimer(now);
  }

  #nextStartAt(): number {
    return Math.max(this.#pausedUntil, this.#places.nextAt());
  }

  /** Ends the waits whose deadline is over, or will be before anything may start again. */
  #endOverdue(now: number): void {
    const until = Math.max(now, this.#pausedUntil);
    for (let waiter = this.#deadlines.popDue(until); waiter !== undefined; waiter = this.#deadlines.popDue(until)) {
      waiter.deadline = undefined;
      this.#leave(waiter);
      waiter.fail(this.#createDeadlineError(this.peekWait()));
    }
  }

  #nextToStart(now: number): Waiter | undefined {
    if (this.#running >= this.#atOnce || this.#nextStartAt() > now) return undefined;
    return this.#foreground.first ?? this.#background.first;
  }

  #start(waiter: Waiter, now: number): void {
    this.#leave(waiter);
    waiter.grant(this.#take(now));
  }

  #take(now: number): LimiterPlace {
    this.#running += 1;
    this.#places.take(now);
    let held = true;
    return {
      takeTurn: () => this.#takeTurn(),
      isPaused: () => this.#pausedUntil > this.#clock.monotonic(),
      release: () => {
        if (!held) return;
        held = false;
        this.#running -= 1;
        this.#typicalHoldMs += HOLD_WEIGHT * (this.#clock.monotonic() - now - this.#typicalHoldMs);
        this.#advance();
      },
    };
  }

  #takeTurn(): number {
    const now = this.#clock.monotonic();
    const waitMs = Math.max(this.#starts.nextAt(), this.#pausedUntil) - now;
    if (waitMs > 0) return waitMs;
    this.#starts.take(now);
    return 0;
  }

  #leave(waiter: Waiter): void {
    waiter.line?.remove(waiter);
    if (waiter.deadline !== undefined) this.#deadlines.remove(waiter.deadline);
    waiter.deadline = undefined;
  }

  #promote(waiter: Waiter, deadlineAt: number | undefined): void {
    if (waiter.line !== this.#background) return;
    this.#background.remove(waiter);
    this.#foreground.push(waiter);
    if (deadlineAt !== undefined) {
      if (waiter.deadline === undefined) waiter.deadline = this.#deadlines.add(deadlineAt, waiter);
      else this.#deadlines.reschedule(waiter.deadline, deadlineAt);
    }
    this.#advance();
  }

  #setTimer(now: number): void {
    const deadlineAt = this.#deadlines.peekDueAt() ?? Infinity;
    // With all places taken it is a release that lets the next one start, not time.
    const startAt = this.waiting > 0 && this.#running < this.#atOnce ? this.#nextStartAt() : Infinity;
    const wakeAt = Math.min(deadlineAt, startAt);
    const keepAlive = this.#foreground.length > 0;
    if (this.#timer?.wakeAt === wakeAt && this.#timer.keepAlive === keepAlive) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    if (wakeAt === Infinity) return;

    const onTimer = (): void => {
      this.#timer = undefined;
      this.#advance();
    };
    this.#timer = {
      wakeAt,
      keepAlive,
      cancel: this.#clock.setTimer(onTimer, clampTimerDelay(wakeAt - now), { keepAlive }),
    };
  }
}

/** A token bucket, kept as the moment at which it is full again. Monotonic milliseconds. */
class Bucket {
  /** Time in which it gains one token. */
  readonly #intervalMs: number;
  /** Time in which it gains all tokens but one. It holds one while it is full in no more than this. */
  readonly #toleranceMs: number;
  fullAt = -Infinity;

  constructor(perSecond: number, burst: number) {
    this.#intervalMs = 1000 / (perSecond - burst + 1);
    this.#toleranceMs = (burst - 1) * this.#intervalMs;
  }

  /** When it holds a token, at `from` or later, after so many others were taken. */
  nextAt(from = -Infinity, ahead = 0): number {
    return Math.max(this.fullAt, from) + ahead * this.#intervalMs - this.#toleranceMs;
  }

  take(now: number): void {
    this.fullAt = Math.max(this.fullAt, now) + this.#intervalMs;
  }
}

/** The one timer, and what it was set for. */
interface Timer {
  readonly wakeAt: number;
  readonly keepAlive: boolean;
  readonly cancel: () => void;
}

/** One request that waits. */
class Waiter {
  readonly granted: Promise<LimiterPlace>;
  line: WaitingLine | undefined;
  previous: Waiter | undefined;
  next: Waiter | undefined;
  deadline: DueSlot | undefined;
  #resolve!: (place: LimiterPlace) => void;
  #reject!: (error: Error) => void;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort: () => void;

  constructor(signal: AbortSignal | undefined, onAbort: (waiter: Waiter) => void) {
    this.granted = new Promise<LimiterPlace>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#signal = signal;
    this.#onAbort = () => {
      this.#reject(signal?.reason as Error);
      onAbort(this);
    };
    signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  grant(place: LimiterPlace): void {
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#resolve(place);
  }

  fail(error: Error): void {
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#reject(error);
  }
}

/** Those who wait, linked, so that one leaves from the middle at no cost. */
class WaitingLine {
  length = 0;
  first: Waiter | undefined;
  #last: Waiter | undefined;

  push(waiter: Waiter): void {
    waiter.line = this;
    waiter.previous = this.#last;
    if (this.#last === undefined) this.first = waiter;
    else this.#last.next = waiter;
    this.#last = waiter;
    this.length += 1;
  }

  remove(waiter: Waiter): void {
    if (waiter.previous === undefined) this.first = waiter.next;
    else waiter.previous.next = waiter.next;
    if (waiter.next === undefined) this.#last = waiter.previous;
    else waiter.next.previous = waiter.previous;
    waiter.line = undefined;
    waiter.previous = undefined;
    waiter.next = undefined;
    this.length -= 1;
  }
}
