import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Grant,
  OAuthError,
  clientCredentials,
  exportTokens,
  refreshTokens,
  requireScopes,
  missingScopes,
} from "warehouse-oauth";
import { isErrorInDisguise, parseJson, readTokenResponse, rescuedRefreshToken } from "../../src/core/token-response.ts";
import type { TokenResponse } from "../../src/core/token-response.ts";
import {
  NOW,
  type Step,
  TOKENS,
  acme,
  acmeClient,
  json,
  refusal,
  savedTokens,
  script,
  stillClock,
  text,
} from "./scripted-client.ts";

const read = (
  body: unknown,
  grant: Grant = "client_credentials",
  normalize?: (body: Readonly<Record<string, unknown>>) => Record<string, unknown>,
): TokenResponse => {
  const answer = {
    status: 200,
    headers: new Headers({ "content-type": "application/json" }),
    text: JSON.stringify(body),
  };
  return readTokenResponse(
    { userNameMember: "username", ...(normalize !== undefined && { normalizeTokenResponse: normalize }) },
    { grant },
    answer,
    parseJson(answer.text),
  );
};
const refused = (run: () => unknown): Error & Record<string, unknown> => {
  try {
    run();
  } catch (error) {
    return error as Error & Record<string, unknown>;
  }
  throw new Error("nothing was refused");
};
const answered = (step: Step): Promise<Error & Record<string, unknown>> =>
  refusal(clientCredentials(acmeClient(script(step).fetch)));

describe("S-029 only status 200, JSON by type and one whole object", () => {
  const body = JSON.stringify(TOKENS);

  it.each([
    "application/json",
    "application/json;charset=UTF-8",
    "application/json ; charset=utf-8",
    "Application/JSON",
  ])("takes %s", async (type) => {
    const { accessToken } = await clientCredentials(acmeClient(script(text(body, {}, type)).fetch));
    expect(accessToken).toBe("access-1");
  });

  it.each([
    "text/plain",
    "text/html",
    "application/jsonp",
    "application/problem+json",
    "text/application/json",
    "application/json,text/html",
    "",
  ])("refuses the type %j", async (type) => {
    expect(await answered(text(body, {}, type))).toMatchObject({
      code: "token_response_not_json",
      status: 200,
      ambiguous: true,
    });
  });

  it("refuses a missing type", async () => {
    const bytes = new TextEncoder().encode(body);
    expect(await answered(() => new Response(bytes))).toMatchObject({ code: "token_response_not_json" });
  });

  it.each([
    ["null", "token_response_malformed"],
    ["[]", "token_response_malformed"],
    ['"text"', "token_response_malformed"],
    ["7", "token_response_malformed"],
    ["{}", "token_response_malformed"],
    ["", "token_response_not_json"],
    [body.slice(0, -1), "token_response_not_json"],
    [`${body}}`, "token_response_not_json"],
    ["<html>", "token_response_not_json"],
  ])("the body %s is %s", async (content, code) => {
    expect(await answered(text(content))).toMatchObject({
      code,
      status: 200,
      ambiguous: true,
      action: "retry",
      retryable: true,
    });
  });

  it("an array nested 100 000 deep is no JSON", async () => {
    expect(await answered(text("[".repeat(100_000)))).toMatchObject({ code: "token_response_not_json" });
  });

  it("UTF-16 is no JSON, and a byte order mark of UTF-8 is nothing", async () => {
    const utf16 = Uint8Array.from(body.split("").flatMap((character) => [character.charCodeAt(0), 0]));
    expect(await answered(text(utf16))).toMatchObject({ code: "token_response_not_json" });
    const marked = new TextEncoder().encode(`\uFEFF${body}`);
    expect((await clientCredentials(acmeClient(script(text(marked)).fetch))).accessToken).toBe("access-1");
  });

  it.each([201, 202, 203, 206, 299])(
    "status %i with tokens is malformed, and the request may have been processed",
    async (status) => {
      const error = await answered(json({ ...TOKENS, refresh_token: "refresh-1" }, { status }));
      expect(error).toMatchObject({ code: "token_response_malformed", status, ambiguous: true });
      expect(error.message).toContain(`answered ${String(status)}`);
      expect(rescuedRefreshToken(error)).toBe("refresh-1");
    },
  );

  it.each(["text/plain", "application/problem+json", "text/html", null])(
    "S-043 R-56 the refresh token of an answer of type %j is not lost",
    async (type) => {
      const rotated = JSON.stringify({ ...TOKENS, refresh_token: "refresh-1" });
      const error = await answered(text(new TextEncoder().encode(rotated), {}, type));
      expect(error).toMatchObject({ code: "token_response_not_json", status: 200 });
      expect(rescuedRefreshToken(error)).toBe("refresh-1");
    },
  );

  it("S-043 only a success rotates: an error's refresh token is nobody's", async () => {
    const rotated = { error: "invalid_scope", refresh_token: "refresh-1" };
    expect(rescuedRefreshToken(await answered(json(rotated, { status: 400 })))).toBeUndefined();
  });

  it("status 204 has nothing", async () => {
    expect(await answered(text(null, { status: 204 }, null))).toMatchObject({
      code: "token_response_not_json",
      status: 204,
      ambiguous: true,
    });
    expect(await answered(text(null, { status: 204 }))).toMatchObject({ code: "token_response_not_json", status: 204 });
  });

  it("HTML with status 200 and 500", async () => {
    expect(await answered(text("<html>", {}, "text/html"))).toMatchObject({ code: "token_response_not_json" });
    expect(await answered(text("<html>", { status: 500 }, "text/html"))).toMatchObject({
      code: "server_unavailable",
      status: 500,
      ambiguous: true,
    });
  });
});

describe("S-030 errors with status 200", () => {
  it("are errors", async () => {
    expect(await answered(json({ error: "invalid_client" }))).toMatchObject({
      code: "client_auth_failed",
      status: 200,
      oauthError: "invalid_client",
    });
    expect(await answered(json({ error: "temporarily_unavailable" }))).toMatchObject({
      code: "server_unavailable",
      ambiguous: false,
    });
    const client = acmeClient(script(json({ error: "invalid_grant" })).fetch);
    expect(await refusal(refreshTokens(client, savedTokens(client)))).toMatchObject({ reason: "refresh_token_dead" });
  });

  it("null beside a token says nothing", async () => {
    expect((await clientCredentials(acmeClient(script(json({ ...TOKENS, error: null })).fetch))).accessToken).toBe(
      "access-1",
    );
  });

  it.each(["invalid_grant", "", { code: 1 }, 0])("are malformed beside a token: %j", async (error) => {
    expect(await answered(json({ ...TOKENS, error }))).toMatchObject({
      code: "token_response_malformed",
      ambiguous: true,
    });
  });

  it("count only if they are codes", () => {
    expect(isErrorInDisguise(undefined)).toBe(false);
    expect(isErrorInDisguise({})).toBe(false);
    expect(isErrorInDisguise({ error: "x" })).toBe(true);
    expect(isErrorInDisguise({ error: {} })).toBe(false);
    expect(isErrorInDisguise({ error: "x", access_token: undefined })).toBe(false);
  });
});

describe("S-031 tokens", () => {
  it.each(["a", "a".repeat(65_536), "a b", "~!\"#%&'()*+,-./:;<=>?@[\\]^_`{|}"])("takes %.40j", (token) => {
    const result = read({ ...TOKENS, access_token: token, refresh_token: token, id_token: token });
    expect(result).toMatchObject({ accessToken: token, refreshToken: token, idToken: token });
  });

  it.each(["access_token", "refresh_token", "id_token"])("refuses what is none as %s", (member) => {
    for (const value of [
      "",
      null,
      7,
      true,
      [],
      {},
      "a".repeat(65_537),
      "a\r\nb: c",
      "a\n",
      "a\tb",
      "\u007F",
      "é",
      "\u0000",
    ]) {
      expect(refused(() => read({ ...TOKENS, [member]: value }))).toMatchObject({
        code: "token_response_malformed",
        ambiguous: true,
      });
    }
  });

  it("refuses an answer without an access token, and takes one without the others", () => {
    expect(refused(() => read({ token_type: "Bearer" }))).toMatchObject({ code: "token_response_malformed" });
    expect(read({ access_token: "a", token_type: "bearer" })).toEqual({
      accessToken: "a",
      refreshToken: undefined,
      idToken: undefined,
      expiresInMs: undefined,
      lifetimeInvalid: false,
      refreshExpiresInMs: undefined,
      scopes: undefined,
      userName: undefined,
    });
  });
});

describe("S-032 token_type", () => {
  it.each(["Bearer", "bearer", "BEARER"])("takes %s", (type) => {
    expect(read({ ...TOKENS, token_type: type }).accessToken).toBe("access-1");
  });
  it.each([
    [undefined, "token_response_malformed"],
    [null, "token_response_malformed"],
    ["", "token_response_malformed"],
    [7, "token_response_malformed"],
    ["mac", "token_type_unsupported"],
    ["N_A", "token_type_unsupported"],
    ["bearer ", "token_type_unsupported"],
    ["DPoP", "token_type_mismatch"],
    ["dpop", "token_type_mismatch"],
  ])("%j is %s", (type, code) => {
    const error = refused(() => read({ ...TOKENS, token_type: type }));
    expect(error).toMatchObject({ code, ambiguous: true });
    if (code !== "token_response_malformed") expect(error["action"]).toBe("fix_config");
  });
});

describe("S-033, S-100 unknown members", () => {
  it("are left where they are", async () => {
    const many = Object.fromEntries(Array.from({ length: 10_000 }, (_value, index) => [`m${String(index)}`, 1]));
    const body = JSON.stringify({ ...TOKENS, ...many, constructor: 1, toString: 2 }).replace(
      "{",
      '{"__proto__":{"refresh_token":"polluted","admin":true},',
    );
    const tokens = await clientCredentials(acmeClient(script(text(body)).fetch));
    expect(tokens.refreshToken).toBeUndefined();
    expect(Object.keys(exportTokens(tokens)).sort()).toEqual([
      "accessToken",
      "connectionId",
      "expiresAt",
      "obtainedAt",
      "scopes",
      "scopesAssumed",
      "tokenType",
    ]);
    expect(Reflect.get({}, "admin")).toBeUndefined();
  });

  it("S-043 a normalizeTokenResponse that fails is named, and loses no refresh token", () => {
    const hooks: readonly (() => Record<string, unknown>)[] = [
      () => {
        throw Object.assign(new RangeError("refresh-1 is wrong"), { code: "E_BUG" });
      },
      () => undefined as never,
      () => [] as never,
    ];
    for (const hook of hooks) {
      const error = refused(() => read({ ...TOKENS, refresh_token: "refresh-1" }, "refresh_token", hook));
      expect(error).toMatchObject({ code: "token_response_malformed", action: "fix_config", retryable: false });
      expect(error).toMatchObject({ ambiguous: true });
      expect(error.message).toContain('"normalizeTokenResponse"');
      expect(error.message).not.toContain("refresh-1");
      expect(rescuedRefreshToken(error)).toBe("refresh-1");
    }
    const error = refused(() => read(TOKENS, "refresh_token", hooks[0]));
    expect(error.cause).toEqual({ name: "RangeError", code: "E_BUG", status: undefined });
  });

  it("do not come from prototypes", () => {
    const inherited = Object.create({ ...TOKENS }) as Record<string, unknown>;
    expect(refused(() => read({}, "client_credentials", () => inherited))).toMatchObject({
      code: "token_response_malformed",
    });
  });
});

describe("S-034 error answers of every shape", () => {
  it.each<[string, Step, Record<string, unknown>]>([
    [
      "an object for a code",
      json({ error: { code: 401 } }, { status: 401 }),
      { code: "token_http_error", status: 401 },
    ],
    ["empty 400", text("", { status: 400 }, null), { code: "token_http_error", status: 400 }],
    [
      "problem+json",
      text('{"error":"invalid_client"}', { status: 401 }, "application/problem+json"),
      { code: "client_auth_failed" },
    ],
    [
      "401 with a challenge",
      text("", { status: 401, headers: { "www-authenticate": 'Basic realm="x"' } }),
      { code: "token_http_error", status: 401 },
    ],
    ["an array", json([1], { status: 403 }), { code: "token_http_error", status: 403 }],
    [
      "a code beyond 64 characters",
      json({ error: "x".repeat(65) }, { status: 400 }),
      { code: "token_http_error", oauthError: undefined },
    ],
    [
      "too many requests",
      json({ error: "slow_down" }, { status: 429, headers: { "retry-after": "3" } }),
      { code: "rate_limited", retryAfterMs: 3000 },
    ],
  ])("%s", async (_name, step, expected) => {
    const error = await answered(step);
    expect(OAuthError.is(error)).toBe(true);
    for (const [name, value] of Object.entries(expected)) expect(error[name]).toBe(value);
  });
});

describe("S-035, S-036 lifetimes", () => {
  it("count from the start of the request, not from its answer", async () => {
    const clock = stillClock();
    const { fetch } = script((): Response => {
      clock.advance(5000);
      return Response.json(TOKENS);
    });
    const secret = (): string => {
      clock.advance(2000);
      return "s";
    };
    const tokens = await clientCredentials(acmeClient(fetch, { clock, clientSecret: secret }));
    expect(tokens).toMatchObject({ obtainedAt: NOW, expiresAt: NOW + 3_600_000 });
  });

  it.each([-5, "abc", "", null, true, [], {}])("refuses expires_in %j", (value) => {
    expect(refused(() => read({ ...TOKENS, expires_in: value }))).toMatchObject({
      code: "token_expires_in_invalid",
      ambiguous: true,
      retryable: true,
    });
  });

  it("refuses a number beyond all numbers", async () => {
    const error = await answered(
      text('{"access_token":"a","token_type":"bearer","expires_in":1e400,"refresh_token":"r"}'),
    );
    expect(error).toMatchObject({ code: "token_expires_in_invalid" });
    expect(rescuedRefreshToken(error)).toBe("r");
  });

  it("takes the warehouse's own lifetime where the server names none, else none", async () => {
    const silent = { access_token: "a", token_type: "bearer", refresh_token: "r" };
    const known = acme({ accessTokenLifetimeMs: 600_000, refreshTokenLifetimeMs: 7_776_000_000 });
    expect(await clientCredentials(acmeClient(script(json(silent)).fetch, {}, known))).toMatchObject({
      expiresAt: NOW + 600_000,
      refreshExpiresAt: NOW + 7_776_000_000,
    });
    const unknown = await clientCredentials(acmeClient(script(json(silent)).fetch));
    expect([unknown.expiresAt, unknown.refreshExpiresAt]).toEqual([undefined, undefined]);
    const told = { ...silent, expires_in: 0, refresh_token_expires_in: "60" };
    expect(await clientCredentials(acmeClient(script(json(told)).fetch, {}, known))).toMatchObject({
      expiresAt: NOW,
      refreshExpiresAt: NOW + 60_000,
    });
    const alone = await clientCredentials(
      acmeClient(script(json({ ...TOKENS, refresh_token_expires_in: 60 })).fetch, {}, known),
    );
    expect(alone.refreshExpiresAt).toBeUndefined();
  });

  it("ignores a lifetime of the refresh token that is none", () => {
    expect(read({ ...TOKENS, refresh_token_expires_in: null }).refreshExpiresInMs).toBeUndefined();
  });
});

describe("S-039, S-042 scopes", () => {
  it.each<[unknown, readonly string[] | undefined]>([
    [undefined, undefined],
    ["", []],
    ["read", ["read"]],
    ["read  write read", ["read", "write"]],
    ["READ read", ["READ", "read"]],
    ["a,b", ["a,b"]],
    ['ok n"o n\\o', ["ok"]],
  ])("%j is %j", (scope, expected) => {
    expect(read({ ...TOKENS, ...(scope !== undefined && { scope }) }).scopes).toEqual(expected);
  });
  it.each([null, 7, ["read"], {}])("%j is malformed", (scope) => {
    expect(refused(() => read({ ...TOKENS, scope }))).toMatchObject({ code: "token_response_malformed" });
  });

  it("S-039 what was asked for is assumed only where the server says nothing", async () => {
    const grant = async (scope: string | undefined): Promise<unknown> => {
      const client = acmeClient(script(json({ ...TOKENS, ...(scope !== undefined && { scope }) })).fetch);
      const { scopes, scopesAssumed } = await clientCredentials(client, { scopes: ["read", "write"] });
      return [scopes, scopesAssumed];
    };
    expect(await grant(undefined)).toEqual([["read", "write"], true]);
    expect(await grant("")).toEqual([[], false]);
    expect(await grant("write admin")).toEqual([["write", "admin"], false]);
  });

  it("S-040 requireScopes names what is missing, and leaves the tokens alone", async () => {
    const client = acmeClient(
      script(json({ ...TOKENS, scope: "read" })).fetch,
      {},
      acme({ defaultScopes: ["read", "write", "offline_access"] }),
    );
    const tokens = await clientCredentials(client);
    expect(() => {
      requireScopes(tokens, ["read"]);
    }).not.toThrow();
    const error = refused(() => {
      requireScopes(tokens, ["read", "write", "Read"]);
    });
    expect(error).toMatchObject({ name: "TokenEndpointError", code: "scope_not_granted", action: "reauthorize" });
    expect(error.message).toContain("write, Read;");
    expect(tokens.accessToken).toBe("access-1");
    expect(missingScopes(client, tokens)).toEqual(["write"]);
    expect(refused(() => missingScopes(client, {} as never))).toMatchObject({ code: "invalid_argument" });
    expect(
      refused(() => {
        requireScopes(tokens, ["two words"]);
      }),
    ).toMatchObject({ code: "config_invalid" });
  });
});

describe("normalizeTokenResponse and other members", () => {
  it("turns a peculiar body into the usual one", () => {
    const result = read({ data: { token: "a" } }, "client_credentials", () => ({
      access_token: "a",
      token_type: "bearer",
      username: "JANE",
    }));
    expect(result).toMatchObject({ accessToken: "a", userName: "JANE" });
  });
  it.each(["", 7, null])("takes no user name of %j", (username) => {
    expect(read({ ...TOKENS, username }).userName).toBeUndefined();
  });
  it("S-033 names the user beside the tokens, where the warehouse says in which member", async () => {
    const answer = json({ ...TOKENS, username: "JANE", login: "jane" });
    const silent = acmeClient(script(answer).fetch);
    expect((await clientCredentials(silent)).user).toBeUndefined();
    const client = acmeClient(script(answer).fetch, {}, acme({ userNameMember: "username" }));
    expect((await clientCredentials(client)).user).toEqual({
      issuer: "https://login.acme.example",
      id: "JANE",
      email: undefined,
    });
  });
});

describe("a refresh token in an answer that is otherwise no good", () => {
  it("is kept with the error", () => {
    const error = refused(() => read({ refresh_token: "r", token_type: "bearer" }));
    expect(rescuedRefreshToken(error)).toBe("r");
    expect(JSON.stringify(error)).not.toContain('"r"');
    expect(rescuedRefreshToken(refused(() => read({ ...TOKENS, access_token: 1 })))).toBeUndefined();
    expect(rescuedRefreshToken(refused(() => read({ ...TOKENS, refresh_token: 7 })))).toBeUndefined();
    expect(rescuedRefreshToken(new Error("x"))).toBeUndefined();
  });
});

describe("whatever JSON a server answers", () => {
  const member = fc.constantFrom(
    "access_token",
    "token_type",
    "expires_in",
    "refresh_token",
    "scope",
    "error",
    "id_token",
    "issued_token_type",
    "username",
    "__proto__",
  );
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom("bearer", "Bearer", "a", "3600", "invalid_grant"),
    fc.integer(),
  );
  const body = fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.dictionary(member, value));
  const status = fc.oneof(
    { weight: 3, arbitrary: fc.constant(200) },
    fc.constantFrom(201, 204, 299, 302, 400, 401, 429, 500, 503),
  );

  it("S-035 the end is tokens without NaN, or an error of ours", async () => {
    await fc.assert(
      fc.asyncProperty(body, status, fc.constantFrom("refresh", "machine"), async (content, code, kind) => {
        const step = code === 204 ? text(null, { status: 204 }) : json(content, { status: code });
        const client = acmeClient(script(step).fetch);
        try {
          const tokens = await (kind === "machine"
            ? clientCredentials(client)
            : refreshTokens(client, savedTokens(client)));
          expect(tokens.accessToken).not.toBe("");
          for (const time of [tokens.obtainedAt, tokens.expiresAt, tokens.refreshExpiresAt]) {
            if (time !== undefined) expect(Number.isSafeInteger(time)).toBe(true);
          }
        } catch (error) {
          if (!OAuthError.is(error)) throw error;
          expect(["TokenEndpointError", "ReauthorizationRequiredError", "TransportError", "RateLimitError"]).toContain(
            error.name,
          );
        }
      }),
      { numRuns: 500 },
    );
  });

  it("whatever bytes it answers", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), status, async (bytes, code) => {
        const step = text(code === 204 ? null : Uint8Array.from(bytes), { status: code });
        expect(OAuthError.is(await answered(step))).toBe(true);
      }),
      { numRuns: 200 },
    );
  });
});
