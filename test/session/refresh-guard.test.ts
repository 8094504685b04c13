// A session that is refreshed more often than its lifetime explains: DESIGN 7, requirement R-06.
import { beforeEach, describe, expect, test } from "vitest";
import { RateLimitError } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { RefreshGuard } from "../../src/session/refresh-guard.ts";
import type { SessionEntry } from "../../src/session/session-entry.ts";
import { HOUR, MINUTE, acmeServer, entryOf } from "./acme-room.ts";

let clock: ManualClock;

beforeEach(() => {
  clock = manualClock();
});

function session(lifetimeMs: number): SessionEntry {
  const server = acmeServer(clock);
  const tokens = server.tokens({ expiresAt: clock.now() + lifetimeMs });
  const entry = entryOf(server.client, tokens);
  entry.staleAt = tokens.obtainedAt + 0.8 * lifetimeMs;
  return entry;
}

/** How many refreshes pass in a row. */
function passing(guard: RefreshGuard, entry: SessionEntry): number {
  let passed = 0;
  while (passed < 100_000 && guard.check(entry) === undefined) {
    guard.count(entry);
    passed += 1;
  }
  return passed;
}

describe("RefreshGuard", () => {
  test.each([
    [HOUR, undefined, 10],
    [600_000, undefined, 15],
    [60_000, undefined, 150],
    [0, undefined, 7_200],
    [HOUR, 3, 3],
    [60_000, 1, 1],
    [0, 100, 100],
  ])("%d ms of life, option %s: %d in a row", (lifetimeMs, option, expected) => {
    expect(passing(new RefreshGuard(clock, option), session(lifetimeMs))).toBe(expected);
  });

  test("a session that was never read has ten", () => {
    expect(passing(new RefreshGuard(clock, undefined), entryOf(acmeServer(clock).client))).toBe(10);
  });

  test("says when the next may be, in whole milliseconds", async () => {
    const guard = new RefreshGuard(clock, 10);
    const entry = session(HOUR);
    passing(guard, entry);
    expect(guard.check(entry)).toBeInstanceOf(RateLimitError);
    expect(guard.check(entry)).toMatchObject({ code: "refresh_limit_reached", retryAfterMs: 6 * MINUTE });
    expect(guard.check(entry)?.message).toContain("10 times");
    await clock.advance(6 * MINUTE - 1);
    expect([1, 2]).toContain(guard.check(entry)?.retryAfterMs);
    await clock.advance(1);
    expect(guard.check(entry)).toBeUndefined();
    guard.count(entry);
    expect(guard.check(entry)).toBeDefined();
  });

  test("fills over an hour, and no further", async () => {
    const guard = new RefreshGuard(clock, 10);
    const entry = session(HOUR);
    passing(guard, entry);
    await clock.advance(HOUR / 2);
    expect(passing(guard, entry)).toBe(5);
    await clock.advance(10 * HOUR);
    expect(passing(guard, entry)).toBe(10);
  });

  test("counts by the monotonic clock", () => {
    const guard = new RefreshGuard(clock, 10);
    const entry = session(HOUR);
    passing(guard, entry);
    clock.jump(10 * HOUR);
    expect(guard.check(entry)).toBeDefined();
  });

  test("looking costs nothing", () => {
    const guard = new RefreshGuard(clock, 2);
    const entry = session(HOUR);
    for (let look = 0; look < 20; look++) guard.check(entry);
    expect(passing(guard, entry)).toBe(2);
  });

  test("each session has its own", () => {
    const guard = new RefreshGuard(clock, 2);
    expect(passing(guard, session(HOUR))).toBe(2);
    expect(passing(guard, session(HOUR))).toBe(2);
  });
});
