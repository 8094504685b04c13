import type { ErrorAction } from "../../core/index.ts";
import { backoffDelay, withRetryAfter } from "../../lib/backoff.ts";
import type { SessionStatus } from "../../session/index.ts";

/**
 * Longest delay of a job, a day. No refresh is due later, and a job that comes too early puts in the next one; a clock
 * that is wrong must not put a session off for years.
 */
export const MAX_DELAY_MS = 86_400_000;

/** Shortest time from a job to the next of the same session: whatever is wrong, it is no hot loop. */
export const MIN_PAUSE_MS = 1_000;

/** When to look again at a session that somebody else is refreshing: the longest that anybody waits for one. */
const LOOK_AGAIN_MS = 30_000;

/** First wait after a failure. The refresh itself has tried four times by then. */
const RETRY_BASE_MS = 5_000;

/** Longest wait after a failure, unless the server asks for more (requirements ). */
const MAX_RETRY_MS = 300_000;

/** Brings a delay into what a job may have. What is not a number becomes the longest: too late is no hot loop. */
export function clampJobDelay(delayMs: number, leastMs: number): number {
  if (Number.isNaN(delayMs)) return MAX_DELAY_MS;
  return Math.min(MAX_DELAY_MS, Math.max(leastMs, Math.ceil(delayMs)));
}

/** How long until a session wants its next job; `undefined` if it wants none. */
export function delayAfterStatus(status: SessionStatus, now: number): number | undefined {
  switch (status.state) {
    case "absent":
    case "revoked":
    case "reauthorization_required":
      return undefined;
    case "refreshing":
      return LOOK_AGAIN_MS;
    case "active":
    case "degraded":
      return status.nextRefreshAt === undefined ? undefined : status.nextRefreshAt - now;
  }
}

/** What of an error says when to try again. */
interface Failure {
  readonly code: string | undefined;
  readonly action: ErrorAction | undefined;
  readonly ambiguous: boolean;
  readonly retryAfterMs: number | undefined;
}

/** Nobody can refresh these by trying again: no client here, no key of ours, a store that must not be used. */
const HOPELESS: ReadonlySet<string> = new Set(["client_unresolved", "config_invalid", "store_incapable"]);

/** What is to be done after a refresh that failed. */
export interface AfterFailure {
  /** When to try again; `undefined` for never. */
  readonly delayMs: number | undefined;
  /** Whether it counts as a failure in a row. */
  readonly counts: boolean;
  /** Nobody else says it: there is no event for it. */
  readonly isNews: boolean;
}

/**
 * Says when to try again. The manager's rules for refreshes that nobody waits for (requirements R-32): soon and then
 * ever later if it may pass, every few minutes if it takes somebody to repair it or the refresh token may be spent,
 * never once a person is needed.
 */
export function afterFailure(error: unknown, failures: number, random: () => number): AfterFailure {
  const { code, action, ambiguous, retryAfterMs } = readFailure(error);
  if (code === "manager_closed") return { delayMs: MIN_PAUSE_MS, counts: false, isNews: false };
  if (code !== undefined && HOPELESS.has(code)) return { delayMs: undefined, counts: true, isNews: true };
  if (action === "reauthorize") {
    return { delayMs: undefined, counts: true, isNews: code !== "reauthorization_required" };
  }
  // Without a code it is no error of this package: `resolveClient` threw, and perhaps does not the next time.
  const isHurried = action === undefined || (action === "retry" && !ambiguous);
  const delayMs = isHurried
    ? backoffDelay(failures, { baseMs: RETRY_BASE_MS, capMs: MAX_RETRY_MS, random })
    : MAX_RETRY_MS * (0.5 + 0.5 * random());
  return { delayMs: withRetryAfter(delayMs, retryAfterMs, random), counts: true, isNews: action === undefined };
}

/** By shape: an error may come from another copy of this package. */
function readFailure(error: unknown): Failure {
  const shape = (typeof error === "object" && error !== null ? error : {}) as {
    readonly code?: unknown;
    readonly action?: unknown;
    readonly ambiguous?: unknown;
    readonly retryAfterMs?: unknown;
  };
  return {
    code: typeof shape.code === "string" ? shape.code : undefined,
    action: isAction(shape.action) ? shape.action : undefined,
    ambiguous: shape.ambiguous === true,
    retryAfterMs: typeof shape.retryAfterMs === "number" ? shape.retryAfterMs : undefined,
  };
}

function isAction(value: unknown): value is ErrorAction {
  return value === "retry" || value === "reauthorize" || value === "fix_config" || value === "none";
}
