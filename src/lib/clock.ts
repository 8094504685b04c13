/** Time, replaceable in tests. One clock serves a client and the manager that holds its sessions. */
export interface Clock {
  /** Wall clock, epoch milliseconds. May jump. */
  now(): number;
  /** Monotonic milliseconds from any origin. Never jumps. */
  monotonic(): number;
  /** Calls back once after `delayMs` (1 to 900 000) and returns a cancel function. Keeps the process alive only if told to. */
  setTimer(callback: () => void, delayMs: number, options?: { readonly keepAlive?: boolean }): () => void;
}

/** Shortest delay of one timer: a zero or negative delay would be a hot loop. */
export const MIN_TIMER_MS = 1;

/**
 * Longest delay of one timer, 15 minutes. Far below the 2^31 - 1 ms after which a platform timer fires at once,
 * and short enough to notice that the wall clock jumped.
 */
export const MAX_TIMER_MS = 900_000;

/**
 * Brings a delay into the range one timer can keep. What is not a number becomes the longest delay:
 * a wait that is too long is re-armed, a wait of 1 ms is a hot loop.
 */
export function clampTimerDelay(delayMs: number): number {
  if (Number.isNaN(delayMs)) return MAX_TIMER_MS;
  return Math.min(MAX_TIMER_MS, Math.max(MIN_TIMER_MS, Math.ceil(delayMs)));
}

/** The platform's clock and timers. */
export const systemClock: Clock = Object.freeze<Clock>({
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer(callback, delayMs, options) {
    const handle: unknown = setTimeout(callback, clampTimerDelay(delayMs));
    if (options?.keepAlive !== true && hasUnref(handle)) handle.unref();
    return () => {
      clearTimeout(handle as ReturnType<typeof setTimeout>);
    };
  },
});

/** Node's timers are objects with `unref`; elsewhere they are numbers. */
function hasUnref(handle: unknown): handle is { unref(): void } {
  return typeof handle === "object" && handle !== null && "unref" in handle;
}
