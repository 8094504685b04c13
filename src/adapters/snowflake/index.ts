/**
 * Snowflake OAuth as data and pure functions.
 *
 * @module
 */

import { ConfigurationError, assertKnownOptions, defineWarehouse, invalidArgument } from "../../core/index.ts";
import type {
  ApiAnswer,
  Grant,
  LoginOptions,
  LoginRequest,
  TokenFailure,
  TokenFailureClass,
  Warehouse,
} from "../../core/index.ts";
import { checkHost, hostOfAccount } from "./host.ts";
import { assertLocalRedirect } from "./local-application.ts";
import {
  SCOPE_CATALOGUE,
  type SnowflakeScope,
  assertKnownScopes,
  describeRoleScope,
  formatRoleScope,
} from "./scopes.ts";

export type { SnowflakeScope } from "./scopes.ts";

/** What a login at Snowflake may choose. */
export interface SnowflakeLogin extends LoginOptions<SnowflakeScope> {
  /** The role the tokens are bound to, in upper case; `{ quoted }` keeps the case. Default is the user's default role. */
  readonly role?: string | { readonly quoted: string };
}

/** An account identifier (`org-account`) or a whole host (private link, own domain), not both. */
export type SnowflakeOptions = (
  | {
      /** `org-account`, or a locator with region and cloud: `xy12345.eu-central-1`. Underscores become hyphens. */
      readonly account: string;
      readonly host?: never;
    }
  | {
      /** A whole host name, used as it is: `acme-prod.privatelink.snowflakecomputing.com`. */
      readonly host: string;
      readonly account?: never;
    }
) & {
  /** Asks for single-use refresh tokens; each refresh then also ends the earlier access tokens. Default is `false`. */
  readonly singleUseRefreshTokens?: boolean;
  /** Where the integration names another address for people. Default is `/oauth/authorize` at the account. */
  readonly authorizationEndpoint?: string;
  /** Where the integration names another address for tokens. Default is `/oauth/token-request` at the account. */
  readonly tokenEndpoint?: string;
};

/** Default of `OAUTH_ACCESS_TOKEN_VALIDITY` (docs.snowflake.com, "CREATE SECURITY INTEGRATION (Snowflake OAuth)", checked 2026-11-21). */
const ACCESS_TOKEN_LIFETIME_MS = 600_000;

/** Default, and longest, of `OAUTH_REFRESH_TOKEN_VALIDITY`: 90 days (same page, checked 2026-11-21). */
const REFRESH_TOKEN_LIFETIME_MS = 7_776_000_000;

/** OAUTH_ACCESS_TOKEN_INVALID and OAUTH_ACCESS_TOKEN_EXPIRED: another token helps, whatever the status. */
const TOKEN_REJECTED: ReadonlySet<string> = new Set(["390303", "390318"]);

/**
 * A 401 that another token of the same grant cannot cure: consent withdrawn (390302), another user (390309), role
 * (390317), key-pair tokens (390144, 3943xx), programmatic tokens (3944xx).
 */
const ANOTHER_CAUSE = /^(?:390302|390309|390317|390144|39430[0-6]|39440[01])$/;

const REVOCATION_INSTRUCTIONS = [
  "Snowflake revokes in SQL only. The user, or an administrator, runs:",
  "ALTER USER <user> REMOVE DELEGATED AUTHORIZATIONS FROM SECURITY INTEGRATION <integration>;",
  "or, for the tokens of one role:",
  "ALTER USER <user> REMOVE DELEGATED AUTHORIZATION OF ROLE <role> FROM SECURITY INTEGRATION <integration>;",
  "SHOW DELEGATED AUTHORIZATIONS BY USER <user>; lists what there is.",
].join("\n");

/**
 * Describes Snowflake OAuth at one account: custom integrations, and the local application that every account has
 * (client id `LOCAL_APPLICATION`, redirect URI `http://127.0.0.1:<port>`). It has no revocation endpoint, no client
 * credentials and no OpenID Connect (docs.snowflake.com, "Snowflake OAuth overview", checked 2026-11-21).
 *
 * @throws `ConfigurationError` `config_invalid` for a bad account, host or option; `TypeError` with the code
 * `invalid_argument` for one of the wrong type.
 *
 * @example
 *
 * ```ts
 * import { createClient } from "warehouse-oauth";
 * import { snowflake } from "warehouse-oauth/snowflake";
 *
 * const client = createClient({
 *   warehouse: snowflake({ account: "acme-prod" }),
 *   clientId: "LOCAL_APPLICATION",
 *   redirectUri: "http://127.0.0.1:8765",
 *   allowLoopbackHttp: true,
 *   login: { role: "ANALYST" },
 * });
 * ```
 */
export function snowflake(options: SnowflakeOptions): Warehouse<SnowflakeLogin> {
  assertOptions(options);
  const host = options.account === undefined ? checkHost(options.host) : hostOfAccount(options.account);
  const origin = `https://${host}`;
  const singleUse = options.singleUseRefreshTokens === true;
  const tokenEndpoint = options.tokenEndpoint ?? `${origin}/oauth/token-request`;
  return defineWarehouse<SnowflakeLogin>({
    id: "snowflake",
    issuer: origin,
    authorizationEndpoint: options.authorizationEndpoint ?? `${origin}/oauth/authorize`,
    tokenEndpoint,
    apiOrigins: [origin],
    revocationInstructions: REVOCATION_INSTRUCTIONS,
    defaultScopes: ["refresh_token"],
    scopeCatalogue: SCOPE_CATALOGUE,
    // Secrets are Base64 text, and clients and gateways disagree on how Basic encodes it; the body has one encoding.
    clientSecretMethod: "client_secret_post",
    // Without our asking, the integration may still require single-use tokens.
    refreshRotation: singleUse ? "single-use" : "unknown",
    // What a rotation does here, not that there is one.
    rotationVoidsAccessTokens: true,
    refreshExtends: "on-rotation",
    issuerInCallback: "never",
    assertionAudience: tokenEndpoint,
    accessTokenLifetimeMs: ACCESS_TOKEN_LIFETIME_MS,
    refreshTokenLifetimeMs: REFRESH_TOKEN_LIFETIME_MS,
    authorizationParameters,
    describeScope: describeRoleScope,
    userNameMember: "username",
    tokenParameters: (grant) => tokenParameters(grant, singleUse),
    classifyTokenError,
    isTokenRejected,
  });
}

const OPTION_TYPES: Readonly<Record<string, "string" | "boolean">> = {
  account: "string",
  host: "string",
  singleUseRefreshTokens: "boolean",
  authorizationEndpoint: "string",
  tokenEndpoint: "string",
};

function assertOptions(options: SnowflakeOptions): void {
  assertKnownOptions(options, "snowflake", Object.keys(OPTION_TYPES));
  for (const [name, value] of Object.entries(options) as [string, unknown][]) {
    const type = OPTION_TYPES[name];
    if (value !== undefined && typeof value !== type) throw invalidArgument(`"${name}" must be a ${String(type)}`);
  }
  if ((options.account === undefined) === (options.host === undefined)) {
    const came = options.account === undefined ? "neither came" : "both came";
    throw new ConfigurationError("config_invalid", `one of "account" and "host" is required; ${came}`, "account");
  }
}

function authorizationParameters(
  login: SnowflakeLogin,
  { scopes, clientId, redirectUri }: LoginRequest,
): Readonly<Record<string, string>> {
  assertKnownScopes(scopes);
  assertLocalRedirect(clientId, redirectUri);
  assertKnownOptions(login, "a login at Snowflake", ["scopes", "role"]);
  const { role } = login;
  return role === undefined ? {} : { scope: [...scopes, formatRoleScope(role)].join(" ") };
}

/** Documented for the code only; the refresh token knows by itself (docs.snowflake.com, "Single-use refresh tokens", checked 2026-11-21). */
function tokenParameters(grant: Grant, singleUse: boolean): Readonly<Record<string, string>> {
  return singleUse && grant === "authorization_code" ? { enable_single_use_refresh_tokens: "true" } : {};
}

/**
 * The token endpoint speaks RFC 6749 in `error`, and names a dead refresh token `invalid_grant`; `code` is mostly null
 * (docs.snowflake.com, "Snowflake OAuth overview", checked 2026-11-21). What is no JSON comes from something in between, and
 * JSON without either says nothing of the grant.
 */
function classifyTokenError({ status, oauthError, body }: TokenFailure): TokenFailureClass | undefined {
  if (body === undefined) return status === 400 ? "transient" : undefined;
  switch (body["code"]) {
    case "390302":
      return "interaction_required";
    case "390505":
      return "throttled";
    default:
      if (oauthError === "invalid_request" || (oauthError === undefined && status === 400)) return "fatal";
      return undefined;
  }
}

/** The SQL API checks the token on each call (docs.snowflake.com, "Authenticating to the server", checked 2026-11-21). */
function isTokenRejected({ status, bodyStart }: ApiAnswer): boolean {
  const code = /"code"\s*:\s*"?(\d{6})\b/.exec(bodyStart)?.[1] ?? "";
  return TOKEN_REJECTED.has(code) || (status === 401 && !ANOTHER_CAUSE.test(code));
}
