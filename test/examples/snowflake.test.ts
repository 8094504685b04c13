import { fakeSnowflake } from "warehouse-oauth/testing";
import { expect, test } from "vitest";
import { createSnowflakeApp, createSnowflakeClient } from "../../examples/snowflake.ts";

const ORIGIN = "https://app.example";

function start() {
  const fake = fakeSnowflake({ roles: ["ANALYST"] });
  const client = fake.register({ redirectUri: `${ORIGIN}/callback`, login: { role: "ANALYST" } });
  const handle = createSnowflakeApp(client, { fetch: fake.fetch });
  let cookie = "";
  const visit = async (path: string | URL, method = "GET"): Promise<Response> => {
    const response = await handle(new Request(new URL(path, ORIGIN), { method, headers: { cookie } }));
    cookie = response.headers.get("set-cookie")?.split(";")[0] ?? cookie;
    return response;
  };
  const goToWarehouse = async (): Promise<URL> => new URL((await visit("/login")).headers.get("location") ?? "");
  const useCookie = (value: string): void => {
    cookie = value;
  };
  return { fake, visit, goToWarehouse, cookie: () => cookie, useCookie };
}

test("login, query, refresh, logout", async () => {
  const { fake, visit, goToWarehouse } = start();
  expect((await visit("/report")).headers.get("location")).toBe("/login");

  const back = await visit(await fake.signIn(await goToWarehouse(), { user: "ada" }));
  expect(back.headers.get("location")).toBe("/report");
  const report = await visit("/report");
  expect(report.status).toBe(200);
  expect(await report.text()).toContain("ada");

  fake.expireAccessTokens();
  expect((await visit("/report")).status).toBe(401);
  expect((await visit("/refresh", "POST")).status).toBe(303);
  expect((await visit("/report")).status).toBe(200);

  expect(await (await visit("/logout", "POST")).text()).toContain("REMOVE DELEGATED AUTHORIZATIONS");
  expect((await visit("/report")).status).toBe(303);
  expect((await visit("/nothing")).status).toBe(404);
});

test("a callback is good once, only in its browser, and a refusal is said", async () => {
  const { fake, visit, goToWarehouse, cookie, useCookie } = start();
  const before = await goToWarehouse();
  const id = cookie();
  const callback = await fake.signIn(before, { user: "ada" });
  expect((await visit(callback)).status).toBe(303);
  expect(cookie()).not.toBe(id);
  expect(await (await visit(callback)).text()).toBe("login failed: transaction_not_found");
  useCookie(id);
  expect(await (await visit(callback)).text()).toBe("login failed: transaction_not_found");

  const declined = await visit(await fake.signIn(await goToWarehouse(), { decline: true }));
  expect(await declined.text()).toBe("login failed: authorization_denied");
});

test("the client of the example asks for one role at the account", () => {
  const redirectUri = `${ORIGIN}/callback`;
  const client = createSnowflakeClient({ account: "acme-prod", clientId: "c", clientSecret: "s", redirectUri });
  expect(client.warehouse.issuer).toBe("https://acme-prod.snowflakecomputing.com");
});
