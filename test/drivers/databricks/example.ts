/**
 * A report with `@databricks/sql`: a service principal queries through the night, and no line of it knows that tokens end
 * after an hour. Beside the driver's own program there are three lines: `manager.session`, `databricksAuth`,
 * `withDatabricksRetry`.
 *
 * Lives where the driver is installed, and runs in the tests beside. To run it against a workspace of yours, copy it to a
 * folder with `npm install warehouse-oauth @databricks/sql`, and start it with Node 22.18 or later: `node example.ts`, with
 * `DATABRICKS_HOST`, `DATABRICKS_HTTP_PATH`, `DATABRICKS_CLIENT_ID` and `DATABRICKS_CLIENT_SECRET`.
 */
import { DBSQLClient } from "@databricks/sql";
import { pathToFileURL } from "node:url";
import {
  TokenManager,
  clientCredentials,
  createClient,
  type Clock,
  type OAuthClient,
  type TokenSession,
} from "warehouse-oauth";
import { databricks, type DatabricksLogin } from "warehouse-oauth/databricks";
import { databricksAuth, withDatabricksRetry } from "warehouse-oauth/databricks/driver";

/** What to report, and where. */
export interface Report {
  readonly client: OAuthClient<DatabricksLogin>;
  readonly host: string;
  readonly path: string;
  readonly statements: readonly string[];
  /** Default is the driver with its usual log. */
  readonly driver?: DBSQLClient;
  /** Default is the system's. The client must have the same. */
  readonly clock?: Clock;
  /** Called for the rows of each statement. */
  readonly onRows: (statement: string, rows: readonly object[]) => void | Promise<void>;
}

/** Runs one statement after the other in one session of the driver, for as long as it takes. */
export async function runReport(report: Report): Promise<void> {
  const { client, host, path, statements, driver = new DBSQLClient(), clock, onRows } = report;
  const manager = new TokenManager({ ...(clock !== undefined && { clock }) });
  const session = manager.session(
    client,
    { subject: "report" },
    // Asked for the first token and for each one after it. Passes the signal on.
    { obtain: (self, { signal }) => clientCredentials(self, { scopes: ["sql"], signal }) },
  );
  try {
    await driver.connect({ host, path, ...databricksAuth(session) });
    const sql = await withDatabricksRetry(session, () => driver.openSession());
    for (const statement of statements) await onRows(statement, await query(session, sql, statement));
    await sql.close();
  } finally {
    await driver.close();
    await manager.close();
  }
}

type DriverSession = Awaited<ReturnType<DBSQLClient["openSession"]>>;

/** The statement is repeated if its token is refused; reading its rows is not, lest some be lost. */
async function query(session: TokenSession, sql: DriverSession, statement: string): Promise<object[]> {
  const operation = await withDatabricksRetry(session, () => sql.executeStatement(statement));
  try {
    return await operation.fetchAll();
  } finally {
    await operation.close();
  }
}

async function main(environment: Readonly<Record<string, string | undefined>>): Promise<void> {
  const read = (name: string): string => {
    const value = environment[name];
    if (value === undefined) throw new Error(`set ${name}`);
    return value;
  };
  const host = read("DATABRICKS_HOST");
  await runReport({
    client: createClient({
      warehouse: databricks({ host }),
      clientId: read("DATABRICKS_CLIENT_ID"),
      clientSecret: read("DATABRICKS_CLIENT_SECRET"),
    }),
    host,
    path: read("DATABRICKS_HTTP_PATH"),
    statements: ["select current_user() as who", "select 1 as one"],
    onRows: (statement, rows) => {
      process.stdout.write(`${statement}: ${JSON.stringify(rows)}\n`);
    },
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main(process.env);
