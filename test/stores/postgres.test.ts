import { randomBytes } from "node:crypto";
import { PGlite } from "@electric-sql/pglite";
import pg from "pg";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ConfigurationError, StoreError } from "warehouse-oauth";
import { postgresMigration, postgresStore } from "warehouse-oauth/stores/postgres";
import type { PostgresQueryClient, PostgresStore } from "warehouse-oauth/stores/postgres";
import { storeContract } from "warehouse-oauth/testing";
import { noPgBouncer, startPgBouncer } from "../services/pgbouncer.ts";
import { noPostgres, startPostgres } from "../services/postgres.ts";
import type { Service } from "../services/service.ts";
import { buildRacer } from "./elsewhere.ts";
import type { Elsewhere } from "./elsewhere.ts";
import { sealedStore } from "../fleet/open-store.ts";
import { startLossyWire } from "./lossy-wire.ts";

const ANEW = { ifVersion: undefined };

async function failureOf(run: Promise<unknown>): Promise<StoreError> {
  const error: unknown = await run.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(StoreError);
  return error as StoreError;
}

/** Asks until there is something. */
async function soon<T>(ask: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const found = await ask();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe("postgresStore on PGlite", () => {
  const db = new PGlite();
  const store = postgresStore({ client: db });

  beforeAll(() => store.migrate()); // a whole PostgreSQL is compiled first
  afterAll(() => db.close());

  for (const { name, run } of storeContract({ open: () => postgresStore({ client: db }), shared: true })) {
    test(name, run);
  }

  describe("the tables", () => {
    test("are made by plain statements, each of which may be run again", async () => {
      await db.exec("CREATE SCHEMA auth");
      const sql = postgresMigration({ table: "auth.Sessions" });
      await db.exec(sql);
      await db.exec(sql);
      for (const statement of sql.split(/;\n/)) await db.exec(statement);
      const other = postgresStore({ client: db, table: "auth.Sessions" });
      await other.migrate();
      await other.write("key", { value: "in a schema" }, ANEW);
      expect((await db.query('SELECT key, value FROM auth."Sessions"')).rows).toEqual([
        { key: "key", value: "in a schema" },
      ]);
      expect(await store.read("key", {})).toBeUndefined();
    });

    test.each([
      "",
      "a.b.c",
      'a"; DROP TABLE users; --',
      'a"b',
      "a b",
      "a'b",
      "1a",
      "é",
      "a\n",
      "a".repeat(51),
      "a.",
      ".a",
    ])("are not called %j", (table) => {
      expect(() => postgresStore({ client: db, table })).toThrow(ConfigurationError);
      expect(() => postgresMigration({ table })).toThrow(/"table" must be/);
    });

    test("names of words that SQL has are names", async () => {
      const other = postgresStore({ client: db, table: "select" });
      await other.migrate();
      expect(await other.write("key", { value: "" }, ANEW)).toBeTypeOf("string");
    });

    test.each([[undefined], [null], ["postgres://"], [{}], [{ query: "select 1" }]])("%j is no client", (client) => {
      const call = (): PostgresStore => postgresStore({ client: client as unknown as PostgresQueryClient });
      expect(call).toThrow(TypeError);
      expect(call).toThrow(/"client" must be/);
    });
  });

  describe("deleteExpired", () => {
    test("deletes what is over, and no more than it is told to", async () => {
      const past = Date.now() - 60_000;
      for (const name of ["1", "2", "3"]) await store.write(`over-${name}`, { value: "", deleteAfter: past }, ANEW);
      await store.write("over-not", { value: "", deleteAfter: Date.now() + 60_000 }, ANEW);
      await store.write("over-never", { value: "" }, ANEW);
      expect(await store.deleteExpired({ limit: 2 })).toEqual({ records: 2, leases: 0 });
      expect(await store.deleteExpired({ limit: 2 })).toEqual({ records: 1, leases: 0 });
      expect(await store.keys({ prefix: "over-", limit: 10 })).toEqual(["over-never", "over-not"]);
    });

    test("deletes leases that nobody gave back, and none that is held", async () => {
      await store.lease("abandoned", { ttlMs: 1 });
      const held = await store.lease("held", { ttlMs: 60_000 });
      // Nothing, until it is over.
      const deleted = await soon(async () => {
        const found = await store.deleteExpired();
        return found.leases > 0 ? found : undefined;
      });
      expect(deleted).toEqual({ records: 0, leases: 1 });
      expect(await held?.renew(60_000)).toBe(true);
      await held?.release();
    });
  });

  test("S-080 every list and every read is by index, and takes only what it gives", async () => {
    const statements: [string, unknown[]][] = [];
    const client: PostgresQueryClient = {
      query(text, values) {
        statements.push([text, values]);
        return db.query(text, values);
      },
    };
    const seen = postgresStore({ client, table: "large" });
    await seen.migrate();
    await db.exec(
      `INSERT INTO large SELECT 'tenant-' || i % 100 || '/' || i, 'v', 'x', i, 2e12 + i FROM generate_series(1, 20000) i;
       ANALYZE large;`,
    );
    statements.length = 0;
    await seen.read("tenant-1/1", {});
    await seen.due({ before: 500, limit: 100 });
    await seen.keys({ prefix: "tenant-7/", after: "tenant-7/107", limit: 10 });
    await seen.keys({ limit: 10 });
    await seen.deleteExpired();
    const plans: string[] = [];
    for (const [text, values] of statements) {
      const { rows } = await db.query<{ "QUERY PLAN": string }>(`EXPLAIN ${text}`, values);
      plans.push(rows.map((row) => row["QUERY PLAN"]).join("\n"));
    }
    const [read, due, tenant, keys, expired] = plans;
    expect(read).toMatch(/Index Scan using large_pkey/);
    expect(due).toMatch(/^Limit[^]*Index Scan using large_due/);
    expect(tenant).toMatch(/^Limit[^]*Index Only Scan using large_pkey[^]*Index Cond:.*>=.*</);
    expect(keys).toMatch(/^Limit[^]*Index Only Scan using large_pkey/);
    expect(expired).toMatch(/Index Scan using large_end[^]*Index Cond/);
    for (const plan of plans) expect(plan).not.toMatch(/Seq Scan on large\b/);
    for (const plan of plans.slice(0, -1)) expect(plan).not.toContain("Sort");
  });

  describe("errors", () => {
    test("R-46 a table that is missing says what to do", async () => {
      const missing = postgresStore({ client: db, table: "nowhere" });
      const error = await failureOf(missing.read("key", {}));
      expect(error).toMatchObject({ code: "store_unavailable", operation: "read", retryable: false });
      expect(error.action).toBe("fix_config");
      expect(error.message).toMatch(/\(42P01\): the table is missing: run the migration/);
    });

    test("a schema that is missing, a key that no index takes, a text that no column takes", async () => {
      const schemaless = postgresStore({ client: db, table: "nowhere.sessions" });
      expect((await failureOf(schemaless.migrate())).message).toMatch(/schema is missing/);
      const noise = Array.from(crypto.getRandomValues(new Uint8Array(8_000)), (byte) => byte.toString(36)).join("");
      expect((await failureOf(store.write(noise, { value: "" }, ANEW))).message).toMatch(/key is too long/);
      expect((await failureOf(store.write("nul", { value: "\0" }, ANEW))).message).toMatch(/no U\+0000/);
    });

    test("S-083 nothing of a record is in them", async () => {
      const secret = "the-refresh-token";
      const error = await failureOf(store.write(secret, { value: `${secret}\0` }, ANEW));
      expect(`${error.message} ${JSON.stringify(error)} ${JSON.stringify(error.cause)}`).not.toContain(secret);
    });

    test.each(["constructor", "__proto__", "toString"])(
      "S-101 a code that is %j is a failure that may pass",
      async (code) => {
        const client = { query: () => Promise.reject(Object.assign(new Error("odd"), { code })) };
        const error = await failureOf(postgresStore({ client }).read("key", {}));
        expect(error).toMatchObject({ code: "store_unavailable", action: "retry" });
        expect(error.message).toBe('PostgreSQL at "read": the database did not answer, or refused');
      },
    );

    test("a client that changes texts is found out", async () => {
      const client: PostgresQueryClient = { query: () => Promise.resolve({ rows: [{ value: 1, version: "1" }] }) };
      expect((await failureOf(postgresStore({ client }).read("key", {}))).message).toMatch(/no text for "value"/);
    });
  });

  test("R-45 a lease whose answer was lost blocks nobody", async () => {
    let loses = true;
    const lossy = postgresStore({
      client: {
        async query(text, values) {
          const result = await db.query(text, values);
          const isLost = loses;
          loses = false;
          if (isLost) throw new Error("Connection terminated unexpectedly");
          return result;
        },
      },
    });
    expect(await failureOf(lossy.lease("lost", { ttlMs: 600_000 }))).toMatchObject({ operation: "lease" });
    const next = await soon(() => store.lease("lost", { ttlMs: 600_000 }));
    await next.release();
  });

  describe("signals", () => {
    const aborted = AbortSignal.abort(new Error("too late"));

    test("nothing is begun with one that is aborted", async () => {
      const never: PostgresQueryClient = { query: () => Promise.reject(new Error("was asked")) };
      const idle = postgresStore({ client: never });
      const calls = [
        idle.read("key", { signal: aborted }),
        idle.write("key", { value: "" }, { ifVersion: undefined, signal: aborted }),
        idle.delete("key", { signal: aborted }),
        idle.lease("key", { ttlMs: 1_000, signal: aborted }),
        idle.due({ before: 1, limit: 1, signal: aborted }),
        idle.keys({ limit: 1, signal: aborted }),
        idle.deleteExpired({ signal: aborted }),
      ];
      for (const call of calls) await expect(call).rejects.toThrow("too late");
    });

    test("a lease that came too late is given back", async () => {
      const controller = new AbortController();
      const late = postgresStore({
        client: {
          async query(text, values) {
            const result = await db.query(text, values);
            controller.abort(new Error("too late"));
            return result;
          },
        },
      });
      await expect(late.lease("late", { ttlMs: 60_000, signal: controller.signal })).rejects.toThrow("too late");
      const next = await store.lease("late", { ttlMs: 60_000 });
      expect(next).toBeDefined();
      await next?.release();
    });
  });
});

describe.skipIf(noPostgres !== undefined)(`postgresStore on PostgreSQL ${noPostgres ?? ""}`, () => {
  let service: Service;
  let elsewhere: Elsewhere;
  let pool: pg.Pool;
  let sql: postgres.Sql;
  const pools: pg.Pool[] = [];

  const openPool = (config: pg.PoolConfig = {}): pg.Pool => {
    const made = new pg.Pool({ connectionString: service.url, max: 4, connectionTimeoutMillis: 5_000, ...config });
    made.on("error", () => undefined);
    pools.push(made);
    return made;
  };

  beforeAll(async () => {
    [service, elsewhere] = await Promise.all([startPostgres(), buildRacer()]);
    pool = openPool();
    sql = postgres(service.url, { max: 4, connect_timeout: 5, onnotice: () => undefined });
    // As eight processes that start at once would.
    const makers = Array.from({ length: 8 }, (_, at) => postgresStore({ client: at % 2 === 0 ? pool : sql }));
    await Promise.all(makers.map((maker) => maker.migrate()));
  });

  afterAll(async () => {
    await Promise.all(pools.map((made) => made.end()));
    await sql.end();
    await service.stop();
    await elsewhere.remove();
  });

  describe("with pg", () => {
    const cases = storeContract({
      open: () => postgresStore({ client: openPool() }),
      shared: true,
      elsewhere: (plan) => elsewhere.race({ kind: "postgres", url: service.url }, plan),
    });
    for (const { name, run } of cases) test(name, run);
  });

  describe("with postgres", () => {
    const cases = storeContract({
      open: () => postgresStore({ client: sql }),
      shared: true,
      elsewhere: (plan) => elsewhere.race({ kind: "postgres", url: service.url }, plan),
    });
    for (const { name, run } of cases) test(name, run);
  });

  describe("with pg, sealed by encryptedStore", () => {
    const sealedWith = randomBytes(32).toString("base64");
    const cases = storeContract({
      open: () => sealedStore(postgresStore({ client: openPool() }), sealedWith),
      shared: true,
      elsewhere: (plan) => elsewhere.race({ kind: "postgres", url: service.url, sealedWith }, plan),
    });
    for (const { name, run } of cases) test(name, run);
  });

  describe("with a new connection for every statement, as behind a pooler in transaction mode", () => {
    const cases = storeContract({ open: () => postgresStore({ client: openPool({ maxUses: 1 }) }), shared: true });
    for (const { name, run } of cases.filter(({ name }) => /lease|race|racing|version/.test(name))) {
      test(name, run);
    }
  });

  describe.skipIf(noPgBouncer !== undefined)(`behind PgBouncer in transaction mode ${noPgBouncer ?? ""}`, () => {
    let pooler: Awaited<ReturnType<typeof startPgBouncer>>;
    let unprepared: postgres.Sql;
    beforeAll(async () => {
      pooler = await startPgBouncer(service);
      // Prepared statements belong to a connection, and PgBouncer hands them on since 1.21 only.
      unprepared = postgres(pooler.url, { max: 4, prepare: false });
    });
    afterAll(async () => {
      await unprepared.end();
      await pooler.stop();
    });

    const withPg = { open: () => postgresStore({ client: openPool({ connectionString: pooler.url }) }), shared: true };
    for (const { name, run } of storeContract(withPg)) test(`pg: ${name}`, run);
    const withPostgres = { open: () => postgresStore({ client: unprepared }), shared: true };
    for (const { name, run } of storeContract(withPostgres).filter(({ name }) =>
      /lease|race|racing|version/.test(name),
    )) {
      test(`postgres: ${name}`, run);
    }
  });

  describe("with a database that is serializable by default", () => {
    const options = "-c default_transaction_isolation=serializable";
    const cases = storeContract({ open: () => postgresStore({ client: openPool({ options, max: 8 }) }), shared: true });
    for (const { name, run } of cases.filter(({ name }) => /one passes|one holder|by time|racing/.test(name))) {
      test(name, run);
    }
  });

  test("names and numbers that a client changes on the way do not matter", async () => {
    const changing = postgres(service.url, {
      max: 1,
      transform: postgres.camel,
      types: { bigint: postgres.BigInt },
    });
    const store = postgresStore({ client: changing });
    const record = { value: "v", dueAt: 1_767_225_600_000.5, deleteAfter: 9_007_199_254_740_991 };
    await store.write("changing", record, ANEW);
    expect((await store.read("changing", {}))?.record).toEqual(record);
    expect(await store.due({ before: record.dueAt + 1, limit: 1 })).toEqual([{ key: "changing", dueAt: record.dueAt }]);
    expect(await store.deleteExpired()).toEqual({ records: 0, leases: 0 });
    await store.delete("changing", {});
    await changing.end();
  });

  test("a database that orders as people do makes no difference", async () => {
    await pool.query("CREATE DATABASE people TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'");
    const url = new URL(service.url);
    url.pathname = "/people";
    const store = postgresStore({ client: openPool({ connectionString: url.href }) });
    await store.migrate();
    const lists = storeContract({ open: () => store }).filter(({ name }) => name.startsWith("keys "));
    expect(lists).toHaveLength(2);
    for (const { run } of lists) await run();
  });

  test("the tables are made once by eight processes that begin at once", async () => {
    const processes = Array.from({ length: 8 }, () => openPool({ max: 1 }));
    await Promise.all(processes.map((process) => process.query("SELECT 1"))); // connected, and in step
    for (let round = 0; round < 5; round += 1) {
      const table = `made_${String(round)}`;
      await Promise.all(processes.map((process) => postgresStore({ client: process, table }).migrate()));
    }
  });

  test("R-45 the database's clock decides when a lease is over, whatever a client's time zone", async () => {
    const one = postgresStore({ client: openPool({ options: "-c timezone=Pacific/Auckland" }) });
    const other = postgresStore({ client: openPool({ options: "-c timezone=America/Caracas" }) });
    const lease = await one.lease("zones", { ttlMs: 60_000 });
    expect(await other.lease("zones", { ttlMs: 60_000 })).toBeUndefined();
    expect(await lease?.renew(60_000)).toBe(true);
    await lease?.release();
  });

  test("deleteExpired leaves alone what somebody writes meanwhile", async () => {
    const store = postgresStore({ client: pool });
    const past = Date.now() - 60_000;
    const version = await store.write("meanwhile", { value: "old", deleteAfter: past }, ANEW);
    const writer = await pool.connect();
    await writer.query("BEGIN");
    expect(
      await postgresStore({ client: writer }).write("meanwhile", { value: "new" }, { ifVersion: version }),
    ).toBeTypeOf("string");
    expect(await store.deleteExpired()).toMatchObject({ records: 0 });
    await writer.query("COMMIT");
    writer.release();
    expect((await store.read("meanwhile", {}))?.record).toEqual({ value: "new" });
    await store.delete("meanwhile", {});
  });

  describe("errors", () => {
    test("R-69 a role that may not write says what it needs", async () => {
      await pool.query("CREATE ROLE reader LOGIN; GRANT SELECT ON warehouse_oauth_sessions TO reader");
      const store = postgresStore({ client: openPool({ user: "reader", connectionString: readerUrl(service.url) }) });
      expect(await store.read("key", {})).toBeUndefined();
      const error = await failureOf(store.write("key", { value: "" }, ANEW));
      expect(error).toMatchObject({ code: "store_unavailable", operation: "write", action: "fix_config" });
      expect(error.message).toMatch(/select, insert, update and delete on both tables/);
      expect((await failureOf(store.lease("key", { ttlMs: 1_000 }))).action).toBe("fix_config");
    });

    test("R-69 a server that takes no writes may take them later", async () => {
      const store = postgresStore({ client: openPool({ options: "-c default_transaction_read_only=on" }) });
      const error = await failureOf(store.write("key", { value: "" }, ANEW));
      expect(error).toMatchObject({ code: "store_unavailable", retryable: true, action: "retry" });
      expect(error.message).toMatch(/read-only/);
    });

    test("a database that is not there, and a server that is not", async () => {
      const url = new URL(service.url);
      url.pathname = "/nowhere";
      const missing = postgresStore({ client: openPool({ connectionString: url.href }) });
      expect((await failureOf(missing.read("key", {}))).message).toMatch(/database is missing/);
      url.port = "1";
      const away = postgresStore({ client: openPool({ connectionString: url.href }) });
      expect(await failureOf(away.read("key", {}))).toMatchObject({ code: "store_unavailable", retryable: true });
    });
  });

  test.each(["pg", "postgres"])(
    "R-69 with %s, an answer that is lost leaves the old record or the new one",
    async (kind) => {
      const wire = await startLossyWire(service.port);
      const url = new URL(service.url);
      url.port = String(wire.port);
      const wired = postgres(url.href, { max: 1, onnotice: () => undefined });
      const store = postgresStore({
        client: kind === "pg" ? openPool({ connectionString: url.href, max: 1 }) : wired,
      });
      const key = `lost-${kind}`;
      const first = await store.write(key, { value: "old" }, ANEW);
      wire.loseNextAnswer();
      const error = await failureOf(store.write(key, { value: "new" }, { ifVersion: first }));
      expect(error).toMatchObject({ code: "store_unavailable", retryable: true });
      const read = await store.read(key, {});
      expect(["old", "new"]).toContain(read?.record.value);
      // Whichever it is: one try to write on the old version says the truth.
      const again = await store.write(key, { value: "again" }, { ifVersion: first });
      expect(again === undefined).toBe(read?.record.value === "new");
      await store.delete(key, {});
      await wired.end();
      await wire.close();
    },
  );

  test("R-69 a crash in mid-use loses nothing that was said to be written", async () => {
    const store = postgresStore({ client: pool });
    const lease = await store.lease("crash", { ttlMs: 60_000 });
    const last = new Map<string, string>();
    let failures = 0;
    const writers = Array.from({ length: 4 }, async (_, writer) => {
      const key = `crash-${String(writer)}`;
      for (let write = 0; failures < 40; write += 1) {
        try {
          const ifVersion = (await store.read(key, {}))?.version;
          if ((await store.write(key, { value: String(write) }, { ifVersion })) !== undefined)
            last.set(key, String(write));
        } catch (error) {
          expect(error).toMatchObject({ code: "store_unavailable", retryable: true });
          failures += 1;
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      }
    });
    // Each has written once.
    while (last.size < writers.length) await new Promise((resolve) => setTimeout(resolve, 5));
    await service.crash();
    await Promise.all(writers);
    await service.restart();
    expect(last.size).toBe(4);
    for (const [key, value] of last) {
      // A write whose answer was lost may have come after the last one that was answered.
      expect(Number((await store.read(key, {}))?.record.value)).toBeGreaterThanOrEqual(Number(value));
      await store.delete(key, {});
    }
    // The lease was a row: it outlived the crash, and its holder still has it.
    expect(await store.lease("crash", { ttlMs: 1_000 })).toBeUndefined();
    expect(await lease?.renew(60_000)).toBe(true);
    await lease?.release();
  });
});

function readerUrl(url: string): string {
  const reader = new URL(url);
  reader.username = "reader";
  return reader.href;
}
