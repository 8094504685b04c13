import { describe, expect, it } from "vitest";
import {
  type ClientAuthentication,
  ConfigurationError,
  clientCredentials,
  clientSecretBasic,
  clientSecretPost,
  type Fetch,
  exchangeCode,
  exchangeToken,
  jwtBearer,
  none,
  privateKeyJwt,
  refreshTokens,
  revokeTokens,
} from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import { requestTokens } from "../../src/core/token-request.ts";
import { heldUp } from "../lib/held-up-clock.ts";
import {
  type StillClock,
  TOKENS,
  acme,
  acmeClient,
  json,
  loggedIn,
  refusal,
  savedTokens,
  script,
  stillClock,
  text,
} from "./scripted-client.ts";

const FORM = "application/x-www-form-urlencoded;charset=UTF-8";

describe("the examples of the RFCs, on the wire", () => {
  it("RFC 6749 §4.1.3: a code, with the verifier of RFC 7636 §4.5", async () => {
    const { fetch, sent } = script(json(TOKENS));
    const client = acmeClient(fetch, { clientSecret: "gX1fBat3bV" });
    const { callback, codeVerifier } = await loggedIn(client);
    await exchangeCode(client, callback);
    expect(sent).toHaveLength(1);
    const [request] = sent;
    expect(request).toMatchObject({ url: "https://login.acme.example/token", method: "POST", redirect: "manual" });
    expect(Object.fromEntries(request?.headers ?? [])).toEqual({
      accept: "application/json",
      "accept-encoding": "identity",
      authorization: "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW",
      "content-type": FORM,
      "user-agent": expect.any(String) as string,
    });
    expect(Object.fromEntries(request?.form ?? [])).toEqual({
      grant_type: "authorization_code",
      code: "SplxlOBeZQQYbYS6WxSbIA",
      redirect_uri: "https://client.example.com/cb",
      code_verifier: codeVerifier,
    });
  });

  it("RFC 6749 §6: a refresh", async () => {
    const { fetch, sent } = script(json(TOKENS));
    const client = acmeClient(fetch, { clientSecret: "gX1fBat3bV" });
    await refreshTokens(client, savedTokens(client, { refreshToken: "tGzv3JOkF0XG5Qx2TlKWIA" }));
    expect(sent.map(({ body }) => body)).toEqual(["refresh_token=tGzv3JOkF0XG5Qx2TlKWIA&grant_type=refresh_token"]);
    expect(sent[0]?.headers.get("authorization")).toBe("Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW");
  });

  it("RFC 6749 §2.3.1: the secret in the body", async () => {
    const { fetch, sent } = script(json(TOKENS));
    const secret = "7Fjfp0ZBr1KtDRbnfVdmIw";
    const client = acmeClient(fetch, { clientAuthentication: clientSecretPost(secret) });
    await refreshTokens(client, savedTokens(client, { refreshToken: "tGzv3JOkF0XG5Qx2TlKWIA" }));
    expect(sent[0]?.headers.has("authorization")).toBe(false);
    expect(Object.fromEntries(sent[0]?.form ?? [])).toEqual({
      grant_type: "refresh_token",
      refresh_token: "tGzv3JOkF0XG5Qx2TlKWIA",
      client_id: "s6BhdRkqt3",
      client_secret: secret,
    });
  });

  it("RFC 6749 §4.4.2: client credentials", async () => {
    const { fetch, sent } = script(json(TOKENS));
    await clientCredentials(acmeClient(fetch, { clientSecret: "gX1fBat3bV" }));
    expect(sent[0]?.body).toBe("grant_type=client_credentials");
  });

  it("RFC 7009 §2.1: a revocation", async () => {
    const { fetch, sent } = script(text(""), text(""));
    const client = acmeClient(fetch, { clientSecret: "gX1fBat3bV" });
    await revokeTokens(client, savedTokens(client, { refreshToken: "45ghiukldjahdnhzdauz" }));
    expect(sent[0]).toMatchObject({ url: "https://login.acme.example/revoke", method: "POST" });
    expect(Object.fromEntries(sent[0]?.form ?? [])).toEqual({
      token: "45ghiukldjahdnhzdauz",
      token_type_hint: "refresh_token",
    });
    expect(sent[0]?.headers.get("content-type")).toBe(FORM);
    expect(sent[0]?.headers.get("authorization")).toBe("Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW");
    expect(Object.fromEntries(sent[1]?.form ?? [])).toEqual({ token: "access-0", token_type_hint: "access_token" });
  });

  it("RFC 6749 §5.1 and §5.2: what comes back", async () => {
    const { fetch } = script(
      json({
        access_token: "2YotnFZFEjr1zCsicMWpAA",
        token_type: "example",
        expires_in: 3600,
        refresh_token: "tGzv3JOkF0XG5Qx2TlKWIA",
        example_parameter: "example_value",
      }),
      json({
        access_token: "2YotnFZFEjr1zCsicMWpAA",
        token_type: "Bearer",
        expires_in: 3600,
        refresh_token: "tGzv3JOkF0XG5Qx2TlKWIA",
        example_parameter: "example_value",
      }),
      json({ error: "invalid_request" }, { status: 400 }),
    );
    const client = acmeClient(fetch, { clientSecret: "gX1fBat3bV" });
    expect(await refusal(clientCredentials(client))).toMatchObject({ code: "token_type_unsupported" });
    const { accessToken, refreshToken } = await clientCredentials(client);
    expect([accessToken, refreshToken]).toEqual(["2YotnFZFEjr1zCsicMWpAA", "tGzv3JOkF0XG5Qx2TlKWIA"]);
    expect(await refusal(clientCredentials(client))).toMatchObject({
      code: "token_http_error",
      oauthError: "invalid_request",
    });
  });
});

describe("what a warehouse adds", () => {
  it("tokenParameters come first, and cannot replace what the grant sends", async () => {
    const { fetch, sent } = script(json(TOKENS));
    const asked: string[] = [];
    const warehouse = acme({
      tokenParameters: (grant) => {
        asked.push(grant);
        return { extra: "1", refresh_token: "other", grant_type: "password" };
      },
    });
    const client = acmeClient(fetch, {}, warehouse);
    await refreshTokens(client, savedTokens(client));
    expect(asked).toEqual(["refresh_token"]);
    expect(Object.fromEntries(sent[0]?.form ?? [])).toEqual({
      extra: "1",
      refresh_token: "refresh-0",
      grant_type: "refresh_token",
      client_id: "s6BhdRkqt3",
    });
  });

  it("a code request keeps its verifier and code too (S-020)", async () => {
    const { fetch, sent } = script(json(TOKENS));
    const warehouse = acme({
      tokenParameters: () => ({ code_verifier: "x", code: "y", redirect_uri: "z", extra: "1" }),
    });
    const client = acmeClient(fetch, {}, warehouse);
    const { callback, codeVerifier } = await loggedIn(client);
    await exchangeCode(client, callback);
    expect(Object.fromEntries(sent[0]?.form ?? [])).toMatchObject({
      code_verifier: codeVerifier,
      code: "SplxlOBeZQQYbYS6WxSbIA",
      extra: "1",
    });
  });
});

describe("S-050 one way to authenticate", () => {
  const both: ClientAuthentication = async (request) => {
    await clientSecretBasic("a")(request);
    await clientSecretPost("b")(request);
  };
  const bodyAndAssertion: ClientAuthentication = ({ body }) => {
    body.set("client_secret", "b");
    body.set("client_assertion", "c");
  };
  it.each([both, bodyAndAssertion])("refuses two at once, before anything is sent", async (clientAuthentication) => {
    const { fetch, sent } = script();
    const error = await refusal(clientCredentials(acmeClient(fetch, { clientAuthentication })));
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error).toMatchObject({ code: "config_invalid", option: "clientAuthentication" });
    expect(sent).toHaveLength(0);
  });

  it.each([
    ["basic", clientSecretBasic("s")],
    ["post", clientSecretPost("s")],
    ["none", none()],
  ])("invalid_client never leads to a try with another: %s", async (_name, clientAuthentication) => {
    const { fetch, sent } = script(
      json({ error: "invalid_client" }, { status: 401, headers: { "www-authenticate": "Basic" } }),
      json(TOKENS),
    );
    const client = acmeClient(fetch, { clientAuthentication });
    expect(await refusal(clientCredentials(client))).toMatchObject({
      code: "client_auth_failed",
      retryable: false,
      action: "fix_config",
    });
    expect(sent).toHaveLength(1);
  });

  it("a secret never stands in the address", async () => {
    const { fetch, sent } = script(json(TOKENS));
    await clientCredentials(acmeClient(fetch, { clientAuthentication: clientSecretPost("hunter2") }));
    expect(sent[0]?.url).not.toContain("hunter2");
  });

  it("tells the authentication what is asked", async () => {
    const seen: unknown[] = [];
    const clientAuthentication: ClientAuthentication = ({ headers, body, ...others }) => {
      seen.push({ ...others, authorization: headers.get("authorization"), form: body.toString() });
      headers.set("x-signed", "yes");
    };
    const { fetch, sent } = script(json(TOKENS), json(TOKENS), text(""), text(""));
    const own = acmeClient(fetch, { clientAuthentication });
    await clientCredentials(own);
    const other = acmeClient(fetch, { clientAuthentication }, acme({ assertionAudience: "https://aud.example" }));
    await clientCredentials(other);
    await revokeTokens(own, savedTokens(own));
    const common = {
      clientId: "s6BhdRkqt3",
      issuer: "https://login.acme.example",
      authorization: null,
      now: expect.any(Number) as number,
    };
    const token = { ...common, endpoint: "https://login.acme.example/token", form: "grant_type=client_credentials" };
    expect(seen.slice(0, 3)).toEqual([
      { ...token, audience: "https://login.acme.example" },
      { ...token, audience: "https://aud.example" },
      expect.objectContaining({
        endpoint: "https://login.acme.example/revoke",
        audience: "https://login.acme.example",
      }),
    ]);
    expect(sent.every(({ headers }) => headers.get("x-signed") === "yes")).toBe(true);
  });
});

describe("refused before anything is sent", () => {
  it("a grant that the warehouse does not speak", async () => {
    const { fetch, sent } = script();
    let asked = 0;
    const clientSecret = (): string => {
      asked++;
      return "s";
    };
    const client = acmeClient(fetch, { clientSecret }, acme({ grants: ["authorization_code", "refresh_token"] }));
    const error = await refusal(clientCredentials(client));
    expect(error).toMatchObject({ code: "grant_unsupported", option: "grants" });
    expect(error.message).toBe('"acme" does not speak client_credentials; it speaks authorization_code, refresh_token');
    expect([sent.length, asked]).toEqual([0, 0]);
  });

  it("a client that is none", async () => {
    expect(await refusal(clientCredentials({} as never))).toMatchObject({ code: "invalid_argument" });
  });

  it("what the secret's function throws comes out as it is", async () => {
    const failure = new Error("the vault is closed");
    const { fetch, sent } = script();
    const client = acmeClient(fetch, {
      clientSecret: () => {
        throw failure;
      },
    });
    await expect(clientCredentials(client)).rejects.toBe(failure);
    expect(sent).toHaveLength(0);
  });
});

describe("the caller's abort", () => {
  it("comes before the secret is asked for", async () => {
    let asked = 0;
    const client = acmeClient(script().fetch, {
      clientSecret: () => {
        asked++;
        return "s";
      },
    });
    const reason = new Error("mine");
    await expect(clientCredentials(client, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(asked).toBe(0);
  });

  it("is heard while the secret is fetched, and nothing is sent afterwards", async () => {
    const { fetch, sent } = script(json(TOKENS));
    let give: (secret: string) => void = () => undefined;
    const client = acmeClient(fetch, {
      clientSecret: () =>
        new Promise<string>((resolve) => {
          give = resolve;
        }),
    });
    const controller = new AbortController();
    const run = clientCredentials(client, { signal: controller.signal });
    await new Promise((resolve) => setTimeout(resolve, 1));
    const reason = new Error("mine");
    controller.abort(reason);
    await expect(run).rejects.toBe(reason);
    give("s");
    await new Promise((resolve) => setTimeout(resolve, 1));
    expect(sent).toHaveLength(0);
  });

  it("while the answer is waited for", async () => {
    const controller = new AbortController();
    const reason = { not: "an error" };
    const { fetch } = script(() => {
      controller.abort(reason);
      return new Promise<Response>(() => undefined);
    });
    const client = acmeClient(fetch);
    await expect(clientCredentials(client, { signal: controller.signal })).rejects.toBe(reason);
  });
});

describe("onSend", () => {
  it("is called once, after authentication and before fetch", async () => {
    const order: string[] = [];
    const { fetch } = script(() => {
      order.push("fetch");
      return Response.json(TOKENS);
    });
    const client = acmeClient(fetch, {
      clientSecret: () => {
        order.push("secret");
        return "s";
      },
    });
    const onSend = (): void => {
      order.push("send");
    };
    await requestTokens(client, { grant: "client_credentials", parameters: {}, onSend });
    expect(order).toEqual(["secret", "send", "fetch"]);
  });

  it("is not called where the caller left while the secret was fetched", async () => {
    let give: (secret: string) => void = () => undefined;
    const clientSecret = (): Promise<string> =>
      new Promise((resolve) => {
        give = resolve;
      });
    const client = acmeClient(script().fetch, { clientSecret });
    const controller = new AbortController();
    let calls = 0;
    const onSend = (): void => {
      calls++;
    };
    const run = requestTokens(client, {
      grant: "client_credentials",
      parameters: {},
      onSend,
      signal: controller.signal,
    });
    await new Promise((resolve) => setTimeout(resolve, 1));
    controller.abort();
    await expect(run).rejects.toBe(controller.signal.reason);
    give("s");
    await new Promise((resolve) => setTimeout(resolve, 1));
    expect(calls).toBe(0);
  });
});

describe("S-027 one deadline for all of an attempt", () => {
  const never = (): Promise<never> => new Promise(() => undefined);
  const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1));

  const hanging: readonly [string, (clock: StillClock, fetch: Fetch) => Promise<unknown>][] = [
    [
      "a secret",
      (clock, fetch) => clientCredentials(acmeClient(fetch, { clock, clientSecret: never, timeoutMs: 700 })),
    ],
    [
      "a key of the client",
      (clock, fetch) =>
        clientCredentials(acmeClient(fetch, { clock, clientAuthentication: privateKeyJwt(never), timeoutMs: 700 })),
    ],
    [
      "an authentication of one's own",
      (clock, fetch) => clientCredentials(acmeClient(fetch, { clock, clientAuthentication: never, timeoutMs: 700 })),
    ],
    [
      "a subject's token",
      (clock, fetch) =>
        exchangeToken(acmeClient(fetch, { clock, timeoutMs: 700 }), { subjectToken: never, subjectTokenType: "urn:x" }),
    ],
    ["an assertion", (clock, fetch) => jwtBearer(acmeClient(fetch, { clock, timeoutMs: 700 }), { assertion: never })],
    [
      "a key that signs assertions",
      (clock, fetch) => jwtBearer(acmeClient(fetch, { clock, timeoutMs: 700 }), { key: never, issuer: "i" }),
    ],
  ];
  it.each(hanging)("%s that never comes is a timeout, and nothing was sent", async (_name, run) => {
    const clock = stillClock();
    const { fetch, sent } = script();
    const waiting = refusal(run(clock, fetch));
    await turn();
    expect(clock.timers).toMatchObject([{ delayMs: 700, keepAlive: true }]);
    clock.advance(700);
    const error = await waiting;
    expect(error).toMatchObject({ name: "TransportError", code: "timeout", ambiguous: false, retryable: true });
    expect(error.message).toContain("nothing was sent");
    expect(sent).toHaveLength(0);
    expect(clock.timers).toHaveLength(0);
  });

  it("a secret that comes too late is not sent", async () => {
    const clock = stillClock();
    const { fetch, sent } = script();
    let give: (secret: string) => void = () => undefined;
    const clientSecret = (): Promise<string> =>
      new Promise((resolve) => {
        give = resolve;
      });
    const waiting = refusal(clientCredentials(acmeClient(fetch, { clock, clientSecret, timeoutMs: 700 })));
    await turn();
    clock.advance(700);
    await waiting;
    give("s");
    await turn();
    expect(sent).toHaveLength(0);
  });

  it("R-20 a secret that lay there when a process that stood still woke up is not sent", async () => {
    const clock = heldUp(manualClock());
    const { fetch, sent } = script(json(TOKENS));
    const clientSecret = async (): Promise<string> => {
      await clock.block(15_000);
      return "s";
    };
    const error = await refusal(clientCredentials(acmeClient(fetch, { clock, clientSecret, timeoutMs: 700 })));
    expect(error).toMatchObject({ code: "timeout", ambiguous: false, retryable: true });
    expect(sent).toHaveLength(0);
  });

  it("what the secret took is not there for the answer", async () => {
    const clock = stillClock();
    const { fetch, sent } = script(never);
    const clientSecret = (): string => {
      clock.advance(400);
      return "s";
    };
    const waiting = refusal(clientCredentials(acmeClient(fetch, { clock, clientSecret, timeoutMs: 700 })));
    await turn();
    expect(sent).toHaveLength(1);
    expect(clock.timers).toMatchObject([{ delayMs: 300, keepAlive: true }]);
    clock.advance(300);
    expect(await waiting).toMatchObject({ code: "timeout", ambiguous: true });
  });

  it("S-021 a code whose client had no secret in time may be exchanged again", async () => {
    const clock = stillClock();
    const { fetch, sent } = script(json(TOKENS));
    let clientSecret: () => string | Promise<string> = never;
    const client = acmeClient(fetch, { clock, clientSecret: () => clientSecret(), timeoutMs: 700 });
    const { callback } = await loggedIn(client);
    const waiting = refusal(exchangeCode(client, callback));
    await turn();
    clock.advance(700);
    expect(await waiting).toMatchObject({ code: "timeout", action: "retry", retryable: true });
    clientSecret = () => "s";
    expect((await exchangeCode(client, callback)).accessToken).toBe("access-1");
    expect(sent).toHaveLength(1);
  });
});
