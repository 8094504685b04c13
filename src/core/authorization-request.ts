import { generateRandomNonce, generateRandomState } from "oauth4webapi";
import { parseReturnPath } from "../lib/return-path.ts";
import { internalsOf } from "./client.ts";
import type { OAuthClient } from "./client.ts";
import { ConfigurationError } from "./errors.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";
import { assertKnownOptions } from "./known-options.ts";
import { createPkce } from "./pkce.ts";
import { assertScopes, canonicalScopes, parseScopes } from "./scopes.ts";
import type { SignalOptions } from "./transport.ts";
import type { LoginOptions, Warehouse } from "./warehouse.ts";

/** What any login takes beside the warehouse's own options. */
export interface AuthorizationRequestOptions extends SignalOptions {
  /** Path of your application to go to afterwards; comes back in `ValidatedCallback.returnTo`. */
  readonly returnTo?: string;
  /** More parameters. Those the protocol depends on cannot be set here (`config_invalid`). */
  readonly parameters?: Readonly<Record<string, string>>;
  /** How long the person may take, at most and by default 600 000. */
  readonly lifetimeMs?: number;
}

/**
 * What must be remembered until the callback. JSON-safe and **secret**: keep it on the server or seal it, bound to
 * this browser, and take it out once. `state` is unique and good as a key.
 */
export interface PendingAuthorization {
  /** **Secret.** 43 random characters; comes back in the callback. */
  readonly state: string;
  /** **Secret.** PKCE's proof that the one who began also finishes (RFC 7636). */
  readonly codeVerifier: string;
  /** **Secret.** Ties the ID token to this login; only with `openid`. */
  readonly nonce?: string;
  /** The client's {@link OAuthClient.connectionId}. */
  readonly connectionId: string;
  /** Where the person was sent. */
  readonly issuer: string;
  /** What was sent as `redirect_uri`, byte for byte. */
  readonly redirectUri: string;
  /** What was asked for. */
  readonly scopes: readonly string[];
  /** Path of the application to go to afterwards. */
  readonly returnTo?: string;
  /** Epoch milliseconds. */
  readonly createdAt: number;
  /** Epoch milliseconds; later the callback is refused. */
  readonly expiresAt: number;
}

/** Longest and default life of a login under way (requirements S-013). */
export const MAX_LOGIN_LIFETIME_MS = 600_000;

/** Set by us alone: another value would take the checks of the callback away (requirements S-005). */
const RESERVED: ReadonlySet<string> = new Set([
  "client_id",
  "redirect_uri",
  "response_type",
  "state",
  "code_challenge",
  "code_challenge_method",
  "nonce",
  "scope",
  "response_mode",
  "request",
  "request_uri",
]);

/**
 * Starts a login: the address to send the browser to, and what to remember (RFC 6749 §4.1.1, RFC 7636).
 *
 * @throws {@link ConfigurationError} `config_invalid`, `grant_unsupported`.
 *
 * @example
 *
 * ```ts
 * import { createAuthorizationRequest, createClient } from "warehouse-oauth";
 * import { snowflake } from "warehouse-oauth/snowflake";
 *
 * const client = createClient({
 *   warehouse: snowflake({ account: "acme-prod" }),
 *   clientId: "client-id",
 *   redirectUri: "https://app.example/callback",
 * });
 * const { url, pending } = await createAuthorizationRequest(client, { role: "ANALYST", returnTo: "/report" });
 * ```
 */
export async function createAuthorizationRequest<Login extends object>(
  client: OAuthClient<Login>,
  options?: AuthorizationRequestOptions & NoInfer<Login>,
): Promise<{ readonly url: URL; readonly pending: PendingAuthorization }> {
  const { clock, login: loginDefaults } = internalsOf(client as OAuthClient);
  const { returnTo, parameters, lifetimeMs, signal, ...ownLogin }: AuthorizationRequestOptions & object = options ?? {};
  signal?.throwIfAborted();
  const { warehouse, redirectUri } = client;
  const endpoint = endpointOf(warehouse);
  if (redirectUri === undefined) {
    throw new ConfigurationError(
      "config_invalid",
      '"redirectUri" of createClient is needed for a login',
      "redirectUri",
    );
  }
  const lifetime = checkedLifetime(lifetimeMs);
  const returnPath = returnTo === undefined ? undefined : checkedReturnTo(returnTo);
  const { scopes, extra } = resolveLogin(client, { ...loginDefaults, ...withoutUndefined(ownLogin) } as Login);

  const state = generateRandomState();
  const { codeVerifier, codeChallenge, codeChallengeMethod } = await createPkce();
  const nonce = scopes.includes("openid") ? generateRandomNonce() : undefined;
  signal?.throwIfAborted();

  const url = new URL(endpoint);
  // Apart from the address: each change of `url.searchParams` writes the whole of it anew.
  const query = new URLSearchParams(url.search);
  for (const name of query.keys()) {
    if (RESERVED.has(name)) throw reserved(name, "authorizationEndpoint");
  }
  for (const [name, value] of Object.entries(extra)) query.set(name, value);
  for (const [name, value] of checkedParameters(parameters, extra)) query.set(name, value);
  query.set("response_type", "code");
  query.set("client_id", client.clientId);
  query.set("redirect_uri", redirectUri);
  if (scopes.length > 0) query.set("scope", scopes.join(" "));
  query.set("state", state);
  query.set("code_challenge", codeChallenge);
  query.set("code_challenge_method", codeChallengeMethod);
  if (nonce !== undefined) query.set("nonce", nonce);
  url.search = query.toString();

  const createdAt = clock.now();
  const pending: PendingAuthorization = {
    state,
    codeVerifier,
    ...(nonce !== undefined && { nonce }),
    connectionId: client.connectionId,
    issuer: warehouse.issuer,
    redirectUri,
    scopes,
    ...(returnPath !== undefined && { returnTo: returnPath }),
    createdAt,
    expiresAt: createdAt + lifetime,
  };
  return { url, pending };
}

/** Gives the scopes that a login at this client asks for when its options say nothing else. */
export function requestedScopes(client: OAuthClient): readonly string[] {
  return resolveLogin(client, internalsOf(client).login).scopes;
}

/** Asks the warehouse what these login options mean: which scopes, and which parameters beside them. */
function resolveLogin<Login extends object>(
  { warehouse, clientId, redirectUri }: OAuthClient<Login>,
  login: Login,
): { readonly scopes: readonly string[]; readonly extra: Readonly<Record<string, string>> } {
  const { scopes = warehouse.defaultScopes, ...others } = login as LoginOptions;
  assertScopes(scopes, "scopes");
  if (warehouse.authorizationParameters === undefined) {
    assertKnownOptions(others, "a login at this warehouse", []);
    return { scopes: canonicalScopes(warehouse, scopes), extra: {} };
  }
  const { scope, ...extra } = warehouse.authorizationParameters(login, { scopes, clientId, redirectUri });
  for (const name of Object.keys(extra)) {
    if (RESERVED.has(name)) throw reserved(name);
  }
  return { scopes: canonicalScopes(warehouse, scope === undefined ? scopes : parseScopes(scope)), extra };
}

function endpointOf(warehouse: Warehouse<never>): string {
  if (!warehouse.grants.includes("authorization_code") || warehouse.authorizationEndpoint === undefined) {
    throw new ConfigurationError(
      "grant_unsupported",
      `people cannot sign in at "${warehouse.id}" as it is defined: it has no authorization_code grant`,
      "grants",
    );
  }
  return warehouse.authorizationEndpoint;
}

function checkedLifetime(lifetimeMs: number | undefined): number {
  if (lifetimeMs === undefined) return MAX_LOGIN_LIFETIME_MS;
  if (typeof lifetimeMs !== "number") throw invalidArgument('"lifetimeMs" must be a number');
  if (!(lifetimeMs >= 1 && lifetimeMs <= MAX_LOGIN_LIFETIME_MS)) {
    throw new ConfigurationError("config_invalid", '"lifetimeMs" must be 1 to 600 000', "lifetimeMs");
  }
  return lifetimeMs;
}

function checkedReturnTo(returnTo: unknown): string {
  if (typeof returnTo !== "string") throw invalidArgument('"returnTo" must be a string');
  const path = parseReturnPath(returnTo);
  if (path === undefined) {
    throw new ConfigurationError(
      "config_invalid",
      '"returnTo" must be a path of your application that begins with one "/", at most 2048 characters',
      "returnTo",
    );
  }
  return path;
}

function checkedParameters(
  parameters: Readonly<Record<string, string>> | undefined,
  extra: Readonly<Record<string, string>>,
): readonly (readonly [string, string])[] {
  if (parameters !== undefined && (typeof parameters !== "object" || (parameters as unknown) === null)) {
    throw invalidArgument('"parameters" must be an object of strings');
  }
  const entries = Object.entries(parameters ?? {});
  for (const [name, value] of entries) {
    if (typeof value !== "string") throw invalidArgument(`"parameters" must hold strings: look at "${name}"`);
    if (RESERVED.has(name)) throw reserved(name);
    if (Object.hasOwn(extra, name)) {
      throw new ConfigurationError("config_invalid", `"${name}" is set by the warehouse's own options`, "parameters");
    }
  }
  return entries;
}

function reserved(name: string, option = "parameters"): ConfigurationError {
  return new ConfigurationError(
    "config_invalid",
    `"${name}" cannot be set: the checks of the callback depend on it`,
    option,
  );
}

/** An option that is there but undefined says nothing: it must not take a default of the client's away. */
function withoutUndefined(options: object): object {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
