import type { OAuthClient } from "./client.ts";
import { CallbackError, ConfigurationError, ReauthorizationRequiredError } from "./errors.ts";
import { createTokenSet } from "./granted-tokens.ts";
import { checkIdToken } from "./id-token.ts";
import { assertScopes, formatScopes, scopesBeyond } from "./scopes.ts";
import { requestTokens } from "./token-request.ts";
import type { TokenAnswer } from "./token-request.ts";
import { rescueRefreshToken } from "./token-response.ts";
import { TokenSet, exportTokens } from "./token-set.ts";
import type { SignalOptions } from "./transport.ts";

/** Options of {@link refreshTokens}. */
export interface RefreshTokensOptions extends SignalOptions {
  /** A narrower set than was granted (RFC 6749 §6). */
  readonly scopes?: readonly string[];
}

/**
 * Refreshes once and merges what the answer omits: the refresh token stays if none came, the scopes if none were named.
 * No lease, no retry: prefer a `TokenSession` (RFC 6749 §6).
 *
 * @throws {@link ReauthorizationRequiredError}, `TokenEndpointError`, `RateLimitError`,
 * `TransportError`; {@link ConfigurationError} `tokens_invalid` for tokens of another client.
 *
 * @example
 *
 * ```ts
 * import { exportTokens, refreshTokens, type OAuthClient, type TokenSet } from "warehouse-oauth";
 *
 * declare const client: OAuthClient;
 * declare const tokens: TokenSet;
 * declare function save(text: string): Promise<void>;
 *
 * const next = await refreshTokens(client, tokens);
 * await save(JSON.stringify(exportTokens(next))); // before anything uses it: the old refresh token may be dead now
 * ```
 */
export async function refreshTokens(
  client: OAuthClient,
  tokens: TokenSet,
  options?: RefreshTokensOptions,
): Promise<TokenSet> {
  const { scopes, signal } = options ?? {};
  return (await attemptRefresh(client, tokens, { scopes, signal })).tokens;
}

/** What one attempt brought. */
export interface RefreshOutcome {
  readonly tokens: TokenSet;
  /** The answer brought another refresh token than the one that was sent. */
  readonly rotated: boolean;
  /** The answer had a lifetime that is none, and was taken all the same. */
  readonly lifetimeInvalid: boolean;
}

/**
 * Refreshes once, for callers that keep what an answer brings even when the rest of it is bad.
 *
 * @throws As {@link refreshTokens}; a refresh token that came with a bad answer is kept for `rescuedRefreshToken`.
 */
export async function attemptRefresh(
  client: OAuthClient,
  tokens: TokenSet,
  options: {
    readonly scopes?: readonly string[] | undefined;
    readonly signal?: AbortSignal | undefined;
    readonly tolerateLifetime?: boolean;
    /** Called right before the request leaves. */
    readonly onSend?: () => void;
  },
): Promise<RefreshOutcome> {
  if (TokenSet.connectionIdOf(tokens) !== client.connectionId) {
    throw new ConfigurationError("tokens_invalid", "these tokens belong to another client or warehouse", "tokens");
  }
  const { refreshToken } = tokens;
  if (refreshToken === undefined) {
    throw new ReauthorizationRequiredError(
      "refresh_token_absent",
      "these tokens came without a refresh token; ask for offline access at the next login",
    );
  }
  const { scopes, signal, onSend, tolerateLifetime = false } = options;
  if (scopes !== undefined) assertNarrower(scopes, tokens);
  const answer = await requestTokens(client, {
    grant: "refresh_token",
    parameters: { refresh_token: refreshToken, ...(scopes !== undefined && { scope: formatScopes(scopes) }) },
    signal,
    onSend,
    tolerateLifetime,
  });
  const { refreshToken: received, lifetimeInvalid } = answer.response;
  try {
    const merged = await mergeRefresh(client, tokens, answer, { scopes, signal });
    return { tokens: merged, rotated: received !== undefined && received !== refreshToken, lifetimeInvalid };
  } catch (error) {
    rescueRefreshToken(error, received);
    throw error;
  }
}

function assertNarrower(scopes: readonly string[], tokens: TokenSet): void {
  assertScopes(scopes, "scopes");
  const [beyond] = scopesBeyond(scopes, tokens.scopes);
  if (beyond !== undefined) {
    throw new ConfigurationError(
      "config_invalid",
      `a refresh cannot ask for more than was granted: ${beyond}; begin a new login for it (RFC 6749 §6)`,
      "scopes",
    );
  }
}

/**
 * Joins the answer to a refresh with the tokens it renews.
 *
 * @throws {@link CallbackError} `id_token_invalid` if a new ID token names somebody else.
 */
async function mergeRefresh(
  client: OAuthClient,
  previous: TokenSet,
  answer: TokenAnswer,
  options: { readonly scopes: readonly string[] | undefined; readonly signal: AbortSignal | undefined },
): Promise<TokenSet> {
  const { response, obtainedAt } = answer;
  const { idToken } = response;
  let user = previous.user;
  const keepIdToken = idToken !== undefined && previous.idToken !== undefined;
  if (keepIdToken) {
    const { accessToken } = response;
    const named = await checkIdToken(client, { idToken, accessToken, nonce: undefined, signal: options.signal });
    if (user !== undefined && (named.id !== user.id || named.issuer !== user.issuer)) {
      throw new CallbackError(
        "id_token_invalid",
        "the refreshed ID token names another user (OpenID Connect Core §12.2)",
      );
    }
    user = { ...named, email: named.email ?? user?.email };
  }
  const refreshExpiresAt = refreshExpiry(client, previous, answer);
  const askedFor = options.scopes ?? previous.scopes;
  const next = exportTokens(createTokenSet(client, answer, askedFor, { user, keepIdToken, refreshExpiresAt }));
  const before = exportTokens(previous);
  const scopesAssumed = response.scopes === undefined ? previous.scopesAssumed || options.scopes !== undefined : false;
  return TokenSet.of({
    ...next,
    ...(next.refreshToken === undefined && before.refreshToken !== undefined && { refreshToken: before.refreshToken }),
    ...(next.idToken === undefined && before.idToken !== undefined && { idToken: before.idToken }),
    scopesAssumed,
    obtainedAt,
  });
}

/** When the refresh token ends after a refresh: as the server said, else by what the warehouse is known to do. */
function refreshExpiry(
  client: OAuthClient,
  previous: TokenSet,
  { response, obtainedAt }: TokenAnswer,
): number | undefined {
  const { refreshExtends, refreshTokenLifetimeMs } = client.warehouse;
  if (response.refreshExpiresInMs !== undefined) return obtainedAt + response.refreshExpiresInMs;
  const rotated = response.refreshToken !== undefined && response.refreshToken !== previous.refreshToken;
  const extended = refreshExtends === "on-use" || (refreshExtends === "on-rotation" && rotated);
  if (extended && refreshTokenLifetimeMs !== undefined) return obtainedAt + refreshTokenLifetimeMs;
  return previous.refreshExpiresAt;
}
