import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";

/** A store that could not be written is tried again after this, or up to twice as late: it has many to write. */
const RETRY_MS = 60_000;

/** A store may round what it keeps. */
const ROUNDING_MS = 1_000;

/**
 * Takes a session that nobody uses off the store's list of due ones, or it would stand first in it for ever, and lets it
 * leave memory. One that is kept alive stays in both, due when that must be done.
 */
export async function takeOffList(
  engine: SessionEngine,
  entry: SessionEntry,
  keepAt: number | undefined,
): Promise<void> {
  const { record, version: known } = entry;
  const { clock, directory, freshness, random, scheduler, store } = engine;
  if (record === undefined || entry.unsaved !== undefined) return;
  const { deleteAfter } = freshness.storedTimes(entry, record);
  const times = {
    ...(keepAt !== undefined && { dueAt: keepAt }),
    ...(deleteAfter !== undefined && { deleteAfter }),
  };
  try {
    const version = await store.write(entry.key, record, times, known);
    if (version !== undefined && entry.version === known) entry.version = version;
  } catch {
    if (!entry.evicted) scheduler.schedule(entry, clock.now() + RETRY_MS * (1 + random()));
    return;
  }
  if (directory.evictIfIdle(entry) || entry.evicted || entry.slot !== undefined) return;
  // Somebody used it meanwhile.
  scheduler.schedule(entry, freshness.dueAtOf(entry));
}

/**
 * Puts a session back that is used here, and that a process in which nobody uses it took off the list: otherwise nobody
 * would take it up if this process ended. Done once: the other process has let it go, or left it until then.
 *
 * @param listedAt When the store has it for due.
 */
export function putBackOnList(engine: SessionEngine, entry: SessionEntry, listedAt: number | undefined): void {
  const { record, expiredAt } = entry;
  const { clock, freshness, store } = engine;
  // Only where others look, and where what they write at the same moment wins.
  if (!store.durable || !store.listsDue || !store.coordinates) return;
  if (engine.closed || record === undefined) return;
  const now = clock.now();
  const { dueAt } = freshness.storedTimes(entry, record);
  // What is due already is about to be refreshed, and written then.
  if (dueAt === undefined || dueAt <= now || entry.unusedForMs(now) > freshness.idleMs) return;
  // Each process has its own time before the token's end.
  if (listedAt !== undefined && listedAt <= Math.max(dueAt, expiredAt) + ROUNDING_MS) return;
  engine.run(engine.writeQuietly(entry, record));
}
