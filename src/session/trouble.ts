import { ConfigurationError, OAuthError } from "../core/index.ts";
import type { AnyOAuthError } from "../core/index.ts";
import type { Clock } from "../lib/clock.ts";
import { backgroundDelay } from "./retry.ts";
import type { RetryPolicy } from "./retry.ts";
import { Postponed } from "./postponed.ts";
import type { SessionEntry } from "./session-entry.ts";
import { mayRotate } from "./session-freshness.ts";

/** Trouble of a session: absent while all is well, as it is for nearly all of a million. */
export interface Trouble {
  /** What the last refresh failed with; `undefined` if it was only put off. */
  readonly error: AnyOAuthError | undefined;
  /** In a row. */
  readonly failures: number;
  /** No refresh in the background before this, monotonic milliseconds: the wall clock may jump. */
  readonly retryAt: number;
}

/** Says what a failed refresh leaves behind: why it failed, and when to try again without being asked. */
export function troubleAfter(
  error: unknown,
  entry: SessionEntry,
  { clock, retry, random }: { readonly clock: Clock; readonly retry: RetryPolicy; readonly random: () => number },
): Trouble {
  const known = OAuthError.is(error) ? error : undefined;
  const postponed = error instanceof Postponed ? error : undefined;
  const failures = (entry.trouble?.failures ?? 0) + (postponed === undefined ? 1 : 0);
  const intent = entry.record?.intent;
  const state = {
    failures,
    mayBeSpent: known?.ambiguous === true && mayRotate(entry),
    ambiguousSends: intent?.attempts ?? 0,
    ambiguousForMs: intent === undefined ? 0 : clock.now() - intent.startedAt,
  };
  const delayMs = postponed?.delayMs ?? backgroundDelay(known, state, retry, random);
  const retryAt = delayMs === undefined ? Infinity : clock.monotonic() + Math.max(1, delayMs);
  return {
    error: known ?? (postponed === undefined ? failedFunction(error) : entry.trouble?.error),
    failures,
    retryAt,
  };
}

/** The application's own error is its callers' to see as it is; status and events have words of ours for it. */
function failedFunction(cause: unknown): AnyOAuthError {
  const message = 'a function of the application failed: "obtain", or what gives a secret, key or assertion';
  return new ConfigurationError("config_invalid", message, "obtain", { cause });
}
