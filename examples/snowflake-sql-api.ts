/**
 * SQL on Snowflake without a driver: the SQL API on top of `session.fetch`.
 *
 * Unlike the driver, whose sessions outlive their token, the SQL API checks the token with every request. Here each request
 * has one that is good then: when the statement is begun, each time it is asked after, and for every partition of its rows.
 * A statement is begun under a `requestId`, so that one whose answer was lost can be asked for again without running twice.
 *
 * `npm run build`, then with Node 22.18 or later `node examples/snowflake-sql-api.ts "select 1"`, with `SNOWFLAKE_ACCOUNT`,
 * `SNOWFLAKE_CLIENT_ID`, `SNOWFLAKE_CLIENT_SECRET`, and `SNOWFLAKE_TOKENS`: what `exportTokens` gave after a login, as JSON.
 */
import { setTimeout } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { TokenManager, createClient, importTokens, type TokenSession } from "warehouse-oauth";
import { snowflake } from "warehouse-oauth/snowflake";

/** A statement; `?` in it is filled from `bindings`, in their order. */
export interface Statement {
  readonly sql: string;
  readonly bindings?: readonly string[];
  /** The compute to run on. Default is the user's own. */
  readonly warehouse?: string;
}

/** How to wait for it. */
export interface StatementOptions {
  /** Ends the waiting, and the statement. */
  readonly signal?: AbortSignal;
  /** Default is a timer. */
  readonly wait?: (delayMs: number, signal?: AbortSignal) => Promise<unknown>;
}

/** One row: all values are text, or `undefined` for SQL's null. */
export type Row = ReadonlyMap<string, string | undefined>;

/** Says what Snowflake said against a statement. */
export class StatementError extends Error {
  override readonly name = "StatementError";
  /** `code` of the API, or the HTTP status. */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

const STATEMENTS = "/api/v2/statements";

/** Asked after at once, then less and less often. */
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

/** How often a request is sent again when its answer was lost, or there were too many. */
const MAX_REPEATS = 3;

/** Runs a statement and gives its rows as they come, one partition in memory at a time. */
export async function* runStatement(
  session: TokenSession,
  statement: Statement,
  options: StatementOptions = {},
): AsyncGenerator<Row, void, undefined> {
  const send = sender(session, options);
  const { signal, wait = waitFor } = options;
  let answer = await send(`${STATEMENTS}?requestId=${crypto.randomUUID()}`, JSON.stringify(describe(statement)));
  const path = `${STATEMENTS}/${encodeURIComponent(readText(answer.body["statementHandle"]))}`;
  try {
    for (let delayMs = FIRST_WAIT_MS; answer.status === 202; delayMs = Math.min(2 * delayMs, LONGEST_WAIT_MS)) {
      await wait(delayMs, signal);
      answer = await send(path);
    }
  } catch (error) {
    // Nobody waits for it any more, and it costs credits while it runs.
    if (signal?.aborted === true) await session.fetch(`${path}/cancel`, { method: "POST" }).catch(() => undefined);
    throw error;
  }
  const { rowType, partitionInfo } = readObject(answer.body["resultSetMetaData"]);
  const names = readList(rowType).map((column) => readText(readObject(column)["name"]));
  yield* readRows(names, answer.body);
  for (let partition = 1; partition < readList(partitionInfo).length; partition++) {
    yield* readRows(names, (await send(`${path}?partition=${String(partition)}`)).body);
  }
}

function describe({ sql, bindings = [], warehouse }: Statement): Readonly<Record<string, unknown>> {
  const numbered = bindings.map((value, index) => [String(index + 1), { type: "TEXT", value }] as const);
  return {
    statement: sql,
    ...(warehouse !== undefined && { warehouse }),
    ...(numbered.length > 0 && { bindings: Object.fromEntries(numbered) }),
  };
}

type Body = Readonly<Record<string, unknown>>;

interface Answer {
  readonly status: number;
  readonly body: Body;
}

/** Gives a way to send a request, and to send it again: all of ours may be, thanks to the `requestId`. */
function sender(
  session: TokenSession,
  { signal, wait = waitFor }: StatementOptions,
): (path: string, body?: string) => Promise<Answer> {
  return async (path, body) => {
    for (let repeats = 0; ; repeats++) {
      // "retry" says that the statement may be running already.
      const target = repeats > 0 && path.includes("requestId=") ? `${path}&retry=true` : path;
      const answer = await sendOnce(session, target, {
        headers: { "content-type": "application/json", accept: "application/json", "user-agent": "acme-reports/1.0" },
        signal: signal ?? null,
        ...(body !== undefined && { method: "POST", body }),
      });
      if (answer !== undefined) return answer;
      if (repeats === MAX_REPEATS) throw new StatementError("unavailable", "Snowflake did not answer in time");
      await wait(FIRST_WAIT_MS * 2 ** repeats, signal);
    }
  };
}

/** Gives `undefined` where the same request may have another answer. */
async function sendOnce(session: TokenSession, path: string, init: RequestInit): Promise<Answer | undefined> {
  const response = await session.fetch(path, init);
  const { status, ok } = response;
  if (status === 429 || status >= 500) {
    await response.body?.cancel();
    return undefined;
  }
  const body = readObject(await response.json().catch(() => undefined));
  if (ok) return { status, body };
  const { code, message } = body;
  throw new StatementError(
    typeof code === "string" ? code : String(status),
    typeof message === "string" ? message : `Snowflake answered ${String(status)}`,
  );
}

function* readRows(names: readonly string[], { data }: Body): Generator<Row, void, undefined> {
  for (const row of readList(data)) {
    const cells = readList(row);
    yield new Map(names.map((name, index) => [name, typeof cells[index] === "string" ? cells[index] : undefined]));
  }
}

function readObject(value: unknown): Body {
  return typeof value === "object" && value !== null ? (value as Body) : {};
}

function readList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function readText(value: unknown): string {
  if (typeof value !== "string") throw new StatementError("malformed_answer", "Snowflake answered something else");
  return value;
}

function waitFor(delayMs: number, signal?: AbortSignal): Promise<unknown> {
  return setTimeout(delayMs, undefined, { ...(signal !== undefined && { signal }) });
}

async function main(environment: Readonly<Record<string, string | undefined>>, sql = "select 1"): Promise<void> {
  const read = (name: string): string => {
    const value = environment[name];
    if (value === undefined) throw new Error(`set ${name}`);
    return value;
  };
  const client = createClient({
    warehouse: snowflake({ account: read("SNOWFLAKE_ACCOUNT") }),
    clientId: read("SNOWFLAKE_CLIENT_ID"),
    clientSecret: read("SNOWFLAKE_CLIENT_SECRET"),
  });
  const manager = new TokenManager();
  try {
    const tokens = importTokens(JSON.parse(read("SNOWFLAKE_TOKENS")));
    const session = await manager.save(client, { subject: "me" }, tokens);
    for await (const row of runStatement(session, { sql })) {
      process.stdout.write(`${JSON.stringify(Object.fromEntries(row))}\n`);
    }
  } finally {
    await manager.close();
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main(process.env, process.argv[2]);
