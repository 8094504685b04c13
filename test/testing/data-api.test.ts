import { describe, expect, it } from "vitest";
import { fakeBigQuery, fakeDatabricks, fakeSnowflake, manualClock, type FakeWarehouse } from "warehouse-oauth/testing";
import { query } from "./data-api.ts";
import { bodyOf } from "./wire.ts";

const ROWS = [
  { NAME: "a", N: 1, OK: true },
  { NAME: null, N: 2.5, OK: false },
];

async function get(fake: FakeWarehouse<never>, path: string, token: string): Promise<Response> {
  return fake.handle(new Request(fake.origin + path, { headers: { authorization: `Bearer ${token}` } }));
}

describe("Snowflake SQL API", () => {
  it("answers rows as text under a handle", async () => {
    const fake = fakeSnowflake({ rows: ROWS });
    const { accessToken } = await fake.issueTokens();
    const body = await bodyOf(await query(fake, accessToken));
    expect(body).toMatchObject({
      code: "090001",
      sqlState: "00000",
      message: "Statement executed successfully.",
      data: [
        ["a", "1", "true"],
        [null, "2.5", "false"],
      ],
      resultSetMetaData: {
        numRows: 2,
        format: "jsonv2",
        rowType: [
          { name: "NAME", type: "text" },
          { name: "N", type: "real" },
          { name: "OK", type: "boolean" },
        ],
      },
    });
    const handle = String(body["statementHandle"]);
    expect(await bodyOf(await get(fake, `/api/v2/statements/${handle}`, accessToken))).toEqual(body);
    expect((await get(fake, "/api/v2/statements/other", accessToken)).status).toBe(404);
    const async = new Request(`${fake.origin}/api/v2/statements?async=true`, {
      method: "POST",
      headers: { authorization: `Bearer ${accessToken}` },
      body: '{"statement":"select 1"}',
    });
    expect((await fake.handle(async)).status).toBe(202);
  });

  it("names the current user where no rows were given", async () => {
    const fake = fakeSnowflake();
    const { accessToken } = await fake.issueTokens({ subject: "grace" });
    const body = await bodyOf(await query(fake, accessToken));
    expect(body["data"]).toEqual(expect.arrayContaining([["grace", "Lisbon", "4200.5"]]));
  });

  it("says 390318 for an expired token, and 390303 for one that is missing, unknown or void", async () => {
    const clock = manualClock();
    const fake = fakeSnowflake({ clock });
    const { accessToken } = await fake.issueTokens();
    const codes: unknown[] = [];
    for (const token of [undefined, "made-up"]) {
      const response = await query(fake, token);
      expect(response.status).toBe(401);
      codes.push((await bodyOf(response))["code"]);
    }
    await clock.advance(600_000);
    codes.push((await bodyOf(await query(fake, accessToken)))["code"]);
    const other = await fake.issueTokens();
    fake.expireAccessTokens();
    codes.push((await bodyOf(await query(fake, other.accessToken)))["code"]);
    fake.revokeGrants();
    codes.push((await bodyOf(await query(fake, other.accessToken)))["code"]);
    expect(codes).toEqual(["390303", "390303", "390318", "390318", "390303"]);
  });

  it("refuses another role than the token's, a bad body, and unknown paths", async () => {
    const fake = fakeSnowflake();
    const client = fake.register({ login: { role: "ANALYST" } });
    const { accessToken } = await fake.issueTokens({ client: client });
    expect((await query(fake, accessToken, { statement: "select 1", role: "ANALYST" })).status).toBe(200);
    expect((await query(fake, accessToken, { statement: "select 1", role: "OTHER" })).status).toBe(403);
    expect((await query(fake, accessToken, { statement: " " })).status).toBe(400);
    expect((await query(fake, accessToken, [])).status).toBe(400);
    expect((await get(fake, "/api/v3/other", accessToken)).status).toBe(404);
    expect((await get(fake, "/api/v2/statements", accessToken)).status).toBe(405);
  });
});

describe("Databricks statement API", () => {
  it("answers rows as text under an id", async () => {
    const fake = fakeDatabricks({ rows: ROWS });
    const { accessToken } = await fake.issueTokens();
    const body = await bodyOf(await query(fake, accessToken));
    expect(body).toMatchObject({
      status: { state: "SUCCEEDED" },
      manifest: { schema: { column_count: 3, columns: [{ name: "NAME", type_name: "STRING", position: 0 }, {}, {}] } },
      result: {
        row_count: 2,
        data_array: [
          ["a", "1", "true"],
          [null, "2.5", "false"],
        ],
      },
    });
    expect(
      await bodyOf(await get(fake, `/api/2.0/sql/statements/${String(body["statement_id"])}`, accessToken)),
    ).toEqual(body);
    expect((await get(fake, "/api/2.0/sql/statements/other", accessToken)).status).toBe(404);
  });

  it("says 401 with a challenge for no token, and 403 in its own words for a dead one", async () => {
    const clock = manualClock();
    const fake = fakeDatabricks({ clock });
    const { accessToken } = await fake.issueTokens();
    const missing = await query(fake, undefined);
    expect([missing.status, missing.headers.get("www-authenticate")]).toEqual([401, 'Bearer realm="DatabricksRealm"']);
    await clock.advance(3_600_000);
    for (const token of ["made-up", accessToken]) {
      const response = await query(fake, token);
      expect([response.status, response.headers.get("x-databricks-reason-phrase")]).toEqual([
        403,
        "Invalid access token.",
      ]);
      expect(response.headers.has("www-authenticate")).toBe(false);
      expect(await bodyOf(response)).toEqual({ error_code: 403, message: "Invalid access token." });
    }
  });

  it("says which scope is missing, and what the body lacks", async () => {
    const fake = fakeDatabricks();
    const narrow = await fake.issueTokens({ scopes: ["dashboards"] });
    const response = await query(fake, narrow.accessToken);
    expect([response.status, await bodyOf(response)]).toEqual([
      403,
      { error_code: "PERMISSION_DENIED", message: "Provided OAuth token does not have required scopes: sql" },
    ]);
    const { accessToken } = await fake.issueTokens();
    expect((await query(fake, accessToken, { statement: "select 1" })).status).toBe(400);
    expect((await get(fake, "/api/2.1/other", accessToken)).status).toBe(404);
  });
});

describe("BigQuery jobs.query", () => {
  it("answers rows as cells under a job", async () => {
    const fake = fakeBigQuery({ rows: ROWS });
    const { accessToken } = await fake.issueTokens();
    const body = await bodyOf(await query(fake, accessToken));
    expect(body).toMatchObject({
      kind: "bigquery#queryResponse",
      jobComplete: true,
      totalRows: "2",
      schema: {
        fields: [
          { name: "NAME", type: "STRING" },
          { name: "N", type: "FLOAT" },
          { name: "OK", type: "BOOLEAN" },
        ],
      },
      rows: [{ f: [{ v: "a" }, { v: "1" }, { v: "true" }] }, { f: [{ v: null }, { v: "2.5" }, { v: "false" }] }],
    });
    const { jobId } = body["jobReference"] as { jobId: string };
    const path = "/bigquery/v2/projects/fake-project/queries/";
    expect(await bodyOf(await get(fake, path + jobId, accessToken))).toMatchObject({ totalRows: "2" });
    expect((await get(fake, `${path}other`, accessToken)).status).toBe(404);
  });

  it("says 401 with a challenge, different for no token and a dead one", async () => {
    const fake = fakeBigQuery();
    const { accessToken } = await fake.issueTokens();
    fake.expireAccessTokens();
    const missing = await query(fake, undefined);
    expect(missing.headers.get("www-authenticate")).not.toContain("error=");
    expect(await bodyOf(missing)).toMatchObject({ error: { code: 401, errors: [{ reason: "required" }] } });
    const expired = await query(fake, accessToken);
    expect(expired.headers.get("www-authenticate")).toBe(
      'Bearer realm="https://accounts.google.com/", error="invalid_token"',
    );
    expect(await bodyOf(expired)).toMatchObject({
      error: {
        code: 401,
        status: "UNAUTHENTICATED",
        errors: [{ reason: "authError" }],
        details: [{ reason: "ACCESS_TOKEN_EXPIRED", domain: "googleapis.com" }],
      },
    });
  });

  it("tells a small scope from a missing right", async () => {
    const fake = fakeBigQuery({ projectId: "acme" });
    const narrow = await fake.issueTokens({ scopes: ["https://www.googleapis.com/auth/bigquery.insertdata"] });
    const path = "/bigquery/v2/projects/acme/queries";
    const post = (token: string, at = path, body = '{"query":"select 1"}'): Promise<Response> =>
      fake.handle(
        new Request(fake.origin + at, { method: "POST", headers: { authorization: `Bearer ${token}` }, body }),
      );
    const small = await post(narrow.accessToken);
    expect(small.status).toBe(403);
    expect(small.headers.get("www-authenticate")).toContain('error="insufficient_scope"');
    expect(await bodyOf(small)).toMatchObject({ error: { details: [{ reason: "ACCESS_TOKEN_SCOPE_INSUFFICIENT" }] } });
    const { accessToken } = await fake.issueTokens();
    const foreign = await post(accessToken, "/bigquery/v2/projects/other/queries");
    expect([foreign.status, foreign.headers.get("www-authenticate")]).toEqual([403, null]);
    expect((await post(accessToken, path, "{}")).status).toBe(400);
    expect((await post(accessToken)).status).toBe(200);
    expect((await post(accessToken, "/other")).status).toBe(404);
  });
});

describe("BigQuery jobs, as its drivers use them", () => {
  const base = "/bigquery/v2/projects/fake-project";
  const post = (fake: FakeWarehouse<never>, path: string, token: string, body: object): Promise<Response> =>
    fake.handle(
      new Request(fake.origin + base + path, {
        method: "POST",
        headers: { authorization: `Bearer ${token}` },
        body: JSON.stringify(body),
      }),
    );
  const insert = { configuration: { query: { query: "select 1" } }, jobReference: { jobId: "mine", location: "EU" } };

  it("inserts a query once, shows it, and gives its rows in pages", async () => {
    const fake = fakeBigQuery({ rows: ROWS });
    const { accessToken } = await fake.issueTokens();
    const jobReference = { projectId: "fake-project", jobId: "mine", location: "EU" };
    const job = await bodyOf(await post(fake, "/jobs", accessToken, insert));
    expect(job).toMatchObject({ kind: "bigquery#job", jobReference, status: { state: "DONE" } });
    expect(await bodyOf(await get(fake, `${base}/jobs/mine`, accessToken))).toEqual(job);
    const again = await post(fake, "/jobs", accessToken, insert);
    expect([again.status, await bodyOf(again)]).toMatchObject([409, { error: { errors: [{ reason: "duplicate" }] } }]);

    const first = await bodyOf(await get(fake, `${base}/queries/mine?maxResults=1`, accessToken));
    expect(first).toMatchObject({ jobReference, totalRows: "2", pageToken: "1", rows: [{ f: [{ v: "a" }, {}, {}] }] });
    const next = await bodyOf(await get(fake, `${base}/queries/mine?maxResults=1&pageToken=1`, accessToken));
    expect(next).toMatchObject({ totalRows: "2", rows: [{ f: [{ v: null }, {}, {}] }] });
    expect(next).not.toHaveProperty("pageToken");
    expect((await get(fake, `${base}/queries/mine?pageToken=x`, accessToken)).status).toBe(400);
  });

  it("pages the answer of jobs.query, and says what is not complete if nobody waits", async () => {
    const fake = fakeBigQuery({ rows: ROWS });
    const { accessToken } = await fake.issueTokens();
    const page = await bodyOf(await post(fake, "/queries", accessToken, { query: "select 1", maxResults: 1 }));
    expect(page).toMatchObject({ jobComplete: true, pageToken: "1", totalRows: "2" });
    const early = await bodyOf(await post(fake, "/queries", accessToken, { query: "select 1", timeoutMs: 0 }));
    expect(early).toEqual({ kind: "bigquery#queryResponse", jobComplete: false, jobReference: early["jobReference"] });
    const { jobId } = early["jobReference"] as { jobId: string };
    expect(await bodyOf(await get(fake, `${base}/queries/${jobId}`, accessToken))).toMatchObject({ jobComplete: true });
  });

  it("refuses what is no query, and a scope that only reads", async () => {
    const fake = fakeBigQuery();
    const { accessToken } = await fake.issueTokens();
    expect((await post(fake, "/jobs", accessToken, { configuration: { load: {} } })).status).toBe(400);
    expect((await post(fake, "/jobs", accessToken, { ...insert, jobReference: { jobId: "a b" } })).status).toBe(400);
    expect((await get(fake, `${base}/jobs`, accessToken)).status).toBe(405);
    expect((await get(fake, `${base}/jobs/none`, accessToken)).status).toBe(404);
    const reader = await fake.issueTokens({ scopes: ["https://www.googleapis.com/auth/cloud-platform.read-only"] });
    expect((await post(fake, "/queries", reader.accessToken, { query: "select 1" })).status).toBe(200);
    expect((await post(fake, "/jobs", reader.accessToken, insert)).status).toBe(403);
  });
});

it("refuses rows that are none", () => {
  expect(() => fakeSnowflake({ rows: [{}] })).toThrow('"rows"');
  expect(() => fakeSnowflake({ rows: "rows" as never })).toThrow(TypeError);
});
