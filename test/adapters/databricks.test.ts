import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type DatabricksLogin, type DatabricksOptions, databricks } from "warehouse-oauth/databricks";
import {
  ConfigurationError,
  type Fetch,
  type TokenSet,
  type Warehouse,
  clientCredentials,
  createAuthorizationRequest,
  createClient,
  exchangeToken,
  exportTokens,
  importTokens,
  refreshTokens,
} from "warehouse-oauth";

const warehouse = databricks({ host: "acme.cloud.databricks.com" });
const accountId = "0d2f7a5c-6f0e-4a7e-9b53-0c7b9a0e5f11";
const make = (options: unknown): Warehouse<DatabricksLogin> => databricks(options as DatabricksOptions);

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

describe("workspaces", () => {
  it.each([
    ["acme.cloud.databricks.com", "acme.cloud.databricks.com", 0],
    ["dbc-a1b2.cloud.databricks.us", "dbc-a1b2.cloud.databricks.us", 0],
    ["1234567890123456.7.gcp.databricks.com", "1234567890123456.7.gcp.databricks.com", 0],
    ["adb-1234567890123456.7.azuredatabricks.net", "adb-1234567890123456.7.azuredatabricks.net", 40_000],
    ["adb-1.2.databricks.azure.us", "adb-1.2.databricks.azure.us", 40_000],
    ["adb-1.2.databricks.azure.cn", "adb-1.2.databricks.azure.cn", 40_000],
    ["acme.dev.databricks.com", "acme.dev.databricks.com", 0],
    ["acme.databricks.com", "acme.databricks.com", 0],
    ["data.acme.example", "data.acme.example", 0],
    ["ACME.Cloud.Databricks.com", "acme.cloud.databricks.com", 0],
    ["https://acme.cloud.databricks.com", "acme.cloud.databricks.com", 0],
    ["https://acme.cloud.databricks.com/?o=1234567890", "acme.cloud.databricks.com", 0],
    ["https://adb-1.2.azuredatabricks.net./sql/editor#x", "adb-1.2.azuredatabricks.net", 40_000],
  ])("%s is %s and refuses tokens below %i ms", (host, expected, refusedBelowMs) => {
    const made = databricks({ host });
    expect(made).toMatchObject({
      id: "databricks",
      issuer: `https://${expected}/oidc`,
      authorizationEndpoint: `https://${expected}/oidc/v1/authorize`,
      tokenEndpoint: `https://${expected}/oidc/v1/token`,
      apiOrigins: [`https://${expected}`],
      hardMarginMs: 60_000,
      refusedBelowMs,
    });
    expect(made.revocationEndpoint).toBeUndefined();
  });

  it.each([
    "",
    "acme",
    "localhost",
    "127.0.0.1",
    "0x7f.1",
    "evil.com/",
    "evil.com#",
    "evil.com?x",
    "a@evil.com",
    "evil.com\\.cloud.databricks.com",
    "evil%2ecom",
    "acme.cloud.databricks.com:443",
    "https://acme.cloud.databricks.com:443/",
    "https://acme.cloud.databricks.com@evil.example/",
    "https://acme.cloud.databricks.com\\@evil.example/",
    "http://acme.cloud.databricks.com",
    "acmé.cloud.databricks.com",
    "xn--acm-dma.cloud.databricks.com",
    "\u212Aacme.cloud.databricks.com",
    "acme.cloud.databricks.com.",
    "acme..cloud.databricks.com",
    "-acme.cloud.databricks.com",
    "acme.cloud.databricks.com.evil.example",
    "acme.azuredatabricks.net.evil.example",
    "cloud.databricks.com",
    "azuredatabricks.net",
    " acme.cloud.databricks.com",
  ])("S-056 refuses %j as host", (host) => {
    expect(refusal(() => databricks({ host }))).toMatchObject({ code: "config_invalid", option: "host" });
  });

  it("S-056 gives an https address without tricks for whatever it takes", () => {
    const suffix = fc.constantFrom(
      "",
      ".cloud.databricks.com",
      ".azuredatabricks.net",
      ".acme.example",
      "#",
      ":1",
      "/",
      "@x.example",
    );
    const name = fc.oneof(
      fc.string(),
      fc.string({ unit: "binary" }),
      fc.stringMatching(/^[a-z0-9]{1,5}\.[a-z]{2}$/),
      fc.string().map((rest) => `https://acme.cloud.databricks.com${rest}`),
      fc.stringMatching(/^[a-z0-9.-]{1,20}$/),
    );
    let taken = 0;
    fc.assert(
      fc.property(name, suffix, (start, end) => {
        let made: Warehouse<DatabricksLogin>;
        try {
          made = databricks({ host: start + end });
        } catch (error) {
          expect(error).toMatchObject({ code: "config_invalid" });
          return;
        }
        taken += 1;
        for (const address of [made.issuer, made.authorizationEndpoint, made.tokenEndpoint, made.apiOrigins[0]]) {
          const url = new URL(address ?? "");
          expect(address).toBe(url.pathname === "/" ? url.origin : url.href);
          expect(url.hostname).toMatch(/^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.[a-z]+$/);
          expect([url.protocol, url.port, url.username, url.password]).toEqual(["https:", "", "", ""]);
        }
      }),
      { numRuns: 400 },
    );
    expect(taken).toBeGreaterThan(20);
  });
});

describe("accounts", () => {
  it.each([
    "accounts.cloud.databricks.com",
    "accounts.cloud.databricks.us",
    "accounts-dod.cloud.databricks.us",
    "accounts.azuredatabricks.net",
    "accounts.databricks.azure.cn",
    "accounts.gcp.databricks.com",
    "acme.databricks.com",
    "data.acme.example",
  ])("signs in to the account at %s", (host) => {
    expect(databricks({ host, accountId })).toMatchObject({
      issuer: `https://${host}/oidc/accounts/${accountId}`,
      authorizationEndpoint: `https://${host}/oidc/accounts/${accountId}/v1/authorize`,
      tokenEndpoint: `https://${host}/oidc/accounts/${accountId}/v1/token`,
      apiOrigins: [`https://${host}`],
    });
  });

  it("refuses an account console without an account, and an account at a workspace", () => {
    expect(refusal(() => databricks({ host: "accounts.cloud.databricks.com" }))).toMatchObject({
      code: "config_invalid",
      option: "accountId",
      message: expect.stringMatching(/needs "accountId"/) as unknown,
    });
    expect(refusal(() => databricks({ host: "acme.cloud.databricks.com", accountId }))).toMatchObject({
      code: "config_invalid",
      option: "accountId",
      message: expect.stringMatching(/workspace/) as unknown,
    });
  });

  it.each(["", "a/b", "../x", "a?b", "a#b", "a%2fb", "a b", "a.b", "ä", "-a", `a${"a".repeat(64)}`])(
    "S-056 refuses %j as account id",
    (bad) => {
      expect(refusal(() => databricks({ host: "acme.databricks.com", accountId: bad }))).toMatchObject({
        code: "config_invalid",
        option: "accountId",
      });
    },
  );
});

describe("options", () => {
  const host = "acme.cloud.databricks.com";
  it.each([
    [undefined, "invalid_argument"],
    [null, "invalid_argument"],
    ["host", "invalid_argument"],
    [{ host: 1 }, "invalid_argument"],
    [{ host, accountId: 1 }, "invalid_argument"],
    [{ host, refreshRotation: true }, "invalid_argument"],
    [{ host, absoluteSessionLifetimeMs: "1" }, "invalid_argument"],
    [{}, "config_invalid"],
    [{ host: undefined }, "config_invalid"],
    [{ host, workspace: "w" }, "config_invalid"],
    [{ host, toString: "x" }, "config_invalid"],
    [{ host, refreshRotation: "rotates" }, "config_invalid"],
    [{ host, absoluteSessionLifetimeMs: 0 }, "config_invalid"],
    [{ host, absoluteSessionLifetimeMs: -1 }, "config_invalid"],
    [{ host, absoluteSessionLifetimeMs: Number.NaN }, "config_invalid"],
    [{ host, absoluteSessionLifetimeMs: Number.POSITIVE_INFINITY }, "config_invalid"],
  ])("refuses %j with %s", (options, code) => {
    expect(refusal(() => make(options)).code).toBe(code);
  });

  it("carries what the app's policy says", () => {
    expect(databricks({ host, absoluteSessionLifetimeMs: 43_200 * 60_000 })).toMatchObject({
      refreshRotation: "single-use",
      refreshExtends: "on-rotation",
      absoluteSessionLifetimeMs: 2_592_000_000,
    });
    expect(databricks({ host, refreshRotation: "none" })).toMatchObject({
      refreshRotation: "none",
      refreshExtends: "never",
    });
  });
});

describe("facts", () => {
  it("says what Databricks' documents say", () => {
    expect(warehouse).toMatchObject({
      grants: ["authorization_code", "refresh_token", "client_credentials", "token_exchange"],
      defaultScopes: ["sql", "offline_access"],
      machineScopes: ["all-apis"],
      clientSecretMethod: "client_secret_basic",
      refreshRotation: "single-use",
      rotationVoidsAccessTokens: false,
      issuerInCallback: "sometimes",
      accessTokenLifetimeMs: 3_600_000,
    });
    expect(warehouse.absoluteSessionLifetimeMs).toBeUndefined();
    expect(warehouse.revocationInstructions).toMatch(/no revocation endpoint/);
  });

  it("describes each scope that its type names", () => {
    expect([...warehouse.scopeCatalogue.keys()]).toEqual([
      "sql",
      "all-apis",
      "offline_access",
      "openid",
      "profile",
      "email",
    ]);
    expect([...warehouse.scopeCatalogue.values()].map(({ level }) => level)).toEqual([
      "write",
      "admin",
      "read",
      "read",
      "read",
      "read",
    ]);
    for (const fact of warehouse.scopeCatalogue.values()) expect(fact.description).toMatch(/^[A-Z].*\.$/);
  });
});

describe("errors", () => {
  const dead = { error: "invalid_request", error_description: "Refresh token is invalid" };
  it.each([
    [
      "a dead refresh token (R-23)",
      { grant: "refresh_token", status: 401, oauthError: "invalid_request", body: dead },
      "dead_grant",
    ],
    [
      "the same with status 400",
      { grant: "refresh_token", status: 400, oauthError: "invalid_request", body: dead },
      "dead_grant",
    ],
    [
      "the same called invalid_grant",
      { grant: "refresh_token", status: 400, oauthError: "invalid_grant", body: { ...dead, error: "invalid_grant" } },
      "dead_grant",
    ],
    [
      "invalid_grant is left to the core",
      { grant: "refresh_token", status: 400, oauthError: "invalid_grant", body: { error: "invalid_grant" } },
      undefined,
    ],
    [
      "invalid_client is left to the core",
      { grant: "refresh_token", status: 401, oauthError: "invalid_client", body: { error: "invalid_client" } },
      undefined,
    ],
    [
      "a malformed request ends no session",
      { grant: "refresh_token", status: 400, oauthError: "invalid_request", body: { error: "invalid_request" } },
      "fatal",
    ],
    [
      "an empty 400 ends no session",
      { grant: "refresh_token", status: 400, oauthError: undefined, body: undefined },
      "fatal",
    ],
    [
      "a blocked address ends no session",
      { grant: "refresh_token", status: 401, oauthError: undefined, body: { message: "blocked" } },
      "fatal",
    ],
    [
      "text that is no text",
      { grant: "refresh_token", status: 401, oauthError: undefined, body: { error_description: 7 } },
      "fatal",
    ],
    [
      "other statuses are left to the core",
      { grant: "refresh_token", status: 503, oauthError: undefined, body: dead },
      undefined,
    ],
    [
      "other grants are left to the core",
      { grant: "authorization_code", status: 401, oauthError: "invalid_request", body: dead },
      undefined,
    ],
  ] as const)("%s", (_name, failure, kind) => {
    expect(warehouse.classifyTokenError?.(failure)).toBe(kind);
  });

  it.each([
    [401, {}, "", true],
    [
      401,
      {},
      '{"error_code":401,"message":"Credential was not sent or was of an unsupported type for this API."}',
      true,
    ],
    [403, {}, '{"error_code":403,"message":"Invalid access token."}', true],
    [403, { "x-databricks-reason-phrase": "Invalid access token." }, "", true],
    [403, { "x-thriftserver-error-message": "Invalid Token" }, "", true],
    [403, { "x-databricks-error-or-redirect-message": "Token is expired" }, "", true],
    [403, {}, "Token is expiring within 30 seconds", true],
    [400, {}, "io.jsonwebtoken.ExpiredJwtException: JWT expired", true],
    [403, {}, "Provided OAuth token does not have required scopes: sql", false],
    [403, {}, '{"error_code":"PERMISSION_DENIED","message":"User does not have USE SCHEMA"}', false],
    [403, {}, "", false],
    [400, {}, '{"error_code":"INVALID_PARAMETER_VALUE","message":"Invalid access token."}', false],
    [404, {}, "Invalid access token.", false],
    [429, {}, "", false],
    [500, {}, "ExpiredJwtException", false],
  ])("answer %i %j %s rejects the token: %j", (status, headers, bodyStart, rejected) => {
    expect(warehouse.isTokenRejected?.({ status, headers: new Headers(Object.entries(headers)), bodyStart })).toBe(
      rejected,
    );
  });
});

describe("with the core", () => {
  const jsonFetch =
    (status: number, body: unknown): Fetch =>
    () =>
      Promise.resolve(new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json" } }));

  it("S-005 makes an authorization request without parameters of its own, and refuses unknown options", async () => {
    const client = createClient({
      warehouse,
      clientId: "c",
      redirectUri: "http://localhost:8020",
      allowLoopbackHttp: true,
    });
    const { url, pending } = await createAuthorizationRequest(client);
    expect(url.origin + url.pathname).toBe("https://acme.cloud.databricks.com/oidc/v1/authorize");
    expect(pending.scopes).toEqual(["sql", "offline_access"]);
    await expect(createAuthorizationRequest(client, { role: "A" } as DatabricksLogin)).rejects.toMatchObject({
      code: "config_invalid",
    });
  });

  it("R-23 asks a person to sign in again when the refresh token is dead, in Databricks' words", async () => {
    const tokens = { access_token: "a", refresh_token: "r", token_type: "Bearer", expires_in: 3600, scope: "sql" };
    const options = { warehouse, clientId: "c", clientSecret: "s" } as const;
    const machine = createClient({ ...options, fetch: jsonFetch(200, tokens) });
    const first = await clientCredentials(machine);
    const dead = jsonFetch(401, { error: "invalid_request", error_description: "Refresh token is invalid" });
    const refused = refreshTokens(createClient({ ...options, fetch: dead }), withRefreshToken(first));
    await expect(refused).rejects.toMatchObject({ code: "reauthorization_required", reason: "refresh_token_dead" });
    const blocked = refreshTokens(createClient({ ...options, fetch: jsonFetch(400, {}) }), withRefreshToken(first));
    await expect(blocked).rejects.toMatchObject({ code: "token_http_error" });
  });
});

describe("token federation", () => {
  const answer = { access_token: "a", token_type: "Bearer", expires_in: 3600, scope: "sql" };
  const exchange = (body: object): Promise<TokenSet> =>
    exchangeToken(
      createClient({
        warehouse,
        clientId: "c",
        fetch: () =>
          Promise.resolve(
            new Response(JSON.stringify(body), { status: 200, headers: { "content-type": "application/json" } }),
          ),
      }),
      { subjectToken: "t", subjectTokenType: "urn:ietf:params:oauth:token-type:jwt" },
    );

  it("S-053 takes an exchange that does not name its type, as Databricks' own SDKs do", async () => {
    expect((await exchange(answer)).accessToken).toBe("a");
    await expect(exchange({ ...answer, issued_token_type: 7 })).rejects.toMatchObject({
      code: "token_response_malformed",
    });
  });

  it("S-053 fills in nothing for other grants", () => {
    expect(warehouse.normalizeTokenResponse?.(answer, { grant: "refresh_token" })).toBe(answer);
  });
});

/** Machines get none, so one is put in. */
function withRefreshToken(tokens: TokenSet): TokenSet {
  return importTokens({ ...exportTokens(tokens), refreshToken: "r" });
}
