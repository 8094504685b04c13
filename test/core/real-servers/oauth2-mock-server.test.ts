import type { IncomingMessage } from "node:http";
import { OAuth2Server } from "oauth2-mock-server";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  type ClientOptions,
  type OAuthClient,
  clientCredentials,
  clientSecretBasic,
  createAuthorizationRequest,
  createClient,
  discover,
  exchangeCode,
  refreshTokens,
  revokeTokens,
  validateCallback,
} from "warehouse-oauth";
import { rescuedRefreshToken } from "../../../src/core/token-response.ts";
import { refusal } from "../scripted-client.ts";
import { walk } from "./browser.ts";

const REDIRECT_URI = "http://127.0.0.1:45678/callback";
const NASTY = "-_.~!*'()+/=%: é€\"\\";

const server = new OAuth2Server();
let origin = "";
beforeAll(async () => {
  await server.issuer.keys.generate("RS256");
  await server.start(0, "127.0.0.1");
  origin = server.issuer.url ?? "";
});
afterAll(() => server.stop());

async function client(changes: Partial<ClientOptions> = {}): Promise<OAuthClient> {
  const warehouse = await discover(origin, {
    id: "mock",
    allowLoopbackHttp: true,
    overrides: { defaultScopes: ["openid", "sql"] },
  });
  return createClient({
    warehouse,
    clientId: "app",
    redirectUri: REDIRECT_URI,
    allowLoopbackHttp: true,
    ...changes,
  });
}
async function login(of: OAuthClient): Promise<ReturnType<typeof validateCallback>> {
  const { url, pending } = await createAuthorizationRequest(of);
  return validateCallback(of, await walk(url, REDIRECT_URI), pending);
}

it("code, PKCE, ID token with keys, refresh, revocation", async () => {
  const app = await client();
  const tokens = await exchangeCode(app, await login(app));
  expect(tokens.user).toEqual({ issuer: origin, id: "johndoe", email: undefined });
  expect(tokens.scopes).toEqual(["dummy"]); // S-039: this server grants what nobody asked for, and we say so
  const second = await refreshTokens(app, tokens);
  expect(second.refreshToken).not.toBe(tokens.refreshToken);
  expect(second.user).toEqual(tokens.user);
  expect(await revokeTokens(app, second)).toEqual({
    refreshToken: "revoked",
    accessToken: "revoked",
    instructions: undefined,
  });
});

it("S-020 another verifier is refused", async () => {
  const app = await client();
  const victim = await createAuthorizationRequest(app);
  const attacker = await createAuthorizationRequest(app);
  const code = (await walk(attacker.url, REDIRECT_URI)).searchParams.get("code") ?? "";
  const callback = validateCallback(app, new URLSearchParams({ code, state: victim.pending.state }), victim.pending);
  // It says `invalid_request` where RFC 7636 §4.6 has `invalid_grant`: by table 2.4 the client's mistake, but at a refresh.
  expect(await refusal(exchangeCode(app, callback))).toMatchObject({
    name: "TokenEndpointError",
    code: "token_http_error",
    action: "fix_config",
    retryable: false,
    status: 400,
    oauthError: "invalid_request",
    ambiguous: false,
  });
});

it("S-049 a secret with every special character arrives whole", async () => {
  const app = await client({ clientAuthentication: clientSecretBasic(NASTY) }); // it announces no method at all
  let seen = "";
  server.service.once("beforeResponse", (_response, request: IncomingMessage) => {
    seen = request.headers.authorization ?? "";
  });
  await clientCredentials(app);
  const [, encoded = ""] = seen.split(" ");
  const [id = "", secret = ""] = Buffer.from(encoded, "base64").toString("utf8").split(":");
  expect([decodeURIComponent(id), decodeURIComponent(secret)]).toEqual(["app", NASTY]);
});

it.each([
  [503, { error: "temporarily_unavailable" }, { name: "TransportError", ambiguous: false }],
  [500, {}, { name: "TransportError", ambiguous: true }],
  [400, { error: "invalid_grant" }, { name: "ReauthorizationRequiredError" }],
  [401, { error: "invalid_client" }, { code: "client_auth_failed" }],
  [200, { error: "invalid_grant" }, { name: "ReauthorizationRequiredError" }],
])("an answer of %i %j to a refresh", async (statusCode, body, expected) => {
  const app = await client();
  const tokens = await exchangeCode(app, await login(app));
  server.service.once("beforeResponse", (response: { statusCode: number; body: unknown }) => {
    response.statusCode = statusCode;
    response.body = body;
  });
  expect(await refusal(refreshTokens(app, tokens))).toMatchObject(expected);
});

it("an ID token of somebody else is refused, with the refresh token kept", async () => {
  const app = await client();
  const tokens = await exchangeCode(app, await login(app));
  let built = 0;
  const replace = (token: { payload: Record<string, unknown> }): void => {
    if (++built === 2) token.payload["sub"] = "somebody-else"; // the first is the access token
  };
  server.service.on("beforeTokenSigning", replace);
  const error = await refusal(refreshTokens(app, tokens));
  server.service.off("beforeTokenSigning", replace);
  expect(error).toMatchObject({ code: "id_token_invalid" });
  expect(rescuedRefreshToken(error)).toMatch(/^[0-9a-f-]{36}$/);
});
