import type { OAuthClient } from "./client.ts";
import { canonicalScopes } from "./scopes.ts";
import type { TokenAnswer } from "./token-request.ts";
import { TokenSet } from "./token-set.ts";
import type { WarehouseUser } from "./token-set.ts";

/** Makes tokens of an answer; what it leaves out comes from what was asked and from what the warehouse is known to do. */
export function createTokenSet(
  client: OAuthClient,
  { response, obtainedAt }: TokenAnswer,
  askedFor: readonly string[],
  options: {
    readonly user?: WarehouseUser | undefined;
    readonly keepIdToken?: boolean;
    /** Of a refresh, which need not extend it. Default is what the answer or the warehouse says of a new login. */
    readonly refreshExpiresAt?: number | undefined;
  } = {},
): TokenSet {
  const { warehouse, connectionId } = client;
  const { accessToken, refreshToken, idToken, userName } = response;
  const lifetimeMs = response.expiresInMs ?? warehouse.accessTokenLifetimeMs;
  const refreshLifetimeMs = response.refreshExpiresInMs ?? warehouse.refreshTokenLifetimeMs;
  const endOfLogin =
    refreshToken === undefined || refreshLifetimeMs === undefined ? undefined : obtainedAt + refreshLifetimeMs;
  const refreshExpiresAt = "refreshExpiresAt" in options ? options.refreshExpiresAt : endOfLogin;
  const named = userName === undefined ? undefined : { issuer: warehouse.issuer, id: userName, email: undefined };
  const user = options.user ?? named;
  return TokenSet.of({
    accessToken,
    ...(refreshToken !== undefined && { refreshToken }),
    ...(idToken !== undefined && options.keepIdToken === true && { idToken }),
    tokenType: "Bearer",
    obtainedAt,
    ...(lifetimeMs !== undefined && { expiresAt: obtainedAt + lifetimeMs }),
    ...(refreshExpiresAt !== undefined && { refreshExpiresAt }),
    scopes: canonicalScopes(warehouse, response.scopes ?? askedFor),
    scopesAssumed: response.scopes === undefined,
    ...(user !== undefined && { user }),
    connectionId,
  });
}
