// When a token is fresh, stale, expired and due: DESIGN 7, requirements, S-035, S-036.
import { describe, expect, test } from "vitest";
import {
  MIN_SCHEDULED_LIFETIME_MS,
  expiringFrom,
  freshnessOf,
  hardMarginOf,
  maxRefreshesPerHour,
} from "../../src/session/refresh-policy.ts";
import type { Freshness, RefreshOptions } from "../../src/session/refresh-policy.ts";
import { DAY, HOUR, MINUTE, SECOND } from "./acme-room.ts";

const FACTS = { hardMarginMs: 30_000, refusedBelowMs: 0 };
const AT = 1_000_000;

function zones(
  lifetimeMs: number | undefined,
  changes: {
    readonly facts?: typeof FACTS;
    readonly leadTimeMs?: RefreshOptions["leadTimeMs"];
    readonly spread?: number;
    readonly rotationVoids?: boolean;
  } = {},
): Freshness {
  const { facts = FACTS, leadTimeMs, spread = 0, rotationVoids = false } = changes;
  const times = { obtainedAt: AT, expiresAt: lifetimeMs === undefined ? undefined : AT + lifetimeMs };
  const { staleAt, expiredAt, dueAt } = freshnessOf(times, facts, { leadTimeMs, spread, rotationVoids });
  return { staleAt: staleAt - AT, expiredAt: expiredAt - AT, dueAt: dueAt === undefined ? undefined : dueAt - AT };
}

describe("R-01 the defaults of DESIGN 7", () => {
  test.each([
    [3600 * SECOND, 600 * SECOND],
    [600 * SECOND, 120 * SECOND],
    [60 * SECOND, 12 * SECOND],
    [2999 * SECOND, 599.8 * SECOND],
    [3000 * SECOND, 600 * SECOND],
    [3001 * SECOND, 600 * SECOND],
  ])("%d ms of life are refreshed with %d left", (lifetimeMs, leftMs) => {
    expect(zones(lifetimeMs).staleAt).toBeCloseTo(lifetimeMs - leftMs, 3);
    expect(zones(lifetimeMs).dueAt).toBe(zones(lifetimeMs).staleAt);
  });

  test.each([-1, -0.5, 0, 0.5, 1])("the lead is spread by a tenth: %d", (spread) => {
    expect(zones(HOUR, { spread }).staleAt).toBeCloseTo(HOUR - 600_000 * (1 + 0.1 * spread), 3);
  });

  test.each([
    [HOUR, 30_000],
    [300_000, 30_000],
    [299_999, 29_999.9],
    [60_000, 6_000],
    [10, 1],
    [0, 0],
  ])("%d ms of life end with %d in hand", (lifetimeMs, marginMs) => {
    expect(hardMarginOf(lifetimeMs, FACTS)).toBeCloseTo(marginMs, 6);
    expect(zones(lifetimeMs).expiredAt).toBeCloseTo(lifetimeMs - marginMs, 6);
  });

  test("the margin never goes under what the warehouse refuses", () => {
    const azure = { hardMarginMs: 60_000, refusedBelowMs: 40_000 };
    expect(hardMarginOf(HOUR, azure)).toBe(60_000);
    expect(hardMarginOf(600_000, azure)).toBe(60_000);
    expect(hardMarginOf(401_000, azure)).toBeCloseTo(40_100, 6);
    expect(hardMarginOf(399_000, azure)).toBe(40_000);
    expect(hardMarginOf(10_000, azure)).toBe(40_000);
  });

  test("the lead is never shorter than the margin", () => {
    const facts = { hardMarginMs: 60_000, refusedBelowMs: 50_000 };
    expect(zones(100 * SECOND, { facts })).toEqual({ staleAt: 50_000, expiredAt: 50_000, dueAt: 50_000 });
    expect(zones(HOUR, { leadTimeMs: 0 }).staleAt).toBe(HOUR - 30_000);
  });

  test("a lead of the application's own, as number and as function", () => {
    expect(zones(HOUR, { leadTimeMs: 5 * MINUTE }).staleAt).toBe(55 * MINUTE);
    expect(zones(HOUR, { leadTimeMs: (lifetimeMs) => lifetimeMs / 2 }).staleAt).toBe(30 * MINUTE);
    expect(zones(HOUR, { leadTimeMs: 5 * MINUTE, spread: 1 }).staleAt).toBe(54.5 * MINUTE);
  });

  test.each([NaN, -1, Infinity, -Infinity])("a lead of %d is the default", (leadTimeMs) => {
    expect(zones(HOUR, { leadTimeMs: () => leadTimeMs }).staleAt).toBe(50 * MINUTE);
    expect(zones(HOUR, { leadTimeMs }).staleAt).toBe(50 * MINUTE);
  });

  test("a lead as long as the life leaves a quarter of it in peace (R-06)", () => {
    expect(zones(HOUR, { leadTimeMs: 2 * HOUR })).toMatchObject({ staleAt: 15 * MINUTE, dueAt: 15 * MINUTE });
  });
});

describe("rotation that voids access tokens", () => {
  test("no stale zone, nothing due, used to the margin", () => {
    expect(zones(600_000, { rotationVoids: true })).toEqual({ staleAt: 570_000, expiredAt: 570_000, dueAt: undefined });
  });
});

describe("S-035 lifetimes that are none, odd or absurd", () => {
  test("unknown: stale after an hour, never expired, never due", () => {
    expect(zones(undefined)).toEqual({ staleAt: HOUR, expiredAt: Infinity, dueAt: undefined });
  });

  test.each([0, 1, 1_000, 1_999])("R-06 %d ms are refreshed when asked for, never by themselves", (lifetimeMs) => {
    expect(zones(lifetimeMs).dueAt).toBeUndefined();
    expect(zones(lifetimeMs).expiredAt).toBeLessThanOrEqual(lifetimeMs);
  });

  test("2 s are the first that are scheduled, and not within a second", () => {
    expect(MIN_SCHEDULED_LIFETIME_MS).toBe(2_000);
    expect(zones(2_000)).toEqual({ staleAt: 1_600, expiredAt: 1_800, dueAt: 1_600 });
    expect(zones(2_000, { leadTimeMs: 2_000 }).dueAt).toBe(1_000);
  });

  test("an end before the beginning counts as no life at all", () => {
    expect(zones(-5_000)).toMatchObject({ expiredAt: -5_000, dueAt: undefined });
    expect(hardMarginOf(0, FACTS)).toBe(0);
  });

  test.each([
    [DAY - 1, DAY - 1 - 600_000],
    [DAY, DAY - 600_000],
    [DAY + 1, DAY - 600_000],
    [30 * DAY, DAY - 600_000],
    [3650 * DAY, DAY - 600_000],
  ])("a life of %d ms is kept as told and refreshed within a day", (lifetimeMs, staleAt) => {
    expect(zones(lifetimeMs)).toEqual({ staleAt, expiredAt: lifetimeMs - 30_000, dueAt: staleAt });
  });

  test("R-06 never due within a second or a quarter of the life, whatever margin, lead and spread", () => {
    for (const lifetimeMs of [2_000, 3_000, 5_000, 30_000, 40_000, 42_000, 59_000, 60_000, 600_000, HOUR, 40 * DAY]) {
      for (const refusedBelowMs of [0, 5_000, 40_000, 100_000]) {
        for (const leadTimeMs of [undefined, 0, 1_000, HOUR, 100 * DAY]) {
          for (const spread of [-1, 0, 1]) {
            const facts = { hardMarginMs: 60_000, refusedBelowMs };
            const { dueAt = Infinity } = zones(lifetimeMs, { facts, leadTimeMs, spread });
            expect(dueAt).toBeGreaterThanOrEqual(Math.max(1_000, Math.min(lifetimeMs, DAY) / 4));
          }
        }
      }
    }
  });
});

describe("the guard explains refreshes by how long a token is used", () => {
  test.each([
    [Infinity, 10],
    [HOUR, 10],
    [720_000, 10],
    [719_000, 11],
    [480_000, 15],
    [48_000, 150],
    [1_000, 7_200],
    [0, 7_200],
    [-5, 7_200],
  ])("%s ms: %d an hour", (usedMs, expected) => {
    expect(maxRefreshesPerHour(usedMs)).toBe(expected);
  });
});

describe("what ends soon", () => {
  test.each([
    [10 * DAY, 9 * DAY],
    [70 * DAY, 63 * DAY],
    [90 * DAY, 83 * DAY],
    [0, 0],
  ])("a life of %d ms is near its end from %d", (lifeMs, from) => {
    expect(expiringFrom(AT, AT + lifeMs) - AT).toBe(from);
  });

  test("what ended before it began is over already", () => {
    expect(expiringFrom(AT, AT - 5)).toBe(AT - 5);
  });
});
