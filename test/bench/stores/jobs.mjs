// How many refresh jobs a second a process gets through on BullMQ and on pg-boss, beside a handler that does nothing and
// one that only puts in the next job. The token endpoint answers at once and records are in memory: what is measured is
// the queue and what our handler adds to it.
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { Queue, Worker } from "bullmq";
import { build } from "esbuild";
import { Redis } from "ioredis";
import PgBoss from "pg-boss";
import { TokenManager } from "../dist/index.js";
import { bullmqJobs } from "../dist/jobs/bullmq.js";
import { pgBossJobs } from "../dist/jobs/pg-boss.js";
import { formatSpread, printTable, spread } from "../harness.mjs";
import { LIFETIME_MS, connectWarehouse, createTokens, forEach, identityOf, setting } from "../sessions/fixture.mjs";

const ROUNDS = setting("ROUNDS", 9);
const COUNT = setting("COUNT", 1_000);

/** As many jobs at once on both: pg-boss by loops that take batches. */
const WORKERS = 4;
const BATCH = 25;

const services = await buildServices();
const answer = { access_token: "a".repeat(400), refresh_token: "r".repeat(200), token_type: "Bearer", expires_in: 600 };
const client = connectWarehouse("http://127.0.0.1:1", { fetch: () => Promise.resolve(Response.json(answer)) });
const manager = new TokenManager({
  concurrency: { atOnce: 1_000, perSecond: 1e6 },
  refresh: { maxPerHour: 1e6 },
});
const idOf = (key) => createHash("sha256").update(key).digest("hex");

/** Sessions that are fresh, or due for two minutes. */
async function signIn(state) {
  const obtainedAt = Date.now() - (state === "due" ? LIFETIME_MS - 60_000 : 0);
  const keys = [];
  await forEach(COUNT, 64, async (at) => {
    keys.push((await manager.save(client, identityOf(at), createTokens(client, obtainedAt))).key);
  });
  return keys;
}

/** Counts jobs, and tells when all of them are done. */
function counter() {
  let done = 0;
  let tell = () => undefined;
  return {
    add(count) {
      done += count;
      if (done >= COUNT) tell();
    },
    all: new Promise((resolve) => (tell = resolve)),
  };
}

/** `close` must not end the manager that all rounds share. */
const keptManager = { refresh: (key) => manager.refresh(key), close: async () => ({ unsaved: [] }) };

function onBullmq(url) {
  const connection = { url };
  const ours = { attempts: 1, removeOnComplete: true, removeOnFail: true };
  const optionsOf = (key) => ({ ...ours, deduplication: { id: idOf(key), replace: true, keepLastIfActive: true } });
  const concurrency = WORKERS * BATCH;
  return async (handler) => {
    const queue = new Queue(`bench-${crypto.randomUUID()}`, { connection });
    const keys = await signIn(handler === "due" ? "due" : "fresh");
    await queue.addBulk(keys.map((key) => ({ name: "refresh", data: { key }, opts: optionsOf(key) })));
    const { add, all } = counter();
    const makeWorker = (process) =>
      new Worker(
        queue.name,
        async (job) => {
          await process(job);
          add(1);
        },
        { connection, concurrency },
      );
    const nothing = () => Promise.resolve();
    const next = ({ data }) => queue.add("refresh", data, { ...optionsOf(data.key), delay: 480_000 });
    const start = performance.now();
    let close;
    if (handler === "nothing" || handler === "next") {
      const worker = makeWorker(handler === "nothing" ? nothing : next);
      close = () => worker.close();
    } else {
      const jobs = bullmqJobs({ manager: keptManager, queue, worker: makeWorker, onError: fail });
      await jobs.start();
      close = () => jobs.close();
    }
    await all;
    const seconds = (performance.now() - start) / 1000;
    await close();
    await queue.obliterate({ force: true });
    await queue.close();
    return COUNT / seconds;
  };
}

async function onPgBoss(url) {
  const boss = new PgBoss({ connectionString: url, schedule: false, max: 10 });
  boss.on("error", fail);
  await boss.start();
  const measure = async (handler) => {
    const queue = `bench-${crypto.randomUUID()}`;
    await boss.createQueue(queue, { name: queue, policy: "short" });
    const keys = await signIn(handler === "due" ? "due" : "fresh");
    await boss.insert(
      keys.map((key) => ({ name: queue, data: { key }, singletonKey: idOf(key), retryLimit: 0, expireInSeconds: 600 })),
    );
    const { add, all } = counter();
    const counted = (name, options, work) =>
      boss.work(name, options, async (batch) => {
        await work(batch);
        add(batch.length);
      });
    const start = performance.now();
    let close;
    if (handler === "nothing" || handler === "next") {
      for (let at = 0; at < WORKERS; at += 1) await startLoop(queue, counted, handler === "next");
      close = () => boss.offWork(queue);
    } else {
      const watched = Object.assign(Object.create(boss), { work: counted });
      const jobs = pgBossJobs({
        manager: keptManager,
        boss: watched,
        queue,
        workers: WORKERS,
        batchSize: BATCH,
        onError: fail,
      });
      await jobs.start();
      close = () => jobs.close();
    }
    await all;
    const seconds = (performance.now() - start) / 1000;
    await close();
    await boss.deleteQueue(queue).catch(() => undefined);
    return COUNT / seconds;
  };
  const startLoop = async (queue, counted, putsNext) => {
    const loop = {};
    loop.id = await counted(queue, { batchSize: BATCH, pollingIntervalSeconds: 2 }, async (batch) => {
      if (putsNext) {
        const options = (key) => ({ startAfter: 480, singletonKey: idOf(key), retryLimit: 0, expireInSeconds: 600 });
        await Promise.all(batch.map(({ data }) => boss.send(queue, data, options(data.key))));
      }
      if (batch.length === BATCH) boss.notifyWorker(loop.id);
    });
  };
  return { measure, close: () => boss.stop({ graceful: false }) };
}

function fail(error) {
  throw error;
}

const HANDLERS = new Map([
  ["nothing", "nothing"],
  ["next", "puts in the next job"],
  ["fresh", "ours, session fresh"],
  ["due", "ours, session refreshed"],
]);

async function report(title, measure) {
  const names = [...HANDLERS.keys()];
  const series = new Map(names.map((name) => [name, []]));
  for (const name of names) await measure(name);
  for (let round = 0; round < ROUNDS; round += 1) {
    for (let at = 0; at < names.length; at += 1) {
      const name = names[(round + at) % names.length];
      series.get(name).push(await measure(name));
    }
  }
  const ratio = (name, to) => formatSpread(spread(series.get(name).map((rate, round) => rate / series.get(to)[round])));
  printTable(
    `jobs through ${title}, ${WORKERS * BATCH} at a time (${ROUNDS} rounds of ${COUNT}; median (least–greatest))`,
    ["handler", "a second", "to nothing", "to putting in the next"],
    names.map((name) => [
      HANDLERS.get(name),
      formatSpread(spread(series.get(name)), 0),
      ratio(name, "nothing"),
      ratio(name, "next"),
    ]),
  );
}

/** The servers of the tests, which are TypeScript. */
async function buildServices() {
  const folder = fileURLToPath(new URL("../../services/", import.meta.url));
  const outdir = fileURLToPath(new URL("../dist/services/", import.meta.url));
  const entryPoints = ["redis", "postgres"].map((name) => `${folder}${name}.ts`);
  await build({ entryPoints, outdir, bundle: true, format: "esm", target: "node20", platform: "node" });
  const [redis, postgres] = await Promise.all([
    import("../dist/services/redis.js"),
    import("../dist/services/postgres.js"),
  ]);
  return { ...redis, ...postgres };
}

/** As Redis does where nobody tells it otherwise; the tests let it wait for the disk each time. */
async function syncEverySecond(url) {
  const redis = new Redis(url);
  await redis.config("SET", "appendfsync", "everysec");
  redis.disconnect();
}

if (services.noRedis === undefined) {
  const redis = await services.startRedis();
  await syncEverySecond(redis.url);
  await report("BullMQ", onBullmq(redis.url));
  await redis.stop();
} else console.log(services.noRedis);

if (services.noPostgres === undefined) {
  const postgres = await services.startPostgres();
  const { measure, close } = await onPgBoss(postgres.url);
  await report("pg-boss", measure);
  await close();
  await postgres.stop();
} else console.log(services.noPostgres);
process.exit(0);
