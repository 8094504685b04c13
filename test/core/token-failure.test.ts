import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConfigurationError, type Grant, OAuthError, type TokenFailureClass } from "warehouse-oauth";
import { classifyTokenFailure, createTokenFailure, readOAuthError } from "../../src/core/token-failure.ts";
import { NOW } from "./scripted-client.ts";

const GRANTS: readonly Grant[] = [
  "authorization_code",
  "refresh_token",
  "client_credentials",
  "jwt_bearer",
  "token_exchange",
];
const NONE = {};

const classify = (grant: Grant, status: number, oauthError?: string): TokenFailureClass =>
  classifyTokenFailure(NONE, { grant, status, oauthError, body: undefined });

interface Made {
  readonly status?: number;
  readonly body?: Record<string, unknown>;
  readonly headers?: Record<string, string>;
}

const make = (grant: Grant, { status = 400, body, headers }: Made = {}): ReturnType<typeof createTokenFailure> =>
  createTokenFailure(
    { grant, warehouse: NONE, isPublic: false },
    { status, headers: new Headers(headers), text: "" },
    body,
    NOW,
  );

describe("section 2.4: OAuth codes", () => {
  it.each<[string, TokenFailureClass]>([
    ["invalid_grant", "dead_grant"],
    ["expired_token", "dead_grant"],
    ["invalid_token", "dead_grant"],
    ["interaction_required", "interaction_required"],
    ["login_required", "interaction_required"],
    ["consent_required", "interaction_required"],
    ["invalid_client", "client_rejected"],
    ["unauthorized_client", "client_rejected"],
    ["temporarily_unavailable", "transient"],
    ["server_error", "transient"],
    ["slow_down", "throttled"],
    ["too_many_requests", "throttled"],
    ["rate_limit", "throttled"],
    ["rate_limited", "throttled"],
    ["rate_limit_exceeded", "throttled"],
    ["rate_limit_reached_today", "throttled"],
    ["unsupported_grant_type", "fatal"],
    ["invalid_scope", "fatal"],
    ["invalid_target", "fatal"],
    ["access_denied", "fatal"],
  ])("%s is %s, whatever the status and the grant", (oauthError, expected) => {
    for (const grant of GRANTS) {
      for (const status of [200, 400, 401, 403, 429, 500, 503])
        expect(classify(grant, status, oauthError)).toBe(expected);
    }
  });

  it("R-23 invalid_request kills a refresh at status 400, and nothing else", () => {
    expect(classify("refresh_token", 400, "invalid_request")).toBe("dead_grant");
    expect(classify("refresh_token", 401, "invalid_request")).toBe("fatal");
    expect(classify("refresh_token", 503, "invalid_request")).toBe("transient");
    for (const grant of GRANTS.filter((name) => name !== "refresh_token")) {
      expect(classify(grant, 400, "invalid_request")).toBe("fatal");
    }
  });

  it("an unknown code leaves it to the status", () => {
    expect(classify("refresh_token", 400, "foo")).toBe("fatal");
    expect(classify("refresh_token", 400, "a_rate_limit")).toBe("fatal");
    expect(classify("refresh_token", 500, "foo")).toBe("transient");
    expect(classify("refresh_token", 429, "foo")).toBe("throttled");
    expect(classify("refresh_token", 400, "constructor")).toBe("fatal");
  });
});

describe("section 2.4: statuses without a code", () => {
  const expected = (status: number): TokenFailureClass => {
    if ([423, 429].includes(status)) return "throttled";
    if ([408, 421, 425, 500, 502, 503, 504].includes(status)) return "transient";
    return status >= 520 && status <= 527 ? "transient" : "fatal";
  };

  it("every status from 200 to 599", () => {
    for (let status = 200; status < 600; status++) {
      expect([status, classify("client_credentials", status)]).toEqual([status, expected(status)]);
      const refresh = status === 400 ? "dead_grant" : expected(status);
      expect([status, classify("refresh_token", status)]).toEqual([status, refresh]);
    }
  });
});

describe("R-23 the warehouse's own view", () => {
  it("comes first, and leaves what it does not know", () => {
    const warehouse = {
      classifyTokenError: ({ oauthError }: { oauthError: string | undefined }): TokenFailureClass | undefined =>
        oauthError === "invalid_grant" ? "transient" : undefined,
    };
    const failure = { grant: "refresh_token", status: 400, body: {} } as const;
    expect(classifyTokenFailure(warehouse, { ...failure, oauthError: "invalid_grant" })).toBe("transient");
    expect(classifyTokenFailure(warehouse, { ...failure, oauthError: "invalid_client" })).toBe("client_rejected");
  });

  it("fails by name where it throws, and holds nothing of the answer", () => {
    const classifyTokenError = (): never => {
      throw new TypeError("secret-text");
    };
    for (const [status, ambiguous] of [
      [400, false],
      [500, true],
    ] as const) {
      const answer = { status, headers: new Headers(), text: "" };
      const request = { grant: "refresh_token", warehouse: { classifyTokenError }, isPublic: false } as const;
      const run = (): unknown => createTokenFailure(request, answer, undefined, 0);
      expect(run).toThrow(ConfigurationError);
      expect(run).toThrow(
        expect.objectContaining({ code: "config_invalid", option: "classifyTokenError", status, ambiguous }),
      );
      expect(run).not.toThrow(/secret-text/);
    }
  });

  it("S-049 tells a client without a secret that it has none", () => {
    const body = { error: "invalid_client" };
    const answer = { status: 401, headers: new Headers(), text: "" };
    const failure = (isPublic: boolean): string =>
      createTokenFailure({ grant: "refresh_token", warehouse: NONE, isPublic }, answer, body, NOW).message;
    expect(failure(true)).toContain('neither "clientSecret" nor "clientAuthentication" was given');
    expect(failure(false)).not.toContain("was given");
  });

  it("sees grant, status, code and body", () => {
    const seen: unknown[] = [];
    const warehouse = {
      classifyTokenError: (failure: unknown): undefined => {
        seen.push(failure);
      },
    };
    const body = { error: "invalid_grant", error_subtype: "invalid_rapt" };
    createTokenFailure(
      { grant: "refresh_token", warehouse, isPublic: false },
      { status: 400, headers: new Headers(), text: "" },
      body,
      NOW,
    );
    expect(seen).toEqual([{ grant: "refresh_token", status: 400, oauthError: "invalid_grant", body }]);
  });
});

describe("S-034 reading `error`", () => {
  it.each([
    [undefined, undefined],
    [{}, undefined],
    [{ error: "invalid_grant" }, "invalid_grant"],
    [{ error: "x".repeat(64) }, "x".repeat(64)],
    [{ error: "x".repeat(65) }, undefined],
    [{ error: "" }, undefined],
    [{ error: 'a"b' }, undefined],
    [{ error: "a\\b" }, undefined],
    [{ error: "a\nb" }, undefined],
    [{ error: "é" }, undefined],
    [{ error: { code: 401, message: "x" } }, undefined],
    [{ error: ["invalid_grant"] }, undefined],
    [{ error: null }, undefined],
    [{ error: 1 }, undefined],
    [Object.create({ error: "invalid_grant" }) as Record<string, unknown>, undefined],
  ])("%j gives %s", (body, code) => {
    expect(readOAuthError(body)).toBe(code);
  });
});

describe("the error that is made", () => {
  it.each<[Grant, string | undefined, number, Record<string, unknown>]>([
    [
      "refresh_token",
      "invalid_grant",
      400,
      { name: "ReauthorizationRequiredError", reason: "refresh_token_dead", action: "reauthorize", retryable: false },
    ],
    ["refresh_token", undefined, 400, { name: "ReauthorizationRequiredError", reason: "refresh_token_dead" }],
    [
      "authorization_code",
      "invalid_grant",
      400,
      { name: "ReauthorizationRequiredError", reason: "interaction_required", action: "reauthorize" },
    ],
    ["refresh_token", "login_required", 400, { name: "ReauthorizationRequiredError", reason: "interaction_required" }],
    [
      "jwt_bearer",
      "invalid_grant",
      400,
      { name: "TokenEndpointError", code: "token_http_error", action: "fix_config" },
    ],
    ["client_credentials", "invalid_grant", 400, { name: "TokenEndpointError", code: "token_http_error" }],
    [
      "token_exchange",
      "invalid_target",
      400,
      { name: "TokenEndpointError", code: "token_http_error", action: "fix_config" },
    ],
    [
      "refresh_token",
      "invalid_client",
      401,
      { name: "TokenEndpointError", code: "client_auth_failed", action: "fix_config", retryable: false },
    ],
    [
      "client_credentials",
      "access_denied",
      403,
      { name: "TokenEndpointError", code: "token_http_error", retryable: false },
    ],
    [
      "client_credentials",
      undefined,
      404,
      { name: "TokenEndpointError", code: "token_http_error", action: "fix_config" },
    ],
    [
      "client_credentials",
      undefined,
      502,
      { name: "TransportError", code: "server_unavailable", retryable: true, action: "retry" },
    ],
    [
      "client_credentials",
      undefined,
      429,
      { name: "RateLimitError", code: "rate_limited", retryable: true, retryAfterMs: 2000 },
    ],
  ])("%s, %s, %i", (grant, oauthError, status, expected) => {
    const error = make(grant, { status, ...(oauthError !== undefined && { body: { error: oauthError } }) });
    expect(error).toMatchObject({ ...expected, status });
    expect(error.oauthError).toBe(oauthError);
    expect(error.message).toContain(
      `the token endpoint answered ${String(status)}${oauthError === undefined ? "" : ` "${oauthError}"`}`,
    );
  });

  it("the message for a dead grant says what was presented", () => {
    const dead = (grant: Grant): string => make(grant, { body: { error: "invalid_grant" } }).message;
    expect(dead("refresh_token")).toMatch(/refresh token is used, expired or revoked/);
    expect(dead("authorization_code")).toMatch(/code is used, expired, or of another client/);
    expect(dead("jwt_bearer")).toMatch(/assertion was refused/);
  });

  it("S-084 holds no server text but a code that is known; the description is a property that nothing prints", () => {
    const error = make("client_credentials", {
      body: {
        error: "hunter2",
        error_description: 'se"cret\u001B[31m\r\ntext',
        error_uri: "https://x.example/?secret",
      },
    });
    expect(error.message).toBe(
      "the token endpoint answered 400; look at the endpoint's address and the client's registration",
    );
    expect(error.oauthError).toBe("hunter2");
    expect(error.oauthErrorDescription).toBe("se cret [31m  text");
    expect(Object.keys(error)).not.toContain("oauthErrorDescription");
    expect(make("client_credentials", { body: { error: "invalid_request" } }).message).toContain(
      '400 "invalid_request"',
    );
  });

  it("takes the description from `message` where there is no other, and cuts it at 512 characters", () => {
    expect(make("refresh_token", { body: { message: "no" } }).oauthErrorDescription).toBe("no");
    expect(make("refresh_token", { body: { message: "no", error_description: "yes" } }).oauthErrorDescription).toBe(
      "yes",
    );
    expect(make("refresh_token", { body: { error_description: "x".repeat(1000) } }).oauthErrorDescription).toHaveLength(
      512,
    );
    expect(make("refresh_token", { body: { error_description: { a: 1 } } }).oauthErrorDescription).toBeUndefined();
    expect(make("refresh_token").oauthErrorDescription).toBeUndefined();
  });

  it("R-31 passes Retry-After on, with every class", () => {
    for (const [status, body] of [
      [429, {}],
      [503, {}],
      [400, { error: "invalid_grant" }],
      [400, { error: "invalid_client" }],
      [404, {}],
    ] as const) {
      expect(make("refresh_token", { status, body, headers: { "retry-after": "7" } }).retryAfterMs).toBe(7000);
    }
    const date = { "retry-after": "Sat, 21 Nov 2026 12:01:00 GMT" };
    expect(make("refresh_token", { status: 503, headers: date }).retryAfterMs).toBe(60_000);
    const relative = { ...date, date: "Sat, 21 Nov 2026 12:00:50 GMT" };
    expect(make("refresh_token", { status: 503, headers: relative }).retryAfterMs).toBe(10_000);
    expect(make("refresh_token", { status: 503, headers: { "retry-after": "soon" } }).retryAfterMs).toBeUndefined();
    expect(make("refresh_token", { status: 429, headers: { "retry-after": "0" } }).retryAfterMs).toBe(0);
  });
});

describe("R-20 which answers leave it open whether the request was processed", () => {
  const ambiguous = (grant: Grant, status: number, error?: string): boolean =>
    make(grant, { status, ...(error !== undefined && { body: { error } }) }).ambiguous;

  it("408 and 5xx, coded or not", () => {
    for (const grant of GRANTS) {
      for (const status of [408, 500, 501, 502, 504, 520, 527, 599])
        expect([status, ambiguous(grant, status)]).toEqual([status, true]);
      for (const status of [401, 403, 404, 407, 409, 421, 423, 425, 429, 499]) {
        expect([status, ambiguous(grant, status)]).toEqual([status, false]);
      }
    }
    expect(ambiguous("refresh_token", 500, "server_error")).toBe(true);
    expect(ambiguous("refresh_token", 400, "server_error")).toBe(false);
  });

  it("503 only for codes", () => {
    for (const grant of GRANTS) expect(ambiguous(grant, 503)).toBe(grant === "authorization_code");
    expect(ambiguous("authorization_code", 503, "temporarily_unavailable")).toBe(true);
  });

  it("not what was refused by name, whatever the status", () => {
    for (const error of ["invalid_grant", "invalid_client", "login_required", "slow_down"]) {
      for (const status of [400, 500, 503]) expect(ambiguous("authorization_code", status, error)).toBe(false);
    }
  });
});

it("classification never throws, and always gives an error of ours", () => {
  const body = fc.option(
    fc.dictionary(
      fc.oneof(fc.string(), fc.constantFrom("error", "error_description", "message", "__proto__")),
      fc.jsonValue(),
    ),
    {
      nil: undefined,
    },
  );
  const headers = fc.record({
    "retry-after": fc.oneof(fc.nat().map(String), fc.stringMatching(/^[\x20-\x7e]{0,40}$/)),
  });
  fc.assert(
    fc.property(
      fc.constantFrom(...GRANTS),
      fc.integer({ min: 200, max: 599 }),
      body,
      headers,
      (grant, status, value, fields) => {
        const error = make(grant, { status, headers: fields, ...(value !== undefined && { body: value }) });
        expect(OAuthError.is(error)).toBe(true);
        expect(error.status).toBe(status);
        if (error.retryAfterMs !== undefined) expect(error.retryAfterMs).toBeGreaterThanOrEqual(0);
        expect((error.oauthErrorDescription ?? "").length).toBeLessThanOrEqual(512);
      },
    ),
    { numRuns: 2000 },
  );
});
