import type { SessionEngine } from "./session-engine.ts";
import { parseSessionKey } from "./session-key.ts";
import type { SessionDescription } from "./session-key.ts";
import { ensureRead } from "./stored-copy.ts";

/** How often stored sessions are looked for. */
const POLL_MS = 60_000;

/** How many are looked at, at least: enough that the shares of many processes seldom meet. */
const LEAST_LOOKED_AT = 10_000;

/**
 * A session that is late by this much is nobody's: its process refreshes it on time. Sooner, each process would take up
 * the sessions of all others, and one that nobody uses would be handed around for ever.
 */
const OVERDUE_MS = 30_000;

/** Due sessions of a restart are begun over this long at most (requirements R-10). */
const SPREAD_MS = 60_000;

/**
 * Takes up stored sessions that are due and that this process never read: those of a process that is gone.
 *
 * A fleet that starts with all sessions due shares them out by chance: each process takes up no more than it can refresh
 * before it looks again, and any of those that are due. All of them for all would be work with the square of the fleet.
 */
export class DueSessions {
  readonly #engine: SessionEngine;
  /** Sessions of one connection that are taken up at a look. */
  readonly #share: number;
  /** Sessions looked at, unless nothing of that is ours. */
  readonly #lookedAt: number;
  #nextPollAt = -Infinity;
  #limit: number;
  #polling = false;

  /** @param perSecond Refreshes that may be started in a second, for each connection. */
  constructor(engine: SessionEngine, perSecond: number) {
    this.#engine = engine;
    this.#share = Math.ceil((perSecond * POLL_MS) / 1000);
    this.#limit = this.#lookedAt = Math.max(LEAST_LOOKED_AT, 2 * this.#share);
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
    const sessions = found.flatMap(({ key }) => parseSessionKey(key) ?? []);
    const taken = new Map<string, number>();
    for (const description of shuffled(sessions, this.#engine.random)) {
      const count = taken.get(description.connectionId) ?? 0;
      if (this.#engine.closed) return;
      if (count >= this.#share) continue;
      // One session whose client cannot be found is no reason to leave the others alone.
      const isTaken = await this.#takeUp(description).catch(() => false);
      if (isTaken) taken.set(description.connectionId, count + 1);
    }
    // What is found stays first in the list until it is refreshed. Where none of it is ours, look beyond it.
    const isHidden = found.length === limit && taken.size === 0;
    this.#limit = isHidden ? 2 * limit : this.#lookedAt;
    if (isHidden) this.#nextPollAt = now;
  }

  /** @returns Whether it is to be refreshed here. */
  async #takeUp(description: SessionDescription): Promise<boolean> {
    const { clock, directory, freshness, scheduler, random } = this.#engine;
    const known = directory.find(description);
    if (known !== undefined && known.readAt !== -Infinity) return false;
    const entry = await directory.resolve(description);
    if (entry?.readAt !== -Infinity) return false;
    // Opened long ago and never asked, it is as good as new.
    entry.usedAt = clock.now();
    await ensureRead(this.#engine, entry);
    // What was read now: since the list was made, another process may have refreshed it.
    const dueAt = freshness.dueAtOf(entry);
    if (dueAt === undefined) return false;
    const now = clock.now();
    const leftMs = entry.expiredAt - now;
    const spreadMs = random() * (leftMs > 0 ? Math.min(SPREAD_MS, leftMs) : SPREAD_MS);
    const inMs = Math.max(dueAt - now, spreadMs);
    scheduler.schedule(entry, now + inMs);
    return true;
  }
}

/** In an order by chance (Fisher and Yates). */
function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const mixed = [...items];
  for (let at = mixed.length - 1; at > 0; at -= 1) {
    const other = Math.floor(random() * (at + 1));
    [mixed[at], mixed[other]] = [mixed[other] as T, mixed[at] as T];
  }
  return mixed;
}
