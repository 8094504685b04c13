import type { Clock } from "warehouse-oauth";
import type { RefreshJobData } from "../../src/jobs/refresh-jobs/job-data.ts";
import type { JobQueue } from "../../src/jobs/refresh-jobs/refresh-jobs.ts";

/** A job as it was put in. */
export interface PutJob {
  readonly data: RefreshJobData;
  readonly id: string;
  readonly delayMs: number;
  readonly replace: boolean;
}

/** A queue on paper, on a manual clock: one waiting job for each id, handed to whoever started. */
export interface PaperQueue extends JobQueue {
  /** Everything that was put in, in order. */
  readonly puts: PutJob[];
  /** What waits, by id. */
  readonly waiting: ReadonlyMap<string, PutJob>;
  /** What was done, in order. */
  readonly log: string[];
  /** Instead of putting a job in. */
  fault: (() => Promise<void>) | undefined;
  /** Instead of stopping. */
  stopFault: (() => Promise<void>) | undefined;
  /** Hands a job over now, as a queue does that delivers twice or late. */
  deliver(data: unknown): Promise<void>;
  /** Loses everything, as a Redis without a disk does. */
  loseAll(): void;
}

/** The longest that one timer of a clock waits. */
const HOP_MS = 900_000;

export function paperQueue(clock: Clock): PaperQueue {
  const waiting = new Map<string, PutJob>();
  const timers = new Map<string, () => void>();
  const runs: ((data: unknown) => Promise<boolean>)[] = [];
  let turn = 0;
  const deliver = async (data: unknown): Promise<void> => {
    const run = runs[turn++ % runs.length];
    if (run === undefined) throw new Error("nobody takes jobs");
    await run(data);
  };
  const arm = (id: string, at: number): void => {
    const leftMs = at - clock.monotonic();
    const timer = clock.setTimer(
      () => {
        if (leftMs > HOP_MS) {
          arm(id, at);
          return;
        }
        const job = waiting.get(id);
        if (job === undefined || runs.length === 0) return;
        waiting.delete(id);
        void deliver(job.data);
      },
      Math.min(HOP_MS, Math.max(1, leftMs)),
    );
    timers.set(id, timer);
  };
  const queue: PaperQueue = {
    puts: [],
    waiting,
    log: [],
    fault: undefined,
    stopFault: undefined,
    start(run) {
      queue.log.push("start");
      runs.push(run);
      return Promise.resolve();
    },
    async put(data, { id, delayMs, replace }) {
      if (queue.fault !== undefined) return queue.fault();
      const job = { data, id, delayMs, replace };
      queue.puts.push(job);
      if (waiting.has(id) && !replace) return;
      timers.get(id)?.();
      waiting.set(id, job);
      arm(id, clock.monotonic() + delayMs);
    },
    async stop() {
      queue.log.push("stop");
      await queue.stopFault?.();
      runs.length = 0;
    },
    deliver,
    loseAll() {
      waiting.clear();
      for (const cancel of timers.values()) cancel();
    },
  };
  return queue;
}
