/**
 * Sessions in PostgreSQL, sealed: they outlive every process, and any number of processes share them. The table is
 * tidied up by whoever has time for it.
 *
 * `npm run build`, then with Node 22.18 or later `node examples/postgres-store.ts` twice: the second run finds what the
 * first one left. With `DATABASE_URL` and `TOKEN_KEY` (`openssl rand -base64 32`); the warehouse is a fake one.
 */
import { pathToFileURL } from "node:url";
import pg from "pg";
import { TokenManager, type Clock, type OAuthClient } from "warehouse-oauth";
import { encryptedStore, keyRing } from "warehouse-oauth/stores/encrypted";
import { postgresStore, type PostgresStore, type PostgresStoreOptions } from "warehouse-oauth/stores/postgres";

/** What the application has already. */
export interface SessionsOptions {
  /** Its pool, or its PGlite. */
  readonly db: PostgresStoreOptions["client"];
  /** 32 random bytes in base64, kept where the database is not. */
  readonly key: string;
  readonly client: OAuthClient;
  /** Default is the system's. The client must have the same. */
  readonly clock?: Clock;
}

/** The sessions of one process. */
export interface Sessions {
  readonly manager: TokenManager;
  /** Deletes what is over. Once a day, by one process or by all of them: they do not get into each other's way. */
  tidyUp(): Promise<number>;
  close(): Promise<void>;
}

/** How many rows one statement deletes: few enough that nobody waits for it. */
const BATCH = 1000;

/** Begins to keep the sessions of `client` fresh, those too that a process left which is gone. */
export function openSessions({ db, key, client, clock }: SessionsOptions): Sessions {
  const rows: PostgresStore = postgresStore({ client: db });
  const manager = new TokenManager({
    store: encryptedStore(rows, { keys: keyRing([{ id: "2026-11", key }]) }),
    resolveClient: ({ connectionId }) => (connectionId === client.connectionId ? client : undefined),
    ...(clock !== undefined && { clock }),
  });
  manager.start();
  return {
    manager,
    async tidyUp() {
      let deleted = 0;
      for (;;) {
        const { records } = await rows.deleteExpired({ limit: BATCH });
        deleted += records;
        if (records < BATCH) return deleted;
      }
    },
    async close() {
      await manager.close({ drainMs: 5_000 });
    },
  };
}

async function main({ DATABASE_URL, TOKEN_KEY = "" }: Readonly<Record<string, string | undefined>>): Promise<void> {
  const { fakeDatabricks } = await import("warehouse-oauth/testing");
  const fake = fakeDatabricks();
  const pool = new pg.Pool({ connectionString: DATABASE_URL, connectionTimeoutMillis: 5_000 });
  pool.on("error", () => undefined); // a connection broke while nobody used it; the next use gets another
  await postgresStore({ client: pool }).migrate(); // or postgresMigration() in a migration of yours
  const sessions = openSessions({ db: pool, key: TOKEN_KEY, client: fake.client });
  const { manager } = sessions;
  const ada = manager.session(fake.client, { subject: "ada" });
  process.stdout.write(`found: ${(await ada.status()).state}\n`);
  await manager.save(fake.client, { subject: "ada" }, await fake.issueTokens({ client: fake.client }));
  process.stdout.write(`saved: ${(await ada.status()).state}; over and deleted: ${String(await sessions.tidyUp())}\n`);
  await sessions.close();
  await pool.end();
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main(process.env);
