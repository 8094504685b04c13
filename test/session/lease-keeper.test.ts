// The lease while it is worked under: requirements, DESIGN 6.
import { describe, expect, test } from "vitest";
import { manualClock } from "warehouse-oauth/testing";
import type { Lease } from "warehouse-oauth";
import { LeaseKeeper } from "../../src/session/lease-keeper.ts";

const TTL = 60_000;

interface Renewing extends Lease {
  renewals: number[];
  released: number;
  answer: () => Promise<boolean>;
}

function lease(answer: () => Promise<boolean> = () => Promise.resolve(true)): Renewing {
  const made: Renewing = {
    renewals: [],
    released: 0,
    answer,
    renew: (ttlMs) => {
      made.renewals.push(ttlMs);
      return made.answer();
    },
    release: () => {
      made.released += 1;
      return Promise.resolve();
    },
  };
  return made;
}

describe("LeaseKeeper", () => {
  test("renews at each third of its time, for as long as it is held", async () => {
    const clock = manualClock();
    const held = lease();
    const keeper = new LeaseKeeper(held, clock, TTL, clock.monotonic());
    await clock.advance(19_999);
    expect(held.renewals).toEqual([]);
    await clock.advance(1);
    expect(held.renewals).toEqual([TTL]);
    await clock.advance(10 * TTL);
    expect(held.renewals).toHaveLength(31);
    expect(keeper.isOurs).toBe(true);
  });

  test("R-43 is not ours from the moment its time is over, by the monotonic clock", async () => {
    const clock = manualClock();
    const held = lease(() => Promise.reject(new Error("the store is down")));
    const keeper = new LeaseKeeper(held, clock, TTL, clock.monotonic());
    clock.jump(10 * TTL);
    expect(keeper.isOurs).toBe(true);
    await clock.advance(TTL - 1);
    expect(keeper.isOurs).toBe(true);
    expect(held.renewals).toHaveLength(2);
    await clock.advance(1);
    expect(keeper.isOurs).toBe(false);
    await clock.advance(5 * TTL);
    expect(held.renewals.length).toBeLessThanOrEqual(3);
  });

  test("time counts from when it was asked for, not from the answer", async () => {
    const clock = manualClock();
    const askedAt = clock.monotonic();
    await clock.advance(40_000);
    const keeper = new LeaseKeeper(
      lease(() => Promise.reject(new Error("x"))),
      clock,
      TTL,
      askedAt,
    );
    await clock.advance(19_999);
    expect(keeper.isOurs).toBe(true);
    await clock.advance(1);
    expect(keeper.isOurs).toBe(false);
  });

  test("a renewal that fails once is made up for by the next", async () => {
    const clock = manualClock();
    const held = lease(() => Promise.reject(new Error("x")));
    const keeper = new LeaseKeeper(held, clock, TTL, clock.monotonic());
    await clock.advance(20_000);
    held.answer = () => Promise.resolve(true);
    await clock.advance(20_000);
    await clock.advance(TTL - 1);
    expect(held.renewals.length).toBeGreaterThan(2);
    expect(keeper.isOurs).toBe(true);
  });

  test("a renewal that says no has lost it at once, for good", async () => {
    const clock = manualClock();
    const held = lease(() => Promise.resolve(false));
    const keeper = new LeaseKeeper(held, clock, TTL, clock.monotonic());
    await clock.advance(20_000);
    expect(keeper.isOurs).toBe(false);
    await clock.advance(10 * TTL);
    expect(held.renewals).toHaveLength(1);
  });

  test("a renewal that answers late counts from when it was asked for", async () => {
    const clock = manualClock();
    let answer: (kept: boolean) => void = () => undefined;
    const held = lease(() => new Promise((resolve) => (answer = resolve)));
    const keeper = new LeaseKeeper(held, clock, TTL, clock.monotonic());
    await clock.advance(50_000);
    answer(true);
    await clock.advance(29_999);
    expect(keeper.isOurs).toBe(true);
    await clock.advance(1);
    expect(keeper.isOurs).toBe(false);
  });

  test("released once, renewed no more", async () => {
    const clock = manualClock();
    const held = lease();
    const keeper = new LeaseKeeper(held, clock, TTL, clock.monotonic());
    await keeper.release();
    await keeper.release();
    expect(held.released).toBe(1);
    expect(keeper.isOurs).toBe(false);
    await clock.advance(10 * TTL);
    expect(held.renewals).toEqual([]);
  });

  test("released while a renewal is under way: that was the last", async () => {
    const clock = manualClock();
    let answer: (kept: boolean) => void = () => undefined;
    const held = lease(() => new Promise((resolve) => (answer = resolve)));
    const keeper = new LeaseKeeper(held, clock, TTL, clock.monotonic());
    await clock.advance(20_000);
    await keeper.release();
    answer(true);
    await clock.advance(10 * TTL);
    expect(held.renewals).toHaveLength(1);
    expect(keeper.isOurs).toBe(false);
  });

  test("a release that fails is nobody's trouble", async () => {
    const clock = manualClock();
    const held = { ...lease(), release: () => Promise.reject(new Error("x")) };
    await expect(new LeaseKeeper(held, clock, TTL, 0).release()).resolves.toBeUndefined();
  });

  test("a store without leases: ours for as long as this process lives", async () => {
    const clock = manualClock();
    const keeper = new LeaseKeeper(undefined, clock, TTL, clock.monotonic());
    await clock.advance(100 * TTL);
    expect(keeper.isOurs).toBe(true);
    await keeper.release();
    expect(keeper.isOurs).toBe(false);
  });
});
