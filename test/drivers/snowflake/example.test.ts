import { expect, test } from "vitest";
import { fakeSnowflake } from "warehouse-oauth/testing";
import { listen } from "warehouse-oauth/testing/http";
import "./sdk.ts";
import { runReport } from "./example.ts";

test("the example signs in, queries over a pool of two, and leaves nothing open", async () => {
  const fake = await listen(fakeSnowflake({ rows: [{ "1": 1 }] }));
  const seen = new Map<string, readonly unknown[]>();
  await runReport({
    client: fake.register({ redirectUri: "http://127.0.0.1:8765" }),
    visit: (url) => fake.signIn(url, { user: "ada" }),
    connection: { account: "fakeorg-fakeaccount", accessUrl: fake.origin },
    statements: ["select 1", "select 2", "select 3"],
    onRows: (statement, rows) => void seen.set(statement, rows),
  });
  expect(seen).toEqual(new Map(["select 1", "select 2", "select 3"].map((statement) => [statement, [{ "1": 1 }]])));
  const asked = fake.requests.map(({ parameters }) => parameters["path"]);
  expect(asked.filter((path) => path === "/session/v1/login-request")).toHaveLength(2);
  expect(asked.filter((path) => path === "/session")).toHaveLength(2);
  await fake.close();
});
