import { SignJWT, generateKeyPair } from "jose";
import { describe, expect, it } from "vitest";
import {
  clientCredentials,
  createAuthorizationRequest,
  createClient,
  discover,
  exchangeCode,
  exchangeToken,
  jwtBearer,
  privateKeyJwt,
  refreshTokens,
  revokeTokens,
  validateCallback,
  type OAuthClient,
} from "warehouse-oauth";
import { fakeBigQuery, fakeDatabricks, fakeSnowflake, manualClock } from "warehouse-oauth/testing";
import { listen } from "warehouse-oauth/testing/http";
import { query } from "./data-api.ts";
import { bodyOf, Wire } from "./wire.ts";

const JWT = "urn:ietf:params:oauth:token-type:jwt";

describe("with this library", () => {
  it("signs in, queries and refreshes at every warehouse", async () => {
    for (const fake of [fakeSnowflake(), fakeDatabricks(), fakeBigQuery()]) {
      const tokens = await fake.issueTokens({ subject: "ada" });
      expect(tokens.refreshToken).toBeDefined();
      expect((await query(fake, tokens.accessToken)).status).toBe(200);
      const next = await refreshTokens(fake.client, tokens);
      expect(next.accessToken).not.toBe(tokens.accessToken);
      expect((await query(fake, next.accessToken)).status).toBe(200);
      expect(fake.grants).toEqual([
        { user: "ada", clientId: fake.client.clientId, scopes: tokens.scopes, refreshes: 1, revoked: false },
      ]);
    }
  });

  it("refuses options that it does not have: a misspelt lifetime would be the usual one", async () => {
    const misspelt = { accessTokenLifetime: 60_000 } as object;
    for (const make of [fakeSnowflake, fakeDatabricks, fakeBigQuery]) {
      expect(() => make(misspelt)).toThrow(expect.objectContaining({ option: "accessTokenLifetime" }));
    }
    const fake = fakeSnowflake();
    expect(() => fake.register({ secret: "s" } as object)).toThrow(expect.objectContaining({ option: "secret" }));
    await expect(listen(fake, { ports: 4100 } as object)).rejects.toMatchObject({ option: "ports" });
  });

  it("says in words what its page says: no markup is left in the error", async () => {
    const fake = fakeSnowflake();
    const url = new URL((await createAuthorizationRequest(fake.client)).url);
    url.searchParams.set("scope", "a<b>&'c'");
    await expect(fake.signIn(url, { user: "ada" })).rejects.toThrow("The requested scope is invalid: a<b>&'c'");
  });

  it("says who signed in: by username at Snowflake, by ID token elsewhere", async () => {
    expect((await fakeSnowflake().issueTokens({ subject: "grace" })).user?.id).toBe("grace");
    const tokens = await fakeBigQuery().issueTokens({ subject: "grace", scopes: ["openid", "email"] });
    expect(tokens.user).toEqual({ issuer: "https://accounts.google.com", id: "grace", email: "grace@example.com" });
  });

  it("gives a registered client its own login defaults, redirect URI and secret", async () => {
    const fake = fakeSnowflake({ roles: ["ANALYST"] });
    const client = fake.register({ redirectUri: "http://127.0.0.1:8000/cb", login: { role: "ANALYST" } });
    const { url, pending } = await createAuthorizationRequest(client);
    expect(url.searchParams.get("scope")).toBe("refresh_token session:role:ANALYST");
    const callback = await fake.signIn(url, { user: "ada" });
    expect(callback.href.startsWith("http://127.0.0.1:8000/cb?")).toBe(true);
    const tokens = await exchangeCode(client, validateCallback(client, callback, pending));
    expect(tokens.user?.id).toBe("ada");

    fake.register({ clientId: "own", clientSecret: "own secret" });
    const own = createClient({
      warehouse: fake.warehouse,
      clientId: "own",
      clientSecret: "own secret",
      redirectUri: fake.client.redirectUri ?? "",
      fetch: fake.fetch,
    });
    expect((await fake.issueTokens({ client: own })).accessToken).toBeDefined();
  });

  it("authenticates by private_key_jwt at Snowflake, with a fresh assertion each time", async () => {
    const { publicKey, privateKey } = await generateKeyPair("RS256");
    const fake = fakeSnowflake();
    const client = fake.register({ publicKey, clientAuthentication: privateKeyJwt(privateKey) });
    const tokens = await fake.issueTokens({ client: client });
    await expect(refreshTokens(client as OAuthClient, tokens)).resolves.toBeDefined();

    const other = await generateKeyPair("RS256");
    const impostor = createClient({
      warehouse: fake.warehouse,
      clientId: client.clientId,
      clientAuthentication: privateKeyJwt(other.privateKey),
      fetch: fake.fetch,
    });
    await expect(refreshTokens(impostor as OAuthClient, tokens)).rejects.toMatchObject({ code: "client_auth_failed" });
  });

  it("S-051 refuses a client assertion that is replayed, too long, or for another server", async () => {
    const { publicKey, privateKey } = await generateKeyPair("RS256");
    const clock = manualClock();
    const fake = fakeSnowflake({ clock });
    fake.register({ clientId: "keyed", publicKey });
    const wire = new Wire(fake);
    const sign = (audience: string, lifetime: number, jti = crypto.randomUUID()): Promise<string> =>
      new SignJWT({ jti })
        .setProtectedHeader({ alg: "RS256" })
        .setIssuer("keyed")
        .setSubject("keyed")
        .setAudience(audience)
        .setExpirationTime(clock.now() / 1000 + lifetime)
        .sign(privateKey);
    const send = async (client_assertion: string): Promise<unknown> => {
      const client_assertion_type = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
      const form = { grant_type: "refresh_token", refresh_token: "none", client_assertion, client_assertion_type };
      return (await bodyOf(await wire.post(fake.warehouse.tokenEndpoint, form)))["error"];
    };
    const { tokenEndpoint } = fake.warehouse;
    const good = await sign(tokenEndpoint, 60);
    expect(await send(good)).toBe("invalid_grant"); // authenticated; the refresh token is made up
    expect(await send(good)).toBe("invalid_client");
    expect(await send(await sign(tokenEndpoint, 3_601))).toBe("invalid_client");
    expect(await send(await sign(tokenEndpoint, -1))).toBe("invalid_client");
    expect(await send(await sign("https://elsewhere.example", 60))).toBe("invalid_client");
    expect(await send("no.jwt")).toBe("invalid_client");
  });
});

describe("grants for machines", () => {
  it("Databricks gives client credentials to confidential clients, without a refresh token", async () => {
    const fake = fakeDatabricks();
    const tokens = await clientCredentials(fake.client);
    expect([tokens.scopes, tokens.refreshToken]).toEqual([["all-apis"], undefined]);
    expect((await query(fake, tokens.accessToken)).status).toBe(200);
    const wire = new Wire(fake);
    fake.register({ clientId: "public", public: true });
    const form = { grant_type: "client_credentials", scope: "all-apis" };
    const refused = await wire.post(fake.warehouse.tokenEndpoint, { ...form, client_id: "public" });
    expect(await bodyOf(refused)).toMatchObject({ error: "unauthorized_client" });
    expect(await bodyOf(await wire.token({ ...form, scope: "no_such" }))).toMatchObject({ error: "invalid_scope" });
    expect(await bodyOf(await wire.token({ ...form, scope: undefined }))).toMatchObject({ error: "invalid_scope" });
  });

  it("Databricks exchanges tokens of identity providers it was told of, for no longer than they live", async () => {
    const { publicKey, privateKey } = await generateKeyPair("ES256");
    const clock = manualClock();
    const issuer = "https://idp.example/";
    const fake = fakeDatabricks({ clock, federation: [{ issuer, publicKey }] });
    const sign = (claims: { iss?: string; aud?: string; life?: number } = {}): Promise<string> =>
      new SignJWT({})
        .setProtectedHeader({ alg: "ES256" })
        .setIssuer(claims.iss ?? issuer)
        .setSubject("job")
        .setAudience(claims.aud ?? fake.warehouse.tokenEndpoint)
        .setIssuedAt(clock.now() / 1000)
        .setExpirationTime(clock.now() / 1000 + (claims.life ?? 120))
        .sign(privateKey);
    const exchange = (subjectToken: string): ReturnType<typeof exchangeToken> =>
      exchangeToken(fake.client, { subjectToken, subjectTokenType: JWT, scopes: ["sql"] });
    const tokens = await exchange(await sign());
    expect(tokens.expiresAt).toBe(clock.now() + 120_000);
    expect(fake.grants.at(-1)).toMatchObject({ user: "job", scopes: ["sql"] });
    await expect(exchange(await sign({ iss: "https://idp.example" }))).rejects.toMatchObject({ status: 401 });
    await expect(exchange(await sign({ aud: "other" }))).rejects.toMatchObject({ status: 400 });
    await expect(exchange(await sign({ life: -1 }))).rejects.toMatchObject({ status: 400 });
    await expect(exchange("no.jwt")).rejects.toMatchObject({ status: 400 });
    const wrongType = exchangeToken(fake.client, { subjectToken: "x", subjectTokenType: "urn:x:y" });
    await expect(wrongType).rejects.toMatchObject({ oauthError: "invalid_request" });
  });

  it("Google takes assertions of service accounts it was told of, and names what is wrong with others", async () => {
    const { publicKey, privateKey } = await generateKeyPair("RS256");
    const stranger = await generateKeyPair("RS256");
    const clock = manualClock();
    const issuer = "loader@acme.iam.gserviceaccount.com";
    const fake = fakeBigQuery({ clock, serviceAccounts: [{ issuer, publicKey }] });
    const client = fake.register({ clientId: issuer, public: true }) as OAuthClient;
    const tokens = await jwtBearer(client, { issuer, key: privateKey });
    expect((await query(fake, tokens.accessToken)).status).toBe(200);
    expect(tokens.refreshToken).toBeUndefined();

    const wire = new Wire(fake);
    const now = clock.now() / 1000;
    const claims = { iss: issuer, aud: fake.warehouse.tokenEndpoint, iat: now, exp: now + 3_600, scope: "openid" };
    const answer = async (change: object, key = privateKey): Promise<unknown> => {
      const assertion = await new SignJWT({ ...claims, ...change }).setProtectedHeader({ alg: "RS256" }).sign(key);
      const grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer";
      const body = await bodyOf(await wire.post(fake.warehouse.tokenEndpoint, { grant_type, assertion }));
      return body["error_description"] ?? Object.keys(body).sort().join(" ");
    };
    expect(await answer({})).toBe("access_token expires_in id_token scope token_type");
    expect(await answer({ iss: "other" })).toBe("Invalid grant: account not found");
    expect(await answer({}, stranger.privateKey)).toBe("Invalid JWT Signature.");
    expect(await answer({ iat: undefined })).toContain("iat (issued at) is not set");
    expect(await answer({ exp: now + 3_601 })).toContain("short-lived token (60 minutes)");
    expect(await answer({ iat: now - 7_200, exp: now - 3_600 })).toContain("short-lived token (60 minutes)");
    expect(await answer({ iat: now + 301, exp: now + 400 })).toContain("short-lived token (60 minutes)");
    expect(await answer({ aud: "https://elsewhere.example" })).toBe("Invalid JWT: Failed audience check.");
    expect(await answer({ scope: "" })).toBe("no scope was asked for");
    // A known account with a scope that Google does not know gets 200, and no access token.
    expect(await answer({ scope: "https://www.googleapis.com/auth/nonsense" })).toBe("id_token");
    expect(() => fakeBigQuery({ serviceAccounts: [{ issuer, publicKey: privateKey }] })).toThrow('"serviceAccounts"');
  });
});

describe("revocation", () => {
  it("Google ends every grant of the person, and says so of a token that is dead already", async () => {
    const fake = fakeBigQuery();
    const client = fake.client as OAuthClient;
    const mine = await fake.issueTokens({ subject: "ada" });
    const otherDevice = await fake.issueTokens({ subject: "ada" });
    const somebodyElse = await fake.issueTokens({ subject: "bob" });
    expect((await revokeTokens(client, mine)).refreshToken).toBe("revoked");
    expect(fake.grants.map(({ revoked }) => revoked)).toEqual(["revoked", "revoked", false]);
    expect((await query(fake, otherDevice.accessToken)).status).toBe(401);
    expect((await query(fake, somebodyElse.accessToken)).status).toBe(200);
    const again = await new Wire(fake).post(fake.warehouse.revocationEndpoint ?? "", { token: mine.refreshToken });
    expect([again.status, await bodyOf(again)]).toEqual([
      400,
      { error: "invalid_token", error_description: "Token expired or revoked" },
    ]);
  });

  it("Google leaves the grant alive when an expired access token is sent", async () => {
    const fake = fakeBigQuery();
    const tokens = await fake.issueTokens();
    fake.expireAccessTokens();
    const answer = await new Wire(fake).post(fake.warehouse.revocationEndpoint ?? "", { token: tokens.accessToken });
    expect(answer.status).toBe(400);
    expect(fake.grants).toMatchObject([{ revoked: false }]);
  });

  it("has no endpoint at Snowflake and Databricks", async () => {
    for (const fake of [fakeSnowflake(), fakeDatabricks()]) {
      const tokens = await fake.issueTokens();
      const result = await revokeTokens(fake.client, tokens);
      expect(result.refreshToken).toBe("unsupported");
      expect(fake.grants).toMatchObject([{ revoked: false }]);
    }
  });
});

describe("metadata", () => {
  it("can be discovered at Databricks, where ID tokens then work", async () => {
    const fake = fakeDatabricks();
    const answer = await fake.fetch(`${fake.origin}/oidc/.well-known/oauth-authorization-server`);
    expect(await bodyOf(answer)).toMatchObject({
      issuer: fake.warehouse.issuer,
      token_endpoint: fake.warehouse.tokenEndpoint,
    });
    // The form that RFC 8414 prescribes does not exist there.
    const inserted = await fake.fetch(`${fake.origin}/.well-known/oauth-authorization-server/oidc`);
    expect(inserted.ok).toBe(false);

    const warehouse = await discover(fake.warehouse.issuer, { fetch: fake.fetch });
    fake.register({ clientId: "found", clientSecret: "secret" });
    const client = createClient({
      warehouse,
      clientId: "found",
      clientSecret: "secret",
      redirectUri: fake.client.redirectUri ?? "",
      fetch: fake.fetch,
    });
    const tokens = await fake.issueTokens({ client: client, scopes: ["sql", "openid"], subject: "ada" });
    expect(tokens.user).toMatchObject({ issuer: fake.warehouse.issuer, id: "ada" });
  });

  it("can be discovered at Google", async () => {
    const fake = fakeBigQuery();
    const hosts = ["oauth2.googleapis.com", "www.googleapis.com"];
    const warehouse = await discover("https://accounts.google.com", { fetch: fake.fetch, allowedHosts: hosts });
    expect(warehouse.tokenEndpoint).toBe(fake.warehouse.tokenEndpoint);
    const put = await fake.fetch("https://accounts.google.com/.well-known/openid-configuration", { method: "PUT" });
    expect(put.status).toBe(405);
  });

  it("does not exist at Snowflake", async () => {
    const fake = fakeSnowflake();
    expect((await fake.fetch(`${fake.origin}/.well-known/oauth-authorization-server`)).ok).toBe(false);
  });
});

describe("observation", () => {
  it("shows requests with their outcome, and no secret", async () => {
    const clock = manualClock(1_000_000_000_000);
    const fake = fakeBigQuery({ clock });
    const tokens = await fake.issueTokens({ scopes: ["openid", "https://www.googleapis.com/auth/bigquery"] });
    await clock.advance(1_000);
    const next = await refreshTokens(fake.client, tokens);
    await query(fake, next.accessToken);
    await revokeTokens(fake.client, next);

    const { requests } = fake;
    expect(requests.map(({ at, grant, status }) => [at, grant, status])).toEqual([
      ["authorize", undefined, 200],
      ["token", "authorization_code", 200],
      ["metadata", undefined, 200],
      ["token", "refresh_token", 200],
      ["api", undefined, 200],
      ["revoke", undefined, 200],
      ["revoke", undefined, 400], // the access token, dead with its grant
    ]);
    expect(requests.map(({ time }) => time - 1_000_000_000_000)).toEqual([0, 0, 0, 1_000, 1_000, 1_000, 1_000]);
    expect(requests[4]?.parameters).toMatchObject({
      method: "POST",
      path: "/bigquery/v2/projects/fake-project/queries",
    });
    expect(requests[4]?.parameters["authorization"]).toMatch(/^Bearer sha256:[\w-]{12}$/);
    // Equal secrets have equal fingerprints: the refresh token that was used is the one that was revoked.
    expect(requests[3]?.parameters["refresh_token"]).toBe(requests[5]?.parameters["token"]);
    expect(requests[3]?.parameters["refresh_token"]).toMatch(/^sha256:/);

    const shown = JSON.stringify([fake.requests, fake.grants, fake.client, fake.warehouse, fake]);
    for (const secret of [tokens.accessToken, next.accessToken, tokens.refreshToken, tokens.idToken]) {
      expect(shown).not.toContain(secret);
    }
    expect(shown).not.toContain("4/0");
    expect(Object.isFrozen(requests) && Object.isFrozen(requests[0]) && Object.isFrozen(fake.grants)).toBe(true);
  });

  it("fingerprints what it does not know, and credentials of unknown schemes whole", async () => {
    const wire = new Wire(fakeSnowflake());
    await wire.token({ grant_type: "refresh_token", pass_word: "hunter2" }, { authorization: "s3cret-alone" });
    const shown = JSON.stringify(wire.fake.requests);
    expect(shown).not.toMatch(/hunter2|s3cret/);
    expect(wire.fake.requests[0]?.parameters["grant_type"]).toBe("refresh_token");
  });

  it("keeps its fetch to its own origins, and says nothing of the rest of the address", async () => {
    const fake = fakeSnowflake();
    await expect(fake.fetch("https://elsewhere.example/path?secret=1")).rejects.toThrow(
      /^(?!.*secret).*was asked for https:\/\/elsewhere\.example$/,
    );
    expect(fakeBigQuery().origins).toEqual([
      "https://bigquery.googleapis.com",
      "https://accounts.google.com",
      "https://oauth2.googleapis.com",
      "https://www.googleapis.com",
    ]);
  });
});
