import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import {
  CallbackError,
  CircuitOpenError,
  ConfigurationError,
  OAuthError,
  RateLimitError,
  ReauthorizationRequiredError,
  SessionClosedError,
  StoreError,
  TokenEndpointError,
  TransportError,
} from "warehouse-oauth";
import { ERROR_ACTIONS, sanitizeCause } from "../../src/core/errors.ts";

describe("ERROR_ACTIONS", () => {
  it("is the table the documentation of codes is made of", () => {
    expect(ERROR_ACTIONS).toMatchInlineSnapshot(`
      {
        "authorization_denied": "none",
        "authorization_error": "fix_config",
        "cache_locked": "retry",
        "cache_permissions": "fix_config",
        "callback_code_missing": "reauthorize",
        "callback_issuer_mismatch": "none",
        "callback_issuer_missing": "none",
        "callback_jarm_unexpected": "fix_config",
        "callback_malformed": "none",
        "callback_param_duplicated": "none",
        "callback_provider_mismatch": "none",
        "callback_state_mismatch": "none",
        "callback_state_missing": "none",
        "callback_unexpected_token": "none",
        "circuit_open": "retry",
        "client_auth_failed": "fix_config",
        "client_unresolved": "fix_config",
        "code_exchange_ambiguous": "reauthorize",
        "config_invalid": "fix_config",
        "cookie_too_large": "fix_config",
        "decrypt_failed": "reauthorize",
        "endpoint_not_allowed": "fix_config",
        "grant_unsupported": "fix_config",
        "id_token_invalid": "fix_config",
        "insecure_url": "fix_config",
        "issuer_mismatch": "fix_config",
        "lease_lost": "retry",
        "lease_timeout": "retry",
        "login_aborted": "none",
        "login_timeout": "reauthorize",
        "manager_closed": "none",
        "network_error": "retry",
        "nonce_mismatch": "reauthorize",
        "rate_limited": "retry",
        "reauthorization_required": "reauthorize",
        "refresh_limit_reached": "retry",
        "scope_not_granted": "reauthorize",
        "server_unavailable": "retry",
        "session_invalid": "reauthorize",
        "store_incapable": "fix_config",
        "store_unavailable": "retry",
        "timeout": "retry",
        "token_expires_in_invalid": "retry",
        "token_http_error": "fix_config",
        "token_redirect_refused": "fix_config",
        "token_response_malformed": "retry",
        "token_response_not_json": "retry",
        "token_response_too_large": "fix_config",
        "token_type_mismatch": "fix_config",
        "token_type_unsupported": "fix_config",
        "tokens_invalid": "fix_config",
        "transaction_expired": "reauthorize",
        "transaction_not_found": "reauthorize",
        "transaction_used": "reauthorize",
        "unknown_key": "fix_config",
      }
    `);
  });
});

describe("the classes", () => {
  it.each([
    [
      new ConfigurationError("config_invalid", "m", "option"),
      ConfigurationError,
      { code: "config_invalid", action: "fix_config", retryable: false, option: "option" },
    ],
    [
      new CallbackError("authorization_error", "m", "/a", { action: "reauthorize" }),
      CallbackError,
      { code: "authorization_error", action: "reauthorize", retryable: false, returnTo: "/a" },
    ],
    [
      new CallbackError("callback_malformed", "m", undefined, { action: "retry" }),
      CallbackError,
      { code: "callback_malformed", action: "retry", retryable: false, returnTo: undefined },
    ],
    [
      new TokenEndpointError("token_http_error", "m", { status: 400 }),
      TokenEndpointError,
      { code: "token_http_error", action: "fix_config", retryable: false, status: 400 },
    ],
    [
      new TokenEndpointError("token_response_malformed", "m"),
      TokenEndpointError,
      { code: "token_response_malformed", action: "retry", retryable: true },
    ],
    [
      new ReauthorizationRequiredError("rotation_lost", "m"),
      ReauthorizationRequiredError,
      { code: "reauthorization_required", action: "reauthorize", retryable: false, reason: "rotation_lost" },
    ],
    [
      new TransportError("timeout", "m", { ambiguous: true }),
      TransportError,
      { code: "timeout", action: "retry", retryable: true, ambiguous: true },
    ],
    [
      new TransportError("network_error", "m", { retryable: false, action: "fix_config" }),
      TransportError,
      { code: "network_error", action: "fix_config", retryable: false, ambiguous: false },
    ],
    [
      new CircuitOpenError("m", 5),
      CircuitOpenError,
      { code: "circuit_open", action: "retry", retryable: true, retryAfterMs: 5 },
    ],
    [
      new RateLimitError("rate_limited", "m", 0, { status: 429, retryAfterMs: undefined }),
      RateLimitError,
      { code: "rate_limited", action: "retry", retryable: true, retryAfterMs: 0, status: 429 },
    ],
    [
      new StoreError("unknown_key", "m", "read"),
      StoreError,
      { code: "unknown_key", action: "fix_config", retryable: false, operation: "read" },
    ],
    [
      new StoreError("lease_lost", "m", "lease"),
      StoreError,
      { code: "lease_lost", action: "retry", retryable: true, operation: "lease" },
    ],
    [new SessionClosedError("m"), SessionClosedError, { code: "manager_closed", action: "none", retryable: false }],
  ])("%s", (error, Class, members) => {
    expect(error).toMatchObject(members);
    expect(error).toBeInstanceOf(Class);
    expect(error).toBeInstanceOf(OAuthError);
    expect(error).toBeInstanceOf(Error);
    expect(error.name).toBe(Class.name);
    expect(error.message).toBe("m");
    expect(OAuthError.is(error)).toBe(true);
  });

  it("have members only where there is something to say", () => {
    const bare = new TransportError("timeout", "m");
    for (const member of ["status", "oauthError", "retryAfterMs", "cause"]) expect(bare).not.toHaveProperty(member);
    expect(bare.oauthErrorDescription).toBeUndefined();
    const full = new TransportError("timeout", "m", {
      status: 503,
      oauthError: "e",
      oauthErrorDescription: "d",
      retryAfterMs: 7,
      cause: new TypeError("x"),
    });
    expect(full).toMatchObject({
      status: 503,
      oauthError: "e",
      oauthErrorDescription: "d",
      retryAfterMs: 7,
      cause: { name: "TypeError" },
    });
  });
});

describe("oauthErrorDescription", () => {
  it("S-084 is read by name and printed by nobody: servers echo secrets in it", () => {
    const error = new TokenEndpointError("token_http_error", "m", { oauthErrorDescription: "marker-secret" });
    expect(error.oauthErrorDescription).toBe("marker-secret");
    const printed = [
      inspect(error, { depth: Infinity, showHidden: true }),
      JSON.stringify(error),
      String(error),
      error.stack,
    ];
    expect(printed.join()).not.toContain("marker-secret");
  });
});

describe("OAuthError.is", () => {
  it("knows errors of another copy of this package, and nothing else", () => {
    const foreign: unknown = Object.assign(new Error("x"), { [Symbol.for("warehouse-oauth.error")]: true });
    expect(OAuthError.is(foreign)).toBe(true);
    expect(Reflect.get(new TransportError("timeout", "m"), Symbol.for("warehouse-oauth.error"))).toBe(true);
    for (const value of [undefined, null, "x", {}, new Error("x"), new TypeError("x")])
      expect(OAuthError.is(value)).toBe(false);
  });
});

describe("sanitizeCause", () => {
  it("S-083 keeps name, code and status, and nothing else", () => {
    const cause = Object.assign(new TypeError("fetch failed: secret-marker"), {
      code: "ECONNRESET",
      status: 503,
      response: Response.json({ access_token: "secret-marker" }),
      cause: new Error("secret-marker"),
    });
    const error = new TransportError("network_error", "m", { cause });
    expect(error.cause).toStrictEqual({ name: "TypeError", code: "ECONNRESET", status: 503 });
    expect(Object.isFrozen(error.cause)).toBe(true);
    expect(inspect(error, { depth: Infinity, showHidden: true })).not.toContain("secret-marker");
  });

  it.each([
    [
      { name: "a b", code: "secret code!", status: "503" },
      { name: "Error", code: undefined, status: undefined },
    ],
    [
      { name: "A".repeat(64), code: "A".repeat(65), status: 1.5 },
      { name: "A".repeat(64), code: undefined, status: undefined },
    ],
    [
      { name: "A".repeat(65), code: "A", status: 0 },
      { name: "Error", code: "A", status: 0 },
    ],
    [
      { name: "1A", code: "_A" },
      { name: "Error", code: undefined, status: undefined },
    ],
    [
      { name: 5, code: 5, status: Number.NaN },
      { name: "Error", code: undefined, status: undefined },
    ],
    [
      { name: "A_b.c1", code: "a\n" },
      { name: "A_b.c1", code: undefined, status: undefined },
    ],
    [
      { name: "42P01", code: "42P01" },
      { name: "Error", code: "42P01", status: undefined },
    ],
    [{ code: "42p01" }, { name: "Error", code: undefined, status: undefined }],
    [{ code: "42P011" }, { name: "Error", code: undefined, status: undefined }],
    [{}, { name: "Error", code: undefined, status: undefined }],
  ])("takes names and codes only if they look like some: %#", (cause, kept) => {
    expect(sanitizeCause(cause)).toStrictEqual(kept);
  });

  it.each([undefined, null, "secret", 5])("keeps nothing of %j", (cause) => {
    expect(sanitizeCause(cause)).toBeUndefined();
  });

  it("survives getters that throw", () => {
    const cause = {
      get name(): string {
        throw new Error("no");
      },
      code: "A",
    };
    expect(sanitizeCause(cause)).toEqual({ name: "Error", code: "A", status: undefined });
  });
});
