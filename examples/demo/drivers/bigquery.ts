import { OAuthError, type TokenSession } from "warehouse-oauth";
import { bigQueryAuthClient, withBigQueryRetry, type BigQueryAuth } from "warehouse-oauth/bigquery/driver";
import { QueryError, cell, type QueryResult, type QueryWay } from "../query.ts";
import type { Loaded } from "./load.ts";

/** What the demo calls of `@google-cloud/bigquery`. */
export interface BigQueryModule {
  readonly BigQuery: new (options: BigQueryPlace & { readonly authClient: BigQueryAuth }) => BigQueryClient;
}

/** Where a client leads. */
export interface BigQueryPlace {
  readonly projectId: string;
  /** The address of what is not at Google's. */
  readonly apiEndpoint: string;
}

interface BigQueryClient {
  request(...parameters: never[]): unknown;
  query(statement: string): Promise<readonly [rows: readonly Readonly<Record<string, unknown>>[], ...rest: unknown[]]>;
}

/** Says whether this is the driver. */
export function isBigQueryModule(value: unknown): value is BigQueryModule {
  return typeof value === "object" && value !== null && "BigQuery" in value && typeof value.BigQuery === "function";
}

/** Asks through `@google-cloud/bigquery`: one client for each session, as a program would have it. */
export function throughBigQueryDriver({ driver, name }: Loaded<BigQueryModule>, place: BigQueryPlace): QueryWay {
  const clients = new WeakMap<TokenSession, BigQueryClient>();
  const clientOf = (session: TokenSession): BigQueryClient => {
    const known = clients.get(session);
    if (known !== undefined) return known;
    const authClient = bigQueryAuthClient(session);
    const client = withBigQueryRetry(session, new driver.BigQuery({ ...place, authClient }));
    clients.set(session, client);
    return client;
  };
  return {
    name,
    reason: undefined,
    code: `const bq = new BigQuery({ projectId: "${place.projectId}", authClient: bigQueryAuthClient(session) });
const [rows] = await withBigQueryRetry(session, bq).query(statement);`,
    async run(session: TokenSession, statement: string): Promise<QueryResult> {
      try {
        const [rows] = await clientOf(session).query(statement);
        // The driver gives objects, and the names of columns with them only.
        const columns = Object.keys(rows[0] ?? {});
        return { columns, rows: rows.map((row) => columns.map((column) => cell(row[column]))) };
      } catch (error) {
        throw inOurWords(error, name);
      }
    },
    // It holds no connection: requests over HTTP, and the sockets end with the server.
    close: () => Promise.resolve(),
  };
}

const UNAUTHORIZED = 401;

/** What is ours arrives as it was thrown. What the server refused has its status; what never got there has none. */
function inOurWords(error: unknown, name: string): unknown {
  if (OAuthError.is(error) || !(error instanceof Error) || !("code" in error)) return error;
  const { code } = error;
  return typeof code === "number" ? new QueryError(code, `${name} gave up`, code === UNAUTHORIZED) : error;
}
