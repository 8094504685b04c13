import { changeRecord } from "./record.ts";
import type { Intent, SessionRecord } from "./record.ts";
import type { SessionEntry } from "./session-entry.ts";

/** Announcements of this process after which nothing was sent, or nothing was processed, and what stood there before. */
const unsent = new WeakMap<SessionEntry, { readonly attemptId: string; readonly before: Intent | undefined }>();

/** Notes what is announced over a record, until a request leaves. */
export function noteUnsent(entry: SessionEntry, { attemptId }: Intent, base: SessionRecord): void {
  unsent.set(entry, { attemptId, before: base.intent });
}

/** A request leaves: from here on it may be processed. */
export function noteSent(entry: SessionEntry): void {
  unsent.delete(entry);
}

/** Where the store could not be told that nothing was sent: what it still announces did not happen. */
export function overlookUnsent(entry: SessionEntry): void {
  const known = unsent.get(entry);
  if (known === undefined || entry.record?.intent?.attemptId !== known.attemptId) return;
  entry.record = changeRecord(entry.record, { intent: known.before });
}
