// A program: a process that keeps sessions fresh by jobs, with the package as everybody uses it.
import { TokenManager } from "warehouse-oauth";
import type { Fetch } from "warehouse-oauth";
import type { RefreshJobs, RefreshJobsOptions } from "warehouse-oauth/jobs/pg-boss";
import { clientOf } from "./client.ts";
import { machineTime } from "./machine-time.ts";
import type { JobWorkerOperations, JobWorkerSetup } from "./messages.ts";
import { openStore } from "./open-store.ts";
import { answerCalls, readSetup } from "./remote.ts";

const setup = readSetup() as JobWorkerSetup;
const QUEUE = "refresh";

/** A dead worker's job is taken over as soon as BullMQ can: by default that takes half a minute. */
const LOCK_MS = 1_000;

const fetchAsWorker: Fetch = (input, init) => {
  const headers = new Headers(init?.headers);
  headers.set("x-fleet-worker", setup.name);
  headers.set("x-fleet-sent-at", String(machineTime()));
  return fetch(input, { ...init, headers });
};

const client = clientOf(setup, { fetch: fetchAsWorker });
const { store } = await openStore(setup.store);
const manager = new TokenManager({ store, leaseTtlMs: setup.leaseTtlMs, resolveClient: () => client });
const problems: string[] = [];
const jobs = await openJobs({
  manager,
  store,
  onError: (error, { step }) => problems.push(`${step}: ${String(error)}`),
  random: () => 0, // the first sweep is at once
});

async function openJobs(options: RefreshJobsOptions): Promise<RefreshJobs> {
  if (setup.store.kind === "postgres") {
    const { default: PgBoss } = await import("pg-boss");
    const { pgBossJobs } = await import("warehouse-oauth/jobs/pg-boss");
    const boss = new PgBoss({ connectionString: setup.store.url, schedule: false });
    boss.on("error", () => undefined);
    await boss.start();
    return pgBossJobs({ ...options, boss, queue: QUEUE, pollMs: 500, workers: 1 });
  }
  if (setup.store.kind === "file") throw new TypeError("there is no queue in files");
  const { Queue, Worker } = await import("bullmq");
  const { bullmqJobs } = await import("warehouse-oauth/jobs/bullmq");
  const connection = { host: "127.0.0.1", port: Number(new URL(setup.store.url).port) };
  return bullmqJobs({
    ...options,
    queue: new Queue(QUEUE, { connection }),
    worker: (process) => new Worker(QUEUE, process, { connection, lockDuration: LOCK_MS, stalledInterval: LOCK_MS }),
  });
}

answerCalls<JobWorkerOperations>({
  schedule: ({ subject }) => jobs.schedule(manager.session(client, { subject })),
  start: () => jobs.start(),
  async close() {
    await jobs.close();
    return problems;
  },
});
