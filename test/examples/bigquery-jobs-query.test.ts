import { TokenManager } from "warehouse-oauth";
import type { TokenSession } from "warehouse-oauth";
import { fakeBigQuery } from "warehouse-oauth/testing";
import type { FakeRequest } from "warehouse-oauth/testing";
import { expect, test } from "vitest";
import { query, type QueryOptions, type Row } from "../../examples/bigquery-jobs-query.ts";

const ROWS = Array.from({ length: 5 }, (_, n) => ({ n, city: n === 2 ? null : `city ${String(n)}` }));

async function open() {
  const fake = fakeBigQuery({ projectId: "acme", rows: ROWS });
  const manager = new TokenManager();
  const session = await manager.save(fake.client, { subject: "ada" }, await fake.issueTokens());
  const calls = (): readonly FakeRequest[] => fake.requests.filter(({ at }) => at === "api");
  return { fake, session, calls };
}

async function rowsOf(session: TokenSession, options: Partial<QueryOptions> = {}): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const row of query(session, "select n, city from cities", { projectId: "acme", ...options }))
    rows.push(row);
  return rows;
}

const expected = ROWS.map(({ n, city }) => ({ n: String(n), city: city ?? undefined }));

test("one page", async () => {
  const { session, calls } = await open();
  expect(await rowsOf(session)).toEqual(expected);
  expect(calls()).toHaveLength(1);
});

test("three pages", async () => {
  const { session, calls } = await open();
  expect(await rowsOf(session, { pageSize: 2 })).toEqual(expected);
  expect(calls()).toHaveLength(3);
});

test("a query that is not complete is asked for again", async () => {
  const { session, calls } = await open();
  // The fake takes zero for too little time to wait.
  expect(await rowsOf(session, { timeoutMs: 0, pageSize: 3 })).toEqual(expected);
  expect(calls()).toHaveLength(3);
});

test("the token is refused between two pages: replaced, and no row is lost or doubled", async () => {
  const { fake, session, calls } = await open();
  const rows: Row[] = [];
  for await (const row of query(session, "select 1", { projectId: "acme", pageSize: 2 })) {
    rows.push(row);
    if (rows.length === 2) fake.expireAccessTokens();
  }
  expect(rows).toEqual(expected);
  expect(calls().map(({ status }) => status)).toEqual([200, 401, 200, 200]);
});

test("a refusal has its status and reason", async () => {
  const { session } = await open();
  await expect(rowsOf(session, { projectId: "other" })).rejects.toMatchObject({ status: 403, reason: "accessDenied" });
  await expect(rowsOf(session, { signal: AbortSignal.abort() })).rejects.toThrow("aborted");
});
