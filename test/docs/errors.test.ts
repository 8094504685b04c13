import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { ERROR_ACTIONS } from "../../src/core/errors.ts";

const page = readFileSync(new URL("../../docs/errors.md", import.meta.url), "utf8");

/** The entries of the page: what stands under each heading of the third level. */
const entries = page
  .split(/^#{1,2} .*$/m)
  .flatMap((section) => section.split(/^### /m).slice(1))
  .map((text) => {
    const end = text.indexOf("\n");
    return { heading: text.slice(0, end), body: text.slice(end) };
  });

describe("docs/errors.md", () => {
  test("has a heading for each code, and no other, in the order of the table", () => {
    expect(entries.map(({ heading }) => heading)).toEqual(Object.keys(ERROR_ACTIONS).map((code) => `\`${code}\``));
  });

  test.each(entries.map(({ heading, body }) => [heading, body] as const))("%s says cause and cure", (_, body) => {
    expect(body).toMatch(/^\*\*Cause\.\*\* \S[\s\S]+^\*\*Cure\.\*\* \S/m);
  });
});
