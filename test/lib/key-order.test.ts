import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compareKeys, endOfPrefix } from "../../src/lib/key-order.ts";

/** Texts that meet each other often, from all lengths of UTF-8. */
const texts = fc.string({
  unit: fc.constantFrom("a", "b", "é", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\u{10000}", "\u{10ffff}"),
  maxLength: 4,
});

describe("compareKeys", () => {
  test("orders as UTF-8 does byte by byte", () => {
    fc.assert(
      fc.property(texts, texts, (a, b) => {
        expect(Math.sign(compareKeys(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
      }),
    );
  });
});

describe("endOfPrefix", () => {
  test("divides what begins with a prefix from all that comes after", () => {
    fc.assert(
      fc.property(texts, texts, (prefix, text) => {
        const end = endOfPrefix(prefix);
        const inside = compareKeys(text, prefix) >= 0 && (end === undefined || compareKeys(text, end) < 0);
        expect(inside).toBe(text.startsWith(prefix));
      }),
    );
  });

  test.each([
    ["", undefined],
    ["ab", "ac"],
    ["a\u{10ffff}", "b"],
    ["\u{10ffff}\u{10ffff}", undefined],
    ["\ud7ff", "\ue000"],
  ])("of %j is %j", (prefix, end) => {
    expect(endOfPrefix(prefix)).toBe(end);
  });
});
