/**
 * Refreshes sessions ahead of time through pg-boss.
 *
 * @module
 */
import { systemClock } from "../lib/clock.ts";
import type { Clock } from "../lib/clock.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";
import type { RefreshJobData } from "./refresh-jobs/job-data.ts";
import { createRefreshJobs, hasMethod } from "./refresh-jobs/refresh-jobs.ts";
import type { RefreshJobs, RefreshJobsOptions } from "./refresh-jobs/refresh-jobs.ts";

export type { RefreshJobData } from "./refresh-jobs/job-data.ts";
export type { RefreshJobProblem, RefreshJobs, RefreshJobsOptions } from "./refresh-jobs/refresh-jobs.ts";

/** How a job is put in. */
export interface PgBossJobOptions {
  /** Seconds from now, by the database's clock. */
  readonly startAfter: number;
  /** With the policy `short`, one waiting job for each session. */
  readonly singletonKey: string;
  /** None: the queue repeats nothing, the next job is put in with a delay of its own. */
  readonly retryLimit: 0;
  /** When pg-boss gives up a job that is being done. */
  readonly expireInSeconds: number;
}

/** A job as it is handed out. */
export interface PgBossJob {
  /** Given by pg-boss. */
  readonly id: string;
  /** What was put in. */
  readonly data: unknown;
}

/** What is used of a `PgBoss`. */
export interface PgBossQueue {
  /** Makes the queue; does nothing if it exists. */
  createQueue(name: string, options: { readonly name: string; readonly policy: "short" }): Promise<unknown>;
  /** Describes a queue. */
  getQueue(name: string): Promise<{ readonly policy?: string } | null>;
  /** Puts a job in; gives nothing if one waits already, or if there is no such queue. */
  send(name: string, data: RefreshJobData, options: PgBossJobOptions): Promise<unknown>;
  /** Begins a loop that fetches jobs, and gives its id. */
  work(
    name: string,
    options: { readonly batchSize: number; readonly pollingIntervalSeconds: number },
    handler: (jobs: readonly PgBossJob[]) => Promise<void>,
  ): Promise<string>;
  /** Lets a loop fetch again at once. */
  notifyWorker(id: string): void;
  /** Ends a loop; does not wait for it. */
  offWork(options: { readonly id: string }): Promise<void>;
  /** Takes jobs out of the table, whatever their state. */
  deleteJob(name: string, ids: string[]): Promise<unknown>;
}

/** A `PgBoss` that was started, and how much of it to use. */
export interface PgBossJobsOptions extends RefreshJobsOptions {
  /** A `PgBoss`, started and stopped by you. */
  readonly boss: PgBossQueue;
  /** Default is `warehouse-oauth-refresh`. A queue of its own: its policy must be `short`. */
  readonly queue?: string;
  /** Loops that fetch; a slow endpoint holds one up, not all. 0 for a process that only puts jobs in. Default is 4. */
  readonly workers?: number;
  /** Jobs that one loop takes at once. Default is 25. */
  readonly batchSize?: number;
  /** How often an idle loop looks for jobs. Default is 2 000, at least 500. */
  readonly pollMs?: number;
}

const DEFAULT_QUEUE = "warehouse-oauth-refresh";
const DEFAULT_WORKERS = 4;
const DEFAULT_BATCH = 25;
const DEFAULT_POLL_MS = 2_000;

/** pg-boss refuses less. */
const MIN_POLL_MS = 500;

/** Half a day: a job may have to wait for a database that is gone. One whose process died keeps no other from waiting. */
const EXPIRE_SECONDS = 43_200;

/** How long to wait before a database that failed is asked again. */
const ASK_AGAIN_MS = 5_000;

/**
 * Keeps sessions fresh through a pg-boss queue: one delayed job for each session, whichever process does it. For
 * pg-boss 10.
 *
 * @throws TypeError `invalid_argument`.
 *
 * @example
 *
 * ```ts
 * import PgBoss from "pg-boss";
 * import { TokenManager, type TokenStore } from "warehouse-oauth";
 * import { pgBossJobs } from "warehouse-oauth/jobs/pg-boss";
 *
 * declare const store: TokenStore;
 *
 * const boss = new PgBoss("postgres://127.0.0.1/app");
 * boss.on("error", ({ message }) => process.stderr.write(`${message}\n`));
 * await boss.start();
 *
 * const manager = new TokenManager({ store, resolveClient: () => client });
 * const jobs = pgBossJobs({ manager, store, boss });
 * await jobs.start();
 *
 * const session = await manager.save(client, { subject: "ada" }, tokens);
 * await jobs.schedule(session);
 * ```
 */
export function pgBossJobs(options: PgBossJobsOptions): RefreshJobs {
  const { boss, queue = DEFAULT_QUEUE } = options;
  if (!hasMethod(boss, "send")) throw invalidArgument('"boss" must be a PgBoss');
  if (typeof queue !== "string" || queue === "") throw invalidArgument('"queue" must be the name of a queue');
  const workers = wholeNumber("workers", options.workers ?? DEFAULT_WORKERS, 0);
  const batchSize = wholeNumber("batchSize", options.batchSize ?? DEFAULT_BATCH, 1);
  const pollMs = wholeNumber("pollMs", options.pollMs ?? DEFAULT_POLL_MS, MIN_POLL_MS);
  const clock = options.clock ?? systemClock;
  const stop = new AbortController();
  const loops: string[] = [];
  const batches = new Set<Promise<void>>();
  let starting: Promise<void> | undefined;
  let isStopping = false;
  let made: Promise<void> | undefined;

  /** Before anything is put in, too: what is sent to a queue that does not exist is dropped in silence. */
  const makeQueue = (): Promise<void> => {
    made ??= (async () => {
      await boss.createQueue(queue, { name: queue, policy: "short" });
      // Another policy lets jobs of one session pile up, and each of them would go on for ever.
      if ((await boss.getQueue(queue))?.policy !== "short") {
        throw invalidArgument('"queue" must be a queue with the policy "short", or one that does not exist yet');
      }
    })().catch((error: unknown) => {
      made = undefined;
      throw error;
    });
    return made;
  };

  /**
   * Does a batch, and takes it out of the table once the next jobs wait: left there, jobs that are over would be kept for
   * days. A database that is gone is waited for: pg-boss 10.4 reports what was done without looking whether it arrived,
   * and a rejection that nobody handles ends the process.
   */
  const doBatch = async (batch: readonly PgBossJob[], run: (data: unknown) => Promise<boolean>): Promise<void> => {
    const doJob = async ({ data }: PgBossJob): Promise<void> => {
      while (!(await run(data)) && !stop.signal.aborted) await pause(clock, stop.signal);
    };
    await Promise.all(batch.map(doJob));
    const ids = batch.map(({ id }) => id);
    const takeOut = (): Promise<boolean> =>
      boss.deleteJob(queue, ids).then(
        () => true,
        () => false,
      );
    while (!(await takeOut()) && !stop.signal.aborted) await pause(clock, stop.signal);
  };

  const startLoop = async (run: (data: unknown) => Promise<boolean>): Promise<void> => {
    const loop: { id?: string } = {};
    const settings = { batchSize, pollingIntervalSeconds: pollMs / 1_000 };
    loop.id = await boss.work(queue, settings, async (batch) => {
      const done = doBatch(batch, run).finally(() => batches.delete(done));
      batches.add(done);
      await done;
      // A full batch: there is more. The loop would sleep until its next look otherwise.
      if (batch.length === batchSize && loop.id !== undefined) boss.notifyWorker(loop.id);
    });
    loops.push(loop.id);
  };

  const endLoops = async (): Promise<void> => {
    await Promise.all(loops.splice(0).map((id) => boss.offWork({ id })));
  };

  /** All or none: a loop that is left over would take jobs for a process that believes it takes none. */
  const startLoops = async (run: (data: unknown) => Promise<boolean>): Promise<void> => {
    try {
      await makeQueue();
      for (let count = 0; count < workers && !isStopping; count++) await startLoop(run);
    } catch (error) {
      await endLoops().catch(() => undefined);
      throw error;
    }
  };

  return createRefreshJobs(
    {
      start(run) {
        starting = startLoops(run);
        return starting;
      },
      async put(data, { id, delayMs }) {
        const startAfter = delayMs / 1_000;
        const job = { startAfter, singletonKey: id, retryLimit: 0, expireInSeconds: EXPIRE_SECONDS } as const;
        await makeQueue();
        await boss.send(queue, data, job);
      },
      async stop() {
        isStopping = true;
        await starting?.catch(() => undefined);
        try {
          await endLoops();
        } finally {
          stop.abort();
        }
        await Promise.all(batches);
      },
    },
    options,
  );
}

/** Waits a while, or until the signal. */
function pause(clock: Clock, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      cancel();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const cancel = clock.setTimer(done, ASK_AGAIN_MS);
    signal.addEventListener("abort", done);
  });
}

function wholeNumber(name: string, value: number, least: number): number {
  if (!Number.isInteger(value) || value < least) {
    throw invalidArgument(`"${name}" must be a whole number of ${String(least)} or more`);
  }
  return value;
}
