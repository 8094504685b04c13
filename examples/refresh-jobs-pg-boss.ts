/**
 * A fleet that keeps tokens fresh through pg-boss: web servers sign people in and put in a job for each, workers do the
 * jobs. Records and jobs are in one PostgreSQL here; they need not be.
 *
 * `npm run build`, then with Node 22.18 or later `node examples/refresh-jobs-pg-boss.ts`: one worker, until it is told to
 * end, with `DATABASE_URL`, `STORE_KEY` (32 random bytes in base64url), `DATABRICKS_HOST`, `DATABRICKS_CLIENT_ID` and
 * `DATABRICKS_CLIENT_SECRET`.
 */
import { pathToFileURL } from "node:url";
import pg from "pg";
import PgBoss from "pg-boss";
import {
  TokenManager,
  createClient,
  type OAuthClient,
  type RefreshOptions,
  type SessionIdentity,
  type TokenSession,
  type TokenSet,
  type TokenStore,
} from "warehouse-oauth";
import { databricks } from "warehouse-oauth/databricks";
import { pgBossJobs } from "warehouse-oauth/jobs/pg-boss";
import { encryptedStore, keyRing } from "warehouse-oauth/stores/encrypted";
import { postgresStore } from "warehouse-oauth/stores/postgres";

/** What a process of the fleet is made of. */
export interface FleetOptions {
  readonly client: OAuthClient;
  /** Where jobs and records are. */
  readonly databaseUrl: string;
  /** Whether this process does jobs, or only puts them in. */
  readonly worker: boolean;
  /** Wraps the store to encrypt it. Default is the store as it is: for tests only. */
  readonly seal?: (store: TokenStore) => TokenStore;
  readonly refresh?: RefreshOptions;
  /** What is written to the log: no secret. */
  readonly log?: (line: string) => void;
}

/** One process of the fleet. */
export interface FleetProcess {
  readonly manager: TokenManager;
  /** Saves a login, and puts in its job. */
  signedIn(identity: SessionIdentity, tokens: TokenSet): Promise<TokenSession>;
  /** In the one right order: the workers, the manager, the boss, the store. */
  close(): Promise<void>;
}

/** Connects a process to the fleet. */
export async function joinFleet(options: FleetOptions): Promise<FleetProcess> {
  const { client, databaseUrl, worker, log = () => undefined } = options;
  const seal = options.seal ?? ((plain: TokenStore): TokenStore => plain);
  const pool = new pg.Pool({ connectionString: databaseUrl });
  const complain = ({ message }: Error): void => {
    log(`database: ${message}`);
  };
  pool.on("error", complain);
  const rows = postgresStore({ client: pool });
  await rows.migrate();
  const store = seal(rows);
  const manager = new TokenManager({
    store,
    resolveClient: ({ connectionId }) => (connectionId === client.connectionId ? client : undefined),
    ...(options.refresh !== undefined && { refresh: options.refresh }),
  });

  const boss = new PgBoss(databaseUrl);
  boss.on("error", complain);
  await boss.start();
  const jobs = pgBossJobs({
    manager,
    store,
    boss,
    onError: (_error, { step }) => {
      log(`refresh jobs: ${step} failed`);
    },
  });
  if (worker) await jobs.start();

  return {
    manager,
    async signedIn(identity, tokens) {
      const session = await manager.save(client, identity, tokens);
      await jobs.schedule(session);
      return session;
    },
    async close() {
      const { unsaved } = await jobs.close();
      for (const key of unsaved) log(`the tokens of ${key} are lost: the store did not take them`);
      await boss.stop();
      await pool.end();
    },
  };
}

async function main(environment: Readonly<Record<string, string | undefined>>): Promise<void> {
  const read = (name: string): string => {
    const value = environment[name];
    if (value === undefined) throw new Error(`set ${name}`);
    return value;
  };
  const client = createClient({
    warehouse: databricks({ host: read("DATABRICKS_HOST") }),
    clientId: read("DATABRICKS_CLIENT_ID"),
    clientSecret: read("DATABRICKS_CLIENT_SECRET"),
  }) as OAuthClient;
  const log = (line: string): void => {
    process.stdout.write(`${line}\n`);
  };
  const keys = keyRing([{ id: "1", key: read("STORE_KEY") }]);
  const seal = (store: TokenStore): TokenStore => encryptedStore(store, { keys });
  const fleet = await joinFleet({ client, databaseUrl: read("DATABASE_URL"), worker: true, seal, log });
  const end = (): void => {
    void fleet.close();
  };
  process.once("SIGTERM", end);
  process.once("SIGINT", end);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main(process.env);
