// `npm run bench -- million`: SESSIONS with ten-minute tokens held by one process for MINUTES, refreshed at a token server
// in another process; and then as fast as it goes, to see where it breaks.
import { TokenManager } from "../dist/index.js";
import { nodeTransport } from "../dist/node/index.js";
import { printTable, startTokenServer } from "../harness.mjs";
import {
  DUE_AFTER_MS,
  WATCH_HEADER,
  connectWarehouse,
  createTokens,
  forEach,
  identityOf,
  setting,
  sleep,
  watchCells,
  watchProcess,
} from "./fixture.mjs";

const SESSIONS = setting("SESSIONS", 1_000_000);
const MINUTES = setting("MINUTES", 10);
/** Longest part that gets a row of its own. */
const ROW_MS = 60_000;
const BREAK_SECONDS = setting("BREAK_SECONDS", 30);
const rate = SESSIONS / (DUE_AFTER_MS / 1000);
/** Sessions whose token is looked at in each row. */
const SAMPLE = Math.min(SESSIONS, 10_000);
/** Those saved to find out how long all of them take. */
const PROBE = Math.min(SESSIONS, 5_000);
const BREAK_CONCURRENCY = 256;

const server = await startTokenServer();
/** What a fleet uses; `TRANSPORT=fetch` takes the global one. */
const transport = process.env.TRANSPORT === "fetch" ? undefined : nodeTransport();
const client = connectWarehouse(server.origin, { timeoutMs: 30_000, ...(transport && { fetch: transport }) });
const manager = new TokenManager({
  concurrency: { atOnce: BREAK_CONCURRENCY, perSecond: 1e6 },
  // A caller's refresh counts, too, and these are asked for out of turn.
  refresh: { maxPerHour: 1e6, idleMs: 1e9 },
});
const failures = new Map();
manager.on("refresh_failed", ({ code }) => failures.set(code, (failures.get(code) ?? 0) + 1));

console.log(`${SESSIONS.toLocaleString("en")} sessions, ${rate.toFixed(0)} refreshes a second`);
const sessions = await saveAll();
const rows = [];
manager.start();
const end = performance.now() + MINUTES * 60_000;
let minute = 0;
for (let left = MINUTES * 60_000; left > 1_000; left = end - performance.now()) {
  minute += 1;
  await watchRow(`minute ${minute}`, () => sleep(Math.min(ROW_MS, left)));
}
manager.stop();
await watchRow(`as fast as it goes, ${BREAK_CONCURRENCY} at a time`, refreshWithoutPause);
printTable(
  `${SESSIONS.toLocaleString("en")} sessions held for ${MINUTES} min (delays with 1 ms of sampling in them)`,
  ["", ...WATCH_HEADER, "refreshes a second", "heap MB", "resident MB", "expired in the sample"],
  rows,
);
console.log(`failed refreshes: ${failures.size === 0 ? "none" : JSON.stringify(Object.fromEntries(failures))}`);
await manager.close();
await transport?.close();
server.close();

/** Puts the sessions in so that they fall due evenly, from when all are in. */
async function saveAll() {
  const probeStart = performance.now();
  const saved = [];
  let readyAt = Infinity;
  const save = async (at) => {
    const obtainedAt = readyAt - ((at * 0.618_033_988_749_895) % 1) * DUE_AFTER_MS;
    saved[at] = await manager.save(client, identityOf(at), createTokens(client, obtainedAt));
  };
  readyAt = Date.now();
  await forEach(PROBE, 64, save);
  const eachMs = (performance.now() - probeStart) / PROBE;
  readyAt = Date.now() + eachMs * SESSIONS * 1.1;
  await forEach(SESSIONS, 64, save);
  const seconds = (performance.now() - probeStart) / 1000;
  console.log(`saved in ${seconds.toFixed(0)} s`);
  globalThis.gc();
  await sleep(Math.max(0, readyAt - Date.now()));
  return saved;
}

async function watchRow(title, run) {
  await server.takeCounts();
  const stop = watchProcess();
  const start = performance.now();
  await run();
  const seconds = (performance.now() - start) / 1000;
  const cells = watchCells(stop());
  const requests = (await server.takeCounts()).reduce((sum, count) => sum + count, 0);
  const { heapUsed, rss } = process.memoryUsage();
  let expired = 0;
  for (let at = 0; at < SAMPLE; at += 1) {
    if (sessions[Math.floor((at * SESSIONS) / SAMPLE)].peek() === undefined) expired += 1;
  }
  const megabytes = (bytes) => (bytes / 1e6).toFixed(0);
  rows.push([
    title,
    ...cells,
    (requests / seconds).toFixed(0),
    megabytes(heapUsed),
    megabytes(rss),
    `${expired} of ${SAMPLE}`,
  ]);
  console.log(rows.at(-1).join("  "));
}

/** What this rate holds, in sessions, is where it breaks. */
async function refreshWithoutPause() {
  const stopAt = performance.now() + BREAK_SECONDS * 1000;
  let next = 0;
  await Promise.all(
    Array.from({ length: BREAK_CONCURRENCY }, async () => {
      while (performance.now() < stopAt) await sessions[next++ % SESSIONS].refresh().catch(() => undefined);
    }),
  );
}
