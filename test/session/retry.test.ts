// How failed attempts are repeated: requirements.
import { describe, expect, test } from "vitest";
import {
  ConfigurationError,
  RateLimitError,
  ReauthorizationRequiredError,
  StoreError,
  TokenEndpointError,
  TransportError,
} from "warehouse-oauth";
import { DEFAULT_RETRY, RetryBudget, backgroundDelay, foregroundDelay } from "../../src/session/retry.ts";
import type { RetryState } from "../../src/session/retry.ts";

const down = new TransportError("server_unavailable", "down");
const slow = new RateLimitError("rate_limited", "slow", 0);
const fatal = new TokenEndpointError("client_auth_failed", "no");
const hinted = (retryAfterMs: number): TransportError =>
  new TransportError("server_unavailable", "x", { retryAfterMs });

const FIRST: RetryState = { failures: 1, elapsedMs: 0, mayBeSpent: false, ambiguousSends: 0, ambiguousForMs: 0 };

const wait = (error: Parameters<typeof foregroundDelay>[0], state: Partial<RetryState> = {}, draw = 0.5) =>
  foregroundDelay(error, { ...FIRST, ...state }, DEFAULT_RETRY, () => draw);

const later = (error: Parameters<typeof backgroundDelay>[0], state: Partial<RetryState> = {}, draw = 0.5) =>
  backgroundDelay(error, { ...FIRST, ...state }, DEFAULT_RETRY, () => draw);

test("R-32 the defaults", () => {
  expect(DEFAULT_RETRY).toEqual({ maxAttempts: 4, totalMs: 15_000, baseDelayMs: 500, maxDelayMs: 30_000 });
});

describe("R-30, R-32 while a caller waits", () => {
  test.each([
    [1, 250],
    [2, 500],
    [3, 1_000],
    [4, undefined],
    [5, undefined],
  ])("after failure %d: %s ms", (failures, delayMs) => {
    expect(wait(down, { failures })).toBe(delayMs);
  });

  test.each([
    [0, 50],
    [0.1, 50],
    [0.5, 250],
    [0.999, 499.5],
  ])("R-30 full jitter: a draw of %d waits %d ms", (draw, delayMs) => {
    expect(wait(down, {}, draw)).toBe(delayMs);
  });

  test("R-30 too many requests begin at two seconds", () => {
    expect(wait(slow)).toBe(1_000);
    expect(wait(slow, { failures: 2 })).toBe(2_000);
  });

  test("the cap is that of the options", () => {
    const policy = { ...DEFAULT_RETRY, maxAttempts: 100, totalMs: 1e9 };
    expect(foregroundDelay(down, { ...FIRST, failures: 50 }, policy, () => 0.5)).toBe(15_000);
    expect(foregroundDelay(down, { ...FIRST, failures: 50 }, { ...policy, maxDelayMs: 100 }, () => 0.5)).toBe(50);
  });

  test("R-32 not beyond the time there is", () => {
    expect(wait(down, { elapsedMs: 14_750 })).toBe(250);
    expect(wait(down, { elapsedMs: 14_751 })).toBeUndefined();
  });

  test("R-31 as long as the server asked, and up to a tenth more", () => {
    expect(wait(hinted(7_000), {}, 0)).toBe(7_000);
    expect(wait(hinted(7_000), {}, 1)).toBe(7_700);
    expect(wait(hinted(15_001), {}, 0)).toBeUndefined();
    expect(wait(hinted(10), {}, 0.5)).toBe(250.5);
  });

  test.each([
    fatal,
    new ReauthorizationRequiredError("refresh_token_dead", "x"),
    new ConfigurationError("config_invalid", "x"),
  ])("what is not to be repeated is not: $code", (error) => {
    expect(wait(error)).toBeUndefined();
  });

  test.each([
    [0, 0, true],
    [2, 0, true],
    [3, 0, false],
    [1, 29_999, true],
    [1, 30_000, false],
  ])("R-21 sent %d times without an answer for %d ms: repeated is %s", (ambiguousSends, ambiguousForMs, repeated) => {
    const state = { mayBeSpent: true, ambiguousSends, ambiguousForMs };
    expect(wait(down, state) !== undefined).toBe(repeated);
    expect(wait(down, { ...state, mayBeSpent: false })).toBe(250);
  });
});

describe("R-32 when nobody waits", () => {
  test.each([
    [0, 250],
    [1, 250],
    [2, 500],
    [5, 4_000],
    [10, 128_000],
    [11, 150_000],
    [60, 150_000],
  ])("after failure %d: %d ms, and never given up", (failures, delayMs) => {
    expect(later(down, { failures })).toBe(delayMs);
  });

  test("R-30 the cap is five minutes, whatever the options of the foreground say", () => {
    expect(later(down, { failures: 60 }, 1)).toBe(300_000);
  });

  test("only a dead grant ends the trying (R-13)", () => {
    expect(later(new ReauthorizationRequiredError("rotation_lost", "x"))).toBeUndefined();
  });

  test("what will hardly get better is tried every few minutes", () => {
    expect(later(fatal, {}, 0)).toBe(150_000);
    expect(later(fatal, {}, 1)).toBe(300_000);
    expect(later(new StoreError("unknown_key", "x", "read"), {}, 0.5)).toBe(225_000);
  });

  test("a stranger's error is tried again soon", () => {
    expect(later(undefined)).toBe(250);
  });

  test("R-31 as long as the server asked; more than an hour is not believed", () => {
    expect(later(hinted(60_000), {}, 0)).toBe(60_000);
    expect(later(hinted(1e12), {}, 0)).toBe(3_600_000);
    expect(later(hinted(1e12), {}, 1)).toBe(3_960_000);
    expect(later(slow)).toBe(1_000);
  });

  test.each([
    [2, 29_999, 250],
    [3, 0, 225_000],
    [1, 30_000, 225_000],
  ])("R-21 a token that may be spent, sent %d times for %d ms: %d ms", (ambiguousSends, ambiguousForMs, delayMs) => {
    expect(later(down, { mayBeSpent: true, ambiguousSends, ambiguousForMs })).toBe(delayMs);
  });
});

describe("R-32 the budget of retries", () => {
  test("ten retries, then none", () => {
    const budget = new RetryBudget();
    expect(budget.full).toBe(true);
    for (let retry = 0; retry < 10; retry++) expect(budget.spend(down)).toBe(true);
    expect(budget.full).toBe(false);
    expect(budget.spend(down)).toBe(false);
    expect(budget.spend(slow)).toBe(false);
  });

  test("throttled ones cost half: twenty", () => {
    const budget = new RetryBudget();
    let retries = 0;
    while (budget.spend(slow)) retries++;
    expect(retries).toBe(20);
  });

  test("a success pays half of a retry, and fills it no further than full", () => {
    const budget = new RetryBudget();
    budget.refund();
    for (let retry = 0; retry < 10; retry++) budget.spend(down);
    budget.refund();
    expect(budget.spend(down)).toBe(false);
    expect(budget.spend(slow)).toBe(true);
    expect(budget.spend(slow)).toBe(false);
    budget.refund();
    budget.refund();
    expect(budget.spend(down)).toBe(true);
    expect(budget.spend(slow)).toBe(false);
    for (let success = 0; success < 19; success++) budget.refund();
    expect(budget.full).toBe(false);
    budget.refund();
    expect(budget.full).toBe(true);
  });
});
