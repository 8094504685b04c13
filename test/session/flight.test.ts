// What a caller who begins to wait changes for a refresh that nobody waited for: requirements.
import { describe, expect, test } from "vitest";
import { Flight } from "../../src/session/flight.ts";

/** A flight with a place in the line. */
function flying(foreground: boolean): { readonly flight: Flight; readonly calls: string[] } {
  const flight = new Flight("due", 1, foreground, 100);
  const calls: string[] = [];
  const granted = new Promise<never>(() => undefined);
  flight.waitsFor({ granted, promote: () => calls.push("place") });
  return { flight, calls };
}

describe("a flight", () => {
  test("R-11 begins with nothing sent, announced or lost", () => {
    const { sent, history, promise, bounded } = new Flight("expired", 3, true, 0);
    expect({ sent, promise, bounded }).toEqual({ sent: false, promise: undefined, bounded: undefined });
    expect(history).toEqual({
      failures: 0,
      ambiguousSends: 0,
      ambiguousSince: 0,
      announced: false,
      lostLease: false,
      rested: false,
      overslept: false,
      adoptions: 0,
    });
  });

  test("R-33 a caller that begins to wait moves its place up and has a time of its own; once", () => {
    const { flight, calls } = flying(false);
    flight.promote(500);
    expect(calls).toEqual(["place"]);
    expect(flight.foreground).toBe(true);
    expect(flight.startedAt).toBe(500);
    flight.promote(900);
    expect(calls).toHaveLength(1);
    expect(flight.startedAt).toBe(500);
  });

  test("R-40 one that a caller waits for already is left alone", () => {
    const { flight, calls } = flying(true);
    flight.promote(500);
    expect(calls).toEqual([]);
    expect(flight.startedAt).toBe(100);
  });

  test("R-33 one that stands in line no more is only waited for", () => {
    const { flight, calls } = flying(false);
    flight.waitsFor(undefined);
    flight.promote(500);
    expect(calls).toEqual([]);
    expect(flight.foreground).toBe(true);
  });
});
