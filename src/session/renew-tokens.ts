import { ConfigurationError, TokenSet, attemptRefresh } from "../core/index.ts";
import type { SessionRecord } from "./record.ts";
import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";
import { absentError } from "./session-errors.ts";
import { inTime } from "./waits.ts";

/** What a refresh brought. */
export interface RenewedTokens {
  readonly tokens: TokenSet;
  /** Another refresh token came with them. */
  readonly rotated: boolean;
  /** The server said something that is no lifetime. */
  readonly lifetimeInvalid: boolean;
}

/** Time for a function of the application that gets tokens. */
const OBTAIN_WITHIN_MS = 30_000;

/**
 * Gets the next tokens: with the refresh token, or from the function that the application gave.
 *
 * @param onSend Called right before a request leaves; what it throws is passed on, and nothing leaves.
 *
 * @throws Errors of a refresh; those of `obtain`; {@link ConfigurationError} `tokens_invalid`.
 */
export async function renewTokens(
  engine: SessionEngine,
  entry: SessionEntry,
  base: SessionRecord | undefined,
  onSend: () => void,
): Promise<RenewedTokens> {
  const { client, connectionId } = entry.connection;
  if (entry.obtain === undefined && base?.tokens !== undefined) {
    return attemptRefresh(client, base.tokens, { tolerateLifetime: true, onSend });
  }
  const { obtain } = entry;
  if (obtain === undefined) throw absentError(base);
  onSend();
  const deadline = new AbortController();
  const message = `"obtain" gave no tokens within ${String(OBTAIN_WITHIN_MS)} ms`;
  const tokens = await inTime(
    engine.clock,
    OBTAIN_WITHIN_MS,
    message,
    obtain(client, { signal: deadline.signal }),
    () => {
      deadline.abort();
    },
  );
  if (TokenSet.connectionIdOf(tokens) !== connectionId) {
    throw new ConfigurationError("tokens_invalid", '"obtain" gave tokens of another client', "obtain");
  }
  return { tokens, rotated: false, lifetimeInvalid: false };
}
