import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { equalsConstantTime } from "../../src/lib/constant-time.ts";

describe("equalsConstantTime", () => {
  it("S-102 is equality of texts", () => {
    const text = fc.string({ unit: "binary", maxLength: 5 });
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(equalsConstantTime(a, b)).toBe(a === b);
        expect(equalsConstantTime(a, Array.from(a).join(""))).toBe(true);
      }),
    );
  });

  it.each([
    ["", "", true],
    ["a", "", false],
    ["", "a", false],
    ["abc", "abd", false],
    ["abc", "bbc", false],
    ["abc", "abcd", false],
    ["ab", "ba", false],
    ["\u0101", "\u0001", false],
  ])("S-102 %j and %j: %s", (a, b, equal) => {
    expect(equalsConstantTime(a, b)).toBe(equal);
  });
});
