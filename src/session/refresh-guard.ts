import { RateLimitError } from "../core/index.ts";
import type { Clock } from "../lib/clock.ts";
import { maxRefreshesPerHour } from "./refresh-policy.ts";
import type { SessionEntry } from "./session-entry.ts";

const HOUR_MS = 3_600_000;

/**
 * Stops a session that is refreshed more often than its lifetime explains: its token is refused for another reason, and
 * each refresh may cost a token. A bucket that fills over an hour; only refreshes that succeeded are counted.
 */
export class RefreshGuard {
  readonly #clock: Clock;
  readonly #maxPerHour: number | undefined;

  constructor(clock: Clock, maxPerHour: number | undefined) {
    this.#clock = clock;
    this.#maxPerHour = maxPerHour;
  }

  /** Gives the error for a session that has none left; `undefined` for nearly all. */
  check(entry: SessionEntry): RateLimitError | undefined {
    const limit = this.#limitOf(entry);
    const left = this.#leftOf(entry, limit);
    if (left >= 1) return undefined;
    return new RateLimitError(
      "refresh_limit_reached",
      `this session was refreshed more than ${String(limit)} times in an hour; is its token refused for another reason?`,
      Math.ceil(((1 - left) / limit) * HOUR_MS),
    );
  }

  count(entry: SessionEntry): void {
    entry.guardFullAt = Math.max(entry.guardFullAt, this.#clock.monotonic()) + HOUR_MS / this.#limitOf(entry);
  }

  #limitOf({ record, staleAt }: SessionEntry): number {
    const usedMs = record?.tokens === undefined ? Infinity : staleAt - record.tokens.obtainedAt;
    return this.#maxPerHour ?? maxRefreshesPerHour(usedMs);
  }

  #leftOf({ guardFullAt }: SessionEntry, limit: number): number {
    const missing = (Math.max(0, guardFullAt - this.#clock.monotonic()) / HOUR_MS) * limit;
    return limit - missing;
  }
}
