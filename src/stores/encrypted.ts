/**
 * Seals what another store keeps, with keys that can be replaced while everything runs.
 *
 * @module
 */
import { ConfigurationError, OAuthError, StoreError } from "../core/errors.ts";
import { systemClock } from "../lib/clock.ts";
import type { Clock } from "../lib/clock.ts";
import { DataKeys, KeyProviderFailure } from "../lib/sealing/data-keys.ts";
import type { DataKeyOptions, KeyProvider } from "../lib/sealing/data-keys.ts";
import { callIsolated } from "../lib/call-isolated.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";
import { JoinedKeys } from "../lib/sealing/joined-keys.ts";
import { KeyRing, createKeyRing } from "../lib/sealing/key-ring.ts";
import type { RingKey, SealKeys } from "../lib/sealing/key-ring.ts";
import { INSPECT, REDACTED } from "../lib/redact.ts";
import { isSealedNow, openRecord, sealRecord } from "../lib/sealing/sealed-record.ts";
import type { OpenedRecord, RecordPlace } from "../lib/sealing/sealed-record.ts";
import type { StoredRecord, TokenStore } from "../session/store.ts";

export type { DataKeyContext, DataKeyOptions, KeyProvider } from "../lib/sealing/data-keys.ts";
export type { KeyRing, RingKey } from "../lib/sealing/key-ring.ts";
export { localKeyProvider } from "../lib/sealing/local-key-provider.ts";

/** How to seal. */
export interface EncryptedStoreOptions {
  /** A ring of keys of your own, made by {@link keyRing}, or a key service. */
  readonly keys: KeyRing | KeyProvider;
  /**
   * What else opens, and seals nothing: the ring while records move from it to a key service, the service on the way back.
   * Never of the same kind as `keys`: one ring holds many keys, one provider asks many services.
   */
  readonly alsoOpens?: KeyRing | KeyProvider;
  /** With a {@link KeyProvider} only. */
  readonly dataKeys?: DataKeyOptions;
  /** Default is the system's. */
  readonly clock?: Clock;
}

/** What {@link EncryptedStore.reseal} looks at, and how fast. */
export interface ResealOptions {
  /** Ends it between two records; its reason is rethrown untouched. */
  readonly signal?: AbortSignal;
  /** Only keys that begin like this: one tenant's, for example. */
  readonly prefix?: string;
  /** Goes on after this key: `after` of a run that was cut short. */
  readonly after?: string;
  /** Records at once. Default is 4. */
  readonly atOnce?: number;
  /** Told after each page of 100 keys. */
  readonly onProgress?: (progress: ResealProgress) => void;
  /** Told of each record that cannot be opened. It stays as it is. */
  readonly onUnreadable?: (key: string, code: "decrypt_failed" | "unknown_key") => void;
}

/** What {@link EncryptedStore.reseal} has done so far. */
export interface ResealProgress {
  /** Records seen: the sum of those below. */
  readonly looked: number;
  /** Sealed anew. */
  readonly resealed: number;
  /** Sealed with the first key already; they were opened, to be sure. */
  readonly current: number;
  /** Cannot be opened with any key here. */
  readonly unreadable: number;
  /** Written by others at each of five tries, or deleted meanwhile. Run it again. */
  readonly skipped: number;
  /** Everything up to this key is done. */
  readonly after: string | undefined;
}

/** A store whose records nobody reads without the keys. Has `lease`, `due` and `keys` if the store inside has them. */
export interface EncryptedStore extends TokenStore {
  /**
   * Seals every record with the first key that is not sealed with it yet, while managers go on. Writes only on the
   * version it read, so it never undoes what somebody else wrote.
   *
   * @throws `ConfigurationError` `store_incapable` where the store inside cannot list keys or compare versions;
   * {@link StoreError} if the store or the key provider fails; TypeError `invalid_argument` if the key provider gives
   * what is no answer; the abort reason.
   */
  reseal(options?: ResealOptions): Promise<ResealProgress>;
}

/** Keys asked for at once. */
const PAGE = 100;

/** Records at once, unless said otherwise: a sweep must not crowd out those who work. */
const DEFAULT_AT_ONCE = 4;

/** Tries for a record that others write. Whoever writes seals it anew anyway, unless it is an old process. */
const MAX_TRIES = 5;

/** What is safe to show of a key id that comes from a store. */
const PLAIN_ID = /^[A-Za-z0-9._:/-]{1,256}$/;

/**
 * Makes a ring of keys: the first one seals, all of them open.
 *
 * @throws `ConfigurationError` `config_invalid` for keys of less than 32 bytes, and for what is not random.
 *
 * @example
 *
 * ```ts
 * import { keyRing } from "warehouse-oauth/stores/encrypted";
 *
 * declare const secrets: { readonly current: string; readonly previous: string }; // openssl rand -base64 32
 *
 * export const keys = keyRing([
 *   { id: "2026-11", key: secrets.current },
 *   { id: "2025-11", key: secrets.previous },
 * ]);
 * ```
 */
export function keyRing(keys: readonly RingKey[]): KeyRing {
  if (!Array.isArray(keys) || keys.some((key: unknown) => typeof key !== "object" || key === null)) {
    throw invalidArgument('keyRing takes an array of { "id", "key" }');
  }
  const ring = createKeyRing(keys);
  if (typeof ring === "string") throw new ConfigurationError("config_invalid", `"keys": ${ring}`, "keys");
  return ring;
}

/**
 * Wraps a store so that it keeps sealed text only, bound to the key it is kept under.
 *
 * @throws `ConfigurationError` `config_invalid`.
 *
 * @example
 *
 * ```ts
 * import { TokenManager, type TokenStore } from "warehouse-oauth";
 * import { encryptedStore, keyRing } from "warehouse-oauth/stores/encrypted";
 *
 * declare const database: TokenStore;
 * declare const key: string; // openssl rand -base64 32
 *
 * const keys = keyRing([{ id: "2026-11", key }]);
 * export const manager = new TokenManager({ store: encryptedStore(database, { keys }) });
 * ```
 */
export function encryptedStore(store: TokenStore, options: EncryptedStoreOptions): EncryptedStore {
  if (typeof store !== "object" || (store as unknown) === null) throw invalidArgument('"store" must be a TokenStore');
  if (typeof options !== "object" || (options as unknown) === null)
    throw invalidArgument('"options" must be an object');
  const { keys, alsoOpens, dataKeys, clock = systemClock } = options;
  const isRing = keys instanceof KeyRing;
  assertKeys(keys, "keys");
  if (alsoOpens !== undefined) {
    assertKeys(alsoOpens, "alsoOpens");
    if (alsoOpens instanceof KeyRing === isRing) {
      const advice = isRing ? "put all keys into one ring" : "make one provider that asks both services";
      throw new ConfigurationError("config_invalid", `"alsoOpens" is of the kind of "keys": ${advice}`, "alsoOpens");
    }
  }
  if (isRing && alsoOpens === undefined && dataKeys !== undefined) {
    throw new ConfigurationError("config_invalid", '"dataKeys" has no use with a key ring', "dataKeys");
  }
  for (const [name, value] of Object.entries(dataKeys ?? {}) as [string, unknown][]) {
    if (value === undefined || (typeof value === "number" && value >= 1)) continue;
    throw new ConfigurationError("config_invalid", `"dataKeys.${name}" must be 1 or more`, "dataKeys");
  }
  const open = (from: KeyRing | KeyProvider): SealKeys =>
    from instanceof KeyRing ? from : new DataKeys(from, clock, dataKeys);
  return new SealingStore(store, alsoOpens === undefined ? open(keys) : new JoinedKeys(open(keys), open(alsoOpens)));
}

function assertKeys(keys: KeyRing | KeyProvider, option: "keys" | "alsoOpens"): void {
  if (keys instanceof KeyRing || isKeyProvider(keys)) return;
  throw new ConfigurationError("config_invalid", `"${option}" must be made by keyRing, or wrap and unwrap`, option);
}

function isKeyProvider(value: unknown): value is KeyProvider {
  if (typeof value !== "object" || value === null) return false;
  const { wrap, unwrap } = value as Partial<Record<keyof KeyProvider, unknown>>;
  return typeof wrap === "function" && typeof unwrap === "function";
}

class SealingStore implements EncryptedStore {
  readonly capabilities: TokenStore["capabilities"];
  declare readonly lease?: NonNullable<TokenStore["lease"]>;
  declare readonly due?: NonNullable<TokenStore["due"]>;
  declare readonly keys?: NonNullable<TokenStore["keys"]>;
  readonly #store: TokenStore;
  readonly #keys: SealKeys;

  constructor(store: TokenStore, keys: SealKeys) {
    this.capabilities = store.capabilities;
    this.#store = store;
    this.#keys = keys;
    // A method that is there is a promise: only what the store inside has.
    if (store.lease !== undefined) this.lease = store.lease.bind(store);
    if (store.due !== undefined) this.due = store.due.bind(store);
    if (store.keys !== undefined) this.keys = store.keys.bind(store);
  }

  async read(
    key: string,
    options: { readonly signal?: AbortSignal },
  ): Promise<{ readonly record: StoredRecord; readonly version: string } | undefined> {
    const found = await this.#store.read(key, options);
    if (found === undefined) return undefined;
    const opened = await this.#open(found.record.value, placeOf(key, options), "read");
    if ("failure" in opened) throw unreadable(opened);
    return { record: { ...found.record, value: opened.text }, version: found.version };
  }

  async write(
    key: string,
    record: StoredRecord,
    options: { readonly signal?: AbortSignal; readonly ifVersion: string | undefined },
  ): Promise<string | undefined> {
    const value = await this.#seal(record.value, placeOf(key, options));
    return this.#store.write(key, { ...record, value }, options);
  }

  /**
   * Without a version it deletes what stands now: a delete that waits for a connection, or that a client sends once more,
   * must not meet the login that came meanwhile.
   */
  async delete(key: string, options: { readonly signal?: AbortSignal; readonly ifVersion?: string }): Promise<boolean> {
    if (options.ifVersion !== undefined) return this.#store.delete(key, options);
    const { signal } = options;
    const ifVersion = await this.#versionAt(key, options);
    if (ifVersion === "absent") return true;
    signal?.throwIfAborted();
    return this.#store.delete(key, { ...options, ...(ifVersion !== "unreadable" && { ifVersion: ifVersion.is }) });
  }

  async #versionAt(
    key: string,
    options: { readonly signal?: AbortSignal },
  ): Promise<{ readonly is: string } | "absent" | "unreadable"> {
    try {
      const found = await this.#store.read(key, options);
      return found === undefined ? "absent" : { is: found.version };
    } catch (error) {
      // What the store inside cannot read has no version, and is to go all the same.
      if (OAuthError.is(error) && error.code === "decrypt_failed") return "unreadable";
      throw error;
    }
  }

  async reseal(options: ResealOptions = {}): Promise<ResealProgress> {
    const { signal, prefix, onProgress, onUnreadable, atOnce = DEFAULT_AT_ONCE } = options;
    if (!Number.isInteger(atOnce) || atOnce < 1) {
      throw new ConfigurationError("config_invalid", '"atOnce" must be a whole number of 1 or more', "atOnce");
    }
    const { keys: listKeys, capabilities } = this;
    if (listKeys === undefined || !capabilities.compareAndSet) {
      throw new ConfigurationError(
        "store_incapable",
        '"reseal" needs a store with "keys" and compare-and-set',
        "store",
      );
    }
    // The key service may have another key since the last data key was made.
    this.#keys.startOver?.();
    const count = { looked: 0, resealed: 0, current: 0, unreadable: 0, skipped: 0 };
    let { after } = options;
    for (;;) {
      signal?.throwIfAborted();
      const waiting = await passing("read", signal, () =>
        listKeys({
          limit: PAGE,
          ...(prefix !== undefined && { prefix }),
          ...(after !== undefined && { after }),
          ...(signal !== undefined && { signal }),
        }),
      );
      const page = [...waiting];
      const work = async (): Promise<void> => {
        for (let key = page.shift(); key !== undefined; key = page.shift()) {
          signal?.throwIfAborted();
          const outcome = await this.#resealOne(key, signal);
          count.looked += 1;
          if (outcome === "decrypt_failed" || outcome === "unknown_key") {
            count.unreadable += 1;
            if (onUnreadable !== undefined) callIsolated(onUnreadable, key, outcome);
          } else {
            count[outcome] += 1;
          }
        }
      };
      const workers = Array.from({ length: atOnce }, () =>
        work().finally(() => {
          // Done, or one failed: then the others end with what they have in hand.
          page.length = 0;
        }),
      );
      for (const worker of await Promise.allSettled(workers)) if (worker.status === "rejected") throw worker.reason;
      after = waiting.at(-1) ?? after;
      const progress = Object.freeze({ ...count, after });
      if (waiting.length > 0 && onProgress !== undefined) callIsolated(onProgress, progress);
      if (waiting.length < PAGE) return progress;
    }
  }

  async #resealOne(
    key: string,
    signal: AbortSignal | undefined,
  ): Promise<"resealed" | "current" | "skipped" | "decrypt_failed" | "unknown_key"> {
    const options = signal === undefined ? {} : { signal };
    const place = placeOf(key, options);
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const found = await passing("read", signal, () => this.#store.read(key, options));
      if (found === undefined) return "skipped";
      const opened = await this.#open(found.record.value, place, "read");
      if ("failure" in opened) return opened.failure === "unreadable" ? "decrypt_failed" : opened.failure;
      if (await providing("write", () => isSealedNow(opened.sealedBy, place, this.#keys))) return "current";
      const value = await this.#seal(opened.text, place);
      const { version: ifVersion, record } = found;
      const version = await passing("write", signal, () =>
        this.#store.write(key, { ...record, value }, { ...options, ifVersion }),
      );
      if (version !== undefined) return "resealed";
    }
    return "skipped";
  }

  #seal(text: string, place: RecordPlace): Promise<string> {
    return providing("write", () => sealRecord(text, place, this.#keys));
  }

  #open(sealed: string, place: RecordPlace, operation: StoreError["operation"]): Promise<OpenedRecord> {
    return providing(operation, () => openRecord(sealed, place, this.#keys));
  }

  toJSON(): string {
    return `EncryptedStore ${REDACTED}`;
  }

  [INSPECT](): string {
    return this.toJSON();
  }
}

/** The first part of a session's key is its tenant; a key of another form belongs to none. */
function placeOf(key: string, waiter: RecordPlace["waiter"]): RecordPlace {
  const end = key.indexOf("/");
  return { key, tenant: end <= 0 ? undefined : decodePart(key.slice(0, end)), waiter };
}

function decodePart(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}

/** A key service that is down is a store that is down: try later. Nobody signs in again for it. */
async function providing<T>(operation: StoreError["operation"], ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof KeyProviderFailure)) throw error;
    const cause = KeyProviderFailure.thrownOf(error);
    const message = `the key provider failed at "${operation}"; the store can be used again when it answers`;
    throw new StoreError("store_unavailable", message, operation, { cause });
  }
}

/** What managers do for `read` and `write`, a sweep does for itself. */
async function passing<T>(
  operation: StoreError["operation"],
  signal: AbortSignal | undefined,
  ask: () => Promise<T>,
): Promise<T> {
  try {
    return await ask();
  } catch (cause) {
    signal?.throwIfAborted();
    if (OAuthError.is(cause)) throw cause;
    throw new StoreError("store_unavailable", `the token store failed at "${operation}"`, operation, { cause });
  }
}

function unreadable(opened: Exclude<OpenedRecord, { readonly text: string }>): StoreError {
  if (opened.failure === "unreadable") {
    return new StoreError(
      "decrypt_failed",
      "a stored record cannot be opened: it was changed, belongs under another key, or was sealed with another key of " +
        "the same id; sign in again to replace it",
      "read",
    );
  }
  const id = PLAIN_ID.test(opened.keyId) ? ` "${opened.keyId}"` : "";
  return new StoreError(
    "unknown_key",
    `a stored record is sealed with the key${id}, which is not among "keys"; add it if you have it, or sign in again`,
    "read",
    // Without the key nobody reads it ever again: a login is what cures it (requirements S-077).
    { action: "reauthorize" },
  );
}
