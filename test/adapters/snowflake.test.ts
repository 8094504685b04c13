import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type SnowflakeLogin, type SnowflakeOptions, type SnowflakeScope, snowflake } from "warehouse-oauth/snowflake";
import {
  ConfigurationError,
  type Grant,
  type OAuthClient,
  type Warehouse,
  createAuthorizationRequest,
  createClient,
  describeScopes,
} from "warehouse-oauth";

const warehouse = snowflake({ account: "acme-prod" });
const hostOf = (made: Warehouse<SnowflakeLogin>): string => new URL(made.tokenEndpoint).hostname;

/** What a JavaScript caller may pass. */
const make = (options: unknown): Warehouse<SnowflakeLogin> => snowflake(options as SnowflakeOptions);
const login = (options: unknown, scopes: readonly string[] = ["refresh_token"]): Readonly<Record<string, string>> =>
  warehouse.authorizationParameters?.(options as SnowflakeLogin, { scopes, clientId: "c", redirectUri: undefined }) ??
  {};

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

describe("account identifiers", () => {
  it.each([
    ["acme-prod", "acme-prod.snowflakecomputing.com"],
    ["ACME-PROD", "acme-prod.snowflakecomputing.com"],
    ["acme-my_account", "acme-my-account.snowflakecomputing.com"],
    ["acme-failover_connection", "acme-failover-connection.snowflakecomputing.com"],
    ["xy12345", "xy12345.snowflakecomputing.com"],
    ["xy12345.us-west-2", "xy12345.snowflakecomputing.com"],
    ["xy12345.us-west-2.aws", "xy12345.snowflakecomputing.com"],
    ["xy12345.eu-central-1", "xy12345.eu-central-1.snowflakecomputing.com"],
    ["xy12345.us-east-2.aws", "xy12345.us-east-2.aws.snowflakecomputing.com"],
    ["XY12345.west-europe.AZURE", "xy12345.west-europe.azure.snowflakecomputing.com"],
    ["xy12345.us-central1.gcp", "xy12345.us-central1.gcp.snowflakecomputing.com"],
    ["xy12345.fhplus.us-gov-west-1.aws", "xy12345.fhplus.us-gov-west-1.aws.snowflakecomputing.com"],
    ["xy12345.dod.us-gov-west-1.aws", "xy12345.dod.us-gov-west-1.aws.snowflakecomputing.com"],
    ["acme-prod.privatelink", "acme-prod.privatelink.snowflakecomputing.com"],
    ["xy12345.us-west-2.privatelink", "xy12345.us-west-2.privatelink.snowflakecomputing.com"],
    ["xy12345.cn-northwest-1", "xy12345.cn-northwest-1.snowflakecomputing.cn"],
    ["xy12345.cn-northwest-1.aws.privatelink", "xy12345.cn-northwest-1.aws.privatelink.snowflakecomputing.cn"],
    // whole addresses, as people copy them
    ["acme-prod.snowflakecomputing.com", "acme-prod.snowflakecomputing.com"],
    ["https://acme-prod.snowflakecomputing.com", "acme-prod.snowflakecomputing.com"],
    ["HTTPS://Acme-Prod.SnowflakeComputing.com/console/login?x=1#/", "acme-prod.snowflakecomputing.com"],
    ["https://acme-prod.snowflakecomputing.com./", "acme-prod.snowflakecomputing.com"],
    ["https://acme-my_account.snowflakecomputing.cn/", "acme-my-account.snowflakecomputing.cn"],
    ["acme-prod.snowflakecomputing.mil", "acme-prod.snowflakecomputing.mil"],
  ])("%s is %s", (account, host) => {
    expect(hostOf(snowflake({ account }))).toBe(host);
  });

  it("builds every address from the host", () => {
    expect(warehouse).toMatchObject({
      id: "snowflake",
      issuer: "https://acme-prod.snowflakecomputing.com",
      authorizationEndpoint: "https://acme-prod.snowflakecomputing.com/oauth/authorize",
      tokenEndpoint: "https://acme-prod.snowflakecomputing.com/oauth/token-request",
      apiOrigins: ["https://acme-prod.snowflakecomputing.com"],
      assertionAudience: "https://acme-prod.snowflakecomputing.com/oauth/token-request",
    });
    expect(warehouse.revocationEndpoint).toBeUndefined();
  });

  it.each([
    "",
    " ",
    "acme-prod ",
    "acme-prod\n",
    "evil.com",
    "evil.com/",
    "evil.com#",
    "evil.com?",
    "a@evil.com",
    "evil.com\\.snowflakecomputing.com",
    "evil.com/.snowflakecomputing.com",
    "evil.com#.snowflakecomputing.com",
    "acme%2eprod",
    "acme%2Eevil.com",
    "acme-prod:443",
    "acme-prod.snowflakecomputing.com:8080",
    "acmé-prod",
    "xn--acm-dma",
    "xn__acm-dma",
    "\u212Aacme-prod",
    "acme-prod.",
    "acme-prod.snowflakecomputing.com.",
    ".acme-prod",
    "-acme",
    "acme-",
    "acme..prod",
    "x.snowflakecomputing.com.evil.example",
    "snowflakecomputing.com",
    "evilsnowflakecomputing.com",
    "snowflakecomputing.com.evil.example",
    "https://evil.com",
    "https://acme@evil.com/",
    "https://acme.snowflakecomputing.com@evil.com/",
    "https://acme.snowflakecomputing.com:443/",
    "https://acme.snowflakecomputing.com\\@evil.com/",
    "http://acme-prod.snowflakecomputing.com",
    "//acme-prod.snowflakecomputing.com",
    "javascript:alert(1)//.snowflakecomputing.com",
    "xy12345.aws",
    "xy12345.us-east-2.oracle",
    "127.0.0.1",
    "[::1]",
    "a".repeat(64),
    `${"a-".repeat(2000)}a`,
  ])("S-056 refuses %j as account", (account) => {
    expect(refusal(() => snowflake({ account }))).toMatchObject({ code: "config_invalid", option: "account" });
  });

  it("S-056 names the right way for the form SQL uses", () => {
    expect(refusal(() => snowflake({ account: "acme.prod" })).message).toMatch(/org-account/);
    expect(refusal(() => snowflake({ account: "acme.my_prod" })).message).toMatch(/hyphen/);
  });

  it("S-056 gives an https address below a Snowflake domain for whatever it takes", () => {
    const text = fc.oneof(
      fc.string(),
      fc.string({ unit: "binary" }),
      fc.stringMatching(/^[a-z0-9_.-]{1,40}$/),
      fc.stringMatching(/^[a-zA-Z0-9]{1,9}[-.][a-zA-Z0-9_]{1,9}(\.privatelink)?$/),
      fc.string().map((rest) => `https://acme.snowflakecomputing.com${rest}`),
      fc.stringMatching(/^[a-z]{1,5}\.[a-z]{2}$/).map((domain) => `acme.snowflakecomputing.com.${domain}`),
      fc.tuple(fc.string(), fc.string()).map(([a, b]) => `${a}.snowflakecomputing.com${b}`),
    );
    let taken = 0;
    fc.assert(
      fc.property(text, (account) => {
        let made: Warehouse<SnowflakeLogin>;
        try {
          made = snowflake({ account });
        } catch (error) {
          expect(error).toMatchObject({ code: "config_invalid" });
          return;
        }
        taken += 1;
        for (const address of [made.issuer, made.authorizationEndpoint, made.tokenEndpoint, made.apiOrigins[0]]) {
          const url = new URL(address ?? "");
          expect(address).toBe(url.pathname === "/" ? url.origin : url.href);
          expect(url.hostname).toMatch(/^[a-z0-9.-]+\.snowflakecomputing\.(?:com|cn|mil)$/);
          expect([url.protocol, url.port, url.username, url.password]).toEqual(["https:", "", "", ""]);
        }
      }),
      { numRuns: 400 },
    );
    expect(taken).toBeGreaterThan(20);
  });
});

describe("hosts", () => {
  it.each([
    ["acme-prod.privatelink.snowflakecomputing.com", "acme-prod.privatelink.snowflakecomputing.com"],
    ["acme-my_account.snowflakecomputing.com", "acme-my_account.snowflakecomputing.com"],
    ["acme-prod.snowflakecomputing.cn", "acme-prod.snowflakecomputing.cn"],
    ["acme-prod.snowflakecomputing.mil", "acme-prod.snowflakecomputing.mil"],
    ["Warehouse.ACME.example", "warehouse.acme.example"],
    ["https://warehouse.acme.example/some/path?x=1", "warehouse.acme.example"],
    ["https://warehouse.acme.example.", "warehouse.acme.example"],
  ])("%s is %s", (host, expected) => {
    expect(hostOf(snowflake({ host }))).toBe(expected);
  });

  it.each([
    "",
    "acme",
    "localhost",
    "127.0.0.1",
    "0x7f.1",
    "[::1]",
    "acme.example/",
    "acme.example#",
    "acme.example:443",
    "https://acme.example:8443/",
    "a@acme.example",
    "https://a:b@acme.example",
    "acme.example\\.snowflakecomputing.com",
    "acme%2eexample",
    "acmé.example",
    "xn--acm-dma.example",
    "\u212Aacme.example",
    "acme.example.",
    "acme..example",
    "-acme.example",
    "http://acme.example",
    "https://",
    "acme.example\n",
    "acme-prod.snowflakecomputing.com.evil.example",
    "snowflakecomputing-com.evil.example",
    "snowflakecomputing.com",
    `${"a".repeat(64)}.example`,
    `${"a.".repeat(130)}example`,
  ])("S-056 refuses %j as host", (host) => {
    expect(refusal(() => snowflake({ host }))).toMatchObject({ code: "config_invalid", option: "host" });
  });

  it("S-056 names the right way for the address of Snowflake's web pages", () => {
    for (const option of ["host", "account"] as const) {
      const options = { [option]: "https://app.snowflake.com/acme/prod/#/homepage" } as { account: string };
      expect(refusal(() => snowflake(options))).toMatchObject({
        code: "config_invalid",
        option,
        message: expect.stringContaining('give "account" as "org-account"') as string,
      });
    }
  });

  it("takes other endpoints, and checks them", () => {
    const made = snowflake({
      account: "acme-prod",
      authorizationEndpoint: "https://acme-prod.privatelink.snowflakecomputing.com/oauth/authorize",
      tokenEndpoint: "https://gateway.acme.example/token",
    });
    expect(made.authorizationEndpoint).toBe("https://acme-prod.privatelink.snowflakecomputing.com/oauth/authorize");
    expect(made.tokenEndpoint).toBe("https://gateway.acme.example/token");
    expect(made.assertionAudience).toBe("https://gateway.acme.example/token");
    expect(made.apiOrigins).toEqual(["https://acme-prod.snowflakecomputing.com"]);
    expect(refusal(() => snowflake({ account: "acme-prod", tokenEndpoint: "http://evil.example/t" })).code).toBe(
      "insecure_url",
    );
    expect(refusal(() => snowflake({ account: "acme-prod", tokenEndpoint: "token" })).code).toBe("config_invalid");
  });
});

describe("options", () => {
  it.each([
    [undefined, "invalid_argument"],
    [null, "invalid_argument"],
    ["acme-prod", "invalid_argument"],
    [{ account: 1 }, "invalid_argument"],
    [{ host: {} }, "invalid_argument"],
    [{ account: null }, "invalid_argument"],
    [{ account: "acme-prod", singleUseRefreshTokens: "yes" }, "invalid_argument"],
    [{ account: "acme-prod", tokenEndpoint: 7 }, "invalid_argument"],
    [{}, "config_invalid"],
    [{ account: "acme-prod", host: "acme.example" }, "config_invalid"],
    [{ account: "acme-prod", region: "eu-central-1" }, "config_invalid"],
    [{ account: "acme-prod", toString: "x" }, "config_invalid"],
  ])("refuses %j with %s", (options, code) => {
    expect(refusal(() => make(options)).code).toBe(code);
  });

  it("takes what is there and undefined", () => {
    expect(make({ account: "acme-prod", host: undefined, singleUseRefreshTokens: undefined }).refreshRotation).toBe(
      "unknown",
    );
  });
});

describe("facts", () => {
  it("says what Snowflake's documents say", () => {
    expect(warehouse).toMatchObject({
      grants: ["authorization_code", "refresh_token"],
      defaultScopes: ["refresh_token"],
      machineScopes: [],
      clientSecretMethod: "client_secret_post",
      refreshExtends: "on-rotation",
      rotationVoidsAccessTokens: true,
      issuerInCallback: "never",
      userNameMember: "username",
      accessTokenLifetimeMs: 600_000,
      refreshTokenLifetimeMs: 90 * 86_400_000,
    });
    expect(warehouse.revocationInstructions).toMatch(
      /ALTER USER <user> REMOVE DELEGATED AUTHORIZATIONS FROM SECURITY INTEGRATION/,
    );
  });

  it("asks for single-use refresh tokens when the code is exchanged, and only then", () => {
    const singleUse = snowflake({ account: "acme-prod", singleUseRefreshTokens: true });
    const grants: readonly Grant[] = [
      "authorization_code",
      "refresh_token",
      "client_credentials",
      "jwt_bearer",
      "token_exchange",
    ];
    expect(singleUse.refreshRotation).toBe("single-use");
    expect(grants.map((grant) => singleUse.tokenParameters?.(grant))).toEqual([
      { enable_single_use_refresh_tokens: "true" },
      {},
      {},
      {},
      {},
    ]);
    expect(warehouse.refreshRotation).toBe("unknown");
    expect(grants.map((grant) => warehouse.tokenParameters?.(grant))).toEqual([{}, {}, {}, {}, {}]);
  });

  it("describes each scope of its type, and no other", () => {
    const all: Record<SnowflakeScope, true> = { refresh_token: true, "session:role-any": true };
    expect([...warehouse.scopeCatalogue.keys()].sort()).toEqual(Object.keys(all).sort());
    for (const fact of warehouse.scopeCatalogue.values()) expect(fact.description).toMatch(/^[A-Z].*\.$/);
  });

  it.each([
    ["session:role:ANALYST", "Act in Snowflake in your role ANALYST."],
    ["session:role-encoded:caf%C3%A9%20%28x%29", "Act in Snowflake in your role café (x)."],
    ["session:role:A%20B", "Act in Snowflake in your role A%20B."],
    ["session:role:", undefined],
    ["session:role-encoded:", undefined],
    ["session:role-encoded:%", undefined],
    ["session:scope:x", undefined],
    ["a session:role:X", undefined],
  ])("describes the role scope %s", (scope, description) => {
    expect(describeScopes(warehouse, [scope])).toEqual([
      { scope, description, level: description === undefined ? undefined : "admin" },
    ]);
  });
});

describe("login", () => {
  it.each([
    [{}, undefined],
    [{ role: undefined }, undefined],
    [{ role: "ANALYST" }, "refresh_token session:role:ANALYST"],
    [{ role: "analyst" }, "refresh_token session:role:ANALYST"],
    [{ role: "_A1" }, "refresh_token session:role:_A1"],
    [{ role: "COST$" }, "refresh_token session:role-encoded:COST%24"],
    [{ role: { quoted: "Analyst" } }, "refresh_token session:role:Analyst"],
    [{ role: { quoted: "auth-1" } }, "refresh_token session:role:auth-1"],
    [{ role: { quoted: "AUTH SNOWFLAKE" } }, "refresh_token session:role-encoded:AUTH%20SNOWFLAKE"],
    [{ role: { quoted: "a:b/c&d=e+f%g" } }, "refresh_token session:role-encoded:a%3Ab%2Fc%26d%3De%2Bf%25g"],
    [{ role: { quoted: "(it's) *all*!" } }, "refresh_token session:role-encoded:%28it%27s%29%20%2Aall%2A%21"],
    [{ role: { quoted: 'a"b\\c' } }, "refresh_token session:role-encoded:a%22b%5Cc"],
    [{ role: { quoted: "Größe" } }, "refresh_token session:role-encoded:Gr%C3%B6%C3%9Fe"],
  ])("%j asks for %j", (options, scope) => {
    expect(login(options)).toEqual(scope === undefined ? {} : { scope });
  });

  it("S-042 writes any role as one scope that decodes to it, and never as two", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, maxLength: 80, unit: "grapheme" }), (name) => {
        const [first, role = "", ...others] = (login({ role: { quoted: name } })["scope"] ?? "").split(" ");
        expect([first, others]).toEqual(["refresh_token", []]);
        expect(role).toMatch(/^session:role(?:-encoded)?:[-_.~%A-Za-z0-9]+$/);
        const value = role.slice(role.indexOf(":", "session:".length) + 1);
        expect(role.startsWith("session:role-encoded:") ? decodeURIComponent(value) : value).toBe(name);
      }),
    );
  });

  it("asks for any role only where the caller does", () => {
    expect(login({}, ["refresh_token", "session:role-any"])).toEqual({});
    expect(login({ role: "A" }, ["session:role-any"])).toEqual({ scope: "session:role-any session:role:A" });
    expect(login({ role: "A" }, [])).toEqual({ scope: "session:role:A" });
  });

  it.each([
    ["session:role:ANALYST", /"role" option/],
    ["session:role-encoded:A%20B", /"role" option/],
    ["session:scope:warehouse", /"role" option/],
    ["session:scope:analyst", /warehouse/],
    ["offline_access", /"refresh_token"/],
    ["openid", /no OpenID Connect/],
    ["profile", /refresh_token/],
    ["session:role:", /"role" option/],
    ["session:role-ANY", /session:role-any/],
    ["REFRESH_TOKEN", /"refresh_token"/],
    ["toString", /refuses all others/],
  ])("S-042 refuses the scope %s and names the right way", (scope, message) => {
    const error = refusal(() => login({}, ["refresh_token", scope]));
    expect(error).toMatchObject({ code: "config_invalid", option: "scopes" });
    expect(error.message).toMatch(message);
  });

  it.each([
    [{ role: 7 }, "invalid_argument"],
    [{ role: null }, "invalid_argument"],
    [{ role: ["A", "B"] }, "invalid_argument"],
    [{ role: { quoted: 7 } }, "invalid_argument"],
    [{ role: {} }, "invalid_argument"],
    [{ role: "" }, "config_invalid"],
    [{ role: "A B" }, "config_invalid"],
    [{ role: "my-role" }, "config_invalid"],
    [{ role: "A session:role:B" }, "config_invalid"],
    [{ role: { quoted: "" } }, "config_invalid"],
    [{ role: { quoted: "\uD800" } }, "config_invalid"],
    [{ role: { quoted: "A".repeat(256) } }, "config_invalid"],
    [{ loginHint: "ada" }, "config_invalid"],
    [{ roles: ["A"] }, "config_invalid"],
  ])("refuses %j with %s", (options, code) => {
    expect(refusal(() => login(options)).code).toBe(code);
  });
});

describe("the local application", () => {
  const clientOf = (redirectUri: string, clientId = "LOCAL_APPLICATION"): OAuthClient<SnowflakeLogin> =>
    createClient({ warehouse, clientId, redirectUri, allowLoopbackHttp: true });

  it.each([
    "http://localhost:8765",
    "http://localhost/cb",
    "http://[::1]:8765",
    "https://127.0.0.1",
    "https://app.example/cb",
  ])("is sent nobody back to %s, which Snowflake refuses on a page of its own", async (redirectUri) => {
    const begun = createAuthorizationRequest(clientOf(redirectUri));
    await expect(begun).rejects.toMatchObject({ code: "config_invalid", option: "redirectUri" });
    await expect(begun).rejects.toThrow("http://127.0.0.1");
  });

  it.each(["http://127.0.0.1", "http://127.0.0.1:8765", "http://127.0.0.1:8765/cb", "http://127.0.0.1/cb"])(
    "takes %s, as its documents say",
    async (redirectUri) => {
      const { url } = await createAuthorizationRequest(clientOf(redirectUri));
      expect(url.searchParams.get("redirect_uri")).toBe(redirectUri);
    },
  );

  it("is not another integration's rule", async () => {
    const { url } = await createAuthorizationRequest(clientOf("http://localhost:8765", "my-integration"));
    expect(url.searchParams.get("redirect_uri")).toBe("http://localhost:8765");
  });
});

describe("errors", () => {
  const envelope = { data: null, message: "text", code: null, success: false };
  it.each([
    [
      "invalid_grant is left to the core",
      { status: 400, oauthError: "invalid_grant", body: { ...envelope, error: "invalid_grant" } },
      undefined,
    ],
    [
      "invalid_client is left to the core",
      { status: 400, oauthError: "invalid_client", body: { ...envelope, error: "invalid_client" } },
      undefined,
    ],
    [
      "invalid_request ends no session (R-23)",
      { status: 400, oauthError: "invalid_request", body: { ...envelope, error: "invalid_request" } },
      "fatal",
    ],
    [
      "390302, consent withdrawn",
      { status: 400, oauthError: undefined, body: { ...envelope, code: "390302" } },
      "interaction_required",
    ],
    ["390505, rate limit", { status: 429, oauthError: undefined, body: { ...envelope, code: "390505" } }, "throttled"],
    [
      "390309, another user, ends no session (R-23)",
      { status: 400, oauthError: undefined, body: { ...envelope, code: "390309" } },
      "fatal",
    ],
    ["JSON that names no error ends no session (R-23)", { status: 400, oauthError: undefined, body: {} }, "fatal"],
    ["a page instead of JSON", { status: 400, oauthError: undefined, body: undefined }, "transient"],
    [
      "a page with another status is left to the core",
      { status: 502, oauthError: undefined, body: undefined },
      undefined,
    ],
  ] as const)("%s", (_name, failure, kind) => {
    expect(warehouse.classifyTokenError?.({ grant: "refresh_token", ...failure })).toBe(kind);
  });

  it.each([
    [401, '{"code":"390303","message":"Invalid OAuth access token. "}', true],
    [401, '{ "message": "expired", "code" : "390318" }', true],
    [401, '{"code":390318}', true],
    [401, "", true],
    [401, "<html>", true],
    [401, '{"code":"390101","message":"Authorization header not found"}', true],
    [403, '{"code":"390318","message":"expired"}', true],
    [401, '{"code":"390302"}', false],
    [401, '{"code":"390309"}', false],
    [401, '{"code":"390317"}', false],
    [401, '{"code":"390144","message":"JWT token is invalid."}', false],
    [401, '{"code":"394304"}', false],
    [401, '{"code":"394400"}', false],
    [403, '{"code":"390201"}', false],
    [422, String.raw`{"code":"000904","message":"invalid identifier '\"code\":\"390318\"'"}`, false],
    [429, "", false],
    [500, "", false],
  ])("answer %i %s rejects the token: %j", (status, bodyStart, rejected) => {
    expect(warehouse.isTokenRejected?.({ status, headers: new Headers(), bodyStart })).toBe(rejected);
  });
});

describe("with the core", () => {
  const client = createClient({
    warehouse,
    clientId: "AbC/d+E=",
    redirectUri: "https://app.example/callback",
    login: { role: "ANALYST" },
  });

  it("S-005 makes one authorization request with role, PKCE and nothing that Snowflake does not know", async () => {
    const { url, pending } = await createAuthorizationRequest(client, {
      role: { quoted: "AUTH SNOWFLAKE" },
      returnTo: "/x",
    });
    expect(url.origin + url.pathname).toBe("https://acme-prod.snowflakecomputing.com/oauth/authorize");
    expect([...url.searchParams.keys()].sort()).toEqual(
      [
        "client_id",
        "code_challenge",
        "code_challenge_method",
        "redirect_uri",
        "response_type",
        "scope",
        "state",
      ].sort(),
    );
    expect(pending.scopes).toEqual(["refresh_token", "session:role-encoded:AUTH%20SNOWFLAKE"]);
    expect(url.search).toContain("AUTH%2520SNOWFLAKE");
    expect(url.search).toContain("client_id=AbC%2Fd%2BE%3D");
  });

  it("takes the client's role where the login names none, and lets a login name another", async () => {
    expect((await createAuthorizationRequest(client)).pending.scopes).toEqual([
      "refresh_token",
      "session:role:ANALYST",
    ]);
    expect((await createAuthorizationRequest(client, { role: "LOADER" })).pending.scopes).toEqual([
      "refresh_token",
      "session:role:LOADER",
    ]);
  });

  it("refuses a made-up scope before the browser leaves", async () => {
    const scopes = ["offline_access"] as readonly string[] as readonly SnowflakeScope[];
    await expect(createAuthorizationRequest(client, { scopes })).rejects.toMatchObject({ code: "config_invalid" });
  });
});
