import type { Flight } from "./flight.ts";
import type { VersionedRecord } from "./guarded-store.ts";
import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";

/** Takes over what the store has, and gives the token if somebody else has refreshed since. */
export function moveOn(
  engine: SessionEngine,
  entry: SessionEntry,
  flight: Flight,
  found: VersionedRecord | undefined,
): string | undefined {
  engine.apply(entry, found);
  const { accessToken, generation } = entry;
  if (accessToken === undefined || generation <= flight.seenGeneration || entry.record?.state !== "active")
    return undefined;
  const isFirst = flight.history.adoptions === 0;
  flight.history.adoptions += 1;
  flight.seenGeneration = generation;
  // What ended while this process slept is of no use. What ends as soon as it is made is: or two could go on for ever.
  const isOver = engine.clock.now() >= entry.expiredAt;
  if (isOver && (isFirst || isOlderThan(engine, entry, flight))) return undefined;
  engine.emit(entry, { type: "refresh_adopted" });
  return accessToken;
}

/** The token was there before this refresh began; told by durations, since nobody's wall clocks agree. */
function isOlderThan(engine: SessionEngine, entry: SessionEntry, flight: Flight): boolean {
  const obtainedAt = entry.record?.tokens?.obtainedAt ?? -Infinity;
  return engine.clock.now() - obtainedAt > engine.clock.monotonic() - flight.startedAt;
}
