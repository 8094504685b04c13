import { execFileSync, spawn, type ChildProcessByStdio } from "node:child_process";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { HttpBrowser, textOf, type BrowserPage } from "../../examples/demo/http-browser.ts";
import { startDemo, type Demo } from "../../examples/demo/server.ts";
import { lookFor } from "./look-for.ts";

/** An outage that no test sees the end of. */
const FOR_EVER_MS = 3_600_000;

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
async function goToSignIn(browser: HttpBrowser, name = "Snowflake", at = demo): Promise<BrowserPage> {
  const request = await browser.press(await browser.open(at.origin), `Sign in to ${name}`);
  return browser.click(request, `Continue to ${name}`);
}

async function signIn(browser: HttpBrowser, name = "Snowflake", at = demo): Promise<BrowserPage> {
  return browser.press(await goToSignIn(browser, name, at), "Agree", { user: "ada@acme.example" });
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
  return new Promise((resolve) => {
    child.once("close", resolve);
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
    expect(text).toMatch(/Expires in (?:1 min(?: \d+ s)?|\d\d s) of/);

    const queried = await browser.press(signedIn, "Run in this session");
    expect(textOf(queried.html)).toContain("3 rows region orders revenue Europe 1204 88120.5");

    const refreshed = await browser.press(queried, "Refresh now");
    const kept = name === "Databricks" ? "replaced" : "kept";
    expect(textOf(refreshed.html)).toContain(`refreshed: generation 2, refresh token ${kept}`);

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
    expect(textOf((await browser.press(signedIn, "Run in this session")).html)).toContain("3 rows");
  });

  test.each([
    ["BigQuery", "https://www.googleapis.com/auth/bigquery"],
    ["Databricks", "sql"],
  ])("a query that lacks its scope says so, and a new login brings it: %s", async (name, scope) => {
    const browser = new HttpBrowser();
    const page = await goToSignIn(browser, name);
    const withoutScope = { ...page, html: page.html.replace(`value="${scope}" checked`, `value="${scope}"`) };
    expect(withoutScope.html).not.toBe(page.html);
    const refused = await browser.press(await browser.press(withoutScope, "Agree"), "Run in this session");
    expect(textOf(refused.html)).toContain(`This login was not granted ${scope}.`);
    const request = await browser.press(refused, "Sign in and grant it");
    const granted = await browser.press(await browser.click(request, `Continue to ${name}`), "Agree");
    expect(textOf(granted.html)).not.toContain("not granted");
    expect(textOf((await browser.press(granted, "Run in this session")).html)).toContain("3 rows");
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

  test("an unreachable warehouse is an error on the page, and no reason to sign in again", async () => {
    const own = await startDemo({ outageMs: FOR_EVER_MS });
    try {
      const browser = new HttpBrowser();
      let page = await signIn(browser, "Databricks", own);
      page = await browser.press(await browser.click(page, "Watch this session"), "Kill the server");
      await lookFor(browser, page.url, /server down, back in/);
      page = await browser.press(await browser.open(`${own.origin}/warehouses/databricks`), "Run in this session");
      expect(textOf(page.html)).toContain("the warehouse cannot be reached");
      expect(textOf((await browser.open(page.url)).html)).not.toContain("cannot be reached");
      page = await browser.press(page, "Refresh now");
      expect(page.html).toContain("network_error");
      expect(textOf(page.html)).toContain("Signed in to Databricks");
    } finally {
      await own.close();
    }
  });
});

describe("a session, live", () => {
  /** Opens the page of a session, signed in. */
  async function openSession(browser: HttpBrowser, name: string, at = demo): Promise<BrowserPage> {
    return browser.click(await signIn(browser, name, at), "Watch this session");
  }

  test("its page says state, zones, next refresh and generation, and shows no secret", async () => {
    const browser = new HttpBrowser();
    const page = await openSession(browser, "BigQuery");
    const text = textOf(page.html);
    for (const part of [
      "active",
      "Fresh:",
      "fresh until",
      "stale until",
      "expired ends",
      "Next refresh",
      "Generation",
    ]) {
      expect(text).toContain(part);
    }
    expect(text).toMatch(/tokens_issued generation 1, good for 1 min/);
    expect(page.html).not.toMatch(/ya29|1\/\/0[\w-]|eyJ[\w-]{2}/);
    expect(page.html).not.toMatch(/\sstyle=|\son\w+=|<script>/i);
    expect(page.headers.get("content-security-policy")).toContain("script-src 'self'; connect-src 'self'");
  });

  test.each(["Snowflake", "Databricks", "BigQuery"])(
    "100 queries with a dead token are one refresh: %s",
    async (name) => {
      const own = await startDemo();
      try {
        const browser = new HttpBrowser();
        const page = await browser.press(await openSession(browser, name, own), "100 queries at once");
        const text = await lookFor(browser, page.url, /of 100 answered/);
        expect(text).toContain("100 of 100 answered, 1 token request");
        expect(text).toContain("refresh_succeeded generation 2");
      } finally {
        await own.close();
      }
    },
  );

  test("it is refreshed by itself, survives 503s, and ends when the grant is withdrawn", async () => {
    const own = await startDemo({ lifetimesMs: { snowflake: 5_000 } });
    try {
      const browser = new HttpBrowser();
      const page = await openSession(browser, "Snowflake", own);
      await lookFor(browser, page.url, /refresh_succeeded generation 2/);
      expect(textOf((await browser.press(page, "Answer 503, three times")).html)).toContain("meet: 503");
      await lookFor(browser, page.url, /refresh_failed server_unavailable/);
      await lookFor(browser, page.url, /refresh_succeeded generation \d+,.*refresh_failed server_unavailable/);
      await browser.press(page, "Withdraw the grant");
      await lookFor(browser, page.url, /sign in again The grant is dead: refresh_token_dead/);
      expect((await browser.open(page.url)).html).toContain('action="/login/snowflake"');
      const over = await browser.open(`${own.origin}/warehouses/snowflake`);
      expect(textOf(over.html)).toContain("The session of ada@acme.example at Snowflake is over");
      const request = await browser.press(over, "Sign in again");
      expect(textOf(request.html)).toContain("What your browser is about to ask Snowflake");
    } finally {
      await own.close();
    }
  });

  test("what another process refreshed is taken over, without a request", async () => {
    const own = await startDemo({ lifetimesMs: { databricks: 5_000 } });
    try {
      const browser = new HttpBrowser();
      const page = await browser.press(await openSession(browser, "Databricks", own), "Refresh in another process");
      await lookFor(browser, page.url, /another process refreshed: generation \d+ is in the store/);
      expect(await lookFor(browser, page.url, /refresh_adopted/)).not.toContain("rotation_lost");
    } finally {
      await own.close();
    }
  });

  test("a lost answer is survived where the refresh token lives on, and not where it worked once", async () => {
    const browser = new HttpBrowser();
    for (const [name, singleUse, expected] of [
      ["Snowflake", false, /refresh_succeeded generation 2/],
      ["Snowflake", true, /rotation_lost/],
    ] as const) {
      const own = await startDemo({ singleUse });
      try {
        const page = await browser.press(await openSession(browser, name, own), "Lose the next answer");
        expect(textOf(page.html)).toContain("meet: answer lost");
        await browser.press(page, "Refresh now");
        await lookFor(browser, page.url, expected);
      } finally {
        await own.close();
      }
    }
  });

  test("a killed server comes back on its port, and a waiting refresh gets through", async () => {
    const own = await startDemo({ outageMs: 3_000, random: () => 0.999 }); // the last try is after 3.5 s
    try {
      const browser = new HttpBrowser();
      const page = await openSession(browser, "BigQuery", own);
      let text = "";
      // A slow machine may ask for the refresh when the server is back, and does it again.
      for (let generation = 2; !text.includes("network_error"); generation++) {
        await browser.press(page, "Kill the server");
        await browser.press(page, "Refresh now");
        text = await lookFor(browser, page.url, new RegExp(`refresh_succeeded generation ${String(generation)}`));
      }
    } finally {
      await own.close();
    }
  });

  test("its card leads to the query page, and out", async () => {
    const browser = new HttpBrowser();
    await signIn(browser, "Databricks");
    const all = await browser.open(`${demo.origin}/sessions`);
    const queries = await browser.click(all, "Query page of Databricks");
    expect(textOf(queries.html)).toContain("Signed in to Databricks");
    const out = await browser.press(all, "Sign out");
    expect(out.url.pathname).toBe("/sessions");
    expect(textOf(out.html)).toContain("Signed out of Databricks");
    expect(out.html).toContain('action="/login/databricks"');
  });

  test("the stream holds the parts of the page, and no secret", async () => {
    const browser = new HttpBrowser();
    const page = await openSession(browser, "Databricks");
    const cookie = browser.cookie(demo.origin, "demo_visitor") ?? "";
    const leave = new AbortController();
    const response = await fetch(`${page.url.href}/live`, {
      headers: { cookie: `demo_visitor=${cookie}` },
      signal: leave.signal,
    });
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    const { value } = await reader.read();
    const message = new TextDecoder().decode(value);
    leave.abort();
    expect(message).toMatch(/^data: \{"databricks-state":/);
    expect(message).not.toMatch(/eyJ[\w-]{2}|\bdoa|animate/);
  });

  test("another browser sees nothing and breaks nothing", async () => {
    await openSession(new HttpBrowser(), "Snowflake");
    const stranger = new HttpBrowser();
    expect((await stranger.open(`${demo.origin}/sessions/snowflake`)).url.pathname).toBe("/sessions");
    const text = textOf((await stranger.open(`${demo.origin}/sessions`)).html);
    expect(text).toContain("Nobody is signed in here");
    expect(text).not.toContain("ada@acme.example");
    expect((await post("/sessions/snowflake/revoke", { origin: "https://evil.example" })).status).toBe(403);
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
    expect(headers.get("content-security-policy")).not.toContain("script-src");
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
  test("npm run demo -- --once goes all the way at all three, says how, and exits with 0", async () => {
    const { code, output } = await run("--once");
    const lines = output.split("\n");
    expect(lines.filter((line) => line.includes("✗"))).toEqual([]);
    expect(output).toContain("Databricks\n  ✓ the page offers it");
    expect(code).toBe(0);
    expect(lines.filter((line) => /^ {2}✓ .+ \d+ ms(?: {2}through session\.fetch)?$/.test(line))).toHaveLength(33);
    expect(lines.filter((line) => line.endsWith("through session.fetch"))).toHaveLength(6);
    expect(lines.filter((line) => /^ {2}✓ \d\d:\d\d\.\d {2}/.test(line))).toHaveLength(24);
  });

  test("a wrong option is named, and exits with 1", async () => {
    expect(await run("--onec")).toEqual({ code: 1, output: '"--onec" is no option of the demo; --help lists them\n' });
  });

  test("it prints its address, and stops when told to", async () => {
    const child = startProgram("--port", "0");
    const ended = exitOf(child);
    let output = "";
    for await (const chunk of child.stdout) {
      output += String(chunk);
      const address = /http:\/\/127\.0\.0\.1:\d+\//.exec(output)?.[0];
      if (address === undefined || child.killed || !output.includes("Ctrl+C")) continue;
      expect((await fetch(address)).status).toBe(200);
      child.kill("SIGTERM");
    }
    expect(await ended).toBe(0);
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
