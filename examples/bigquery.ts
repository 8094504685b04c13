/**
 * BigQuery twice: a web app in which people sign in with Google, and a service account.
 *
 * Google asks for the client secret even with PKCE, and gives a refresh token only with a consent that was shown.
 */
import {
  createAuthorizationRequest,
  createClient,
  describeScopes,
  exchangeCode,
  jwtBearer,
  missingScopes,
  revokeTokens,
  validateCallback,
  type Fetch,
  type OAuthClient,
  type PendingAuthorization,
  type SigningKey,
  type TokenSet,
} from "warehouse-oauth";
import { bigquery, type BigQueryLogin } from "warehouse-oauth/bigquery";

const BIGQUERY = "https://www.googleapis.com/auth/bigquery";

/** Makes the client of a web app. `openid` and `email` tell who signed in. */
export function createWebClient(settings: {
  readonly clientId: string;
  readonly clientSecret: string;
  readonly redirectUri: string;
}): OAuthClient<BigQueryLogin> {
  return createClient({ warehouse: bigquery(), ...settings, login: { scopes: [BIGQUERY, "openid", "email"] } });
}

/** Begins a login. Without a stored refresh token the consent must be shown, or none comes back. */
export function beginLogin(
  client: OAuthClient<BigQueryLogin>,
  person: { readonly email?: string; readonly hasRefreshToken: boolean },
): Promise<{ readonly url: URL; readonly pending: PendingAuthorization }> {
  return createAuthorizationRequest(client, {
    ...(person.email !== undefined && { loginHint: person.email }),
    ...(!person.hasRefreshToken && { prompt: "consent" }),
    returnTo: "/report",
  });
}

/** Finishes a login. People may untick single scopes at Google: what is missing is said in words. */
export async function finishLogin(
  client: OAuthClient<BigQueryLogin>,
  request: Request,
  pending: PendingAuthorization | undefined,
): Promise<{ readonly tokens: TokenSet; readonly missing: readonly string[] }> {
  const tokens = await exchangeCode(client, validateCallback(client, request, pending));
  const missing = describeScopes(client.warehouse, missingScopes(client, tokens));
  return { tokens, missing: missing.map(({ scope, description }) => description ?? scope) };
}

/** Gets the tokens of a service account with its private key. When they end, ask again. */
export function signInAsServiceAccount(account: {
  readonly clientEmail: string;
  readonly privateKey: SigningKey;
  readonly keyId: string;
  /** Default is Google's own. */
  readonly client?: OAuthClient<BigQueryLogin>;
}): Promise<TokenSet> {
  const {
    clientEmail,
    privateKey,
    keyId,
    client = createClient({ warehouse: bigquery(), clientId: clientEmail }),
  } = account;
  return jwtBearer(client, { issuer: clientEmail, key: privateKey, keyId });
}

/** Runs a query in a project. */
export async function query(
  client: OAuthClient<BigQueryLogin>,
  tokens: TokenSet,
  options: { readonly sql: string; readonly projectId: string; readonly fetch?: Fetch },
): Promise<Response> {
  const { sql, projectId, fetch = globalThis.fetch } = options;
  const path = `/bigquery/v2/projects/${encodeURIComponent(projectId)}/queries`;
  return fetch(new URL(path, client.warehouse.apiOrigins[0]), {
    method: "POST",
    headers: { authorization: `Bearer ${tokens.accessToken}`, "content-type": "application/json" },
    body: JSON.stringify({ query: sql, useLegacySql: false }),
  });
}

/** Signs out: Google ends the refresh token and the access token with one call. */
export async function signOut(client: OAuthClient<BigQueryLogin>, tokens: TokenSet): Promise<boolean> {
  const { refreshToken, accessToken } = await revokeTokens(client, tokens);
  return refreshToken === "revoked" || accessToken === "revoked";
}
