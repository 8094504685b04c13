import { keyRing } from "warehouse-oauth/stores/encrypted";
import { fakeBigQuery, manualClock } from "warehouse-oauth/testing";
import { expect, test } from "vitest";
import { createApp } from "../../examples/cookie-session.ts";

function start() {
  const clock = manualClock();
  const fake = fakeBigQuery({ clock, projectId: "acme" });
  const client = fake.register({ redirectUri: "https://app.example/callback" });
  const keys = keyRing([{ id: "2026", key: crypto.getRandomValues(new Uint8Array(32)) }]);
  // A new app for each request: no server remembers anything.
  const visitWith =
    (cookies: Map<string, string>) =>
    async (path: string | URL, method = "GET") => {
      const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
      const headers = cookie === "" ? {} : { cookie };
      const response = await createApp({ client, keys, clock, project: "acme" })(
        new Request(new URL(path, "https://app.example"), { method, headers }),
      );
      for (const line of response.headers.getSetCookie()) {
        const [, name = "", value = "", age] = /^([^=]+)=([^;]*);.* Max-Age=(\d+)/.exec(line) ?? [];
        if (age === "0") cookies.delete(name);
        else cookies.set(name, value);
      }
      expect(response.headers.get("cache-control")).toBe("no-store");
      expect(response.headers.get("vary")).toBe("Cookie");
      return response;
    };
  const openBrowser = (cookies = new Map<string, string>()) => {
    const visit = visitWith(cookies);
    return {
      cookies,
      visit,
      login: async (): Promise<Response> => {
        const url = new URL((await visit("/login")).headers.get("location") ?? "");
        return visit(await fake.signIn(url));
      },
      copy: () => openBrowser(new Map(cookies)),
    };
  };
  return { clock, fake, openBrowser };
}

test("people sign in, are known to every server, are refreshed and sign out", async () => {
  const { clock, fake, openBrowser } = start();
  const { cookies, visit, login, copy } = openBrowser();
  expect(await (await visit("/")).text()).toBe("Go to /login.");
  expect((await visit("/report")).headers.get("location")).toBe("/login");
  const back = await login();
  expect([back.status, back.headers.get("location")]).toEqual([303, "/report"]);
  expect([...cookies.keys()]).toEqual(["__Host-warehouse.0"]);
  expect(await (await visit("/")).text()).toBe("Go to /report.");
  expect((await visit("/report")).status).toBe(200);
  expect(await (await visit("/status")).json()).toMatchObject({ state: "active", generation: 1 });

  await clock.advance(3_500_000);
  expect((await visit("/report")).status).toBe(200);
  expect((await visit("/report")).status).toBe(200);
  expect(fake.requests.filter(({ grant }) => grant === "refresh_token")).toHaveLength(1);

  const thief = copy();
  expect(await (await visit("/logout", "POST")).text()).toContain("Signed out.");
  expect(cookies.size).toBe(0);
  expect((await visit("/report")).headers.get("location")).toBe("/login");
  // What the page on cookies says of copies: the cookie opens until it ends, the tokens in it are revoked.
  expect(await (await thief.visit("/status")).json()).toMatchObject({ state: "active" });
  const refused = thief.visit("/report");
  await clock.advance(2_000); // before it believes that a refresh token is dead, the manager looks again
  expect((await refused).headers.get("location")).toBe("/login");
});

test("a callback without its login cookie, and one that comes twice, sign nobody in", async () => {
  const { fake, openBrowser } = start();
  const { visit } = openBrowser();
  const url = new URL((await visit("/login")).headers.get("location") ?? "");
  const callback = await fake.signIn(url);
  const stranger = openBrowser();
  expect(await (await stranger.visit(callback)).text()).toContain("transaction_not_found");
  expect((await visit(callback)).status).toBe(303);
  expect((await visit(callback)).status).toBe(400);
});

test("the cookie of a login is no session, and the other way round", async () => {
  const { openBrowser } = start();
  const { cookies, visit } = openBrowser();
  await visit("/login");
  const login = cookies.get("__Host-login.0") ?? "";
  const other = openBrowser(new Map([["__Host-warehouse.0", login]]));
  expect(await (await other.visit("/")).text()).toBe("Go to /login.");
  expect(await (await other.visit("/status")).json()).toEqual({ state: "absent" });
});
