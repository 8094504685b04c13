/**
 * A report with `snowflake-sdk`: a person signs in once, and every query gets a connection of a pool for as long as the
 * program runs, without a line that knows that tokens end after ten minutes.
 *
 * Lives where the driver is installed, and runs in the tests beside. To run it against an account of yours, copy it to a
 * folder with `npm install warehouse-oauth snowflake-sdk`, and start it with Node 22.18 or later: `node example.ts`, with
 * `SNOWFLAKE_ACCOUNT` and `SNOWFLAKE_WAREHOUSE`. It prints the address at which to sign in.
 */
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";
import snowflake from "snowflake-sdk";
import {
  TokenManager,
  createAuthorizationRequest,
  createClient,
  exchangeCode,
  validateCallback,
  type OAuthClient,
} from "warehouse-oauth";
import { snowflake as warehouse, type SnowflakeLogin } from "warehouse-oauth/snowflake";
import { snowflakePool } from "warehouse-oauth/snowflake/driver";

/** What to report, and where. */
export interface Report {
  readonly client: OAuthClient<SnowflakeLogin>;
  /** Shows a person the address, and gives the one that the browser came back to. */
  readonly visit: (url: URL) => Promise<URL>;
  /** The driver's own options: account, warehouse and so on. */
  readonly connection: Omit<snowflake.ConnectionOptions, "token" | "authenticator">;
  readonly statements: readonly string[];
  /** Called for the rows of each statement. */
  readonly onRows: (statement: string, rows: readonly unknown[]) => void | Promise<void>;
}

/** Signs somebody in, and runs the statements, two at once. */
export async function runReport({ client, visit, connection, statements, onRows }: Report): Promise<void> {
  const manager = new TokenManager();
  manager.start(); // the pool reads the token without waiting: it must be good before it is asked for
  const { url, pending } = await createAuthorizationRequest(client);
  const tokens = await exchangeCode(client, validateCallback(client, await visit(url), pending));
  const session = await manager.save(client, { subject: "me" }, tokens);

  const pool = await snowflakePool(session, snowflake, { ...connection, pool: { max: 2, testOnBorrow: true } });
  try {
    await Promise.all(
      statements.map(async (statement) => {
        await onRows(statement, await pool.use((lent) => query(lent, statement)));
      }),
    );
  } finally {
    await pool.drain();
    await pool.clear();
    await manager.close();
  }
}

/** The driver's callback as a promise. */
function query(connection: snowflake.Connection, sqlText: string): Promise<readonly unknown[]> {
  return new Promise((resolve, reject) => {
    connection.execute({
      sqlText,
      complete: (error: Error | null | undefined, _statement, rows: unknown[] = []) => {
        if (error === undefined || error === null) resolve(rows);
        else reject(error);
      },
    });
  });
}

/** Prints the address, and waits on the redirect URI for the browser to come back. */
function visitByHand(redirectUri: string): (url: URL) => Promise<URL> {
  return (url) =>
    new Promise((resolve, reject) => {
      const server = createServer((request, response) => {
        response.setHeader("connection", "close").end("You can close this page.");
        server.close();
        resolve(new URL(request.url ?? "/", redirectUri));
      });
      server.once("error", reject);
      server.listen(Number(new URL(redirectUri).port), "127.0.0.1", () => {
        process.stdout.write(`${url.href}\n`);
      });
    });
}

async function main(environment: Readonly<Record<string, string | undefined>>): Promise<void> {
  const { SNOWFLAKE_ACCOUNT: account, SNOWFLAKE_WAREHOUSE: compute } = environment;
  if (account === undefined || compute === undefined) throw new Error("set SNOWFLAKE_ACCOUNT and SNOWFLAKE_WAREHOUSE");
  const redirectUri = "http://127.0.0.1:8765";
  await runReport({
    client: createClient({
      warehouse: warehouse({ account }),
      clientId: "LOCAL_APPLICATION", // every account has it
      redirectUri,
      allowLoopbackHttp: true,
    }),
    visit: visitByHand(redirectUri),
    connection: { account, warehouse: compute },
    statements: ["select current_user() as who", "select 1 as one"],
    onRows: (statement, rows) => {
      process.stdout.write(`${statement}: ${JSON.stringify(rows)}\n`);
    },
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main(process.env);
