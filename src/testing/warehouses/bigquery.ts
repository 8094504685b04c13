import { bigquery, type BigQueryLogin } from "../../adapters/bigquery/index.ts";
import { assertKnownOptions } from "../../core/index.ts";
import type { Warehouse } from "../../core/index.ts";
import { FAKE_OPTIONS, createFakeWarehouse, type FakeOptions, type FakeWarehouse } from "../fake-warehouse.ts";
import type { Refusal, RefusalReason } from "../refusal.ts";
import { escapeHtml, htmlPage } from "../sign-in-page.ts";
import { createResults } from "../statement-result.ts";
import type { TrustedIssuer } from "../trusted-assertions.ts";
import type { ScopeRequest, WarehouseProfile } from "../warehouse-profile.ts";
import { createBigQueryApi } from "./bigquery-api.ts";

/** What a fake BigQuery may be told beside {@link FakeOptions}. */
export interface FakeBigQueryOptions extends FakeOptions {
  /** The only project it has. Default is `"fake-project"`. */
  readonly projectId?: string;
  /** Service accounts that `jwtBearer` may sign for: `issuer` is the account's address. Default is none. */
  readonly serviceAccounts?: readonly TrustedIssuer[];
}

/** Google says 3599 s; the hour that its documents name is easier to count with (facts sheet §4, checked 2026-11-21). */
const ACCESS_TOKEN_LIFETIME_MS = 3_600_000;

/** Six months without use (developers.google.com, "Using OAuth 2.0 to Access Google APIs", checked 2026-11-21). */
const REFRESH_TOKEN_LIFETIME_MS = 15_552_000_000;

/** No limit is published; this one keeps an address usable. */
const MAX_STATE_LENGTH = 2_048;

const PREFIX = "https://www.googleapis.com/auth/";

/** Scopes that this fake knows (developers.google.com, "OAuth 2.0 Scopes for Google APIs", checked 2026-11-21). */
const SCOPES: ReadonlySet<string> = new Set([
  "openid",
  "email",
  "profile",
  ...[
    "bigquery",
    "bigquery.insertdata",
    "bigquery.readonly",
    "cloud-platform",
    "cloud-platform.read-only",
    "devstorage.full_control",
    "devstorage.read_only",
    "devstorage.read_write",
    "drive",
    "drive.readonly",
    "userinfo.email",
    "userinfo.profile",
  ].map((name) => PREFIX + name),
]);

/** Names that Google answers instead of the ones asked for (developers.google.com, "OpenID Connect", checked 2026-11-21). */
const LONG_NAMES: ReadonlyMap<string, string> = new Map([
  ["email", `${PREFIX}userinfo.email`],
  ["profile", `${PREFIX}userinfo.profile`],
]);

const PROMPTS: ReadonlySet<string> = new Set(["none", "consent", "select_account"]);

/**
 * Makes Google's OAuth and BigQuery in memory: authorize, token (code, refresh, service accounts), revoke, metadata,
 * ID tokens, and of the API what queries need, with `@google-cloud/bigquery` or without. It answers under Google's own host names, and nothing ever reaches them.
 *
 * As at Google, a refresh token comes only with a consent that was shown: `prompt: "consent"` shows it again.
 * Stricter than Google: PKCE with a stated S256 and `state` are required, and a code lives for a minute.
 *
 * @throws `ConfigurationError` `config_invalid`.
 *
 * @example
 *
 * ```ts
 * import { fakeBigQuery } from "warehouse-oauth/testing";
 *
 * const fake = fakeBigQuery({ projectId: "acme" });
 * const tokens = await fake.issueTokens({ scopes: ["openid", "https://www.googleapis.com/auth/bigquery"] });
 * process.stdout.write(`${tokens.user?.id ?? ""}\n`); // ada
 * ```
 */
export function fakeBigQuery(options: FakeBigQueryOptions = {}): FakeWarehouse<BigQueryLogin> {
  assertKnownOptions(options, "fakeBigQuery", [...FAKE_OPTIONS, "projectId", "serviceAccounts"]);
  const { serviceAccounts } = options;
  return createFakeWarehouse<BigQueryLogin>(
    {
      profile: createProfile(options),
      warehouse: bigquery(),
      clientId: "1234567890-fake.apps.googleusercontent.com",
      offlineLogin: { prompt: "consent" },
      ...(serviceAccounts !== undefined && { trusted: serviceAccounts }),
      trustedOption: "serviceAccounts",
    },
    options,
  );
}

function createProfile({ projectId = "fake-project", rows }: FakeBigQueryOptions): WarehouseProfile {
  return {
    displayName: "Google",
    defaults: {
      accessTokenLifetimeMs: ACCESS_TOKEN_LIFETIME_MS,
      refreshTokenLifetimeMs: REFRESH_TOKEN_LIFETIME_MS,
      refreshRotation: "none",
    },
    rotationVoidsAccessTokens: false,
    refreshExtends: "on-use",
    grants: new Set(["authorization_code", "refresh_token", "jwt_bearer"]),
    clientAuthentication: new Set(["basic", "post"]),
    prefixes: { code: "4/0", access: "ya29.", refresh: "1//0" },
    redirectsErrors: false,
    issuerInCallback: true,
    scopeInCallback: true,
    maxStateLength: MAX_STATE_LENGTH,
    jwksPath: "/oauth2/v3/certs",
    metadataPaths: ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"],
    metadata,
    checkScopes,
    checkGranted: () => undefined,
    isOffline: ({ parameters, consentShown }) => consentShown && parameters.get("access_type") === "offline",
    remembersConsent: true,
    rotationOf: (_form, configured) => configured,
    authorizationPage,
    tokenError,
    tokenBody: ({ scopes, accessToken, refreshToken, idToken, expiresInSeconds }) => ({
      access_token: accessToken,
      expires_in: expiresInSeconds,
      refresh_token: refreshToken,
      scope: [...new Set(scopes.map((scope) => LONG_NAMES.get(scope) ?? scope))].join(" "),
      token_type: "Bearer",
      id_token: idToken,
    }),
    answer: createBigQueryApi(projectId, createResults(rows)),
  };
}

/** Google's metadata, where it concerns us (facts sheet §1, checked 2026-11-21): `none` is no authentication method there. */
function metadata(warehouse: Warehouse): Readonly<Record<string, unknown>> {
  return {
    issuer: warehouse.issuer,
    authorization_endpoint: warehouse.authorizationEndpoint,
    token_endpoint: warehouse.tokenEndpoint,
    revocation_endpoint: warehouse.revocationEndpoint,
    jwks_uri: warehouse.jwksUri,
    response_types_supported: ["code"],
    response_modes_supported: ["query"],
    subject_types_supported: ["public"],
    id_token_signing_alg_values_supported: ["RS256"],
    scopes_supported: ["openid", "email", "profile"],
    token_endpoint_auth_methods_supported: ["client_secret_post", "client_secret_basic"],
    code_challenge_methods_supported: ["plain", "S256"],
    grant_types_supported: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:jwt-bearer"],
    authorization_response_iss_parameter_supported: true,
  };
}

function checkScopes({ scopes, parameters }: ScopeRequest): Refusal | undefined {
  if (scopes.length === 0) {
    return { reason: "scope_missing", error: "invalid_request", text: "Missing required parameter: scope" };
  }
  const invalid = scopes.filter((scope) => !SCOPES.has(scope));
  if (invalid.length > 0) {
    const valid = scopes.filter((scope) => SCOPES.has(scope));
    const text = `Some requested scopes were invalid. {valid=[${valid.join(", ")}], invalid=[${invalid.join(", ")}]}`;
    return { reason: "scope", error: "invalid_scope", text };
  }
  const prompts = (parameters.get("prompt") ?? "").split(" ").filter((prompt) => prompt !== "");
  if (prompts.some((prompt) => !PROMPTS.has(prompt)) || (prompts.length > 1 && prompts.includes("none"))) {
    return { reason: "malformed", error: "invalid_request", text: "Invalid parameter value for prompt" };
  }
  const access = parameters.get("access_type");
  if (access !== null && access !== "offline" && access !== "online") {
    return { reason: "malformed", error: "invalid_request", text: "Invalid parameter value for access_type" };
  }
  return undefined;
}

/** Google sends only `access_denied` and the answers to `prompt=none` back; the rest ends here (facts sheet §5.1, checked 2026-11-21). */
function authorizationPage({ reason, error, text }: Refusal): Response {
  const shown = reason === "redirect_mismatch" ? "redirect_uri_mismatch" : error;
  const status = reason === "unknown_client" ? 401 : 400;
  return htmlPage(
    "Access blocked: Authorization Error",
    `<p>Error ${String(status)}: ${escapeHtml(shown)}</p><p>${escapeHtml(text)}</p>`,
    status,
  );
}

interface GoogleError {
  readonly status: number;
  readonly error: string;
  readonly text?: string;
}

/** Status and text of Google's own answers (facts sheet §5.2 and §6.1, checked 2026-11-21). */
const TOKEN_ERRORS: Readonly<Partial<Record<RefusalReason, GoogleError>>> = {
  wrong_method: { status: 405, error: "invalid_request" },
  unknown_client: { status: 401, error: "invalid_client", text: "The OAuth client was not found." },
  wrong_credentials: { status: 401, error: "invalid_client", text: "The provided client secret is invalid." },
  credentials_missing: { status: 400, error: "invalid_request", text: "client_secret is missing." },
  redirect_mismatch: { status: 400, error: "redirect_uri_mismatch", text: "Bad Request" },
  code: { status: 400, error: "invalid_grant", text: "Bad Request" },
  verifier_missing: { status: 400, error: "invalid_grant", text: "Missing code verifier." },
  verifier: { status: 400, error: "invalid_grant", text: "Invalid code verifier." },
  refresh_token_unknown: { status: 400, error: "invalid_grant", text: "Bad Request" },
  refresh_token_dead: { status: 400, error: "invalid_grant", text: "Token has been expired or revoked." },
  assertion_malformed: { status: 400, error: "invalid_request", text: "Bad Request" },
  assertion_issuer: { status: 400, error: "invalid_grant", text: "Invalid grant: account not found" },
  assertion_signature: { status: 400, error: "invalid_grant", text: "Invalid JWT Signature." },
  assertion_times_missing: { status: 400, error: "invalid_grant", text: "Invalid JWT: iat (issued at) is not set." },
  assertion_times: {
    status: 400,
    error: "invalid_grant",
    text: "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.",
  },
  assertion_audience: { status: 400, error: "invalid_grant", text: "Invalid JWT: Failed audience check." },
  token_unknown: { status: 400, error: "invalid_token", text: "Token expired or revoked" },
};

function tokenError({ reason, error, text }: Refusal): { status: number; body: Readonly<Record<string, unknown>> } {
  const known = TOKEN_ERRORS[reason];
  return {
    status: known?.status ?? 400,
    body: { error: known?.error ?? error, error_description: known?.text ?? text },
  };
}
