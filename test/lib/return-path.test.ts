import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseReturnPath } from "../../src/lib/return-path.ts";

const APP = "https://app.example";

describe("parseReturnPath", () => {
  it.each([
    "",
    "a",
    " /a",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\/evil.example",
    "/a\\b",
    "/\t/evil.example",
    "/\n/evil.example",
    "/a\r\nLocation: https://evil.example",
    "\u0000//evil.example",
    "/\u0000",
    "/\u007f",
    "/\u0085",
    "/..//evil.example",
    "/.//evil.example",
    "/a/..//evil.example",
    "/%2e%2e//evil.example",
    "/%2E//evil.example",
    "/..///evil.example",
    "https:evil.example",
    "https://app.example/a",
    "https://app.example@evil.example",
    "https://app.example.evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "／／evil.example",
    "?a",
    "#a",
    `/${"a".repeat(2048)}`,
    `/${"é".repeat(2047)}`,
  ])("S-072 refuses %j", (text) => {
    expect(parseReturnPath(text)).toBeUndefined();
  });

  it.each([
    ["/", "/"],
    ["/a?b=c#d", "/a?b=c#d"],
    ["/a/../b", "/b"],
    ["/../../a", "/a"],
    ["/a//b", "/a//b"],
    ["/a b", "/a%20b"],
    ["/a?next=//evil.example", "/a?next=//evil.example"],
    ["/%5cevil.example", "/%5cevil.example"],
    ["/%09/evil.example", "/%09/evil.example"],
    ["/:80", "/:80"],
    ["/@evil.example", "/@evil.example"],
    ["/ü", "/%C3%BC"],
    [`/${"a".repeat(2047)}`, `/${"a".repeat(2047)}`],
  ])("S-072 gives %j rebuilt as %j", (text, path) => {
    expect(parseReturnPath(text)).toBe(path);
  });

  it("S-072 stays on the site, whatever the text, and reads what it wrote", () => {
    const nasty = fc.string({
      unit: fc.constantFrom(
        "/",
        "\\",
        ".",
        "%2e",
        "%5c",
        "%2f",
        ":",
        "@",
        "?",
        "#",
        "a",
        " ",
        "\t",
        "é",
        "evil.example",
      ),
      maxLength: 12,
    });
    fc.assert(
      fc.property(
        fc.oneof(
          nasty,
          nasty.map((text) => `/${text}`),
          fc.string({ unit: "binary" }).map((text) => `/${text}`),
        ),
        (text) => {
          const path = parseReturnPath(text);
          if (path === undefined) return;
          expect(path.startsWith("/")).toBe(true);
          expect(new URL(path, APP).origin).toBe(APP);
          expect(new URL(path, APP).pathname.startsWith("//")).toBe(false);
          expect(parseReturnPath(path)).toBe(path);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it("S-103 finishes on 64 KB", () => {
    for (const part of ["/", "/..", "a", "%", "\u0000"])
      expect(parseReturnPath(`/${part.repeat(65_536)}`)).toBeUndefined();
  });
});
