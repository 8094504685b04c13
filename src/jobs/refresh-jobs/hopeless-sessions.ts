import type { Clock } from "../../lib/clock.ts";

/** How long a session counts as one that nobody here can refresh: what it lacks may be deployed. */
const REMEMBERED_MS = 3_600_000;

/** Keys at most, the last ones: what is forgotten is tried once more. */
const MAX_KEYS = 100_000;

/**
 * Sessions that this process tried to refresh in vain, where trying again does not help. They stay in the store, and due:
 * without a memory a sweep would begin all of them anew each time.
 */
export class HopelessSessions {
  readonly #clock: Clock;
  /** Monotonic milliseconds, by key, the oldest first. */
  readonly #until = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  has(key: string): boolean {
    return (this.#until.get(key) ?? -Infinity) > this.#clock.monotonic();
  }

  /** @returns Whether that is news. */
  add(key: string): boolean {
    if (this.has(key)) return false;
    this.#until.delete(key);
    this.#until.set(key, this.#clock.monotonic() + REMEMBERED_MS);
    for (const oldest of this.#until.keys()) {
      if (this.#until.size <= MAX_KEYS) break;
      this.#until.delete(oldest);
    }
    return true;
  }

  delete(key: string): void {
    this.#until.delete(key);
  }
}
