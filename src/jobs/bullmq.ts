/**
 * Refreshes sessions ahead of time through BullMQ.
 *
 * @module
 */
import { invalidArgument } from "../lib/invalid-argument.ts";
import type { RefreshJobData } from "./refresh-jobs/job-data.ts";
import { createRefreshJobs, hasMethod } from "./refresh-jobs/refresh-jobs.ts";
import type { RefreshJobs, RefreshJobsOptions } from "./refresh-jobs/refresh-jobs.ts";

export type { RefreshJobData } from "./refresh-jobs/job-data.ts";
export type { RefreshJobProblem, RefreshJobs, RefreshJobsOptions } from "./refresh-jobs/refresh-jobs.ts";

/** How a job is put in. */
export interface BullmqJobOptions {
  /** Milliseconds. */
  readonly delay: number;
  /** One: the queue repeats nothing, the next job is put in with a delay of its own. */
  readonly attempts: 1;
  /** Nothing stays of a job that is over. */
  readonly removeOnComplete: true;
  /** The same for one that failed. */
  readonly removeOnFail: true;
  /** One waiting job for each session; one that is put in while it runs follows it. */
  readonly deduplication: { readonly id: string; readonly replace: boolean; readonly keepLastIfActive: true };
}

/** What is used of a BullMQ `Queue`. */
export interface BullmqQueue {
  /** Puts a job in. */
  add(name: string, data: RefreshJobData, options: BullmqJobOptions): Promise<unknown>;
}

/** What is used of a BullMQ `Worker`. */
export interface BullmqWorker {
  /** Takes no more jobs, waits for those that run, lets go of its connections. */
  close(): Promise<unknown>;
}

/** What a BullMQ `Worker` does with a job. Never rejects. */
export type BullmqProcess = (job: { readonly data: unknown }) => Promise<void>;

/** A queue, and a worker where jobs are to be done. */
export interface BullmqJobsOptions extends RefreshJobsOptions {
  /** A `Queue` of its own. */
  readonly queue: BullmqQueue;
  /** Makes the `Worker` of the same queue, when it is started. Without it, this process only puts jobs in. */
  readonly worker?: (process: BullmqProcess) => BullmqWorker;
}

/** The name of a job within the queue. */
const JOB_NAME = "refresh";

/**
 * Keeps sessions fresh through a BullMQ queue: one delayed job for each session, whichever process does it. Tested with
 * BullMQ 6.7; what it needs of it, `deduplication` with `replace` and `keepLastIfActive`, older versions lack.
 *
 * @throws TypeError `invalid_argument`.
 *
 * @example
 *
 * ```ts
 * import { Queue, Worker } from "bullmq";
 * import { TokenManager, type TokenStore } from "warehouse-oauth";
 * import { bullmqJobs } from "warehouse-oauth/jobs/bullmq";
 *
 * declare const store: TokenStore;
 *
 * const connection = { host: "127.0.0.1", port: 6379 };
 * const manager = new TokenManager({ store, resolveClient: () => client });
 * const jobs = bullmqJobs({
 *   manager,
 *   store,
 *   queue: new Queue("token-refresh", { connection }),
 *   worker: (process) => new Worker("token-refresh", process, { connection, concurrency: 20 }),
 * });
 * await jobs.start();
 *
 * const session = await manager.save(client, { subject: "ada" }, tokens);
 * await jobs.schedule(session);
 * ```
 */
export function bullmqJobs(options: BullmqJobsOptions): RefreshJobs {
  const { queue, worker: makeWorker } = options;
  if (!hasMethod(queue, "add")) throw invalidArgument('"queue" must be a BullMQ Queue');
  if (makeWorker !== undefined && typeof makeWorker !== "function") {
    throw invalidArgument('"worker" must be a function that makes a BullMQ Worker');
  }
  let worker: BullmqWorker | undefined;
  return createRefreshJobs(
    {
      start(run) {
        worker = makeWorker?.(async ({ data }) => {
          await run(data);
        });
        return Promise.resolve();
      },
      async put(data, { id, delayMs, replace }) {
        await queue.add(JOB_NAME, data, {
          delay: delayMs,
          attempts: 1,
          removeOnComplete: true,
          removeOnFail: true,
          deduplication: { id, replace, keepLastIfActive: true },
        });
      },
      async stop() {
        await worker?.close();
      },
    },
    options,
  );
}
