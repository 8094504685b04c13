// SESSIONS that fall due within SECONDS: what it does to the event loop, and what arrives at the server; then the same
// sessions taken up by a process that finds all of them overdue.
import { TokenManager, memoryStore } from "../dist/index.js";
import { nodeTransport } from "../dist/node/index.js";
import { printTable, startTokenServer } from "../harness.mjs";
import {
  DUE_AFTER_MS,
  DUE_SPREAD_MS,
  WATCH_HEADER,
  connectWarehouse,
  createTokens,
  fetchBare,
  forEach,
  identityOf,
  setting,
  sleep,
  watchCells,
  watchProcess,
} from "./fixture.mjs";

const SESSIONS = setting("SESSIONS", 100_000);
const SECONDS = setting("SECONDS", 60);
/** Room for the unevenness of chance. */
const LIMIT = setting("LIMIT", Math.ceil((1.5 * SESSIONS) / SECONDS));
/** A restart may take this many times as long before the rest is counted and left. */
const RESTART_PATIENCE = 2;
const concurrency = { atOnce: 256, perSecond: LIMIT };
/** Late by a little more than this, a session is taken up by another process. */
const ORPHANED_AFTER_MS = 32_000;
/** Time to put the sessions in before the first is due. */
const SETUP_MS = 5_000 + SESSIONS * 0.2;

const server = await startTokenServer();
const transport = nodeTransport();
const rows = [];
await watch("nothing", () => sleep((SECONDS * 1000) / 6));
await watch("bare fetch, evenly", fetchEvenly);
await fallDue("falling due", {});
await fallDue("falling due, Node transport", { fetch: transport });
await restart("restart, all overdue, Node transport", { fetch: transport });
await transport.close();
server.close();
printTable(
  `${SESSIONS.toLocaleString("en")} sessions due within ${SECONDS} s, limit ${LIMIT} a second (delays with 1 ms of sampling in them)`,
  ["", ...WATCH_HEADER, "requests", "most in 1 s", "in the first s", "seconds"],
  rows,
);

async function watch(title, run) {
  await server.takeCounts();
  globalThis.gc();
  const stop = watchProcess();
  const start = performance.now();
  await run();
  const seconds = (performance.now() - start) / 1000;
  const cells = watchCells(stop());
  const counts = await server.takeCounts();
  const requests = counts.reduce((sum, count) => sum + count, 0);
  rows.push([title, ...cells, requests, Math.max(0, ...counts), counts[0] ?? 0, seconds.toFixed(0)]);
}

/** As many requests as there are sessions, begun one by one over the time. */
async function fetchEvenly() {
  const start = performance.now();
  const sent = [];
  for (let begun = 0; begun < SESSIONS;) {
    const wanted = Math.min(SESSIONS, Math.ceil(((performance.now() - start) / (SECONDS * 1000)) * SESSIONS));
    while (begun < wanted) {
      sent.push(fetchBare(server.origin));
      begun += 1;
    }
    await sleep(1);
  }
  await Promise.all(sent);
}

async function fallDue(title, options) {
  const client = connectWarehouse(server.origin, options);
  const manager = new TokenManager({ concurrency });
  const from = Date.now() + SETUP_MS - DUE_AFTER_MS + DUE_SPREAD_MS;
  const rangeMs = Math.max(1, SECONDS * 1000 - 2 * DUE_SPREAD_MS);
  await forEach(SESSIONS, 64, (at) =>
    manager.save(client, identityOf(at), createTokens(client, from + (at / SESSIONS) * rangeMs)),
  );
  await sleep(from + DUE_AFTER_MS - DUE_SPREAD_MS - Date.now());
  const isDone = countRefreshes(manager, SESSIONS);
  manager.start();
  await watch(title, () => waitUntil(isDone, SECONDS * 1000 * RESTART_PATIENCE));
  await manager.close();
}

/** The process before this one ended a while ago: every session is overdue, and still good for a while. */
async function restart(title, options) {
  const store = durableStore();
  const client = connectWarehouse(server.origin, options);
  const before = new TokenManager({ store, concurrency });
  const startAt = Date.now() + SETUP_MS;
  const obtainedAt = startAt - DUE_AFTER_MS - DUE_SPREAD_MS - ORPHANED_AFTER_MS;
  await forEach(SESSIONS, 64, (at) => before.save(client, identityOf(at), createTokens(client, obtainedAt)));
  await before.close();
  await sleep(startAt - Date.now());
  const manager = new TokenManager({ store, concurrency, resolveClient: () => client });
  const isDone = countRefreshes(manager, SESSIONS);
  manager.start();
  await watch(title, () => waitUntil(isDone, SECONDS * 1000 * RESTART_PATIENCE));
  await manager.close();
}

/** Outlives a manager here, as a database outlives a process: what it lists is taken up. */
function durableStore() {
  const inner = memoryStore();
  return {
    capabilities: { compareAndSet: true, durable: true },
    read: (key) => inner.read(key),
    write: (key, record, options) => inner.write(key, record, options),
    delete: (key, options) => inner.delete(key, options),
    lease: (key, options) => inner.lease(key, options),
    due: (options) => inner.due(options),
  };
}

function countRefreshes(manager, wanted) {
  let left = wanted;
  manager.on("refresh_succeeded", () => {
    left -= 1;
  });
  return () => left <= 0;
}

async function waitUntil(isDone, patienceMs) {
  const end = performance.now() + patienceMs;
  while (!isDone() && performance.now() < end) await sleep(100);
}
