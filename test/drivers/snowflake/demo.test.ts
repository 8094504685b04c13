import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { TokenManager, exchangeCode, validateCallback } from "warehouse-oauth";
import { snowflakePool } from "warehouse-oauth/snowflake/driver";
import { startEmbedded } from "../../../examples/demo/embedded.ts";
import { HttpBrowser } from "../../../examples/demo/http-browser.ts";
import { runQuery } from "../../../examples/demo/query.ts";
import { select, snowflake } from "./sdk.ts";

test("the demo's query gives the same rows through the driver, also with a token that the server refuses", async () => {
  let came = "";
  const callback = createServer((request, response) => {
    came = request.url ?? "";
    response.setHeader("connection", "close").end();
  });
  await new Promise<void>((resolve) => callback.listen(0, "127.0.0.1", resolve));
  const redirectUri = `http://127.0.0.1:${String((callback.address() as AddressInfo).port)}/callback`;
  const embedded = await startEmbedded("snowflake", redirectUri);
  const { client, statement, api, fake } = embedded.warehouse;
  const browser = new HttpBrowser();
  const { url, pending } = await embedded.warehouse.begin("/");
  await browser.press(await browser.open(url), "Agree", { user: "ada@acme.example" });
  const tokens = await exchangeCode(client, validateCallback(client, new URL(came, redirectUri), pending));
  const manager = new TokenManager();
  const session = await manager.save(client, { subject: "ada" }, tokens);

  const { columns, rows } = await runQuery({ api, warehouse: client.warehouse, session, statement });
  expect(rows).toHaveLength(3);
  const [accessUrl = ""] = client.warehouse.apiOrigins;
  const pool = await snowflakePool(session, snowflake, { account: "acme-prod", accessUrl, pool: { max: 1 } });
  fake?.expireAccessTokens();
  const found = (await pool.use((connection) => select(connection, statement))) as Readonly<Record<string, unknown>>[];
  expect(found.map((row) => columns.map((column) => String(row[column])))).toEqual(rows);
  expect(fake?.refreshRequests).toBe(1);

  await pool.drain();
  await pool.clear();
  await manager.close();
  await embedded.close();
  callback.close();
});
