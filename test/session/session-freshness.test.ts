// The times of a session: DESIGN 7, requirements, S-036.
import { beforeEach, describe, expect, test } from "vitest";
import type { ExportedTokens, WarehouseDefinition } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import type { RefreshOptions } from "../../src/session/refresh-policy.ts";
import type { SessionRecord } from "../../src/session/record.ts";
import { SessionFreshness, isRenewable } from "../../src/session/session-freshness.ts";
import type { SessionEntry } from "../../src/session/session-entry.ts";
import { DAY, HOUR, MINUTE, acmeServer, entryOf } from "./acme-room.ts";

let clock: ManualClock;
const MIDDLE = "80000000";

beforeEach(() => {
  clock = manualClock();
});

function freshness(options: RefreshOptions = {}, hash = MIDDLE, shared = true): SessionFreshness {
  return new SessionFreshness(clock, options, () => hash, shared);
}

function recordOf({ record }: SessionEntry): SessionRecord {
  if (record === undefined) throw new Error("no record");
  return record;
}

function session(
  changes: Partial<ExportedTokens> = {},
  definition: Partial<WarehouseDefinition<object>> = {},
  record: Partial<SessionRecord> = {},
): SessionEntry {
  const server = acmeServer(clock, definition);
  const entry = entryOf(server.client, server.tokens(changes));
  entry.record = { ...recordOf(entry), ...record };
  const { staleAt, expiredAt } = freshness().of(entry, server.tokens(changes));
  Object.assign(entry, { staleAt, expiredAt, quickFrom: (changes.obtainedAt ?? clock.now()) - 300_000 });
  return entry;
}

const forever = (): Partial<ExportedTokens> => ({ expiresAt: undefined }) as never;

describe("R-01 the spread of a fleet", () => {
  test.each([
    ["00000000", 1],
    ["ffffffff", -1],
    ["80000000", 0],
    ["40000000", 0.5],
  ])("hash %s", (hash, earlier) => {
    const entry = session();
    entry.spreadStep = undefined;
    const { staleAt } = freshness({}, hash).of(entry, acmeServer(clock).tokens());
    // A tenth of the lead of 120 s, to either side.
    expect((staleAt - clock.now() - 480_000) / 12_000).toBeCloseTo(earlier, 5);
  });

  test("the session's own key is hashed, once, and no more than 8 digits count", () => {
    const asked: string[] = [];
    const hash = (text: string): string => {
      asked.push(text);
      return "ffffffff00000000";
    };
    const entry = session();
    entry.spreadStep = undefined;
    const times = new SessionFreshness(clock, {}, hash, true);
    times.of(entry, acmeServer(clock).tokens());
    times.of(entry, acmeServer(clock).tokens());
    expect(asked).toEqual([entry.localKey]);
  });

  test("the application's lead", () => {
    expect(
      freshness({ leadTimeMs: MINUTE }).of(session(), acmeServer(clock).tokens()).staleAt - clock.now(),
    ).toBeCloseTo(540_000, -1);
  });
});

describe("copies", () => {
  test("30 s, 1 s where rotation voids, for ever where nobody else writes", () => {
    expect(freshness().copyAgeMs(session())).toBe(30_000);
    const voiding = session({}, { rotationVoidsAccessTokens: true, refreshRotation: "single-use" });
    expect(freshness().copyAgeMs(voiding)).toBe(1_000);
    expect(freshness({}, MIDDLE, false).copyAgeMs(voiding)).toBe(Infinity);
  });
});

describe("rotation that voids access tokens", () => {
  const due = (definition: Partial<WarehouseDefinition<object>>, record: Partial<SessionRecord> = {}) =>
    freshness().dueAtOf(session({}, definition, record)) !== undefined;

  test("declared, or learned; a warehouse of unknown rotation is asked proactively until it rotates", () => {
    const voids = { rotationVoidsAccessTokens: true };
    expect(due({ ...voids, refreshRotation: "single-use" })).toBe(false);
    expect(due({ ...voids, refreshRotation: "rotates" })).toBe(false);
    expect(due({ ...voids, refreshRotation: "unknown" })).toBe(true);
    expect(due({ ...voids, refreshRotation: "unknown" }, { rotates: true })).toBe(false);
    expect(due({ ...voids, refreshRotation: "none" })).toBe(true);
    expect(due({ rotationVoidsAccessTokens: false, refreshRotation: "single-use" })).toBe(true);
  });

  test("a session that obtains anew has no refresh that could void anything", () => {
    const entry = session({}, { rotationVoidsAccessTokens: true, refreshRotation: "single-use" });
    entry.obtain = () => Promise.reject(new Error("x"));
    expect(freshness().dueAtOf(entry)).toBeDefined();
  });
});

describe("R-02 zones", () => {
  test.each([
    [0, "fresh"],
    [479_999, "fresh"],
    [480_001, "stale"],
    [569_999, "stale"],
    [570_000, "expired"],
    [700_000, "expired"],
  ])("after %d ms: %s", async (afterMs, zone) => {
    const entry = session();
    await clock.advance(afterMs);
    expect(freshness().zoneOf(entry)).toBe(zone);
  });

  test("nothing is expired, and unknown lifetimes never are", async () => {
    expect(freshness().zoneOf(entryOf(acmeServer(clock).client))).toBe("expired");
    const entry = session(forever());
    await clock.advance(HOUR - 1);
    expect(freshness().zoneOf(entry)).toBe("fresh");
    expect(freshness().zoneOf(entry, 10 * HOUR)).toBe("fresh");
    await clock.advance(1);
    expect(freshness().zoneOf(entry)).toBe("stale");
    await clock.advance(1_000 * DAY);
    expect(freshness().zoneOf(entry)).toBe("stale");
  });

  test.each([
    [200_000, 400_000, "fresh"],
    [200_000, 400_001, "expired"],
    [300_000, 300_000, "fresh"],
    [300_000, 300_001, "expired"],
    [HOUR, 300_000, "fresh"],
    [HOUR, 300_001, "expired"],
    [0, 470_000, "fresh"],
    [-1, 470_000, "fresh"],
    [NaN, 470_000, "fresh"],
  ])("minRemainingMs %d after %d ms: %s", async (minRemainingMs, afterMs, zone) => {
    const entry = session();
    await clock.advance(afterMs);
    expect(freshness().zoneOf(entry, minRemainingMs)).toBe(zone);
  });

  test.each([
    [300_000, "fresh"],
    [300_001, "stale"],
  ])("R-08 obtained %d ms in the future: %s", (aheadMs, zone) => {
    const entry = session({ obtainedAt: clock.now() + aheadMs, expiresAt: clock.now() + DAY });
    expect(freshness().zoneOf(entry)).toBe(zone);
  });
});

describe("R-03 better than an error", () => {
  test("good to its very end, margin or not", async () => {
    const entry = session();
    await clock.advance(599_999);
    expect(freshness().isStillGood(entry)).toBe(true);
    await clock.advance(1);
    expect(freshness().isStillGood(entry)).toBe(false);
  });

  test("but not below what the warehouse refuses", async () => {
    const entry = session({}, { refusedBelowMs: 40_000 });
    await clock.advance(559_999);
    expect(freshness().isStillGood(entry)).toBe(true);
    await clock.advance(1);
    expect(freshness().isStillGood(entry)).toBe(false);
  });

  test("not a token that was refused, and not none", () => {
    const entry = session();
    entry.rejectedToken = "access-0";
    expect(freshness().isStillGood(entry)).toBe(false);
    entry.rejectedToken = "another";
    expect(freshness().isStillGood(entry)).toBe(true);
    expect(freshness().isStillGood(entryOf(acmeServer(clock).client))).toBe(false);
  });

  test("of unknown end: good", () => {
    expect(freshness().isStillGood(session(forever()))).toBe(true);
  });
});

describe("when a session is due", () => {
  test("at the start of stale", () => {
    expect((freshness().dueAtOf(session()) ?? 0) - clock.now()).toBeCloseTo(480_000, -1);
  });

  test("never: without tokens, without a way to renew, dead, in flight, of unknown lifetime", () => {
    const never = (entry: SessionEntry): void => {
      expect(freshness().dueAtOf(entry)).toBeUndefined();
    };
    never(entryOf(acmeServer(clock).client));
    never(session({ refreshToken: undefined } as never));
    never(session({}, {}, { state: "reauthorization_required" }));
    never(session({}, {}, { state: "revoked" }));
    never(session(forever()));
    const flying = session();
    flying.flight = {} as never;
    never(flying);
  });

  test("with a function instead of a refresh token", () => {
    const entry = session({ refreshToken: undefined } as never);
    entry.obtain = () => Promise.reject(new Error("x"));
    expect(freshness().dueAtOf(entry)).toBeDefined();
    expect(isRenewable(entry)).toBe(true);
  });

  test("after a failure, not before it may be tried again; when nobody can help, never", async () => {
    await clock.advance(HOUR); // the monotonic clock begins anywhere
    const entry = session();
    const now = clock.now();
    entry.trouble = { error: undefined, failures: 1, retryAt: clock.monotonic() + 5 };
    expect(freshness().dueAtOf(entry)).toBeGreaterThan(now + 400_000);
    entry.trouble = { error: undefined, failures: 1, retryAt: clock.monotonic() + 500_000 };
    expect(freshness().dueAtOf(entry)).toBe(now + 500_000);
    entry.trouble = { error: undefined, failures: 1, retryAt: Infinity };
    expect(freshness().dueAtOf(entry)).toBeUndefined();
  });

  test.each([-50 * 365 * DAY, -HOUR, HOUR, 10 * 365 * DAY])(
    "R-60 a pause after a failure is no longer for a clock that jumped by %d",
    (byMs) => {
      const entry = session();
      entry.trouble = { error: undefined, failures: 1, retryAt: clock.monotonic() + 500_000 };
      clock.jump(byMs);
      expect((freshness().dueAtOf(entry) ?? 0) - clock.now()).toBeLessThanOrEqual(500_000);
      expect((freshness().dueAtOf(entry) ?? 0) - clock.now()).toBeGreaterThan(byMs > 0 ? 0 : 400_000);
    },
  );

  test("R-08 obtained in the future: now", () => {
    const entry = session();
    clock.jump(-HOUR);
    expect(freshness().dueAtOf(entry)).toBe(clock.now());
  });
});

describe("keepAlive", () => {
  const withEnd = (definition: Partial<WarehouseDefinition<object>>) =>
    session({ refreshExpiresAt: clock.now() + 10 * DAY }, definition);

  test("only where asked for, known, and of use", () => {
    const keep = freshness({ keepAlive: true });
    expect(keep.keepAliveAt(withEnd({ refreshExtends: "on-use" }))).toBe(clock.now() + 9 * DAY);
    expect(keep.keepAliveAt(withEnd({ refreshExtends: "on-rotation" }))).toBe(clock.now() + 9 * DAY);
    expect(keep.keepAliveAt(withEnd({ refreshExtends: "never" }))).toBeUndefined();
    expect(keep.keepAliveAt(withEnd({}))).toBeUndefined();
    expect(keep.keepAliveAt(session({}, { refreshExtends: "on-use" }))).toBeUndefined();
    expect(keep.keepAliveAt(entryOf(acmeServer(clock, { refreshExtends: "on-use" }).client))).toBeUndefined();
    expect(freshness().keepAliveAt(withEnd({ refreshExtends: "on-use" }))).toBeUndefined();
    expect(freshness({ keepAlive: false }).keepAliveAt(withEnd({ refreshExtends: "on-use" }))).toBeUndefined();
  });

  test("R-07 not one that nobody can renew: it would never leave memory", () => {
    const keep = freshness({ keepAlive: true });
    const end = { refreshExpiresAt: clock.now() + 10 * DAY };
    const postponed = { refreshExtends: "on-use" } as const;
    expect(keep.keepAliveAt(session(end, postponed, { state: "reauthorization_required" }))).toBeUndefined();
    expect(keep.keepAliveAt(session(end, postponed, { state: "revoked" }))).toBeUndefined();
    expect(keep.keepAliveAt(session({ ...end, refreshToken: undefined } as never, postponed))).toBeUndefined();
  });

  const voids = {
    refreshExtends: "on-rotation",
    refreshRotation: "single-use",
    rotationVoidsAccessTokens: true,
  } as const;

  test.each([
    ["where rotation voids access tokens", voids, {}],
    ["where nobody knows the lifetime", { refreshExtends: "on-use" }, forever()],
  ] as const)("R-07 %s it is the only time when a session is due, here and for the store", (_, definition, tokens) => {
    const entry = session({ refreshExpiresAt: clock.now() + 10 * DAY, ...tokens }, definition);
    const keep = freshness({ keepAlive: true });
    expect(keep.dueAtOf(entry)).toBe(clock.now() + 9 * DAY);
    expect(keep.storedTimes(entry, recordOf(entry)).dueAt).toBe(clock.now() + 9 * DAY);
    expect(freshness().dueAtOf(entry)).toBeUndefined();
    expect(freshness().storedTimes(entry, recordOf(entry))).not.toHaveProperty("dueAt");
  });

  test("R-07 what is about to be written counts for the store, not what is known", () => {
    const entry = session({}, voids);
    const { tokens } = recordOf(session({ refreshExpiresAt: clock.now() + 10 * DAY }, voids));
    const written = { ...recordOf(entry), tokens };
    expect(freshness({ keepAlive: true }).storedTimes(entry, written).dueAt).toBe(clock.now() + 9 * DAY);
  });
});

describe("what a store is told", () => {
  const timesOf = (entry: SessionEntry) => freshness().storedTimes(entry, recordOf(entry));

  test("due, and kept until a day after the refresh token's end", () => {
    const times = timesOf(session({ refreshExpiresAt: clock.now() + 5 * DAY }));
    expect(times.dueAt).toBeCloseTo(clock.now() + 480_000, -1);
    expect(times.deleteAfter).toBe(clock.now() + 6 * DAY);
  });

  test("without an end of the refresh token: kept for ever", () => {
    expect(Object.keys(timesOf(session()))).toEqual(["dueAt"]);
  });

  test("without a refresh token: not due, and of no use a day after its end", () => {
    expect(timesOf(session({ refreshToken: undefined } as never))).toEqual({
      deleteAfter: clock.now() + 600_000 + DAY,
    });
  });

  test("without a refresh token, where no person is needed: due", () => {
    const entry = session({ refreshToken: undefined } as never);
    entry.obtain = () => Promise.reject(new Error("not asked here"));
    expect(timesOf(entry).dueAt).toBeCloseTo(clock.now() + 480_000, -1);
  });

  test("a refresh token that has ended is kept another day, not dropped at once", () => {
    expect(timesOf(session({ refreshExpiresAt: clock.now() - 5 * DAY })).deleteAfter).toBe(clock.now() + DAY);
  });

  test("dead: not due", () => {
    expect(timesOf(session({}, {}, { state: "reauthorization_required" }))).toEqual({});
  });

  test("a tombstone is kept for a day, longer than any lease", () => {
    expect(timesOf(session({}, {}, { state: "revoked", tokens: undefined }))).toEqual({
      deleteAfter: clock.now() + DAY,
    });
    expect(timesOf(session({}, {}, { tokens: undefined }))).toEqual({ deleteAfter: clock.now() + DAY });
  });
});

describe("endings", () => {
  test("the absolute end counts from the login", () => {
    const entry = session({}, { absoluteSessionLifetimeMs: 8 * HOUR });
    expect(freshness().absoluteEndOf(entry)).toBe(clock.now() + 8 * HOUR);
    expect(freshness().absoluteEndOf(session())).toBeUndefined();
    expect(
      freshness().absoluteEndOf(entryOf(acmeServer(clock, { absoluteSessionLifetimeMs: HOUR }).client)),
    ).toBeUndefined();
  });

  test("said when a tenth is left, not before", async () => {
    const entry = session({ refreshExpiresAt: clock.now() + 10 * DAY }, { absoluteSessionLifetimeMs: 20 * DAY });
    const start = clock.now();
    expect(freshness().endingsOf(entry)).toEqual([]);
    await clock.advance(9 * DAY - 1);
    expect(freshness().endingsOf(entry)).toEqual([]);
    await clock.advance(1);
    expect(freshness().endingsOf(entry)).toEqual([{ what: "refresh_token", endsAt: start + 10 * DAY }]);
    await clock.advance(9 * DAY);
    expect(
      freshness()
        .endingsOf(entry)
        .map(({ what }) => what),
    ).toEqual(["refresh_token", "absolute_session"]);
  });

  test("where the end was assumed, the life began that long before it, but not before the login", async () => {
    const definition = { refreshTokenLifetimeMs: 20 * DAY, refreshExtends: "on-rotation" } as const;
    const end = { refreshExpiresAt: clock.now() + 10 * DAY, refreshExpiresAssumed: true };
    const prolonged = session(end, definition, { loginAt: clock.now() - 15 * DAY });
    const young = session(end, definition, { loginAt: clock.now() - 5 * DAY });
    const saidOf = (entry: SessionEntry): number => freshness().endingsOf(entry).length;
    // A tenth of 15 days.
    await clock.advance(8.5 * DAY - 1);
    expect([saidOf(prolonged), saidOf(young)]).toEqual([1, 0]);
    await clock.advance(1);
    expect(saidOf(young)).toBe(1);
    const began = session({ ...end, obtainedAt: clock.now() }, definition, { loginAt: clock.now() - 30 * DAY });
    expect(saidOf(began)).toBe(1);
  });

  test.each([
    ["stands still, counted down in whole seconds", 900, 1],
    ["stands still, counted down in whole seconds", -900, 1],
    ["moves with the time", HOUR, 0],
    ["moves with the time, not all the way", 0.6 * HOUR, 0],
  ])("S-073 an end that %s (by %d ms)", async (_, movedMs, told) => {
    const first = { refreshExpiresAt: clock.now() + 10 * DAY };
    const before = recordOf(session(first)).tokens;
    const loginAt = clock.now() - 9 * 10 * DAY;
    await clock.advance(HOUR);
    const next = session({ refreshExpiresAt: first.refreshExpiresAt + movedMs }, {}, { loginAt });
    // A tenth of a hundred days, at most seven: near, if the refresh token began its life with the login.
    await clock.advance(4 * DAY);
    expect(freshness().endingsOf(next, before)).toHaveLength(told);
  });

  test("nothing ends without tokens", () => {
    expect(freshness().endingsOf(entryOf(acmeServer(clock).client))).toEqual([]);
  });
});

test("idle after an hour, or as configured", () => {
  expect(freshness().idleMs).toBe(HOUR);
  expect(freshness({ idleMs: 5 }).idleMs).toBe(5);
});
