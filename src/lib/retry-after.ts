/**
 * Longest wait that is reported: 2^31 seconds, where RFC 9111 §1.2.2 lets a recipient of a number of seconds stop
 * counting. How much of it to believe is decided by whoever waits.
 */
export const MAX_RETRY_AFTER_MS: number = 2 ** 31 * 1000;

/** What {@link parseRetryAfter} measures a date against. */
export interface RetryAfterContext {
  /** Wall clock when the response came, epoch milliseconds. */
  readonly now: number;
  /** The response's own `Date` header, which is preferred to `now`: two clocks may differ, one does not. */
  readonly date?: string | null | undefined;
}

/**
 * Reads a `Retry-After` header (RFC 9110 §10.2.3) and gives the milliseconds to wait, 0 to {@link MAX_RETRY_AFTER_MS}.
 *
 * Takes whole seconds and the three forms of an HTTP date (§5.6.7). Everything else is `undefined`: signs, fractions,
 * exponents, two headers joined by a comma, dates that do not exist, and dates that have passed.
 */
export function parseRetryAfter(
  value: string | null | undefined,
  { now, date }: RetryAfterContext,
): number | undefined {
  if (typeof value !== "string") return undefined;
  if (/^[0-9]+$/.test(value)) return Math.min(MAX_RETRY_AFTER_MS, Number(value) * 1000);
  const retryAt = parseHttpDate(value, now);
  if (retryAt === undefined) return undefined;
  const sentAt = typeof date === "string" ? parseHttpDate(date, now) : undefined;
  const waitMs = retryAt - (sentAt ?? now);
  return waitMs >= 0 ? Math.min(MAX_RETRY_AFTER_MS, waitMs) : undefined;
}

/** In the order in which `getUTCDay` counts. Case-sensitive, as all names in an HTTP date are. */
const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
/** In the order in which `getUTCMonth` counts. */
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** `Sun, 06 Nov 1994 08:49:37 GMT` */
const IMF_FIXDATE = /^([A-Z][a-z]{2}), ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}:[0-9]{2}:[0-9]{2}) GMT$/;
/** `Sunday, 06-Nov-94 08:49:37 GMT` */
const RFC_850_DATE =
  /^(?:(Sun|Mon|Fri)day|(Tue)sday|(Wed)nesday|(Thu)rsday|(Sat)urday), ([0-9]{2})-([A-Z][a-z]{2})-([0-9]{2}) ([0-9]{2}:[0-9]{2}:[0-9]{2}) GMT$/;
/** `Sun Nov  6 08:49:37 1994` */
const ASCTIME_DATE = /^([A-Z][a-z]{2}) ([A-Z][a-z]{2}) ([0-9 ][0-9]) ([0-9]{2}:[0-9]{2}:[0-9]{2}) ([0-9]{4})$/;

/** A two-digit year that would be more than 50 years ahead is the one in the past (RFC 9110 §5.6.7). */
const MAX_YEARS_AHEAD = 50;

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

/** Reads one of the three forms and gives epoch milliseconds; `now` says which century a two-digit year is in. */
function parseHttpDate(text: string, now: number): number | undefined {
  // Each form is brought to one layout, "Sun 06 Nov 1994 08:49:37", that is read by position.
  if (IMF_FIXDATE.test(text)) return epochOf(text.replace(IMF_FIXDATE, "$1 $2 $3 $4 $5"));
  if (ASCTIME_DATE.test(text)) return epochOf(text.replace(ASCTIME_DATE, "$1 $3 $2 $5 $4"));
  if (!RFC_850_DATE.test(text)) return undefined;
  const year = Number(text.replace(RFC_850_DATE, "$8"));
  return epochOf(text.replace(RFC_850_DATE, `$1$2$3$4$5 $6 $7 ${String(fullYear(year, now))} $9`));
}

/** Picks the year with these last two digits that is at most 50 years ahead of `now`, and less than 50 behind. */
function fullYear(lastTwoDigits: number, now: number): number {
  const latest = new Date(now).getUTCFullYear() + MAX_YEARS_AHEAD;
  return latest - ((((latest - lastTwoDigits) % 100) + 100) % 100);
}

/** Reads `Sun 06 Nov 1994 08:49:37`; `undefined` if there is no such day or no such time. */
function epochOf(layout: string): number | undefined {
  const year = Number(layout.slice(11, 15));
  const month = MONTHS.indexOf(layout.slice(7, 10));
  const midnight = Date.UTC(year, month, Number(layout.slice(4, 6)));
  // Date.UTC carries a day that does not exist over into another month, and moves the years 0 to 99.
  const day = new Date(midnight);
  if (day.getUTCMonth() !== month || day.getUTCFullYear() !== year) return undefined;
  if (DAYS[day.getUTCDay()] !== layout.slice(0, 3)) return undefined;

  const hour = Number(layout.slice(16, 18));
  const minute = Number(layout.slice(19, 21));
  const second = Number(layout.slice(22, 24));
  // The grammar knows the leap second :60 (RFC 9110 §5.6.7).
  if (hour > 23 || minute > 59 || second > 60) return undefined;
  return midnight + hour * HOUR_MS + minute * MINUTE_MS + second * SECOND_MS;
}
