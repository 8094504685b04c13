/**
 * A command-line tool on Databricks that several terminals use at once: `query "select 1"`, `status`, `logout`. Whoever
 * comes first signs in or refreshes; the others find the tokens in the files that only their owner can read.
 *
 * `npm run build`, then with Node 22.18 or later `node examples/terminal-tool.ts query "select 1"`, with
 * `DATABRICKS_HOST`, `DATABRICKS_CLIENT_ID` of a public OAuth application and `DATABRICKS_WAREHOUSE_ID`.
 */
import { homedir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import {
  OAuthError,
  TokenManager,
  createAuthorizationRequest,
  createClient,
  exchangeCode,
  validateCallback,
  type Clock,
  type OAuthClient,
  type TokenSession,
  type TokenStore,
} from "warehouse-oauth";
import { databricks, type DatabricksLogin } from "warehouse-oauth/databricks";
import { fileStore } from "warehouse-oauth/stores/file";
import { visitByHand } from "./script.ts";

/** What the tool needs. */
export interface Tool {
  readonly client: OAuthClient<DatabricksLogin>;
  readonly store: TokenStore;
  readonly warehouseId: string;
  /** Shows a person the address, and gives the one that the browser came back to. */
  readonly visit: (url: URL) => Promise<URL>;
  /** Default is the system's. The client must have the same. */
  readonly clock?: Clock;
}

/** Runs one command, and gives what it prints. */
export async function runCommand(tool: Tool, command = "help", sql = "select 1"): Promise<string> {
  const { client, store, clock } = tool;
  const manager = new TokenManager({ store, ...(clock !== undefined && { clock }) });
  const me = { subject: "me" };
  const session = manager.session(client, me);
  try {
    switch (command) {
      case "query":
        return await orSignIn(tool, manager, () => query(session, tool.warehouseId, sql));
      case "status":
        return (await session.status()).state;
      case "logout":
        await session.revoke();
        return "signed out";
      default:
        return 'expected "query", "status" or "logout"';
    }
  } finally {
    await manager.close();
  }
}

/** Does it; if a person must sign in first, asks them to, and does it once more. */
async function orSignIn<T>({ client, visit }: Tool, manager: TokenManager, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!OAuthError.is(error) || error.action !== "reauthorize") throw error;
    const { url, pending } = await createAuthorizationRequest(client);
    const callback = validateCallback(client, await visit(url), pending);
    await manager.save(client, { subject: "me" }, await exchangeCode(client, callback));
    return work();
  }
}

async function query(session: TokenSession, warehouseId: string, statement: string): Promise<string> {
  const response = await session.fetch("/api/2.0/sql/statements", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ statement, warehouse_id: warehouseId, wait_timeout: "30s" }),
  });
  return response.text();
}

/** What to tell a person. That files are not as they should be is something to put right, not to sign in for. */
export function explain(error: unknown): string {
  if (!OAuthError.is(error)) throw error;
  const isFiles = error.name === "StoreError";
  return isFiles ? `the token files cannot be used: ${error.message}` : `${error.code}: ${error.message}`;
}

async function main(environment: Readonly<Record<string, string | undefined>>, values: string[]): Promise<void> {
  const { DATABRICKS_HOST, DATABRICKS_CLIENT_ID, DATABRICKS_WAREHOUSE_ID } = environment;
  if (DATABRICKS_HOST === undefined || DATABRICKS_CLIENT_ID === undefined || DATABRICKS_WAREHOUSE_ID === undefined) {
    throw new Error("set DATABRICKS_HOST, DATABRICKS_CLIENT_ID and DATABRICKS_WAREHOUSE_ID");
  }
  const redirectUri = "http://localhost:8020"; // as it is registered
  const client = createClient({
    warehouse: databricks({ host: DATABRICKS_HOST }),
    clientId: DATABRICKS_CLIENT_ID,
    redirectUri,
    allowLoopbackHttp: true,
  });
  const tool: Tool = {
    client,
    store: fileStore({ directory: join(homedir(), ".warehouse-oauth-terminal-tool") }),
    warehouseId: DATABRICKS_WAREHOUSE_ID,
    visit: visitByHand(redirectUri, (line) => void process.stdout.write(`${line}\n`)),
  };
  const [command, sql] = values;
  try {
    process.stdout.write(`${await runCommand(tool, command, sql)}\n`);
  } catch (error) {
    process.stderr.write(`${explain(error)}\n`);
    process.exitCode = 1;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main(process.env, process.argv.slice(2));
