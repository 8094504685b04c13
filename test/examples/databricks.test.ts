import { exportTokens } from "warehouse-oauth";
import { fakeDatabricks } from "warehouse-oauth/testing";
import { expect, test } from "vitest";
import { createJobClient, createToolClient, query, renew, signIn, startJob } from "../../examples/databricks.ts";

const STATEMENT = { statement: "select 1", warehouseId: "0123456789abcdef" };

test("a person signs in, queries, and the tokens are renewed from a file", async () => {
  const fake = fakeDatabricks();
  const client = fake.register({ redirectUri: "http://localhost:8020", public: true });
  const tokens = await signIn(client, (url) => fake.signIn(url, { user: "ada" }));
  expect((await query(client, tokens, { ...STATEMENT, fetch: fake.fetch })).status).toBe(200);

  let saved = JSON.stringify(exportTokens(tokens));
  const file = {
    read: () => Promise.resolve(saved),
    write: (text: string) => {
      saved = text;
      return Promise.resolve();
    },
  };
  const next = await renew(client, file);
  expect(next.refreshToken).not.toBe(tokens.refreshToken);
  expect(saved).toContain(next.refreshToken);
  expect((await query(client, await renew(client, file), { ...STATEMENT, fetch: fake.fetch })).status).toBe(200);
  expect(fake.grants[0]?.revoked).toBe(false);
});

test("a job gets tokens without anybody there", async () => {
  const fake = fakeDatabricks();
  const tokens = await startJob(fake.client);
  expect(tokens.refreshToken).toBeUndefined();
  expect((await query(fake.client, tokens, { ...STATEMENT, fetch: fake.fetch })).status).toBe(200);
});

test("the clients of the example know their workspace", () => {
  const host = "acme.cloud.databricks.com";
  const tool = createToolClient({ host, clientId: "tool", redirectUri: "http://localhost:8020" });
  const job = createJobClient({ host, clientId: "job", clientSecret: "s" });
  expect(tool.warehouse.issuer).toBe(job.warehouse.issuer);
  expect(job.redirectUri).toBeUndefined();
});
