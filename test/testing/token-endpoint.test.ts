import { describe, expect, it } from "vitest";
import { fakeBigQuery, fakeDatabricks, fakeSnowflake, manualClock } from "warehouse-oauth/testing";
import { query } from "./data-api.ts";
import { basic, bodyOf, CLIENT_ID, CLIENT_SECRET, VERIFIER, Wire } from "./wire.ts";

const OFFLINE = { access_type: "offline", prompt: "consent" };

describe("client authentication", () => {
  it("takes the secret in the body, and in the header form-encoded", async () => {
    for (const fake of [fakeSnowflake(), fakeDatabricks(), fakeBigQuery()]) {
      const wire = new Wire(fake);
      expect((await wire.exchange(await wire.code())).status).toBe(200);
      const inHeader = await wire.exchange(await wire.code(), { client_id: undefined, client_secret: undefined });
      expect(inHeader.status).not.toBe(200);
      const code = await wire.code();
      const headers = { authorization: basic(CLIENT_ID, CLIENT_SECRET) };
      const form = { client_id: undefined, client_secret: undefined };
      const good = await wire.token(
        {
          grant_type: "authorization_code",
          code,
          redirect_uri: "https://app.example.com/callback",
          code_verifier: VERIFIER,
          ...form,
        },
        headers,
      );
      expect(good.status).toBe(200);
    }
  });

  const refresh = { grant_type: "refresh_token", refresh_token: "x" };
  const none = { client_id: undefined, client_secret: undefined };

  it.each<[string, Record<string, string | undefined>, Record<string, string>, string]>([
    ["nobody", none, {}, "invalid_client"],
    ["an unknown client", { client_id: "nobody" }, {}, "invalid_client"],
    ["a wrong secret", { client_secret: "wrong" }, {}, "invalid_client"],
    ["no secret", { client_secret: undefined }, {}, "invalid_client"],
    ["a wrong secret in the header", none, { authorization: basic(CLIENT_ID, "wrong") }, "invalid_client"],
    [
      "a secret in the header as it is",
      none,
      { authorization: basic(CLIENT_ID, CLIENT_SECRET, (text) => text) },
      "invalid_client",
    ],
    ["a header without colon", none, { authorization: `Basic ${btoa("all-in-one")}` }, "invalid_client"],
    ["a header that is no Base64", none, { authorization: "Basic ***" }, "invalid_client"],
    ["a broken percent-encoding", none, { authorization: `Basic ${btoa("%FF:%FF")}` }, "invalid_client"],
    ["another scheme", none, { authorization: "Bearer token" }, "invalid_client"],
    ["header and body", {}, { authorization: basic(CLIENT_ID, CLIENT_SECRET) }, "invalid_request"],
    [
      "two different ids",
      { ...none, client_id: "other" },
      { authorization: basic(CLIENT_ID, CLIENT_SECRET) },
      "invalid_client",
    ],
    ["an assertion of an unknown type", { client_secret: undefined, client_assertion: "a.b.c" }, {}, "invalid_request"],
  ])("S-050 refuses %s", async (_who, form, headers, error) => {
    const wire = new Wire(fakeSnowflake());
    const response = await wire.token({ ...refresh, ...form }, headers);
    expect(response.status).toBe(400);
    expect(await bodyOf(response)).toMatchObject({ data: null, success: false, code: null, error });
  });

  it("refuses a secret that was not form-encoded, even where decoding would not change it", async () => {
    const fake = fakeSnowflake();
    fake.register({ clientId: "slashed", clientSecret: "a/b=" });
    const wire = new Wire(fake);
    const send = (encode: (text: string) => string): Promise<Response> =>
      wire.post(fake.warehouse.tokenEndpoint, refresh, { authorization: basic("slashed", "a/b=", encode) });
    expect(await bodyOf(await send((text) => text))).toMatchObject({ error: "invalid_client" });
    expect(await bodyOf(await send(encodeURIComponent))).toMatchObject({ error: "invalid_grant" });
  });

  it("refuses a public client that sends a secret, and takes it without", async () => {
    const fake = fakeSnowflake();
    fake.register({ clientId: "public", public: true });
    const wire = new Wire(fake);
    const code = await wire.code({ client_id: "public" });
    expect((await wire.exchange(code, { client_id: "public", client_secret: "any" })).status).toBe(400);
    expect((await wire.exchange(code, { client_id: "public", client_secret: undefined })).status).toBe(200);
    expect(() => fake.register({ public: true, clientSecret: "s" })).toThrow('"public"');
  });

  it("answers in each warehouse's words", async () => {
    const wrong = { ...refresh, client_secret: "wrong" };
    const databricks = await new Wire(fakeDatabricks()).token(wrong);
    expect([databricks.status, await bodyOf(databricks)]).toEqual([
      401,
      { error: "invalid_client", error_description: "Client authentication failed" },
    ]);
    const google = await new Wire(fakeBigQuery()).token(wrong);
    expect([google.status, await bodyOf(google)]).toEqual([
      401,
      { error: "invalid_client", error_description: "The provided client secret is invalid." },
    ]);
    const missing = await new Wire(fakeBigQuery()).token({ ...refresh, client_secret: undefined });
    expect([missing.status, await bodyOf(missing)]).toEqual([
      400,
      { error: "invalid_request", error_description: "client_secret is missing." },
    ]);
    const snowflake = await new Wire(fakeSnowflake()).token(wrong);
    expect(await bodyOf(snowflake)).toEqual({
      data: null,
      message: "This is an invalid client.",
      code: null,
      success: false,
      error: "invalid_client",
    });
  });
});

describe("token request", () => {
  it("must be a form in the body of a POST, each parameter once", async () => {
    const { fake } = new Wire(fakeDatabricks());
    const endpoint = fake.warehouse.tokenEndpoint;
    const get = await fake.handle(new Request(`${endpoint}?grant_type=refresh_token`));
    expect([get.status, get.headers.get("allow")]).toEqual([405, "POST"]);
    const json = new Request(endpoint, { method: "POST", body: "{}", headers: { "content-type": "application/json" } });
    const query = new Request(`${endpoint}?client_secret=s`, { method: "POST", body: new URLSearchParams() });
    const twice = new Request(endpoint, { method: "POST", body: new URLSearchParams("grant_type=a&grant_type=b") });
    const none = new Request(endpoint, { method: "POST", body: new URLSearchParams() });
    for (const request of [json, query, twice, none]) {
      const response = await fake.handle(request);
      expect(response.status).toBe(400);
      expect(await bodyOf(response)).toMatchObject({ error: "invalid_request" });
      expect(response.headers.get("cache-control")).toBe("no-store");
    }
  });

  it.each(["password", "client_credentials", "urn:ietf:params:oauth:grant-type:device_code"])(
    "Snowflake and Google do not know the grant %s",
    async (grant_type) => {
      for (const fake of [fakeSnowflake(), fakeBigQuery()]) {
        const response = await new Wire(fake).token({ grant_type });
        expect(await bodyOf(response)).toMatchObject({ error: "unsupported_grant_type" });
      }
    },
  );
});

describe("code", () => {
  it.each<[string, Record<string, string | undefined>]>([
    ["another redirect URI", { redirect_uri: "https://app.example.com/other" }],
    ["no redirect URI", { redirect_uri: undefined }],
    ["no verifier", { code_verifier: undefined }],
    ["another verifier", { code_verifier: "x".repeat(43) }],
    ["a verifier that is too short", { code_verifier: "x" }],
    ["another code", { code: "guessed" }],
  ])("S-020 is refused with %s", async (_what, parameters) => {
    const wire = new Wire(fakeDatabricks());
    const response = await wire.exchange(await wire.code(), parameters);
    expect(response.status).toBe(400);
    expect(await bodyOf(response)).toMatchObject({ error: "invalid_grant" });
    expect(wire.fake.grants).toHaveLength(0);
  });

  it("is used up by a failed attempt", async () => {
    const wire = new Wire(fakeDatabricks());
    const code = await wire.code();
    await wire.exchange(code, { code_verifier: "x".repeat(43) });
    expect((await wire.exchange(code)).status).toBe(400);
  });

  it("lives for 60 seconds", async () => {
    const clock = manualClock();
    const wire = new Wire(fakeDatabricks({ clock }));
    const [early, late] = [await wire.code(), await wire.code()];
    await clock.advance(59_999);
    expect((await wire.exchange(early)).status).toBe(200);
    await clock.advance(1);
    expect((await wire.exchange(late)).status).toBe(400);
  });

  it("belongs to one client, whose code another one cannot even use up", async () => {
    const wire = new Wire(fakeDatabricks());
    wire.fake.register({ clientId: "other", clientSecret: "other" });
    const code = await wire.code();
    const stolen = await wire.exchange(code, { client_id: "other", client_secret: "other" });
    expect(await bodyOf(stolen)).toMatchObject({ error: "invalid_grant" });
    expect((await wire.exchange(code)).status).toBe(200);
  });

  it("S-021 revokes what it brought when it is replayed", async () => {
    const wire = new Wire(fakeDatabricks());
    const code = await wire.code();
    const tokens = (await bodyOf(await wire.exchange(code))) as Record<string, string>;
    expect((await query(wire.fake, tokens["access_token"])).status).toBe(200);
    expect((await wire.exchange(code)).status).toBe(400);
    expect(wire.fake.grants).toMatchObject([{ revoked: "replayed_code" }]);
    expect((await query(wire.fake, tokens["access_token"])).status).toBe(403);
    expect((await wire.refresh(tokens["refresh_token"])).status).toBe(401);
  });

  it("brings tokens once, however many ask at the same time", async () => {
    const wire = new Wire(fakeDatabricks());
    const code = await wire.code();
    const answers = await Promise.all(Array.from({ length: 8 }, () => wire.exchange(code)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(wire.fake.grants).toHaveLength(1);
  });
});

describe("refresh", () => {
  it("keeps the refresh token under none, and tells nothing of it", async () => {
    const wire = new Wire(fakeSnowflake());
    const tokens = await wire.tokens();
    for (let time = 0; time < 3; time += 1) {
      const body = await bodyOf(await wire.refresh(tokens["refresh_token"]));
      expect(body).not.toHaveProperty("refresh_token");
      expect(body).not.toHaveProperty("username");
    }
    expect(wire.fake.grants).toMatchObject([{ refreshes: 3, revoked: false }]);
  });

  it.each(["rotates", "unknown"] as const)(
    "brings another one under %s, and the old one keeps working",
    async (refreshRotation) => {
      const wire = new Wire(fakeDatabricks({ refreshRotation }));
      const tokens = await wire.tokens();
      const first = await bodyOf(await wire.refresh(tokens["refresh_token"]));
      expect(first["refresh_token"]).not.toBe(tokens["refresh_token"]);
      expect((await wire.refresh(tokens["refresh_token"])).status).toBe(200);
      expect((await wire.refresh(String(first["refresh_token"]))).status).toBe(200);
    },
  );

  it("R-66 revokes the family when a single-use token comes twice", async () => {
    const wire = new Wire(fakeDatabricks());
    const tokens = await wire.tokens();
    const first = (await bodyOf(await wire.refresh(tokens["refresh_token"]))) as Record<string, string>;
    expect((await query(wire.fake, first["access_token"])).status).toBe(200);
    const replay = await wire.refresh(tokens["refresh_token"]);
    expect([replay.status, await bodyOf(replay)]).toEqual([
      401,
      { error: "invalid_request", error_description: "Refresh token is invalid" },
    ]);
    expect(wire.fake.grants).toMatchObject([{ revoked: "reuse", refreshes: 1 }]);
    expect((await wire.refresh(first["refresh_token"])).status).toBe(401);
    expect((await query(wire.fake, first["access_token"])).status).toBe(403);
  });

  it("spends a single-use token once, however many ask at the same time", async () => {
    const wire = new Wire(fakeDatabricks());
    const tokens = await wire.tokens();
    const answers = await Promise.all(Array.from({ length: 8 }, () => wire.refresh(tokens["refresh_token"])));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(wire.fake.grants).toMatchObject([{ revoked: "reuse" }]);
  });

  it("ends the earlier access tokens at Snowflake, when the client asked for single use with its code", async () => {
    const wire = new Wire(fakeSnowflake());
    const tokens = await wire.tokens({}, { enable_single_use_refresh_tokens: "true" });
    const next = (await bodyOf(await wire.refresh(tokens["refresh_token"]))) as Record<string, string>;
    expect(next["refresh_token"]).toBeDefined();
    expect((await query(wire.fake, tokens["access_token"])).status).toBe(401);
    expect((await query(wire.fake, next["access_token"])).status).toBe(200);
    const replay = await wire.refresh(tokens["refresh_token"]);
    expect(await bodyOf(replay)).toMatchObject({
      error: "invalid_grant",
      message: "The provided grant or refresh token is invalid.",
    });
    expect((await query(wire.fake, next["access_token"])).status).toBe(401);
  });

  it("does not let the client turn single use on with a refresh", async () => {
    const wire = new Wire(fakeSnowflake());
    const tokens = await wire.tokens();
    const response = await wire.refresh(tokens["refresh_token"], { enable_single_use_refresh_tokens: "true" });
    expect(await bodyOf(response)).toMatchObject({ error: "invalid_request" });
  });

  it("refuses another client's token, and leaves it alive", async () => {
    const wire = new Wire(fakeDatabricks());
    wire.fake.register({ clientId: "other", clientSecret: "other" });
    const tokens = await wire.tokens();
    const stolen = await wire.refresh(tokens["refresh_token"], { client_id: "other", client_secret: "other" });
    expect(stolen.status).toBe(401);
    expect((await wire.refresh(tokens["refresh_token"])).status).toBe(200);
  });

  it("S-041 narrows scopes and never widens them", async () => {
    const wire = new Wire(fakeDatabricks());
    const tokens = await wire.tokens({ scope: "sql all-apis offline_access" });
    const wider = await wire.refresh(tokens["refresh_token"], { scope: "sql clusters" });
    expect(await bodyOf(wider)).toMatchObject({ error: "invalid_scope" });
    const narrower = await bodyOf(await wire.refresh(tokens["refresh_token"], { scope: "sql" }));
    expect(narrower["scope"]).toBe("sql");
    const whole = await bodyOf(await wire.refresh(String(narrower["refresh_token"])));
    expect(whole["scope"]).toBe("sql all-apis offline_access");
  });

  it("ends with the refresh token's own time: never postponed, by rotation, or by use", async () => {
    const clock = manualClock();
    const day = 86_400_000;
    const options = { clock, refreshTokenLifetimeMs: 2 * day };
    const fixed = new Wire(fakeSnowflake(options));
    const rotating = new Wire(fakeSnowflake({ ...options, refreshRotation: "single-use" }));
    const used = new Wire(fakeBigQuery(options));
    const fixedToken = (await fixed.tokens())["refresh_token"];
    let rotatingToken = (await rotating.tokens())["refresh_token"];
    const usedToken = (await used.tokens(OFFLINE))["refresh_token"];

    await clock.advance(1.5 * day);
    expect((await fixed.refresh(fixedToken)).status).toBe(200);
    rotatingToken = String((await bodyOf(await rotating.refresh(rotatingToken)))["refresh_token"]);
    expect((await used.refresh(usedToken)).status).toBe(200);

    await clock.advance(day);
    expect((await fixed.refresh(fixedToken)).status).toBe(400);
    expect((await rotating.refresh(rotatingToken)).status).toBe(200);
    expect((await used.refresh(usedToken)).status).toBe(200);

    await clock.advance(2 * day);
    expect((await rotating.refresh(rotatingToken)).status).toBe(400);
    expect(await bodyOf(await used.refresh(usedToken))).toEqual({
      error: "invalid_grant",
      error_description: "Token has been expired or revoked.",
    });
  });

  it("dies with its grant when an administrator withdraws it: all, or one user's", async () => {
    const wire = new Wire(fakeDatabricks());
    const ada = (await (await wire.exchange(await wire.code({}, "ada"))).json()) as Record<string, string>;
    const bob = (await (await wire.exchange(await wire.code({}, "bob"))).json()) as Record<string, string>;
    const pendingCode = await wire.code({}, "ada");
    wire.fake.revokeGrants("ada");
    expect((await wire.refresh(ada["refresh_token"])).status).toBe(401);
    expect((await query(wire.fake, ada["access_token"])).status).toBe(403);
    expect((await wire.exchange(pendingCode)).status).toBe(400);
    expect((await query(wire.fake, bob["access_token"])).status).toBe(200);
    wire.fake.revokeGrants();
    expect((await wire.refresh(bob["refresh_token"])).status).toBe(401);
    expect(wire.fake.grants.map(({ user, revoked }) => [user, revoked])).toEqual([
      ["ada", "admin"],
      ["bob", "admin"],
    ]);
  });
});

describe("token answer", () => {
  it("holds exactly what each warehouse documents", async () => {
    expect(Object.keys(await new Wire(fakeSnowflake()).tokens()).sort()).toEqual(
      ["access_token", "expires_in", "refresh_token", "token_type", "username"].sort(),
    );
    expect(Object.keys(await new Wire(fakeDatabricks()).tokens()).sort()).toEqual(
      ["access_token", "expires_in", "refresh_token", "scope", "token_type"].sort(),
    );
    const google = await new Wire(fakeBigQuery()).tokens({ ...OFFLINE, scope: "openid email", nonce: "n" });
    expect(Object.keys(google).sort()).toEqual(
      ["access_token", "expires_in", "id_token", "refresh_token", "scope", "token_type"].sort(),
    );
    expect(google["scope"]).toBe("openid https://www.googleapis.com/auth/userinfo.email");
  });

  it("tells the lifetime that was set, and refuses one that the wire cannot tell", async () => {
    expect((await new Wire(fakeSnowflake()).tokens())["expires_in"]).toBe(600);
    expect((await new Wire(fakeDatabricks()).tokens())["expires_in"]).toBe(3600);
    expect((await new Wire(fakeSnowflake({ accessTokenLifetimeMs: 60_000 })).tokens())["expires_in"]).toBe(60);
    expect(() => fakeSnowflake({ accessTokenLifetimeMs: 999 })).toThrow('"accessTokenLifetimeMs"');
    expect(() => fakeSnowflake({ refreshTokenLifetimeMs: Number.NaN })).toThrow('"refreshTokenLifetimeMs"');
    expect(() => fakeSnowflake({ refreshRotation: "sometimes" as never })).toThrow('"refreshRotation"');
  });

  it("has no refresh token where offline access was not asked for", async () => {
    expect(await new Wire(fakeSnowflake()).tokens({ scope: "session:role:A" })).not.toHaveProperty("refresh_token");
    expect(await new Wire(fakeDatabricks()).tokens({ scope: "sql" })).not.toHaveProperty("refresh_token");
  });
});
