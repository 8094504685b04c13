import { describe, expect, it } from "vitest";
import { TransportError, exchangeCode } from "warehouse-oauth";
import { NOW, TOKENS, type Step, acme, acmeClient, json, loggedIn, refusal, script, text } from "./scripted-client.ts";

const down = (code: string): Error => new TypeError("fetch failed", { cause: Object.assign(new Error("x"), { code }) });

describe("exchangeCode", () => {
  it("gives tokens", async () => {
    const { fetch } = script(json({ ...TOKENS, refresh_token: "refresh-1" }));
    const client = acmeClient(fetch);
    const { callback } = await loggedIn(client, { scopes: ["read"] });
    const tokens = await exchangeCode(client, callback);
    expect(tokens).toMatchObject({
      accessToken: "access-1",
      refreshToken: "refresh-1",
      idToken: undefined,
      tokenType: "Bearer",
      obtainedAt: NOW,
      expiresAt: NOW + 3_600_000,
      scopes: ["read"],
      scopesAssumed: true,
      user: undefined,
    });
  });

  it("neither keeps nor checks an ID token that was not asked for", async () => {
    const { fetch, sent } = script(json({ ...TOKENS, id_token: "no.jwt.at-all" }));
    const client = acmeClient(fetch, {}, acme({ jwksUri: "https://login.acme.example/keys" }));
    const { callback } = await loggedIn(client);
    expect((await exchangeCode(client, callback)).idToken).toBeUndefined();
    expect(sent).toHaveLength(1);
  });

  it("accepts only what validateCallback gave, from this client", async () => {
    const { fetch, sent } = script();
    const client = acmeClient(fetch);
    expect(await refusal(exchangeCode(client, { returnTo: "/" } as never))).toMatchObject({ code: "invalid_argument" });
    const { callback } = await loggedIn(client);
    const other = acmeClient(fetch, { clientId: "other" });
    expect(await refusal(exchangeCode(other, callback))).toMatchObject({
      name: "CallbackError",
      code: "callback_provider_mismatch",
    });
    expect(sent).toHaveLength(0);
  });

  it("S-012 of twenty at once one is sent, and nineteen are told so", async () => {
    const { fetch, sent } = script(json(TOKENS));
    const client = acmeClient(fetch);
    const { callback } = await loggedIn(client, { returnTo: "/report" });
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => exchangeCode(client, callback)));
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const result of results) {
      if (result.status === "rejected")
        expect(result.reason).toMatchObject({ code: "transaction_used", returnTo: "/report", action: "reauthorize" });
    }
    expect(sent).toHaveLength(1);
  });
});

describe("S-021 a code is sent once", () => {
  const lost: readonly [string, Step][] = [
    ["reset", down("ECONNRESET")],
    ["closed", down("UND_ERR_SOCKET")],
    ["unknown", new Error("who knows")],
    ["500", text("", { status: 500 })],
    ["500 server_error", json({ error: "server_error" }, { status: 500 })],
    ["503", text("", { status: 503 })],
    ["408", text("", { status: 408 })],
    [
      "a body that breaks",
      (): Response =>
        new Response(
          new ReadableStream({
            pull(controller): void {
              controller.error(new TypeError("terminated"));
            },
          }),
        ),
    ],
  ];
  it.each(lost)("an answer that was lost is final: %s", async (_name, step) => {
    const { fetch, sent } = script(step, json(TOKENS));
    const client = acmeClient(fetch);
    const { callback } = await loggedIn(client);
    const error = await refusal(exchangeCode(client, callback));
    expect(error).toMatchObject({
      name: "TokenEndpointError",
      code: "code_exchange_ambiguous",
      action: "reauthorize",
      retryable: false,
      ambiguous: true,
    });
    expect(error.cause).toMatchObject({ name: "TransportError" });
    expect(await refusal(exchangeCode(client, callback))).toMatchObject({ code: "transaction_used" });
    expect(sent).toHaveLength(1);
  });

  it("keeps status and code of what it makes ambiguous", async () => {
    const { fetch } = script(json({ error: "server_error" }, { status: 502 }));
    const client = acmeClient(fetch);
    const { callback } = await loggedIn(client);
    expect(await refusal(exchangeCode(client, callback))).toMatchObject({
      status: 502,
      oauthError: "server_error",
      cause: { name: "TransportError", code: "server_unavailable", status: 502 },
    });
  });

  it.each<[string, Step]>([
    ["token_response_not_json", text("{")],
    ["token_response_malformed", json({})],
    ["token_response_malformed", json(TOKENS, { status: 201 })],
    ["token_expires_in_invalid", json({ ...TOKENS, expires_in: "soon" })],
    ["token_type_unsupported", json({ ...TOKENS, token_type: "mac" })],
    ["token_response_too_large", text("x".repeat(300_000))],
    ["token_http_error", text("", { status: 501 })],
  ])("an answer that cannot be used is final too: %s", async (code, step) => {
    const { fetch, sent } = script(step, json(TOKENS));
    const client = acmeClient(fetch);
    const { callback } = await loggedIn(client);
    expect(await refusal(exchangeCode(client, callback))).toMatchObject({
      code,
      ambiguous: true,
      action: "reauthorize",
      retryable: false,
    });
    expect(await refusal(exchangeCode(client, callback))).toMatchObject({ code: "transaction_used" });
    expect(sent).toHaveLength(1);
  });

  it.each<[string, Step, Record<string, unknown>]>([
    [
      "refused",
      json({ error: "invalid_grant" }, { status: 400 }),
      { reason: "interaction_required", action: "reauthorize" },
    ],
    [
      "the client refused",
      json({ error: "invalid_client" }, { status: 401 }),
      { code: "client_auth_failed", action: "fix_config" },
    ],
    ["a redirect", text("", { status: 302 }), { code: "token_redirect_refused", action: "fix_config" }],
    [
      "throttled",
      text("", { status: 429, headers: { "retry-after": "9" } }),
      {
        name: "TransportError",
        code: "server_unavailable",
        action: "reauthorize",
        retryable: false,
        retryAfterMs: 9000,
        status: 429,
      },
    ],
    [
      "unavailable by name",
      json({ error: "temporarily_unavailable" }, { status: 400, headers: { "retry-after": "9" } }),
      {
        code: "server_unavailable",
        action: "reauthorize",
        retryable: false,
        retryAfterMs: 9000,
        status: 400,
        oauthError: "temporarily_unavailable",
      },
    ],
  ])("an answer is final: %s", async (_name, step, expected) => {
    const { fetch, sent } = script(step, json(TOKENS));
    const client = acmeClient(fetch);
    const { callback } = await loggedIn(client);
    expect(await refusal(exchangeCode(client, callback))).toMatchObject({ ...expected, ambiguous: false });
    expect(await refusal(exchangeCode(client, callback))).toMatchObject({ code: "transaction_used" });
    expect(sent).toHaveLength(1);
  });

  it.each(["ECONNREFUSED", "ENOTFOUND", "UND_ERR_CONNECT_TIMEOUT", "CERT_HAS_EXPIRED"])(
    "what never left may be sent again: %s",
    async (code) => {
      const { fetch, sent } = script(down(code), down(code), json(TOKENS));
      const client = acmeClient(fetch);
      const { callback } = await loggedIn(client);
      for (let attempt = 0; attempt < 2; attempt++) {
        const error = await refusal(exchangeCode(client, callback));
        expect(error).toBeInstanceOf(TransportError);
        expect(error).toMatchObject({ code: "network_error", ambiguous: false });
      }
      expect((await exchangeCode(client, callback)).accessToken).toBe("access-1");
      expect(await refusal(exchangeCode(client, callback))).toMatchObject({ code: "transaction_used" });
      expect(sent).toHaveLength(3);
    },
  );

  it("a vault that is closed, an abort before sending, a mistake in the configuration: nothing left", async () => {
    const { fetch, sent } = script(json(TOKENS));
    let secret: () => string | Promise<string> = () => "";
    const client = acmeClient(fetch, { clientSecret: () => secret() });
    const { callback } = await loggedIn(client);
    expect(await refusal(exchangeCode(client, callback))).toMatchObject({ code: "config_invalid" });

    const closed = new Error("closed");
    secret = (): never => {
      throw closed;
    };
    await expect(exchangeCode(client, callback)).rejects.toBe(closed);

    const reason = new Error("mine");
    await expect(exchangeCode(client, callback, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);

    const controller = new AbortController();
    secret = (): Promise<string> => {
      controller.abort(reason);
      return new Promise(() => undefined);
    };
    await expect(exchangeCode(client, callback, { signal: controller.signal })).rejects.toBe(reason);

    expect(sent).toHaveLength(0);
    secret = (): string => "s";
    expect((await exchangeCode(client, callback)).accessToken).toBe("access-1");
  });

  it("an abort after sending is rethrown as it is, and the code is gone", async () => {
    const controller = new AbortController();
    const reason = new Error("mine");
    const { fetch, sent } = script(() => {
      controller.abort(reason);
      return new Promise<Response>(() => undefined);
    });
    const client = acmeClient(fetch);
    const { callback } = await loggedIn(client);
    await expect(exchangeCode(client, callback, { signal: controller.signal })).rejects.toBe(reason);
    expect(await refusal(exchangeCode(client, callback))).toMatchObject({ code: "transaction_used" });
    expect(sent).toHaveLength(1);
  });
});
