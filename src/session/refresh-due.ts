import { takeOffList } from "./due-list.ts";
import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";

/** A place in the line of an endpoint that is further away is not waited for in the background. */
const MAX_BACKGROUND_WAIT_MS = 5_000;

/** Refreshes a session whose time has come, unless nobody uses it; where its endpoint has a long line, later. */
export function refreshDue(engine: SessionEngine, entry: SessionEntry): void {
  if (entry.evicted || engine.closed) return;
  if (entry.unusedForMs(engine.clock.now()) > engine.freshness.idleMs) {
    leaveIdle(engine, entry);
    return;
  }
  const dueAt = engine.freshness.dueAtOf(entry);
  const now = engine.clock.now();
  if (dueAt === undefined || dueAt > now) {
    // It was to be left alone, or its store could not be written, and somebody used it meanwhile.
    engine.scheduler.schedule(entry, dueAt);
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
  const keepAt = engine.freshness.keepAliveAt(entry);
  if (keepAt !== undefined && engine.clock.now() >= keepAt) {
    flyWhenDue(engine, entry);
    return;
  }
  engine.scheduler.schedule(entry, keepAt);
  engine.run(takeOffList(engine, entry, keepAt));
}
