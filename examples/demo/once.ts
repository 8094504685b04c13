import { HttpBrowser, textOf, type BrowserPage } from "./http-browser.ts";
import { walkSessions } from "./once-sessions.ts";
import { startDemo, type DemoOptions } from "./server.ts";
import { WAREHOUSE_IDS, WAREHOUSE_NAMES, type WarehouseId } from "./warehouses.ts";

/** How often, and how many times, a page is looked at until it says what is expected. */
const LOOK_MS = 200;
const MAX_LOOKS = 600;

/** Walks through the whole demo over HTTP, as a browser would. Prints each step; gives whether all went well. */
export async function walkThrough(
  print: (line: string) => void,
  options: Pick<DemoOptions, "drivers"> = {},
): Promise<boolean> {
  const demo = await startDemo(options);
  try {
    for (const id of WAREHOUSE_IDS) {
      print(WAREHOUSE_NAMES[id]);
      for (const failure of await walkWarehouse(demo.origin, id, print)) {
        print(`  ✗ ${failure}`);
        return false;
      }
    }
    return await walkSessions(print);
  } finally {
    await demo.close();
  }
}

/** Goes on until a step fails; gives what failed. */
async function walkWarehouse(
  origin: string,
  id: WarehouseId,
  print: (line: string) => void,
): Promise<readonly string[]> {
  const name = WAREHOUSE_NAMES[id];
  const browser = new HttpBrowser();
  let page: BrowserPage | undefined;
  const current = (): BrowserPage => {
    if (page === undefined) throw new Error("no page is open");
    return page;
  };
  const queryAgain = async (): Promise<BrowserPage> =>
    browser.press(await browser.open(`${origin}/warehouses/${id}`), "Run in this session");
  const steps: readonly (readonly [title: string, run: () => Promise<BrowserPage>, expected: readonly string[]])[] = [
    ["the page offers it", () => browser.open(origin), [`Sign in to ${name}`]],
    [
      "the request is taken apart",
      () => browser.press(current(), `Sign in to ${name}`),
      ["code_challenge_method", "S256", "RFC 7636 §4.2", "What it asks to be allowed"],
    ],
    ["the warehouse shows its sign-in page", () => browser.click(current(), `Continue to ${name}`), ["asks to"]],
    [
      "callback checked, code exchanged",
      () => browser.press(current(), "Agree", { user: "ada@acme.example" }),
      [`Signed in to ${name}`, "ada@acme.example", "Expires in"],
    ],
    [
      "query with the access token",
      () => browser.press(current(), "Run in this session"),
      ["3 rows", "Europe", "88120.5"],
    ],
    ["refresh", () => browser.press(current(), "Refresh now"), ["refreshed: generation 2"]],
    [
      "its session, live",
      () => browser.click(current(), "Watch this session"),
      ["active", "Next refresh", "fresh until", "tokens_issued", "refresh_succeeded"],
    ],
    [
      "100 queries with a dead token",
      async () => {
        let answered = await browser.press(current(), "100 queries at once");
        // The form is answered before slow work is done.
        for (let looks = 0; looks < MAX_LOOKS && !textOf(answered.html).includes("of 100 answered"); looks += 1) {
          await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
          answered = await browser.open(answered.url);
        }
        return answered;
      },
      ["100 of 100 answered, 1 token request", "token_rejected"],
    ],
    ["query with the new one", queryAgain, ["3 rows"]],
    ["signed out", () => browser.press(current(), "Sign out"), [`Signed out of ${name}`]],
    [
      "a forged callback is refused",
      () => browser.open(`${origin}/callback/${id}?code=forged&state=${"A".repeat(43)}`),
      ["transaction_not_found"],
    ],
  ];
  for (const [title, run, expected] of steps) {
    const startedAt = performance.now();
    try {
      page = await run();
    } catch (error) {
      return [`${title}: ${error instanceof Error ? error.message : "failed"}`];
    }
    const text = textOf(page.html);
    const missing = expected.filter((part) => !text.includes(part));
    if (missing.length > 0)
      return [`${title}: the page (status ${String(page.status)}) does not say ${missing.join(", ")}`];
    const took = String(Math.round(performance.now() - startedAt)).padStart(4);
    // As the page says it, where it shows rows.
    const way = expected.includes("3 rows") ? /These came through (.+?)\. /.exec(text)?.[1] : undefined;
    print(`  ✓ ${title.padEnd(38)} ${took} ms${way === undefined ? "" : `  through ${way}`}`);
  }
  return [];
}
