import type { AddressInfo } from "node:net";
import { memoryStore } from "warehouse-oauth";
import { fakeSnowflake, manualClock } from "warehouse-oauth/testing";
import { afterEach, expect, test } from "vitest";
import { createApp, type App } from "../../examples/server.ts";

const apps: App[] = [];
afterEach(async () => {
  await Promise.all(apps.splice(0).map((app) => app.close()));
});

/** Starts the app on a real port; the public address is https, as behind a proxy. */
async function start() {
  const clock = manualClock();
  const fake = fakeSnowflake({ clock });
  const client = fake.register({ redirectUri: "https://app.example/callback" });
  const store = memoryStore({ clock });
  const lines: string[] = [];
  const run = async (): Promise<{ readonly app: App; readonly port: number }> => {
    const app = createApp({ client, store, clock, log: (line) => lines.push(line) });
    apps.push(app);
    await new Promise<void>((resolve) => app.server.listen(0, "127.0.0.1", resolve));
    return { app, port: (app.server.address() as AddressInfo).port };
  };
  const { app, port } = await run();

  interface Browser {
    readonly visit: (path: string | URL, method?: string) => Promise<Response>;
    readonly login: (user: string) => Promise<Response>;
    /** The same browser as it is now, its cookie kept. */
    readonly copy: () => Browser;
  }
  const openBrowser = (cookie = ""): Browser => {
    const visit = async (path: string | URL, method = "GET"): Promise<Response> => {
      const { pathname, search } = new URL(path, "https://app.example");
      const headers = { cookie, connection: "close" };
      const response = await fetch(`http://127.0.0.1:${String(port)}${pathname}${search}`, {
        method,
        headers,
        redirect: "manual",
      });
      cookie = response.headers.get("set-cookie")?.split(";")[0] ?? cookie;
      return response;
    };
    const login = async (user: string): Promise<Response> => {
      const url = new URL((await visit("/login")).headers.get("location") ?? "");
      return visit(await fake.signIn(url, { user }));
    };
    return { visit, login, copy: () => openBrowser(cookie) };
  };
  const refreshes = (): number => fake.requests.filter(({ grant }) => grant === "refresh_token").length;
  return { app, clock, fake, lines, openBrowser, refreshes };
}

test("people sign in, and their token is renewed for them when it ends", async () => {
  const { clock, fake, openBrowser, refreshes } = await start();
  const { visit, login } = openBrowser();
  expect((await visit("/report")).headers.get("location")).toBe("/login");

  const back = await login("ada");
  expect(back.status).toBe(303);
  expect(back.headers.get("location")).toBe("/report");
  expect(back.headers.get("set-cookie")).toMatch(/^__Host-browser=.*; Path=\/; HttpOnly; SameSite=Lax; Secure$/);
  expect(await (await visit("/report")).text()).toContain("ada");
  expect(await (await visit("/status")).json()).toMatchObject({ state: "active", generation: 1 });

  await clock.advance(700_000);
  const reports = await Promise.all(Array.from({ length: 5 }, () => visit("/report")));
  expect(reports.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
  expect(refreshes()).toBe(1);

  fake.expireAccessTokens();
  expect((await visit("/report")).status).toBe(200);
  expect(refreshes()).toBe(2);
});

test("an outage is no reason to sign in, a withdrawn grant is", async () => {
  const { clock, fake, lines, openBrowser } = await start();
  const { visit, login } = openBrowser();
  await login("ada");
  const disarm = fake.fail({ at: "token", kind: "status", status: 503, times: Infinity });
  await clock.advance(500_000);
  expect((await visit("/report")).status).toBe(200);
  await clock.advance(200_000);
  const answer = visit("/report");
  const waiting = { over: false };
  void answer.then(() => (waiting.over = true));
  while (!waiting.over) await clock.advance(1_000);
  expect((await answer).status).toBe(503);
  expect((await answer).headers.get("retry-after")).toMatch(/^\d+$/);
  disarm();
  await clock.advance(120_000);
  expect((await visit("/report")).status).toBe(200);

  fake.revokeGrants("ada");
  expect((await visit("/report")).headers.get("location")).toBe("/login");
  expect(lines.at(-1)).toMatch(/must sign in again: refresh_token_dead$/);
});

test("a logout is for all browsers, and says what Snowflake wants done", async () => {
  const { openBrowser } = await start();
  const [one, other] = [openBrowser(), openBrowser()];
  await one.login("ada");
  await other.login("ada");
  expect(await (await one.visit("/logout", "POST")).text()).toContain("REMOVE DELEGATED AUTHORIZATIONS");
  expect((await one.visit("/report")).headers.get("location")).toBe("/login");
  expect((await other.visit("/report")).headers.get("location")).toBe("/login");
  expect(await (await other.visit("/status")).json()).toEqual({ state: "revoked" });
});

test("a callback is good once, and only in its browser", async () => {
  const { fake, openBrowser } = await start();
  const [one, other] = [openBrowser(), openBrowser()];
  const url = new URL((await one.visit("/login")).headers.get("location") ?? "");
  const callback = await fake.signIn(url, { user: "ada" });
  expect(await (await other.visit(callback)).text()).toContain("transaction_not_found");
  const before = one.copy();
  expect((await one.visit(callback)).status).toBe(303);
  for (const browser of [one, before]) {
    expect(await (await browser.visit(callback)).text()).toContain("transaction_not_found");
  }
  expect((await one.visit("/nothing")).status).toBe(404);
});
