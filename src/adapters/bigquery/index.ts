/**
 * Google OAuth for BigQuery as data and pure functions.
 *
 * @module
 */

import { ConfigurationError, assertKnownOptions, defineWarehouse, invalidArgument } from "../../core/index.ts";
import type { ApiAnswer, TokenFailure, TokenFailureClass, Warehouse } from "../../core/index.ts";
import { type BigQueryLogin, authorizationParameters } from "./login.ts";
import { SCOPE_ALIASES, SCOPE_CATALOGUE } from "./scopes.ts";

export type { BigQueryLogin } from "./login.ts";
export type { BigQueryScope } from "./scopes.ts";

/** Where BigQuery is. */
export interface BigQueryOptions {
  /** A private or regional API endpoint, https. Default is `https://bigquery.googleapis.com`. */
  readonly apiOrigin?: string;
}

const TOKEN_ENDPOINT = "https://oauth2.googleapis.com/token";

/** Scope of people and service accounts: everything BigQuery does needs it, nothing else of Google Cloud comes with it. */
const BIGQUERY_SCOPE = "https://www.googleapis.com/auth/bigquery";

/** Answers say 3599 s (developers.google.com, "Using OAuth 2.0 for Web Server Applications", checked 2026-11-21). */
const ACCESS_TOKEN_LIFETIME_MS = 3_600_000;

/** Six months without use end a refresh token (developers.google.com, "Using OAuth 2.0 to Access Google APIs", checked 2026-11-21). */
const REFRESH_TOKEN_LIFETIME_MS = 15_552_000_000;

/**
 * Describes Google OAuth for BigQuery: people, with clients of type Web or Desktop, and service accounts. Refresh tokens
 * do not rotate. Both types of client need their secret, although a Desktop client's is no secret
 * (developers.google.com, "OAuth 2.0 for iOS & Desktop Apps", checked 2026-11-21).
 *
 * @throws `ConfigurationError` `config_invalid`, `insecure_url` for a bad origin; `TypeError` with the code
 * `invalid_argument` for an option of the wrong type.
 *
 * @example
 *
 * ```ts
 * import { createAuthorizationRequest, createClient } from "warehouse-oauth";
 * import { bigquery } from "warehouse-oauth/bigquery";
 *
 * declare const clientSecret: string;
 *
 * const client = createClient({
 *   warehouse: bigquery(),
 *   clientId: "1234-abc.apps.googleusercontent.com",
 *   clientSecret,
 *   redirectUri: "https://app.example/callback",
 * });
 * const { url } = await createAuthorizationRequest(client, { prompt: "consent" });
 * ```
 */
export function bigquery(options: BigQueryOptions = {}): Warehouse<BigQueryLogin> {
  const { apiOrigin = "https://bigquery.googleapis.com" } = readOptions(options);
  return defineWarehouse<BigQueryLogin>({
    id: "bigquery",
    issuer: "https://accounts.google.com",
    authorizationEndpoint: "https://accounts.google.com/o/oauth2/v2/auth",
    tokenEndpoint: TOKEN_ENDPOINT,
    revocationEndpoint: "https://oauth2.googleapis.com/revoke",
    jwksUri: "https://www.googleapis.com/oauth2/v3/certs",
    // "https://accounts.google.com or accounts.google.com" (developers.google.com, "OpenID Connect", checked 2026-11-21).
    idTokenIssuers: ["accounts.google.com"],
    apiOrigins: [apiOrigin],
    grants: ["authorization_code", "refresh_token", "jwt_bearer"],
    defaultScopes: [BIGQUERY_SCOPE],
    machineScopes: [BIGQUERY_SCOPE],
    scopeCatalogue: SCOPE_CATALOGUE,
    scopeAliases: SCOPE_ALIASES,
    clientSecretMethod: "client_secret_post",
    refreshRotation: "none",
    refreshExtends: "on-use",
    // Since 2026 Google sends it, rolled out in steps.
    issuerInCallback: "sometimes",
    assertionAudience: TOKEN_ENDPOINT,
    accessTokenLifetimeMs: ACCESS_TOKEN_LIFETIME_MS,
    refreshTokenLifetimeMs: REFRESH_TOKEN_LIFETIME_MS,
    authorizationParameters,
    classifyTokenError,
    isTokenRejected,
  });
}

function readOptions(options: BigQueryOptions): BigQueryOptions {
  assertKnownOptions(options, "bigquery", ["apiOrigin"]);
  const { apiOrigin } = options;
  if (apiOrigin === undefined) return {};
  if (typeof apiOrigin !== "string") throw invalidArgument('"apiOrigin" must be a string');
  // The token is all that BigQuery asks for, so not even to this machine without TLS.
  if (/^http:/i.test(apiOrigin)) {
    throw new ConfigurationError("insecure_url", '"apiOrigin" must be https', "apiOrigin");
  }
  if (!/^https:\/\/[a-z0-9.-]+(?::\d+)?\/?$/.test(apiOrigin)) {
    throw new ConfigurationError(
      "config_invalid",
      '"apiOrigin" must be an origin such as "https://bigquery.europe-west3.rep.googleapis.com": https, a lower-case host, no path',
      "apiOrigin",
    );
  }
  return { apiOrigin };
}

/** What Google says when repeating may help, in `error` or in `error_description` (google-auth-library for Python, checked 2026-11-21). */
const TRANSIENT: ReadonlySet<unknown> = new Set(["internal_failure", "server_error", "temporarily_unavailable"]);

/** An organisation's session control: the grant lives, the person must sign in again (same library). */
const REAUTHENTICATION: ReadonlySet<unknown> = new Set(["invalid_rapt", "rapt_required"]);

/** With status 400 `invalid_request`, of clients of type Web and Desktop alike (openid/AppAuth-JS#91, checked 2026-11-21). */
const SECRET_MISSING = "client_secret is missing.";

/** Policies, or what only a registration can mend: nothing that signing in again would change. */
const FATAL: ReadonlySet<unknown> = new Set([
  "admin_policy_enforced",
  "org_internal",
  "access_denied",
  "redirect_uri_mismatch",
]);

/**
 * Google says `invalid_grant` of dead refresh tokens, never `invalid_request`: that one is for what the application
 * sent, the secret first of all. Refused assertions of service accounts are left as they are: nobody can sign in there.
 * What is no JSON comes from something in between, and JSON without a code says nothing of the grant.
 */
function classifyTokenError({ status, oauthError, body }: TokenFailure): TokenFailureClass | undefined {
  if (body === undefined) return status === 400 ? "transient" : undefined;
  const { error_subtype: subtype, error_description: text } = body;
  if (TRANSIENT.has(oauthError) || TRANSIENT.has(text)) return "transient";
  if (FATAL.has(oauthError)) return "fatal";
  if (oauthError === "deleted_client" || text === SECRET_MISSING) return "client_rejected";
  if (oauthError === "invalid_request" || (oauthError === undefined && status === 400)) return "fatal";
  return oauthError === "invalid_grant" && REAUTHENTICATION.has(subtype) ? "interaction_required" : undefined;
}

/** A 403 is a missing scope, a missing right or a quota: another token of the same grant cures none of them. */
function isTokenRejected({ status }: ApiAnswer): boolean {
  return status === 401;
}
