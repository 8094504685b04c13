import { describe, expect, it } from "vitest";
import { manualClock } from "warehouse-oauth/testing";

describe("manualClock", () => {
  it("stands still at a fixed day until told", async () => {
    const clock = manualClock();
    const before = clock.now();
    await Promise.resolve();
    expect(clock.now()).toBe(before);
    expect(new Date(before).toISOString()).toBe("2026-01-01T00:00:00.000Z");
    expect(manualClock(5).now()).toBe(5);
  });

  it("fires timers in the order of their time, and of their setting where that is the same", async () => {
    const clock = manualClock();
    const order: string[] = [];
    clock.setTimer(() => order.push("late"), 30);
    clock.setTimer(() => order.push("early"), 10);
    clock.setTimer(() => order.push("same, first"), 20);
    clock.setTimer(() => order.push("same, second"), 20);
    clock.setTimer(() => order.push("beyond"), 31);
    await clock.advance(30);
    expect(order).toEqual(["early", "same, first", "same, second", "late"]);
    await clock.advance(1);
    expect(order).toContain("beyond");
  });

  it("shows each timer its own time on both clocks", async () => {
    const clock = manualClock(1_000);
    const seen: [number, number][] = [];
    for (const delay of [10, 25]) clock.setTimer(() => seen.push([clock.now(), clock.monotonic()]), delay);
    await clock.advance(100);
    expect(seen).toEqual([
      [1_010, 10],
      [1_025, 25],
    ]);
    expect([clock.now(), clock.monotonic()]).toEqual([1_100, 100]);
  });

  it("fires timers that were set on the way, and not those that were cancelled on the way", async () => {
    const clock = manualClock();
    const fired: number[] = [];
    const tick = (): void => {
      fired.push(clock.monotonic());
      if (fired.length < 100) clock.setTimer(tick, 10);
    };
    clock.setTimer(tick, 10);
    const cancel = clock.setTimer(() => fired.push(-1), 25);
    clock.setTimer(cancel, 25); // set later: too late for the same instant …
    clock.setTimer(() => fired.push(-2), 45);
    await clock.advance(20);
    clock.setTimer(cancel, 4); // … but this one comes before
    await clock.advance(20);
    expect(fired).toEqual([10, 20, 30, 40]);
  });

  it("lets a timer cancel another one of the same instant", async () => {
    const clock = manualClock();
    const fired: string[] = [];
    let cancel = (): void => undefined;
    clock.setTimer(() => {
      fired.push("first");
      cancel();
    }, 5);
    cancel = clock.setTimer(() => fired.push("second"), 5);
    await clock.advance(5);
    expect(fired).toEqual(["first"]);
  });

  it("waits between timers for what they started, Web Crypto included", async () => {
    const clock = manualClock();
    const log: string[] = [];
    const work = async (name: string): Promise<void> => {
      for (let step = 0; step < 8; step += 1) await crypto.subtle.digest("SHA-256", new Uint8Array(64));
      log.push(`${name} done`);
    };
    clock.setTimer(() => void work("first"), 10);
    clock.setTimer(() => log.push("second"), 20);
    await clock.advance(20);
    expect(log).toEqual(["first done", "second"]);
  });

  it("waits before the first timer for what was started before, so that a timer set late still counts", async () => {
    const clock = manualClock();
    let fired = false;
    const start = async (): Promise<void> => {
      await crypto.subtle.digest("SHA-256", new Uint8Array(1));
      clock.setTimer(() => (fired = true), 10);
    };
    void start();
    await clock.advance(10);
    expect(fired).toBe(true);
  });

  it("jumps the wall clock only, both ways, and fires nothing", async () => {
    const clock = manualClock(1_000_000);
    let fired = false;
    clock.setTimer(() => (fired = true), 50);
    clock.jump(3_600_000);
    expect([clock.now(), clock.monotonic()]).toEqual([4_600_000, 0]);
    clock.jump(-7_200_000);
    expect([clock.now(), clock.monotonic()]).toEqual([-2_600_000, 0]);
    await clock.advance(49);
    expect(fired).toBe(false);
    await clock.advance(1);
    expect(fired).toBe(true);
  });

  it("does one advance after the other", async () => {
    const clock = manualClock();
    const times: number[] = [];
    clock.setTimer(() => times.push(clock.monotonic()), 15);
    await Promise.all([clock.advance(10), clock.advance(10)]);
    expect(times).toEqual([15]);
    expect(clock.monotonic()).toBe(20);
  });

  it("passes on what a timer threw, and goes on afterwards", async () => {
    const clock = manualClock();
    clock.setTimer(() => {
      throw new RangeError("from a timer");
    }, 5);
    let later = false;
    clock.setTimer(() => (later = true), 6);
    await expect(clock.advance(10)).rejects.toThrow("from a timer");
    await clock.advance(10);
    expect(later).toBe(true);
  });

  it("keeps no timer shorter than 1 ms or longer than 15 minutes, as the system's clock", async () => {
    const clock = manualClock();
    const fired: number[] = [];
    for (const delay of [0, -5, Number.NaN, 1e9]) clock.setTimer(() => fired.push(clock.monotonic()), delay);
    await clock.advance(900_000);
    expect(fired).toEqual([1, 1, 900_000, 900_000]);
  });

  it("refuses what is no duration", () => {
    const clock = manualClock();
    expect(() => clock.advance(-1)).toThrow('"durationMs" must be 0 or more');
    expect(() => clock.advance(Number.NaN)).toThrow("finite");
    expect(() => {
      clock.jump(Infinity);
    }).toThrow("finite");
    expect(() => manualClock("now" as never)).toThrow(TypeError);
    expect(() => clock.setTimer("soon" as never, 1)).toThrow(TypeError);
  });
});
