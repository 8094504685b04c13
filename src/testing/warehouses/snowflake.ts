import { snowflake, type SnowflakeLogin } from "../../adapters/snowflake/index.ts";
import { assertKnownOptions } from "../../core/index.ts";
import { FAKE_OPTIONS, createFakeWarehouse, type FakeOptions, type FakeWarehouse } from "../fake-warehouse.ts";
import type { Refusal, RefusalReason } from "../refusal.ts";
import { escapeHtml, htmlPage } from "../sign-in-page.ts";
import { ResultCache, createResults, type StatementResult } from "../statement-result.ts";
import {
  jsonResponse,
  parseJsonObject,
  type ApiCall,
  type ScopeRequest,
  type WarehouseProfile,
} from "../warehouse-profile.ts";
import { createDriverApi } from "./snowflake-driver-api.ts";

/** What a fake Snowflake may be told beside {@link FakeOptions}. */
export interface FakeSnowflakeOptions extends FakeOptions {
  /** Default is `"fakeorg-fakeaccount"`. */
  readonly account?: string;
  /** Roles that every user has; a login for another one ends on Snowflake's page. Default is any role but the blocked ones. */
  readonly roles?: readonly string[];
  /** `OAUTH_ANY_ROLE_MODE`: whether `session:role-any` is honoured instead of refused. Default is `false`. */
  readonly anyRole?: boolean;
}

/** Default of `OAUTH_ACCESS_TOKEN_VALIDITY` (docs.snowflake.com, "CREATE SECURITY INTEGRATION (Snowflake OAuth)", checked 2026-11-21). */
const ACCESS_TOKEN_LIFETIME_MS = 600_000;

/** Default of `OAUTH_REFRESH_TOKEN_VALIDITY`, 90 days (same page, checked 2026-11-21). */
const REFRESH_TOKEN_LIFETIME_MS = 7_776_000_000;

/** Error 390305 above it (docs.snowflake.com, "Snowflake OAuth overview", checked 2026-11-21). */
const MAX_STATE_LENGTH = 2_048;

/** Roles that no OAuth session gets (docs.snowflake.com, "Configure Snowflake OAuth for custom clients", checked 2026-11-21). */
const BLOCKED_ROLES: ReadonlySet<string> = new Set(["ACCOUNTADMIN", "ORGADMIN", "GLOBALORGADMIN", "SECURITYADMIN"]);

/** Codes of the page, by what is wrong (docs.snowflake.com, "Snowflake OAuth overview", checked 2026-11-21). */
const PAGE_CODES: Readonly<Partial<Record<RefusalReason, string>>> = {
  response_type: "390304",
  state: "390305",
  unknown_client: "390306",
  redirect_mismatch: "390307",
  scope: "390308",
  pkce: "390311",
};

/** Role of a session that named none: the user's default role. */
const DEFAULT_ROLE = "PUBLIC";

/** Reads the role a scope names. */
function roleOf(scope: string): string | undefined {
  if (scope.startsWith("session:role:")) return scope.slice("session:role:".length);
  if (!scope.startsWith("session:role-encoded:")) return undefined;
  try {
    return decodeURIComponent(scope.slice("session:role-encoded:".length));
  } catch {
    return ""; // no role has an empty name
  }
}

/**
 * Makes a Snowflake in memory: authorize, token, SQL API, with Snowflake's own error bodies. Signs in any user. Behind a
 * port (`listen`), `snowflake-sdk` connects to it, too: set its option `accessUrl` to the fake's `origin`.
 *
 * Stricter than Snowflake: PKCE and `state` are required, a code lives for a minute, and a replayed code revokes what
 * it brought. Refresh tokens stay the same unless `refreshRotation` says otherwise or the client asks for single use.
 *
 * @throws `ConfigurationError` `config_invalid`.
 *
 * @example
 *
 * ```ts
 * import { fakeSnowflake } from "warehouse-oauth/testing";
 *
 * const fake = fakeSnowflake({ roles: ["ANALYST"] });
 * const tokens = await fake.issueTokens({ subject: "ada" });
 * process.stdout.write(`${tokens.user?.id ?? ""}\n`); // ada
 * ```
 */
export function fakeSnowflake(options: FakeSnowflakeOptions = {}): FakeWarehouse<SnowflakeLogin> {
  assertKnownOptions(options, "fakeSnowflake", [...FAKE_OPTIONS, "account", "roles", "anyRole"]);
  const { account = "fakeorg-fakeaccount", refreshRotation } = options;
  const singleUse = refreshRotation === "single-use";
  return createFakeWarehouse<SnowflakeLogin>(
    {
      profile: createProfile(options),
      warehouse: snowflake({ account, ...(singleUse && { singleUseRefreshTokens: true }) }),
      // Snowflake's client ids are Base64.
      clientId: "fake/Client+Id=",
    },
    options,
  );
}

function createProfile({ roles, anyRole = false, rows }: FakeSnowflakeOptions): WarehouseProfile {
  return {
    displayName: "Snowflake",
    defaults: {
      accessTokenLifetimeMs: ACCESS_TOKEN_LIFETIME_MS,
      refreshTokenLifetimeMs: REFRESH_TOKEN_LIFETIME_MS,
      refreshRotation: "none",
    },
    rotationVoidsAccessTokens: true,
    refreshExtends: "on-rotation",
    grants: new Set(["authorization_code", "refresh_token"]),
    clientAuthentication: new Set(["basic", "post", "private_key_jwt"]),
    prefixes: { code: "", access: "ver:1-hint:1-", refresh: "ver:2-hint:1-" },
    redirectsErrors: false,
    issuerInCallback: false,
    scopeInCallback: true,
    maxStateLength: MAX_STATE_LENGTH,
    jwksPath: undefined,
    metadataPaths: [],
    metadata: () => ({}),
    checkScopes: (request) => checkScopes(request, anyRole),
    checkGranted: (scopes) => checkRoles(scopes, roles),
    isOffline: ({ scopes }) => scopes.includes("refresh_token"),
    remembersConsent: false,
    // Any client may ask for it with the code; then the whole grant keeps to it.
    rotationOf: (form, configured) =>
      form.get("enable_single_use_refresh_tokens") === "true" ? "single-use" : configured,
    authorizationPage,
    tokenError,
    // Exactly the documented members: neither "scope" nor "refresh_token_expires_in" is among them.
    tokenBody: ({ grant, user, accessToken, refreshToken, expiresInSeconds }) => ({
      access_token: accessToken,
      refresh_token: refreshToken,
      token_type: "Bearer",
      expires_in: expiresInSeconds,
      username: grant === "authorization_code" ? user : undefined,
    }),
    answer: createApi(createResults(rows)),
  };
}

function createApi(results: (user: string) => StatementResult): WarehouseProfile["answer"] {
  const answerDriver = createDriverApi(results, isRoleOf);
  const answerSql = createSqlApi(results);
  return (call) => answerDriver(call) ?? answerSql(call);
}

/** Whether a token with these scopes may act in this role. */
function isRoleOf(scopes: readonly string[], role: string): boolean {
  const own = scopes.map(roleOf).find((name) => name !== undefined) ?? DEFAULT_ROLE;
  return role === own || scopes.includes("session:role-any");
}

function checkScopes({ scopes }: ScopeRequest, anyRole: boolean): Refusal | undefined {
  const refuse = (text: string): Refusal => ({ reason: "scope", error: "invalid_scope", text });
  if (scopes.filter((scope) => roleOf(scope) !== undefined).length > 1)
    return refuse("at most one role may be asked for");
  for (const scope of scopes) {
    if (scope === "refresh_token") continue;
    if (scope === "session:role-any" && anyRole) continue;
    const role = roleOf(scope);
    if (role === undefined || role === "") return refuse(`The requested scope is invalid: ${scope}`);
  }
  return undefined;
}

function checkRoles(scopes: readonly string[], roles: readonly string[] | undefined): Refusal | undefined {
  for (const scope of scopes) {
    const role = roleOf(scope);
    if (role === undefined) continue;
    if (BLOCKED_ROLES.has(role) || (roles !== undefined && !roles.includes(role))) {
      return {
        reason: "role",
        error: "invalid_scope",
        text: `Invalid consent request: the user does not have the role ${role}, its case differs, or it is blocked`,
      };
    }
  }
  return undefined;
}

/** Snowflake sends nobody back with an error it finds itself. */
function authorizationPage({ reason, text }: Refusal): Response {
  const code = PAGE_CODES[reason];
  return htmlPage(
    "OAuth authorization error",
    `<p>${escapeHtml(text)}</p>${code === undefined ? "" : `<p>Error code ${code}</p>`}`,
    400,
  );
}

/** The four codes that its token endpoint has (docs.snowflake.com, "Snowflake OAuth overview", checked 2026-11-21). */
const TOKEN_ERRORS: ReadonlySet<string> = new Set([
  "invalid_client",
  "invalid_grant",
  "unsupported_grant_type",
  "invalid_request",
]);

const TOKEN_MESSAGES: Readonly<Record<string, string>> = {
  invalid_client: "This is an invalid client.",
  invalid_grant: "The provided grant or refresh token is invalid.",
};

/** Snowflake's own envelope: the text is in `message`, and `code` is null. */
function tokenError({ reason, error, text }: Refusal): { status: number; body: Readonly<Record<string, unknown>> } {
  const known = TOKEN_ERRORS.has(error) ? error : "invalid_request";
  const message = TOKEN_MESSAGES[known] ?? text;
  return {
    status: reason === "wrong_method" ? 405 : 400,
    body: { data: null, message, code: null, success: false, error: known },
  };
}

const STATEMENTS = "/api/v2/statements";

/** The SQL API (docs.snowflake.com, "Snowflake SQL API reference", checked 2026-11-21): statements and their handles. */
function createSqlApi(results: (user: string) => StatementResult): WarehouseProfile["answer"] {
  const cache = new ResultCache<Readonly<Record<string, unknown>>>();
  return (call) => {
    const { token, method, url } = call;
    if (token.state === "expired") return sqlError(401, "390318", "OAuth access token expired.");
    if (token.state !== "good") {
      return sqlError(401, "390303", "Invalid OAuth access token. The token is missing, unknown or no longer valid.");
    }
    const handle = url.pathname.startsWith(`${STATEMENTS}/`) ? url.pathname.slice(STATEMENTS.length + 1) : undefined;
    if (handle !== undefined && method === "GET") {
      const kept = cache.find(handle);
      return kept === undefined
        ? sqlError(404, "000709", `Statement ${handle.slice(0, 64)} not found`)
        : jsonResponse(kept);
    }
    if (url.pathname !== STATEMENTS) return sqlError(404, "391902", "Unknown path.");
    if (method !== "POST") return sqlError(405, "391903", "Unsupported method.");
    return runStatement(call, token.token.scopes, token.token.grant.user, results, cache);
  };
}

function runStatement(
  { body, url, headers, now }: ApiCall,
  scopes: readonly string[],
  user: string,
  results: (user: string) => StatementResult,
  cache: ResultCache<Readonly<Record<string, unknown>>>,
): Response {
  const type = headers.get("x-snowflake-authorization-token-type");
  if (type !== null && type !== "OAUTH")
    return sqlError(401, "390303", "Invalid OAuth access token. It is none of that type.");
  const payload = parseJsonObject(body);
  const statement = payload?.["statement"];
  if (typeof statement !== "string" || statement.trim() === "") {
    return sqlError(400, "390142", 'The body must be JSON with a "statement".');
  }
  const role = payload?.["role"];
  if (role !== undefined && !(typeof role === "string" && isRoleOf(scopes, role))) {
    // What the real one says is not documented; that it refuses is (facts sheet §9).
    return sqlError(403, "390317", "The role requested is not the one of the access token.");
  }
  const statementHandle = crypto.randomUUID();
  const result = {
    ...describeResult(results(user)),
    code: "090001",
    statementStatusUrl: `${STATEMENTS}/${statementHandle}`,
    requestId: url.searchParams.get("requestId") ?? crypto.randomUUID(),
    sqlState: "00000",
    statementHandle,
    message: "Statement executed successfully.",
    createdOn: Math.floor(now),
  };
  cache.keep(statementHandle, result);
  if (url.searchParams.get("async") !== "true") return jsonResponse(result);
  const message =
    "Asynchronous execution in progress. Use provided query id to perform query monitoring and management.";
  const { statementStatusUrl, requestId } = result;
  return jsonResponse({ code: "333334", message, statementHandle, statementStatusUrl, requestId }, 202);
}

const TYPES = { text: "text", number: "real", boolean: "boolean" } as const;

function describeResult({ columns, rows }: StatementResult): Readonly<Record<string, unknown>> {
  return {
    resultSetMetaData: {
      numRows: rows.length,
      format: "jsonv2",
      partitionInfo: [{ rowCount: rows.length, uncompressedSize: JSON.stringify(rows).length }],
      rowType: columns.map(({ name, type }) => ({
        name,
        database: "",
        schema: "",
        table: "",
        type: TYPES[type],
        nullable: true,
        length: null,
        byteLength: null,
        precision: null,
        scale: null,
        collation: null,
      })),
    },
    data: rows.map((row) => row.map((cell) => cell ?? null)),
  };
}

function sqlError(status: number, code: string, message: string): Response {
  return jsonResponse({ code, message, sqlState: "08001", statementHandle: null }, status);
}
