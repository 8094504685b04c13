import { OAuthError, type TokenSession, type Warehouse } from "warehouse-oauth";

/** Columns and rows of an answer; cells are text, as all three APIs send them. */
export interface QueryResult {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** The way on which a warehouse is asked: by our own `fetch`, or through the driver that people use. */
export interface QueryWay {
  /** What the query goes through, with its version. */
  readonly name: string;
  /** Why it is this one, where somebody asked for another one. */
  readonly reason: string | undefined;
  /** The code a reader would write for it. */
  readonly code: string;
  /** Runs a statement with the token of a session. */
  run(session: TokenSession, statement: string): Promise<QueryResult>;
  /** Ends what is open. */
  close(): Promise<void>;
}

/** How one warehouse's HTTP API takes a statement and gives rows. */
export interface QueryApi {
  /** Path below the API's origin. */
  readonly path: string;
  body(statement: string): Readonly<Record<string, unknown>>;
  /** Reads a finished answer; `undefined` if the statement did not finish in time or failed. */
  read(answer: unknown): QueryResult | undefined;
}

/** The API refused or did not finish. Holds the status, never the answer. */
export class QueryError extends Error {
  readonly status: number;
  /** The warehouse does not take this access token any more; another one may do. */
  readonly tokenRejected: boolean;

  constructor(status: number, message: string, tokenRejected = false) {
    super(message);
    this.name = "QueryError";
    this.status = status;
    this.tokenRejected = tokenRejected;
  }
}

/** No answer came: neither the library nor the warehouse has a name for it. */
export class UnreachableError extends Error {
  constructor(cause: unknown) {
    super("the warehouse cannot be reached", { cause });
    this.name = "UnreachableError";
  }
}

/**
 * Runs a warehouse's own statement on its own way.
 *
 * @throws `OAuthError`, {@link QueryError}, or {@link UnreachableError}.
 */
export async function runStatement(
  { way, statement }: { readonly way: QueryWay; readonly statement: string },
  session: TokenSession,
): Promise<QueryResult> {
  try {
    return await way.run(session, statement);
  } catch (error) {
    throw OAuthError.is(error) || error instanceof QueryError ? error : new UnreachableError(error);
  }
}

/** How long the page waits for a warehouse that may have to start up first. */
const QUERY_TIMEOUT_MS = 60_000;

/** How much of a refusal an adapter looks at. */
const ANSWER_START = 16 * 1024;

/**
 * Runs a statement in a session: it attaches the token, and replaces one that is refused.
 *
 * @throws {@link QueryError}, and what `TokenSession.fetch` throws.
 */
export async function runQuery(options: {
  readonly api: QueryApi;
  readonly warehouse: Warehouse;
  readonly session: TokenSession;
  readonly statement: string;
}): Promise<QueryResult> {
  const { api, warehouse, session, statement } = options;
  const response = await session.fetch(api.path, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json",
      "user-agent": "warehouse-oauth-demo",
    },
    body: JSON.stringify(api.body(statement)),
    redirect: "error",
    signal: AbortSignal.timeout(QUERY_TIMEOUT_MS),
  });
  const text = await response.text();
  if (!response.ok) {
    const { status, headers } = response;
    const answer = { status, headers, bodyStart: text.slice(0, ANSWER_START) };
    // Each adapter knows how its warehouse says that a token is dead: not all of them with 401.
    const tokenRejected = warehouse.isTokenRejected?.(answer) ?? status === 401;
    throw new QueryError(status, "the warehouse refused the query", tokenRejected);
  }
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    throw new QueryError(response.status, "the warehouse answered something that is not JSON");
  }
  const result = api.read(answer);
  if (result === undefined) throw new QueryError(response.status, "the query failed or took too long");
  return result;
}

/** Asks with the session's own `fetch`, which is all that an HTTP API needs. */
export function throughFetch(api: QueryApi, warehouse: Warehouse, reason?: string): QueryWay {
  return {
    name: "session.fetch",
    reason,
    code: `const response = await session.fetch("${api.path}", { method: "POST", body });`,
    run: (session, statement) => runQuery({ api, warehouse, session, statement }),
    close: () => Promise.resolve(),
  };
}

/** Snowflake SQL API. `warehouse` is the compute to run on; the user's default if there is one. */
export function snowflakeSql(warehouse?: string): QueryApi {
  return {
    path: "/api/v2/statements",
    body: (statement) => ({ statement, timeout: 50, ...(warehouse !== undefined && { warehouse }) }),
    read(answer) {
      const columns = member(answer, "resultSetMetaData", "rowType");
      const rows = member(answer, "data");
      if (!Array.isArray(columns) || !Array.isArray(rows)) return undefined;
      return { columns: columns.map((column) => cell(member(column, "name"))), rows: rows.map(cells) };
    },
  };
}

/** Databricks statement execution API on one SQL warehouse. */
export function databricksSql(warehouseId: string): QueryApi {
  return {
    path: "/api/2.0/sql/statements",
    body: (statement) => ({ statement, warehouse_id: warehouseId, wait_timeout: "50s", on_wait_timeout: "CANCEL" }),
    read(answer) {
      const columns = member(answer, "manifest", "schema", "columns");
      if (member(answer, "status", "state") !== "SUCCEEDED" || !Array.isArray(columns)) return undefined;
      const rows = member(answer, "result", "data_array");
      const names = columns.map((column) => cell(member(column, "name")));
      return { columns: names, rows: Array.isArray(rows) ? rows.map(cells) : [] };
    },
  };
}

/** BigQuery `jobs.query` in one project. */
export function bigQueryJobs(projectId: string): QueryApi {
  return {
    path: `/bigquery/v2/projects/${encodeURIComponent(projectId)}/queries`,
    body: (query) => ({ query, useLegacySql: false, timeoutMs: 50_000 }),
    read(answer) {
      const fields = member(answer, "schema", "fields");
      if (member(answer, "jobComplete") !== true || !Array.isArray(fields)) return undefined;
      const rows = member(answer, "rows");
      return {
        columns: fields.map((field) => cell(member(field, "name"))),
        rows: Array.isArray(rows)
          ? rows.map((row) => list(member(row, "f")).map((value) => cell(member(value, "v"))))
          : [],
      };
    },
  };
}

/** Reads a path of own properties of what JSON gave. */
function member(value: unknown, ...path: readonly string[]): unknown {
  let current = value;
  for (const name of path) {
    if (typeof current !== "object" || current === null || !Object.hasOwn(current, name)) return undefined;
    current = (current as Readonly<Record<string, unknown>>)[name];
  }
  return current;
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function cells(row: unknown): readonly string[] {
  return list(row).map(cell);
}

/** Puts a value into a cell. */
export function cell(value: unknown): string {
  if (value === null || value === undefined) return "∅";
  return typeof value === "string" ? value : JSON.stringify(value);
}
