import type { SessionEngine } from "./session-engine.ts";
import { parseSessionKey } from "./session-key.ts";

/** Stored sessions looked for at once, and how often. */
const BATCH = 500;
const POLL_MS = 60_000;

/** Due sessions of a restart are begun over this long at most (requirements R-10). */
const SPREAD_MS = 60_000;

/** Takes up stored sessions that are due and that this process does not know: those of a process that is gone. */
export class DueSessions {
  readonly #engine: SessionEngine;
  #nextPollAt = -Infinity;

  constructor(engine: SessionEngine) {
    this.#engine = engine;
  }

  /** Looks into the store if it is time. Nobody waits for it. */
  poll(): void {
    const now = this.#engine.clock.monotonic();
    if (!this.#engine.store.listsDue || now < this.#nextPollAt) return;
    this.#nextPollAt = now + POLL_MS;
    this.#engine.run(this.#takeUpBatch(now));
  }

  async #takeUpBatch(now: number): Promise<void> {
    const found = await this.#engine.store.due(this.#engine.clock.now() + SPREAD_MS, BATCH);
    // One session whose client cannot be found is no reason to leave the others alone.
    for (const { key, dueAt } of found) await this.#takeUp(key, dueAt).catch(() => undefined);
    if (found.length === BATCH) this.#nextPollAt = now;
  }

  async #takeUp(key: string, dueAt: number): Promise<void> {
    const { clock, directory, freshness, scheduler, random } = this.#engine;
    const description = parseSessionKey(key);
    if (description === undefined || directory.find(description) !== undefined) return;
    const entry = await directory.resolve(description);
    if (entry?.readAt !== -Infinity) return;
    await this.#engine.ensureRead(entry);
    if (freshness.dueAtOf(entry) === undefined) return;
    const now = clock.now();
    const spreadMs = random() * SPREAD_MS;
    const leftMs = entry.expiredAt - now;
    const inMs = Math.max(dueAt - now, leftMs > 0 ? Math.min(spreadMs, leftMs) : spreadMs);
    scheduler.schedule(entry, now + inMs);
  }
}
