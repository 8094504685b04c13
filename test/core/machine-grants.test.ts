import { decodeJwt, decodeProtectedHeader, exportPKCS8, generateKeyPair, jwtVerify } from "jose";
import { describe, expect, it } from "vitest";
import {
  type ExchangeTokenOptions,
  type JwtBearerOptions,
  clientCredentials,
  exchangeToken,
  jwtBearer,
  privateKeyJwt,
} from "warehouse-oauth";
import { NOW, TOKENS, acme, acmeClient, json, refusal, savedTokens, script, text } from "./scripted-client.ts";
import { refreshTokens } from "warehouse-oauth";

const rsa = await generateKeyPair("RS256", { extractable: true });
const rsaPem = await exportPKCS8(rsa.privateKey);
const JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt";
const ISSUED = { ...TOKENS, issued_token_type: "urn:ietf:params:oauth:token-type:access_token" };

describe("clientCredentials", () => {
  it("asks for the scopes named, else the warehouse's, else none; and for a resource", async () => {
    const { fetch, sent } = script(json(TOKENS), json(TOKENS), json(TOKENS), json(TOKENS));
    const warehouse = acme({ machineScopes: ["all-apis"], defaultScopes: ["people"] });
    const client = acmeClient(fetch, {}, warehouse);
    expect(await clientCredentials(client)).toMatchObject({ scopes: ["all-apis"], scopesAssumed: true });
    await clientCredentials(client, { scopes: ["a", "b", "a"], resource: "https://api.acme.example" });
    await clientCredentials(client, { scopes: [] });
    await clientCredentials(acmeClient(fetch));
    expect(sent.map(({ body }) => body)).toEqual([
      "scope=all-apis&grant_type=client_credentials&client_id=s6BhdRkqt3",
      "scope=a+b&resource=https%3A%2F%2Fapi.acme.example&grant_type=client_credentials&client_id=s6BhdRkqt3",
      "grant_type=client_credentials&client_id=s6BhdRkqt3",
      "grant_type=client_credentials&client_id=s6BhdRkqt3",
    ]);
  });

  it("takes a refresh token if the server gives one", async () => {
    const client = acmeClient(script(json({ ...TOKENS, refresh_token: "r" })).fetch);
    expect((await clientCredentials(client)).refreshToken).toBe("r");
  });

  it("refuses scopes that are none", async () => {
    const client = acmeClient(script().fetch);
    expect(await refusal(clientCredentials(client, { scopes: ["a b"] }))).toMatchObject({
      code: "config_invalid",
      option: "scopes",
    });
    expect(await refusal(clientCredentials(client, { scopes: "a" as never }))).toMatchObject({
      code: "invalid_argument",
    });
  });
});

describe("S-053 exchangeToken (RFC 8693 §2.1)", () => {
  it("sends everything in the body", async () => {
    const { fetch, sent } = script(json(ISSUED));
    const client = acmeClient(fetch, { clientSecret: "s" });
    await exchangeToken(client, {
      subjectToken: () => Promise.resolve("subject-1"),
      subjectTokenType: JWT_TYPE,
      actor: { token: "actor-1", tokenType: "urn:ietf:params:oauth:token-type:access_token" },
      requestedTokenType: "urn:ietf:params:oauth:token-type:access_token",
      audience: "warehouse",
      resource: "https://api.acme.example",
      scopes: ["sql"],
    });
    expect(sent[0]?.url).toBe("https://login.acme.example/token");
    expect(Object.fromEntries(sent[0]?.form ?? [])).toEqual({
      grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
      subject_token: "subject-1",
      subject_token_type: JWT_TYPE,
      actor_token: "actor-1",
      actor_token_type: "urn:ietf:params:oauth:token-type:access_token",
      requested_token_type: "urn:ietf:params:oauth:token-type:access_token",
      audience: "warehouse",
      resource: "https://api.acme.example",
      scope: "sql",
    });
    expect([...(sent[0]?.headers.values() ?? [])].join(" ")).not.toMatch(/subject-1|actor-1/);
  });

  it("leaves out what is not named", async () => {
    const { fetch, sent } = script(json(ISSUED));
    await exchangeToken(acmeClient(fetch), { subjectToken: "t", subjectTokenType: JWT_TYPE });
    expect([...(sent[0]?.form.keys() ?? [])].sort()).toEqual([
      "client_id",
      "grant_type",
      "subject_token",
      "subject_token_type",
    ]);
  });

  it.each([undefined, null, 7, {}])("an answer must name issued_token_type: %j", async (issued) => {
    const { fetch } = script(json({ ...TOKENS, ...(issued !== undefined && { issued_token_type: issued }) }));
    const run = exchangeToken(acmeClient(fetch), { subjectToken: "t", subjectTokenType: JWT_TYPE });
    expect(await refusal(run)).toMatchObject({ code: "token_response_malformed", ambiguous: true });
  });

  it("other grants need none", async () => {
    expect((await clientCredentials(acmeClient(script(json(TOKENS)).fetch))).accessToken).toBe("access-1");
  });

  it("invalid_target is a matter of configuration", async () => {
    const { fetch } = script(json({ error: "invalid_target" }, { status: 400 }));
    const run = exchangeToken(acmeClient(fetch), { subjectToken: "t", subjectTokenType: JWT_TYPE });
    expect(await refusal(run)).toMatchObject({
      code: "token_http_error",
      action: "fix_config",
      oauthError: "invalid_target",
    });
  });

  it.each<[Partial<Record<keyof ExchangeTokenOptions, unknown>>, string, string | undefined]>([
    [{ subjectToken: "" }, "config_invalid", "subjectToken"],
    [{ subjectToken: () => "" }, "config_invalid", "subjectToken"],
    [{ subjectToken: undefined }, "invalid_argument", undefined],
    [{ subjectToken: 7 }, "invalid_argument", undefined],
    [{ subjectToken: () => 7 }, "invalid_argument", undefined],
    [{ subjectTokenType: "" }, "config_invalid", "subjectTokenType"],
    [{ subjectTokenType: undefined }, "invalid_argument", undefined],
    [{ actor: { token: "", tokenType: "x" } }, "config_invalid", "actor.token"],
    [{ actor: { token: "x", tokenType: "" } }, "config_invalid", "actor.tokenType"],
    [{ actor: { token: "x" } }, "invalid_argument", undefined],
    [{ scopes: ["a b"] }, "config_invalid", "scopes"],
  ])("refuses %j before anything is sent", async (wrong, code, option) => {
    const { fetch, sent } = script();
    const options = { subjectToken: "t", subjectTokenType: JWT_TYPE, ...wrong } as ExchangeTokenOptions;
    const error = await refusal(exchangeToken(acmeClient(fetch), options));
    expect(error).toMatchObject({ code });
    expect(error["option"]).toBe(option);
    expect(sent).toHaveLength(0);
  });

  it("hears an abort while the subject's token is fetched, and before", async () => {
    const { fetch, sent } = script();
    const controller = new AbortController();
    const reason = new Error("mine");
    let asked = 0;
    const subjectToken = (): Promise<string> => {
      asked++;
      controller.abort(reason);
      return new Promise(() => undefined);
    };
    const options = { subjectToken, subjectTokenType: JWT_TYPE, signal: controller.signal };
    await expect(exchangeToken(acmeClient(fetch), options)).rejects.toBe(reason);
    await expect(exchangeToken(acmeClient(fetch), options)).rejects.toBe(reason);
    expect([asked, sent.length]).toEqual([1, 0]);
  });
});

describe("S-052 jwtBearer (RFC 7523 §2.1)", () => {
  it("sends an assertion of one's own as it is, alone if the client is public", async () => {
    const { fetch, sent } = script(json(TOKENS), json(TOKENS));
    const assertion = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjE2In0.eyJpc3Mi.J9l-ZhwP";
    await jwtBearer(acmeClient(fetch), { assertion: () => assertion });
    await jwtBearer(acmeClient(fetch, { clientSecret: "s" }), { assertion, scopes: ["a"] });
    const grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    expect(Object.fromEntries(sent[0]?.form ?? [])).toEqual({ grant_type, assertion });
    expect(sent[0]?.headers.has("authorization")).toBe(false);
    expect(Object.fromEntries(sent[1]?.form ?? [])).toEqual({ grant_type, assertion, scope: "a" });
    expect(sent[1]?.headers.has("authorization")).toBe(true);
  });

  it("signs one for each attempt: claims, times, and another jti (S-037, S-051)", async () => {
    const { fetch, sent } = script(text("", { status: 503 }), json(TOKENS));
    const client = acmeClient(fetch, {}, acme({ machineScopes: ["a", "b"] }));
    const options: JwtBearerOptions = { key: rsaPem, keyId: "k1", issuer: "svc@acme.example" };
    expect(await refusal(jwtBearer(client, options))).toMatchObject({ code: "server_unavailable", ambiguous: false });
    await jwtBearer(client, options);
    const assertions = sent.map(({ form }) => form.get("assertion") ?? "");
    const [first, second] = assertions.map((assertion) => decodeJwt(assertion));
    expect(decodeProtectedHeader(assertions[0] ?? "")).toEqual({ alg: "RS256", typ: "JWT", kid: "k1" });
    expect(second).toEqual({
      iss: "svc@acme.example",
      aud: "https://login.acme.example/token",
      scope: "a b",
      iat: NOW / 1000 - 5,
      exp: NOW / 1000 + 300,
      jti: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
    });
    expect(first?.jti).not.toBe(second?.jti);
    await jwtVerify(assertions[1] ?? "", rsa.publicKey, { currentDate: new Date(NOW) });
    expect(sent[1]?.form.get("scope")).toBe("a b");
    expect(sent[1]?.form.has("client_id")).toBe(false);
  });

  it("takes subject and audience, and leaves scope and kid out where there is none", async () => {
    const { fetch, sent } = script(json(TOKENS));
    await jwtBearer(acmeClient(fetch), {
      key: rsa.privateKey,
      issuer: "i",
      subject: "s",
      audience: "https://aud.example",
    });
    const assertion = sent[0]?.form.get("assertion") ?? "";
    expect(decodeJwt(assertion)).toMatchObject({ iss: "i", sub: "s", aud: "https://aud.example" });
    expect(decodeJwt(assertion)).not.toHaveProperty("scope");
    expect(decodeProtectedHeader(assertion)).toEqual({ alg: "RS256", typ: "JWT" });
  });

  it("a dead assertion is a matter of configuration, not of a person", async () => {
    const { fetch } = script(json({ error: "invalid_grant" }, { status: 400 }));
    const error = await refusal(jwtBearer(acmeClient(fetch), { assertion: "a.b.c" }));
    expect(error).toMatchObject({
      name: "TokenEndpointError",
      code: "token_http_error",
      action: "fix_config",
      retryable: false,
    });
  });

  it.each<[Record<string, unknown>, string]>([
    [{ assertion: "" }, "config_invalid"],
    [{ assertion: 7 }, "invalid_argument"],
    [{ key: rsaPem }, "invalid_argument"],
    [{ key: rsaPem, issuer: "" }, "config_invalid"],
    [{ key: "no key", issuer: "i" }, "config_invalid"],
    [{ issuer: "i" }, "invalid_argument"],
    [{ assertion: "a", scopes: [7] }, "config_invalid"],
  ])("refuses %j", async (options, code) => {
    const { fetch, sent } = script();
    expect(await refusal(jwtBearer(acmeClient(fetch), options as never))).toMatchObject({ code });
    expect(sent).toHaveLength(0);
  });

  it("hears an abort while the key is fetched", async () => {
    const controller = new AbortController();
    const reason = new Error("mine");
    const key = (): Promise<string> => {
      controller.abort(reason);
      return new Promise(() => undefined);
    };
    const run = jwtBearer(acmeClient(script().fetch), { key, issuer: "i", signal: controller.signal });
    await expect(run).rejects.toBe(reason);
    await expect(jwtBearer(acmeClient(script().fetch), { key, issuer: "i", signal: controller.signal })).rejects.toBe(
      reason,
    );
  });
});

describe("S-051 private_key_jwt on the wire (RFC 7523 §2.2)", () => {
  it("each attempt has an assertion of its own, for the issuer alone", async () => {
    const { fetch, sent } = script(text("", { status: 503 }), json(TOKENS));
    const client = acmeClient(fetch, { clientAuthentication: privateKeyJwt(rsaPem, { keyId: "k1" }) });
    const tokens = savedTokens(client);
    expect(await refusal(refreshTokens(client, tokens))).toMatchObject({ code: "server_unavailable" });
    await refreshTokens(client, tokens);
    const [first, second] = sent.map(({ form }) => decodeJwt(form.get("client_assertion") ?? ""));
    expect(second).toMatchObject({ iss: "s6BhdRkqt3", sub: "s6BhdRkqt3", aud: "https://login.acme.example" });
    expect((second?.exp ?? 0) * 1000).toBeLessThanOrEqual(NOW + 300_000);
    expect(second).not.toHaveProperty("nbf");
    expect(first?.jti).not.toBe(second?.jti);
    expect(sent[1]?.form.get("client_assertion_type")).toBe("urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    expect(sent[1]?.headers.has("authorization")).toBe(false);
  });
});
