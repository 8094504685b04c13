// A program: what a process of an application is. It uses the package as everybody does; store and fetch are wrapped
// only to kill or stop this process at a named point.
import { TokenManager, importTokens } from "warehouse-oauth";
import type { Fetch, OAuthClient, TokenSession, TokenStore } from "warehouse-oauth";
import { clientOf } from "./client.ts";
import { fingerprint } from "./fingerprint.ts";
import { machineTime } from "./machine-time.ts";
import type { HeardEvent, LeaseWord, Point, WorkerOperations, WorkerSetup } from "./messages.ts";
import { openStore } from "./open-store.ts";
import { chooseSeed, randomOf } from "./random.ts";
import { answerCalls, giveNotice, readSetup, tell } from "./remote.ts";
import { shiftedClock } from "./shifted-clock.ts";

const setup = readSetup() as WorkerSetup;
const clock = shiftedClock();
let sending = 0;

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

/** What one manager has of leases, by session, and which session a refresh token belongs to. */
interface Held {
  readonly leases: Map<string, LeaseWord>;
  readonly keyOf: Map<string, string>;
}

function withPoints(inner: TokenStore, held: Held): TokenStore {
  const write: TokenStore["write"] = async (key, record, options) => {
    const { intent, tokens } = JSON.parse(record.value) as StoredParts;
    const isIntent = intent !== undefined;
    if (isIntent) {
      held.keyOf.set(tokens?.refreshToken ?? "", key);
      await reach("before-intent");
    }
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
    ...(inner.lease !== undefined && { lease: leaseOf(inner.lease.bind(inner), held) }),
    ...(inner.due !== undefined && { due: inner.due.bind(inner) }),
    ...(inner.keys !== undefined && { keys: inner.keys.bind(inner) }),
  };
}

/** The harness hears of each lease before anything is done under it. */
function leaseOf(inner: NonNullable<TokenStore["lease"]>, { leases }: Held): NonNullable<TokenStore["lease"]> {
  const say = (word: LeaseWord): Promise<void> => {
    leases.set(word.key, word);
    return tell(word);
  };
  return async (key, options) => {
    const askedAt = machineTime();
    const lease = await inner(key, options);
    if (lease === undefined) return undefined;
    await say({ key, at: askedAt, what: "held" });
    return {
      async renew(ttlMs) {
        const at = machineTime();
        const isRenewed = await lease.renew(ttlMs);
        if (isRenewed) await say({ key, at, what: "held" });
        return isRenewed;
      },
      async release() {
        await say({ key, at: machineTime(), what: "released" });
        await lease.release();
      },
    };
  };
}

/** What is looked at of a record. */
interface StoredParts {
  readonly intent?: object;
  readonly tokens?: { readonly refreshToken?: string };
}

function fetchAs(name: string, { leases, keyOf }: Held): Fetch {
  return async (input, init) => {
    await reach("sending");
    const headers = new Headers(init?.headers);
    const refreshToken = (init?.body as URLSearchParams).get("refresh_token") ?? "";
    const lease = leases.get(keyOf.get(refreshToken) ?? "");
    headers.set("x-fleet-worker", name);
    headers.set("x-fleet-sent-at", String(machineTime()));
    if (lease !== undefined) headers.set("x-fleet-lease", JSON.stringify(lease));
    sending += 1;
    try {
      const response = await fetch(input, { ...init, headers });
      const text = await response.text();
      await reach("after-answer");
      return new Response(text, response);
    } finally {
      sending -= 1;
    }
  };
}

// ---------------------------------------------------------------- the application

interface Application {
  readonly client: OAuthClient;
  readonly manager: TokenManager;
  close(): Promise<readonly string[]>;
}

async function openApplication(name: string): Promise<Application> {
  const held: Held = { leases: new Map(), keyOf: new Map() };
  const client = clientOf(setup, { fetch: fetchAs(name, held), clock });
  const opened = await openStore(setup.store);
  /** Another jitter for each, and the same in each run. */
  const jitter = randomOf(Buffer.from(name).reduce((sum, byte) => Math.imul(sum, 31) + byte, chooseSeed()));
  const manager = new TokenManager({
    store: withPoints(opened.store, held),
    clock,
    leaseTtlMs: setup.leaseTtlMs,
    concurrency: { perSecond: setup.perSecond },
    refresh: { maxPerHour: 1_000_000 },
    random: () => jitter() * setup.jitter,
    ...(setup.resolves && { resolveClient: () => client }),
  });
  return {
    client,
    manager,
    async close() {
      const { unsaved } = await manager.close();
      await opened.close();
      return unsaved;
    },
  };
}

const applications = await Promise.all(
  Array.from({ length: setup.managers }, (_, at) =>
    openApplication(setup.managers === 1 ? setup.name : `${setup.name}.${String(at)}`),
  ),
);
const [first] = applications;
if (first === undefined) throw new TypeError("a worker has at least one manager");
const { client, manager } = first;

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
    for (const application of applications) application.manager.start();
  },
  sending: () => sending,
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
    return (await Promise.all(applications.map((application) => application.close()))).flat();
  },
});
