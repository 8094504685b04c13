import type { Clock } from "../lib/clock.ts";
import { DueQueue } from "../lib/due-queue.ts";
import type { SessionEntry } from "./session-entry.ts";

/** No wait is longer while anything is scheduled: that is how a sleep or a jump of the clock is noticed. */
const MAX_HOP_MS = 60_000;

/** Wall and monotonic clock apart by more than this are a jump or a sleep (requirements R-08). */
const JUMP_MS = 5_000;

/** After a jump, what is due is spread over this, so that a fleet does not come back at once. */
const JUMP_SPREAD_MS = 10_000;

/**
 * Sessions begun in one turn of the event loop; the rest follows in the next. With a store in this process a turn goes on
 * until each of them waits for its server, which takes some milliseconds.
 */
const BATCH = 20;

/** Time until the rest of a batch. */
const NEXT_BATCH_MS = 1;

/** What the scheduler asks of the engine. */
export interface SchedulerTarget {
  /** It is time for this session. It is no longer in the queue. */
  onDue(entry: SessionEntry): void;
  /** When this session is due by the wall clock as it is now; `undefined` for never. */
  dueAtOf(entry: SessionEntry): number | undefined;
  /** Once a hop, however little is due. */
  onHop(): void;
}

/** One timer for all sessions. */
export class RefreshScheduler {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #target: SchedulerTarget;
  readonly #queue = new DueQueue<SessionEntry>();
  #cancel: (() => void) | undefined;
  /** When the timer was set to fire, wall clock. */
  #wakeAt = Infinity;
  #lastWall = 0;
  #lastMonotonic = 0;
  #running = false;

  constructor(clock: Clock, random: () => number, target: SchedulerTarget) {
    this.#clock = clock;
    this.#random = random;
    this.#target = target;
  }

  get running(): boolean {
    return this.#running;
  }

  /** Sessions that wait for their time. */
  get size(): number {
    return this.#queue.size;
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#noteTime();
    this.#hop();
  }

  stop(): void {
    this.#running = false;
    this.#cancel?.();
    this.#cancel = undefined;
    this.#wakeAt = Infinity;
  }

  /** Puts a session in, moves it, or takes it out. Kept while stopped, too: `start` finds everything in place. */
  schedule(entry: SessionEntry, dueAt: number | undefined): void {
    if (dueAt === undefined) {
      if (entry.slot !== undefined) this.#queue.remove(entry.slot);
      entry.slot = undefined;
      return;
    }
    if (entry.slot === undefined) entry.slot = this.#queue.add(dueAt, entry);
    else this.#queue.reschedule(entry.slot, dueAt);
    if (this.#running && dueAt < this.#wakeAt) this.#arm();
  }

  /** Lets the time of a session that waits come now; `false` if nothing here is waiting. */
  hurry(entry: SessionEntry): boolean {
    if (!this.#running || entry.slot === undefined) return false;
    this.schedule(entry, this.#clock.now());
    return true;
  }

  #arm(delayMs?: number): void {
    if (!this.#running) return;
    const now = this.#clock.now();
    const hopMs = delayMs ?? Math.min(MAX_HOP_MS, Math.max(1, (this.#queue.peekDueAt() ?? Infinity) - now));
    this.#cancel?.();
    this.#wakeAt = now + hopMs;
    this.#cancel = this.#clock.setTimer(() => {
      this.#hop();
    }, hopMs);
  }

  #hop(): void {
    if (!this.#running) return;
    if (this.#jumped()) this.#recompute();
    this.#noteTime();
    this.#target.onHop();
    const now = this.#clock.now();
    for (let begun = 0; begun < BATCH; begun++) {
      const entry = this.#queue.popDue(now);
      if (entry === undefined) {
        this.#arm();
        return;
      }
      entry.slot = undefined;
      this.#target.onDue(entry);
    }
    this.#arm(NEXT_BATCH_MS);
  }

  #noteTime(): void {
    this.#lastWall = this.#clock.now();
    this.#lastMonotonic = this.#clock.monotonic();
  }

  #jumped(): boolean {
    const wall = this.#clock.now() - this.#lastWall;
    const monotonic = this.#clock.monotonic() - this.#lastMonotonic;
    return Math.abs(wall - monotonic) > JUMP_MS;
  }

  #recompute(): void {
    const now = this.#clock.now();
    this.#queue.rescheduleAll((entry, dueAt) => {
      const next = this.#target.dueAtOf(entry) ?? dueAt;
      return Math.max(next, now) + (next <= now ? this.#random() * JUMP_SPREAD_MS : 0);
    });
  }
}
