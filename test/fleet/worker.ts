// A program: what a process of an application is. It uses the package as everybody does; store and fetch are wrapped
// only to kill or stop this process at a named point.
import { TokenManager, importTokens } from "warehouse-oauth";
import type { Fetch, StoredRecord, TokenSession, TokenStore } from "warehouse-oauth";
import { clientOf } from "./client.ts";
import { fingerprint } from "./fingerprint.ts";
import type { HeardEvent, Point, WorkerOperations, WorkerSetup } from "./messages.ts";
import { openStore } from "./open-store.ts";
import { chooseSeed, randomOf } from "./random.ts";
import { answerCalls, giveNotice, readSetup } from "./remote.ts";
import { shiftedClock } from "./shifted-clock.ts";

const setup = readSetup() as WorkerSetup;
const clock = shiftedClock();

// ---------------------------------------------------------------- points at which it ends or stops

let armed: Parameters<WorkerOperations["arm"]>[0] | undefined;

async function reach(point: Point): Promise<void> {
  if (armed?.point !== point) return;
  const { action, afterMs } = armed;
  armed = undefined;
  if (afterMs !== undefined) await new Promise((resolve) => setTimeout(resolve, afterMs));
  if (action === "kill") process.kill(process.pid, "SIGKILL");
  await giveNotice("stopping");
  process.kill(process.pid, "SIGSTOP");
}

function withPoints(inner: TokenStore): TokenStore {
  const write: TokenStore["write"] = async (key, record, options) => {
    const isIntent = hasIntent(record);
    if (isIntent) await reach("before-intent");
    const writing = inner.write(key, record, options);
    // Not waited for: the end comes while the store is at it.
    if (!isIntent) void reach("in-save");
    const version = await writing;
    await reach(isIntent ? "after-intent" : "after-save");
    return version;
  };
  return {
    capabilities: inner.capabilities,
    read: inner.read.bind(inner),
    write,
    delete: inner.delete.bind(inner),
    ...(inner.lease !== undefined && { lease: inner.lease.bind(inner) }),
    ...(inner.due !== undefined && { due: inner.due.bind(inner) }),
    ...(inner.keys !== undefined && { keys: inner.keys.bind(inner) }),
  };
}

function hasIntent({ value }: StoredRecord): boolean {
  return (JSON.parse(value) as { readonly intent?: object }).intent !== undefined;
}

const fetchAsWorker: Fetch = async (input, init) => {
  await reach("sending");
  const headers = new Headers(init?.headers);
  headers.set("x-fleet-worker", setup.name);
  headers.set("x-fleet-sent-at", String(performance.timeOrigin + performance.now()));
  const response = await fetch(input, { ...init, headers });
  const text = await response.text();
  await reach("after-answer");
  return new Response(text, response);
};

// ---------------------------------------------------------------- the application

const client = clientOf(setup, { fetch: fetchAsWorker, clock });
const opened = await openStore(setup.store);
/** Another jitter for each worker, and the same in each run. */
const jitter = randomOf(Buffer.from(setup.name).reduce((sum, byte) => Math.imul(sum, 31) + byte, chooseSeed()));
const manager = new TokenManager({
  store: withPoints(opened.store),
  clock,
  leaseTtlMs: setup.leaseTtlMs,
  concurrency: { perSecond: setup.perSecond },
  refresh: { maxPerHour: 1_000_000 },
  random: () => jitter() * setup.jitter,
  ...(setup.resolves && { resolveClient: () => client }),
});
const subjects = new Map<string, string>();
const events: HeardEvent[] = [];
manager.on("*", (event) => {
  const subject = "session" in event ? subjects.get(event.session) : undefined;
  events.push({ type: event.type, subject, code: "code" in event ? event.code : undefined });
});
const warnings: string[] = [];
process.on("warning", ({ message }) => warnings.push(message));

function sessionOf(subject: string): TokenSession {
  const session = manager.session(client, { subject });
  subjects.set(session.reference, subject);
  return session;
}

function count(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1;
}

const codeOf = (error: unknown): string => (error as { readonly code?: string }).code ?? String(error);

let rotating = false;
let rotation = Promise.resolve();
const failures: Record<string, number> = {};

/** Refreshes without end; that a person must sign in again is the harness's affair. */
async function rotate(subject: string, seed: number): Promise<void> {
  const random = randomOf(seed);
  const session = sessionOf(subject);
  while (rotating) {
    const current = session.peek();
    try {
      // Asked for, or because a server refused what there is: the first waits for an orphan, the second does not.
      if (current === undefined || random() < 0.5) await session.refresh();
      else await session.getAccessToken({ rejected: current });
    } catch (error) {
      const code = codeOf(error);
      if (code === "reauthorization_required" || code === "rotation_lost") await giveNotice("reauthorization");
      else count(failures, code);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

answerCalls<WorkerOperations>({
  async save({ subject, tokens }) {
    await manager.save(client, { subject }, importTokens(tokens));
  },
  passTime({ ms }) {
    clock.pass(ms);
  },
  async ask({ subjects, callers, rejected = false }) {
    const tokens: Record<string, number> = {};
    const errors: Record<string, number> = {};
    const calls = subjects.flatMap((subject) => {
      const session = sessionOf(subject);
      const current = rejected ? session.peek() : undefined;
      return Array.from({ length: callers }, async () => {
        try {
          const token = await session.getAccessToken(current === undefined ? undefined : { rejected: current });
          count(tokens, fingerprint(token));
        } catch (error) {
          count(errors, codeOf(error));
        }
      });
    });
    await Promise.all(calls);
    return { tokens, errors };
  },
  rotate({ subject, seed }) {
    rotating = true;
    rotation = rotate(subject, seed);
  },
  async rest() {
    rotating = false;
    await rotation;
    return failures;
  },
  async start({ subjects }) {
    await Promise.all(subjects.map((subject) => sessionOf(subject).status()));
    manager.start();
  },
  async states({ subjects }) {
    const statuses = await Promise.all(subjects.map((subject) => sessionOf(subject).status()));
    return statuses.map((status) => ("cause" in status ? `${status.state} ${String(status.cause)}` : status.state));
  },
  arm(argument) {
    armed = argument;
  },
  events: () => events.splice(0),
  resources() {
    const handles: Record<string, number> = {};
    for (const kind of process.getActiveResourcesInfo()) count(handles, kind);
    return { handles, warnings };
  },
  async close() {
    const { unsaved } = await manager.close();
    await opened.close();
    return unsaved;
  },
});
