import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type ClientAuthentication,
  type OAuthClient,
  type TokenSet,
  clientCredentials,
  clientSecretBasic,
  clientSecretPost,
  createAuthorizationRequest,
  createClient,
  defineWarehouse,
  exchangeCode,
  refreshTokens,
  revokeTokens,
  validateCallback,
} from "warehouse-oauth";
import { refusal } from "../scripted-client.ts";
import { walk } from "./browser.ts";
import { type NodeOauthServer, startNodeOauthServer } from "./node-oauth-server.ts";

const REDIRECT_URI = "http://127.0.0.1/callback";
const NASTY = "-_.~!*'()+/=%: \"&?#@\\<>{}[]|^`$;,";
const PLAIN = "aZ09-._~";

function clientOf(server: NodeOauthServer, clientAuthentication: ClientAuthentication): OAuthClient {
  const warehouse = defineWarehouse({
    id: "node-oauth",
    issuer: server.origin,
    authorizationEndpoint: `${server.origin}/authorize`,
    tokenEndpoint: `${server.origin}/token`,
    grants: ["authorization_code", "refresh_token", "client_credentials"],
    defaultScopes: ["sql"],
  });
  return createClient({
    warehouse,
    clientId: "app",
    clientAuthentication,
    redirectUri: REDIRECT_URI,
    allowLoopbackHttp: true,
  });
}
async function login(client: OAuthClient): Promise<TokenSet> {
  const { url, pending } = await createAuthorizationRequest(client);
  return exchangeCode(client, validateCallback(client, await walk(url, REDIRECT_URI), pending));
}

describe("@node-oauth/oauth2-server", () => {
  let server: NodeOauthServer;
  let plain: NodeOauthServer;
  beforeAll(async () => {
    server = await startNodeOauthServer("app", NASTY);
    plain = await startNodeOauthServer("app", PLAIN);
  });
  afterAll(async () => {
    await server.close();
    await plain.close();
  });

  it("code, PKCE, refresh with rotation; a rotated refresh token is dead; there is no revocation", async () => {
    const client = clientOf(server, clientSecretPost(NASTY));
    const tokens = await login(client);
    expect(tokens).toMatchObject({ scopes: ["sql"], scopesAssumed: false, user: undefined });
    expect(tokens.expiresAt).toBeGreaterThan(tokens.obtainedAt);
    const second = await refreshTokens(client, tokens);
    expect(second.refreshToken).not.toBe(tokens.refreshToken);
    expect(await refusal(refreshTokens(client, tokens))).toMatchObject({
      reason: "refresh_token_dead",
      oauthError: "invalid_grant",
    });
    expect(await revokeTokens(client, second)).toMatchObject({
      refreshToken: "unsupported",
      accessToken: "unsupported",
    });
  });

  it("S-049 it compares Basic credentials undecoded: raw for special characters, either for the others", async () => {
    expect(
      (await clientCredentials(clientOf(server, clientSecretBasic(NASTY, { encoding: "raw" })))).accessToken,
    ).toMatch(/^access-/);
    for (const encoding of ["raw", "form"] as const) {
      expect((await login(clientOf(plain, clientSecretBasic(PLAIN, { encoding })))).accessToken).toMatch(/^access-/);
    }
  });

  it.each([
    ["client_secret_basic", clientSecretBasic("x"), 401],
    ["client_secret_post", clientSecretPost("x"), 400],
  ])("S-050 a wrong secret is told once, and no other way than %s is tried", async (_name, wrong, status) => {
    const before = server.requests.length;
    expect(await refusal(clientCredentials(clientOf(server, wrong)))).toMatchObject({
      code: "client_auth_failed",
      status,
    });
    expect(server.requests.slice(before)).toEqual(["/token"]);
  });

  it("S-020, S-021 a code with another verifier, and a code that comes again", async () => {
    const client = clientOf(server, clientSecretPost(NASTY));
    const victim = await createAuthorizationRequest(client);
    const attacker = await createAuthorizationRequest(client);
    const code = (await walk(attacker.url, REDIRECT_URI)).searchParams.get("code") ?? "";
    const injected = validateCallback(
      client,
      new URLSearchParams({ code, state: victim.pending.state }),
      victim.pending,
    );
    expect(await refusal(exchangeCode(client, injected))).toMatchObject({
      action: "reauthorize",
      oauthError: "invalid_grant",
    });

    const { url, pending } = await createAuthorizationRequest(client);
    const back = await walk(url, REDIRECT_URI);
    await exchangeCode(client, validateCallback(client, back, pending));
    expect(await refusal(exchangeCode(client, validateCallback(client, back, pending)))).toMatchObject({
      reason: "interaction_required",
    });
  });

  it("S-043 without rotation", async () => {
    const still = await startNodeOauthServer("app", PLAIN, { rotate: false });
    try {
      const client = clientOf(still, clientSecretPost(PLAIN));
      const first = await login(client);
      const second = await refreshTokens(client, first);
      expect(second.accessToken).not.toBe(first.accessToken);
      expect(first.refreshToken).toBeDefined();
      expect(second.refreshToken).toBe(first.refreshToken);
      const third = await refreshTokens(client, second);
      expect(third.accessToken).not.toBe(second.accessToken);
      expect(third.refreshToken).toBe(first.refreshToken);
    } finally {
      await still.close();
    }
  });
});
