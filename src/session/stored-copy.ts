import type { VersionedRecord } from "./guarded-store.ts";
import { putBackOnList } from "./due-list.ts";
import { isReplacedBy } from "./record.ts";
import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";
import { STEP_BACK_MS } from "./session-freshness.ts";

/** A store may answer with an older copy for this long (requirements R-47). */
const STALE_READ_MS = 2_000;
const STALE_READ_POLL_MS = 100;

/** After a restart, a thousand callers of one session are one read of the store. */
const firstReads = new WeakMap<SessionEntry, Promise<void>>();

/**
 * Reads a session's record; an older one than was seen already is a copy that lags behind, and is asked for again.
 *
 * @throws {@link StoreError}
 */
export async function readStored(engine: SessionEngine, entry: SessionEntry): Promise<VersionedRecord | undefined> {
  const giveUpAt = engine.clock.monotonic() + STALE_READ_MS;
  for (;;) {
    const found = await engine.store.read(entry.key);
    const lagsBehind = found === undefined ? entry.generation > 0 : isReplacedBy(found.record, entry.record);
    if (!lagsBehind) return found;
    if (engine.clock.monotonic() >= giveUpAt) {
      return found && { ...found, record: entry.record ?? found.record };
    }
    await engine.sleep(STALE_READ_POLL_MS, { keepAlive: true });
  }
}

/** Reads what was never read. @throws {@link StoreError} */
export async function ensureRead(engine: SessionEngine, entry: SessionEntry): Promise<void> {
  if (entry.readAt !== -Infinity) return;
  let reading = firstReads.get(entry);
  if (reading === undefined) {
    reading = readFirst(engine, entry).finally(() => firstReads.delete(entry));
    firstReads.set(entry, reading);
  }
  await reading;
}

async function readFirst(engine: SessionEngine, entry: SessionEntry): Promise<void> {
  const found = await readStored(engine, entry);
  // A login, a logout or a flight may have known better meanwhile; what left memory hands out nothing.
  if (entry.readAt !== -Infinity || entry.evicted) return;
  engine.apply(entry, found);
  putBackOnList(engine, entry, found?.dueAt);
}

/**
 * Gives the entry of a session, read now or so lately that hardly another process can have written since. While it was
 * read, one that nobody uses may have left memory.
 *
 * @throws {@link StoreError}
 */
export async function recentEntry(engine: SessionEngine, entry: SessionEntry): Promise<SessionEntry> {
  for (let current = engine.currentOf(entry); ; current = engine.currentOf(current)) {
    const isOld = isOldCopy(engine, current) && !knowsBetter(current);
    await (isOld ? readAgain(engine, current) : ensureRead(engine, current));
    if (!current.evicted) return current;
  }
}

/** Whether another process may have written since this one looked. */
export function isOldCopy({ clock, freshness }: SessionEngine, entry: SessionEntry): boolean {
  const now = clock.now();
  return now < entry.readAt - STEP_BACK_MS || now >= entry.readAt + freshness.copyAgeMs(entry);
}

/** Looks at a copy again, without anybody waiting. Tokens that are not saved yet are newer than anything there. */
export function rereadBehind(engine: SessionEngine, entry: SessionEntry): void {
  if (knowsBetter(entry)) return;
  entry.readAt = engine.clock.now();
  if (entry.record?.tokens !== undefined) engine.noteReading(entry, entry.record.tokens);
  engine.run(readAgain(engine, entry));
}

async function readAgain(engine: SessionEngine, entry: SessionEntry): Promise<void> {
  const { version, generation } = entry;
  const found = await readStored(engine, entry);
  // A login, a logout or a flight may have known better meanwhile.
  if (entry.version !== version || knowsBetter(entry) || entry.evicted) return;
  engine.apply(entry, found);
  putBackOnList(engine, entry, found?.dueAt);
  const isNewer = generation > 0 && entry.generation > generation;
  if (isNewer && entry.record?.state === "active") engine.emit(entry, { type: "refresh_adopted" });
}

/** What a flight is about to bring, and tokens that are not saved yet, are newer than anything in the store. */
function knowsBetter(entry: SessionEntry): boolean {
  return entry.flight !== undefined || entry.unsaved !== undefined;
}
