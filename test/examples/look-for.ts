import { expect, vi } from "vitest";
import { textOf, type HttpBrowser } from "../../examples/demo/http-browser.ts";

/** Far longer than anything that a page waits for. */
const PATIENCE_MS = 120_000;

/** Looks at a page until it says something. A form may be answered before its work is done. */
export async function lookFor(browser: HttpBrowser, url: URL, expected: RegExp): Promise<string> {
  return vi.waitFor(
    async () => {
      const text = textOf((await browser.open(url)).html);
      expect(text).toMatch(expected);
      return text;
    },
    { timeout: PATIENCE_MS, interval: 100 },
  );
}
