import { describe, expect, it, vi } from "vitest";
import { createPkce } from "warehouse-oauth";
import { expectCode } from "./acme.ts";

const VERIFIER = /^[A-Za-z0-9_-]{43}$/;

describe("createPkce", () => {
  it("S-001 gives the challenge of RFC 7636 appendix B, and S256 only", async () => {
    expect(await createPkce("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")).toEqual({
      codeVerifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
      codeChallenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
      codeChallengeMethod: "S256",
    });
  });

  it("S-002 makes 100 000 verifiers that are distinct and in the grammar, without Math.random", async () => {
    const random = vi.spyOn(Math, "random").mockImplementation(() => {
      throw new Error("Math.random is not for secrets");
    });
    try {
      const verifiers = new Set<string>();
      for (let batch = 0; batch < 100; batch++) {
        const pairs = await Promise.all(Array.from({ length: 1000 }, () => createPkce()));
        for (const { codeVerifier, codeChallenge } of pairs) {
          if (!VERIFIER.test(codeVerifier) || !VERIFIER.test(codeChallenge)) throw new Error("not in the grammar");
          verifiers.add(codeVerifier);
        }
      }
      expect(verifiers.size).toBe(100_000);
      expect(random).not.toHaveBeenCalled();
    } finally {
      random.mockRestore();
    }
  });

  it.each(["a".repeat(43), "a".repeat(128), "AZaz09-._~".repeat(5)])(
    "S-002 takes a verifier of one's own: %s",
    async (own) => {
      expect((await createPkce(own)).codeVerifier).toBe(own);
    },
  );

  it.each([
    ["", "empty"],
    ["a".repeat(42), "42 characters"],
    ["a".repeat(129), "129 characters"],
    [`${"a".repeat(43)}+`, "a plus"],
    [`${"a".repeat(43)}=`, "an equals sign"],
    [`+${"a".repeat(43)}`, "a plus at the start"],
    [`${"a".repeat(43)}\n`, "a line end"],
    [`${"a".repeat(43)}é`, "no ASCII"],
  ])("S-002 refuses a verifier outside the grammar: %j, %s", async (own) => {
    expect(await expectCode(() => createPkce(own), "config_invalid")).toMatchObject({ option: "codeVerifier" });
  });

  it("refuses a verifier of another type", async () => {
    await expectCode(() => createPkce(5 as never), "invalid_argument");
    await expectCode(() => createPkce(null as never), "invalid_argument");
  });

  it.each([undefined, {}])("says what is missing where there is no Web Crypto: %j", async (crypto) => {
    vi.stubGlobal("crypto", crypto);
    try {
      expect(await expectCode(() => createPkce(), "config_invalid")).toMatchObject({
        option: "crypto",
        message: expect.stringContaining("Web Crypto") as string,
      });
    } finally {
      vi.unstubAllGlobals();
    }
  });
});
