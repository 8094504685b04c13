import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MAX_RETRY_AFTER_MS, parseRetryAfter } from "../../src/lib/retry-after.ts";

const NOW = Date.UTC(2026, 10, 21, 12, 0, 0);
const DAY_NAMES = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/** Writes the three forms of an HTTP date: IMF-fixdate, RFC 850, asctime. */
function formsOf(at: number): [imf: string, rfc850: string, asctime: string] {
  const imf = new Date(at).toUTCString();
  const [, date = "", month = "", year = "", time = ""] = imf.split(" ");
  const day = DAY_NAMES[new Date(at).getUTCDay()] ?? "";
  const spaced = date.startsWith("0") ? ` ${date.slice(1)}` : date;
  return [
    imf,
    `${day}, ${date}-${month}-${year.slice(2)} ${time} GMT`,
    `${day.slice(0, 3)} ${month} ${spaced} ${time} ${year}`,
  ];
}

describe("parseRetryAfter", () => {
  it.each([
    ["0", 0],
    ["7", 7000],
    ["007", 7000],
    ["120", 120_000],
    ["1000000000", 1_000_000_000_000],
    ["2147483648", MAX_RETRY_AFTER_MS],
    ["99999999999999999999", MAX_RETRY_AFTER_MS],
    ["9".repeat(400), MAX_RETRY_AFTER_MS],
  ])("R-31 reads %s as whole seconds", (value, expected) => {
    expect(parseRetryAfter(value, { now: NOW })).toBe(expected);
  });

  it.each([
    ...["", " ", "-1", "+1", "1.5", "1.0", "abc", "1e3", "0x10", "1_000", "7, 7", "7,7", "7 7", " 7", "7 ", "7\n", "٣"],
    ...["NaN", "Infinity", "null", "soon", "GMT", "2026-11-21T13:00:00Z", "Nov 21 2026"],
    // Not one of the three forms.
    "Sat, 21 Nov 2026 13:00:00",
    "Sat, 21 Nov 2026 13:00:00 UTC",
    "Sat, 21 Nov 2026 13:00:00 +0000",
    "sat, 21 nov 2026 13:00:00 gmt",
    "SAT, 21 NOV 2026 13:00:00 GMT",
    "Sat, 1 Dec 2026 13:00:00 GMT",
    "Sat,  5 Dec 2026 13:00:00 GMT",
    "Sat, 21  Nov 2026 13:00:00 GMT",
    "21 Nov 2026 13:00:00 GMT",
    "Sat, 21 Nov 26 13:00:00 GMT",
    "Saturday, 21 Nov 2026 13:00:00 GMT",
    "Sat, 21-Nov-26 13:00:00 GMT",
    "Sunnesday, 22-Nov-26 13:00:00 GMT",
    "Sat Nov 21 13:00:00 2026 GMT",
    "Sat Nov 21 2026 13:00:00",
    "Sat, 21 Nov 2026 13:00:00 GMT, Sat, 21 Nov 2026 13:00:00 GMT",
    // No such day, no such time.
    "Sun, 21 Nov 2026 13:00:00 GMT",
    "Sunday, 21-Nov-26 13:00:00 GMT",
    "Sat, 00 Nov 2026 13:00:00 GMT",
    "Sun, 99 Nov 2026 13:00:00 GMT",
    "Tue, 31 Nov 2026 13:00:00 GMT",
    "Mon, 29 Feb 2027 13:00:00 GMT",
    "Sat, 21 Nox 2026 13:00:00 GMT",
    "Sat, 21 Nov 2026 24:00:00 GMT",
    "Sat, 21 Nov 2026 13:60:00 GMT",
    "Sat, 21 Nov 2026 13:00:61 GMT",
    // Passed.
    "Sat, 21 Nov 2026 11:59:59 GMT",
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
    "Sun, 06 Nov 0094 08:49:37 GMT",
  ])("R-31 ignores %j", (value) => {
    expect(parseRetryAfter(value, { now: NOW })).toBeUndefined();
  });

  it.each([null, undefined])("R-31 ignores a header that is not there (%s)", (value) => {
    expect(parseRetryAfter(value, { now: NOW })).toBeUndefined();
  });

  it.each(["Sat, 21 Nov 2026 12:01:30 GMT", "Saturday, 21-Nov-26 12:01:30 GMT", "Sat Nov 21 12:01:30 2026"])(
    "R-31 reads the date %s",
    (value) => {
      expect(parseRetryAfter(value, { now: NOW })).toBe(90_000);
    },
  );

  it("R-31 reads asctime's day of one digit, a leap second and a leap day", () => {
    expect(parseRetryAfter("Tue Dec  1 12:00:00 2026", { now: NOW })).toBe(10 * 86_400_000);
    expect(parseRetryAfter("Sat, 21 Nov 2026 12:00:60 GMT", { now: NOW })).toBe(60_000);
    expect(parseRetryAfter("Tue, 29 Feb 2028 00:00:00 GMT", { now: Date.UTC(2028, 1, 28) })).toBe(86_400_000);
  });

  it("R-31 measures a date from the response's own Date header, in any form", () => {
    const hourBehind = NOW - 3_600_000;
    const [retryAt] = formsOf(hourBehind + 30_000);
    for (const date of formsOf(hourBehind)) expect(parseRetryAfter(retryAt, { now: NOW, date })).toBe(30_000);
    expect(parseRetryAfter(retryAt, { now: NOW })).toBeUndefined();
    expect(parseRetryAfter("30", { now: NOW, date: formsOf(hourBehind)[0] })).toBe(30_000);
  });

  it.each([undefined, null, "", "yesterday", "Sun, 06 Nov 0094 08:49:37 GMT"])(
    "R-31 measures from our clock when the Date header is %j",
    (date) => {
      expect(parseRetryAfter("Sat, 21 Nov 2026 12:01:30 GMT", { now: NOW, date })).toBe(90_000);
    },
  );

  it("R-31 reads a date that is now as no wait", () => {
    expect(parseRetryAfter("Sat, 21 Nov 2026 12:00:00 GMT", { now: NOW })).toBe(0);
  });

  it("R-31 reads a year of two digits as at most 50 years ahead", () => {
    const at = (year: number, now: number): number | undefined => {
      const dueAt = Date.UTC(year, 5, 1);
      return parseRetryAfter(formsOf(dueAt)[1], { now, date: formsOf(now)[0] });
    };
    expect(at(2076, NOW)).toBe(Date.UTC(2076, 5, 1) - NOW);
    expect(at(2077, NOW)).toBeUndefined();
    const endOfCentury = Date.UTC(2099, 11, 31);
    expect(at(2101, endOfCentury)).toBe(Date.UTC(2101, 5, 1) - endOfCentury);
    expect(at(2100, Date.UTC(2100, 0, 1))).toBe(Date.UTC(2100, 5, 1) - Date.UTC(2100, 0, 1));
  });

  it("R-31 reads what is far away as the longest wait, and nothing from a clock without a time", () => {
    expect(parseRetryAfter("Fri, 31 Dec 9999 23:59:59 GMT", { now: NOW })).toBe(MAX_RETRY_AFTER_MS);
    for (const value of formsOf(NOW + 60_000)) expect(parseRetryAfter(value, { now: NaN })).toBeUndefined();
  });

  it("R-31 gives every whole second and every date back", () => {
    const seconds = fc.integer({ min: 0, max: 2 ** 31 });
    fc.assert(
      fc.property(seconds, (wait) => {
        expect(parseRetryAfter(String(wait), { now: NOW })).toBe(wait * 1000);
      }),
    );
    // Within 49 years, where all three forms can say it.
    const sentAt = fc.integer({ min: 0, max: 2 ** 32 }).map((second) => second * 1000);
    fc.assert(
      fc.property(sentAt, fc.integer({ min: 0, max: 49 * 365 * 86_400 }), (sent, wait) => {
        for (const value of formsOf(sent + wait * 1000)) {
          expect(parseRetryAfter(value, { now: sent + 999, date: new Date(sent).toUTCString() })).toBe(wait * 1000);
        }
      }),
    );
  });

  it("R-31 gives undefined or a finite wait for any text", () => {
    const nearMiss = fc
      .tuple(fc.constantFrom(...formsOf(NOW + 1000)), fc.nat(40), fc.string({ maxLength: 2 }))
      .map(([text, at, inserted]) => text.slice(0, at) + inserted + text.slice(at + 1));
    const text = fc.oneof(
      fc.string(),
      fc.string({ unit: fc.constantFrom(..."0 1 2 3 4 5 6 7 8 9 - , . e E : G M T".split(" "), " ") }),
      nearMiss,
    );
    fc.assert(
      fc.property(text, (value) => {
        const waitMs = parseRetryAfter(value, { now: NOW, date: value });
        if (waitMs === undefined) return;
        expect(waitMs).toBeGreaterThanOrEqual(0);
        expect(waitMs).toBeLessThanOrEqual(MAX_RETRY_AFTER_MS);
      }),
      { numRuns: 1000 },
    );
  });
});
