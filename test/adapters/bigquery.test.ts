import { describe, expect, it } from "vitest";
import { type BigQueryLogin, type BigQueryOptions, bigquery } from "warehouse-oauth/bigquery";
import {
  ConfigurationError,
  type OAuthClient,
  type TokenSet,
  type Warehouse,
  createAuthorizationRequest,
  createClient,
  describeScopes,
  importTokens,
  missingScopes,
  refreshTokens,
} from "warehouse-oauth";

const warehouse = bigquery();
const prefix = "https://www.googleapis.com/auth/";
const make = (options: unknown): Warehouse<BigQueryLogin> => bigquery(options as BigQueryOptions);
const login = (
  options: unknown,
  scopes: readonly string[] = warehouse.defaultScopes,
): Readonly<Record<string, string>> =>
  warehouse.authorizationParameters?.(options as BigQueryLogin, { scopes, clientId: "c", redirectUri: undefined }) ??
  {};

/** A client whose token endpoint answers with tokens and these members. */
const clientOf = (answer: object, options: BigQueryLogin = {}): OAuthClient<BigQueryLogin> =>
  createClient({
    warehouse,
    clientId: "client-1",
    clientSecret: "s",
    redirectUri: "https://app.example/callback",
    login: options,
    fetch: () => Promise.resolve(Response.json({ access_token: "a", token_type: "Bearer", ...answer })),
  });

/** Tokens of {@link clientOf}, as if saved earlier. */
const saved = (scopes: readonly string[]): TokenSet =>
  importTokens({
    accessToken: "old",
    refreshToken: "r",
    tokenType: "Bearer",
    obtainedAt: 0,
    scopes,
    scopesAssumed: false,
    connectionId: clientOf({}).connectionId,
  });

function refusal(run: () => unknown): { readonly code: unknown; readonly option: unknown; readonly message: string } {
  try {
    run();
  } catch (error) {
    if (error instanceof ConfigurationError) return { code: error.code, option: error.option, message: error.message };
    if (error instanceof TypeError)
      return { code: Reflect.get(error, "code"), option: undefined, message: error.message };
    throw error;
  }
  throw new Error("nothing was refused");
}

describe("facts", () => {
  it("says what Google's documents say", () => {
    expect(warehouse).toMatchObject({
      id: "bigquery",
      issuer: "https://accounts.google.com",
      authorizationEndpoint: "https://accounts.google.com/o/oauth2/v2/auth",
      tokenEndpoint: "https://oauth2.googleapis.com/token",
      revocationEndpoint: "https://oauth2.googleapis.com/revoke",
      jwksUri: "https://www.googleapis.com/oauth2/v3/certs",
      idTokenIssuers: ["accounts.google.com"],
      apiOrigins: ["https://bigquery.googleapis.com"],
      grants: ["authorization_code", "refresh_token", "jwt_bearer"],
      defaultScopes: [`${prefix}bigquery`],
      machineScopes: [`${prefix}bigquery`],
      clientSecretMethod: "client_secret_post",
      refreshRotation: "none",
      refreshExtends: "on-use",
      rotationVoidsAccessTokens: false,
      issuerInCallback: "sometimes",
      assertionAudience: "https://oauth2.googleapis.com/token",
      accessTokenLifetimeMs: 3_600_000,
      refreshTokenLifetimeMs: 180 * 86_400_000,
    });
  });

  it("describes each scope that its type names, and the read-only one that Google no longer lists", () => {
    expect([...warehouse.scopeCatalogue].map(([scope, { level }]) => [scope.replace(prefix, ""), level])).toEqual([
      ["bigquery", "admin"],
      ["bigquery.insertdata", "write"],
      ["bigquery.readonly", "read"],
      ["cloud-platform", "admin"],
      ["cloud-platform.read-only", "read"],
      ["devstorage.full_control", "admin"],
      ["devstorage.read_only", "read"],
      ["devstorage.read_write", "write"],
      ["drive.readonly", "read"],
      ["openid", "read"],
      ["email", "read"],
      ["profile", "read"],
    ]);
    for (const fact of warehouse.scopeCatalogue.values()) expect(fact.description).toMatch(/^[A-Z].*\.$/);
  });
});

describe("apiOrigin", () => {
  it.each([
    ["https://bigquery.europe-west3.rep.googleapis.com", "https://bigquery.europe-west3.rep.googleapis.com"],
    ["https://bigquery-acme.p.googleapis.com/", "https://bigquery-acme.p.googleapis.com"],
    ["https://bigquery.acme.example:8443", "https://bigquery.acme.example:8443"],
  ])("%s is %s", (apiOrigin, origin) => {
    expect(bigquery({ apiOrigin }).apiOrigins).toEqual([origin]);
  });

  it.each([
    ["http://bigquery.googleapis.com", "insecure_url"],
    ["http://127.0.0.1:9050", "insecure_url"],
    ["", "config_invalid"],
    ["bigquery.googleapis.com", "config_invalid"],
    ["https://bigquery.googleapis.com/bigquery/v2", "config_invalid"],
    ["https://bigquery.googleapis.com?x=1", "config_invalid"],
    ["https://evil.example#.googleapis.com", "config_invalid"],
    ["https://bigquery.googleapis.com@evil.example", "config_invalid"],
    ["https://evil.example\\.googleapis.com", "config_invalid"],
    ["https://evil%2eexample", "config_invalid"],
    ["https://bigquéry.example", "config_invalid"],
    ["https://BIGQUERY.googleapis.com", "config_invalid"],
    ["https://bigquery.googleapis.com:99999", "config_invalid"],
    ["javascript:alert(1)", "config_invalid"],
  ])("S-056 refuses %s with %s", (apiOrigin, code) => {
    expect(refusal(() => bigquery({ apiOrigin })).code).toBe(code);
  });

  it.each([
    [null, "invalid_argument"],
    ["https://bigquery.googleapis.com", "invalid_argument"],
    [{ apiOrigin: 1 }, "invalid_argument"],
    [{ apiOrigin: new URL("https://bigquery.googleapis.com") }, "invalid_argument"],
    [{ projectId: "p" }, "config_invalid"],
  ])("refuses the options %j with %s", (options, code) => {
    expect(refusal(() => make(options)).code).toBe(code);
  });

  it("takes undefined for absent", () => {
    expect(make({ apiOrigin: undefined }).apiOrigins).toEqual(["https://bigquery.googleapis.com"]);
  });
});

describe("login", () => {
  const always = { access_type: "offline" };
  it.each([
    [{}, always],
    [{ prompt: "consent" }, { ...always, prompt: "consent" }],
    [{ prompt: "none" }, { ...always, prompt: "none" }],
    [{ prompt: "select_account" }, { ...always, prompt: "select_account" }],
    [{ loginHint: "ada@acme.example" }, { ...always, login_hint: "ada@acme.example" }],
    [{ hostedDomain: "acme.example" }, { ...always, hd: "acme.example" }],
    [{ hostedDomain: "*" }, { ...always, hd: "*" }],
    [{ includeGrantedScopes: true }, { ...always, include_granted_scopes: "true" }],
    [{ includeGrantedScopes: false }, always],
    [{ scopes: [], loginHint: undefined, prompt: undefined }, always],
  ])("%j asks for %j", (options, parameters) => {
    expect(login(options)).toEqual(parameters);
  });

  it("S-042 asks for scopes by the names under which it will find them again", async () => {
    const scopes = ["openid", `${prefix}userinfo.email`, "email", `${prefix}userinfo.profile`];
    const { url, pending } = await createAuthorizationRequest(clientOf({}), { scopes });
    expect(url.searchParams.get("scope")).toBe("openid email profile");
    expect(pending.scopes).toEqual(["openid", "email", "profile"]);
  });

  it("S-042 refuses offline_access, for which Google shows an error page, and names the right way", () => {
    const error = refusal(() => login({}, [`${prefix}bigquery`, "offline_access"]));
    expect(error).toMatchObject({ code: "config_invalid", option: "scopes" });
    expect(error.message).toMatch(/offline access is asked for in each login/);
  });

  it.each([
    [{ prompt: "login" }, "config_invalid"],
    [{ prompt: "" }, "config_invalid"],
    [{ prompt: 1 }, "invalid_argument"],
    [{ prompt: null }, "invalid_argument"],
    [{ loginHint: 1 }, "invalid_argument"],
    [{ loginHint: "" }, "config_invalid"],
    [{ hostedDomain: null }, "invalid_argument"],
    [{ hostedDomain: "" }, "config_invalid"],
    [{ includeGrantedScopes: "true" }, "invalid_argument"],
    [{ role: "A" }, "config_invalid"],
    [{ login_hint: "ada" }, "config_invalid"],
  ])("refuses %j with %s", (options, code) => {
    expect(refusal(() => login(options)).code).toBe(code);
  });
});

describe("answers", () => {
  it.each([
    [`${prefix}userinfo.profile openid ${prefix}userinfo.email`, ["profile", "openid", "email"]],
    [`openid email ${prefix}userinfo.email ${prefix}bigquery`, ["openid", "email", `${prefix}bigquery`]],
    ["", []],
  ])("S-039 reads the granted scopes %j as %j", async (scope, expected) => {
    const tokens = await refreshTokens(clientOf({ scope }), saved(["openid"]));
    expect(tokens).toMatchObject({ scopes: expected, scopesAssumed: false });
  });

  it("S-040 S-041 compares a scope under any of its names", async () => {
    const long = `${prefix}userinfo.email`;
    const client = clientOf({}, { scopes: [long, `${prefix}bigquery`] });
    const tokens = saved(["email", `${prefix}bigquery`]);
    expect(missingScopes(client, tokens)).toEqual([]);
    expect(missingScopes(client, saved([long]))).toEqual([`${prefix}bigquery`]);
    expect((await refreshTokens(client, tokens, { scopes: [long] })).scopes).toEqual(["email"]);
    expect(describeScopes(warehouse, [long])).toEqual([
      { scope: long, description: "See your email address.", level: "read" },
    ]);
  });

  it.each([
    [
      "a dead refresh token is left to the core",
      "refresh_token",
      400,
      "invalid_grant",
      { error_description: "Token has been expired or revoked." },
      undefined,
    ],
    [
      "session control",
      "refresh_token",
      400,
      "invalid_grant",
      { error_subtype: "invalid_rapt", error_description: "reauth related error (invalid_rapt)" },
      "interaction_required",
    ],
    [
      "session control, never signed in",
      "refresh_token",
      400,
      "invalid_grant",
      { error_subtype: "rapt_required" },
      "interaction_required",
    ],
    [
      "a text alone decides nothing",
      "refresh_token",
      400,
      "invalid_grant",
      { error_description: "reauth related error (invalid_rapt)" },
      undefined,
    ],
    [
      "a missing secret",
      "authorization_code",
      400,
      "invalid_request",
      { error_description: "client_secret is missing." },
      "client_rejected",
    ],
    [
      "a missing secret ends no session",
      "refresh_token",
      400,
      "invalid_request",
      { error_description: "client_secret is missing." },
      "client_rejected",
    ],
    ["a malformed request ends no session (R-23)", "refresh_token", 400, "invalid_request", {}, "fatal"],
    ["no JSON is left to the core", "refresh_token", 502, undefined, undefined, undefined],
    ["a page instead of JSON ends no session (R-23)", "refresh_token", 400, undefined, undefined, "transient"],
    ["JSON that names no error ends no session (R-23)", "refresh_token", 400, undefined, {}, "fatal"],
    ["an error of Google's APIs, not of OAuth", "refresh_token", 400, undefined, { error: { code: 400 } }, "fatal"],
    ["deleted client", "refresh_token", 401, "deleted_client", {}, "client_rejected"],
    ["unknown client is left to the core", "refresh_token", 401, "invalid_client", {}, undefined],
    ["redirect URI", "authorization_code", 400, "redirect_uri_mismatch", { error_description: "Bad Request" }, "fatal"],
    ["administrator's policy", "refresh_token", 400, "admin_policy_enforced", {}, "fatal"],
    ["internal application", "refresh_token", 403, "org_internal", {}, "fatal"],
    [
      "context-aware access",
      "refresh_token",
      400,
      "access_denied",
      { error_description: "Account restricted" },
      "fatal",
    ],
    ["trouble at Google", "refresh_token", 500, "internal_failure", {}, "transient"],
    [
      "trouble in the description",
      "refresh_token",
      400,
      "invalid_request",
      { error_description: "internal_failure" },
      "transient",
    ],
    ["no domain-wide delegation is left to the core", "jwt_bearer", 401, "unauthorized_client", {}, undefined],
    [
      "a wrong clock is left to the core, which names it",
      "jwt_bearer",
      400,
      "invalid_grant",
      {
        error_description:
          "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.",
      },
      undefined,
    ],
  ] as const)("%s", (_name, grant, status, oauthError, body, kind) => {
    expect(warehouse.classifyTokenError?.({ grant, status, oauthError, body })).toBe(kind);
  });

  it.each([
    [401, "Request had invalid authentication credentials.", true],
    [401, "", true],
    [403, '{"error":{"status":"PERMISSION_DENIED","details":[{"reason":"ACCESS_TOKEN_SCOPE_INSUFFICIENT"}]}}', false],
    [403, '{"error":{"errors":[{"reason":"accessDenied"}]}}', false],
    [403, '{"error":{"errors":[{"reason":"quotaExceeded"}]}}', false],
    [400, "invalid_token", false],
    [429, "", false],
    [500, "", false],
  ])("answer %i %s rejects the token: %j", (status, bodyStart, rejected) => {
    expect(warehouse.isTokenRejected?.({ status, headers: new Headers(), bodyStart })).toBe(rejected);
  });
});

describe("with the core", () => {
  it("S-005 makes an authorization request that brings a refresh token", async () => {
    const client = createClient({
      warehouse,
      clientId: "1234-abc.apps.googleusercontent.com",
      clientSecret: "s",
      redirectUri: "https://app.example/callback",
      login: { hostedDomain: "acme.example" },
    });
    const { url, pending } = await createAuthorizationRequest(client, {
      prompt: "consent",
      scopes: [`${prefix}bigquery`, "openid", `${prefix}userinfo.email`],
    });
    expect(url.origin + url.pathname).toBe("https://accounts.google.com/o/oauth2/v2/auth");
    expect(Object.fromEntries(url.searchParams)).toMatchObject({
      access_type: "offline",
      prompt: "consent",
      hd: "acme.example",
      scope: `${prefix}bigquery openid email`,
      code_challenge_method: "S256",
    });
    expect(pending.scopes).toEqual([`${prefix}bigquery`, "openid", "email"]);
    expect(pending.nonce).toBeDefined();
  });
});
