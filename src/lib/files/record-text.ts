/** A record and the key that it belongs to, as they stand in one file. */
export interface KeyedRecord {
  readonly key: string;
  readonly record: { readonly value: string; readonly dueAt?: number; readonly deleteAfter?: number };
}

/** Writes a record with its key in it, so that nobody can move it to another's place without being noticed. */
export function formatKeyedRecord({ key, record: { value, dueAt, deleteAfter } }: KeyedRecord): string {
  return JSON.stringify({ key, value, dueAt, deleteAfter });
}

/** Reads what {@link formatKeyedRecord} wrote; `undefined` for everything else. */
export function parseKeyedRecord(text: string): KeyedRecord | undefined {
  let members: unknown;
  try {
    members = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof members !== "object" || members === null) return undefined;
  const { key, value, dueAt, deleteAfter } = members as Readonly<Record<string, unknown>>;
  if (typeof key !== "string" || typeof value !== "string") return undefined;
  const times = {
    ...(typeof dueAt === "number" && { dueAt }),
    ...(typeof deleteAfter === "number" && { deleteAfter }),
  };
  return { key, record: { value, ...times } };
}
