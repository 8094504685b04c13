import { exportJWK, exportPKCS8, generateKeyPair } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type ClientOptions,
  type OAuthClient,
  type TokenSet,
  type ValidatedCallback,
  clientCredentials,
  clientSecretPost,
  createAuthorizationRequest,
  createClient,
  discover,
  exchangeCode,
  privateKeyJwt,
  refreshTokens,
  revokeTokens,
  validateCallback,
} from "warehouse-oauth";
import { refusal } from "../scripted-client.ts";
import { walk } from "./browser.ts";
import { type OidcProviderServer, startOidcProvider } from "./oidc-provider-server.ts";

const REDIRECT_URI = "http://127.0.0.1:45678/callback";
/** Everything that a secret may hold at this server: printable ASCII. */
const NASTY = "-_.~!*'()+/=%: \"&?#@\\<>{}[]|^`$;,%2B%zz +";

let server: OidcProviderServer;
let pem = "";
beforeAll(async () => {
  const { privateKey, publicKey } = await generateKeyPair("RS256", { extractable: true });
  pem = await exportPKCS8(privateKey);
  const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: "k1", alg: "RS256", use: "sig" }] };
  server = await startOidcProvider([
    { client_id: "public", token_endpoint_auth_method: "none", grant_types: ["authorization_code", "refresh_token"] },
    { client_id: "basic", client_secret: NASTY, token_endpoint_auth_method: "client_secret_basic" },
    {
      client_id: "nasty:id %+/=~",
      client_secret: NASTY,
      token_endpoint_auth_method: "client_secret_basic",
    },
    { client_id: "post", client_secret: NASTY, token_endpoint_auth_method: "client_secret_post" },
    { client_id: "jwt", token_endpoint_auth_method: "private_key_jwt", token_endpoint_auth_signing_alg: "RS256", jwks },
  ] as Parameters<typeof startOidcProvider>[0]);
});
afterAll(() => server.close());

async function client(clientId: string, changes: Partial<ClientOptions> = {}): Promise<OAuthClient> {
  const warehouse = await discover(server.origin, {
    id: "acme",
    allowLoopbackHttp: true,
    overrides: { defaultScopes: ["openid", "offline_access"], refreshRotation: "single-use" },
  });
  return createClient({
    warehouse,
    clientId,
    redirectUri: REDIRECT_URI,
    allowLoopbackHttp: true,
    ...changes,
  });
}

async function callbackOf(of: OAuthClient, scopes?: readonly string[]): Promise<ValidatedCallback> {
  const { url, pending } = await createAuthorizationRequest(of, {
    ...(scopes !== undefined && { scopes }),
    parameters: { prompt: "consent" }, // without it this server gives no offline access
  });
  return validateCallback(of, await walk(url, REDIRECT_URI), pending);
}
const login = async (of: OAuthClient, scopes?: readonly string[]): Promise<TokenSet> =>
  exchangeCode(of, await callbackOf(of, scopes));

describe("oidc-provider", () => {
  it("code, PKCE, ID token with keys, refresh with rotation, revocation", async () => {
    const app = await client("public");
    const tokens = await login(app);
    expect(tokens.user).toEqual({ issuer: server.origin, id: "user-1", email: undefined });
    expect(tokens.scopes).toEqual(["openid", "offline_access"]);
    expect(tokens.scopesAssumed).toBe(false);
    expect((tokens.expiresAt ?? 0) - tokens.obtainedAt).toBe(600_000);
    expect(server.requests).toContain("/jwks");

    const second = await refreshTokens(app, tokens);
    expect(second.refreshToken).not.toBe(tokens.refreshToken);
    expect(second.accessToken).not.toBe(tokens.accessToken);
    expect(second.idToken).not.toBe(tokens.idToken);
    expect(second.user).toEqual(tokens.user);

    expect(await revokeTokens(app, second)).toEqual({
      refreshToken: "revoked",
      accessToken: "revoked",
      instructions: undefined,
    });
    expect(await refusal(refreshTokens(app, second))).toMatchObject({
      reason: "refresh_token_dead",
      oauthError: "invalid_grant",
    });
    expect(await revokeTokens(app, second)).toMatchObject({ refreshToken: "revoked" }); // unknown by now: 200 all the same
  });

  it("S-045 a rotated refresh token that comes again ends the family", async () => {
    const app = await client("public");
    const first = await login(app);
    const second = await refreshTokens(app, first);
    expect(await refusal(refreshTokens(app, first))).toMatchObject({
      name: "ReauthorizationRequiredError",
      reason: "refresh_token_dead",
      ambiguous: false,
    });
    expect(await refusal(refreshTokens(app, second))).toMatchObject({ reason: "refresh_token_dead" });
  });

  it("S-041 a narrower refresh", async () => {
    const app = await client("public");
    const first = await login(app, ["openid", "offline_access", "session:role:ANALYST"]);
    expect(await refreshTokens(app, first, { scopes: ["openid"] })).toMatchObject({
      scopes: ["openid"],
      scopesAssumed: false,
    });
  });

  it("S-021 a code is sent once by us; a replay from elsewhere is refused and takes the tokens with it", async () => {
    const app = await client("public");
    const { url, pending } = await createAuthorizationRequest(app, { parameters: { prompt: "consent" } });
    const back = await walk(url, REDIRECT_URI);
    const callback = validateCallback(app, back, pending);
    const before = server.requests.filter((path) => path === "/token").length;
    const tokens = await exchangeCode(app, callback);
    expect(await refusal(exchangeCode(app, callback))).toMatchObject({ code: "transaction_used" });
    expect(server.requests.filter((path) => path === "/token")).toHaveLength(before + 1);
    // Another process with the same callback, as an attacker would have it.
    expect(await refusal(exchangeCode(app, validateCallback(app, back, pending)))).toMatchObject({
      reason: "interaction_required",
      action: "reauthorize",
      oauthError: "invalid_grant",
    });
    expect(await refusal(refreshTokens(app, tokens))).toMatchObject({ reason: "refresh_token_dead" });
  });

  it("S-020 a code that another verifier began is refused", async () => {
    const app = await client("public");
    const victim = await createAuthorizationRequest(app, { parameters: { prompt: "consent" } });
    const attacker = await createAuthorizationRequest(app, { parameters: { prompt: "consent" } });
    const stolen = (await walk(attacker.url, REDIRECT_URI)).searchParams.get("code") ?? "";
    const injected = new URLSearchParams({ code: stolen, state: victim.pending.state, iss: server.origin });
    const callback = validateCallback(app, injected, victim.pending);
    expect(await refusal(exchangeCode(app, callback))).toMatchObject({
      action: "reauthorize",
      oauthError: "invalid_grant",
    });
  });

  it.each(["basic", "nasty:id %+/=~"])(
    "S-049 client_secret_basic with every special character: %s",
    async (clientId) => {
      const app = await client(clientId, { clientSecret: NASTY });
      const tokens = await login(app);
      expect((await refreshTokens(app, tokens)).refreshToken).toBeDefined();
      expect((await clientCredentials(app)).accessToken).not.toBe("");
      expect(await revokeTokens(app, tokens)).toMatchObject({ accessToken: "revoked" });
    },
  );

  it("S-049 client_secret_post with every special character", async () => {
    const app = await client("post", { clientAuthentication: clientSecretPost(NASTY) });
    expect((await refreshTokens(app, await login(app))).accessToken).not.toBe("");
  });

  it("S-050 a wrong secret is told once, and nothing else is tried", async () => {
    const app = await client("basic", { clientSecret: `${NASTY}x` });
    const before = server.requests.length;
    expect(await refusal(clientCredentials(app))).toMatchObject({
      code: "client_auth_failed",
      oauthError: "invalid_client",
      status: 401,
    });
    expect(server.requests).toHaveLength(before + 1);
  });

  it("S-051 private_key_jwt: login, two refreshes (a jti that comes again is refused there), machine grant, revocation", async () => {
    const app = await client("jwt", { clientAuthentication: privateKeyJwt(pem, { keyId: "k1" }) });
    const first = await login(app);
    const second = await refreshTokens(app, first);
    const third = await refreshTokens(app, second);
    expect((await clientCredentials(app)).tokenType).toBe("Bearer");
    expect(await revokeTokens(app, third)).toMatchObject({ refreshToken: "revoked" });
  });

  it("a refresh token of another client is refused", async () => {
    const app = await client("public");
    const other = await client("post", { clientAuthentication: clientSecretPost(NASTY) });
    const tokens = await login(app);
    expect(await refusal(refreshTokens(other, tokens))).toMatchObject({ code: "tokens_invalid" });
  });
});

describe("oidc-provider without rotation", () => {
  it("S-043 keeps the refresh token", async () => {
    const still = await startOidcProvider(
      [
        {
          client_id: "public",
          token_endpoint_auth_method: "none",
          grant_types: ["authorization_code", "refresh_token"],
        },
      ],
      { rotate: false },
    );
    try {
      const warehouse = await discover(still.origin, {
        id: "acme",
        allowLoopbackHttp: true,
        overrides: { defaultScopes: ["openid", "offline_access"] },
      });
      const app = createClient({ warehouse, clientId: "public", redirectUri: REDIRECT_URI, allowLoopbackHttp: true });
      const first = await login(app);
      const second = await refreshTokens(app, await refreshTokens(app, first));
      expect(second.refreshToken).toBe(first.refreshToken);
      expect(second.accessToken).not.toBe(first.accessToken);
    } finally {
      await still.close();
    }
  });
});
