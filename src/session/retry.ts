import { RateLimitError, ReauthorizationRequiredError } from "../core/index.ts";
import type { OAuthError } from "../core/index.ts";
import { backoffDelay, withRetryAfter } from "../lib/backoff.ts";

/** How failed attempts are repeated. What may be repeated is not an option. */
export interface RetryOptions {
  /** Attempts while a caller waits. Default is 4. */
  readonly maxAttempts?: number;
  /** Time while a caller waits. Default is 15 000. */
  readonly totalMs?: number;
  /** Default is 500. */
  readonly baseDelayMs?: number;
  /** Default is 30 000. */
  readonly maxDelayMs?: number;
}

/** The options with their defaults. */
export type RetryPolicy = Required<RetryOptions>;

/** Attempts and time while a caller waits (requirements R-32), first and longest wait. */
export const DEFAULT_RETRY: RetryPolicy = { maxAttempts: 4, totalMs: 15_000, baseDelayMs: 500, maxDelayMs: 30_000 };

/** A server that says "too many" is given more room at once (requirements R-30). */
const THROTTLED_BASE_MS = 2_000;

/** Longest wait between tries that nobody waits for (requirements ). */
const MAX_BACKGROUND_DELAY_MS = 300_000;

/** A refresh token that may be spent is sent again this often at most, in quick succession (DESIGN: ambiguous). */
const MAX_AMBIGUOUS_REPEATS = 2;

/** Later than this a repeat has no better chance than any other: grace windows of servers are about as long. */
const AMBIGUOUS_WINDOW_MS = 30_000;

/** Where a failing refresh stands. */
export interface RetryState {
  /** Failed attempts so far, 1 after the first. */
  readonly failures: number;
  /** Since the caller's wait began. */
  readonly elapsedMs: number;
  /** The refresh token may be spent by a request whose answer was lost. */
  readonly mayBeSpent: boolean;
  /** Such requests so far, and since when. */
  readonly ambiguousSends: number;
  readonly ambiguousForMs: number;
}

/** How long to wait before trying again while a caller waits; `undefined` to give up and say so. */
export function foregroundDelay(
  error: OAuthError,
  state: RetryState,
  policy: RetryPolicy,
  random: () => number,
): number | undefined {
  if (!error.retryable || state.failures >= policy.maxAttempts) return undefined;
  if (state.mayBeSpent && !mayRepeatAmbiguous(state)) return undefined;
  const baseMs = error instanceof RateLimitError ? THROTTLED_BASE_MS : policy.baseDelayMs;
  const backoff = backoffDelay(state.failures - 1, { baseMs, capMs: policy.maxDelayMs, random });
  const delayMs = withRetryAfter(backoff, error.retryAfterMs, random);
  return state.elapsedMs + delayMs <= policy.totalMs ? delayMs : undefined;
}

/** How long to wait before trying again when nobody waits. Only an answer that the grant is dead ends the trying. */
export function backgroundDelay(
  error: OAuthError | undefined,
  state: Pick<RetryState, "failures" | "mayBeSpent" | "ambiguousSends" | "ambiguousForMs">,
  policy: RetryPolicy,
  random: () => number,
): number | undefined {
  if (error instanceof ReauthorizationRequiredError) return undefined;
  const hurried = error === undefined || (error.retryable && !(state.mayBeSpent && !mayRepeatAmbiguous(state)));
  if (!hurried) return MAX_BACKGROUND_DELAY_MS * (0.5 + 0.5 * random());
  const baseMs = error instanceof RateLimitError ? THROTTLED_BASE_MS : policy.baseDelayMs;
  const backoff = backoffDelay(Math.max(0, state.failures - 1), { baseMs, capMs: MAX_BACKGROUND_DELAY_MS, random });
  return withRetryAfter(backoff, error?.retryAfterMs, random);
}

/** How long a refresh token that may be spent is left alone; 0 if it may be sent (requirements R-21). */
export function restMs({ attempts, sentMsAgo }: { readonly attempts: number; readonly sentMsAgo: number }): number {
  const isTired = attempts > MAX_AMBIGUOUS_REPEATS && sentMsAgo >= 0 && sentMsAgo < AMBIGUOUS_WINDOW_MS;
  return isTired ? AMBIGUOUS_WINDOW_MS - sentMsAgo : 0;
}

function mayRepeatAmbiguous({
  ambiguousSends,
  ambiguousForMs,
}: Pick<RetryState, "ambiguousSends" | "ambiguousForMs">): boolean {
  return ambiguousSends <= MAX_AMBIGUOUS_REPEATS && ambiguousForMs < AMBIGUOUS_WINDOW_MS;
}

/** Retries that one endpoint is given beyond what succeeds (requirements R-32). */
const BUDGET = 10;
const SUCCESS_REFUND = 0.5;
const RETRY_COST = 1;
const THROTTLED_COST = 0.5;

/** Keeps retries from multiplying the load of a server that is down: they are paid for by what succeeds. */
export class RetryBudget {
  #left = BUDGET;

  /** Takes the price of one retry; `false` if there is not enough left. */
  spend(error: OAuthError): boolean {
    const cost = error instanceof RateLimitError ? THROTTLED_COST : RETRY_COST;
    if (this.#left < cost) return false;
    this.#left -= cost;
    return true;
  }

  refund(): void {
    this.#left = Math.min(BUDGET, this.#left + SUCCESS_REFUND);
  }

  get full(): boolean {
    return this.#left === BUDGET;
  }
}
