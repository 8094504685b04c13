import { inspect } from "node:util";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TokenSet, exportTokens, importTokens } from "warehouse-oauth";
import type { ExportedTokens } from "warehouse-oauth";
import { isToken } from "../../src/core/token-set.ts";
import { acmeTokens, expectCode, thrownBy } from "./acme.ts";

const WHOLE: ExportedTokens = {
  accessToken: "marker-access",
  refreshToken: "marker-refresh",
  idToken: "marker-id",
  tokenType: "Bearer",
  obtainedAt: 1,
  expiresAt: 2,
  refreshExpiresAt: 3,
  scopes: ["sql", "openid"],
  scopesAssumed: true,
  user: { issuer: "https://login.acme.example", id: "alice", email: "alice@acme.example" },
  connectionId: "a|b|c|d",
};

const LEAST: ExportedTokens = {
  accessToken: "marker-access",
  tokenType: "DPoP",
  obtainedAt: 0,
  scopes: [],
  scopesAssumed: false,
  connectionId: "a|b|c|d",
};

describe("exportTokens and importTokens", () => {
  it.each([[WHOLE], [LEAST]])("round-trip %#", (tokens) => {
    const back = importTokens(JSON.parse(JSON.stringify(tokens)));
    expect(exportTokens(back)).toStrictEqual(tokens);
    expect(back).toBeInstanceOf(TokenSet);
    expect(TokenSet.connectionIdOf(back)).toBe("a|b|c|d");
  });

  it("read every member by name", () => {
    const tokens = importTokens(WHOLE);
    const {
      accessToken,
      refreshToken,
      idToken,
      tokenType,
      obtainedAt,
      expiresAt,
      refreshExpiresAt,
      scopes,
      scopesAssumed,
      user,
    } = tokens;
    expect({
      accessToken,
      refreshToken,
      idToken,
      tokenType,
      obtainedAt,
      expiresAt,
      refreshExpiresAt,
      scopes,
      scopesAssumed,
      user,
      connectionId: "a|b|c|d",
    }).toEqual(WHOLE);
    const least = importTokens(LEAST);
    expect([least.refreshToken, least.idToken, least.expiresAt, least.refreshExpiresAt, least.user]).toEqual(
      Array(5).fill(undefined),
    );
  });

  it("round-trip any tokens", () => {
    const token = fc.stringMatching(/^[ -~]{1,40}$/);
    const time = fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0);
    const text = fc.string({ minLength: 1 });
    const exported = fc.record(
      {
        accessToken: token,
        refreshToken: token,
        idToken: token,
        tokenType: fc.constantFrom("Bearer" as const, "DPoP" as const),
        obtainedAt: time,
        expiresAt: time,
        refreshExpiresAt: time,
        scopes: fc.array(fc.stringMatching(/^[!#-[\]-~]{1,20}$/)),
        scopesAssumed: fc.boolean(),
        user: fc.record({ issuer: text, id: text, email: text }, { requiredKeys: ["issuer", "id"] }),
        connectionId: text,
      },
      { requiredKeys: ["accessToken", "tokenType", "obtainedAt", "scopes", "scopesAssumed", "connectionId"] },
    );
    fc.assert(
      fc.property(exported, (tokens) => {
        const written = JSON.stringify(tokens);
        const again = exportTokens(importTokens(JSON.parse(written)));
        expect(JSON.parse(JSON.stringify(again))).toEqual(JSON.parse(written));
        expect(exportTokens(importTokens(again))).toEqual(again);
      }),
    );
  });

  it("take any JSON, or refuse it as tokens_invalid", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.jsonValue(),
          fc.record({
            ...Object.fromEntries(
              Object.keys(WHOLE).map((name) => [
                name,
                fc.oneof(fc.jsonValue(), fc.constant(WHOLE[name as keyof ExportedTokens])),
              ]),
            ),
          }),
        ),
        async (value) => {
          let tokens: TokenSet | undefined;
          const error: unknown = await Promise.resolve()
            .then(() => {
              tokens = importTokens(value);
              return undefined;
            })
            .catch((thrown: unknown) => thrown);
          return tokens instanceof TokenSet || (error as { code?: string }).code === "tokens_invalid";
        },
      ),
    );
  });

  it("S-033 S-100 leave unknown members out", () => {
    const json = `{"__proto__":{"admin":true},"constructor":1,"extra":"x",${JSON.stringify({ ...WHOLE, user: { ...WHOLE.user, admin: true } }).slice(1)}`;
    const tokens = importTokens(JSON.parse(json));
    expect(exportTokens(tokens)).toStrictEqual(WHOLE);
    expect((tokens as unknown as { admin?: boolean }).admin).toBeUndefined();
    expect(({} as { admin?: boolean }).admin).toBeUndefined();
  });

  it("S-100 take nothing from a prototype", async () => {
    await expectCode(() => importTokens(Object.create(WHOLE)), "tokens_invalid");
  });

  it("name the mistake if the object is redacted", async () => {
    const { message } = (await expectCode(
      () => importTokens(JSON.parse(JSON.stringify(importTokens(WHOLE)))),
      "tokens_invalid",
    )) as Error;
    expect(message).toContain("exportTokens");
  });

  it.each([undefined, null, 5, "text", true, [], [WHOLE]])("refuse %j", async (value) => {
    expect(await expectCode(() => importTokens(value), "tokens_invalid")).toMatchObject({ option: "tokens" });
  });

  it.each([
    ["accessToken", [undefined, null, "", 5, "a\nb", "é", "a\u007f", "a".repeat(65_537)]],
    ["refreshToken", [null, "", 5, "a\r\nb", "a".repeat(65_537)]],
    ["idToken", [null, "", 5, "\u0000"]],
    ["tokenType", [undefined, null, "bearer", "mac", ""]],
    ["obtainedAt", [undefined, null, "1", Number.NaN, Infinity]],
    ["expiresAt", [null, "1", Number.NaN, -Infinity]],
    ["refreshExpiresAt", [null, "1", Number.NaN]],
    ["refreshExpiresAssumed", [null, "true", 1]],
    ["scopes", [undefined, null, "sql", ["a b"], [""], [5], {}]],
    ["scopesAssumed", [undefined, null, "true", 0]],
    [
      "user",
      [
        null,
        "alice",
        {},
        { issuer: "a" },
        { id: "a" },
        { issuer: "", id: "a" },
        { issuer: "a", id: "" },
        { issuer: "a", id: "b", email: "" },
        { issuer: "a", id: "b", email: null },
        { issuer: "a", id: 5 },
      ],
    ],
    ["connectionId", [undefined, null, "", 5]],
  ])("refuse a bad %s", async (member, values) => {
    for (const value of values) {
      const error = await expectCode(() => importTokens({ ...WHOLE, [member]: value }), "tokens_invalid");
      expect(error).toMatchObject({ option: member, message: expect.stringContaining(`"${member}"`) as string });
      expect((error as Error).message).not.toContain("marker");
    }
  });

  it("refuse what is no token set", async () => {
    for (const value of [
      undefined,
      null,
      5,
      {},
      Object.assign({}, importTokens(WHOLE)),
      Object.create(TokenSet.prototype),
    ]) {
      await expectCode(() => exportTokens(value as never), "invalid_argument");
    }
  });
});

describe("TokenSet", () => {
  const tokens = importTokens(WHOLE);

  it("S-055 S-081 prints no token", () => {
    const wrapped = { deep: { list: [tokens] } };
    const texts = [
      JSON.stringify(tokens),
      JSON.stringify(wrapped),
      inspect(tokens),
      inspect(wrapped, { depth: Infinity, showHidden: true, getters: false }),
      inspect(tokens, { customInspect: false, showHidden: true, depth: Infinity }),
      String(tokens),
      "".concat(tokens as never),
      Object.entries(tokens).flat(Infinity).join(),
      JSON.stringify(Object.assign({}, tokens)),
      inspect(structuredClone(Object.assign({}, tokens))),
      inspect(new Error("x", { cause: tokens })),
    ];
    for (const text of texts) expect(text).not.toContain("marker");
    expect(String(tokens)).toBe("TokenSet [redacted]");
    expect("".concat(tokens as never)).toBe("TokenSet [redacted]");
    expect(inspect(tokens)).toBe(`TokenSet ${JSON.stringify(tokens)}`);
    expect(JSON.parse(JSON.stringify(tokens))).toEqual({
      redacted: true,
      tokenType: "Bearer",
      expiresAt: 2,
      scopes: ["sql", "openid"],
    });
  });

  it("cannot be changed", () => {
    expect(Object.isFrozen(tokens) && Object.isFrozen(tokens.scopes) && Object.isFrozen(tokens.user)).toBe(true);
    const scopes = ["a"];
    const kept = importTokens({ ...WHOLE, scopes });
    scopes.push("b");
    expect(kept.scopes).toEqual(["a"]);
    (exportTokens(kept).scopes as string[]).push("c");
    expect(kept.scopes).toEqual(["a"]);
  });

  it("cannot be made by hand", async () => {
    const Made = TokenSet as unknown as new (...parameters: unknown[]) => TokenSet;
    for (const key of [undefined, Symbol("construct"), WHOLE])
      await expectCode(() => new Made(key, WHOLE), "invalid_argument");
  });

  it("hides its tokens from a look-alike", async () => {
    const error = await thrownBy(() => Reflect.get(TokenSet.prototype, "accessToken", {}));
    expect(error).toBeInstanceOf(TypeError);
  });
});

describe("isToken", () => {
  it("S-031 takes visible ASCII and space, up to 64 KB", () => {
    for (let code = 0; code < 0x100; code++) {
      expect([code, isToken(`a${String.fromCharCode(code)}`)]).toEqual([code, code >= 0x20 && code <= 0x7e]);
    }
    expect(isToken("a".repeat(65_536))).toBe(true);
    expect(isToken("a".repeat(65_537))).toBe(false);
    for (const value of ["", undefined, null, 5, ["a"]]) expect(isToken(value)).toBe(false);
  });
});

describe("acmeTokens", () => {
  it("are tokens", () => {
    expect(acmeTokens()).toBeInstanceOf(TokenSet);
  });
});
