import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { describeScopes } from "warehouse-oauth";
import { assertScopes, formatScopes, isScope, parseScopes, scopesBeyond } from "../../src/core/scopes.ts";
import { acmeWarehouse, expectCode } from "./acme.ts";

/** Any scope of RFC 6749 §3.3. */
const scope = fc.string({
  unit: fc
    .integer({ min: 0x21, max: 0x7e })
    .filter((code) => code !== 0x22 && code !== 0x5c)
    .map((code) => String.fromCharCode(code)),
  minLength: 1,
  maxLength: 30,
});

describe("isScope", () => {
  it("S-042 takes exactly %x21 / %x23-5B / %x5D-7E", () => {
    for (let code = 0; code < 0x180; code++) {
      const allowed = code >= 0x21 && code <= 0x7e && code !== 0x22 && code !== 0x5c;
      const character = String.fromCharCode(code);
      expect([code, isScope(character), isScope(`a${character}b`)]).toEqual([code, allowed, allowed]);
    }
  });

  it.each(["", "a b", " a", "a ", "a\n", 'a"', "a\\b", "é", undefined, 5, ["a"]])("S-042 refuses %j", (value) => {
    expect(isScope(value)).toBe(false);
  });
});

describe("assertScopes", () => {
  it("names the option", async () => {
    expect(
      await expectCode(() => {
        assertScopes(["a", "b c"], "defaultScopes");
      }, "config_invalid"),
    ).toMatchObject({ option: "defaultScopes" });
    expect(
      await expectCode(() => {
        assertScopes([5], "scopes");
      }, "config_invalid"),
    ).toMatchObject({ option: "scopes" });
    await expectCode(() => {
      assertScopes("sql", "scopes");
    }, "invalid_argument");
    await expectCode(() => {
      assertScopes(undefined, "scopes");
    }, "invalid_argument");
  });

  it("takes none and several", () => {
    expect(() => {
      assertScopes([], "scopes");
    }).not.toThrow();
    expect(() => {
      assertScopes(["a", "b"], "scopes");
    }).not.toThrow();
  });
});

describe("parseScopes and formatScopes", () => {
  it("S-042 keep order, drop repetitions, and compare case-sensitively", () => {
    expect(parseScopes("b a b  A ")).toEqual(["b", "a", "A"]);
    expect(parseScopes("")).toEqual([]);
    expect(parseScopes(" ")).toEqual([]);
    expect(formatScopes(["b", "a", "b", "A"])).toBe("b a A");
    expect(formatScopes([])).toBe("");
  });

  it("S-042 know no other delimiter than the space", () => {
    expect(parseScopes("a,b")).toEqual(["a,b"]);
    expect(parseScopes("a\tb c")).toEqual(["c"]);
    expect(parseScopes('a" b')).toEqual(["b"]);
  });

  it("round-trip", () => {
    fc.assert(
      fc.property(fc.array(scope), (scopes) => {
        expect(parseScopes(formatScopes(scopes))).toEqual([...new Set(scopes)]);
      }),
    );
  });

  it("give scopes for any text at all", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
        const scopes = parseScopes(text);
        expect(scopes.every(isScope)).toBe(true);
        expect(new Set(scopes).size).toBe(scopes.length);
        expect(parseScopes(formatScopes(scopes))).toEqual(scopes);
      }),
    );
  });

  it("S-103 finish on 64 KB", () => {
    expect(parseScopes("a ".repeat(32_768))).toEqual(["a"]);
    expect(parseScopes(" ".repeat(65_536))).toEqual([]);
    expect(parseScopes("\u0000".repeat(65_536))).toEqual([]);
  });
});

describe("scopesBeyond", () => {
  it("S-041 is a difference of sets in which asking for offline access does not count", () => {
    expect(scopesBeyond({}, ["a", "b", "offline_access", "refresh_token"], ["b", "c"])).toEqual(["a"]);
    expect(scopesBeyond({}, ["A"], ["a"])).toEqual(["A"]);
    expect(scopesBeyond({}, [], ["a"])).toEqual([]);
  });

  it("holds for any sets", () => {
    fc.assert(
      fc.property(fc.array(scope), fc.array(scope), (wanted, granted) => {
        const beyond = scopesBeyond({}, wanted, granted);
        expect(beyond.some((one) => granted.includes(one))).toBe(false);
        expect(scopesBeyond({}, wanted, [...granted, ...beyond])).toEqual([]);
        expect(beyond.every((one) => wanted.includes(one))).toBe(true);
      }),
    );
  });
});

describe("describeScopes", () => {
  const warehouse = acmeWarehouse({
    scopeCatalogue: new Map([["sql", { description: "Run statements.", level: "write" }]]),
  });

  it("S-101 says what the warehouse knows, and nothing of what it does not", () => {
    expect(describeScopes(warehouse, ["sql", "constructor", "__proto__"])).toEqual([
      { scope: "sql", description: "Run statements.", level: "write" },
      { scope: "constructor", description: undefined, level: undefined },
      { scope: "__proto__", description: undefined, level: undefined },
    ]);
  });

  it("refuses what is no array", async () => {
    await expectCode(() => describeScopes(warehouse, "sql" as never), "invalid_argument");
  });

  it.each([undefined, null, {}, { scopeCatalogue: new Map() }])("refuses the warehouse %j", async (value) => {
    await expectCode(() => describeScopes(value as never, ["sql"]), "invalid_argument");
  });

  it("S-042 knows a scope under its other names, and families by what the warehouse says", () => {
    const families = acmeWarehouse({
      scopeCatalogue: new Map([["sql", { description: "Run statements.", level: "write" }]]),
      scopeAliases: new Map([
        ["https://acme.example/sql", "sql"],
        ["group:x", "role:x"],
      ]),
      describeScope: (scope) => (scope === "role:x" ? { description: "Act as x.", level: "admin" } : undefined),
    });
    expect(describeScopes(families, ["https://acme.example/sql", "role:x", "group:x", "role:y"])).toEqual([
      { scope: "https://acme.example/sql", description: "Run statements.", level: "write" },
      { scope: "role:x", description: "Act as x.", level: "admin" },
      { scope: "group:x", description: "Act as x.", level: "admin" },
      { scope: "role:y", description: undefined, level: undefined },
    ]);
  });
});
