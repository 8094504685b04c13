import { describe, expect, it } from "vitest";
import { fakeBigQuery, fakeDatabricks, fakeSnowflake, manualClock } from "warehouse-oauth/testing";
import { bodyOf, CLIENT_ID, REDIRECT_URI, Wire } from "./wire.ts";

const GOOGLE = "https://www.googleapis.com/auth/";

/** Wrong requests that Snowflake and Google answer on a page of their own, and Databricks where there is no way back. */
const WRONG: readonly [string, Readonly<Record<string, string | undefined>>][] = [
  ["another response type", { response_type: "token" }],
  ["no response type", { response_type: undefined }],
  ["another response mode", { response_mode: "fragment" }],
  ["a request object", { request: "e30" }],
  ["a pushed request", { request_uri: "urn:x" }],
  ["no state", { state: undefined }],
  ["an empty state", { state: "" }],
  ["a state above 2048 characters", { state: "s".repeat(2_049) }],
  ["a state beyond ASCII", { state: "é" }],
  ["no challenge", { code_challenge: undefined }],
  ["no challenge method, which means plain", { code_challenge_method: undefined }],
  ["the plain method", { code_challenge_method: "plain" }],
  ["a challenge that is no SHA-256", { code_challenge: "short" }],
];

describe("authorization request", () => {
  const pages = { snowflake: () => new Wire(fakeSnowflake()), bigquery: () => new Wire(fakeBigQuery()) };

  for (const [name, create] of Object.entries(pages)) {
    it.each(WRONG)(`${name} shows its own page and sends nobody back: %s`, async (_what, parameters) => {
      const response = await create().authorize(parameters);
      expect(response.status).toBe(400);
      expect(response.headers.get("location")).toBeNull();
      expect(response.headers.get("content-type")).toContain("text/html");
      expect(await response.text()).not.toContain("<form");
    });
  }

  it.each(WRONG)("databricks sends the error back: %s", async (_what, parameters) => {
    const response = await new Wire(fakeDatabricks()).authorize(parameters);
    const location = new URL(response.headers.get("location") ?? "");
    expect(location.origin + location.pathname).toBe(REDIRECT_URI);
    expect(location.searchParams.get("error")).toMatch(
      /^(?:invalid_request|unsupported_response_type|request_not_supported)$/,
    );
    expect(location.searchParams.has("code")).toBe(false);
  });

  it.each([
    "https://app.example.com/callback/",
    "https://app.example.com/callback?a=1",
    "https://APP.example.com/callback",
    undefined,
  ])("never redirects to an address that is not registered byte for byte: %s", async (redirectUri) => {
    for (const fake of [fakeSnowflake(), fakeDatabricks(), fakeBigQuery()]) {
      const response = await new Wire(fake).authorize({
        redirect_uri: redirectUri,
      });
      expect(response.status).toBe(400);
      expect(response.headers.get("location")).toBeNull();
    }
  });

  it("answers a bad redirect URI as each warehouse does", async () => {
    const redirect_uri = "http://localhost:8020";
    const databricks = await new Wire(fakeDatabricks()).authorize({ redirect_uri });
    expect(await bodyOf(databricks)).toEqual({
      error: "invalid_request",
      error_description: `redirect_uri 'http://localhost:8020' not registered for OAuth application '${CLIENT_ID}'`,
    });
    expect(await (await new Wire(fakeBigQuery()).authorize({ redirect_uri })).text()).toContain(
      "redirect_uri_mismatch",
    );
    expect(await (await new Wire(fakeSnowflake()).authorize({ redirect_uri })).text()).toContain("390307");
  });

  it("refuses an unknown client without redirecting", async () => {
    const statuses: number[] = [];
    for (const fake of [fakeSnowflake(), fakeDatabricks(), fakeBigQuery()]) {
      const response = await new Wire(fake).authorize({ client_id: "nobody" });
      expect(response.headers.get("location")).toBeNull();
      statuses.push(response.status);
    }
    expect(statuses).toEqual([400, 401, 401]);
  });

  it("S-017 refuses a parameter that is there twice", async () => {
    const wire = new Wire(fakeDatabricks());
    const url = wire.authorizationUrl();
    url.searchParams.append("state", "another");
    const response = await wire.fake.handle(new Request(url));
    expect(response.status).toBe(400);
    expect(response.headers.get("location")).toBeNull();
  });

  it("takes GET only", async () => {
    const wire = new Wire(fakeSnowflake());
    const response = await wire.fake.handle(new Request(wire.authorizationUrl(), { method: "PUT" }));
    expect(response.status).toBe(405);
  });
});

describe("scopes", () => {
  it.each([
    ["offline_access", "The requested scope is invalid"],
    ["openid", "The requested scope is invalid"],
    ["session:scope:warehouse", "The requested scope is invalid"],
    ["session:role-any", "The requested scope is invalid"],
    ["session:role:", "The requested scope is invalid"],
    ["session:role:A session:role:B", "at most one role"],
    ["session:role:A session:role-encoded:B", "at most one role"],
    ["session:role-encoded:%E0%A4%A", "The requested scope is invalid"],
  ])("Snowflake refuses %s before anybody signs in, with 390308", async (scope, text) => {
    const page = await (await new Wire(fakeSnowflake()).authorize({ scope })).text();
    expect(page).toContain(text);
    expect(page).toContain("390308");
  });

  it("Snowflake honours session:role-any where the integration says so", async () => {
    const response = await new Wire(fakeSnowflake({ anyRole: true })).authorize({ scope: "session:role-any" });
    expect(response.status).toBe(200);
  });

  it.each(["NOBODYS", "analyst", "ACCOUNTADMIN", "SECURITYADMIN"])(
    "Snowflake refuses the role %s on its page, after the person signed in",
    async (role) => {
      const wire = new Wire(fakeSnowflake({ roles: ["ANALYST", "ACCOUNTADMIN"] }));
      const url = wire.authorizationUrl({ scope: `refresh_token session:role:${role}` });
      expect((await wire.fake.handle(new Request(url))).status).toBe(200);
      await expect(wire.fake.signIn(url)).rejects.toThrow("Invalid consent request");
      expect(wire.fake.grants).toHaveLength(0);
    },
  );

  it("Snowflake reads an encoded role", async () => {
    const wire = new Wire(fakeSnowflake({ roles: ["AUTH SNOWFLAKE"] }));
    expect(await wire.code({ scope: "session:role-encoded:AUTH%20SNOWFLAKE" })).not.toBe("");
  });

  it.each(["https://www.googleapis.com/auth/bigquery", "refresh_token", "SQL"])(
    "Databricks refuses %s",
    async (scope) => {
      const response = await new Wire(fakeDatabricks()).authorize({ scope });
      expect(new URL(response.headers.get("location") ?? "").searchParams.get("error")).toBe("invalid_scope");
    },
  );

  it("Google refuses offline_access on its page, in its words", async () => {
    const page = await (await new Wire(fakeBigQuery()).authorize({ scope: "openid offline_access" })).text();
    expect(page).toContain("Some requested scopes were invalid. {valid=[openid], invalid=[offline_access]}");
  });

  it.each([
    { scope: "" },
    { scope: `${GOOGLE}nonsense` },
    { prompt: "login" },
    { prompt: "none consent" },
    { access_type: "forever" },
  ])("Google refuses %o", async (parameters) => {
    const response = await new Wire(fakeBigQuery()).authorize(parameters);
    expect(response.status).toBe(400);
    expect(response.headers.get("location")).toBeNull();
  });
});

describe("sign-in", () => {
  it("sends the person back with code and state, and with iss at Google", async () => {
    for (const [fake, issuer] of [
      [fakeSnowflake(), null],
      [fakeDatabricks(), null],
      [fakeBigQuery(), "https://accounts.google.com"],
    ] as const) {
      const wire = new Wire(fake);
      const callback = await fake.signIn(wire.authorizationUrl(), { user: "ada" });
      expect(callback.origin + callback.pathname).toBe(REDIRECT_URI);
      expect(callback.searchParams.get("state")).toBe("a-state");
      expect(callback.searchParams.get("code")).not.toBeNull();
      expect(callback.searchParams.get("iss")).toBe(issuer);
    }
  });

  it("comes back with access_denied when the person declines, or agrees to nothing", async () => {
    const wire = new Wire(fakeDatabricks());
    for (const options of [{ decline: true }, { granted: [] }]) {
      const callback = await wire.fake.signIn(wire.authorizationUrl(), options);
      expect(callback.searchParams.get("error")).toBe("access_denied");
      expect(callback.searchParams.get("state")).toBe("a-state");
      expect(callback.searchParams.has("code")).toBe(false);
    }
    expect(wire.fake.grants).toHaveLength(0);
  });

  it("grants what the person ticked", async () => {
    const wire = new Wire(fakeDatabricks());
    const callback = await wire.fake.signIn(wire.authorizationUrl({ scope: "sql offline_access" }), {
      granted: ["sql"],
    });
    const body = await bodyOf(await wire.exchange(callback.searchParams.get("code") ?? ""));
    expect(body["scope"]).toBe("sql");
    expect(body).not.toHaveProperty("refresh_token");
  });

  it("refuses to grant what was not asked for, and addresses that are not the fake's", async () => {
    const wire = new Wire(fakeDatabricks());
    await expect(wire.fake.signIn(wire.authorizationUrl(), { granted: ["all-apis"] })).rejects.toThrow('"granted"');
    await expect(wire.fake.signIn(new URL("https://elsewhere.example/?secret=1"))).rejects.toThrow(
      /^(?!.*secret).*https:\/\/elsewhere\.example$/,
    );
  });

  it("takes a sign-in page once, and for ten minutes", async () => {
    const clock = manualClock();
    const wire = new Wire(fakeSnowflake({ clock }));
    const page = await (await wire.authorize()).text();
    const ticket = /name="ticket" value="([^"]+)"/.exec(page)?.[1];
    const endpoint = wire.fake.warehouse.authorizationEndpoint ?? "";
    const answer = { ticket, user: "ada", decision: "agree", scope: "refresh_token" };
    expect((await wire.post(endpoint, answer)).status).toBe(303);
    expect((await wire.post(endpoint, answer)).status).toBe(400);

    const late = /name="ticket" value="([^"]+)"/.exec(await (await wire.authorize()).text())?.[1];
    await clock.advance(600_000);
    expect((await wire.post(endpoint, { ...answer, ticket: late })).status).toBe(400);
    expect((await wire.post(endpoint, { ...answer, ticket: "guessed" })).status).toBe(400);
  });

  it("shows a person what is asked for, in words, and nothing of it as markup", async () => {
    const fake = fakeSnowflake();
    fake.register({ clientId: '<img src="x">' });
    const wire = new Wire(fake);
    const page = await (
      await wire.authorize({ client_id: '<img src="x">', scope: "refresh_token session:role:<B>" })
    ).text();
    expect(page).toContain("Stay signed in to Snowflake");
    expect(page).toContain("Act in Snowflake in your role &lt;B&gt;.");
    expect(page).not.toContain("<img");
    expect(page).not.toContain("<B>");
    expect(page).not.toContain("<script");
  });

  it("Google brings a refresh token only with a consent that was shown, and offline", async () => {
    const wire = new Wire(fakeBigQuery());
    const offline = { access_type: "offline" };
    expect(await wire.tokens(offline)).toHaveProperty("refresh_token");
    expect(await wire.tokens(offline)).not.toHaveProperty("refresh_token");
    expect(await wire.tokens({ ...offline, prompt: "consent" })).toHaveProperty("refresh_token");
    expect(await wire.tokens({ prompt: "consent" })).not.toHaveProperty("refresh_token");
  });

  it("Google answers prompt=none without a page: a code for who agreed before, else interaction_required", async () => {
    const wire = new Wire(fakeBigQuery());
    const silent = { prompt: "none", login_hint: "ada" };
    const before = new URL((await wire.authorize(silent)).headers.get("location") ?? "");
    expect(before.searchParams.get("error")).toBe("interaction_required");
    await wire.code();
    const after = new URL((await wire.authorize(silent)).headers.get("location") ?? "");
    expect(after.searchParams.get("code")).not.toBeNull();
  });

  it("Google adds what was granted earlier where include_granted_scopes asks for it", async () => {
    const wire = new Wire(fakeBigQuery());
    await wire.tokens({ scope: `${GOOGLE}cloud-platform` });
    const tokens = await wire.tokens({ scope: `${GOOGLE}bigquery`, include_granted_scopes: "true" });
    expect(tokens["scope"]?.split(" ").sort()).toEqual([`${GOOGLE}bigquery`, `${GOOGLE}cloud-platform`]);
  });
});
