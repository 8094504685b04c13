import { systemRandom } from "../system-random.ts";
import { forEachAtOnce } from "../turns.ts";
import { versionIn } from "./file-register.ts";
import type { FileRegister, RegisterFiles } from "./file-register.ts";
import { parseKeyedRecord } from "./record-text.ts";

/** What a listing says of a record. */
export interface ListedRecord {
  readonly folder: string;
  readonly version: string;
  readonly key: string;
  readonly dueAt: number | undefined;
  readonly deleteAfter: number | undefined;
}

/** Folders looked into at once. */
const SCANNERS = 16;

/** Records that one that begins looks after: more than one, so that what is over never outgrows what is not. */
const NEIGHBOURS = 8;

/** Folders of registers; everything else on a shelf is unfinished or not ours. */
const REGISTER_NAME = /^[0-9a-f]{64}$/;

/** Lists registers that stand on shelves, the folders of one folder. */
export async function forEachShelf(
  files: RegisterFiles,
  room: string,
  work: (shelf: string, registers: readonly string[], names: readonly string[]) => Promise<void>,
): Promise<void> {
  const shelves = (await files.list(room)) ?? [];
  await forEachAtOnce(shelves, SCANNERS, async (name) => {
    const shelf = `${room}/${name}`;
    const names = (await files.list(shelf)) ?? [];
    const registers = names.filter((each) => REGISTER_NAME.test(each)).map((each) => `${shelf}/${each}`);
    await work(shelf, registers, names);
  });
}

/** Lists records, reads only those that changed since the last listing, and drops what has come to its end. */
export class RecordShelves {
  readonly #files: RegisterFiles;
  readonly #records: FileRegister;
  readonly #now: () => number;
  #known: ReadonlyMap<string, ListedRecord> = new Map();

  constructor(files: RegisterFiles, records: FileRegister, now: () => number) {
    this.#files = files;
    this.#records = records;
    this.#now = now;
  }

  /** Gives all records of a room, in no order. */
  async list(room: string, signal: AbortSignal | undefined): Promise<readonly ListedRecord[]> {
    const found = new Map<string, ListedRecord>();
    await forEachShelf(this.#files, room, async (shelf, registers, names) => {
      signal?.throwIfAborted();
      await this.#records.sweep(shelf, names);
      for (const folder of registers) {
        const listed = await this.#tidyRecord(folder);
        if (listed !== undefined) found.set(folder, listed);
      }
    });
    this.#known = found;
    return [...found.values()];
  }

  /** Does for some records of a shelf, from a random one on, what a listing does for all. */
  async tidy(shelf: string): Promise<void> {
    const names = (await this.#files.list(shelf)) ?? [];
    await this.#records.sweep(shelf, names);
    const registers = names.filter((name) => REGISTER_NAME.test(name));
    const from = Math.floor(systemRandom() * registers.length);
    const some = [...registers.slice(from), ...registers.slice(0, from)].slice(0, NEIGHBOURS);
    for (const name of some) await this.#tidyRecord(`${shelf}/${name}`);
  }

  /** Removes a record that is over, and in the folder of one that is not what nobody finished. */
  async #tidyRecord(folder: string): Promise<ListedRecord | undefined> {
    const names = await this.#files.list(folder);
    if (names === undefined) return undefined;
    await this.#records.sweepWrites(folder, names);
    const known = this.#known.get(folder);
    const listed = known !== undefined && known.version === versionIn(names) ? known : await this.#read(folder);
    if (listed?.deleteAfter === undefined || listed.deleteAfter > this.#now()) return listed;
    await this.#records.remove(folder, listed.version, () => undefined);
    return undefined;
  }

  async #read(folder: string): Promise<ListedRecord | undefined> {
    const standing = await this.#records.read(folder);
    if (standing === undefined) {
      await this.#records.clearEnded(folder);
      return undefined;
    }
    const parsed = parseKeyedRecord(standing.body ?? "");
    if (parsed === undefined) return undefined;
    const { dueAt, deleteAfter } = parsed.record;
    return { folder, version: standing.version, key: parsed.key, dueAt, deleteAfter };
  }
}
