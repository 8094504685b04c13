/**
 * Databricks twice: a command-line tool in which a person signs in, and a job of a service principal.
 *
 * Both end in a query on a SQL warehouse. Refresh tokens are single use here: save what a refresh gives before using it.
 */
import {
  clientCredentials,
  createAuthorizationRequest,
  createClient,
  exchangeCode,
  exportTokens,
  importTokens,
  refreshTokens,
  validateCallback,
  type Fetch,
  type OAuthClient,
  type TokenSet,
} from "warehouse-oauth";
import { databricks, type DatabricksLogin } from "warehouse-oauth/databricks";

/** Makes the public client of a tool: PKCE instead of a secret, the way back on loopback. */
export function createToolClient(settings: {
  readonly host: string;
  readonly clientId: string;
  readonly redirectUri: string;
}): OAuthClient<DatabricksLogin> {
  const { host, clientId, redirectUri } = settings;
  return createClient({ warehouse: databricks({ host }), clientId, redirectUri, allowLoopbackHttp: true });
}

/** Makes the client of a service principal: no person, so no redirect URI. */
export function createJobClient(settings: {
  readonly host: string;
  readonly clientId: string;
  readonly clientSecret: string;
}): OAuthClient<DatabricksLogin> {
  const { host, ...registration } = settings;
  return createClient({ warehouse: databricks({ host }), ...registration });
}

/** Signs a person in. `openBrowser` shows the address and gives the one that the browser came back to. */
export async function signIn(
  client: OAuthClient<DatabricksLogin>,
  openBrowser: (url: URL) => Promise<URL>,
): Promise<TokenSet> {
  const { url, pending } = await createAuthorizationRequest(client, { scopes: ["sql", "offline_access"] });
  return exchangeCode(client, validateCallback(client, await openBrowser(url), pending));
}

/** Renews saved tokens, and saves the new ones before anybody uses them. */
export async function renew(
  client: OAuthClient<DatabricksLogin>,
  file: { read(): Promise<string>; write(text: string): Promise<void> },
): Promise<TokenSet> {
  const next = await refreshTokens(client, importTokens(JSON.parse(await file.read())));
  await file.write(JSON.stringify(exportTokens(next)));
  return next;
}

/** Gets the tokens of a job. There is no refresh token: when they end, ask again. */
export function startJob(client: OAuthClient<DatabricksLogin>): Promise<TokenSet> {
  return clientCredentials(client, { scopes: ["sql"] });
}

/** Runs a statement on a SQL warehouse. */
export async function query(
  client: OAuthClient<DatabricksLogin>,
  tokens: TokenSet,
  options: { readonly statement: string; readonly warehouseId: string; readonly fetch?: Fetch },
): Promise<Response> {
  const { statement, warehouseId, fetch = globalThis.fetch } = options;
  return fetch(new URL("/api/2.0/sql/statements", client.warehouse.apiOrigins[0]), {
    method: "POST",
    headers: { authorization: `Bearer ${tokens.accessToken}`, "content-type": "application/json" },
    body: JSON.stringify({ statement, warehouse_id: warehouseId, wait_timeout: "30s" }),
  });
}
