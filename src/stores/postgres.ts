/**
 * Tokens in PostgreSQL, through the client that an application has already.
 *
 * @module
 */
import { ConfigurationError, OAuthError, StoreError } from "../core/errors.ts";
import type { ErrorAction } from "../core/errors.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";
import { endOfPrefix } from "../lib/key-order.ts";
import type { Lease, StoredRecord, TokenStore } from "../session/store.ts";

/** What {@link postgresStore} needs of `pg` (`Pool`, `Client`) and of PGlite. */
export interface PostgresQueryClient {
  /** Runs one statement with `$1`, `$2`, … in a transaction of its own. */
  query(text: string, values: unknown[]): PromiseLike<{ readonly rows: readonly unknown[] }>;
}

/** What {@link postgresStore} needs of `postgres` (postgres.js). */
export interface PostgresUnsafeClient {
  /** Runs one statement with `$1`, `$2`, … in a transaction of its own. */
  unsafe(text: string, values: (string | null)[]): PromiseLike<readonly unknown[]>;
}

/** Options of {@link postgresStore}. */
export interface PostgresStoreOptions {
  /** A pool or one connection of `pg`, `postgres` or PGlite. Stays yours: the store does not end it. */
  readonly client: PostgresQueryClient | PostgresUnsafeClient;
  /** Name of the table, `schema.table` if need be. Default is `warehouse_oauth_sessions`, where `search_path` finds it. */
  readonly table?: string;
}

/** A {@link TokenStore} in two tables. */
export interface PostgresStore extends Required<TokenStore> {
  /** Runs {@link postgresMigration}: again and by several processes at once without harm. Needs the right to create tables. */
  migrate(): Promise<void>;
  /**
   * Deletes up to `limit` records whose `deleteAfter` is over, and up to `limit` leases that nobody gave back, in one
   * statement that waits for nobody. Call it now and then; as many as `limit` says that there is more.
   */
  deleteExpired(options?: {
    /** Default is 1000. */
    readonly limit?: number;
    /** Aborted: nothing is begun. */
    readonly signal?: AbortSignal;
  }): Promise<{ readonly records: number; readonly leases: number }>;
}

const DEFAULT_TABLE = "warehouse_oauth_sessions";

/** One name or two. Each is quoted as well, so this is about what PostgreSQL cuts, and what people can read in a log. */
const TABLE_NAME = /^(?:([A-Za-z_][A-Za-z0-9_]{0,49})\.)?([A-Za-z_][A-Za-z0-9_]{0,49})$/;

const DEFAULT_CLEAN_UP = 1000;

/**
 * Tries of one statement. Where a database is set to `repeatable read` or stricter, a statement that met another one is
 * refused with 40001 and nothing was done: the next try sees what the other did. One of those that met always gets
 * through, so this is enough for as many writers of one session at once.
 */
const MAX_TRIES = 25;

const SERIALIZATION_FAILURE = "40001";

/** What PostgreSQL calls an error: a code of a fixed form, with nothing of a statement in it. */
const SQL_STATE = /^[0-9A-Z]{5}$/;

/** What can be said of a refusal, by SQLSTATE. Everything else is a failure that may pass. */
const ADVICE: Readonly<Record<string, readonly [what: string, action: ErrorAction]>> = {
  "42P01": ["the table is missing: run the migration (postgresMigration)", "fix_config"],
  "42703": ["the table has other columns: is it the one that postgresMigration made?", "fix_config"],
  "3F000": ['the schema is missing: create it, or correct the option "table"', "fix_config"],
  "3D000": ['the database is missing: correct the connection of the option "client"', "fix_config"],
  "42501": ["the role may not do this: it needs select, insert, update and delete on both tables", "fix_config"],
  "28000": ['the server refused the role: correct the connection of the option "client"', "fix_config"],
  "28P01": ['the server refused the password: correct the connection of the option "client"', "fix_config"],
  "54000": ["the key is too long for an index: shorten tenant, subject or label", "fix_config"],
  "22021": ["a text cannot be kept: values and keys have no U+0000, and the database is to be in UTF-8", "fix_config"],
  "22P05": ["a text cannot be kept: the database is to be in UTF-8", "fix_config"],
  "25006": [
    'the server is read-only: a replica, or a primary that was replaced; "client" must reach the primary',
    "retry",
  ],
};

/** Connections that broke, and what has no word above. */
const UNKNOWN = ["the database did not answer, or refused", "retry"] as const;

interface Statements {
  readonly read: string;
  readonly insert: string;
  readonly update: string;
  readonly delete: string;
  readonly takeLease: string;
  readonly renewLease: string;
  readonly dropLease: string;
  readonly due: string;
  readonly keys: string;
  readonly deleteExpired: string;
}

interface Names {
  readonly records: string;
  readonly leases: string;
  readonly dueIndex: string;
  readonly endIndex: string;
}

/**
 * Keeps records in PostgreSQL 12 or later: compare-and-set in one statement, leases as rows that end by the database's
 * clock, `due` and `keys` by index. One statement for each call and nothing that belongs to a connection, so poolers in
 * transaction mode (PgBouncer) are fine. Values are stored as they come: seal them with `encryptedStore`.
 *
 * @throws `ConfigurationError` `config_invalid`: `table` is no name; `TypeError`: `client` is none.
 *
 * @example
 *
 * ```ts
 * import pg from "pg";
 * import { TokenManager } from "warehouse-oauth";
 * import { postgresStore } from "warehouse-oauth/stores/postgres";
 *
 * const pool = new pg.Pool({ connectionTimeoutMillis: 5_000 }); // PGHOST, PGUSER, …
 * const manager = new TokenManager({ store: postgresStore({ client: pool }) });
 * ```
 */
export function postgresStore({ client, table = DEFAULT_TABLE }: PostgresStoreOptions): PostgresStore {
  return new SqlStore(runnerOf(client), table);
}

/**
 * Gives the SQL that makes the two tables, for a migration of yours: plain statements, each of which may be run again.
 *
 * @throws `ConfigurationError` `config_invalid`: `table` is no name.
 *
 * @example
 *
 * ```ts
 * import { postgresMigration } from "warehouse-oauth/stores/postgres";
 *
 * process.stdout.write(postgresMigration({ table: "auth.oauth_sessions" }));
 * ```
 */
export function postgresMigration({ table = DEFAULT_TABLE }: { readonly table?: string } = {}): string {
  const { records, leases, dueIndex, endIndex } = namesOf(table);
  return `CREATE TABLE IF NOT EXISTS ${records} (
  key text COLLATE "C" PRIMARY KEY,
  value text NOT NULL, -- secret
  version text NOT NULL,
  due_at double precision, -- epoch milliseconds, as JavaScript counts them
  delete_after double precision
);
CREATE INDEX IF NOT EXISTS ${dueIndex} ON ${records} (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS ${endIndex} ON ${records} (delete_after) WHERE delete_after IS NOT NULL;
CREATE TABLE IF NOT EXISTS ${leases} (
  key text COLLATE "C" PRIMARY KEY,
  owner text NOT NULL,
  ends_at timestamptz NOT NULL
);
`;
}

type Row = Readonly<Record<string, unknown>>;

type Run = (text: string, values: (string | null)[]) => PromiseLike<readonly unknown[]>;

function runnerOf(client: PostgresQueryClient | PostgresUnsafeClient): Run {
  // A postgres.js client is a function.
  if ((typeof client !== "object" && typeof client !== "function") || (client as unknown) === null) throw noClient();
  if ("unsafe" in client && typeof client.unsafe === "function") return (text, values) => client.unsafe(text, values);
  if (!("query" in client) || typeof client.query !== "function") throw noClient();
  return async (text, values) => (await client.query(text, values)).rows;
}

function noClient(): TypeError {
  return invalidArgument('"client" must be a client of pg, postgres or PGlite: it has neither "query" nor "unsafe"');
}

function namesOf(table: string): Names {
  if (typeof (table as unknown) !== "string") throw invalidArgument('"table" must be a string');
  const [, schema, name] = TABLE_NAME.exec(table) ?? [];
  if (name === undefined) {
    throw new ConfigurationError(
      "config_invalid",
      '"table" must be a name or schema.name of letters, digits and underscores, each of 50 characters at most',
      "table",
    );
  }
  const where = schema === undefined ? "" : `"${schema}".`;
  return {
    records: `${where}"${name}"`,
    leases: `${where}"${name}_leases"`,
    dueIndex: `"${name}_due"`,
    endIndex: `"${name}_end"`,
  };
}

/** Results are all text, under names of one word: a client's own parsers and renamings have nothing to change. */
function statementsFor({ records, leases }: Names): Statements {
  const until = (ttlMs: string): string => `clock_timestamp() + ${ttlMs}::float8 * interval '1 millisecond'`;
  return {
    read: `SELECT value, version, due_at::text AS due, delete_after::text AS ends FROM ${records} WHERE key = $1`,
    insert:
      `INSERT INTO ${records} (key, value, version, due_at, delete_after) VALUES ($1, $2, $3, $4::float8, $5::float8) ` +
      "ON CONFLICT (key) DO NOTHING RETURNING version",
    update:
      `UPDATE ${records} SET value = $2, version = $3, due_at = $4::float8, delete_after = $5::float8 ` +
      "WHERE key = $1 AND version = $6 RETURNING version",
    // One row: whether anything else is there. The snapshot is from before the delete.
    delete:
      `WITH gone AS (DELETE FROM ${records} WHERE key = $1 AND ($2::text IS NULL OR version = $2) RETURNING key) ` +
      `SELECT ($2::text IS NULL OR EXISTS (SELECT FROM gone) OR NOT EXISTS (SELECT FROM ${records} WHERE key = $1))::text AS gone`,
    takeLease:
      `INSERT INTO ${leases} AS held (key, owner, ends_at) VALUES ($1, $2, ${until("$3")}) ` +
      `ON CONFLICT (key) DO UPDATE SET owner = excluded.owner, ends_at = ${until("$3")} ` +
      "WHERE held.ends_at <= clock_timestamp() RETURNING owner",
    renewLease:
      `UPDATE ${leases} SET ends_at = ${until("$3")} ` +
      "WHERE key = $1 AND owner = $2 AND ends_at > clock_timestamp() RETURNING owner",
    dropLease: `DELETE FROM ${leases} WHERE key = $1 AND owner = $2`,
    due:
      `SELECT key, due_at::text AS due FROM ${records} WHERE due_at < $1::float8 ` + "ORDER BY due_at LIMIT $2::bigint",
    keys:
      `SELECT key FROM ${records} WHERE key >= $1 AND ($2::text IS NULL OR key < $2) ` +
      "AND ($3::text IS NULL OR key > $3) ORDER BY key LIMIT $4::bigint",
    // A row that is written meanwhile is looked at again once it is locked, and one that is being written is left alone.
    deleteExpired:
      `WITH dead AS (SELECT key FROM ${records} ` +
      "WHERE delete_after < (extract(epoch FROM statement_timestamp()) * 1000)::float8 " +
      "ORDER BY delete_after LIMIT $1::bigint FOR UPDATE SKIP LOCKED), " +
      `over AS (SELECT key FROM ${leases} WHERE ends_at < statement_timestamp() ` +
      "LIMIT $1::bigint FOR UPDATE SKIP LOCKED), " +
      `records AS (DELETE FROM ${records} WHERE key IN (SELECT key FROM dead) RETURNING 1), ` +
      `leases AS (DELETE FROM ${leases} WHERE key IN (SELECT key FROM over) RETURNING 1) ` +
      "SELECT (SELECT count(*) FROM records)::text AS records, (SELECT count(*) FROM leases)::text AS leases",
  };
}

class SqlStore implements PostgresStore {
  readonly capabilities = { compareAndSet: true, durable: true } as const;
  readonly #run: Run;
  readonly #table: string;
  readonly #statements: Statements;

  constructor(run: Run, table: string) {
    this.#run = run;
    this.#table = table;
    this.#statements = statementsFor(namesOf(table));
  }

  async read(key: string, { signal }: Signal = {}): Promise<{ record: StoredRecord; version: string } | undefined> {
    const [row] = await this.#query("read", this.#statements.read, [key], signal);
    if (row === undefined) return undefined;
    const [dueAt, deleteAfter] = [timeOf(row, "due"), timeOf(row, "ends")];
    return {
      record: {
        value: textOf(row, "value"),
        ...(dueAt !== undefined && { dueAt }),
        ...(deleteAfter !== undefined && { deleteAfter }),
      },
      version: textOf(row, "version"),
    };
  }

  async write(
    key: string,
    { value, dueAt, deleteAfter }: StoredRecord,
    { ifVersion, signal }: Signal & { readonly ifVersion: string | undefined },
  ): Promise<string | undefined> {
    // Random, so that it comes back neither after a delete nor after a failover that lost the last writes.
    const version = crypto.randomUUID();
    const values = [key, value, version, numeral(dueAt), numeral(deleteAfter)];
    const rows =
      ifVersion === undefined
        ? await this.#query("write", this.#statements.insert, values, signal)
        : await this.#query("write", this.#statements.update, [...values, ifVersion], signal);
    return rows.length === 0 ? undefined : version;
  }

  async delete(key: string, { ifVersion, signal }: Signal & { readonly ifVersion?: string } = {}): Promise<boolean> {
    const [row] = await this.#query("delete", this.#statements.delete, [key, ifVersion ?? null], signal);
    return row !== undefined && textOf(row, "gone") === "true";
  }

  async lease(key: string, { ttlMs, signal }: Signal & { readonly ttlMs: number }): Promise<Lease | undefined> {
    const owner = crypto.randomUUID();
    const { takeLease, renewLease, dropLease } = this.#statements;
    const release = async (): Promise<void> => {
      await this.#query("lease", dropLease, [key, owner], undefined);
    };
    signal?.throwIfAborted();
    const rows = await this.#query("lease", takeLease, [key, owner, String(ttlMs)], signal).catch((error: unknown) => {
      // Perhaps only the answer was lost: then the row stands, nobody knows its owner, and all would wait for its end.
      release().catch(() => undefined);
      throw error;
    });
    if (rows.length === 0) return undefined;
    if (signal?.aborted === true) {
      // Whoever asked is gone, after waiting for a connection perhaps: nobody would give it back.
      await release();
      signal.throwIfAborted();
    }
    return {
      renew: async (renewMs) => {
        const renewed = await this.#query("lease", renewLease, [key, owner, String(renewMs)], undefined);
        return renewed.length > 0;
      },
      release,
    };
  }

  async due({
    before,
    limit,
    signal,
  }: Signal & { readonly before: number; readonly limit: number }): Promise<
    readonly { readonly key: string; readonly dueAt: number }[]
  > {
    const rows = await this.#query("due", this.#statements.due, [String(before), String(limit)], signal);
    return rows.map((row) => ({ key: textOf(row, "key"), dueAt: timeOf(row, "due") ?? 0 }));
  }

  async keys({
    prefix = "",
    after,
    limit,
    signal,
  }: Signal & { readonly prefix?: string; readonly after?: string; readonly limit: number }): Promise<
    readonly string[]
  > {
    const values = [prefix, endOfPrefix(prefix) ?? null, after ?? null, String(limit)];
    const rows = await this.#query("read", this.#statements.keys, values, signal);
    return rows.map((row) => textOf(row, "key"));
  }

  async migrate(): Promise<void> {
    // One statement and one transaction, one process at a time: "if not exists" alone fails where two begin at once.
    const lock = `PERFORM pg_advisory_xact_lock(hashtextextended('warehouse-oauth ${this.#table}', 0));`;
    const quiet = "PERFORM set_config('client_min_messages', 'warning', true);"; // what is there already is no news
    const sql = postgresMigration({ table: this.#table });
    await this.#query("write", `DO $migration$ BEGIN ${lock} ${quiet}\n${sql}END $migration$`, [], undefined);
  }

  async deleteExpired({ limit = DEFAULT_CLEAN_UP, signal }: Signal & { readonly limit?: number } = {}): Promise<{
    readonly records: number;
    readonly leases: number;
  }> {
    const [row = {}] = await this.#query("delete", this.#statements.deleteExpired, [String(limit)], signal);
    return { records: timeOf(row, "records") ?? 0, leases: timeOf(row, "leases") ?? 0 };
  }

  async #query(
    operation: StoreError["operation"],
    text: string,
    values: (string | null)[],
    signal: AbortSignal | undefined,
  ): Promise<readonly Row[]> {
    for (let tries = 1; ; tries++) {
      signal?.throwIfAborted();
      try {
        return (await this.#run(text, values)) as readonly Row[];
      } catch (error) {
        const code = sqlStateOf(error);
        if (code !== SERIALIZATION_FAILURE || tries === MAX_TRIES) throw storeError(operation, error, code);
      }
    }
  }
}

interface Signal {
  readonly signal?: AbortSignal;
}

/** PostgreSQL reads a number as JavaScript writes it, to the last bit. */
function numeral(value: number | undefined): string | null {
  return value === undefined ? null : String(value);
}

function textOf(row: Row, column: string): string {
  const value = row[column];
  if (typeof value === "string") return value;
  throw new StoreError("store_unavailable", `the database gave no text for "${column}"`, "read", {
    action: "fix_config",
  });
}

function timeOf(row: Row, column: string): number | undefined {
  return row[column] === null || row[column] === undefined ? undefined : Number(textOf(row, column));
}

function sqlStateOf(error: unknown): string {
  const code: unknown = typeof error === "object" && error !== null && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : "";
}

function storeError(operation: StoreError["operation"], cause: unknown, code: string): OAuthError {
  if (OAuthError.is(cause)) return cause;
  const [what, action] = (Object.hasOwn(ADVICE, code) ? ADVICE[code] : undefined) ?? UNKNOWN;
  const state = SQL_STATE.test(code) ? ` (${code})` : "";
  return new StoreError("store_unavailable", `PostgreSQL at "${operation}"${state}: ${what}`, operation, {
    action,
    cause,
  });
}
