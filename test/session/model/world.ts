import type { Clock } from "warehouse-oauth";
import { clampTimerDelay } from "../../../src/lib/clock.ts";

/** 2026-11-21T12:00:00Z. */
const START = Date.UTC(2026, 10, 21, 12);

interface Happening {
  readonly dueAt: number;
  /** To whom it happens; nobody: it happens outside of all processes, and no crash undoes it. */
  readonly to: Process | undefined;
  readonly run: () => void;
}

/** Time and everything that is under way: a simulation of discrete events, the same for the same schedule. */
export class World {
  /** Milliseconds since the beginning: true time, that of servers and of every monotonic clock. */
  elapsed = 0;
  /** Sorted by time; what comes at the same time keeps its order. */
  readonly #happenings: Happening[] = [];

  /** True time on the wall, epoch milliseconds. */
  get now(): number {
    return START + this.elapsed;
  }

  /** Lets something happen later, and gives the way to undo it. */
  after(delayMs: number, to: Process | undefined, run: () => void): () => void {
    const happening: Happening = { dueAt: this.elapsed + delayMs, to, run };
    let at = this.#happenings.length;
    while (at > 0 && (this.#happenings[at - 1]?.dueAt ?? 0) > happening.dueAt) at -= 1;
    this.#happenings.splice(at, 0, happening);
    return () => {
      const index = this.#happenings.indexOf(happening);
      if (index !== -1) this.#happenings.splice(index, 1);
    };
  }

  /** Lets time pass, and everything happen that is due on the way. What a paused process misses, it gets later. */
  async advance(durationMs: number): Promise<void> {
    const end = this.elapsed + durationMs;
    await settle();
    for (;;) {
      const index = this.#happenings.findIndex(({ dueAt, to }) => dueAt <= end && to?.paused !== true);
      const [next] = index === -1 ? [] : this.#happenings.splice(index, 1);
      if (next === undefined) break;
      this.elapsed = Math.max(this.elapsed, next.dueAt);
      if (next.to?.crashed === true) continue;
      next.run();
      await settle();
    }
    this.elapsed = end;
  }
}

/** Ends when every promise that can go on has gone on. Nothing here waits for a thread: see `repeatable-crypto.ts`. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A process of the application: a clock of its own, and a life that can end at any moment. */
export class Process {
  readonly name: string;
  readonly world: World;
  readonly clock: Clock;
  /** Wall clock minus true time. */
  skewMs: number;
  crashed = false;
  /** How often it stood still. */
  pauses = 0;
  #paused = false;

  constructor(name: string, world: World, skewMs: number) {
    this.name = name;
    this.world = world;
    this.skewMs = skewMs;
    this.clock = {
      now: () => world.now + this.skewMs,
      monotonic: () => world.elapsed,
      setTimer: (callback, delayMs) => world.after(clampTimerDelay(delayMs), this, callback),
    };
  }

  /** Stands still, as after SIGSTOP: what happens to it meanwhile, it finds when it goes on. */
  get paused(): boolean {
    return this.#paused;
  }

  set paused(paused: boolean) {
    if (paused && !this.#paused) this.pauses += 1;
    this.#paused = paused;
  }

  /** A call to something outside: `perform` happens there, and what it gives is told unless the process is gone. */
  call<T>(latency: { readonly thereMs: number; readonly backMs: number }, perform: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (!Number.isFinite(latency.thereMs)) return;
      this.world.after(latency.thereMs, undefined, () => {
        let tell: () => void;
        try {
          const result = perform();
          tell = () => {
            resolve(result);
          };
        } catch (error) {
          const reason = error as Error;
          tell = () => {
            reject(reason);
          };
        }
        if (Number.isFinite(latency.backMs)) this.world.after(latency.backMs, this, tell);
      });
    });
  }
}
