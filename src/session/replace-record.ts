import { StoreError } from "../core/index.ts";
import { isReplacedBy } from "./record.ts";
import type { SessionRecord } from "./record.ts";
import type { Replaceable } from "./guarded-store.ts";
import { dropUnsaved } from "./save-tokens.ts";
import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";
import type { UnsavedTokens } from "./unsaved-tokens.ts";

/** Writers of the same session at the same moment that a login or a logout gives way to. */
const MAX_CONFLICTS = 10;

/**
 * Writes over whatever is stored, readable or not, and over what others write meanwhile: a login and a logout win over
 * everything that a refresh may bring.
 *
 * @returns What lay there, and what waited to be saved.
 *
 * @throws {@link StoreError}
 */
export async function replaceRecord(
  engine: SessionEngine,
  entry: SessionEntry,
  make: (before: SessionRecord | undefined) => Omit<SessionRecord, "generation" | "intent">,
): Promise<Pick<Replaceable, "record" | "unreadable"> & { readonly dropped?: UnsavedTokens | undefined }> {
  for (let conflicts = 0; conflicts < MAX_CONFLICTS; conflicts++) {
    const found = await engine.store.readToReplace(entry.key);
    const { record: before, version: ifVersion } = found;
    const generation = Math.max(before?.generation ?? 0, entry.generation) + 1;
    const { state, cause, tokens, rotates, loginAt, revokeLate } = make(before);
    const record = { generation, state, cause, tokens, rotates, loginAt, intent: undefined, revokeLate };
    const times = engine.freshness.storedTimes(entry, record);
    const version = await engine.store.write(entry.key, record, times, ifVersion);
    if (version === undefined) continue;
    // An answer that comes late lets go of nothing that came after it.
    if (isReplacedBy(record, entry.record)) return found;
    const { unsaved: dropped } = entry;
    entry.trouble = undefined;
    dropUnsaved(engine, entry);
    engine.apply(entry, { record, version });
    return { ...found, dropped };
  }
  throw new StoreError(
    "store_unavailable",
    "the record changed under every try to write it; does the store give each write a new version?",
    "write",
  );
}
