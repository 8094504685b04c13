// What SESSIONS of them take in one process: memory, and time to schedule them beside one setTimeout each.
import { RefreshScheduler } from "../dist/session/refresh-scheduler.js";
import { TokenManager, memoryStore } from "../dist/index.js";
import { formatSpread, printTable, spread } from "../harness.mjs";
import {
  DUE_AFTER_MS,
  TOKEN_BYTES,
  connectWarehouse,
  createTokens,
  forEach,
  heldBytes,
  identityOf,
  setting,
  sleep,
} from "./fixture.mjs";

const SESSIONS = setting("SESSIONS", 10_000);
const ROUNDS = setting("ROUNDS", 7);

/** The number that names a place in the queue is a field of the session, and there before anything is measured. */
const SLOT_BYTES = 8;
/** Timers that are to be run down are set within this, and all overdue when the running begins. */
const DRAIN_WITHIN_MS = 1_000;

const label = SESSIONS.toLocaleString("en");
reportScheduling(await compareScheduling());
await reportMemory();

async function compareScheduling() {
  const results = { ours: [], timers: [] };
  for (let round = 0; round < ROUNDS; round += 1) {
    const order = round % 2 === 0 ? ["ours", "timers"] : ["timers", "ours"];
    for (const name of order) results[name].push(await { ours: runScheduler, timers: runTimers }[name]());
  }
  return results;
}

function reportScheduling({ ours, timers }) {
  const figures = [
    ["bytes, with key index", "bytes"],
    ["schedule, ns", "schedule"],
    ["reschedule, ns", "reschedule"],
    ["cancel, ns", "cancel"],
    ["drain, ns", "drain"],
  ];
  printTable(
    `${label} sessions waiting for their time, each (${ROUNDS} rounds; median (least–greatest))`,
    ["", "warehouse-oauth", "setTimeout", "ratio"],
    figures.map(([title, figure]) => [
      title,
      formatSpread(spread(ours.map((result) => result[figure])), 0),
      formatSpread(spread(timers.map((result) => result[figure])), 0),
      formatSpread(spread(ours.map((result, round) => result[figure] / timers[round][figure]))),
    ]),
  );
}

async function runScheduler() {
  const { keys, entries, delays, others } = createEntries();
  const clock = createStoppedClock();
  const before = heldBytes();
  const scheduler = new RefreshScheduler(clock, Math.random, {
    onDue: () => undefined,
    dueAtOf: () => undefined,
    onHop: () => undefined,
  });
  scheduler.start();
  const index = new Map();
  for (let at = 0; at < SESSIONS; at += 1) index.set(keys[at], entries[at]);
  const schedule = nanosEach((at) => scheduler.schedule(entries[at], delays[at]));
  const bytes = (heldBytes() - before) / SESSIONS + SLOT_BYTES;
  const reschedule = nanosEach((at) => scheduler.schedule(entries[at], others[at]));
  const cancel = nanosEach((at) => scheduler.schedule(entries[at], undefined));
  for (let at = 0; at < SESSIONS; at += 1) scheduler.schedule(entries[at], delays[at]);
  clock.time = DUE_AFTER_MS;
  const start = performance.now();
  while (scheduler.size > 0) clock.fire();
  const drain = ((performance.now() - start) * 1e6) / SESSIONS;
  if (index.size !== SESSIONS) throw new Error("unreachable: the index must outlive the measurement");
  return { bytes, schedule, reschedule, cancel, drain };
}

async function runTimers() {
  const { keys, entries, delays, others } = createEntries();
  const before = heldBytes();
  const index = new Map();
  for (let at = 0; at < SESSIONS; at += 1) index.set(keys[at], entries[at]);
  const set = (at, delayMs) => {
    entries[at].slot = setTimeout(onTimer, delayMs, entries[at]);
  };
  const schedule = nanosEach((at) => set(at, delays[at]));
  const bytes = (heldBytes() - before) / SESSIONS + SLOT_BYTES;
  const reschedule = nanosEach((at) => {
    clearTimeout(entries[at].slot);
    set(at, others[at]);
  });
  const cancel = nanosEach((at) => clearTimeout(entries[at].slot));
  let left = SESSIONS;
  let drained;
  const done = new Promise((resolve) => {
    drained = resolve;
  });
  const end = performance.now() + DRAIN_WITHIN_MS;
  for (let at = 0; at < SESSIONS; at += 1) {
    setTimeout(
      () => {
        left -= 1;
        if (left === 0) drained();
      },
      1 + (delays[at] / DUE_AFTER_MS) * (DRAIN_WITHIN_MS - 1),
    );
  }
  while (performance.now() < end + DRAIN_WITHIN_MS);
  const start = performance.now();
  await done;
  const drain = ((performance.now() - start) * 1e6) / SESSIONS;
  if (index.size !== SESSIONS) throw new Error("unreachable: the index must outlive the measurement");
  return { bytes, schedule, reschedule, cancel, drain };
}

function onTimer() {
  throw new Error("unreachable: all are cleared");
}

function createEntries() {
  const random = () => Float64Array.from({ length: SESSIONS }, () => 1_000 + Math.random() * (DUE_AFTER_MS - 1_000));
  return {
    keys: Array.from({ length: SESSIONS }, (_, at) => `customer-${at % 1000}/user-${at}%40example.com/`),
    entries: Array.from({ length: SESSIONS }, () => ({ slot: undefined })),
    delays: random(),
    others: random(),
  };
}

/** Time stands still, so that what is due comes as fast as it can be taken. */
function createStoppedClock() {
  let callback = () => undefined;
  const clock = {
    time: 0,
    now: () => clock.time,
    monotonic: () => clock.time,
    setTimer(next) {
      callback = next;
      return () => undefined;
    },
    fire: () => callback(),
  };
  return clock;
}

function nanosEach(run) {
  const start = performance.now();
  for (let at = 0; at < SESSIONS; at += 1) run(at);
  return ((performance.now() - start) * 1e6) / SESSIONS;
}

async function reportMemory() {
  const rows = [];
  for (const [title, createStore] of [
    ["tokens kept elsewhere", createForgetfulStore],
    ["tokens in the memory store", () => memoryStore()],
  ]) {
    await holdSessions(createStore(), 1_000); // compiled code and first-time structures are not counted
    const { bytes, micros } = await holdSessions(createStore(), SESSIONS);
    rows.push([title, bytes.toFixed(0), (bytes - TOKEN_BYTES).toFixed(0), micros.toFixed(1)]);
  }
  printTable(
    `${label} sessions, each, with ${TOKEN_BYTES} bytes of tokens`,
    ["", "bytes", "beyond the tokens", "save, µs"],
    rows,
  );
}

async function holdSessions(store, count) {
  const before = heldBytes();
  const client = connectWarehouse("http://127.0.0.1:9");
  const manager = new TokenManager({ store });
  manager.start();
  const start = performance.now();
  await forEach(count, 64, (at) => manager.save(client, identityOf(at), createTokens(client)));
  const micros = ((performance.now() - start) * 1e3) / count;
  await sleep(10); // what a save leaves to later is done
  const bytes = (heldBytes() - before) / count;
  await manager.close();
  return { bytes, micros };
}

/** A store whose records are in another process. */
function createForgetfulStore() {
  let version = 0;
  return {
    capabilities: { compareAndSet: true, durable: true },
    read: () => Promise.resolve(undefined),
    write: () => Promise.resolve(String(++version)),
    delete: () => Promise.resolve(true),
    lease: () => Promise.resolve({ renew: () => Promise.resolve(true), release: () => Promise.resolve() }),
  };
}
