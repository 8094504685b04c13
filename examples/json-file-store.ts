import { readFile, rename, writeFile } from "node:fs/promises";
import type { StoredRecord, TokenStore } from "warehouse-oauth";

interface Kept {
  readonly record: StoredRecord;
  readonly version: string;
}

/**
 * Keeps records in one JSON file, for a script that one person runs now and then. **Not for production**: tokens lie in it
 * as plain text, and two processes that write at once overwrite each other. Both is said, not hidden: it claims no
 * compare-and-set and has no lease, so a warehouse that replaces refresh tokens is refused with `store_incapable`.
 */
export function jsonFileStore(path: string): TokenStore {
  // One after the other, so that at least this process does not overwrite itself.
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const next = last.then(work);
    last = next.catch(() => undefined);
    return next;
  };

  return {
    capabilities: { compareAndSet: false, durable: true },
    read: (key) => inTurn(async () => (await readAll(path)).get(key)),
    write: (key, record, { ifVersion }) =>
      inTurn(async () => {
        const all = await readAll(path);
        if (all.get(key)?.version !== ifVersion) return undefined;
        const version = crypto.randomUUID(); // never used twice, not even after a delete
        await writeAll(path, all.set(key, { record, version }));
        return version;
      }),
    delete: (key, { ifVersion }) =>
      inTurn(async () => {
        const all = await readAll(path);
        const kept = all.get(key);
        if (kept !== undefined && ifVersion !== undefined && kept.version !== ifVersion) return false;
        if (all.delete(key)) await writeAll(path, all);
        return true;
      }),
  };
}

async function readAll(path: string): Promise<Map<string, Kept>> {
  try {
    return new Map(Object.entries(JSON.parse(await readFile(path, "utf8")) as Record<string, Kept>));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return new Map();
    throw error;
  }
}

/** Written beside and renamed, so that a crash leaves the old file or the new one; readable by its owner only. */
async function writeAll(path: string, all: ReadonlyMap<string, Kept>): Promise<void> {
  const beside = `${path}.${crypto.randomUUID()}`;
  await writeFile(beside, JSON.stringify(Object.fromEntries(all)), { mode: 0o600 });
  await rename(beside, path);
}
