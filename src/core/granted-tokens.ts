import type { OAuthClient } from "./client.ts";
import { canonicalScopes } from "./scopes.ts";
import type { TokenAnswer } from "./token-request.ts";
import { TokenSet, UNKNOWN_END } from "./token-set.ts";
import type { EndOfRefreshToken, GrantedTokens, WarehouseUser } from "./token-set.ts";

/** Makes tokens of an answer; what it leaves out comes from what was asked and from what the warehouse is known to do. */
export function createTokenSet(
  client: OAuthClient,
  answer: TokenAnswer,
  askedFor: readonly string[],
  identity?: GrantedIdentity,
): TokenSet {
  const { refreshToken } = answer.response;
  const end = refreshToken === undefined ? UNKNOWN_END : endOfRefreshToken(client, answer);
  return TokenSet.of(grantedTokens(client, answer, askedFor, identity), end);
}

/** Whom a checked ID token names; without one, only the answer itself may name somebody. */
export interface GrantedIdentity {
  readonly user: WarehouseUser | undefined;
  /** The ID token of the answer was checked, and is worth keeping. */
  readonly keepIdToken: boolean;
}

/** Reads an answer as tokens, but for the end of the refresh token, which a refresh need not move. */
export function grantedTokens(
  { warehouse, connectionId }: OAuthClient,
  { response, obtainedAt }: TokenAnswer,
  askedFor: readonly string[],
  identity?: GrantedIdentity,
): GrantedTokens {
  const { accessToken, refreshToken, idToken, userName } = response;
  const lifetimeMs = response.expiresInMs ?? warehouse.accessTokenLifetimeMs;
  const named = userName === undefined ? undefined : { issuer: warehouse.issuer, id: userName, email: undefined };
  const user = identity?.user ?? named;
  return {
    accessToken,
    refreshToken,
    idToken: identity?.keepIdToken === true ? idToken : undefined,
    tokenType: "Bearer",
    obtainedAt,
    expiresAt: lifetimeMs === undefined ? undefined : obtainedAt + lifetimeMs,
    scopes: canonicalScopes(warehouse, response.scopes ?? askedFor),
    scopesAssumed: response.scopes === undefined,
    user,
    connectionId,
  };
}

/** When the refresh token of a login ends: as the server says, else as the warehouse is known for. */
export function endOfRefreshToken(
  { warehouse }: OAuthClient,
  { response, obtainedAt }: TokenAnswer,
): EndOfRefreshToken {
  const { refreshExpiresInMs } = response;
  const { refreshTokenLifetimeMs } = warehouse;
  if (refreshExpiresInMs !== undefined) {
    return { refreshExpiresAt: obtainedAt + refreshExpiresInMs, refreshExpiresAssumed: false };
  }
  if (refreshTokenLifetimeMs === undefined) return UNKNOWN_END;
  return { refreshExpiresAt: obtainedAt + refreshTokenLifetimeMs, refreshExpiresAssumed: true };
}
