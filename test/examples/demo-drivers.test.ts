import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, test } from "vitest";
import { loadDrivers } from "../../examples/demo/drivers/load.ts";
import { HttpBrowser, textOf, type BrowserPage } from "../../examples/demo/http-browser.ts";
import { startDemo, type Demo } from "../../examples/demo/server.ts";
import { lookFor } from "./look-for.ts";

const drivers = fileURLToPath(new URL("../drivers/", import.meta.url));
const isInstalled = ["snowflake", "bigquery"].every((name) => existsSync(`${drivers}${name}/node_modules`));
const noDrivers = isInstalled
  ? undefined
  : "left out: no drivers here; npm run test:drivers installs them, and so does --drivers";

const temporary: string[] = [];
afterEach(() => {
  for (const folder of temporary.splice(0)) rmSync(folder, { recursive: true });
});

function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "demo-drivers-"));
  temporary.push(folder);
  return folder;
}

/** Writes what an installation would bring. */
function install(folder: string, source: string): Promise<void> {
  const alias = folder.endsWith("snowflake") ? "snowflake-sdk" : "bigquery-8";
  const at = join(folder, "node_modules", alias);
  mkdirSync(at, { recursive: true });
  writeFileSync(join(at, "package.json"), JSON.stringify({ name: `real-${alias}`, version: "1.2.3", main: "m.cjs" }));
  writeFileSync(join(at, "m.cjs"), source);
  return Promise.resolve();
}

const BOTH = "module.exports = { configure() {}, createConnection() {}, BigQuery: class {} };";

describe("finding the drivers", () => {
  test("installs what is missing, says so, and installs nothing the next time", async () => {
    const folder = makeFolder();
    const lines: string[] = [];
    const installed: string[] = [];
    const source = {
      folder,
      install: (own: string) => (installed.push(own), install(own, BOTH)),
    };
    const found = await loadDrivers((line) => lines.push(line), source);
    expect([found.snowflake.name, found.bigquery.name]).toEqual(["real-snowflake-sdk 1.2.3", "real-bigquery-8 1.2.3"]);
    expect(installed).toEqual([join(folder, "snowflake"), join(folder, "bigquery")]);
    expect(lines).toHaveLength(2);
    expect(lines[0]).toContain("npm ci --prefix test/drivers/snowflake");
    await loadDrivers((line) => lines.push(line), source);
    expect(lines).toHaveLength(2);
  });

  test("refuses what is not the driver, by name", async () => {
    const source = { folder: makeFolder(), install: (own: string) => install(own, "module.exports = {};") };
    await expect(loadDrivers(() => undefined, source)).rejects.toThrow("real-snowflake-sdk 1.2.3 lacks");
  });
});

async function withDemo(work: (demo: Demo) => Promise<void>): Promise<void> {
  const demo = await startDemo({ drivers: await loadDrivers(() => undefined) });
  try {
    await work(demo);
  } finally {
    await demo.close();
  }
}

async function signIn(browser: HttpBrowser, { origin }: Demo, name: string): Promise<BrowserPage> {
  const request = await browser.press(await browser.open(origin), `Sign in to ${name}`);
  const asked = await browser.click(request, `Continue to ${name}`);
  return browser.press(asked, "Agree", { user: "ada@acme.example" });
}

/** Presses a button of the live page of a session, and waits until the page says what came of it. */
async function press(browser: HttpBrowser, demo: Demo, name: string, label: string, expected: RegExp): Promise<void> {
  const page = await browser.open(`${demo.origin}/sessions/${name.toLowerCase()}`);
  await browser.press(page, label);
  await lookFor(browser, page.url, expected);
}

describe.skipIf(noDrivers !== undefined)(`queries through the drivers ${noDrivers ?? ""}`, () => {
  const LOGIN = "POST /session/v1/login-request";
  const JOBS = "POST /bigquery/v2/projects/acme-analytics/queries";
  const QUERY = "POST /queries/v1/query-request";

  test.each([
    ["Snowflake", /through snowflake-sdk 3\.\d+\.\d+\./, [LOGIN, QUERY], [LOGIN, LOGIN, QUERY]],
    ["BigQuery", /through @google-cloud\/bigquery 8\.\d+\.\d+\./, [JOBS], [JOBS, JOBS]],
  ])("%s: rows, a token that is refused, and a grant that is withdrawn", async (name, through, asked, askedTwice) => {
    await withDemo(async (demo) => {
      const browser = new HttpBrowser();
      let page = await signIn(browser, demo, name);
      const query = async (): Promise<string> => textOf((page = await browser.press(page, "Run in this session")).html);
      const text = await query();
      expect(text).toContain("3 rows region orders revenue Europe 1204 88120.5");
      expect(text).toMatch(through);
      expect(requestsOf(text).slice(0, asked.length)).toEqual(asked);

      await press(browser, demo, name, "End the access token", /ended the access token/);
      expect(requestsOf(await query()).slice(0, askedTwice.length)).toEqual(askedTwice);
      const live = textOf((await browser.open(`${demo.origin}/sessions/${name.toLowerCase()}`)).html);
      expect(live).toContain("token_rejected");
      expect(live).toContain("refresh_succeeded generation 2");

      await press(browser, demo, name, "Withdraw the grant", /withdrew the grant/);
      expect(await query()).toContain("The grant is dead: a person must sign in again");
    });
  });

  test.each(["Snowflake", "BigQuery"])("%s: another process's refresh, and a refresh of ours", async (name) => {
    await withDemo(async (demo) => {
      const browser = new HttpBrowser();
      const page = await signIn(browser, demo, name);
      await press(browser, demo, name, "Refresh in another process", /another process refreshed/);
      await press(browser, demo, name, "Refresh now", /refresh_(?:adopted|succeeded)/);
      await press(browser, demo, name, "Run a query", /query: 3 rows through (?:snow|@google)/);
      expect(textOf((await browser.press(page, "Run in this session")).html)).toContain("3 rows");
    });
  });

  test("Databricks stays with fetch, and the page says why", async () => {
    await withDemo(async (demo) => {
      const browser = new HttpBrowser();
      const text = textOf((await browser.press(await signIn(browser, demo, "Databricks"), "Run in this session")).html);
      expect(text).toContain("It goes through session.fetch. @databricks/sql speaks https only");
      expect(text).toContain("These came through session.fetch.");
    });
  });

  test("a demo without drivers uses none, though they are there", async () => {
    const demo = await startDemo();
    try {
      const browser = new HttpBrowser();
      const text = textOf((await browser.press(await signIn(browser, demo, "Snowflake"), "Run in this session")).html);
      expect(text).toContain("These came through session.fetch.");
      expect(requestsOf(text)).toEqual(["POST /api/v2/statements"]);
    } finally {
      await demo.close();
    }
  });
});

/** What the page says that the warehouse was asked. */
function requestsOf(text: string): readonly string[] {
  const [, said = ""] = text.split("The warehouse was asked:");
  return said.match(/(?:GET|POST) \/\S+/g) ?? [];
}
