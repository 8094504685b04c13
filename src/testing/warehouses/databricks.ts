import { databricks, type DatabricksLogin } from "../../adapters/databricks/index.ts";
import { assertKnownOptions } from "../../core/index.ts";
import type { RefreshRotation, Warehouse } from "../../core/index.ts";
import { FAKE_OPTIONS, createFakeWarehouse, type FakeOptions, type FakeWarehouse } from "../fake-warehouse.ts";
import type { Refusal, RefusalReason } from "../refusal.ts";
import { ResultCache, createResults, type StatementResult } from "../statement-result.ts";
import type { TrustedIssuer } from "../trusted-assertions.ts";
import { jsonResponse, parseJsonObject, type ScopeRequest, type WarehouseProfile } from "../warehouse-profile.ts";

/** What a fake Databricks may be told beside {@link FakeOptions}. */
export interface FakeDatabricksOptions extends FakeOptions {
  /** Default is `"fake.cloud.databricks.com"`. */
  readonly host?: string;
  /** Federation policies: identity providers whose JWTs `exchangeToken` may bring. Default is none. */
  readonly federation?: readonly TrustedIssuer[];
}

/** One hour (docs.databricks.com, "Authorize user access to Databricks with OAuth", checked 2026-11-21). */
const ACCESS_TOKEN_LIFETIME_MS = 3_600_000;

/** Seven days: the usual value of `refresh_token_ttl_in_minutes` in samples; no default is published (checked 2026-11-21). */
const REFRESH_TOKEN_LIFETIME_MS = 604_800_000;

/** No limit is published; this one keeps an address usable. */
const MAX_STATE_LENGTH = 2_048;

/** What Databricks' scopes look like: `sql`, `all-apis`, `offline_access`, `sql.statement-execution`. */
const SCOPE = /^(?:offline_access|[a-z][a-z-]*(?:\.[a-z][a-z-]*)*)$/;

/** Scopes that let an application run statements. */
const STATEMENT_SCOPES: readonly string[] = ["sql", "all-apis", "sql.statement-execution"];

/**
 * Makes a Databricks workspace in memory: authorize, token (code, refresh, client credentials, token exchange),
 * metadata, ID tokens, statement API.
 *
 * Stricter than Databricks: PKCE and `state` are required for every client, refresh tokens are single-use unless
 * `refreshRotation` says otherwise, and a replayed one revokes its family.
 *
 * @throws `ConfigurationError` `config_invalid`.
 *
 * @example
 *
 * ```ts
 * import { clientCredentials } from "warehouse-oauth";
 * import { fakeDatabricks } from "warehouse-oauth/testing";
 *
 * const fake = fakeDatabricks();
 * const tokens = await clientCredentials(fake.client);
 * process.stdout.write(`${tokens.scopes.join(" ")}\n`); // all-apis
 * ```
 */
export function fakeDatabricks(options: FakeDatabricksOptions = {}): FakeWarehouse<DatabricksLogin> {
  assertKnownOptions(options, "fakeDatabricks", [...FAKE_OPTIONS, "host", "federation"]);
  const { host = "fake.cloud.databricks.com", refreshRotation, federation } = options;
  return createFakeWarehouse<DatabricksLogin>(
    {
      profile: createProfile(options),
      warehouse: databricks({ host, ...(refreshRotation === "none" && { refreshRotation }) }),
      clientId: "6f1c2f6a-fake-4b6e-8a52-0d8f0f3f1c11",
      ...(federation !== undefined && { trusted: federation }),
      trustedOption: "federation",
    },
    options,
  );
}

function createProfile({ rows }: FakeDatabricksOptions): WarehouseProfile {
  return {
    displayName: "Databricks",
    defaults: {
      accessTokenLifetimeMs: ACCESS_TOKEN_LIFETIME_MS,
      refreshTokenLifetimeMs: REFRESH_TOKEN_LIFETIME_MS,
      refreshRotation: "single-use",
    },
    // Users of shared caches report that the access tokens of a spent family die, not those of an orderly rotation.
    rotationVoidsAccessTokens: false,
    refreshExtends: "on-rotation",
    grants: new Set(["authorization_code", "refresh_token", "client_credentials", "token_exchange"]),
    clientAuthentication: new Set(["basic", "post"]),
    prefixes: { code: "dcod", access: "dat-", refresh: "doau" },
    redirectsErrors: true,
    issuerInCallback: false,
    scopeInCallback: false,
    maxStateLength: MAX_STATE_LENGTH,
    jwksPath: "/oidc/jwks.json",
    metadataPaths: ["/oidc/.well-known/oauth-authorization-server", "/oidc/.well-known/openid-configuration"],
    metadata,
    checkScopes,
    checkGranted: () => undefined,
    isOffline: ({ scopes }) => scopes.includes("offline_access"),
    remembersConsent: false,
    rotationOf: (_form, configured): RefreshRotation => configured,
    authorizationPage,
    tokenError,
    tokenBody: ({ scopes, accessToken, refreshToken, idToken, expiresInSeconds }) => ({
      access_token: accessToken,
      token_type: "Bearer",
      expires_in: expiresInSeconds,
      refresh_token: refreshToken,
      id_token: idToken,
      scope: scopes.join(" "),
    }),
    answer: createStatementApi(createResults(rows)),
  };
}

/** As recorded from a workspace (facts sheet A1.2, checked 2026-11-21): token exchange works and is not listed. */
function metadata({ issuer, authorizationEndpoint, tokenEndpoint }: Warehouse): Readonly<Record<string, unknown>> {
  return {
    issuer,
    authorization_endpoint: authorizationEndpoint,
    token_endpoint: tokenEndpoint,
    jwks_uri: `${issuer}/jwks.json`,
    response_types_supported: ["code"],
    response_modes_supported: ["query"],
    grant_types_supported: ["client_credentials", "authorization_code", "refresh_token"],
    code_challenge_methods_supported: ["S256"],
    token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post", "none"],
    subject_types_supported: ["public"],
    id_token_signing_alg_values_supported: ["RS256"],
    request_uri_parameter_supported: false,
    scopes_supported: ["all-apis", "email", "offline_access", "openid", "profile", "sql"],
  };
}

function checkScopes({ scopes }: ScopeRequest): Refusal | undefined {
  const unknown = scopes.find((scope) => !SCOPE.test(scope));
  if (unknown !== undefined) {
    return { reason: "scope", error: "invalid_scope", text: `Databricks has no scope like ${unknown}` };
  }
  if (scopes.length === 0) return { reason: "scope_missing", error: "invalid_scope", text: "no scope was asked for" };
  return undefined;
}

/** JSON at the authorization endpoint, and no way back (databricks/dbt-databricks#640, checked 2026-11-21). */
function authorizationPage(
  { reason, error, text }: Refusal,
  { clientId, redirectUri }: Parameters<WarehouseProfile["authorizationPage"]>[1],
): Response {
  const description =
    reason === "redirect_mismatch"
      ? `redirect_uri '${redirectUri}' not registered for OAuth application '${clientId}'`
      : text;
  return jsonResponse({ error, error_description: description }, reason === "unknown_client" ? 401 : 400);
}

/** Status and text of what Databricks' own SDKs and its users have seen (facts sheet A4.1, checked 2026-11-21). */
const TOKEN_ERRORS: Readonly<
  Partial<Record<RefusalReason, { readonly status: number; readonly error: string; readonly text?: string }>>
> = {
  wrong_method: { status: 405, error: "invalid_request" },
  unknown_client: { status: 401, error: "invalid_client", text: "Client authentication failed" },
  wrong_credentials: { status: 401, error: "invalid_client", text: "Client authentication failed" },
  credentials_missing: { status: 401, error: "invalid_client", text: "Client authentication failed" },
  refresh_token_unknown: { status: 401, error: "invalid_request", text: "Refresh token is invalid" },
  refresh_token_dead: { status: 401, error: "invalid_request", text: "Refresh token is invalid" },
  assertion_issuer: {
    status: 401,
    error: "invalid_grant",
    text: "TOKEN_INVALID: ensure a valid federation policy has been configured",
  },
};

function tokenError({ reason, error, text }: Refusal): { status: number; body: Readonly<Record<string, unknown>> } {
  const known = TOKEN_ERRORS[reason];
  return {
    status: known?.status ?? 400,
    body: { error: known?.error ?? error, error_description: known?.text ?? text },
  };
}

const STATEMENTS = "/api/2.0/sql/statements";

/** The statement execution API: one chunk, inline JSON. */
function createStatementApi(results: (user: string) => StatementResult): WarehouseProfile["answer"] {
  const cache = new ResultCache<Readonly<Record<string, unknown>>>();
  return ({ token, method, url, body }) => {
    if (token.state === "missing") return credentialMissing();
    if (token.state !== "good") return invalidToken();
    const { scopes, grant } = token.token;
    const path = url.pathname.replace(/\/$/, "");
    if (path !== STATEMENTS && !path.startsWith(`${STATEMENTS}/`)) {
      return apiError(404, "ENDPOINT_NOT_FOUND", `No API found for '${method} ${path.slice(0, 100)}'`);
    }
    if (!STATEMENT_SCOPES.some((scope) => scopes.includes(scope))) {
      return apiError(403, "PERMISSION_DENIED", "Provided OAuth token does not have required scopes: sql");
    }
    if (path !== STATEMENTS) {
      const kept = method === "GET" ? cache.find(path.slice(STATEMENTS.length + 1)) : undefined;
      return kept === undefined ? apiError(404, "NOT_FOUND", "The statement was not found.") : jsonResponse(kept);
    }
    if (method !== "POST") return apiError(405, "ENDPOINT_NOT_FOUND", "Use POST.");
    const payload = parseJsonObject(body);
    for (const name of ["statement", "warehouse_id"]) {
      const value = payload?.[name];
      if (typeof value !== "string" || value.trim() === "") {
        return apiError(400, "INVALID_PARAMETER_VALUE", `${name} is required.`);
      }
    }
    const statementId = crypto.randomUUID();
    const result = describeResult(statementId, results(grant.user));
    cache.keep(statementId, result);
    return jsonResponse(result);
  };
}

const TYPES = { text: "STRING", number: "DOUBLE", boolean: "BOOLEAN" } as const;

function describeResult(statementId: string, { columns, rows }: StatementResult): Readonly<Record<string, unknown>> {
  return {
    statement_id: statementId,
    status: { state: "SUCCEEDED" },
    manifest: {
      format: "JSON_ARRAY",
      schema: {
        column_count: columns.length,
        columns: columns.map(({ name, type }, position) => ({
          name,
          type_text: TYPES[type],
          type_name: TYPES[type],
          position,
        })),
      },
      total_chunk_count: 1,
      chunks: [{ chunk_index: 0, row_offset: 0, row_count: rows.length }],
      total_row_count: rows.length,
      truncated: false,
    },
    result: {
      chunk_index: 0,
      row_offset: 0,
      row_count: rows.length,
      data_array: rows.map((row) => row.map((cell) => cell ?? null)),
    },
  };
}

function apiError(status: number, errorCode: string | number, message: string): Response {
  return jsonResponse({ error_code: errorCode, message }, status);
}

/** Dead, unknown and expired tokens alike, without `WWW-Authenticate` (facts sheet A4.2, checked 2026-11-21). */
function invalidToken(): Response {
  const message = "Invalid access token.";
  return jsonResponse({ error_code: 403, message }, 403, { "x-databricks-reason-phrase": message });
}

function credentialMissing(): Response {
  const message = "Credential was not sent or was of an unsupported type for this API.";
  return jsonResponse({ error_code: 401, message }, 401, {
    "www-authenticate": 'Bearer realm="DatabricksRealm"',
    "x-databricks-reason-phrase": message,
  });
}
