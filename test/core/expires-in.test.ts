import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseExpiresIn } from "../../src/core/expires-in.ts";

const TEN_YEARS_MS = 315_360_000_000;

describe("S-035 expires_in", () => {
  it.each([
    [3600, 3_600_000],
    [1, 1000],
    [0, 0],
    ["3600", 3_600_000],
    ["0", 0],
    ["007", 7000],
    [59.9, 59_000],
    [0.9, 0],
    [90_000, 90_000_000],
    [315_359_999, 315_359_999_000],
    [315_360_000, TEN_YEARS_MS],
    [315_360_001, TEN_YEARS_MS],
    [1e15, TEN_YEARS_MS],
    [Number.MAX_VALUE, TEN_YEARS_MS],
    ["99999999999999999999", TEN_YEARS_MS],
  ])("reads %j as %d ms", (value, expected) => {
    expect(parseExpiresIn(value)).toBe(expected);
  });

  it.each([
    -5,
    -0.5,
    "abc",
    "",
    null,
    true,
    false,
    [],
    [3600],
    {},
    undefined,
    NaN,
    JSON.parse("1e400") as number,
    -Infinity,
    "3600.5",
    "-1",
    "+1",
    " 1",
    "1 ",
    "1e3",
    "0x10",
    "３６",
    "100000000000000000000000000",
    "3600\n",
  ])("refuses %j", (value) => {
    expect(parseExpiresIn(value)).toBeUndefined();
  });

  it("gives whole milliseconds between 0 and ten years for any JSON value, or nothing", () => {
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), fc.double(), fc.integer(), fc.bigInt().map(String)), (value) => {
        const lifetimeMs = parseExpiresIn(value);
        if (lifetimeMs === undefined) return;
        expect(Number.isSafeInteger(lifetimeMs)).toBe(true);
        expect(lifetimeMs % 1000).toBeCloseTo(0);
        expect(lifetimeMs).toBeGreaterThanOrEqual(0);
        expect(lifetimeMs).toBeLessThanOrEqual(TEN_YEARS_MS);
      }),
      { numRuns: 2000 },
    );
  });
});
