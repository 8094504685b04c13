import { OAuthError, StoreError } from "../core/index.ts";
import type { Clock } from "../lib/clock.ts";
import { setDeadline } from "../lib/deadline.ts";
import { LeaseKeeper } from "./lease-keeper.ts";
import { formatRecord, readRecord } from "./record.ts";
import type { SessionRecord } from "./record.ts";
import type { Lease, StoredRecord, TokenStore } from "./store.ts";

/** Time for one operation of a store: longer, and callers wait on a database instead of on us. */
const STORE_DEADLINE_MS = 5_000;

/** A record and the version it was read or written with. */
export interface VersionedRecord {
  readonly record: SessionRecord;
  readonly version: string;
  /** As the store lists it, where it was read. */
  readonly dueAt?: number | undefined;
}

/** What lies where something is about to be written. */
export interface Replaceable {
  readonly record?: SessionRecord;
  /** Absent where nothing is stored, or not any more. */
  readonly version?: string;
  /** Why nobody can read what lies or lay there. */
  readonly unreadable?: StoreError;
}

/** A store as the manager sees it: records instead of texts, a deadline on everything, one kind of error. */
export class GuardedStore {
  readonly #store: TokenStore;
  readonly #clock: Clock;

  constructor(store: TokenStore, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** Other processes may see it. */
  get durable(): boolean {
    return this.#store.capabilities.durable;
  }

  /** Two writers cannot both win, and two refreshers cannot both begin. */
  get coordinates(): boolean {
    return this.#store.capabilities.compareAndSet && this.#store.lease !== undefined;
  }

  get listsDue(): boolean {
    return this.#store.due !== undefined;
  }

  /** @throws {@link StoreError} */
  async read(key: string): Promise<VersionedRecord | undefined> {
    const found = await this.#call("read", (until) => this.#store.read(key, optionsWith(until, {})));
    return found && { record: readRecord(found.record), version: found.version, dueAt: found.record.dueAt };
  }

  /**
   * Reads what is about to be replaced, whatever it is: a record that nobody can read must not keep a person from
   * signing in or out. What the store itself cannot open is deleted, so that nothing is there.
   *
   * @throws {@link StoreError} if the store does not answer.
   */
  async readToReplace(key: string): Promise<Replaceable> {
    try {
      const found = await this.#call("read", (until) => this.#store.read(key, optionsWith(until, {})));
      return found === undefined ? {} : { ...recordOf(found.record), version: found.version };
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      await this.#call("delete", (until) => this.#store.delete(key, optionsWith(until, {})));
      return { unreadable: error };
    }
  }

  /**
   * Writes and gives the new version; `undefined` if another version was stored.
   *
   * @throws {@link StoreError}
   */
  write(
    key: string,
    record: SessionRecord,
    times: Omit<StoredRecord, "value">,
    ifVersion: string | undefined,
  ): Promise<string | undefined> {
    const stored = formatRecord(record, times);
    return this.#call("write", (until) => this.#store.write(key, stored, optionsWith(until, { ifVersion })));
  }

  /**
   * Tries once to get the lease; `undefined` if somebody holds it. A store without leases gives one that nobody contests.
   *
   * @throws {@link StoreError}
   */
  async lease(key: string, ttlMs: number): Promise<LeaseKeeper | undefined> {
    const askedAt = this.#clock.monotonic();
    if (this.#store.lease === undefined) return new LeaseKeeper(undefined, this.#clock, ttlMs, askedAt);
    let gaveUp = false;
    const take = async (until: AbortController): Promise<Lease | undefined> => {
      const got = await this.#store.lease?.(key, optionsWith(until, { ttlMs }));
      // Nobody here waits for it any more, and nobody else could have it.
      if (gaveUp) await got?.release();
      return got;
    };
    const lease = await this.#call("lease", take).catch((error: unknown) => {
      gaveUp = true;
      throw error;
    });
    return lease && new LeaseKeeper(this.#inTime(lease), this.#clock, ttlMs, askedAt);
  }

  /** @throws {@link StoreError} */
  due(before: number, limit: number): Promise<readonly { readonly key: string; readonly dueAt: number }[]> {
    return this.#call("due", async (until) => (await this.#store.due?.(optionsWith(until, { before, limit }))) ?? []);
  }

  /** A lease that cannot be given back must not hold up those who wait for the token. */
  #inTime(lease: Lease): Lease {
    return {
      renew: (ttlMs) => this.#call("lease", () => lease.renew(ttlMs)),
      release: () => this.#call("lease", () => lease.release()),
    };
  }

  async #call<T>(operation: StoreError["operation"], run: (until: AbortController) => Promise<T>): Promise<T> {
    const deadline = new AbortController();
    let cancel = (): void => undefined;
    const late = new Promise<never>((_resolve, reject) => {
      // It keeps the process alive: a store whose client does not must not end a tool without a word.
      cancel = setDeadline(this.#clock, STORE_DEADLINE_MS, () => {
        reject(unavailable(operation, undefined, `did not answer within ${String(STORE_DEADLINE_MS)} ms`));
        deadline.abort();
      });
    });
    try {
      return await Promise.race([run(deadline), late]);
    } catch (error) {
      // A store's own coded errors (a wrong key, a locked file) say more than we could.
      throw OAuthError.is(error) ? error : unavailable(operation, error, "failed");
    } finally {
      cancel();
    }
  }
}

/** Adds the signal, made when a store looks at it: making one costs more than all else here, and few stores look. */
function optionsWith<Options extends object>(
  until: AbortController,
  options: Options,
): Options & { readonly signal: AbortSignal } {
  const signal = { configurable: true, enumerable: true, get: () => until.signal };
  return Object.defineProperty(options, "signal", signal) as Options & { readonly signal: AbortSignal };
}

/** The record, or why the text is none. */
function recordOf(stored: StoredRecord): Pick<Replaceable, "record" | "unreadable"> {
  try {
    return { record: readRecord(stored) };
  } catch (error) {
    if (isUnreadable(error)) return { unreadable: error };
    throw error;
  }
}

/** The store answered, and what it has is of no use: sealed with a key that is gone, or changed. */
function isUnreadable(error: unknown): error is StoreError {
  return error instanceof StoreError && (error.code === "decrypt_failed" || error.code === "unknown_key");
}

function unavailable(operation: StoreError["operation"], cause: unknown, what: string): StoreError {
  return new StoreError("store_unavailable", `the token store ${what} at "${operation}"`, operation, { cause });
}
