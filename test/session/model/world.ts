import type { Clock } from "warehouse-oauth";
import { clampTimerDelay } from "../../../src/lib/clock.ts";

/** 2026-11-21T12:00:00Z. */
const START = Date.UTC(2026, 10, 21, 12);

/** More than a store or a server takes that is well. */
const SOON_MS = 5_000;

interface Happening {
  readonly dueAt: number;
  /** To whom it happens; nobody: it happens outside of all processes, and no crash undoes it. */
  readonly to: Process | undefined;
  readonly run: () => void;
  /** It is a timer that keeps its program from ending. */
  readonly holds: boolean;
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
  after(delayMs: number, to: Process | undefined, run: () => void, holds = false): () => void {
    const happening: Happening = { dueAt: this.elapsed + delayMs, to, run, holds };
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
    while (this.#happen(end)) await settle();
    this.elapsed = end;
  }

  /** Lets the next thing happen, if it comes soon, and only so many microtasks of what follows: what comes next, comes there. */
  async begin(microtasks: number): Promise<void> {
    await settle();
    if (this.#happen(this.elapsed + SOON_MS)) for (let left = microtasks; left > 0; left--) await Promise.resolve();
  }

  /** Whether a timer keeps the program of a process from ending. */
  isHeld(process: Process): boolean {
    return this.#happenings.some(({ to, holds }) => holds && to === process);
  }

  #happen(end: number): boolean {
    const index = this.#happenings.findIndex(({ dueAt, to }) => dueAt <= end && to?.paused !== true);
    const [next] = index === -1 ? [] : this.#happenings.splice(index, 1);
    if (next === undefined) return false;
    this.elapsed = Math.max(this.elapsed, next.dueAt);
    if (next.to?.crashed !== true) next.run();
    return true;
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
  /** It ends in good order. */
  ending = false;
  /** How often it stood still. */
  pauses = 0;
  /** How often its clock jumped. */
  #jumps = 0;
  #paused = false;

  constructor(name: string, world: World, skewMs: number) {
    this.name = name;
    this.world = world;
    this.skewMs = skewMs;
    this.clock = {
      now: () => world.now + this.skewMs,
      monotonic: () => world.elapsed,
      setTimer: (callback, delayMs, { keepAlive } = {}) =>
        world.after(clampTimerDelay(delayMs), this, callback, keepAlive),
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

  jump(ms: number): void {
    this.skewMs += ms;
    this.#jumps += 1;
  }

  /** It never stood still, and its clock never jumped: what was used a moment ago is in memory. */
  get isSteady(): boolean {
    return this.pauses + this.#jumps === 0;
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
