import { callIsolated } from "../../lib/call-isolated.ts";
import { systemClock } from "../../lib/clock.ts";
import type { Clock } from "../../lib/clock.ts";
import { invalidArgument } from "../../lib/invalid-argument.ts";
import { systemRandom } from "../../lib/system-random.ts";
import type { TokenManager, TokenSession, TokenStore } from "../../session/index.ts";
import { HopelessSessions } from "./hopeless-sessions.ts";
import { jobIdOf, readJobData } from "./job-data.ts";
import type { RefreshJobData } from "./job-data.ts";
import { MIN_PAUSE_MS, afterFailure, clampJobDelay, delayAfterStatus } from "./next-run.ts";

/** Where something went wrong that breaks nobody: putting a job in, refreshing by a job, looking for lost jobs. */
export interface RefreshJobProblem {
  /** What was being done. `stop` is the queue's worker that did not stop in time. */
  readonly step: "schedule" | "refresh" | "sweep" | "stop";
  /** Which session, where it was about one. No secret, but has your subject in it. */
  readonly key: string | undefined;
}

/** What every queue needs. */
export interface RefreshJobsOptions {
  /** Refreshes. It is closed by {@link RefreshJobs.close}. */
  readonly manager: Pick<TokenManager, "refresh" | "close">;
  /** The manager's store. If it has `due`, a sweep once a minute puts in the jobs of sessions that have none. */
  readonly store?: Pick<TokenStore, "due">;
  /** Hears of what went wrong and broke nobody. Gets the queue's own errors as they are. Default is silence. */
  readonly onError?: (error: unknown, problem: RefreshJobProblem) => void;
  /** The manager's clock. Default is the system's. */
  readonly clock?: Clock;
  /** Number in [0, 1) for jitter only. */
  readonly random?: () => number;
}

/** Keeps sessions fresh through a queue. */
export interface RefreshJobs {
  /**
   * Puts in the job of a session for when its refresh is due; call it after `save`. A queue that fails is no error here,
   * and is waited for five seconds. `false` if no job was put in: the session needs none, or `onError` heard why.
   */
  schedule(session: Pick<TokenSession, "key" | "status">): Promise<boolean>;
  /**
   * Begins to take jobs, and to look for lost ones. Rejects if the queue cannot be reached: then nothing was begun, and it
   * may be called again. Resolves, and nothing is begun, if it is closed meanwhile.
   */
  start(): Promise<void>;
  /**
   * Takes no more jobs, lets those that run come to their end (`drainMs`, by default 15 000), closes the manager with the
   * same time and gives its answer. The queue's connection is yours: close it afterwards. Idempotent.
   */
  close(options?: { readonly drainMs?: number }): Promise<{ readonly unsaved: readonly string[] }>;
}

/** What a queue does for {@link createRefreshJobs}. */
export interface JobQueue {
  /**
   * Begins to hand jobs to `run`. It never rejects; `false` says that the next job of the session could not be put in. If
   * the start fails, nothing goes on.
   */
  start(run: (data: unknown) => Promise<boolean>): Promise<void>;
  /**
   * Puts a job in. Of the waiting jobs with one id there is never more than one: `replace` says whether the new one may
   * take the other's place, where the queue can do that.
   */
  put(
    data: RefreshJobData,
    job: { readonly id: string; readonly delayMs: number; readonly replace: boolean },
  ): Promise<void>;
  /** Takes no more jobs, nor begins to, where a start is under way. Resolves when none is running. */
  stop(): Promise<void>;
}

/** The queue gets as long as a store: who waits for it is a login, or a job. */
const PUT_TIMEOUT_MS = 5_000;

/** Time that `close` gives to running jobs, as the manager gives to what was sent. */
const DEFAULT_DRAIN_MS = 15_000;

/** Time for running jobs to end once the manager was closed: they only put themselves back. */
const LAST_DRAIN_MS = 6_000;

/** How often the store is asked for sessions without a job. */
const SWEEP_MS = 60_000;

/** A session that is late by this has no job: with a job, it would have been refreshed. */
const OVERDUE_MS = 60_000;

/** What a sweep finds at once is put in over this long, so that an endpoint does not see it all in one moment. */
const SWEEP_SPREAD_MS = 30_000;

/** Sessions that a sweep asks for at first. */
const SWEEP_LIMIT = 500;

/** Whether something is an object with this method: what comes without types is looked at before it is used. */
export function hasMethod(value: unknown, name: string): boolean {
  return typeof value === "object" && value !== null && typeof (value as Record<string, unknown>)[name] === "function";
}

/** The part that is the same for all queues. */
export function createRefreshJobs(queue: JobQueue, options: RefreshJobsOptions): RefreshJobs {
  if (!hasMethod(options.manager, "refresh")) throw invalidArgument('"manager" must be a TokenManager');
  return new QueuedRefresh(queue, options);
}

class QueuedRefresh implements RefreshJobs {
  readonly #queue: JobQueue;
  readonly #options: RefreshJobsOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #running = new Set<Promise<unknown>>();
  readonly #hopeless: HopelessSessions;
  #started: Promise<void> | undefined;
  #closing: Promise<{ readonly unsaved: readonly string[] }> | undefined;
  #cancelSweep = (): void => undefined;
  #sweepLimit = SWEEP_LIMIT;

  constructor(queue: JobQueue, options: RefreshJobsOptions) {
    this.#queue = queue;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#hopeless = new HopelessSessions(this.#clock);
  }

  async schedule(session: Pick<TokenSession, "key" | "status">): Promise<boolean> {
    if (!hasMethod(session, "status")) throw invalidArgument('"session" must be a TokenSession');
    const { key } = session;
    try {
      const delayMs = delayAfterStatus(await session.status(), this.#clock.now());
      if (delayMs === undefined) return false;
      await this.#put({ key }, clampJobDelay(delayMs, 0), true);
      return true;
    } catch (error) {
      this.#report(error, "schedule", key);
      return false;
    }
  }

  start(): Promise<void> {
    this.#started ??= this.#start();
    return this.#started;
  }

  async #start(): Promise<void> {
    if (this.#closing !== undefined) throw new DOMException("these jobs were closed", "InvalidStateError");
    try {
      await this.#queue.start((data) => this.#follow(this.#run(data)));
    } catch (error) {
      this.#started = undefined;
      throw error;
    }
    // The first sweep of a fleet that starts at once is spread over the time between two.
    this.#sweepIn(SWEEP_MS * this.#random());
  }

  close({ drainMs = DEFAULT_DRAIN_MS }: { readonly drainMs?: number } = {}): Promise<{
    readonly unsaved: readonly string[];
  }> {
    this.#closing ??= this.#close(drainMs);
    return this.#closing;
  }

  // ---------------------------------------------------------------- one job

  async #run(data: unknown): Promise<boolean> {
    const job = readJobData(data);
    if (job === undefined) {
      this.#report(invalidArgument("a job must hold the key of a session"), "refresh", undefined);
      return true;
    }
    const { key } = job;
    const next = this.#closing === undefined ? await this.#refresh(job) : { data: job, delayMs: MIN_PAUSE_MS };
    if (next === undefined) return true;
    try {
      await this.#put(next.data, clampJobDelay(next.delayMs, MIN_PAUSE_MS), true);
      return true;
    } catch (error) {
      // The session was refreshed, or will be on use; the sweep finds that it has no job.
      this.#report(error, "schedule", key);
      return false;
    }
  }

  /** Refreshes if it is due, and says when to come again. */
  async #refresh({
    key,
    failures = 0,
  }: RefreshJobData): Promise<{ readonly data: RefreshJobData; readonly delayMs: number } | undefined> {
    try {
      const status = await this.#options.manager.refresh(key);
      this.#hopeless.delete(key);
      const delayMs = delayAfterStatus(status, this.#clock.now());
      return delayMs === undefined ? undefined : { data: { key }, delayMs };
    } catch (error) {
      const { delayMs, counts, isNews } = afterFailure(error, failures, this.#random);
      if (delayMs === undefined ? this.#hopeless.add(key) && isNews : isNews) this.#report(error, "refresh", key);
      const sum = failures + (counts ? 1 : 0);
      return delayMs === undefined ? undefined : { data: { key, ...(sum > 0 && { failures: sum }) }, delayMs };
    }
  }

  /** @throws What the queue throws, or a `TimeoutError`: a client that reconnects may hold a command for ever. */
  async #put(data: RefreshJobData, delayMs: number, replace: boolean): Promise<void> {
    const id = await jobIdOf(data.key);
    const put = this.#queue.put(data, { id, delayMs, replace });
    if (await this.#settles(put, PUT_TIMEOUT_MS)) return put;
    put.catch(() => undefined);
    throw new DOMException(`the queue took no job within ${String(PUT_TIMEOUT_MS)} ms`, "TimeoutError");
  }

  // ---------------------------------------------------------------- jobs that were lost

  #sweepIn(delayMs: number): void {
    if (this.#options.store?.due === undefined || this.#closing !== undefined) return;
    this.#cancelSweep = this.#clock.setTimer(() => {
      void this.#follow(this.#sweep());
    }, delayMs);
  }

  async #sweep(): Promise<void> {
    const limit = this.#sweepLimit;
    let isCut = false;
    try {
      const late = await this.#findLate(limit);
      for (const { key } of late) {
        if (this.#closing !== undefined) return;
        // A job that waits is left alone: it may wait because the server asked for it.
        if (!this.#hopeless.has(key)) await this.#put({ key }, this.#spreadMs(), false);
      }
      // What was put in stays first in the list until it is refreshed, and some of it is nobody's: look beyond it.
      this.#sweepLimit = Math.max(SWEEP_LIMIT, 2 * late.length);
      isCut = late.length >= limit;
    } catch (error) {
      // One error for a queue that is lost, not one for each session.
      this.#report(error, "sweep", undefined);
    }
    this.#sweepIn(isCut ? MIN_PAUSE_MS : SWEEP_MS);
  }

  #spreadMs(): number {
    return clampJobDelay(SWEEP_SPREAD_MS * this.#random(), 0);
  }

  /** Asks the store, with a deadline like that of the manager: five seconds. */
  async #findLate(limit: number): Promise<readonly { readonly key: string }[]> {
    const deadline = new AbortController();
    const cancel = this.#clock.setTimer(() => {
      deadline.abort();
    }, PUT_TIMEOUT_MS);
    try {
      const before = this.#clock.now() - OVERDUE_MS;
      return (await this.#options.store?.due?.({ before, limit, signal: deadline.signal })) ?? [];
    } finally {
      cancel();
    }
  }

  // ---------------------------------------------------------------- the end

  /** The worker first, so that nothing new begins; the manager last, so that what was begun can end. */
  async #close(drainMs: number): Promise<{ readonly unsaved: readonly string[] }> {
    this.#cancelSweep();
    const stopped = this.#queue.stop();
    stopped.catch((error: unknown) => {
      this.#report(error, "stop", undefined);
    });
    const drained = stopped.catch(() => undefined).then(() => this.#idle());
    const isDrained = await this.#settles(drained, drainMs);
    const result = await this.#options.manager.close({ drainMs });
    if (!isDrained && !(await this.#settles(drained, LAST_DRAIN_MS))) {
      this.#report(new DOMException("the queue's worker did not stop in time", "TimeoutError"), "stop", undefined);
    }
    return result;
  }

  async #idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  /** Remembers work until it ends. */
  #follow<T>(work: Promise<T>): Promise<T> {
    const done = work.finally(() => this.#running.delete(done));
    this.#running.add(done);
    return done;
  }

  /** Waits for work, but not longer than this; `false` if it goes on. */
  async #settles(work: Promise<unknown>, limitMs: number): Promise<boolean> {
    let cancel = (): void => undefined;
    const late = new Promise<false>((resolve) => {
      cancel = this.#clock.setTimer(
        () => {
          resolve(false);
        },
        limitMs,
        { keepAlive: true },
      );
    });
    const settled = work.then(
      () => true,
      () => true,
    );
    try {
      return await Promise.race([settled, late]);
    } finally {
      cancel();
    }
  }

  #report(error: unknown, step: RefreshJobProblem["step"], key: string | undefined): void {
    const { onError } = this.#options;
    if (onError !== undefined) callIsolated(onError, error, { step, key });
  }
}
