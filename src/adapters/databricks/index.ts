/**
 * Databricks OAuth, for people and machines, as data and pure functions.
 *
 * @module
 */

import { ConfigurationError, assertKnownOptions, defineWarehouse, invalidArgument } from "../../core/index.ts";
import type { Grant, LoginOptions, ScopeFact, TokenFailure, TokenFailureClass, Warehouse } from "../../core/index.ts";
import { checkHost } from "./host.ts";
import { isTokenRejected } from "./rejected-token.ts";

/** The usual ones for completion; Databricks has over a hundred. */
export type DatabricksScope = "sql" | "all-apis" | "offline_access" | "openid" | "profile" | "email" | (string & {});

/** Default scopes are `sql offline_access` for people, `all-apis` for machines. */
export type DatabricksLogin = LoginOptions<DatabricksScope>;

/** Which Databricks, and how its app registration behaves. */
export interface DatabricksOptions {
  /** Workspace, account console or own domain: host name only. */
  readonly host: string;
  /** Signs in to the account instead of a workspace. */
  readonly accountId?: string;
  /** As the app's policy says. Default is `"single-use"`, which is right for both. */
  readonly refreshRotation?: "none" | "single-use";
  /** The app's absolute session lifetime, if it has one. */
  readonly absoluteSessionLifetimeMs?: number;
}

/** One hour (docs.databricks.com, "Authorize user access to Databricks with OAuth", checked 2026-11-21). */
const ACCESS_TOKEN_LIFETIME_MS = 3_600_000;

/** Twice Azure's limit: a statement is polled for a while with the token it began with. */
const HARD_MARGIN_MS = 60_000;

/** Azure Databricks answers "Token is expiring within 30 seconds"; Databricks' own SDKs keep 40 s (Go SDK, checked 2026-11-21). */
const AZURE_REFUSED_BELOW_MS = 40_000;

/** What the scopes let an application do (Databricks SDK for Python, "custom_app_integration", checked 2026-11-21). */
const SCOPE_CATALOGUE: ReadonlyMap<string, ScopeFact> = new Map<DatabricksScope, ScopeFact>([
  ["sql", { description: "Run SQL on your behalf and see and change the data that you may.", level: "write" }],
  ["all-apis", { description: "Do everything in Databricks that you may do yourself.", level: "admin" }],
  ["offline_access", { description: "Stay signed in to Databricks for you while you are away.", level: "read" }],
  ["openid", { description: "Know which Databricks user you are.", level: "read" }],
  ["profile", { description: "See your name as Databricks knows it.", level: "read" }],
  ["email", { description: "See your email address.", level: "read" }],
]);

const REVOCATION_INSTRUCTIONS = [
  "Databricks has no revocation endpoint. The tokens were deleted here; an access token ends by itself, after one hour by default.",
  "To cut the application off for everybody, an account admin disables or deletes its app connection in the account console",
  "(Settings, App connections). That takes up to 30 minutes.",
].join("\n");

/**
 * Describes Databricks OAuth at a workspace or an account, for people and machines, on every cloud and on own domains.
 * It has no revocation endpoint.
 *
 * @throws `ConfigurationError` `config_invalid` for a bad host, account id or option; `TypeError` with the code
 * `invalid_argument` for one of the wrong type.
 *
 * @example
 *
 * ```ts
 * import { clientCredentials, createClient } from "warehouse-oauth";
 * import { databricks } from "warehouse-oauth/databricks";
 *
 * declare const clientSecret: string;
 *
 * const client = createClient({
 *   warehouse: databricks({ host: "acme.cloud.databricks.com" }),
 *   clientId: "6f1c2f6a-0f0c-4b6e-8a52-0d8f0f3f1c11",
 *   clientSecret,
 * });
 * const tokens = await clientCredentials(client);
 * ```
 */
export function databricks(options: DatabricksOptions): Warehouse<DatabricksLogin> {
  assertOptions(options);
  const { accountId, refreshRotation = "single-use", absoluteSessionLifetimeMs } = options;
  const { host, azure } = checkHost(options.host, accountId);
  const origin = `https://${host}`;
  const issuer = accountId === undefined ? `${origin}/oidc` : `${origin}/oidc/accounts/${accountId}`;
  return defineWarehouse<DatabricksLogin>({
    id: "databricks",
    issuer,
    authorizationEndpoint: `${issuer}/v1/authorize`,
    tokenEndpoint: `${issuer}/v1/token`,
    apiOrigins: [origin],
    revocationInstructions: REVOCATION_INSTRUCTIONS,
    grants: ["authorization_code", "refresh_token", "client_credentials", "token_exchange"],
    defaultScopes: ["sql", "offline_access"],
    machineScopes: ["all-apis"],
    scopeCatalogue: SCOPE_CATALOGUE,
    clientSecretMethod: "client_secret_basic",
    refreshRotation,
    refreshExtends: refreshRotation === "none" ? "never" : "on-rotation",
    // Not advertised, and seen all the same on some sign-in pages: compared where it is there.
    issuerInCallback: "sometimes",
    accessTokenLifetimeMs: ACCESS_TOKEN_LIFETIME_MS,
    ...(absoluteSessionLifetimeMs !== undefined && { absoluteSessionLifetimeMs }),
    hardMarginMs: HARD_MARGIN_MS,
    refusedBelowMs: azure ? AZURE_REFUSED_BELOW_MS : 0,
    normalizeTokenResponse,
    classifyTokenError,
    isTokenRejected,
  });
}

/**
 * Fills in what RFC 8693 §2.2.1 wants of a token exchange. No page of Databricks says that it is sent, and none of its
 * own SDKs reads it (Go, Python and JavaScript SDKs, checked 2026-11-21); what comes is always an access token.
 */
function normalizeTokenResponse(
  body: Readonly<Record<string, unknown>>,
  { grant }: { readonly grant: Grant },
): Readonly<Record<string, unknown>> {
  if (grant !== "token_exchange" || Object.hasOwn(body, "issued_token_type")) return body;
  return { ...body, issued_token_type: "urn:ietf:params:oauth:token-type:access_token" };
}

const OPTION_TYPES: Readonly<Record<keyof DatabricksOptions, "string" | "number">> = {
  host: "string",
  accountId: "string",
  refreshRotation: "string",
  absoluteSessionLifetimeMs: "number",
};

function assertOptions(options: DatabricksOptions): void {
  assertKnownOptions(options, "databricks", Object.keys(OPTION_TYPES));
  for (const [name, value] of Object.entries(options) as [keyof DatabricksOptions, unknown][]) {
    const type = OPTION_TYPES[name];
    if (value !== undefined && typeof value !== type) throw invalidArgument(`"${name}" must be a ${type}`);
  }
  if ((options.host as unknown) === undefined) {
    throw new ConfigurationError("config_invalid", '"host" is required', "host");
  }
  if (options.refreshRotation !== undefined && !["none", "single-use"].includes(options.refreshRotation)) {
    throw new ConfigurationError(
      "config_invalid",
      '"refreshRotation" must be "none" or "single-use"',
      "refreshRotation",
    );
  }
  const absolute = options.absoluteSessionLifetimeMs;
  if (absolute !== undefined && !(absolute > 0 && Number.isFinite(absolute))) {
    throw new ConfigurationError(
      "config_invalid",
      '"absoluteSessionLifetimeMs" must be a number of milliseconds above 0',
      "absoluteSessionLifetimeMs",
    );
  }
}

/**
 * A dead refresh token is status 401 `invalid_request` here, and only the text tells it from a malformed request or a
 * blocked address, which end no session. That text is what Databricks' own SDKs look for (Databricks CLI and Go SDK,
 * checked 2026-11-21).
 */
function classifyTokenError({ grant, status, oauthError, body = {} }: TokenFailure): TokenFailureClass | undefined {
  if (grant !== "refresh_token" || (status !== 400 && status !== 401)) return undefined;
  const { error_description: text } = body;
  if (typeof text === "string" && /refresh token is invalid/i.test(text)) return "dead_grant";
  return oauthError === undefined || oauthError === "invalid_request" ? "fatal" : undefined;
}
