import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { backoffDelay, MAX_RETRY_AFTER_WAIT_MS, MIN_BACKOFF_MS, withRetryAfter } from "../../src/lib/backoff.ts";

const unit = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

/** The bounds of requirement R-30: base and cap for a failure that passes, seen from a waiting caller. */
const FOREGROUND = { baseMs: 500, capMs: 30_000 };

/** Random numbers that come back the same in every run (mulberry32). */
function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe("backoffDelay", () => {
  it("R-30 stays between the floor and min(cap, base * 2^attempt), and is that share of it", () => {
    const milliseconds = fc.integer({ min: 0, max: 600_000 });
    const attempt = fc.oneof(fc.nat(20), fc.nat(1_000_000));
    fc.assert(
      fc.property(attempt, milliseconds, milliseconds, unit, (tries, baseMs, capMs, drawn) => {
        const delayMs = backoffDelay(tries, { baseMs, capMs, random: () => drawn });
        const boundMs = baseMs === 0 ? 0 : Math.min(capMs, baseMs * 2 ** tries);
        expect(delayMs).toBeCloseTo(Math.max(MIN_BACKOFF_MS, drawn * boundMs), 3);
      }),
    );
  });

  it("R-30 doubles its bound from the base to the cap", () => {
    const bounds = [0, 1, 2, 5, 6, 7, 2000].map((attempt) => backoffDelay(attempt, { ...FOREGROUND, random: () => 1 }));
    expect(bounds).toEqual([500, 1000, 2000, 16_000, 30_000, 30_000, 30_000]);
  });

  it("R-30 never waits less than 50 ms", () => {
    expect(backoffDelay(3, { ...FOREGROUND, random: () => 0 })).toBe(50);
  });

  it("R-30 spreads 1000 clients evenly: full jitter, no wave", () => {
    const random = seededRandom(20_261_121);
    const tenths = new Array<number>(10).fill(0);
    for (let client = 0; client < 1000; client += 1) {
      const tenth = Math.floor(backoffDelay(6, { ...FOREGROUND, random }) / 3000);
      tenths[tenth] = (tenths[tenth] ?? 0) + 1;
    }
    // Mean 100, standard deviation 9.5: five of them either way.
    expect(Math.min(...tenths)).toBeGreaterThan(52);
    expect(Math.max(...tenths)).toBeLessThan(148);
  });
});

describe("withRetryAfter", () => {
  it("R-31 waits for the longer of backoff and hint, plus up to a tenth of the hint", () => {
    expect(withRetryAfter(500, 7000, () => 0)).toBe(7000);
    expect(withRetryAfter(500, 7000, () => 0.5)).toBe(7350);
    expect(withRetryAfter(9000, 7000, () => 0.5)).toBe(9350);
    expect(withRetryAfter(500, 0, () => 0.5)).toBe(500);
  });

  it("R-31 leaves the backoff alone without a hint, and draws nothing", () => {
    const random = (): number => {
      throw new Error("nothing to draw");
    };
    expect(withRetryAfter(500, undefined, random)).toBe(500);
  });

  it("R-31 does not wait for more than an hour of a hint", () => {
    expect(withRetryAfter(500, 1e12, () => 0)).toBe(MAX_RETRY_AFTER_WAIT_MS);
    expect(withRetryAfter(500, 1e12, () => 0.5)).toBe(MAX_RETRY_AFTER_WAIT_MS * 1.05);
  });

  it("R-31 never comes back before backoff and hint", () => {
    const wait = fc.integer({ min: 0, max: 10_000_000 });
    fc.assert(
      fc.property(wait, wait, unit, (delayMs, hintMs, drawn) => {
        const waitMs = withRetryAfter(delayMs, hintMs, () => drawn);
        const believedMs = Math.min(hintMs, 3_600_000);
        expect(waitMs).toBeGreaterThanOrEqual(Math.max(delayMs, believedMs));
        expect(waitMs).toBeLessThanOrEqual(Math.max(delayMs, believedMs) + 0.1 * believedMs);
      }),
    );
  });
});
