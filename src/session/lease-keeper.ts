import type { Clock } from "../lib/clock.ts";
import type { Lease } from "./store.ts";

/** A lease is not kept through waits longer than this. */
export const MAX_WAIT_UNDER_LEASE_MS = 5_000;

/** A lease is renewed when a third of its time is over: two renewals may fail before it ends. */
const RENEW_SHARE = 1 / 3;

/**
 * Keeps a lease alive while it is worked under, and knows by the monotonic clock whether it may be over. A process that
 * was paused past the end finds out here, before it begins to send. What came is saved all the same: the comparison of versions tells.
 */
export class LeaseKeeper {
  readonly #lease: Lease | undefined;
  readonly #clock: Clock;
  readonly #ttlMs: number;
  #validUntil: number;
  #cancelTimer: (() => void) | undefined;
  #released = false;

  /** @param lease `undefined` where the store has none: then it is ours for as long as this process lives. */
  constructor(lease: Lease | undefined, clock: Clock, ttlMs: number, askedAt: number) {
    this.#lease = lease;
    this.#clock = clock;
    this.#ttlMs = ttlMs;
    this.#validUntil = lease === undefined ? Infinity : askedAt + ttlMs;
    this.#arm();
  }

  /** Whether nobody else can have it now. */
  get isOurs(): boolean {
    return !this.#released && this.#clock.monotonic() < this.#validUntil;
  }

  /** Gives it back. A store that fails here costs the others one lease time, nothing more. */
  async release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    this.#cancelTimer?.();
    try {
      await this.#lease?.release();
    } catch {
      // It ends by itself.
    }
  }

  #arm(): void {
    if (this.#lease === undefined || this.#released) return;
    this.#cancelTimer = this.#clock.setTimer(() => void this.#renew(this.#lease), this.#ttlMs * RENEW_SHARE);
  }

  async #renew(lease: Lease | undefined): Promise<void> {
    const askedAt = this.#clock.monotonic();
    try {
      if ((await lease?.renew(this.#ttlMs)) === true) this.#validUntil = askedAt + this.#ttlMs;
      else this.#validUntil = -Infinity;
    } catch {
      // Not renewed, not lost: it is ours until its time is over, and the next try may succeed.
    }
    if (this.isOurs) this.#arm();
  }
}
