// One timer for all sessions: requirements.
import { beforeEach, describe, expect, test } from "vitest";
import type { Clock } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { RefreshScheduler } from "../../src/session/refresh-scheduler.ts";
import type { SessionEntry } from "../../src/session/session-entry.ts";
import { DAY, HOUR, MINUTE, SECOND, acmeServer, entryOf, quickClock } from "./acme-room.ts";

/** A clock that counts the timers set on it. */
class CountingClock implements Clock {
  readonly inner: ManualClock = manualClock();
  active = 0;
  most = 0;
  set = 0;
  delays: number[] = [];
  keptAlive = 0;
  now(): number {
    return this.inner.now();
  }
  monotonic(): number {
    return this.inner.monotonic();
  }
  setTimer(callback: () => void, delayMs: number, options?: { readonly keepAlive?: boolean }): () => void {
    this.active += 1;
    this.set += 1;
    this.most = Math.max(this.most, this.active);
    this.delays.push(delayMs);
    if (options?.keepAlive === true) this.keptAlive += 1;
    let done = false;
    const end = (): void => {
      if (!done) this.active -= 1;
      done = true;
    };
    const cancel = this.inner.setTimer(() => {
      end();
      callback();
    }, delayMs);
    return () => {
      end();
      cancel();
    };
  }
}

let clock: CountingClock;
let due: { readonly entry: SessionEntry; readonly at: number; readonly elapsedMs: number }[];
let hops: number;
let next: Map<SessionEntry, number | undefined>;
let scheduler: RefreshScheduler;
let draw: number;

beforeEach(() => {
  clock = new CountingClock();
  due = [];
  hops = 0;
  next = new Map();
  draw = 0.5;
  scheduler = new RefreshScheduler(clock, () => draw, {
    onDue: (entry) => due.push({ entry, at: clock.now(), elapsedMs: clock.monotonic() }),
    dueAtOf: (entry) => next.get(entry),
    onHop: () => (hops += 1),
  });
});

const { client } = acmeServer(manualClock());
const entries = (count: number): SessionEntry[] =>
  Array.from({ length: count }, (_, n) => entryOf(client, undefined, `user-${String(n)}`));

function schedule(entry: SessionEntry, inMs: number): SessionEntry {
  next.set(entry, clock.now() + inMs);
  scheduler.schedule(entry, clock.now() + inMs);
  return entry;
}

const [ada, bob] = entries(2) as [SessionEntry, SessionEntry];
beforeEach(() => {
  ada.slot = undefined;
  bob.slot = undefined;
});

describe("in time", () => {
  test("each when it is due, earliest first, once", async () => {
    scheduler.start();
    schedule(bob, 20 * SECOND);
    schedule(ada, 10 * SECOND);
    await clock.inner.advance(10 * SECOND - 1);
    expect(due).toEqual([]);
    await clock.inner.advance(1);
    expect(due.map(({ entry }) => entry)).toEqual([ada]);
    expect(ada.slot).toBeUndefined();
    await clock.inner.advance(HOUR);
    expect(due.map(({ entry, elapsedMs }) => [entry, elapsedMs])).toEqual([
      [ada, 10_000],
      [bob, 20_000],
    ]);
  });

  test("moved, and taken out", async () => {
    scheduler.start();
    schedule(ada, 10 * SECOND);
    schedule(ada, 30 * SECOND);
    expect(scheduler.size).toBe(1);
    schedule(bob, 5 * SECOND);
    scheduler.schedule(bob, undefined);
    scheduler.schedule(bob, undefined);
    expect(bob.slot).toBeUndefined();
    await clock.inner.advance(29 * SECOND);
    expect(due).toEqual([]);
    await clock.inner.advance(SECOND);
    expect(due).toHaveLength(1);
    expect(scheduler.size).toBe(0);
  });

  test("one that waits may be hurried, while this runs", async () => {
    schedule(ada, HOUR);
    expect(scheduler.hurry(ada)).toBe(false);
    scheduler.start();
    expect(scheduler.hurry(bob)).toBe(false);
    expect(scheduler.hurry(ada)).toBe(true);
    await clock.inner.advance(1);
    expect(due.map(({ entry }) => entry)).toEqual([ada]);
    expect(scheduler.hurry(ada)).toBe(false);
    expect(scheduler.size).toBe(0);
  });

  test("what is due already is begun at once, not in the caller's turn", async () => {
    scheduler.start();
    schedule(ada, -HOUR);
    expect(due).toEqual([]);
    await clock.inner.advance(1);
    expect(due).toHaveLength(1);
  });

  test("sessions that come while others are begun are not lost", async () => {
    const again = new RefreshScheduler(clock, () => 0, {
      onDue: (entry) => {
        due.push({ entry, at: clock.now(), elapsedMs: clock.monotonic() });
        if (due.length < 5) again.schedule(entry, clock.now());
      },
      dueAtOf: () => undefined,
      onHop: () => undefined,
    });
    again.start();
    again.schedule(ada, clock.now() + 10);
    await clock.inner.advance(100);
    expect(due).toHaveLength(5);
  });
});

describe("start and stop", () => {
  test("nothing runs before start; what was put in is there then", async () => {
    schedule(ada, 10 * SECOND);
    expect(clock.set).toBe(0);
    expect(scheduler.running).toBe(false);
    await clock.inner.advance(HOUR);
    expect(due).toEqual([]);
    scheduler.start();
    expect(scheduler.running).toBe(true);
    expect(due).toHaveLength(1);
  });

  test("starting twice is starting once", () => {
    scheduler.start();
    scheduler.start();
    expect(hops).toBe(1);
    expect(clock.active).toBe(1);
  });

  test("R-11 stop leaves no timer; start goes on", async () => {
    scheduler.start();
    schedule(ada, MINUTE);
    scheduler.stop();
    expect(clock.active).toBe(0);
    schedule(bob, SECOND);
    expect(clock.active).toBe(0);
    await clock.inner.advance(HOUR);
    expect(due).toEqual([]);
    scheduler.start();
    await clock.inner.advance(SECOND);
    expect(due).toHaveLength(2);
  });

  test("stopped in the middle of a hop: no timer is left", async () => {
    const stopping = new RefreshScheduler(clock, () => 0, {
      onDue: () => {
        stopping.stop();
      },
      dueAtOf: () => undefined,
      onHop: () => undefined,
    });
    stopping.start();
    stopping.schedule(ada, clock.now() + 10);
    stopping.schedule(bob, clock.now() + HOUR);
    await clock.inner.advance(20);
    expect(clock.active).toBe(0);
  });
});

describe("R-05, R-62 one timer", () => {
  test("R-07 it does not keep the process alive, and no hop is longer than a minute", async () => {
    scheduler.start();
    schedule(ada, 40 * DAY);
    await clock.inner.advance(HOUR);
    expect(clock.keptAlive).toBe(0);
    expect(Math.max(...clock.delays)).toBe(MINUTE);
    expect(hops).toBe(61);
    expect(clock.most).toBe(1);
  });

  test("R-62 a time beyond 2^31 ms is kept: 25 days later, not 1 ms", async () => {
    scheduler.start();
    schedule(ada, 25 * DAY);
    // One hop at a time: an hour apart, so that the test takes none.
    for (let left = 25 * DAY; left > MINUTE; left -= DAY) {
      await clock.inner.advance(MINUTE);
      expect(due).toEqual([]);
      clock.inner.jump(DAY - MINUTE);
    }
    await clock.inner.advance(2 * MINUTE);
    expect(due).toHaveLength(1);
  });

  test("R-62 100 000 sessions, one timer, and no more than 20 begun in a turn", async () => {
    const all = entries(100_000);
    scheduler.start();
    for (const [n, entry] of all.entries()) scheduler.schedule(entry, clock.now() + HOUR + (n % 600) * 100);
    expect(scheduler.size).toBe(100_000);
    expect(clock.most).toBe(1);
    let mostInOneTurn = 0;
    await clock.inner.advance(HOUR - 1);
    expect(due).toEqual([]);
    await clock.inner.advance(MINUTE + SECOND);
    const turns = new Map<number, number>();
    for (const { elapsedMs } of due) turns.set(elapsedMs, (turns.get(elapsedMs) ?? 0) + 1);
    mostInOneTurn = Math.max(...turns.values());
    expect(due).toHaveLength(100_000);
    expect(mostInOneTurn).toBe(20);
    expect(clock.most).toBe(1);
  });

  test("a thousand due at once are begun in turns", async () => {
    for (const entry of entries(1_000)) scheduler.schedule(entry, clock.now());
    scheduler.start();
    expect(due).toHaveLength(20);
    await clock.inner.advance(49);
    expect(due).toHaveLength(1_000);
    expect(clock.delays.filter((delayMs) => delayMs === 1)).toHaveLength(50);
  });

  test("an earlier session brings the timer forward, a later one leaves it", () => {
    scheduler.start();
    schedule(ada, 30 * SECOND);
    const set = clock.set;
    schedule(bob, 40 * SECOND);
    expect(clock.set).toBe(set);
    schedule(bob, 20 * SECOND);
    expect(clock.set).toBe(set + 1);
    expect(clock.delays.at(-1)).toBe(20 * SECOND);
    expect(clock.active).toBe(1);
  });
});

describe("R-08, R-09, R-59, R-60 sleep and jumps", () => {
  test("R-59 after an hour of sleep: one refresh, spread over ten seconds", async () => {
    scheduler.start();
    schedule(ada, 10 * MINUTE);
    clock.inner.jump(HOUR);
    await clock.inner.advance(2 * MINUTE);
    expect(due).toHaveLength(1);
    // Noticed at the first hop after a minute, and begun within 10 s of it.
    expect(due[0]?.elapsedMs).toBe(65_000);
  });

  test("R-60 a thousand sessions do not come back together", async () => {
    let value = 0;
    scheduler = new RefreshScheduler(clock, () => (value = (value + 0.001) % 1), {
      onDue: (entry) => due.push({ entry, at: clock.now(), elapsedMs: clock.monotonic() }),
      dueAtOf: (entry) => next.get(entry),
      onHop: () => undefined,
    });
    scheduler.start();
    for (const entry of entries(1_000)) schedule(entry, 10 * MINUTE);
    clock.inner.jump(10 * 365 * DAY);
    await clock.inner.advance(MINUTE);
    expect(due.length).toBeLessThan(5);
    await clock.inner.advance(5 * SECOND);
    expect(due.length).toBeGreaterThan(450);
    expect(due.length).toBeLessThan(550);
    await clock.inner.advance(5 * SECOND);
    expect(due).toHaveLength(1_000);
  });

  test.each([HOUR, 10 * 365 * DAY])("R-60 the clock goes forward by %d: all is due, once", async (byMs) => {
    scheduler.start();
    schedule(ada, 10 * MINUTE);
    clock.inner.jump(byMs);
    await clock.inner.advance(HOUR);
    expect(due).toHaveLength(1);
  });

  test.each([-HOUR, -50 * 365 * DAY])(
    "R-60 the clock goes back by %d: what the target says then counts",
    async (byMs) => {
      scheduler.start();
      schedule(ada, 10 * MINUTE);
      clock.inner.jump(byMs);
      next.set(ada, clock.now() + 2 * MINUTE);
      await clock.inner.advance(2 * MINUTE - 1);
      expect(due).toEqual([]);
      await clock.inner.advance(1);
      expect(due).toHaveLength(1);
      expect(Math.min(...clock.delays)).toBeGreaterThanOrEqual(1);
    },
  );

  test("a session that has no time any more keeps the one it had", async () => {
    scheduler.start();
    schedule(ada, 10 * MINUTE);
    clock.inner.jump(6 * SECOND);
    next.set(ada, undefined);
    await clock.inner.advance(10 * MINUTE - 7 * SECOND);
    expect(due).toEqual([]);
    await clock.inner.advance(SECOND);
    expect(due).toHaveLength(1);
  });

  test.each([
    [5_000, 0],
    [5_001, 1],
    [-5_000, 0],
    [-5_001, 1],
  ])("apart by %d ms: recomputed %d times", async (byMs, recomputed) => {
    let asked = 0;
    scheduler = new RefreshScheduler(clock, () => 0, {
      onDue: () => undefined,
      dueAtOf: (entry) => {
        asked += 1;
        return next.get(entry);
      },
      onHop: () => undefined,
    });
    scheduler.start();
    schedule(ada, 30 * MINUTE);
    clock.inner.jump(byMs);
    await clock.inner.advance(5 * MINUTE);
    expect(asked).toBe(recomputed);
  });

  test("a jump while stopped is none: start looks at the clock anew", () => {
    schedule(ada, 10 * MINUTE);
    scheduler.start();
    scheduler.stop();
    clock.inner.jump(HOUR);
    scheduler.start();
    expect(due).toHaveLength(1);
  });

  test("R-09 the loop was blocked for 90 s: what was missed begins once, at once, and the rest in time", async () => {
    const late = quickClock();
    const begun: { readonly entry: SessionEntry; readonly elapsedMs: number }[] = [];
    let recomputed = 0;
    const missed = new RefreshScheduler(late, () => 0.99, {
      onDue: (entry) => begun.push({ entry, elapsedMs: late.monotonic() }),
      dueAtOf: () => void (recomputed += 1),
      onHop: () => undefined,
    });
    missed.start();
    const fifty = entries(50);
    fifty.forEach((entry, n) => {
      missed.schedule(entry, late.now() + (n + 1) * SECOND);
    });
    missed.schedule(ada, late.now() + 89 * SECOND);
    missed.schedule(bob, late.now() + 200 * SECOND);
    // Both clocks are there before the timer is: it fires 89 s late.
    late.skip(90 * SECOND);
    await late.advance(10);
    expect(begun.map(({ entry }) => entry)).toEqual([...fifty, ada]);
    expect(recomputed).toBe(0);
    await late.advance(110 * SECOND - 11);
    expect(begun).toHaveLength(51);
    await late.advance(1);
    expect(begun.slice(51)).toEqual([{ entry: bob, elapsedMs: 200_000 }]);
    await late.advance(HOUR);
    expect(begun).toHaveLength(52);
  });
});
