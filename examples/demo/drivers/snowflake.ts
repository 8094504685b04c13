import { OAuthError, type TokenSession } from "warehouse-oauth";
import { snowflakeConnection, type SnowflakeConnectionShape } from "warehouse-oauth/snowflake/driver";
import { QueryError, cell, type QueryResult, type QueryWay } from "../query.ts";
import type { Loaded } from "./load.ts";

/** What the demo calls of `snowflake-sdk`. */
export interface SnowflakeSdk {
  configure(options: { readonly logLevel: "OFF" }): unknown;
  createConnection(options?: SnowflakePlace): SnowflakeConnection;
}

/** Where a connection leads. */
export interface SnowflakePlace {
  readonly account: string;
  /** The address of what is not at Snowflake's. */
  readonly accessUrl: string;
  readonly warehouse?: string;
  readonly sfRetryMaxLoginRetries?: number;
}

interface SnowflakeConnection extends SnowflakeConnectionShape {
  execute(options: {
    readonly sqlText: string;
    readonly complete: (
      error: Error | null | undefined,
      statement: { getColumns(): readonly { getName(): string }[] | undefined },
      rows?: readonly Readonly<Record<string, unknown>>[],
    ) => void;
  }): unknown;
}

/** Says whether this is the driver. */
export function isSnowflakeSdk(value: unknown): value is SnowflakeSdk {
  if (typeof value !== "object" || value === null) return false;
  return "createConnection" in value && typeof value.createConnection === "function" && "configure" in value;
}

/** Keeps the driver on this machine: it reads these while it loads. */
export function prepareForSnowflakeSdk(): void {
  Object.assign(process.env, {
    SNOWFLAKE_DISABLE_PLATFORM_DETECTION: "true",
    SNOWFLAKE_DISABLE_MINICORE: "true",
    SF_TELEMETRY_DISABLE_CONNECTION_SHAPE: "1",
  });
}

/** A killed server is to be seen as killed. The driver would go on for five minutes. */
const LOGIN_RETRIES = 1;

/**
 * Asks through `snowflake-sdk`. A program would keep its connection, which outlives the token that it was opened with.
 * Here each query gets one of its own: what happens to the token is to be seen.
 */
export function throughSnowflakeSdk({ driver, name }: Loaded<SnowflakeSdk>, place: SnowflakePlace): QueryWay {
  driver.configure({ logLevel: "OFF" });
  const open = new Set<SnowflakeConnection>();
  const opening = new Set<AbortController>();
  const connect = async (session: TokenSession): Promise<SnowflakeConnection> => {
    const waiting = new AbortController();
    opening.add(waiting);
    try {
      const options = { ...place, sfRetryMaxLoginRetries: LOGIN_RETRIES, signal: waiting.signal };
      const connection = await snowflakeConnection(session, driver, options);
      open.add(connection);
      return connection;
    } finally {
      opening.delete(waiting);
    }
  };
  const end = async (connection: SnowflakeConnection): Promise<void> => {
    open.delete(connection);
    await new Promise<void>((resolve) => {
      connection.destroy(resolve);
    });
  };
  return {
    name,
    reason: undefined,
    code: `const connection = await snowflakeConnection(session, snowflake, { account: "${place.account}" });
connection.execute({ sqlText, complete });`,
    async run(session: TokenSession, statement: string): Promise<QueryResult> {
      try {
        const connection = await connect(session);
        try {
          return await execute(connection, statement);
        } finally {
          await end(connection);
        }
      } catch (error) {
        throw inOurWords(error, name);
      }
    },
    async close(): Promise<void> {
      for (const waiting of opening) waiting.abort(new Error("the demo stops"));
      await Promise.all([...open].map(end));
    },
  };
}

function execute(connection: SnowflakeConnection, sqlText: string): Promise<QueryResult> {
  return new Promise((resolve, reject) => {
    connection.execute({
      sqlText,
      complete(error, statement, rows = []) {
        if (error !== null && error !== undefined) {
          reject(error);
          return;
        }
        const columns = (statement.getColumns() ?? []).map((column) => column.getName());
        resolve({ columns, rows: rows.map((row) => columns.map((column) => cell(row[column]))) });
      },
    });
  });
}

/** Refused tokens, as the driver says it once a new one was refused too. */
const TOKEN_REFUSED: ReadonlySet<unknown> = new Set(["390303", "390318"]);

/** What is ours arrives as it was thrown. What the server refused has its code, as text; what never got there has none. */
function inOurWords(error: unknown, name: string): unknown {
  if (OAuthError.is(error) || !(error instanceof Error) || !("code" in error)) return error;
  const { code } = error;
  if (typeof code !== "string" || !/^\d+$/.test(code)) return error;
  return new QueryError(Number(code), `${name} gave up`, TOKEN_REFUSED.has(code));
}
