/**
 * Tokens in the keychain of the operating system, for command lines and desktop tools.
 *
 * @module
 */
import { createHash, randomUUID } from "node:crypto";
import process from "node:process";
import { ConfigurationError, OAuthError, StoreError } from "../core/errors.ts";
import { systemClock } from "../lib/clock.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";
import { systemRandom } from "../lib/system-random.ts";
import type { StoredRecord, TokenStore } from "../session/store.ts";

/** One entry of a keychain, as `@napi-rs/keyring` has it. */
export interface KeyringEntry {
  /** Replaces what the entry holds. */
  setSecret(secret: Uint8Array): Promise<unknown>;
  /** Gives what the entry holds; `null` or `undefined` if there is none. */
  getSecret(): Promise<ArrayLike<number> | null | undefined>;
  /** Removes the entry. */
  deleteCredential(): Promise<unknown>;
}

/** What {@link keychainStore} needs of `@napi-rs/keyring`. */
export interface Keyring {
  /** Makes the handle of an entry, without looking whether it is there. */
  readonly AsyncEntry: new (
    service: string,
    account: string,
    options?: { readonly linux?: { readonly store?: "secret-service" | "keyutils" } },
  ) => KeyringEntry;
}

/** Options of {@link keychainStore}. */
export interface KeychainStoreOptions {
  /** What the entries are listed under in the keychain: the name of your tool. */
  readonly service: string;
  /**
   * A store with compare-and-set and leases, such as `fileStore`, for all that is no secret: keys, versions, times and
   * leases. Without it, warehouses that replace refresh tokens are refused.
   */
  readonly index?: TokenStore;
  /** The module, if you load it yourself. Default is `import("@napi-rs/keyring")` when it is first needed. */
  readonly keyring?: Keyring;
}

type Operation = StoreError["operation"];

interface Called {
  readonly signal?: AbortSignal;
}

/** Where the value of a record lies: entries of its own, written once and never changed. */
interface Pointer {
  readonly id: string;
  readonly parts: number;
}

/** A pointer as it lies in the keychain itself, where there is no index. */
interface Entry extends Pointer {
  readonly dueAt?: number;
  readonly deleteAfter?: number;
}

/** Records that a login looks after. */
const LOOKED_AFTER = 8;

/** Records that it chooses them from. */
const LISTED = 1_000;

/**
 * Windows keeps 2560 bytes in a credential (CRED_MAX_CREDENTIAL_BLOB_SIZE of wincred.h, checked 2026-11-22). Elsewhere
 * there is no such limit; this keeps single messages on the bus small.
 */
const PART_BYTES = process.platform === "win32" ? 2_560 : 65_536;

/** Times to look again when a value is gone that was just pointed to: somebody replaces it at that moment. */
const MAX_READS = 5;

/** Long enough for a name, short enough for all keychains. */
const MAX_SERVICE_LENGTH = 200;

const SERVICE = /^[\p{L}\p{N}][\p{L}\p{N} ._:/@-]*$/u;

/**
 * Keeps tokens in the keychain: Keychain on macOS, Credential Manager on Windows, Secret Service on Linux. Needs the
 * package `@napi-rs/keyring`, 2.1 or later.
 *
 * A keychain can neither compare-and-set nor lend a lease, so alone it is for warehouses whose refresh tokens stay the
 * same, such as BigQuery. With `index` it has what the index has: each value is written into entries of its own, and the
 * index, which says where, decides which of two writers was first.
 *
 * On Linux the kernel's key ring is never taken instead: it forgets everything at a restart.
 *
 * @throws `ConfigurationError` `config_invalid`; TypeError `invalid_argument`. Methods throw {@link StoreError}
 * `store_unavailable` if there is no keychain, or it stays locked, and `decrypt_failed` for a value that is gone or
 * changed; `ConfigurationError` `config_invalid` if the package is not installed.
 *
 * @example
 *
 * ```ts
 * import { homedir } from "node:os";
 * import { join } from "node:path";
 * import { TokenManager } from "warehouse-oauth";
 * import { fileStore } from "warehouse-oauth/stores/file";
 * import { keychainStore } from "warehouse-oauth/stores/keychain";
 *
 * const index = fileStore({ directory: join(homedir(), ".my-tool", "sessions") });
 * const manager = new TokenManager({ store: keychainStore({ service: "my-tool", index }) });
 * ```
 */
export function keychainStore(options: KeychainStoreOptions): TokenStore {
  const { service, index, keyring } = options;
  if (typeof (service as unknown) !== "string") throw invalidArgument('"service" must be a string');
  if (service.length > MAX_SERVICE_LENGTH || !SERVICE.test(service)) {
    throw new ConfigurationError(
      "config_invalid",
      `expected "service" to be the name of your tool: letters, digits and " ._:/@-", at most ${String(MAX_SERVICE_LENGTH)}`,
      "service",
    );
  }
  const keychain = new Keychain(service, keyring);
  return index === undefined ? new LoneStore(keychain) : indexedStore(keychain, index);
}

/** Values and other texts in entries of the keychain. */
class Keychain {
  readonly #service: string;
  #keyring: Keyring | undefined;

  constructor(service: string, keyring: Keyring | undefined) {
    this.#service = service;
    this.#keyring = keyring;
  }

  /** Writes a value where nothing was before. The key goes with it: in another's place it is not that record's value. */
  async putValue(key: string, value: string, operation: Operation, signal: AbortSignal | undefined): Promise<Pointer> {
    const bytes = new TextEncoder().encode(JSON.stringify([key, value]));
    const pointer = { id: randomUUID(), parts: Math.ceil(bytes.length / PART_BYTES) };
    try {
      for (let part = 0; part < pointer.parts; part++) {
        signal?.throwIfAborted();
        const secret = bytes.slice(part * PART_BYTES, (part + 1) * PART_BYTES);
        await this.put(partName(pointer, part), secret, operation);
      }
    } catch (error) {
      await this.dropValue(pointer);
      throw error;
    }
    return pointer;
  }

  /** @returns `undefined` if it is gone. */
  async getValue(key: string, pointer: Pointer): Promise<string | undefined> {
    const parts: number[] = [];
    for (let part = 0; part < pointer.parts; part++) {
      const bytes = await this.get(partName(pointer, part), "read");
      if (bytes === undefined) return undefined;
      for (const byte of Array.from(bytes)) parts.push(byte);
    }
    const found = parse(parts);
    if (!Array.isArray(found) || found[0] !== key || typeof found[1] !== "string") throw lostValue();
    return found[1];
  }

  /** What cannot be removed stays, and is nobody's. */
  async dropValue(pointer: Pointer): Promise<void> {
    for (let part = 0; part < pointer.parts; part++) {
      await this.drop(partName(pointer, part), "delete").catch(() => undefined);
    }
  }

  get(account: string, operation: Operation): Promise<ArrayLike<number> | undefined> {
    return this.#use(account, operation, async (entry) => (await entry.getSecret()) ?? undefined);
  }

  put(account: string, secret: Uint8Array, operation: Operation): Promise<unknown> {
    return this.#use(account, operation, (entry) => entry.setSecret(secret));
  }

  drop(account: string, operation: Operation): Promise<unknown> {
    return this.#use(account, operation, (entry) => entry.deleteCredential());
  }

  async #use<T>(account: string, operation: Operation, work: (entry: KeyringEntry) => Promise<T>): Promise<T> {
    this.#keyring ??= await loadKeyring();
    try {
      // Without a choice of store the module falls back to the kernel's, finds nothing there, and nobody is signed in.
      return await work(new this.#keyring.AsyncEntry(this.#service, account, { linux: { store: "secret-service" } }));
    } catch (error) {
      const message = "the keychain cannot be used: is it locked, not allowed, or is this no desktop session?";
      throw new StoreError("store_unavailable", message, operation, { cause: error });
    }
  }
}

async function loadKeyring(): Promise<Keyring> {
  try {
    return await import("@napi-rs/keyring");
  } catch (error) {
    const message = 'the keychain needs a package of its own: npm install "@napi-rs/keyring", with its optional parts';
    throw new ConfigurationError("config_invalid", message, "keyring", { cause: error });
  }
}

/** All in the keychain, and nothing that could tell which of two writers was first. */
class LoneStore implements TokenStore {
  readonly capabilities = { compareAndSet: false, durable: true } as const;
  readonly #keychain: Keychain;
  /** One after the other, so that at least this process does not overwrite itself. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(keychain: Keychain) {
    this.#keychain = keychain;
  }

  async read(key: string): Promise<{ readonly record: StoredRecord; readonly version: string } | undefined> {
    for (let reads = 0; reads < MAX_READS; reads++) {
      const entry = await this.#entry(key, "read");
      if (entry === undefined) return undefined;
      const { id, parts, ...times } = entry;
      const value = await this.#keychain.getValue(key, { id, parts });
      if (value !== undefined) return { record: { value, ...times }, version: id };
    }
    throw lostValue();
  }

  write(
    key: string,
    { value, dueAt, deleteAfter }: StoredRecord,
    { ifVersion, signal }: Called & { readonly ifVersion: string | undefined },
  ): Promise<string | undefined> {
    return this.#inTurn(async () => {
      const before = await this.#entry(key, "write");
      if (before?.id !== ifVersion) return undefined;
      const pointer = await this.#keychain.putValue(key, value, "write", signal);
      const entry = new TextEncoder().encode(JSON.stringify({ ...pointer, dueAt, deleteAfter }));
      await this.#keychain.put(accountOf(key), entry, "write");
      if (before !== undefined) await this.#keychain.dropValue(before);
      return pointer.id;
    });
  }

  delete(key: string, { ifVersion }: Called & { readonly ifVersion?: string } = {}): Promise<boolean> {
    return this.#inTurn(async () => {
      const before = await this.#entry(key, "delete").catch(ignoreUnreadable);
      if (before !== undefined && ifVersion !== undefined && before.id !== ifVersion) return false;
      await this.#keychain.drop(accountOf(key), "delete");
      if (before !== undefined) await this.#keychain.dropValue(before);
      return true;
    });
  }

  async #entry(key: string, operation: Operation): Promise<Entry | undefined> {
    const bytes = await this.#keychain.get(accountOf(key), operation);
    if (bytes === undefined) return undefined;
    const { dueAt, ...members } = membersOf(parse(bytes));
    const pointer = pointerOf(members);
    if (pointer === undefined) throw lostValue();
    return { ...pointer, ...(typeof dueAt === "number" && { dueAt }), ...endOf(members) };
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#last.then(work);
    this.#last = next.catch(() => undefined);
    return next;
  }
}

/**
 * The index has the pointer where its own records have the value, and all else is as the index does it. But when a record
 * is over is in the pointer: an index that dropped it would leave its tokens in the keychain, and nobody knew where.
 */
function indexedStore(keychain: Keychain, index: TokenStore): TokenStore {
  return {
    capabilities: index.capabilities,
    async read(key, options) {
      for (let reads = 0; reads < MAX_READS; reads++) {
        const found = await index.read(key, options);
        if (found === undefined) return undefined;
        const members = membersOf(parseText(found.record.value));
        const pointer = pointerOf(members);
        if (pointer === undefined) throw lostValue();
        const value = await keychain.getValue(key, pointer);
        if (value === undefined) continue;
        return { record: { ...found.record, value, ...endOf(members) }, version: found.version };
      }
      throw lostValue();
    },
    async write(key, { value, deleteAfter, ...times }, options) {
      // Most conflicts show here, without a word to the keychain; the write below decides about the rest.
      const before = await index.read(key, options);
      if (before?.version !== options.ifVersion) return undefined;
      const pointer = await keychain.putValue(key, value, "write", options.signal);
      const record = { ...times, value: JSON.stringify({ ...pointer, deleteAfter }) };
      const version = await index.write(key, record, options);
      if (version === undefined) await keychain.dropValue(pointer);
      else await dropPointed(keychain, before?.record.value);
      // Upkeep that nobody waits for, since a keychain may ask a person.
      if (version !== undefined && before === undefined) dropSomeOver(keychain, index).catch(() => undefined);
      return version;
    },
    async delete(key, options) {
      const before = await index.read(key, options).catch(ignoreUnreadable);
      // The version that was read: what is written meanwhile has other entries, and they would be nobody's.
      const isGone = await index.delete(key, { ...(before && { ifVersion: before.version }), ...options });
      if (isGone) await dropPointed(keychain, before?.record.value);
      return isGone;
    },
    // What the index cannot, this store must not seem to.
    ...(index.lease && { lease: index.lease.bind(index) }),
    ...(index.due && { due: index.due.bind(index) }),
    ...(index.keys && { keys: index.keys.bind(index) }),
  };
}

/** Deletes what is over of a few records, from a random one on. */
async function dropSomeOver(keychain: Keychain, index: TokenStore): Promise<void> {
  const keys = (await index.keys?.({ limit: LISTED })) ?? [];
  const from = Math.floor(systemRandom() * keys.length);
  for (const key of [...keys.slice(from), ...keys.slice(0, from)].slice(0, LOOKED_AFTER)) {
    const found = await index.read(key, {});
    const { deleteAfter = Infinity } = endOf(membersOf(parseText(found?.record.value ?? "")));
    if (found === undefined || deleteAfter > systemClock.now()) continue;
    const isGone = await index.delete(key, { ifVersion: found.version });
    if (isGone) await dropPointed(keychain, found.record.value);
  }
}

function endOf({ deleteAfter }: Readonly<Record<string, unknown>>): { readonly deleteAfter?: number } {
  return typeof deleteAfter === "number" ? { deleteAfter } : {};
}

async function dropPointed(keychain: Keychain, text: string | undefined): Promise<void> {
  const pointer = text === undefined ? undefined : pointerOf(membersOf(parseText(text)));
  if (pointer !== undefined) await keychain.dropValue(pointer);
}

/** What cannot be read can be deleted all the same. */
function ignoreUnreadable(error: unknown): undefined {
  if (OAuthError.is(error) && error.code === "decrypt_failed") return undefined;
  throw error;
}

function lostValue(): StoreError {
  return new StoreError(
    "decrypt_failed",
    "the value of a record is not in the keychain, or not the one that was written; sign in again to replace it",
    "read",
  );
}

/** Keychains show names to people and to other programs, and some limit their length. */
function accountOf(key: string): string {
  return createHash("sha256").update(JSON.stringify(key)).digest("hex");
}

function partName({ id }: Pointer, part: number): string {
  return `${id}.${String(part)}`;
}

function parse(bytes: ArrayLike<number>): unknown {
  return parseText(new TextDecoder().decode(Uint8Array.from(bytes)));
}

function parseText(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function membersOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

function pointerOf({ id, parts }: Readonly<Record<string, unknown>>): Pointer | undefined {
  return typeof id === "string" && typeof parts === "number" ? { id, parts } : undefined;
}
