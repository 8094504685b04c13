import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startDemo, type Demo } from "../../examples/demo/server.ts";
import { CHROMIUM_FLAGS, findChromium } from "./chromium.ts";

const executablePath = findChromium();
const noBrowser =
  executablePath === undefined
    ? "left out: no Chromium here; install chromium (Debian) or set CHROMIUM_PATH"
    : undefined;

/** Only to end what hangs: a browser takes its time on a busy machine, at its start and at each step. */
const TIMEOUT_MS = 300_000;
const STEP_TIMEOUT_MS = 120_000;

describe.skipIf(noBrowser !== undefined)(`the demo in Chromium ${noBrowser ?? ""}`, { timeout: TIMEOUT_MS }, () => {
  let demo: Demo;
  let browser: Browser;
  beforeAll(async () => {
    demo = await startDemo({ random: () => 0.999 }); // a session that retries is seen doing so
    browser = await chromium.launch({
      executablePath: executablePath ?? "",
      args: [...CHROMIUM_FLAGS],
      timeout: STEP_TIMEOUT_MS,
    });
  }, TIMEOUT_MS);
  afterAll(async () => {
    await browser.close();
    await demo.close();
  });

  async function openPage(options?: BrowserContextOptions): Promise<Page> {
    const page = await browser.newPage(options);
    page.setDefaultTimeout(STEP_TIMEOUT_MS);
    return page;
  }

  test("a person clicks from the first page to rows, and nothing is blocked on the way", async () => {
    const page = await openPage();
    const complaints: string[] = [];
    page.on("console", (message) => {
      if (message.type() === "error") complaints.push(message.text());
    });
    page.on("requestfailed", (request) => complaints.push(request.url()));

    await page.goto(demo.origin);
    await page.getByRole("button", { name: "Sign in to Databricks" }).click();
    await page.getByRole("heading", { name: "What your browser is about to ask Databricks" }).waitFor();
    await page.getByRole("link", { name: "Continue to Databricks" }).click();
    await page.getByRole("textbox").fill("ada@acme.example");
    await page.getByRole("button", { name: "Agree" }).click();
    await page.getByRole("heading", { name: "Signed in to Databricks as ada@acme.example" }).waitFor();
    await page.getByRole("button", { name: "Run in this session" }).click();
    await page.getByRole("cell", { name: "North America" }).waitFor();
    await page.getByRole("button", { name: "Refresh now" }).click();
    await page.getByText("refresh token replaced").waitFor();

    expect(complaints).toEqual([]);
    expect(await page.evaluate("document.cookie")).toBe("");
    const [cookie] = await page.context().cookies(demo.origin);
    expect(cookie).toMatchObject({ name: "demo_visitor", httpOnly: true, sameSite: "Lax" });
    await page.close();
  });

  test("a session moves without a click, and a person breaks it and watches", async () => {
    const page = await openPage();
    const complaints: string[] = [];
    page.on("console", (message) => {
      if (message.type() === "error") complaints.push(message.text());
    });
    await page.goto(demo.origin);
    await page.getByRole("button", { name: "Sign in to Snowflake" }).click();
    await page.getByRole("link", { name: "Continue to Snowflake" }).click();
    await page.getByRole("button", { name: "Agree" }).click();
    await page.getByRole("link", { name: "Watch this session" }).click();
    await page.getByText("Live", { exact: true }).waitFor();
    const status = page.getByRole("status");
    await status.getByText("active").waitFor();
    const address = page.url();

    // However briefly it says so.
    await page.evaluate(`globalThis.said = [];
      new MutationObserver(() => said.push(document.querySelector("[role=status]")?.textContent))
        .observe(document.body, { childList: true, subtree: true, characterData: true });`);
    await page.getByRole("button", { name: "Answer 503, three times" }).click();
    await page.getByText("next refreshes meet: 503, 503, 503").waitFor();
    await page.getByRole("button", { name: "Refresh now" }).click();
    await page.getByText("generation 2, refresh token kept").waitFor();
    expect(await page.evaluate("said.join()")).toContain("refreshing");
    await page.getByRole("button", { name: "Withdraw the grant" }).click();
    await page.getByText("an administrator withdrew the grant").waitFor();
    await page.getByRole("button", { name: "Refresh now" }).click();
    await status.getByText("refresh_token_dead").waitFor();

    // All of it in place, by the stream: the page was never left.
    expect(page.url()).toBe(address);
    expect(complaints).toEqual([]);
    await status.getByRole("button", { name: "Sign in again" }).click();
    await page.getByRole("heading", { name: "What your browser is about to ask Snowflake" }).waitFor();
    await page.close();
  });

  test("without scripts a session's page is whole, and its buttons work", async () => {
    const page = await openPage({ javaScriptEnabled: false });
    await page.goto(demo.origin);
    await page.getByRole("button", { name: "Sign in to BigQuery" }).click();
    await page.getByRole("link", { name: "Continue to BigQuery" }).click();
    await page.getByRole("button", { name: "Agree" }).click();
    await page.getByRole("link", { name: "Watch this session" }).click();
    await page.getByRole("button", { name: "Refresh now" }).click();
    await page.getByText("generation 2, refresh token kept").waitFor();
    await page.getByRole("link", { name: "Reload" }).click();
    await page.getByText("active", { exact: true }).waitFor();
    await page.close();
  });

  test("declining leads back to a page that explains it", async () => {
    const page = await openPage();
    await page.goto(demo.origin);
    await page.getByRole("button", { name: "Sign in to Snowflake" }).click();
    await page.getByRole("link", { name: "Continue to Snowflake" }).click();
    await page.getByRole("button", { name: "Decline" }).click();
    await page.getByRole("heading", { name: "You declined, and nothing happened" }).waitFor();
    await page.getByRole("button", { name: "Sign in to Snowflake" }).click();
    await page.getByRole("heading", { name: "What your browser is about to ask Snowflake" }).waitFor();
    expect(new URL(page.url()).origin).toBe(demo.origin);
    await page.close();
  });

  test.each([320, 1280])("no page is wider than a screen of %i pixels", async (width) => {
    const page = await openPage({ viewport: { width, height: 800 } });
    const overflow = (): Promise<unknown> =>
      page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
    await page.goto(demo.origin);
    expect(await overflow()).toBe(0);
    await page.getByRole("button", { name: "Sign in to BigQuery" }).click();
    await page.getByRole("link", { name: "Continue to BigQuery" }).waitFor();
    expect(await overflow()).toBe(0);
    await page.getByRole("link", { name: "Continue to BigQuery" }).click();
    await page.getByRole("button", { name: "Agree" }).click();
    await page.getByRole("button", { name: "Run in this session" }).click();
    await page.getByRole("cell", { name: "Europe" }).waitFor();
    expect(await overflow()).toBe(0);
    await page.getByRole("link", { name: "Watch this session" }).click();
    await page.getByText("Live", { exact: true }).waitFor();
    expect(await overflow()).toBe(0);
    await page.getByRole("link", { name: "All sessions" }).click();
    await page.getByText("Live", { exact: true }).waitFor();
    expect(await overflow()).toBe(0);
    await page.close();
  });
});
