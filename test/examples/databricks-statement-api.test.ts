import { TokenManager, clientCredentials, createClient, type Fetch, type TokenSession } from "warehouse-oauth";
import { fakeDatabricks, manualClock, type ManualClock } from "warehouse-oauth/testing";
import { expect, test } from "vitest";
import { StatementError, runStatement, type Row } from "../../examples/databricks-statement-api.ts";

const STATEMENT = { sql: "select city from sales", warehouseId: "0123456789abcdef" };
const ROWS = [{ CITY: "Lisbon" }, { CITY: null }];

type Answer = (request: Request, fromFake: Response) => Response | Promise<Response>;

/** A job at a workspace whose statements take their time: `answers` has the next answers of the API, the fake the rest. */
function openJob(answers: Answer[] = []): {
  readonly clock: ManualClock;
  readonly fake: ReturnType<typeof fakeDatabricks>;
  readonly session: TokenSession;
  readonly seen: { readonly method: string; readonly path: string; readonly body: string }[];
} {
  const clock = manualClock();
  const fake = fakeDatabricks({ clock, rows: ROWS });
  const { clientId } = fake.register({ clientSecret: "secret" });
  const seen: { method: string; path: string; body: string }[] = [];
  const fetch: Fetch = async (input, init) => {
    const request = new Request(input, init);
    const { pathname, search } = new URL(request.url);
    const isStatement = pathname.startsWith("/api/");
    if (isStatement) seen.push({ method: request.method, path: pathname + search, body: await request.clone().text() });
    const response = await fake.fetch(request.clone());
    if (!isStatement || response.status === 403) return response;
    return (await answers.shift()?.(request, response)) ?? response;
  };
  const client = createClient({ warehouse: fake.warehouse, clientId, clientSecret: "secret", fetch, clock });
  const manager = new TokenManager({ clock });
  return { clock, fake, seen, session: manager.session(client, { subject: "job" }, { obtain: clientCredentials }) };
}

/** The fake's answer, with another state and without its result: not done yet. */
const inState =
  (state: string): Answer =>
  async (_request, response) => {
    const { statement_id } = (await response.json()) as { statement_id: string };
    return Response.json({ statement_id, status: { state } });
  };

async function collect(rows: AsyncIterable<Row>): Promise<object[]> {
  const all: object[] = [];
  for await (const row of rows) all.push(Object.fromEntries(row));
  return all;
}

const unwaited = (): Promise<void> => Promise.resolve();

test("a statement that is done at once: one request, null is undefined", async () => {
  const { session, seen } = openJob();
  const rows = await collect(runStatement(session, { ...STATEMENT, parameters: { day: "2026-11-22" } }));
  expect(rows).toEqual([{ CITY: "Lisbon" }, { CITY: undefined }]);
  expect(seen).toHaveLength(1);
  expect(JSON.parse(seen[0]?.body ?? "")).toMatchObject({
    statement: STATEMENT.sql,
    warehouse_id: STATEMENT.warehouseId,
    parameters: [{ name: "day", value: "2026-11-22" }],
  });
});

test("a statement of three hours: asked after, with a token that is good each time", async () => {
  const { session, seen, clock, fake } = openJob([inState("PENDING"), inState("RUNNING"), inState("RUNNING")]);
  const delays: number[] = [];
  const wait = async (delayMs: number): Promise<void> => {
    delays.push(delayMs);
    await clock.advance(3_600_000);
  };
  expect(await collect(runStatement(session, STATEMENT, { wait }))).toHaveLength(2);
  expect(seen.map(({ method }) => method)).toEqual(["POST", "GET", "GET", "GET"]);
  expect(delays).toEqual([500, 1_000, 2_000]);
  expect(fake.requests.filter(({ at }) => at === "token")).toHaveLength(4);
  expect(fake.requests.filter(({ at, status }) => at === "api" && status !== 200)).toEqual([]);
});

test("R-04 a token that is refused while asking: replaced, nothing is begun twice", async () => {
  const { session, seen, fake } = openJob([inState("RUNNING")]);
  const wait = (): Promise<void> => {
    fake.expireAccessTokens();
    return Promise.resolve();
  };
  expect(await collect(runStatement(session, STATEMENT, { wait }))).toHaveLength(2);
  expect(seen.map(({ method }) => method)).toEqual(["POST", "GET", "GET"]);
});

test("a result in chunks: each is fetched when the one before was read", async () => {
  const link = "/api/2.0/sql/statements/01ed/result/chunks/1?row_offset=2";
  const withMore: Answer = async (_request, response) => {
    const body = (await response.json()) as { result: object };
    return Response.json({ ...body, result: { ...body.result, next_chunk_internal_link: link } });
  };
  const { session, seen } = openJob([withMore, () => Response.json({ chunk_index: 1, data_array: [["Oslo"]] })]);
  const rows = runStatement(session, STATEMENT);
  await rows.next();
  await rows.next();
  expect(seen).toHaveLength(1);
  expect(await collect(rows)).toEqual([{ CITY: "Oslo" }]);
  expect(seen.at(-1)).toMatchObject({ method: "GET", path: link });
});

test("a link to another place gets no token", async () => {
  const elsewhere: Answer = async (_request, response) => {
    const body = (await response.json()) as { result: object };
    return Response.json({ ...body, result: { next_chunk_internal_link: "https://evil.example/x" } });
  };
  const { session } = openJob([elsewhere]);
  await expect(collect(runStatement(session, STATEMENT))).rejects.toMatchObject({ code: "endpoint_not_allowed" });
});

test.each([
  ["a failed statement", { status: { state: "FAILED", error: { error_code: "BAD_REQUEST", message: "[PARSE]" } } }],
  ["a request that is refused", { error_code: "BAD_REQUEST", message: "[PARSE]" }],
])("%s says what Databricks said", async (_, body) => {
  const status = "error_code" in body ? 400 : 200;
  const { session } = openJob([() => Response.json({ statement_id: "01ed", ...body }, { status })]);
  const error = await collect(runStatement(session, STATEMENT)).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(StatementError);
  expect(error).toMatchObject({ code: "BAD_REQUEST", message: "[PARSE]" });
});

test.each([
  ["a page instead of JSON", new Response("<html>", { status: 502 }), "502"],
  ["JSON of another kind", Response.json([]), "malformed_answer"],
  [
    "a statement that somebody cancelled",
    Response.json({ statement_id: "a", status: { state: "CANCELED" } }),
    "CANCELED",
  ],
])("%s is an error with a code", async (_, response, code) => {
  const { session } = openJob([() => response]);
  await expect(collect(runStatement(session, STATEMENT))).rejects.toMatchObject({ name: "StatementError", code });
});

test("who stops waiting stops the statement, too", async () => {
  const { session, seen } = openJob([inState("RUNNING")]);
  const controller = new AbortController();
  const wait = (_delayMs: number, signal?: AbortSignal): Promise<void> => {
    controller.abort(new Error("enough"));
    signal?.throwIfAborted();
    return Promise.resolve();
  };
  await expect(collect(runStatement(session, STATEMENT, { wait, signal: controller.signal }))).rejects.toThrow(
    "enough",
  );
  expect(seen.at(-1)).toMatchObject({ method: "POST", path: expect.stringMatching(/\/cancel$/) as string });
});

test("a request that fails while it is waited for leaves the statement alone", async () => {
  const { session, seen } = openJob([inState("RUNNING"), () => new Response("", { status: 503 })]);
  await expect(collect(runStatement(session, STATEMENT, { wait: unwaited }))).rejects.toMatchObject({ code: "503" });
  expect(seen.map(({ path }) => path).filter((path) => path.endsWith("/cancel"))).toEqual([]);
});
