import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";

/** A place in the line of an endpoint that is further away is not waited for in the background. */
const MAX_BACKGROUND_WAIT_MS = 5_000;

/** Refreshes a session whose time has come, unless nobody uses it; where its endpoint has a long line, later. */
export function refreshDue(engine: SessionEngine, entry: SessionEntry): void {
  if (entry.evicted || engine.closed) return;
  const now = engine.clock.now();
  if (now - entry.usedAt > engine.freshness.idleMs) {
    leaveIdle(engine, entry);
    return;
  }
  const waitMs = engine.gateOf(entry.connection).waitMs(false);
  if (waitMs > MAX_BACKGROUND_WAIT_MS) {
    engine.scheduler.schedule(entry, now + waitMs * (0.5 + engine.random()));
    return;
  }
  flyWhenDue(engine, entry);
}

/** The wall clock may be a moment ahead of the monotonic one, by which pauses are counted: then it is too early. */
function flyWhenDue(engine: SessionEngine, entry: SessionEntry): void {
  if (engine.flyInBackground(entry) === undefined) engine.scheduler.schedule(entry, engine.freshness.dueAtOf(entry));
}

/** Nobody used it for long: it is left alone, or kept alive where that helps. */
function leaveIdle(engine: SessionEngine, entry: SessionEntry): void {
  const { record, version: known } = entry;
  const keepAt = engine.freshness.keepAliveAt(entry);
  if (keepAt !== undefined) {
    if (engine.clock.now() < keepAt) engine.scheduler.schedule(entry, keepAt);
    else flyWhenDue(engine, entry);
    return;
  }
  if (record === undefined || entry.unsaved !== undefined) return;
  // Taken off the list of due sessions, or it would stand first in it for ever.
  const { deleteAfter } = engine.freshness.storedTimes(entry, record);
  engine.run(
    engine.store.write(entry.key, record, deleteAfter === undefined ? {} : { deleteAfter }, known).then((version) => {
      if (version !== undefined && entry.version === known) entry.version = version;
      engine.directory.evictIfIdle(entry);
    }),
  );
}
