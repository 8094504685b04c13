// Waiting for a time, for a caller and for work: requirements.
import type { Clock } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { describe, expect, test } from "vitest";
import { inTime, sleep } from "../../src/session/waits.ts";
import { follow, gate } from "./scene.ts";

interface Timers {
  readonly clock: ManualClock;
  readonly watched: Clock;
  /** Whether each timer that is set keeps the program from ending. */
  readonly holding: () => readonly boolean[];
}

function timers(): Timers {
  const clock = manualClock();
  const set = new Map<object, boolean>();
  const watched: Clock = {
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    setTimer(callback, delayMs, options) {
      const timer = {};
      set.set(timer, options?.keepAlive === true);
      const cancel = clock.setTimer(() => {
        set.delete(timer);
        callback();
      }, delayMs);
      return () => {
        set.delete(timer);
        cancel();
      };
    },
  };
  return { clock, watched, holding: () => [...set.values()] };
}

describe("sleep", () => {
  test("R-11 holds the program if it is told to, and not otherwise", async () => {
    const { clock, watched, holding } = timers();
    const all = [sleep(watched, 100), sleep(watched, 100, { keepAlive: true })];
    expect(holding()).toEqual([false, true]);
    await clock.advance(100);
    await Promise.all(all);
    expect(holding()).toEqual([]);
  });

  test("lasts as long as it was told", async () => {
    const { clock, watched } = timers();
    const asleep = follow(sleep(watched, 100));
    await clock.advance(99);
    expect(asleep.state).toBe("pending");
    await clock.advance(1);
    expect(asleep.state).toBe("fulfilled");
  });

  test("R-11 a signal ends it with its reason, before it and under it", async () => {
    for (const when of ["before", "under"] as const) {
      const { clock, watched, holding } = timers();
      const end = new AbortController();
      const reason = new Error("closed");
      if (when === "before") end.abort(reason);
      const asleep = follow(sleep(watched, 60_000, end));
      if (when === "under") end.abort(reason);
      await clock.advance(0);
      expect(asleep.error).toBe(reason);
      expect(holding()).toEqual([]);
    }
  });

  test("R-11 a signal that outlives it has no listener left", async () => {
    const { clock, watched } = timers();
    let listeners = 0;
    const { signal } = new AbortController();
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>): void => {
      listeners += 1;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>): void => {
      listeners -= 1;
      remove(...args);
    };
    const asleep = sleep(watched, 10, { signal });
    expect(listeners).toBe(1);
    await clock.advance(10);
    await asleep;
    expect(listeners).toBe(0);
  });
});

describe("inTime", () => {
  test("R-55 gives what the work gives, or throws what it throws, and leaves no timer", async () => {
    const { watched, holding } = timers();
    const done = gate();
    const work = inTime(
      watched,
      1_000,
      "late",
      done.until.then(() => "done"),
    );
    expect(holding()).toEqual([true]);
    done.open();
    expect(await work).toBe("done");
    expect(holding()).toEqual([]);
    const broken = new Error("broken");
    await expect(inTime(watched, 1_000, "late", Promise.reject(broken))).rejects.toBe(broken);
    expect(holding()).toEqual([]);
  });

  test("R-55 says when the time is over, once, and calls what ends the work", async () => {
    const { clock, watched, holding } = timers();
    let ended = 0;
    const never = new Promise<never>(() => undefined);
    const work = follow(inTime(watched, 1_000, "too late", never, () => (ended += 1)));
    await clock.advance(999);
    expect(work.state).toBe("pending");
    expect(ended).toBe(0);
    await clock.advance(1);
    expect(work.error).toMatchObject({ code: "timeout", message: "too late" });
    expect(ended).toBe(1);
    expect(holding()).toEqual([]);
  });

  test("R-55 without anything to end it is just late", async () => {
    const { clock, watched } = timers();
    const work = follow(inTime(watched, 1_000, "too late", new Promise<never>(() => undefined)));
    await clock.advance(1_000);
    expect(work.error).toMatchObject({ code: "timeout" });
  });
});
