import { internalsOf } from "./client.ts";
import type { OAuthClient } from "./client.ts";
import { CallbackError, ConfigurationError, ReauthorizationRequiredError } from "./errors.ts";
import { endOfRefreshToken, grantedTokens } from "./granted-tokens.ts";
import { checkIdToken, prepareIdTokenCheck } from "./id-token.ts";
import { assertScopes, formatScopes, scopesBeyond } from "./scopes.ts";
import { requestTokens } from "./token-request.ts";
import type { TokenAnswer } from "./token-request.ts";
import { rescueRefreshToken } from "./token-response.ts";
import type { TokenResponse } from "./token-response.ts";
import { TokenSet } from "./token-set.ts";
import type { EndOfRefreshToken, WarehouseUser } from "./token-set.ts";
import type { SignalOptions } from "./transport.ts";

/** Options of {@link refreshTokens}. */
export interface RefreshTokensOptions extends SignalOptions {
  /** A narrower set than was granted (RFC 6749 §6). */
  readonly scopes?: readonly string[];
}

/**
 * Refreshes once and merges what the answer omits: the refresh token stays if none came, the scopes if none were named.
 * No lease, no retry: prefer a `TokenSession` (RFC 6749 §6). A new ID token that cannot be checked, or fails the check, is
 * left out, and the old one stays. Once the answer is there, an abort is too late.
 *
 * @throws {@link ReauthorizationRequiredError}, `TokenEndpointError`, `RateLimitError`,
 * `TransportError`; {@link ConfigurationError} `tokens_invalid` for tokens of another client; {@link CallbackError}
 * `id_token_invalid` for a genuine ID token of another user. The old refresh token may be spent even so:
 * {@link rescuedRefreshToken} gives the one that came with an answer that was refused.
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
  internalsOf(client);
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
  if (scopes !== undefined) assertNarrower(client, scopes, tokens);
  const canCheckIdToken = tokens.idToken !== undefined && (await prepareIdTokenCheck(client, signal));
  const answer = await requestTokens(client, {
    grant: "refresh_token",
    parameters: { refresh_token: refreshToken, ...(scopes !== undefined && { scope: formatScopes(scopes) }) },
    signal,
    onSend,
    tolerateLifetime,
  });
  const { refreshToken: received, lifetimeInvalid } = answer.response;
  try {
    const user = canCheckIdToken ? await userOfNewIdToken(client, tokens, answer.response) : undefined;
    const merged = mergeRefresh(client, tokens, answer, { scopes, user });
    return { tokens: merged, rotated: received !== undefined && received !== refreshToken, lifetimeInvalid };
  } catch (error) {
    rescueRefreshToken(error, received);
    throw error;
  }
}

function assertNarrower({ warehouse }: OAuthClient, scopes: readonly string[], tokens: TokenSet): void {
  assertScopes(scopes, "scopes");
  const [beyond] = scopesBeyond(warehouse, scopes, tokens.scopes);
  if (beyond !== undefined) {
    throw new ConfigurationError(
      "config_invalid",
      `a refresh cannot ask for more than was granted: ${beyond}; begin a new login for it (RFC 6749 §6)`,
      "scopes",
    );
  }
}

/** Joins the answer to a refresh with the tokens it renews. Without a `user`, a new ID token is left out. */
function mergeRefresh(
  client: OAuthClient,
  previous: TokenSet,
  answer: TokenAnswer,
  options: { readonly scopes: readonly string[] | undefined; readonly user: WarehouseUser | undefined },
): TokenSet {
  const { scopes, user } = options;
  const granted = grantedTokens(client, answer, scopes ?? previous.scopes, {
    user: user ?? previous.user,
    keepIdToken: user !== undefined,
  });
  const narrowed = scopes !== undefined;
  const { accessToken, tokenType, obtainedAt, expiresAt, connectionId } = granted;
  const merged = {
    accessToken,
    refreshToken: granted.refreshToken ?? previous.refreshToken,
    idToken: granted.idToken ?? previous.idToken,
    tokenType,
    obtainedAt,
    expiresAt,
    scopes: granted.scopes,
    scopesAssumed: answer.response.scopes === undefined && (previous.scopesAssumed || narrowed),
    user: granted.user,
    connectionId,
  };
  return TokenSet.of(merged, endAfterRefresh(client, previous, answer));
}

/**
 * Says whom a new ID token names. The answer to a refresh need not have one (OpenID Connect Core §12.2), so one that fails
 * the check is left out, and the old one stays: the grant itself succeeded.
 *
 * @throws {@link CallbackError} `id_token_invalid` if it is genuine and names somebody else, who may own the other tokens.
 */
async function userOfNewIdToken(
  client: OAuthClient,
  { user }: TokenSet,
  { idToken }: TokenResponse,
): Promise<WarehouseUser | undefined> {
  if (idToken === undefined) return undefined;
  let named: WarehouseUser;
  try {
    named = await checkIdToken(client, { idToken, nonce: undefined });
  } catch {
    return undefined;
  }
  if (user !== undefined && (named.id !== user.id || named.issuer !== user.issuer)) {
    throw new CallbackError(
      "id_token_invalid",
      "the refreshed ID token names another user (OpenID Connect Core §12.2)",
    );
  }
  return { ...named, email: named.email ?? user?.email };
}

/** When the refresh token ends after a refresh. What the server once said of it, only the server prolongs. */
function endAfterRefresh(client: OAuthClient, previous: TokenSet, answer: TokenAnswer): EndOfRefreshToken {
  const { refreshExpiresAt, refreshExpiresAssumed } = previous;
  const { refreshExtends, refreshTokenLifetimeMs } = client.warehouse;
  const { refreshToken, refreshExpiresInMs } = answer.response;
  if (refreshExpiresInMs !== undefined) return endOfRefreshToken(client, answer);
  const rotated = refreshToken !== undefined && refreshToken !== previous.refreshToken;
  const extended = refreshExtends === "on-use" || (refreshExtends === "on-rotation" && rotated);
  const mayAssume = refreshTokenLifetimeMs !== undefined && (refreshExpiresAssumed || refreshExpiresAt === undefined);
  if (extended && mayAssume) return endOfRefreshToken(client, answer);
  return { refreshExpiresAt, refreshExpiresAssumed };
}
