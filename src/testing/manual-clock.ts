import { ConfigurationError, invalidArgument } from "../core/index.ts";
import { clampTimerDelay, type Clock } from "../lib/clock.ts";

/** A clock that stands still until told. */
export interface ManualClock extends Clock {
  /** Moves both clocks, fires the timers on the way in order, and waits for what they started. */
  advance(durationMs: number): Promise<void>;
  /** Moves the wall clock only, as a sleep or a correction does; may be negative. */
  jump(durationMs: number): void;
}

/** 2026-01-01T00:00:00Z: a fixed day, so that a failing test fails the same way tomorrow. */
const DEFAULT_START = 1_767_225_600_000;

/**
 * How often {@link settle} lets the event loop turn. A refresh needs about eight turns: one for each Web Crypto call
 * and each body that is read. Thrice that leaves room for a store that encrypts.
 */
const SETTLE_TURNS = 24;

interface Timer {
  readonly dueAt: number;
  readonly callback: () => void;
}

/** What the fakes are doing, by clock: {@link ManualClock.advance} waits for it. */
const workOf = new WeakMap<Clock, Set<Promise<unknown>>>();

/**
 * Lets a manual clock wait for work that it could not see otherwise. Does nothing for other clocks.
 *
 * @internal
 */
export function trackWork(clock: Clock, work: Promise<unknown>): void {
  const pending = workOf.get(clock);
  if (pending === undefined) return;
  pending.add(work);
  const forget = (): void => {
    pending.delete(work);
  };
  work.then(forget, forget);
}

/**
 * Makes a clock that stands still until told. Default start is 2026-01-01T00:00:00Z.
 *
 * `advance` waits for promises, for Web Crypto and for the fakes that share the clock. It cannot wait for a real
 * network or disk: there, await your own promises.
 *
 * @throws TypeError `invalid_argument` or {@link ConfigurationError} `config_invalid` if `startAt` is no point in time.
 *
 * @example
 *
 * ```ts
 * import { manualClock } from "warehouse-oauth/testing";
 *
 * const clock = manualClock();
 * let rang = false;
 * clock.setTimer(() => (rang = true), 60_000);
 * await clock.advance(60_000);
 * process.stdout.write(`${String(rang)}\n`); // true
 * ```
 */
export function manualClock(startAt: number = DEFAULT_START): ManualClock {
  assertDuration(startAt, "startAt");
  let wall = startAt;
  let monotonic = 0;
  /** Sorted by `dueAt`; equal times keep the order in which they were set. */
  const timers: Timer[] = [];
  const work = new Set<Promise<unknown>>();
  let advancing: Promise<void> = Promise.resolve();

  const moveTo = (target: number): void => {
    wall += target - monotonic;
    monotonic = target;
  };

  const run = async (durationMs: number): Promise<void> => {
    await settle(work);
    const end = monotonic + durationMs;
    for (let next = timers[0]; next !== undefined && next.dueAt <= end; next = timers[0]) {
      moveTo(next.dueAt);
      // All that is due at one instant fires before anything else is waited for; one may still cancel another.
      for (let due = timers[0]; due !== undefined && due.dueAt <= monotonic; due = timers[0]) {
        timers.shift();
        due.callback();
        await Promise.resolve();
      }
      await settle(work);
    }
    moveTo(end);
    await settle(work);
  };

  const clock: ManualClock = {
    now: () => wall,
    monotonic: () => monotonic,
    setTimer(callback, delayMs) {
      if (typeof callback !== "function") throw invalidArgument("a timer's callback must be a function");
      const timer: Timer = { dueAt: monotonic + clampTimerDelay(delayMs), callback };
      let at = timers.length;
      while (at > 0 && (timers[at - 1]?.dueAt ?? 0) > timer.dueAt) at -= 1;
      timers.splice(at, 0, timer);
      return () => {
        const index = timers.indexOf(timer);
        if (index !== -1) timers.splice(index, 1);
      };
    },
    advance(durationMs) {
      assertDuration(durationMs, "durationMs");
      if (durationMs < 0) {
        throw new ConfigurationError(
          "config_invalid",
          '"durationMs" must be 0 or more; "jump" sets the wall clock back',
          "durationMs",
        );
      }
      const turn = advancing.then(() => run(durationMs));
      // The next call waits for this one, whether a timer threw or not.
      advancing = turn.catch(() => undefined);
      return turn;
    },
    jump(durationMs) {
      assertDuration(durationMs, "durationMs");
      wall += durationMs;
    },
  };
  workOf.set(clock, work);
  return Object.freeze(clock);
}

/**
 * Lets everything that can go on go on: promise chains, Web Crypto, what the fakes are working on. A digest comes back
 * from another thread through the event loop, so each one lets queued crypto work and callbacks pass before it.
 */
async function settle(work: ReadonlySet<Promise<unknown>>): Promise<void> {
  const nothing = new Uint8Array(0);
  for (let turn = 0; turn < SETTLE_TURNS; turn += 1) {
    await crypto.subtle.digest("SHA-256", nothing);
    if (work.size > 0) {
      await Promise.allSettled(work);
      turn = -1;
    }
  }
}

function assertDuration(value: unknown, option: string): void {
  if (typeof value !== "number") throw invalidArgument(`"${option}" must be a number of milliseconds`);
  if (!Number.isFinite(value)) {
    throw new ConfigurationError("config_invalid", `"${option}" must be a finite number of milliseconds`, option);
  }
}
