// Refresh transactions with PostgreSQL and with Redis beside the database operations that they need, and what one
// operation costs with a thousand sessions in the store, a hundred thousand, and a million.
import { Redis } from "ioredis";
import pg from "pg";
import { TokenManager, memoryStore } from "../dist/index.js";
import { postgresStore } from "../dist/stores/postgres.js";
import { redisStore } from "../dist/stores/redis.js";
import { formatSpread, printTable, spread, startTokenServer } from "../harness.mjs";
import { connectWarehouse, createTokens, forEach, identityOf, setting } from "../sessions/fixture.mjs";
import { loadServices } from "./services.mjs";

const ROUNDS = Math.max(7, setting("ROUNDS", 7));
const COUNT = setting("COUNT", 1_000);
/** Which of them, where not both: `STORES=redis`. */
const STORES = (process.env.STORES ?? "postgres,redis").split(",");
const CONCURRENCY = [1, 16, 64];
const SIZES = (process.env.ROWS ?? "1000,100000,1000000").split(",").map(Number);

/** Of one record, about what a session of Databricks or Snowflake takes. */
const VALUE = "v".repeat(1_500);
/** What one call of `due` and of `keys` asks for, and how often each operation is done in a round. */
const PAGE = 100;
const OPERATIONS = setting("OPERATIONS", 200);
/** All of a filled store are due from here on, one a millisecond. */
const FIRST_DUE = 1_000_000_000_000;

const { startPostgres, noPostgres, startRedis, noRedis } = await loadServices();
for (const missing of [noPostgres, noRedis]) if (missing !== undefined) console.log(missing);
const services = [];
const databases = [];
if (STORES.includes("postgres") && noPostgres === undefined) databases.push(await openPostgres());
if (STORES.includes("redis") && noRedis === undefined) databases.push(await openRedis());
console.log(
  "The PostgreSQL of this bench does not wait for its disk (fsync=off); the Redis does (appendfsync always).",
);

const server = await startTokenServer();
if (COUNT > 0) await compareTransactions();
server.close();
for (const database of databases) await compareSizes(database);
for (const { close } of databases) await close();
for (const service of services) await service.stop();

async function openPostgres() {
  const service = await startPostgres();
  services.push(service);
  const pool = new pg.Pool({ connectionString: service.url, max: 16 });
  await pool.query("CREATE TABLE bare (key text PRIMARY KEY, value text, version text, due float8, ends float8)");
  await pool.query("CREATE TABLE bare_leases (key text PRIMARY KEY, owner text, ends timestamptz)");
  const ask = (text, ...values) => pool.query(text, values);
  return {
    name: "PostgreSQL",
    async open(name) {
      const store = postgresStore({ client: pool, table: name });
      await store.migrate();
      return store;
    },
    async fill(name, count) {
      await pool.query(
        `INSERT INTO ${name} SELECT 'customer-' || i % 1000 || '/user-' || i || '//id', $1, 'v0', ${FIRST_DUE} + i, ` +
          `${2 * FIRST_DUE} + i FROM generate_series(0, ${count - 1}) i`,
        [VALUE],
      );
      await pool.query(`VACUUM ANALYZE ${name}`);
    },
    /** What a program without a library would send for the same steps. */
    bare: {
      seed: (key) => ask("INSERT INTO bare VALUES ($1, $2, 'v0', 1, 2) ON CONFLICT DO NOTHING", key, VALUE),
      read: (key) => ask("SELECT * FROM bare WHERE key = $1", key),
      write: (key) => ask("UPDATE bare SET value = $2, version = 'v0' WHERE key = $1 AND version = 'v0'", key, VALUE),
      take: (key) => ask("INSERT INTO bare_leases VALUES ($1, 'me', now()) ON CONFLICT DO NOTHING", key),
      drop: (key) => ask("DELETE FROM bare_leases WHERE key = $1 AND owner = 'me'", key),
    },
    close: () => pool.end(),
  };
}

async function openRedis() {
  const service = await startRedis();
  services.push(service);
  const redis = new Redis(service.url);
  return {
    name: "Redis",
    open: (name) => redisStore({ client: redis, prefix: name }),
    async fill(name, count) {
      const store = redisStore({ client: redis, prefix: name });
      await redis.config("SET", "appendfsync", "no"); // while it is filled
      await forEach(count, 500, (at) =>
        store.write(
          `customer-${at % 1000}/user-${at}//id`,
          { value: VALUE, dueAt: FIRST_DUE + at, deleteAfter: 4 * FIRST_DUE + at },
          { ifVersion: undefined },
        ),
      );
      await redis.config("SET", "appendfsync", "always");
    },
    bare: {
      seed: (key) => redis.set(`bare:${key}`, VALUE),
      read: (key) => redis.get(`bare:${key}`),
      write: (key) => redis.set(`bare:${key}`, VALUE),
      take: (key) => redis.set(`bare-lease:${key}`, "me", "PX", 60_000, "NX"),
      drop: (key) => redis.del(`bare-lease:${key}`),
    },
    close: () => redis.disconnect(),
  };
}

async function compareTransactions() {
  const contenders = new Map();
  const steps = await stepsOfRefresh();
  console.log(`One refresh of a token that rotates: ${steps.join(", ")}.`);
  contenders.set("memory, session.refresh", await holdSessions(memoryStore()));
  for (const { name, bare, open } of databases) {
    await forEach(COUNT, 64, (at) => bare.seed(`key-${at}`));
    contenders.set(`${name}, bare operations`, async (at) => {
      for (const step of steps) await bare[step](`key-${at}`);
    });
    contenders.set(`${name}, session.refresh`, await holdSessions(await open("transactions")));
  }
  for (const concurrency of CONCURRENCY) {
    const names = [...contenders.keys()];
    const series = await inTurn(names, (name) => perSecond(contenders.get(name), concurrency));
    const baseOf = (name) => series.get(name.replace("session.refresh", "bare operations"));
    printTable(
      `refresh transactions, ${concurrency} at a time (${ROUNDS} rounds of ${COUNT}; median (least–greatest))`,
      ["", "a second", "to bare"],
      names.map((name) => [
        name,
        formatSpread(spread(series.get(name)), 0),
        name.startsWith("memory")
          ? ""
          : formatSpread(spread(series.get(name).map((rate, round) => rate / baseOf(name)[round]))),
      ]),
    );
  }
}

/** What a manager asks of a store in one refresh, seen from the store. */
async function stepsOfRefresh() {
  const steps = [];
  const inner = memoryStore();
  const note = (step, result) => (steps.push(step), result);
  const manager = new TokenManager({
    store: {
      capabilities: { compareAndSet: true, durable: true },
      read: (...call) => note("read", inner.read(...call)),
      write: (...call) => note("write", inner.write(...call)),
      delete: (...call) => inner.delete(...call),
      lease: async (...call) => {
        const lease = await note("take", inner.lease(...call));
        return lease && { ...lease, release: () => note("drop", lease.release()) };
      },
    },
  });
  const client = connectWarehouse(server.origin);
  const session = await manager.save(client, identityOf(0), createTokens(client));
  await session.refresh();
  steps.length = 0;
  await session.refresh();
  await manager.close();
  return [...steps];
}

/** Gives what refreshes the next of many sessions: a session's refreshes are limited, and come one by one. */
async function holdSessions(store) {
  const client = connectWarehouse(server.origin);
  const manager = new TokenManager({
    store,
    concurrency: { atOnce: Math.max(...CONCURRENCY), perSecond: 1e6 },
    refresh: { maxPerHour: 1e6 },
  });
  const sessions = [];
  await forEach(COUNT, 64, async (at) => {
    sessions[at] = await manager.save(client, identityOf(at), createTokens(client));
  });
  return (at) => sessions[at].refresh();
}

async function perSecond(run, concurrency) {
  // One at a time, fewer say as much.
  const count = concurrency === 1 ? Math.ceil(COUNT / 4) : COUNT;
  const start = performance.now();
  await forEach(count, concurrency, run);
  return (count / (performance.now() - start)) * 1000;
}

/** Warms up, then goes round; the order rotates, so that nobody always follows the same neighbour. */
async function inTurn(names, measure) {
  const series = new Map(names.map((name) => [name, []]));
  for (const name of names) await measure(name);
  for (let round = 0; round < ROUNDS; round += 1) {
    for (let at = 0; at < names.length; at += 1) {
      const name = names[(round + at) % names.length];
      series.get(name).push(await measure(name));
    }
  }
  return series;
}

async function compareSizes({ name, open, fill }) {
  const stores = new Map();
  for (const size of SIZES) {
    const table = `rows_${size}`;
    stores.set(size, await open(table));
    await fill(table, size);
  }
  const operations = ["read", "write", "lease", "due", "keys"];
  const contenders = SIZES.flatMap((size) => operations.map((operation) => `${operation} ${size}`));
  const series = await inTurn(contenders, (contender) => {
    const [operation, size] = contender.split(" ");
    return microsOf(stores.get(Number(size)), operation, Number(size));
  });
  printTable(
    `${name}: microseconds for one operation, one at a time (${ROUNDS} rounds of ${OPERATIONS}; median (least–greatest))`,
    ["sessions", "read", "write", "lease and release", `due, ${PAGE} of all`, `keys, ${PAGE} of a tenant`],
    SIZES.map((size) => [
      size.toLocaleString("en"),
      ...operations.map((operation) => formatSpread(spread(series.get(`${operation} ${size}`)), 0)),
    ]),
  );
}

async function microsOf(store, operation, size) {
  // Lists are longer: fewer of them say as much.
  const count = operation === "due" || operation === "keys" ? Math.ceil(OPERATIONS / 10) : OPERATIONS;
  const keys = Array.from({ length: count }, () => {
    const at = Math.floor(Math.random() * size);
    return `customer-${at % 1000}/user-${at}//id`;
  });
  const versions = new Map();
  if (operation === "write") for (const key of keys) versions.set(key, (await store.read(key, {})).version);
  const start = performance.now();
  for (const key of keys) {
    if (operation === "read") await store.read(key, {});
    else if (operation === "write") versions.set(key, await rewrite(store, key, versions.get(key)));
    else if (operation === "lease") await (await store.lease(key, { ttlMs: 60_000 })).release();
    else if (operation === "due") await store.due({ before: 10 * FIRST_DUE, limit: PAGE });
    else await store.keys({ prefix: key.slice(0, key.indexOf("/") + 1), limit: PAGE });
  }
  return ((performance.now() - start) / count) * 1000;
}

/** Writes the record anew, due at another time than before. */
async function rewrite(store, key, ifVersion) {
  const dueAt = FIRST_DUE + Math.random() * 1_000_000;
  const version = await store.write(key, { value: VALUE, dueAt, deleteAfter: 4 * FIRST_DUE }, { ifVersion });
  if (version === undefined) throw new Error("a write on the current version was refused");
  return version;
}
