import type { SessionEngine } from "./session-engine.ts";
import { parseSessionKey } from "./session-key.ts";

/** Stored sessions looked for at once at first, and how often. */
const BATCH = 500;
const POLL_MS = 60_000;

/**
 * A session that is late by this much is nobody's: its process refreshes it on time. Sooner, each process would take up
 * the sessions of all others, and one that nobody uses would be handed around for ever.
 */
const OVERDUE_MS = 30_000;

/** Due sessions of a restart are begun over this long at most (requirements R-10). */
const SPREAD_MS = 60_000;

/** Takes up stored sessions that are due and that this process does not know: those of a process that is gone. */
export class DueSessions {
  readonly #engine: SessionEngine;
  #nextPollAt = -Infinity;
  #limit = BATCH;
  #polling = false;

  constructor(engine: SessionEngine) {
    this.#engine = engine;
  }

  /** Looks into the store if it is time. Nobody waits for it. */
  poll(): void {
    const { clock, store } = this.#engine;
    const now = clock.monotonic();
    // What ends with this process is not from one that is gone.
    if (!store.durable || !store.listsDue || this.#polling || now < this.#nextPollAt) return;
    this.#nextPollAt = now + POLL_MS;
    this.#polling = true;
    this.#engine.run(this.#takeUpBatch(now).finally(() => (this.#polling = false)));
  }

  async #takeUpBatch(now: number): Promise<void> {
    const limit = this.#limit;
    const found = await this.#engine.store.due(this.#engine.clock.now() - OVERDUE_MS, limit);
    // One session whose client cannot be found is no reason to leave the others alone.
    for (const { key } of found) await this.#takeUp(key).catch(() => undefined);
    // What was found stays first in the list until it is refreshed, and some of it is nobody's: look beyond it.
    this.#limit = Math.max(BATCH, 2 * found.length);
    if (found.length === limit) this.#nextPollAt = now;
  }

  async #takeUp(key: string): Promise<void> {
    const { clock, directory, freshness, scheduler, random } = this.#engine;
    const description = parseSessionKey(key);
    if (description === undefined || directory.find(description) !== undefined) return;
    const entry = await directory.resolve(description);
    if (entry?.readAt !== -Infinity) return;
    await this.#engine.ensureRead(entry);
    // What was read now: since the list was made, another process may have refreshed it.
    const dueAt = freshness.dueAtOf(entry);
    if (dueAt === undefined) return;
    const now = clock.now();
    const leftMs = entry.expiredAt - now;
    const spreadMs = random() * (leftMs > 0 ? Math.min(SPREAD_MS, leftMs) : SPREAD_MS);
    const inMs = Math.max(dueAt - now, spreadMs);
    scheduler.schedule(entry, now + inMs);
  }
}
