import { describe, expect, test } from "vitest";
import { OAuthError, TokenManager, createClient } from "warehouse-oauth";
import { fakeSnowflake, manualClock } from "warehouse-oauth/testing";
import { StatementError, runStatement, type Row, type Statement } from "../../examples/snowflake-sql-api.ts";

const ROWS = [
  { CITY: "Oslo", SALES: 3 },
  { CITY: null, SALES: 4 },
];

interface Asked {
  readonly line: string;
  readonly body: unknown;
}

type Answer = (request: Request) => Response | undefined;

/** A session at a fake, whose SQL API can be answered for. */
async function open(...answers: Answer[]) {
  const clock = manualClock();
  const fake = fakeSnowflake({ clock, rows: ROWS });
  const asked: Asked[] = [];
  const client = createClient({
    warehouse: fake.warehouse,
    clientId: fake.register({ clientSecret: "s" }).clientId,
    clientSecret: "s",
    redirectUri: "https://app.example.com/callback",
    clock,
    fetch: async (input, init) => {
      const request = new Request(input, init);
      const { pathname, search } = new URL(request.url);
      if (!pathname.startsWith("/api/")) return fake.fetch(request);
      const text = await request.clone().text();
      asked.push({ line: `${request.method} ${pathname}${search}`, body: text === "" ? undefined : JSON.parse(text) });
      return answers.shift()?.(request) ?? fake.fetch(request);
    },
  });
  const manager = new TokenManager({ clock });
  const session = await manager.save(client, { subject: "ada" }, await fake.issueTokens({ client }));
  const waits: number[] = [];
  const wait = (delayMs: number): Promise<void> => {
    waits.push(delayMs);
    return Promise.resolve();
  };
  const run = async (statement: Statement, signal?: AbortSignal): Promise<Row[]> => {
    const rows: Row[] = [];
    const options = { wait, ...(signal !== undefined && { signal }) };
    for await (const row of runStatement(session, statement, options)) rows.push(row);
    return rows;
  };
  return { clock, fake, session, asked, waits, run };
}

const result = (data: unknown[][], partitions = 1): Response =>
  Response.json({
    statementHandle: "h/1",
    resultSetMetaData: { rowType: [{ name: "N" }], partitionInfo: Array.from({ length: partitions }, () => ({})) },
    data,
  });
const underWay = (): Response => Response.json({ code: "333334", statementHandle: "h/1" }, { status: 202 });

async function caught(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("expected it to be rejected");
}

describe("a statement", () => {
  test("gives its rows", async () => {
    const { run, asked } = await open();
    const statement = { sql: "select * from sales where day = ?", bindings: ["2026-11-22"], warehouse: "WH" };
    expect(await run(statement)).toEqual([
      new Map([
        ["CITY", "Oslo"],
        ["SALES", "3"],
      ]),
      new Map([
        ["CITY", undefined],
        ["SALES", "4"],
      ]),
    ]);
    expect(asked).toEqual([
      {
        line: expect.stringMatching(/^POST \/api\/v2\/statements\?requestId=[\da-f-]{36}$/) as string,
        body: { statement: statement.sql, warehouse: "WH", bindings: { 1: { type: "TEXT", value: "2026-11-22" } } },
      },
    ]);
  });

  test("that takes long is asked after, ever less often, and its partitions are fetched", async () => {
    const { run, asked, waits } = await open(
      underWay,
      underWay,
      underWay,
      () => result([["1"], ["2"]], 2),
      () => result([["3"]]),
    );
    expect((await run({ sql: "select 1" })).map((row) => row.get("N"))).toEqual(["1", "2", "3"]);
    expect(waits).toEqual([500, 1_000, 2_000]);
    const path = "GET /api/v2/statements/h%2F1";
    expect(asked.slice(1).map(({ line }) => line)).toEqual([path, path, path, `${path}?partition=1`]);
  });

  test("outlives its token: each request has one that is good then", async () => {
    const { run, clock, fake, asked } = await open(underWay, () => {
      fake.expireAccessTokens(); // the SQL API refuses it, and `session.fetch` sends the request again
      return undefined;
    });
    await clock.advance(0);
    const error = await caught(run({ sql: "select 1" }));
    // The fake does not know the handle; what matters is that it was asked with a new token.
    expect(error).toMatchObject({ code: "000709" });
    expect(fake.requests.filter(({ grant }) => grant === "refresh_token")).toHaveLength(1);
    expect(asked).toHaveLength(3);
  });

  test("whose answer was lost is asked for under the same id, so that it runs once", async () => {
    const { run, asked, waits } = await open(
      () => new Response("busy", { status: 429 }),
      () => new Response("gateway", { status: 502 }),
    );
    expect(await run({ sql: "select 1" })).toHaveLength(2);
    const [first = "", ...again] = asked.map(({ line }) => line);
    expect(again).toEqual([`${first}&retry=true`, `${first}&retry=true`]);
    expect(waits).toEqual([500, 1_000]);
  });

  test("is given up when nobody answers", async () => {
    const { run, asked } = await open(...Array.from({ length: 9 }, () => () => new Response("busy", { status: 503 })));
    expect(await caught(run({ sql: "select 1" }))).toMatchObject({ name: "StatementError", code: "unavailable" });
    expect(asked).toHaveLength(4);
  });

  test("that nobody waits for any more is cancelled", async () => {
    const controller = new AbortController();
    const { run, asked } = await open(
      () => {
        controller.abort(new Error("enough"));
        return underWay();
      },
      () => Response.json({}),
    );
    expect(await caught(run({ sql: "select 1" }, controller.signal))).toMatchObject({ message: "enough" });
    expect(asked.at(-1)?.line).toBe("POST /api/v2/statements/h%2F1/cancel");
  });

  test("that is wrong says so in Snowflake's words", async () => {
    const { run } = await open(() => Response.json({ code: "001003", message: "syntax error" }, { status: 422 }));
    const error = await caught(run({ sql: "selct" }));
    expect(error).toBeInstanceOf(StatementError);
    expect(error).toMatchObject({ code: "001003", message: "syntax error" });
  });

  test.each([
    [() => new Response("<html>", { status: 403 }), "403"],
    [() => new Response("<html>"), "malformed_answer"],
  ])("answered by something in between is no statement of Snowflake's", async (answer, code) => {
    const { run } = await open(answer);
    expect(await caught(run({ sql: "select 1" }))).toMatchObject({ name: "StatementError", code });
  });

  test("of somebody who must sign in again says that", async () => {
    const { run, fake, clock } = await open();
    fake.revokeGrants();
    await clock.advance(700_000);
    const error = await caught(run({ sql: "select 1" }));
    expect(OAuthError.is(error) && error.action).toBe("reauthorize");
  });
});
