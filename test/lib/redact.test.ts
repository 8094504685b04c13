import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { INSPECT, REDACTED, sanitizeServerText } from "../../src/lib/redact.ts";

describe("sanitizeServerText", () => {
  it("S-019 keeps exactly the characters of RFC 6749 §5.2", () => {
    for (let code = 0; code < 0x180; code++) {
      const allowed = code >= 0x20 && code <= 0x7e && code !== 0x22 && code !== 0x5c;
      const character = String.fromCharCode(code);
      expect([code, sanitizeServerText(`a${character}b`)]).toEqual([code, `a${allowed ? character : " "}b`]);
    }
  });

  it.each([
    ["x".repeat(513), "x".repeat(512)],
    ["x".repeat(512), "x".repeat(512)],
    ["  a  ", "a"],
    ["", undefined],
    ["\u0000", undefined],
    ["   ", undefined],
    [undefined, undefined],
    [null, undefined],
    [5, undefined],
    [{ toString: () => "a" }, undefined],
  ])("S-019 cuts and strips %#", (text, kept) => {
    expect(sanitizeServerText(text)).toBe(kept);
  });
});

describe("INSPECT", () => {
  it("S-081 is where Node looks", () => {
    expect(inspect({ [INSPECT]: () => REDACTED })).toBe("[redacted]");
  });
});
