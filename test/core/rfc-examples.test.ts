import { generateKeyPairSync } from "node:crypto";
import { decodeJwt, decodeProtectedHeader } from "jose";
import { afterEach, describe, expect, it, vi } from "vitest";
import {
  clientCredentials,
  clientSecretBasic,
  clientSecretPost,
  createAuthorizationRequest,
  createClient,
  createPkce,
  defineWarehouse,
  exchangeCode,
  exportTokens,
  importTokens,
  jwtBearer,
  none,
  privateKeyJwt,
  refreshTokens,
  validateCallback,
} from "warehouse-oauth";
import type {
  ClientAuthentication,
  Fetch,
  OAuthClient,
  PendingAuthorization,
  WarehouseDefinition,
} from "warehouse-oauth";
import { NOON, expectCode, standingClock } from "./acme.ts";

/** What went over the wire, as text. */
interface Wire {
  readonly line: string;
  readonly headers: Headers;
  readonly body: string;
}

function wire(answer: unknown): Fetch & { readonly sent: Wire[] } {
  const sent: Wire[] = [];
  const fetch: Fetch = async (input, init) => {
    const request = new Request(input, init);
    sent.push({ line: `${request.method} ${request.url}`, headers: request.headers, body: await request.text() });
    return Response.json(answer, {
      headers: { "content-type": "application/json;charset=UTF-8", "cache-control": "no-store", pragma: "no-cache" },
    });
  };
  return Object.assign(fetch, { sent });
}

/** The server of the examples of RFC 6749. */
const EXAMPLE: WarehouseDefinition<object> = {
  id: "example",
  issuer: "https://server.example.com",
  authorizationEndpoint: "https://server.example.com/authorize",
  tokenEndpoint: "https://server.example.com/token",
  grants: ["authorization_code", "refresh_token", "client_credentials", "jwt_bearer"],
};

function exampleClient(
  fetch: Fetch,
  clientAuthentication: ClientAuthentication,
  changes: Partial<WarehouseDefinition<object>> = {},
): OAuthClient {
  return createClient({
    warehouse: defineWarehouse<object>({ ...EXAMPLE, ...changes }),
    clientId: "s6BhdRkqt3",
    redirectUri: "https://client.example.com/cb",
    clientAuthentication,
    fetch,
    clock: standingClock(),
  });
}

/** A login under way whose state is ours: 43 characters, not the three of the examples. */
async function loginAt(client: OAuthClient): Promise<PendingAuthorization> {
  const { pending } = await createAuthorizationRequest(client);
  return pending;
}

const unused = wire({});

afterEach(() => {
  vi.restoreAllMocks();
});

describe("RFC 7636 appendix B", () => {
  const octets = [
    116, 24, 223, 180, 151, 153, 224, 37, 79, 250, 96, 125, 216, 173, 187, 186, 22, 212, 37, 77, 105, 214, 191, 240, 91,
    88, 5, 88, 83, 132, 141, 121,
  ];

  it("makes verifier and challenge of the 32 octets", async () => {
    vi.spyOn(crypto, "getRandomValues").mockImplementation(((array: Uint8Array) => {
      array.set(octets);
      return array;
    }) as never);
    expect(await createPkce()).toEqual({
      codeVerifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
      codeChallenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
      codeChallengeMethod: "S256",
    });
  });
});

describe("RFC 6749", () => {
  it("§4.1.1 the authorization request", async () => {
    const { url, pending } = await createAuthorizationRequest(exampleClient(unused, none()));
    const start =
      "https://server.example.com/authorize?response_type=code&client_id=s6BhdRkqt3&redirect_uri=https%3A%2F%2Fclient%2Eexample%2Ecom%2Fcb";
    // The RFC escapes the dots of the redirect URI, URLSearchParams does not: the same form (appendix B).
    expect(url.href).toMatch(start.replaceAll("%2E", "."));
    expect(Object.fromEntries(new URL(start).searchParams)).toEqual({
      response_type: "code",
      client_id: "s6BhdRkqt3",
      redirect_uri: "https://client.example.com/cb",
    });
    expect(url.searchParams.get("state")).toBe(pending.state);
  });

  it("§4.1.2 the authorization response", async () => {
    const client = exampleClient(unused, none());
    const pending = await loginAt(client);
    const callback = new URL(`https://client.example.com/cb?code=SplxlOBeZQQYbYS6WxSbIA&state=${pending.state}`);
    expect(validateCallback(client, callback, pending)).toEqual({ returnTo: undefined });
    await expectCode(
      () =>
        validateCallback(
          client,
          new URL("https://client.example.com/cb?code=SplxlOBeZQQYbYS6WxSbIA&state=xyz"),
          pending,
        ),
      "callback_state_mismatch",
    );
  });

  it("§4.1.2.1 the error response", async () => {
    const client = exampleClient(unused, none());
    const pending = await loginAt(client);
    const callback = new URL(`https://client.example.com/cb?error=access_denied&state=${pending.state}`);
    expect(await expectCode(() => validateCallback(client, callback, pending), "authorization_denied")).toMatchObject({
      oauthError: "access_denied",
    });
  });

  it("§4.1.3 and §4.1.4 the access token request and its response", async () => {
    const fetch = wire({
      access_token: "2YotnFZFEjr1zCsicMWpAA",
      token_type: "example",
      expires_in: 3600,
      refresh_token: "tGzv3JOkF0XG5Qx2TlKWIA",
      example_parameter: "example_value",
    });
    // The RFC's "example" stands for a real type.
    const client = exampleClient(fetch, clientSecretBasic("gX1fBat3bV"), {
      normalizeTokenResponse: (body) => ({ ...body, token_type: "Bearer" }),
    });
    const pending = await loginAt(client);
    const callback = validateCallback(
      client,
      new URLSearchParams({ code: "SplxlOBeZQQYbYS6WxSbIA", state: pending.state }),
      pending,
    );
    const tokens = await exchangeCode(client, callback);
    const [request] = fetch.sent;
    expect(request?.line).toBe("POST https://server.example.com/token");
    expect(request?.headers.get("authorization")).toBe("Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW");
    expect(request?.headers.get("content-type")).toMatch(/^application\/x-www-form-urlencoded(;charset=UTF-8)?$/);
    const form = Object.fromEntries(new URLSearchParams(request?.body));
    expect(form).toEqual({
      ...Object.fromEntries(
        new URLSearchParams(
          "grant_type=authorization_code&code=SplxlOBeZQQYbYS6WxSbIA&redirect_uri=https%3A%2F%2Fclient%2Eexample%2Ecom%2Fcb",
        ),
      ),
      code_verifier: pending.codeVerifier,
    });
    expect(exportTokens(tokens)).toEqual({
      accessToken: "2YotnFZFEjr1zCsicMWpAA",
      refreshToken: "tGzv3JOkF0XG5Qx2TlKWIA",
      tokenType: "Bearer",
      obtainedAt: NOON,
      expiresAt: NOON + 3_600_000,
      scopes: [],
      scopesAssumed: true,
      connectionId: client.connectionId,
    });
  });

  it("§4.4.2 and §4.4.3 client credentials", async () => {
    const fetch = wire({
      access_token: "2YotnFZFEjr1zCsicMWpAA",
      token_type: "bearer",
      expires_in: 3600,
      example_parameter: "example_value",
    });
    const tokens = await clientCredentials(exampleClient(fetch, clientSecretBasic("gX1fBat3bV")));
    expect(fetch.sent[0]?.body).toBe("grant_type=client_credentials");
    expect(fetch.sent[0]?.headers.get("authorization")).toBe("Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW");
    expect([tokens.accessToken, tokens.refreshToken]).toEqual(["2YotnFZFEjr1zCsicMWpAA", undefined]);
  });

  const tokensOf = (client: OAuthClient): Parameters<typeof refreshTokens>[1] =>
    importTokens({
      accessToken: "old",
      refreshToken: "tGzv3JOkF0XG5Qx2TlKWIA",
      tokenType: "Bearer",
      obtainedAt: NOON,
      scopes: [],
      scopesAssumed: true,
      connectionId: client.connectionId,
    });

  it("§6 refreshing", async () => {
    const fetch = wire({ access_token: "new", token_type: "bearer" });
    const client = exampleClient(fetch, clientSecretBasic("gX1fBat3bV"));
    await refreshTokens(client, tokensOf(client));
    expect(Object.fromEntries(new URLSearchParams(fetch.sent[0]?.body))).toEqual({
      grant_type: "refresh_token",
      refresh_token: "tGzv3JOkF0XG5Qx2TlKWIA",
    });
    expect(fetch.sent[0]?.headers.get("authorization")).toBe("Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW");
  });

  it("§2.3.1 the secret in the body", async () => {
    const fetch = wire({ access_token: "new", token_type: "bearer" });
    const client = exampleClient(fetch, clientSecretPost("7Fjfp0ZBr1KtDRbnfVdmIw"));
    await refreshTokens(client, tokensOf(client));
    const example =
      "grant_type=refresh_token&refresh_token=tGzv3JOkF0XG5Qx2TlKWIA&client_id=s6BhdRkqt3&client_secret=7Fjfp0ZBr1KtDRbnfVdmIw";
    expect(Object.fromEntries(new URLSearchParams(fetch.sent[0]?.body))).toEqual(
      Object.fromEntries(new URLSearchParams(example)),
    );
    expect(fetch.sent[0]?.headers.has("authorization")).toBe(false);
  });

  it("§5.2 the error response", async () => {
    const fetch: Fetch = () => Promise.resolve(Response.json({ error: "invalid_request" }, { status: 400 }));
    expect(await expectCode(() => clientCredentials(exampleClient(fetch, none())), "token_http_error")).toMatchObject({
      status: 400,
      oauthError: "invalid_request",
    });
  });
});

describe("RFC 7523", () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();

  it("§2.1 and §4 an assertion as a grant", async () => {
    const fetch = wire({ access_token: "a", token_type: "bearer" });
    const client = exampleClient(fetch, none(), { tokenEndpoint: "https://as.example.com/token.oauth2" });
    const assertion = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjE2In0.eyJpc3Mi.J9l-ZhwP";
    await jwtBearer(client, { assertion });
    expect(fetch.sent[0]?.line).toBe("POST https://as.example.com/token.oauth2");
    const form = Object.fromEntries(new URLSearchParams(fetch.sent[0]?.body));
    expect(form).toMatchObject(
      Object.fromEntries(
        new URLSearchParams(`grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=${assertion}`),
      ),
    );
  });

  it("§3 and §4 the claims and the header", async () => {
    const fetch = wire({ access_token: "a", token_type: "bearer" });
    await jwtBearer(exampleClient(fetch, none()), {
      key: pem,
      keyId: "16",
      issuer: "https://jwt-idp.example.com",
      subject: "mailto:mike@example.com",
      audience: "https://jwt-rp.example.net",
    });
    const assertion = new URLSearchParams(fetch.sent[0]?.body).get("assertion") ?? "";
    expect(decodeProtectedHeader(assertion)).toMatchObject({ alg: "ES256", kid: "16" });
    expect(decodeJwt(assertion)).toMatchObject({
      iss: "https://jwt-idp.example.com",
      sub: "mailto:mike@example.com",
      aud: "https://jwt-rp.example.net",
    });
  });

  it("§2.2 an assertion as client authentication", async () => {
    const fetch = wire({ access_token: "a", token_type: "bearer" });
    const client = exampleClient(fetch, privateKeyJwt(pem));
    const pending = await loginAt(client);
    const code = "n0esc3NRze7LTCu7iYzS6a5acc3f0ogp4";
    await exchangeCode(client, validateCallback(client, new URLSearchParams({ code, state: pending.state }), pending));
    const form = new URLSearchParams(fetch.sent[0]?.body);
    const example = `grant_type=authorization_code&code=${code}&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer`;
    for (const [name, value] of new URLSearchParams(example)) expect(form.getAll(name)).toEqual([value]);
    expect(form.getAll("client_assertion")).toHaveLength(1);
    expect(form.has("client_secret") || fetch.sent[0]?.headers.has("authorization")).toBe(false);
  });
});

describe("RFC 9207", () => {
  const client = exampleClient(unused, none(), { issuer: "https://honest.as.example", issuerInCallback: "always" });

  it("§2.1 the authorization response", async () => {
    const pending = await loginAt(client);
    const query = `code=x1848ZT64p4IirMPT0R-X3141MFPTuBX-VFL_cvaplMH58&state=${pending.state}&iss=https%3A%2F%2Fhonest.as.example`;
    expect(validateCallback(client, new URL(`https://client.example/cb?${query}`), pending)).toEqual({
      returnTo: undefined,
    });
    const attacked = query.replace("honest", "attacker");
    await expectCode(
      () => validateCallback(client, new URL(`https://client.example/cb?${attacked}`), pending),
      "callback_issuer_mismatch",
    );
  });

  it("§2.2 the error response", async () => {
    const pending = await loginAt(client);
    const query = `error=access_denied&state=${pending.state}&iss=https%3A%2F%2Fhonest.as.example`;
    await expectCode(
      () => validateCallback(client, new URL(`https://client.example/cb?${query}`), pending),
      "authorization_denied",
    );
    await expectCode(
      () =>
        validateCallback(client, new URL(`https://client.example/cb?${query.replace("honest", "attacker")}`), pending),
      "callback_issuer_mismatch",
    );
  });
});
