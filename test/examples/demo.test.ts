import { execFileSync, spawn, type ChildProcessByStdio } from "node:child_process";
import { createServer } from "node:net";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { fakeBigQuery, fakeDatabricks, fakeSnowflake, type FakeWarehouse } from "warehouse-oauth/testing";
import { HttpBrowser, textOf, type BrowserPage } from "../../examples/demo/http-browser.ts";
import { startDemo, type Demo } from "../../examples/demo/server.ts";
import { freePort } from "../services/service.ts";
import { lookFor } from "./look-for.ts";
import { standInFor, type SentRequest } from "./stand-in.ts";

/** Where the page of the program is unless it is told otherwise. */
const DEFAULT_PORT = 8642;

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

type Variables = Readonly<Record<string, string>>;

function startProgram(given: readonly string[], variables: Variables): ChildProcessByStdio<null, Readable, Readable> {
  const env = { ...process.env, ...variables };
  const child = spawn(process.execPath, [program, ...given], { stdio: ["ignore", "pipe", "pipe"], env });
  onTestFinished(() => void child.kill("SIGKILL"));
  return child;
}

function exitOf(child: ChildProcessByStdio<null, Readable, Readable>): Promise<number | null> {
  return new Promise((resolve) => {
    child.once("close", resolve);
  });
}

/** Keeps what the program says, and gives all of it so far. */
function listenTo(child: ChildProcessByStdio<null, Readable, Readable>): () => string {
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      output += String(chunk);
    });
  }
  return () => output;
}

/** Runs the program to its end. */
async function run(
  given: readonly string[],
  variables: Variables = {},
): Promise<{ readonly code: number | null; readonly output: string }> {
  const child = startProgram(given, variables);
  const output = listenTo(child);
  return { code: await exitOf(child), output: output() };
}

/** Starts the program, and waits until it says where it is. `stop` asks it to end, and gives its exit status. */
async function start(
  ...given: readonly string[]
): Promise<{ readonly origin: string; readonly stop: () => Promise<number | null> }> {
  const child = startProgram(given, {});
  const output = listenTo(child);
  const ended = exitOf(child);
  const started = new Promise<void>((resolve) => {
    child.stdout.on("data", () => {
      if (output().includes("Ctrl+C")) resolve();
    });
  });
  await Promise.race([started, ended]);
  const stop = (): Promise<number | null> => {
    child.kill("SIGTERM");
    return ended;
  };
  return { origin: /(http:\/\/127\.0\.0\.1:\d+)\/\n/.exec(output())?.[1] ?? output(), stop };
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
    const { code, output } = await run(["--once"]);
    const lines = output.split("\n");
    expect(lines.filter((line) => line.includes("✗"))).toEqual([]);
    expect(output).toContain("Databricks\n  ✓ the page offers it");
    expect(code).toBe(0);
    expect(lines.filter((line) => /^ {2}✓ .+ \d+ ms(?: {2}through session\.fetch)?$/.test(line))).toHaveLength(33);
    expect(lines.filter((line) => line.endsWith("through session.fetch"))).toHaveLength(6);
    expect(lines.filter((line) => /^ {2}✓ \d\d:\d\d\.\d {2}/.test(line))).toHaveLength(24);
  });

  test("a wrong option is named, and exits with 1", async () => {
    const output = '"--onec" is no option of the demo; --help lists them\n';
    expect(await run(["--onec"])).toEqual({ code: 1, output });
  });

  test("it prints the address with the port it was given, answers there, and stops when told to", async () => {
    const port = await freePort();
    const { origin, stop } = await start("--port", String(port));
    expect(origin).toBe(`http://127.0.0.1:${String(port)}`);
    expect((await fetch(origin)).status).toBe(200);
    expect(await stop()).toBe(0);
  });

  test.each(["--port 0", "--port=0"])("%s is any free port", async (option) => {
    const { origin, stop } = await start(...option.split(" "));
    expect(["0", String(DEFAULT_PORT)]).not.toContain(new URL(origin).port);
    expect((await fetch(origin)).status).toBe(200);
    expect(await stop()).toBe(0);
  });

  test("a port that is taken is named, and exits with 1", async () => {
    const { port } = new URL(demo.origin);
    const output = `port ${port} is taken; choose another one with --port\n`;
    expect(await run(["--port", port])).toEqual({ code: 1, output });
  });

  test("where nobody chose a port, another one does; but not for a real account, which knows only one", async () => {
    const holder = createServer();
    await new Promise((resolve) => {
      // Where another program has the port, that does as well.
      holder.once("listening", resolve).once("error", resolve).listen(DEFAULT_PORT, "127.0.0.1");
    });
    try {
      const { origin, stop } = await start();
      expect(new URL(origin).port).not.toBe(String(DEFAULT_PORT));
      expect((await fetch(origin)).status).toBe(200);
      expect(await stop()).toBe(0);
      const port = String(DEFAULT_PORT);
      const output = `port ${port} is taken, and a real account needs the redirect URI it was registered with\n`;
      expect(await run([], { SNOWFLAKE_ACCOUNT: "acme-prod", SNOWFLAKE_CLIENT_ID: "c" })).toEqual({ code: 1, output });
    } finally {
      holder.close();
    }
  });

  test.each(["--port -1", "--port 65536", "--port 70000", "--port abc", "--port=", "--port"])(
    "%s is no port, and exits with 1",
    async (options) => {
      const output = "--port takes a number from 0 to 65535\n";
      expect(await run(options.split(" "))).toEqual({ code: 1, output });
    },
  );
});

describe("real accounts, named by environment variables", () => {
  const SNOWFLAKE = { SNOWFLAKE_ACCOUNT: "acme-prod", SNOWFLAKE_CLIENT_ID: "snowflake/Client+Id=" };
  const DATABRICKS = {
    DATABRICKS_HOST: "acme.cloud.databricks.com",
    DATABRICKS_CLIENT_ID: "databricks-client",
    DATABRICKS_WAREHOUSE_ID: "0123456789abcdef",
  };
  const BIGQUERY = {
    GOOGLE_CLIENT_ID: "google-client.apps.googleusercontent.com",
    GOOGLE_CLIENT_SECRET: "google secret+/=",
    BIGQUERY_PROJECT: "acme-analytics",
  };

  test.each(
    [SNOWFLAKE, DATABRICKS, BIGQUERY].flatMap((needed) =>
      Object.keys(needed).map((name) => [name, { ...needed, [name]: "" }] as const),
    ),
  )("%s missing is an error that names it", async (name, environment) => {
    await expect(startDemo({ environment })).rejects.toThrow(`set ${name} too`);
  });

  test("what may be set alone is half of an account, too", async () => {
    for (const name of ["SNOWFLAKE_CLIENT_SECRET", "SNOWFLAKE_ROLE", "SNOWFLAKE_WAREHOUSE"]) {
      const started = startDemo({ environment: { [name]: "x" } });
      await expect(started).rejects.toThrow("set SNOWFLAKE_ACCOUNT, SNOWFLAKE_CLIENT_ID too");
    }
    await expect(startDemo({ environment: { DATABRICKS_CLIENT_SECRET: "x" } })).rejects.toThrow("set DATABRICKS_HOST,");
  });

  test("all three stand on the first page, and none is embedded", async () => {
    const real = await startDemo({ environment: { ...SNOWFLAKE, ...DATABRICKS, ...BIGQUERY } });
    try {
      expect(real.realAccounts).toEqual(["Snowflake", "Databricks", "BigQuery"]);
      expect(textOf((await new HttpBrowser().open(real.origin)).html)).not.toContain("embedded");
    } finally {
      await real.close();
    }
  });

  /** What is said of an account, and what has to come of it. */
  interface Account {
    readonly environment: Readonly<Record<string, string>>;
    readonly fake: FakeWarehouse<object>;
    readonly clientId: string;
    /** Where the secret goes; `undefined` for a public client. */
    readonly secret: { readonly text: string; readonly place: "header" | "body" } | undefined;
    readonly authorizeAt: string;
    readonly scope: string;
    readonly queryAt: string;
    readonly query: object;
  }

  const snowflakeAccount: Omit<Account, "fake"> = {
    environment: SNOWFLAKE,
    clientId: SNOWFLAKE.SNOWFLAKE_CLIENT_ID,
    secret: undefined,
    authorizeAt: "https://acme-prod.snowflakecomputing.com/oauth/authorize",
    scope: "refresh_token",
    queryAt: "https://acme-prod.snowflakecomputing.com/api/v2/statements",
    query: {
      statement: "select current_user() as user_name, current_role() as role_name, current_version() as version",
      timeout: 50,
    },
  };
  const databricksAccount: Omit<Account, "fake"> = {
    environment: DATABRICKS,
    clientId: DATABRICKS.DATABRICKS_CLIENT_ID,
    secret: undefined,
    authorizeAt: "https://acme.cloud.databricks.com/oidc/v1/authorize",
    scope: "sql offline_access openid email",
    queryAt: "https://acme.cloud.databricks.com/api/2.0/sql/statements",
    query: {
      statement: "select current_user() as user_name, current_catalog() as catalog_name",
      warehouse_id: "0123456789abcdef",
      wait_timeout: "50s",
      on_wait_timeout: "CANCEL",
    },
  };
  const secret = "s3cret +/=%";

  const accounts: Readonly<Record<string, () => Account>> = {
    "Snowflake with what it needs": () => ({ ...snowflakeAccount, fake: fakeSnowflake({ account: "acme-prod" }) }),
    "Snowflake with secret, role and warehouse": () => ({
      ...snowflakeAccount,
      environment: {
        ...SNOWFLAKE,
        SNOWFLAKE_CLIENT_SECRET: secret,
        SNOWFLAKE_ROLE: "ANALYST",
        SNOWFLAKE_WAREHOUSE: "REPORTS_WH",
      },
      fake: fakeSnowflake({ account: "acme-prod", roles: ["ANALYST"] }),
      secret: { text: secret, place: "body" },
      scope: "refresh_token session:role:ANALYST",
      query: { ...snowflakeAccount.query, warehouse: "REPORTS_WH" },
    }),
    "Databricks with what it needs": () => ({
      ...databricksAccount,
      fake: fakeDatabricks({ host: DATABRICKS.DATABRICKS_HOST }),
    }),
    "Databricks with a secret": () => ({
      ...databricksAccount,
      environment: { ...DATABRICKS, DATABRICKS_CLIENT_SECRET: secret },
      fake: fakeDatabricks({ host: DATABRICKS.DATABRICKS_HOST }),
      secret: { text: secret, place: "header" },
    }),
    BigQuery: () => ({
      environment: BIGQUERY,
      fake: fakeBigQuery({ projectId: BIGQUERY.BIGQUERY_PROJECT }),
      clientId: BIGQUERY.GOOGLE_CLIENT_ID,
      secret: { text: BIGQUERY.GOOGLE_CLIENT_SECRET, place: "body" },
      authorizeAt: "https://accounts.google.com/o/oauth2/v2/auth",
      scope: "https://www.googleapis.com/auth/bigquery openid email",
      queryAt: "https://bigquery.googleapis.com/bigquery/v2/projects/acme-analytics/queries",
      query: {
        query: "select session_user() as user_name, current_date() as today",
        useLegacySql: false,
        timeoutMs: 50_000,
      },
    }),
  };

  test.each(Object.entries(accounts))("%s: from the sign-in to rows", async (title, makeAccount) => {
    const account = makeAccount();
    const [name = ""] = title.split(" ");
    const sent = standInFor(account.fake);
    const real = await startDemo({ environment: account.environment });
    try {
      const redirectUri = `${real.origin}/callback/${name.toLowerCase()}`;
      const credentials = account.secret === undefined ? { public: true } : { clientSecret: account.secret.text };
      account.fake.register({ clientId: account.clientId, redirectUri, ...credentials });
      expect(real.realAccounts).toEqual([name]);

      const browser = new HttpBrowser();
      const signInPage = await goToSignIn(browser, name, real);
      const { origin, pathname, searchParams } = signInPage.url;
      expect(origin + pathname).toBe(account.authorizeAt);
      expect(searchParams.get("scope")).toBe(account.scope);
      expect(searchParams.get("redirect_uri")).toBe(redirectUri);
      expect(searchParams.get("code_challenge_method")).toBe("S256");

      const page = await browser.press(signInPage, "Agree", { user: "ada@acme.example" });
      const tokenRequest = sent.find(({ url }) => url === account.fake.warehouse.tokenEndpoint);
      expect(secretsIn(tokenRequest)).toEqual({
        header: account.secret?.place === "header" ? [account.clientId, account.secret.text] : undefined,
        body: account.secret?.place === "body" ? account.secret.text : null,
      });

      expect(textOf((await browser.press(page, "Run in this session")).html)).toContain("3 rows");
      const query = sent.at(-1);
      expect(query?.url).toBe(account.queryAt);
      expect(JSON.parse(query?.body ?? "")).toEqual(account.query);
    } finally {
      await real.close();
    }
  });

  /** Client id and secret of the Basic header, and the secret of the body, as a server reads them (RFC 6749 §2.3.1). */
  function secretsIn(request: SentRequest | undefined): { header: string[] | undefined; body: string | null } {
    const { authorization = null, body = "" } = request ?? {};
    const pair = authorization === null ? undefined : atob(authorization.replace(/^Basic /, "")).split(":");
    return {
      header: pair?.map((text) => decodeURIComponent(text.replaceAll("+", "%20"))),
      body: new URLSearchParams(body).get("client_secret"),
    };
  }
});
