import { inspect } from "node:util";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CallbackError, OAuthError, createAuthorizationRequest, validateCallback } from "warehouse-oauth";
import type { CallbackErrorCode, OAuthClient, PendingAuthorization } from "warehouse-oauth";
import { grantOf } from "../../src/core/callback.ts";
import { NOON, REDIRECT_URI, acmeClient, expectCode, standingClock, thrownBy } from "./acme.ts";

const ISSUER = "https://login.acme.example";
const clock = standingClock();
const client = acmeClient({ clock });
const { pending } = await createAuthorizationRequest(client, { returnTo: "/report" });
const { state } = pending;
const other = await createAuthorizationRequest(client);

type Query = Record<string, string> | [string, string][] | string;

const check = (
  query: Query,
  options: { client?: OAuthClient; pending?: PendingAuthorization | null | undefined } = {},
): unknown =>
  validateCallback(
    options.client ?? client,
    new URLSearchParams(query),
    "pending" in options ? options.pending : pending,
  );

const refuse = async (
  query: Query,
  code: CallbackErrorCode,
  options?: Parameters<typeof check>[1],
): Promise<CallbackError> => {
  const error = await expectCode(() => check(query, options), code);
  expect(error).toBeInstanceOf(CallbackError);
  return error as CallbackError;
};

describe("validateCallback", () => {
  it("gives what stands for the login, and shows none of it", () => {
    const callback = validateCallback(client, new URLSearchParams({ state, code: "code-1" }), pending);
    expect(callback).toEqual({ returnTo: "/report" });
    expect(Object.isFrozen(callback)).toBe(true);
    const grant = grantOf(callback);
    expect(grant.pending).toBe(pending);
    expect(grant.parameters.get("code")).toBe("code-1");
    expect(inspect(callback, { depth: Infinity, showHidden: true })).not.toMatch(/code-1|state/);
  });

  it("takes a URL, parameters, a request, and a login that was kept as JSON", () => {
    const url = new URL(REDIRECT_URI);
    url.searchParams.set("state", state);
    url.searchParams.set("code", "code-1");
    const kept = JSON.parse(JSON.stringify(pending)) as PendingAuthorization;
    for (const callback of [url, url.searchParams, new Request(url)]) {
      expect(grantOf(validateCallback(client, callback, kept)).parameters.get("code")).toBe("code-1");
    }
  });

  it("keeps a copy: what becomes of the caller's parameters is no matter", () => {
    const parameters = new URLSearchParams({ state, code: "code-1" });
    const callback = validateCallback(client, parameters, pending);
    parameters.set("code", "code-2");
    expect(grantOf(callback).parameters.get("code")).toBe("code-1");
  });

  it("S-007 does not care what a proxy or an attacker says of the host", () => {
    const request = new Request(`https://evil.example/elsewhere?state=${state}&code=code-1`, {
      headers: {
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "http",
        "x-forwarded-uri": "/admin",
        forwarded: "host=evil.example",
      },
    });
    expect(grantOf(validateCallback(client, request, pending)).pending.redirectUri).toBe(REDIRECT_URI);
  });

  it.each(["POST", "HEAD", "PUT", "OPTIONS"])("refuses the method %s", async (method) => {
    const request = new Request(`${REDIRECT_URI}&state=${state}&code=1`, { method });
    await expectCode(() => validateCallback(client, request, pending), "callback_malformed");
  });

  it.each([undefined, null, "https://app.example/cb?code=1", { searchParams: new URLSearchParams() }])(
    "refuses %j for a callback",
    async (callback) => {
      await expectCode(() => validateCallback(client, callback as never, pending), "invalid_argument");
    },
  );

  it("refuses what is no client", async () => {
    await expectCode(() => validateCallback({ ...client }, new URLSearchParams(), pending), "invalid_argument");
  });

  it.each([
    5,
    {},
    "state",
    { ...pending, state: undefined },
    { ...pending, codeVerifier: 5 },
    { ...pending, connectionId: null },
    { ...pending, redirectUri: new URL(REDIRECT_URI) },
    { ...pending, issuer: undefined },
    { ...pending, scopes: "sql" },
    { ...pending, scopes: ["openid"] },
    { ...pending, nonce: 5 },
    { ...pending, returnTo: null },
    { ...pending, createdAt: "1" },
    { ...pending, createdAt: Number.NaN },
    { ...pending, expiresAt: Infinity },
    { ...pending, expiresAt: undefined },
  ])("refuses a login that is not whole: %#", async (broken) => {
    const error = await expectCode(() => check({ state, code: "1" }, { pending: broken as never }), "invalid_argument");
    expect((error as Error).message).not.toContain(state);
  });
});

describe("size (step 2)", () => {
  const fill = (length: number): string => "a".repeat(length);

  it("takes values of 8 KB and no more", async () => {
    expect(() => check({ state, code: fill(8192) })).not.toThrow();
    await refuse({ state, code: fill(8193) }, "callback_malformed");
    await refuse({ state, other: fill(8193), code: "1" }, "callback_malformed");
  });

  it("takes 16 KB in all and no more", async () => {
    const query = (length: number): Query => ({ state, code: "1", x: fill(8000), y: fill(4000), z: fill(length) });
    // Names, values, and two signs for each of the five.
    const rest = 16_384 - (5 + state.length + 4 + 1 + 1 + 8000 + 1 + 4000 + 1 + 10);
    expect(() => check(query(rest))).not.toThrow();
    await refuse(query(rest + 1), "callback_malformed");
  });

  it("counts a whole URL as it is written, path and escapes too", async () => {
    const url = (path: number): URL => new URL(`https://app.example/${fill(path)}?code=1&state=${state}`);
    const room = 16_384 - url(0).href.length;
    expect(() => validateCallback(client, url(room), pending)).not.toThrow();
    await expectCode(() => validateCallback(client, url(room + 1), pending), "callback_malformed");
    await expectCode(() => validateCallback(client, new Request(url(room + 1)), pending), "callback_malformed");
    const escaped = new URL(`https://app.example/?code=${"%41".repeat(6000)}&state=${state}`);
    await expectCode(() => validateCallback(client, escaped, pending), "callback_malformed");
  });

  it("counts many small ones", async () => {
    await refuse("a&".repeat(10_000), "callback_malformed");
  });
});

describe("order of the checks (1.2)", () => {
  // Each query breaks one check more than the one before it; the earliest wins.
  const expired = { ...pending, expiresAt: NOON };
  const elsewhere = { ...expired, redirectUri: "https://other.example/" };
  const all: [string, string][] = [
    ["access_token", "t"],
    ["response", "jwt"],
    ["error", "access_denied"],
    ["iss", "https://evil.example"],
  ];

  it.each<[CallbackErrorCode, [string, string][], PendingAuthorization | undefined]>([
    ["callback_code_missing", [["state", state]], pending],
    [
      "callback_unexpected_token",
      [
        ["state", state],
        ["access_token", "t"],
      ],
      pending,
    ],
    ["callback_jarm_unexpected", [["state", state], ...all.slice(0, 2)], pending],
    ["authorization_denied", [["state", state], ...all.slice(0, 3)], pending],
    ["callback_issuer_mismatch", [["state", state], ...all], pending],
    ["transaction_expired", [["state", state], ...all], expired],
    ["callback_provider_mismatch", [["state", state], ...all], elsewhere],
    ["callback_state_mismatch", [["state", other.pending.state], ...all], elsewhere],
    ["transaction_not_found", [["state", other.pending.state], ...all], undefined],
    ["callback_state_mismatch", [["state", "short"], ...all], undefined],
    ["callback_state_missing", all, undefined],
    ["callback_param_duplicated", [...all, ["code", "1"], ["code", "1"]], undefined],
    ["callback_malformed", [...all, ["code", "1"], ["code", "1"], ["x", "a".repeat(8193)]], undefined],
  ])("%s", async (code, query, login) => {
    await refuse(query, code, { pending: login });
  });

  it("tells where to go only once the state was checked", async () => {
    expect((await refuse({ state, code: "" }, "callback_code_missing")).returnTo).toBe("/report");
    expect((await refuse({ state, error: "access_denied" }, "authorization_denied")).returnTo).toBe("/report");
    expect(
      (await refuse({ state: other.pending.state, code: "1" }, "callback_state_mismatch")).returnTo,
    ).toBeUndefined();
  });
});

describe("state", () => {
  it.each([{ error: "access_denied" }, { error: "access_denied", state: "" }, { code: "1" }, { code: "1", state: "" }])(
    "S-010 is missed, with an error or a code: %j",
    async (query) => {
      await refuse(query, "callback_state_missing");
      expect(() => check({ state, code: "1" })).not.toThrow();
    },
  );

  it.each([
    state.slice(1),
    `${state}a`,
    `${state} `,
    state.toLowerCase() === state ? state.toUpperCase() : state.toLowerCase(),
    `${state.slice(0, 42)}=`,
    `${state.slice(0, 42)}${state.endsWith("A") ? "B" : "A"}`,
    "a".repeat(43),
    "\u0000",
    "constructor",
  ])("S-010 S-011 is compared whole: %#", async (wrong) => {
    for (const rest of [{ code: "1" }, { error: "access_denied" }]) {
      await refuse({ state: wrong, ...rest }, "callback_state_mismatch");
    }
    expect(() => check({ state, code: "1" })).not.toThrow();
  });

  it("S-011 of nobody's login is transaction_not_found", async () => {
    await refuse({ state, code: "1" }, "transaction_not_found", { pending: undefined });
    await refuse({ state, code: "1" }, "transaction_not_found", { pending: null });
    await refuse({ state, error: "access_denied" }, "transaction_not_found", { pending: undefined });
    await refuse({ state: "x", code: "1" }, "callback_state_mismatch", { pending: undefined });
  });
});

describe("S-014 where the login was sent", () => {
  it("a login that says it was sent to another issuer", async () => {
    const elsewhere = { ...pending, issuer: "https://login.other.example" };
    await refuse({ state, code: "1" }, "callback_provider_mismatch", { pending: elsewhere });
  });

  it.each([
    ["another account's issuer", acmeClient({ clock }, { issuer: "https://login.other.example" })],
    ["another token endpoint", acmeClient({ clock }, { tokenEndpoint: "https://login.acme.example/token2" })],
    ["another warehouse", acmeClient({ clock }, { id: "acme2" })],
    ["another client", acmeClient({ clock, clientId: "client-2" })],
    ["another redirect URI", acmeClient({ clock, redirectUri: "https://app.example/oauth/callback" })],
    ["no redirect URI", acmeClient({ clock, redirectUri: undefined } as never)],
  ])("%s", async (_what, wrong) => {
    await refuse({ state, code: "1" }, "callback_provider_mismatch", { client: wrong });
    await refuse({ state, error: "access_denied" }, "callback_provider_mismatch", { client: wrong });
  });
});

describe("S-013 age", () => {
  it.each([
    [NOON, true],
    [NOON + 599_999, true],
    [NOON + 600_000, false],
    [NOON - 300_000, true],
    [NOON - 300_001, false],
    [NOON + 1e12, false],
  ])("at %d", async (time, good) => {
    const late = acmeClient({ clock: standingClock(time) });
    const login = { ...pending };
    if (good) expect(check({ state, code: "1" }, { client: late, pending: login })).toEqual({ returnTo: "/report" });
    else await refuse({ state, code: "1" }, "transaction_expired", { client: late, pending: login });
  });
});

describe("S-016 iss", () => {
  it.each<["always" | "sometimes" | "never", string | undefined, CallbackErrorCode | undefined]>([
    ["always", ISSUER, undefined],
    ["always", undefined, "callback_issuer_missing"],
    ["always", "", "callback_issuer_missing"],
    ["always", `${ISSUER}/`, "callback_issuer_mismatch"],
    ["always", "https://LOGIN.acme.example", "callback_issuer_mismatch"],
    ["sometimes", ISSUER, undefined],
    ["sometimes", undefined, undefined],
    ["sometimes", "", undefined],
    ["sometimes", `${ISSUER}/`, "callback_issuer_mismatch"],
    ["sometimes", "https://evil.example", "callback_issuer_mismatch"],
    ["never", ISSUER, undefined],
    ["never", undefined, undefined],
    ["never", "https://evil.example", "callback_issuer_mismatch"],
  ])("%s sent, and it is %j: %s", async (issuerInCallback, iss, code) => {
    const careful = acmeClient({ clock }, { issuerInCallback });
    const query = { state, ...(iss !== undefined && { iss }) };
    if (code === undefined) {
      expect(check({ ...query, code: "1" }, { client: careful })).toEqual({ returnTo: "/report" });
      await refuse({ ...query, error: "access_denied" }, "authorization_denied", { client: careful });
    } else {
      await refuse({ ...query, code: "1" }, code, { client: careful });
      await refuse({ ...query, error: "access_denied" }, code, { client: careful });
    }
  });
});

describe("S-017 repetitions", () => {
  it.each([
    "state",
    "code",
    "iss",
    "error",
    "error_description",
    "error_uri",
    "scope",
    "session_state",
    "response",
    "access_token",
    "id_token",
    "token_type",
  ])("%s", async (name) => {
    const good: [string, string][] = [
      ["state", state],
      ["code", "1"],
      ["iss", ISSUER],
    ];
    const once = good.filter(([known]) => known !== name);
    const value = good.find(([known]) => known === name)?.[1] ?? "x";
    await refuse([...once, [name, value], [name, value]], "callback_param_duplicated");
    const error = await refuse([...once, [name, value], ["other", "x"], [name, ""]], "callback_param_duplicated");
    expect(error.message).toContain(`"${name}"`);
  });

  it("of what we do not know are no matter", () => {
    expect(
      check([
        ["state", state],
        ["code", "1"],
        ["x", "1"],
        ["x", "2"],
        ["authuser", "0"],
        ["prompt", "none"],
      ]),
    ).toBeDefined();
  });
});

describe("S-018 code", () => {
  it.each([{}, { code: "" }])("is missing: %j", async (query) => {
    await refuse({ state, ...(query as Record<string, string>) }, "callback_code_missing");
  });

  it.each(["access_token", "id_token", "token_type", "token"])("comes with %s", async (name) => {
    const { message } = await refuse({ state, code: "1", [name]: "secret-token" }, "callback_unexpected_token");
    expect(message).toContain(`"${name}"`);
    expect(message).not.toContain("secret-token");
    await refuse({ state, code: "1", [name]: "" }, "callback_unexpected_token");
  });

  it("comes in a signed response", async () => {
    await refuse({ state, response: "jwt" }, "callback_jarm_unexpected");
    await refuse({ state, code: "1", response: "" }, "callback_jarm_unexpected");
  });

  it("comes with an error: the error wins", async () => {
    await refuse({ state, code: "1", error: "access_denied" }, "authorization_denied");
  });
});

describe("S-019 error callbacks", () => {
  it.each([
    ["access_denied", "authorization_denied", "none"],
    ["login_required", "authorization_error", "reauthorize"],
    ["consent_required", "authorization_error", "reauthorize"],
    ["interaction_required", "authorization_error", "reauthorize"],
    ["account_selection_required", "authorization_error", "reauthorize"],
    ["temporarily_unavailable", "authorization_error", "reauthorize"],
    ["server_error", "authorization_error", "reauthorize"],
    ["invalid_request", "authorization_error", "fix_config"],
    ["unauthorized_client", "authorization_error", "fix_config"],
    ["unsupported_response_type", "authorization_error", "fix_config"],
    ["invalid_scope", "authorization_error", "fix_config"],
    ["invalid_target", "authorization_error", "fix_config"],
    ["invalid_request_uri", "authorization_error", "fix_config"],
    ["invalid_request_object", "authorization_error", "fix_config"],
    ["request_not_supported", "authorization_error", "fix_config"],
    ["request_uri_not_supported", "authorization_error", "fix_config"],
    ["registration_not_supported", "authorization_error", "fix_config"],
  ] as const)("%s is %s, action %s", async (error, code, action) => {
    const refused = await refuse({ state, error, error_description: "No luck." }, code);
    expect(refused).toMatchObject({
      action,
      retryable: false,
      oauthError: error,
      oauthErrorDescription: "No luck.",
      returnTo: "/report",
    });
    expect(refused.message).not.toContain("No luck.");
    if (code === "authorization_error") expect(refused.message).toContain(`"${error}"`);
  });

  it.each([
    "",
    "constructor",
    "__proto__",
    "made_up",
    "<script>alert(1)</script>",
    "\u001b[31m",
    "a".repeat(8000),
    "Access_Denied",
  ])("keeps %j to itself", async (error) => {
    const refused = await refuse({ state, error }, "authorization_error");
    expect(refused).toMatchObject({ action: "none", retryable: false });
    expect(refused.oauthError).toBeUndefined();
    expect(refused.message).toBe("the warehouse answered the login with an error of its own");
  });

  it.each([
    ['<script>alert("1")</script>', "<script>alert( 1 )</script>"],
    ["a\r\nSet-Cookie: x=1", "a  Set-Cookie: x=1"],
    ["\u001b[31mred\u001b[0m", "[31mred [0m"],
    ["a\\b\u0000c\u2028d", "a b c d"],
    ["x".repeat(8000), "x".repeat(512)],
    ["\u0000\n", undefined],
    ["", undefined],
  ])("cuts and strips the description %#", async (description, kept) => {
    const refused = await refuse(
      { state, error: "server_error", error_description: description },
      "authorization_error",
    );
    expect(refused.oauthErrorDescription).toBe(kept);
    expect(refused.message).toBe('the warehouse answered the login with "server_error"');
  });

  it("refuses a description of 1 MB", async () => {
    await refuse({ state, error: "server_error", error_description: "x".repeat(1_048_576) }, "callback_malformed");
  });

  it("leaves the login usable", async () => {
    await refuse({ state, error: "temporarily_unavailable" }, "authorization_error");
    expect(() => check({ state, code: "1" })).not.toThrow();
  });
});

describe("any callback at all", () => {
  const name = fc.constantFrom(
    "state",
    "code",
    "iss",
    "error",
    "error_description",
    "response",
    "access_token",
    "id_token",
    "token",
    "token_type",
    "scope",
    "x",
    "__proto__",
  );
  const value = fc.oneof(
    fc.constantFrom(state, other.pending.state, ISSUER, `${ISSUER}/`, "", "access_denied", "server_error", "1"),
    fc.string({ unit: "binary", maxLength: 60 }),
  );

  const outcome = (callback: URL | URLSearchParams): string => {
    try {
      grantOf(validateCallback(client, callback, pending));
      return "good";
    } catch (error) {
      if (!(error instanceof CallbackError)) throw error;
      return error.code;
    }
  };

  /** The same rules, written once more and as plainly as can be. */
  const expected = (query: readonly (readonly [string, string])[]): string => {
    const all = (wanted: string): string[] => query.filter(([one]) => one === wanted).map(([, text]) => text);
    const known = [
      "state",
      "code",
      "iss",
      "error",
      "error_description",
      "error_uri",
      "scope",
      "session_state",
      "response",
      "access_token",
      "id_token",
      "token_type",
    ];
    if (known.some((one) => all(one).length > 1)) return "callback_param_duplicated";
    const [given = ""] = all("state");
    if (given === "") return "callback_state_missing";
    if (given !== state) return "callback_state_mismatch";
    const [iss = ""] = all("iss");
    if (iss !== "" && iss !== ISSUER) return "callback_issuer_mismatch";
    const [error] = all("error");
    if (error !== undefined) return error === "access_denied" ? "authorization_denied" : "authorization_error";
    if (all("response").length > 0) return "callback_jarm_unexpected";
    if (["access_token", "id_token", "token_type", "token"].some((one) => all(one).length > 0))
      return "callback_unexpected_token";
    return (all("code")[0] ?? "") === "" ? "callback_code_missing" : "good";
  };

  it("S-010 is good or a CallbackError, by the fixed order", () => {
    const query = fc.array(fc.tuple(name, value), { maxLength: 6 });
    const likely = query.map((rest): [string, string][] => [
      ["state", state],
      ...rest.filter(([one]) => one !== "state"),
    ]);
    fc.assert(
      fc.property(fc.oneof(query, likely), (pairs) => {
        const wellFormed = pairs.map(([one, text]): [string, string] => [
          one,
          new URLSearchParams([["a", text]]).get("a") ?? "",
        ]);
        const parameters = new URLSearchParams(pairs.map(([one, text]) => [one, text]));
        return outcome(parameters) === expected(wellFormed);
      }),
      { numRuns: 500 },
    );
  });

  it("S-103 is good or a CallbackError, whatever the text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 300 }), (text) => {
        const url = new URL("https://app.example/cb");
        url.search = text;
        outcome(url);
        outcome(new URLSearchParams(text));
      }),
    );
  });

  it("S-103 is refused at 64 KB", () => {
    for (const part of ["&", "=", "%", "state=a&", "a[", "+", "\u0000", "%f0%9f"]) {
      const text = part.repeat(Math.ceil(65_536 / part.length));
      const code = outcome(new URLSearchParams(text));
      expect(["callback_malformed", "callback_state_missing"]).toContain(code);
      expect(outcome(new URL(`https://app.example/cb?${text}x`))).toBe("callback_malformed");
    }
  });
});

describe("grantOf", () => {
  it.each([undefined, null, {}, { returnTo: "/report" }, "x"])("refuses %j", async (callback) => {
    await expectCode(() => grantOf(callback as never), "invalid_argument");
  });
});

describe("every error of a callback", () => {
  it("S-084 holds no state, code, verifier or query", async () => {
    const secrets = [state, other.pending.state, pending.codeVerifier, "code-marker", "token-marker"];
    for (const query of [
      { state: other.pending.state, code: "code-marker" },
      { state, code: "code-marker", iss: "https://token-marker.example" },
      { state, code: "code-marker", access_token: "token-marker" },
      { state, error: "token-marker", code: "code-marker" },
    ]) {
      const error = await thrownBy(() => check(query));
      expect(OAuthError.is(error)).toBe(true);
      const printed = `${inspect(error, { depth: Infinity, showHidden: true })}${JSON.stringify(error)}${String(error)}`;
      for (const secret of secrets) expect(printed).not.toContain(secret);
    }
  });
});
