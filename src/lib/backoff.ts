/** Shortest wait before a retry: a draw near zero would repeat the request into the same failure. */
export const MIN_BACKOFF_MS = 50;

/**
 * Longest server hint that is waited for, 1 hour: above it a header is more likely a mistake than a wish, and after an
 * hour one more request is cheap.
 */
export const MAX_RETRY_AFTER_WAIT_MS = 3_600_000;

/** Part of the server's hint that is added at most, so that those who were told the same do not come back together. */
export const RETRY_AFTER_SPREAD = 0.1;

/** Beyond 2^52 doublings every base has met its cap; without a bound a large attempt is `0 * Infinity`. */
const MAX_DOUBLINGS = 52;

/** How a {@link backoffDelay} grows. */
export interface BackoffOptions {
  /** Bound of the first wait, milliseconds. */
  readonly baseMs: number;
  /** Bound of every wait, milliseconds. */
  readonly capMs: number;
  /** Number in [0, 1), for jitter only. */
  readonly random: () => number;
}

/**
 * Draws the milliseconds to wait before retry `attempt` (0 for the first): between 0 and `baseMs * 2^attempt`, at most
 * `capMs`, at least {@link MIN_BACKOFF_MS}.
 *
 * This is "full jitter": it needs no memory of the last wait, and it spreads those who failed together over the whole
 * range.
 */
export function backoffDelay(attempt: number, { baseMs, capMs, random }: BackoffOptions): number {
  const boundMs = Math.min(capMs, baseMs * 2 ** Math.min(attempt, MAX_DOUBLINGS));
  return Math.max(MIN_BACKOFF_MS, random() * boundMs);
}

/**
 * Lengthens a wait to what the server asked for in `Retry-After`, plus up to a tenth of it, but never shortens it.
 * What the server asks beyond {@link MAX_RETRY_AFTER_WAIT_MS} is not waited for.
 */
export function withRetryAfter(delayMs: number, retryAfterMs: number | undefined, random: () => number): number {
  if (retryAfterMs === undefined) return delayMs;
  const hintMs = Math.min(MAX_RETRY_AFTER_WAIT_MS, retryAfterMs);
  return Math.max(delayMs, hintMs) + random() * RETRY_AFTER_SPREAD * hintMs;
}
