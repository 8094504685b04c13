import { changeRecord } from "./record.ts";
import type { Intent, SessionRecord } from "./record.ts";
import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";

/** The last announcement that counts, of sessions of which this process announced more and sent, or had processed, nothing. */
const unsent = new WeakMap<SessionEntry, { readonly before: Intent | undefined }>();

/** Notes that what is announced over a record is not sent yet, or came to nothing. */
export function noteUnsent(entry: SessionEntry, base: SessionRecord): void {
  unsent.set(entry, { before: base.intent });
}

/** A request leaves: from here on it may be processed. */
export function noteSent(entry: SessionEntry): void {
  unsent.delete(entry);
}

/** Where the store could not be told that nothing was sent: what it still announces did not happen. */
export function overlookUnsent({ instanceId }: SessionEngine, entry: SessionEntry): void {
  const known = unsent.get(entry);
  const { record } = entry;
  if (known === undefined || record?.intent?.owner !== instanceId) return;
  if (record.intent.attemptId !== known.before?.attemptId)
    entry.record = changeRecord(record, { intent: known.before });
}
