/**
 * Tokens in files, for command lines and desktop tools, and for a few processes on one machine.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { constants, promises as fs } from "node:fs";
import type { Stats } from "node:fs";
import { dirname, resolve } from "node:path";
import process from "node:process";
import { ConfigurationError, OAuthError, StoreError } from "../core/errors.ts";
import { systemClock } from "../lib/clock.ts";
import { FileRegister, RegisterTrouble } from "../lib/files/file-register.ts";
import type { RegisterFiles } from "../lib/files/file-register.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";
import { compareKeys } from "../lib/key-order.ts";
import { MachineLeases } from "../lib/files/machine-lease.ts";
import type { HeldLease } from "../lib/files/machine-lease.ts";
import { describeMachine } from "../lib/files/machine.ts";
import type { MachineSystem } from "../lib/files/machine.ts";
import { RecordShelves, forEachShelf } from "../lib/files/record-shelves.ts";
import type { ListedRecord } from "../lib/files/record-shelves.ts";
import { formatKeyedRecord, parseKeyedRecord } from "../lib/files/record-text.ts";
import { Turns } from "../lib/turns.ts";
import type { Lease, StoredRecord, TokenStore } from "../session/store.ts";

/** Options of {@link fileStore}. */
export interface FileStoreOptions {
  /**
   * A folder for this store alone, on a file system of this machine that has hard links. It is made, with mode 0700, if it
   * is not there. A relative path counts from the working directory of now.
   */
  readonly directory: string;
}

type Operation = StoreError["operation"];

/** What every method of a store may get. */
interface Called {
  readonly signal?: AbortSignal;
}

const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;

/** Group and others. */
const FOREIGN_BITS = 0o077;

/** What nobody finished in this time, nobody will (requirements S-097). */
const ABANDONED_MS = 3_600_000;

/** Operations at once. Node works on four at a time; more would only hold files open. */
const MAX_AT_ONCE = 32;

/** Records are spread over 256 folders by the first byte of their name. */
const SHELF_LENGTH = 2;

/** Zero where a platform has no such flag. */
const { O_DIRECTORY = 0, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants as Partial<typeof constants>;

const NANOSECONDS_PER_MS = 1_000_000n;

/** A folder with content is in the way, or what was to be moved is gone. Windows says EPERM to any folder in the way. */
const MOVE_REFUSED = process.platform === "win32" ? "ENOTEMPTY EEXIST ENOENT EPERM" : "ENOTEMPTY EEXIST ENOENT";

/** What a system says where others than the owner could be at work, or the thing is not what it should be. */
const PERMISSION_CODES: ReadonlySet<unknown> = new Set([
  "not_private",
  "EACCES",
  "EPERM",
  "EEXIST",
  "ELOOP",
  "ENOTDIR",
  "EISDIR",
  "ENXIO",
  "EMLINK",
]);

/** What systems say that do not have hard links. */
const NO_LINK_CODES: ReadonlySet<unknown> = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"]);

/**
 * Keeps records in files that only their owner can read: compare-and-set, lease, due and keys, durable. For any number of
 * terminals, and a few processes, on one machine; not for network file systems.
 *
 * The files hold tokens as they are, protected by their modes only. Wrap it in `encryptedStore` if you have a place
 * for the key, or keep tokens in the keychain with `keychainStore`.
 *
 * @throws `ConfigurationError` `config_invalid`; TypeError `invalid_argument`. Methods throw {@link StoreError}:
 * `cache_permissions`, `cache_locked`, `decrypt_failed` or `store_unavailable`.
 *
 * @example
 *
 * ```ts
 * import { homedir } from "node:os";
 * import { join } from "node:path";
 * import { TokenManager } from "warehouse-oauth";
 * import { fileStore } from "warehouse-oauth/stores/file";
 *
 * const manager = new TokenManager({ store: fileStore({ directory: join(homedir(), ".my-tool", "tokens") }) });
 * ```
 */
export function fileStore(options: FileStoreOptions): Required<TokenStore> {
  const { directory } = options;
  if (typeof (directory as unknown) !== "string") throw invalidArgument('"directory" must be a string');
  if (directory === "" || directory.includes("\0")) {
    throw new ConfigurationError("config_invalid", 'expected "directory" to be the path of a folder', "directory");
  }
  return new FileStore(resolve(directory));
}

class FileStore implements Required<TokenStore> {
  readonly capabilities = { compareAndSet: true, durable: true } as const;
  readonly #root: string;
  readonly #turns = new Turns(MAX_AT_ONCE);
  readonly #records = new FileRegister(files, { durable: true });
  /** They mean nothing after a crash of the machine, so nobody waits until they are on the disk. */
  readonly #leaseRegister = new FileRegister(files, { durable: false });
  readonly #shelves = new RecordShelves(files, this.#records, () => systemClock.now());
  #leases: Promise<MachineLeases> | undefined;
  #checked = false;

  constructor(root: string) {
    this.#root = root;
  }

  read(key: string): Promise<{ readonly record: StoredRecord; readonly version: string } | undefined> {
    return this.#run("read", async () => {
      const standing = await this.#records.read(this.#folder("records", key));
      if (standing === undefined) return undefined;
      const parsed = parseKeyedRecord(standing.body ?? "");
      // In another's place it is another person's.
      if (parsed?.key !== key) throw failure("unreadable");
      return { record: parsed.record, version: standing.version };
    });
  }

  write(
    key: string,
    record: StoredRecord,
    { ifVersion, signal }: Called & { readonly ifVersion: string | undefined },
  ): Promise<string | undefined> {
    return this.#run("write", async () => {
      const folder = this.#folder("records", key);
      const version = await this.#records.write(folder, formatKeyedRecord({ key, record }), ifVersion, () =>
        signal?.throwIfAborted(),
      );
      // Upkeep where nobody lists: a record that begins pays for some of its neighbours.
      if (ifVersion === undefined && version !== undefined) await quietly(this.#shelves.tidy(dirname(folder)));
      return version;
    });
  }

  delete(key: string, { ifVersion, signal }: Called & { readonly ifVersion?: string } = {}): Promise<boolean> {
    const folder = this.#folder("records", key);
    return this.#run("delete", () => this.#records.remove(folder, ifVersion, () => signal?.throwIfAborted()));
  }

  lease(key: string, { ttlMs, signal }: Called & { readonly ttlMs: number }): Promise<Lease | undefined> {
    return this.#run("lease", async () => {
      this.#leases ??= describeMachine(system).then((machine) => new MachineLeases(this.#leaseRegister, machine));
      const leases = await this.#leases;
      try {
        const held = await leases.take(this.#folder("leases", key), ttlMs, () => signal?.throwIfAborted());
        return held && this.#inTurn(held);
      } catch (error) {
        throw lockedError(error);
      }
    });
  }

  due({
    before,
    limit,
    signal,
  }: Called & { readonly before: number; readonly limit: number }): Promise<
    readonly { readonly key: string; readonly dueAt: number }[]
  > {
    return this.#run("due", async () => {
      const found: { readonly key: string; readonly dueAt: number }[] = [];
      for (const { key, dueAt } of await this.#list(signal)) {
        if (dueAt !== undefined && dueAt < before) found.push({ key, dueAt });
      }
      return found.sort((a, b) => a.dueAt - b.dueAt).slice(0, limit);
    });
  }

  keys({
    prefix = "",
    after,
    limit,
    signal,
  }: Called & { readonly prefix?: string; readonly after?: string; readonly limit: number }): Promise<
    readonly string[]
  > {
    return this.#run("read", async () => {
      const all = (await this.#list(signal)).map(({ key }) => key);
      const found = all.filter((key) => key.startsWith(prefix) && (after === undefined || compareKeys(key, after) > 0));
      return found.sort(compareKeys).slice(0, limit);
    });
  }

  /** File names are hashes: keys may be longer than names can be, and differ in nothing but case. */
  #folder(kind: "records" | "leases", key: string): string {
    // JSON writes half characters as escapes, where UTF-8 would make them all the same.
    const name = createHash("sha256").update(JSON.stringify(key)).digest("hex");
    return `${this.#root}/${kind}/${name.slice(0, SHELF_LENGTH)}/${name}`;
  }

  #run<T>(operation: Operation, work: () => Promise<T>): Promise<T> {
    return this.#turns.run(async () => {
      try {
        await this.#checkRoot(operation);
        return await work();
      } catch (error) {
        throw storeErrorOf(error, operation);
      }
    });
  }

  /** Below a folder that nobody else may enter, nobody else puts anything. */
  async #checkRoot(operation: Operation): Promise<void> {
    if (this.#checked) return;
    this.#checked = await checkRoot(this.#root);
    if (this.#checked || (operation !== "write" && operation !== "lease")) return;
    await files.makeFolder(this.#root, true);
    this.#checked = await checkRoot(this.#root);
  }

  #inTurn(held: HeldLease): Lease {
    return {
      renew: (ttlMs) => this.#run("lease", () => held.renew(ttlMs)),
      release: () => this.#run("lease", () => held.release()),
    };
  }

  async #list(signal: AbortSignal | undefined): Promise<readonly ListedRecord[]> {
    const listed = await this.#shelves.list(`${this.#root}/records`, signal);
    const leases = await this.#leases;
    // A lease is removed when it is released. What is left is a dead holder's, under a key that nobody asks for again.
    await forEachShelf(files, `${this.#root}/leases`, async (shelf, registers, names) => {
      await this.#leaseRegister.sweep(shelf, names);
      for (const folder of registers) if (await files.isAbandoned(folder)) await leases?.dropFree(folder);
    });
    return listed;
  }
}

/** What the file system cannot say for itself, in the form in which it says the rest. */
function failure(code: "not_private" | "no_hard_links" | "unreadable"): Error {
  return Object.assign(new Error(code), { code });
}

/** Codes and sentences without a path: keys are in none, but the names of users are. */
function storeErrorOf(error: unknown, operation: Operation): unknown {
  if (OAuthError.is(error)) return error;
  if (error instanceof RegisterTrouble) {
    return error.kind === "busy"
      ? new StoreError("cache_locked", "other processes change this record without a pause; try again", operation)
      : new StoreError(
          "store_unavailable",
          "this process was paused while it wrote, and others went on: whether on what it wrote, nobody can tell",
          operation,
        );
  }
  const code = codeOf(error);
  if (code === undefined) return error; // the reason of an abort
  if (code === "unreadable") {
    const message = "a token file was cut, changed, or put in another's place; sign in again to replace it";
    return new StoreError("decrypt_failed", message, operation);
  }
  if (code === "ENOTDIR") {
    const message = 'something on the way to "directory" is a file and no folder (ENOTDIR); correct its path';
    return new StoreError("cache_permissions", message, operation);
  }
  if (PERMISSION_CODES.has(code)) {
    const message =
      `"directory" cannot be used (${code}): it and all in it must be plain folders and files of yours with modes 0700 and 0600, ` +
      "in a folder that you may enter; chmod -R go= makes them so. What is something else was not touched";
    return new StoreError("cache_permissions", message, operation);
  }
  const what = code === "no_hard_links" ? 'the file system of "directory" has no hard links' : "the disk says";
  return new StoreError("store_unavailable", `the token files cannot be used: ${what} (${code})`, operation, {
    cause: error,
  });
}

/** A lease that cannot be read may be somebody's. */
function lockedError(error: unknown): unknown {
  if (!PERMISSION_CODES.has(codeOf(error))) return error;
  return new StoreError(
    "cache_locked",
    'what lies in the place of a lease cannot be read: expected a file of yours with mode 0600; remove what is in "leases" of "directory" while nothing runs',
    "lease",
  );
}

function codeOf(error: unknown): string | undefined {
  const { code } = error as { readonly code?: unknown };
  return error instanceof Error && typeof code === "string" ? code : undefined;
}

/** Windows has no owners and modes that Node could tell: there the user's profile folder is what protects. */
function assertPrivate(stats: Stats, isRightKind: boolean): void {
  const user = process.geteuid?.();
  if (isRightKind && (user === undefined || (stats.uid === user && (stats.mode & FOREIGN_BITS) === 0))) return;
  throw failure("not_private");
}

/** Looks at what was opened, not at what has its name now. `false` if nothing is there. */
async function checkRoot(path: string): Promise<boolean> {
  const handle = await openIfThere(path, constants.O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (handle === undefined) return false;
  try {
    const stats = await handle.stat();
    assertPrivate(stats, stats.isDirectory());
    return true;
  } finally {
    await handle.close();
  }
}

function openIfThere(path: string, flags: number, mode?: number): Promise<fs.FileHandle | undefined> {
  return orIf("ENOENT", undefined, () => fs.open(path, flags, mode));
}

/** Gives `otherwise` instead of failing with one of these codes. */
async function orIf<T, Other>(codes: string, otherwise: Other, work: () => Promise<T>): Promise<T | Other> {
  try {
    return await work();
  } catch (error) {
    if (codes.split(" ").includes(codeOf(error) ?? "")) return otherwise;
    throw error;
  }
}

const files: RegisterFiles = {
  async list(folder) {
    // By name: in a folder that others cannot enter, only its owner could have put something else there.
    const stats = await orIf("ENOENT", undefined, () => fs.lstat(folder));
    if (stats === undefined) return undefined;
    assertPrivate(stats, stats.isDirectory());
    return orIf("ENOENT", undefined, () => fs.readdir(folder));
  },
  async read(path) {
    // Not blocking: whoever put a pipe there would have us wait for ever.
    const handle = await openIfThere(path, constants.O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (handle === undefined) return undefined;
    try {
      const stats = await handle.stat();
      assertPrivate(stats, stats.isFile());
      const { bytesRead, buffer } = await handle.read(new Uint8Array(stats.size), 0, stats.size, 0);
      return new TextDecoder().decode(buffer.subarray(0, bytesRead));
    } finally {
      await handle.close();
    }
  },
  async create(path, text, durable) {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | O_NOFOLLOW;
    const handle = await openIfThere(path, flags, FILE_MODE);
    if (handle === undefined) return false;
    try {
      if (text !== "") await handle.writeFile(text);
      if (durable) await handle.sync();
    } finally {
      await handle.close();
    }
    return true;
  },
  async link(from, to) {
    try {
      await fs.link(from, to);
      return "linked";
    } catch (error) {
      const code = codeOf(error);
      if (code === "EEXIST") return "exists";
      if (code === "ENOENT") return "gone";
      if (!NO_LINK_CODES.has(code)) throw error;
      throw failure("no_hard_links");
    }
  },
  async makeFolder(path, durable) {
    const first = await fs.mkdir(path, { recursive: true, mode: FOLDER_MODE });
    if (first === undefined || !durable) return;
    for (let made = path; made.length >= first.length; made = dirname(made)) await files.syncFolder(dirname(made));
  },
  moveFolder: (from, to) =>
    orIf(MOVE_REFUSED, false, async () => {
      await fs.rename(from, to);
      return true;
    }),
  remove: (path) => quietly(fs.unlink(path)),
  removeFolder: (path) => quietly(fs.rmdir(path)),
  async isAbandoned(path) {
    const stats = await orIf("ENOENT", undefined, () => fs.lstat(path));
    return stats !== undefined && systemClock.now() - stats.mtimeMs > ABANDONED_MS;
  },
  async syncFolder(folder) {
    if (process.platform === "win32") return; // folders cannot be opened there
    const handle = await openIfThere(folder, constants.O_RDONLY | O_DIRECTORY);
    try {
      await handle?.sync();
    } finally {
      await handle?.close();
    }
  },
};

async function quietly(work: Promise<void>): Promise<void> {
  await work.catch(() => undefined);
}

const system: MachineSystem = {
  pid: process.pid,
  platform: process.platform,
  // Not `performance.now()`, which counts from the start of each process.
  elapsedMs: () => Number(process.hrtime.bigint() / NANOSECONDS_PER_MS),
  wallMs: () => systemClock.now(),
  readText: (path) => fs.readFile(path, "utf8"),
  readLink: (path) => fs.readlink(path),
  isRunning(pid) {
    try {
      return process.kill(pid, 0);
    } catch (error) {
      return codeOf(error) !== "ESRCH"; // of another user, it may not be asked
    }
  },
};
