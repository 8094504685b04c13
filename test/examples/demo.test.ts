import { execFileSync, spawn, type ChildProcessByStdio } from "node:child_process";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { HttpBrowser, textOf, type BrowserPage } from "../../examples/demo/http-browser.ts";
import { walkThrough } from "../../examples/demo/once.ts";
import { startDemo, type Demo } from "../../examples/demo/server.ts";

/** Real ports and real processes, on a machine that does other things too. */
const TIMEOUT_MS = 60_000;
vi.setConfig({ testTimeout: TIMEOUT_MS, hookTimeout: TIMEOUT_MS });

let demo: Demo;
let program: string;
beforeAll(async () => {
  program = bundle();
  demo = await startDemo();
});
afterAll(async () => {
  await demo.close();
});

/** Goes from the first page to the warehouse's own sign-in page. */
async function goToSignIn(browser: HttpBrowser, name = "Snowflake"): Promise<BrowserPage> {
  const request = await browser.press(await browser.open(demo.origin), `Sign in to ${name}`);
  return browser.click(request, `Continue to ${name}`);
}

async function signIn(browser: HttpBrowser, name = "Snowflake"): Promise<BrowserPage> {
  return browser.press(await goToSignIn(browser, name), "Agree", { user: "ada@acme.example" });
}

/** Everything of an authorization request that is secret until the callback is through. */
function secretsOf(signInPage: BrowserPage): string[] {
  const { searchParams } = signInPage.url;
  return ["state", "code_challenge", "nonce"].flatMap((name) => searchParams.get(name) ?? []);
}

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Bundles the demo as `npm run demo` does, and gives the program. */
function bundle(): string {
  execFileSync("npm", ["run", "-s", "demo:build"], { cwd: root });
  return `${root}node_modules/.cache/warehouse-oauth/demo.mjs`;
}

function startProgram(...given: readonly string[]): ChildProcessByStdio<null, Readable, Readable> {
  return spawn(process.execPath, [program, ...given], { stdio: ["ignore", "pipe", "pipe"] });
}

function exitOf(child: ChildProcessByStdio<null, Readable, Readable>): Promise<number | null> {
  if (child.exitCode !== null) return Promise.resolve(child.exitCode);
  return new Promise((resolve) => {
    child.once("exit", resolve);
  });
}

async function run(...given: readonly string[]): Promise<{ readonly code: number | null; readonly output: string }> {
  const child = startProgram(...given);
  let output = "";
  const keep = (chunk: unknown): void => {
    output += String(chunk);
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  return { code: await exitOf(child), output };
}

/** Sends a form without the checks of a browser. */
function post(path: string, headers: Readonly<Record<string, string>>): Promise<Response> {
  return fetch(demo.origin + path, { method: "POST", redirect: "manual", headers });
}

describe("the way from the first page to rows", () => {
  test.each(["Snowflake", "Databricks", "BigQuery"])("%s", async (name) => {
    const browser = new HttpBrowser();
    const home = await browser.open(demo.origin);
    expect(textOf(home.html)).toContain("No account is needed");

    const request = await browser.press(home, `Sign in to ${name}`);
    const requestText = textOf(request.html);
    for (const part of ["response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "S256"]) {
      expect(requestText).toContain(part);
    }
    expect(requestText).toContain("RFC 7636 §4.2");

    const warehousePage = await browser.click(request, `Continue to ${name}`);
    expect(warehousePage.url.origin).not.toBe(demo.origin);
    for (const secret of secretsOf(warehousePage)) expect(request.html).not.toContain(secret);

    const signedIn = await browser.press(warehousePage, "Agree", { user: "ada@acme.example" });
    expect(signedIn.url.href).toBe(`${demo.origin}/warehouses/${name.toLowerCase()}`);
    const text = textOf(signedIn.html);
    expect(text).toContain(`Signed in to ${name} as ada@acme.example`);
    expect(text).toMatch(/Expires in (?:9 min \d\d s|10 min|59 min \d\d s|1 h)/);

    const queried = await browser.press(signedIn, "Run with this access token");
    expect(textOf(queried.html)).toContain("3 rows region orders revenue Europe 1204 88120.5");

    const refreshed = await browser.press(queried, "Refresh now");
    const kept = name === "Databricks" ? "replaced" : "kept";
    expect(textOf(refreshed.html)).toMatch(new RegExp(`refreshed to .{5} #[0-9a-f]{4} , refresh token ${kept}`));

    const out = await browser.press(refreshed, "Sign out");
    expect(textOf(out.html)).toContain(`Signed out of ${name}: the tokens are deleted here.`);
    expect((await browser.open(`${demo.origin}/warehouses/${name.toLowerCase()}`)).url.pathname).toBe("/");
  });

  test("the address bar holds no code once the callback is through", async () => {
    const page = await signIn(new HttpBrowser());
    expect(page.redirects.some(({ searchParams }) => searchParams.has("code"))).toBe(true);
    expect(page.url.search).toBe("");
  });

  test("what a person takes away is said to be missing", async () => {
    const browser = new HttpBrowser();
    const page = await goToSignIn(browser, "BigQuery");
    const withoutEmail = { ...page, html: page.html.replace(/(value="email") checked/, "$1") };
    expect(withoutEmail.html).not.toBe(page.html);
    const signedIn = await browser.press(withoutEmail, "Agree", { user: "ada" });
    expect(textOf(signedIn.html)).toContain("Asked for and not granted: email");
  });
});

describe("what goes wrong is explained", () => {
  test.each(["Snowflake", "Databricks", "BigQuery"])("a person declines at %s", async (name) => {
    const browser = new HttpBrowser();
    const page = await browser.press(await goToSignIn(browser, name), "Decline");
    expect(page.status).toBe(400);
    expect(textOf(page.html)).toContain("You declined, and nothing happened");
    expect(page.html).toContain("authorization_denied");
  });

  test("a forged callback is refused, and ends no login under way", async () => {
    const browser = new HttpBrowser();
    const warehousePage = await goToSignIn(browser);
    const forged = await browser.open(`${demo.origin}/callback/snowflake?code=forged&state=${"A".repeat(43)}`);
    expect(forged.status).toBe(400);
    expect(textOf(forged.html)).toContain("Nobody here began this login");
    const error = await browser.open(`${demo.origin}/callback/snowflake?error=access_denied&state=nonsense`);
    expect(error.html).toContain("callback_state_mismatch");
    const finished = await browser.press(warehousePage, "Agree");
    expect(textOf(finished.html)).toContain("Signed in to Snowflake");
  });

  test("a callback is good once", async () => {
    const browser = new HttpBrowser();
    const page = await signIn(browser);
    const callback = page.redirects.find(({ pathname }) => pathname === "/callback/snowflake");
    const again = await browser.open(callback ?? "");
    expect(again.html).toContain("transaction_not_found");
  });

  test("a callback in another browser is refused", async () => {
    const victim = new HttpBrowser();
    const attacker = await goToSignIn(new HttpBrowser());
    const form = new URLSearchParams({ user: "mallory", decision: "agree" });
    const ticket = /name="ticket" value="([^"]+)"/.exec(attacker.html)?.[1];
    form.set("ticket", ticket ?? "");
    for (const [, scope = ""] of attacker.html.matchAll(/name="scope" value="([^"]+)"/g)) form.append("scope", scope);
    const answer = await fetch(attacker.url, { method: "POST", body: form, redirect: "manual" });
    const callback = answer.headers.get("location") ?? "";
    expect(callback).toContain("code=");
    expect((await victim.open(callback)).html).toContain("transaction_not_found");
  });

  test("a callback at the wrong warehouse's address is refused", async () => {
    const browser = new HttpBrowser();
    const { url } = await goToSignIn(browser);
    const state = url.searchParams.get("state") ?? "";
    const page = await browser.open(`${demo.origin}/callback/databricks?code=c&state=${state}`);
    expect(page.html).toContain("callback_provider_mismatch");
  });

  test("a dead access token, a busy token endpoint and a withdrawn grant", async () => {
    const browser = new HttpBrowser();
    let page = await browser.press(await signIn(browser, "Databricks"), "End the access token");
    expect(textOf(page.html)).toContain("nobody was told");
    page = await browser.press(page, "Run with this access token");
    expect(textOf(page.html)).toContain("The warehouse refused the access token");
    page = await browser.press(page, "Answer 503 once");
    page = await browser.press(page, "Refresh now");
    expect(page.html).toContain("server_unavailable");
    page = await browser.press(page, "Refresh now");
    expect(page.html).not.toContain("server_unavailable");
    page = await browser.press(page, "Run with this access token");
    expect(textOf(page.html)).toContain("3 rows");
    page = await browser.press(page, "Withdraw the grant");
    page = await browser.press(page, "Refresh now");
    expect(page.html).toContain("reauthorization_required");
  });
});

describe("the server keeps to itself", () => {
  test("pages run no script, are not framed, not stored, and tell nobody their address", async () => {
    const { headers, html } = await new HttpBrowser().open(demo.origin);
    expect(headers.get("content-security-policy")).toContain("default-src 'none'");
    expect(headers.get("content-security-policy")).not.toContain("unsafe");
    expect(headers.get("content-security-policy")).toContain("frame-ancestors 'none'");
    expect(headers.get("cache-control")).toBe("no-store");
    expect(headers.get("referrer-policy")).toBe("same-origin");
    expect(html).not.toMatch(/<script|\sstyle=|\son\w+=/i);
  });

  test("the cookie is a random id that scripts cannot read, and a new one after the login", async () => {
    const headers = { origin: demo.origin };
    const cookie = (await post("/login/snowflake", headers)).headers.get("set-cookie") ?? "";
    expect(cookie).toMatch(/^demo_visitor=[0-9a-f]{32}; Path=\/; HttpOnly; SameSite=Lax$/);
    const other = (await post("/login/snowflake", headers)).headers.get("set-cookie");
    expect(other).not.toBe(cookie);

    const browser = new HttpBrowser();
    const page = await goToSignIn(browser);
    const planted = browser.cookie(demo.origin, "demo_visitor");
    await browser.press(page, "Agree");
    expect(browser.cookie(demo.origin, "demo_visitor")).not.toBe(planted);
    const thief = await fetch(`${demo.origin}/warehouses/snowflake`, {
      redirect: "manual",
      headers: { cookie: `demo_visitor=${planted ?? ""}` },
    });
    expect(thief.headers.get("location")).toBe("/");
  });

  test("forms of other pages are refused", async () => {
    expect((await post("/login/snowflake", {})).status).toBe(403);
    expect((await post("/login/snowflake", { origin: "https://evil.example" })).status).toBe(403);
    expect((await post("/login/snowflake", { origin: "null" })).status).toBe(403);
  });

  test("text from outside is shown as text", async () => {
    const browser = new HttpBrowser();
    const user = `<img src=x onerror=alert(1)>"'&`;
    const page = await browser.press(await goToSignIn(browser), "Agree", { user });
    expect(page.html).not.toContain("<img src=x");
    expect(textOf(page.html)).toContain(`as ${user}`);
  });

  test("no page shows a token", async () => {
    const browser = new HttpBrowser();
    const page = await browser.press(await signIn(browser, "BigQuery"), "Refresh now");
    // Tokens of the embedded BigQuery begin like Google's.
    expect(page.html).toMatch(/ya29…/);
    expect(page.html).not.toMatch(/ya29\.|1\/\/0[\w-]|eyJ[\w-]{2}/);
  });

  test("addresses that are none, and logins that are nobody's", async () => {
    const browser = new HttpBrowser();
    expect((await browser.open(`${demo.origin}/nothing`)).status).toBe(404);
    expect((await browser.open(`${demo.origin}/login/${"0".repeat(32)}`)).status).toBe(404);
    expect((await browser.open(`${demo.origin}/constructor`)).status).toBe(404);
  });
});

describe("how it starts", () => {
  test("--once goes all the way at all three, and says how", async () => {
    const lines: string[] = [];
    expect(await walkThrough((line) => lines.push(line))).toBe(true);
    expect(lines.filter((line) => /^ {2}✓ .+ \d+ ms$/.test(line))).toHaveLength(27);
    expect(lines.filter((line) => line.includes("✗"))).toEqual([]);
  });

  test("npm run demo -- --once exits with 0, and a wrong option with 1", async () => {
    const { code, output } = await run("--once");
    expect(output).toContain("Databricks\n  ✓ the page offers it");
    expect(code).toBe(0);
    expect(await run("--onec")).toEqual({ code: 1, output: '"--onec" is no option of the demo; --help lists them\n' });
  });

  test("it prints its address, and stops when told to", async () => {
    const child = startProgram("--port", "0");
    let output = "";
    for await (const chunk of child.stdout) {
      output += String(chunk);
      const address = /http:\/\/127\.0\.0\.1:\d+\//.exec(output)?.[0];
      if (address === undefined || child.killed || !output.includes("Ctrl+C")) continue;
      expect((await fetch(address)).status).toBe(200);
      child.kill("SIGTERM");
    }
    expect(await exitOf(child)).toBe(0);
  });

  test("half of a real account is an error that names the rest", async () => {
    const environment = { SNOWFLAKE_ACCOUNT: "acme-prod" };
    await expect(startDemo({ environment })).rejects.toThrow(/SNOWFLAKE_CLIENT_ID/);
  });

  test("a real account sends people to its own address", async () => {
    const environment = {
      SNOWFLAKE_ACCOUNT: "acme-prod",
      SNOWFLAKE_CLIENT_ID: "c",
      SNOWFLAKE_ROLE: "ANALYST",
      DATABRICKS_HOST: "acme.cloud.databricks.com",
      DATABRICKS_CLIENT_ID: "c",
      DATABRICKS_WAREHOUSE_ID: "w",
      GOOGLE_CLIENT_ID: "c",
      GOOGLE_CLIENT_SECRET: "s",
      BIGQUERY_PROJECT: "p",
    };
    const real = await startDemo({ environment });
    try {
      expect(real.realAccounts).toEqual(["Snowflake", "Databricks", "BigQuery"]);
      const browser = new HttpBrowser();
      const home = await browser.open(real.origin);
      expect(textOf(home.html)).not.toContain("embedded");
      const hosts = {
        Snowflake: "acme-prod.snowflakecomputing.com",
        Databricks: "acme.cloud.databricks.com",
        BigQuery: "accounts.google.com",
      };
      for (const [name, host] of Object.entries(hosts)) {
        const page = await browser.press(home, `Sign in to ${name}`);
        const go = await browser.open(`${page.url.href}/continue`, { follow: false });
        const target = new URL(go.headers.get("location") ?? "");
        expect(target.host).toBe(host);
        expect(target.searchParams.get("redirect_uri")).toBe(`${real.origin}/callback/${name.toLowerCase()}`);
        expect(target.searchParams.get("code_challenge_method")).toBe("S256");
      }
    } finally {
      await real.close();
    }
  });
});
