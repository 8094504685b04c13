/**
 * A nightly job on Databricks: a service principal signs itself in, and runs statements for as long as it takes. Nobody is
 * there to click, nothing is stored, and no line of it knows that tokens end after an hour.
 *
 * `npm run build`, then with Node 22.18 or later `node examples/job.ts`, with `DATABRICKS_HOST`, `DATABRICKS_CLIENT_ID`,
 * `DATABRICKS_CLIENT_SECRET` and `DATABRICKS_WAREHOUSE_ID`.
 */
import { pathToFileURL } from "node:url";
import {
  OAuthError,
  TokenManager,
  clientCredentials,
  createClient,
  type Clock,
  type OAuthClient,
  type TokenSession,
} from "warehouse-oauth";
import { databricks, type DatabricksLogin } from "warehouse-oauth/databricks";

/** What the job does. */
export interface Job {
  readonly client: OAuthClient<DatabricksLogin>;
  readonly warehouseId: string;
  readonly statements: readonly string[];
  /** Statements at once. Default is 4. */
  readonly atOnce?: number;
  /** Default is the system's. The client must have the same. */
  readonly clock?: Clock;
}

/** What became of it. */
export interface JobResult {
  readonly done: number;
  /** What went wrong, by statement. */
  readonly failed: ReadonlyMap<string, string>;
  /** Whether the same job may succeed later. */
  readonly worthRepeating: boolean;
}

/** Runs the job. However many statements run at once, there is one request for a token, and one more when it ends. */
export async function runJob({ client, warehouseId, statements, atOnce = 4, clock }: Job): Promise<JobResult> {
  const manager = new TokenManager({ ...(clock !== undefined && { clock }) });
  const session = manager.session(
    client,
    { subject: "nightly" },
    // Instead of a refresh token: asked for the first token, and for each one after it. Passes the signal on.
    { obtain: (self, { signal }) => clientCredentials(self, { scopes: ["sql"], signal }) },
  );
  const failed = new Map<string, string>();
  let worthRepeating = false;
  const waiting = [...statements];
  const work = async (): Promise<void> => {
    for (let statement = waiting.shift(); statement !== undefined; statement = waiting.shift()) {
      try {
        const { ok, status } = await runStatement(session, statement, warehouseId);
        if (!ok) failed.set(statement, `status ${String(status)}`);
      } catch (error) {
        if (!OAuthError.is(error)) throw error;
        failed.set(statement, error.code);
        worthRepeating ||= error.retryable;
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: atOnce }, work));
  } finally {
    await manager.close();
  }
  return { done: statements.length - failed.size, failed, worthRepeating };
}

/** Attaches a token that is good now; one that is refused is replaced, and the statement sent once more. */
function runStatement(session: TokenSession, statement: string, warehouseId: string): Promise<Response> {
  return session.fetch("/api/2.0/sql/statements", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ statement, warehouse_id: warehouseId, wait_timeout: "30s" }),
  });
}

async function main(environment: Readonly<Record<string, string | undefined>>): Promise<void> {
  const read = (name: string): string => {
    const value = environment[name];
    if (value === undefined) throw new Error(`set ${name}`);
    return value;
  };
  const { done, failed, worthRepeating } = await runJob({
    client: createClient({
      warehouse: databricks({ host: read("DATABRICKS_HOST") }),
      clientId: read("DATABRICKS_CLIENT_ID"),
      clientSecret: read("DATABRICKS_CLIENT_SECRET"),
    }),
    warehouseId: read("DATABRICKS_WAREHOUSE_ID"),
    statements: ["optimize sales", "analyze table sales compute statistics"],
  });
  process.stdout.write(`${String(done)} done\n`);
  for (const [statement, why] of failed) process.stderr.write(`${statement}: ${why}\n`);
  // 75 is "try again later" to those who run jobs (sysexits.h).
  if (failed.size > 0) process.exitCode = worthRepeating ? 75 : 1;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main(process.env);
