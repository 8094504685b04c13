/**
 * SQL on Databricks without a driver: the statement execution API on top of `session.fetch`.
 *
 * A statement may run for hours: it is begun, asked after, and its rows are fetched chunk by chunk. Each request has a token
 * that is good then, so it does not matter how often tokens end meanwhile. Enough for reports and jobs; for results of more
 * than 25 MiB the API has links to cloud storage (`EXTERNAL_LINKS`), which must be fetched without any token.
 *
 * `npm run build`, then with Node 22.18 or later `node examples/databricks-statement-api.ts "select 1"`, with
 * `DATABRICKS_HOST`, `DATABRICKS_CLIENT_ID`, `DATABRICKS_CLIENT_SECRET` and `DATABRICKS_WAREHOUSE_ID`.
 */
import { setTimeout } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { TokenManager, clientCredentials, createClient, type TokenSession } from "warehouse-oauth";
import { databricks } from "warehouse-oauth/databricks";

/** A statement with named parameters: `select * from sales where day = :day`. */
export interface Statement {
  readonly sql: string;
  readonly warehouseId: string;
  readonly parameters?: Readonly<Record<string, string>>;
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

/** Says what Databricks said against a statement. */
export class StatementError extends Error {
  override readonly name = "StatementError";
  /** `error_code` of the API, or the HTTP status. */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

const STATEMENTS = "/api/2.0/sql/statements";

/** Asked after at once, then less and less often. */
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

/** Runs a statement and gives its rows as they come, one chunk in memory at a time. */
export async function* runStatement(
  session: TokenSession,
  statement: Statement,
  options: StatementOptions = {},
): AsyncGenerator<Row, void, undefined> {
  const { signal, wait = waitFor } = options;
  let answer = await begin(session, statement, signal);
  const path = `${STATEMENTS}/${encodeURIComponent(readText(answer["statement_id"]))}`;
  try {
    for (let delayMs = FIRST_WAIT_MS; isUnderWay(answer); delayMs = Math.min(2 * delayMs, LONGEST_WAIT_MS)) {
      await wait(delayMs, signal);
      answer = await send(session, path, { signal: signal ?? null });
    }
  } catch (error) {
    // Nobody waits for it any more, and it costs money while it runs.
    if (signal?.aborted === true) await session.fetch(`${path}/cancel`, { method: "POST" }).catch(() => undefined);
    throw error;
  }
  assertSucceeded(answer);
  const names = readNames(answer["manifest"]);
  let chunk = readObject(answer["result"]);
  for (;;) {
    for (const cells of readList(chunk["data_array"])) yield readRow(names, readList(cells));
    const next = chunk["next_chunk_internal_link"];
    if (typeof next !== "string") return;
    // A path of the same workspace; to any other place `session.fetch` would send nothing.
    chunk = await send(session, next, { signal: signal ?? null });
  }
}

function begin(
  session: TokenSession,
  { sql, warehouseId, parameters = {} }: Statement,
  signal?: AbortSignal,
): Promise<Answer> {
  const named = Object.entries(parameters).map(([name, value]) => ({ name, value }));
  return send(session, STATEMENTS, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      statement: sql,
      warehouse_id: warehouseId,
      wait_timeout: "10s",
      on_wait_timeout: "CONTINUE",
      ...(named.length > 0 && { parameters: named }),
    }),
    signal: signal ?? null,
  });
}

type Answer = Readonly<Record<string, unknown>>;

async function send(session: TokenSession, path: string, init: RequestInit): Promise<Answer> {
  const response = await session.fetch(path, init);
  const body = readObject(await response.json().catch(() => undefined));
  if (response.ok) return body;
  const { error_code: code, message } = body;
  throw new StatementError(
    typeof code === "string" ? code : String(response.status),
    typeof message === "string" ? message : `Databricks answered ${String(response.status)}`,
  );
}

function isUnderWay({ status }: Answer): boolean {
  const { state } = readObject(status);
  return state === "PENDING" || state === "RUNNING";
}

function assertSucceeded({ status }: Answer): void {
  const { state, error } = readObject(status);
  if (state === "SUCCEEDED") return;
  const { error_code: code, message } = readObject(error);
  throw new StatementError(
    typeof code === "string" ? code : readText(state),
    typeof message === "string" ? message : `the statement ended as ${readText(state)}`,
  );
}

function readNames(manifest: unknown): string[] {
  const { columns } = readObject(readObject(manifest)["schema"]);
  return readList(columns).map((column) => readText(readObject(column)["name"]));
}

function readRow(names: readonly string[], cells: readonly unknown[]): Row {
  return new Map(names.map((name, index) => [name, typeof cells[index] === "string" ? cells[index] : undefined]));
}

function readObject(value: unknown): Answer {
  return typeof value === "object" && value !== null ? (value as Answer) : {};
}

function readList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function readText(value: unknown): string {
  if (typeof value !== "string") throw new StatementError("malformed_answer", "Databricks answered something else");
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
    warehouse: databricks({ host: read("DATABRICKS_HOST") }),
    clientId: read("DATABRICKS_CLIENT_ID"),
    clientSecret: read("DATABRICKS_CLIENT_SECRET"),
  });
  const manager = new TokenManager();
  try {
    const session = manager.session(client, { subject: "statements" }, { obtain: clientCredentials });
    for await (const row of runStatement(session, { sql, warehouseId: read("DATABRICKS_WAREHOUSE_ID") })) {
      process.stdout.write(`${JSON.stringify(Object.fromEntries(row))}\n`);
    }
  } finally {
    await manager.close();
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main(process.env, process.argv[2]);
