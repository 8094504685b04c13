import type { SignalOptions } from "../core/index.ts";

/** What a store keeps under a key. `value` is **secret** text: `encryptedStore` seals it, stores do not look inside. */
export interface StoredRecord {
  /** **Secret.** Opaque text of well-formed Unicode without U+0000, which databases cannot keep. */
  readonly value: string;
  /** When it wants a refresh, epoch milliseconds; for {@link TokenStore.due}. Absent: never by itself. */
  readonly dueAt?: number;
  /** After this, epoch milliseconds, a store may drop it. */
  readonly deleteAfter?: number;
}

/** A lease that was got. After `ttlMs` without `renew`, others may get it. */
export interface Lease {
  /**
   * `false` if it was lost. The manager also watches the monotonic clock, and sends nothing on a lease that may be over.
   * What a request brought that left in time is saved all the same: there the comparison of versions decides.
   */
  renew(ttlMs: number): Promise<boolean>;
  /** Does nothing if it was lost. */
  release(): Promise<void>;
}

/**
 * Where records live. May throw anything; callers get a `StoreError`. Every call gets a `signal` with a deadline of
 * five seconds in it.
 */
export interface TokenStore {
  /** What cannot be seen from outside. */
  readonly capabilities: {
    /** `ifVersion` is honoured atomically. */
    readonly compareAndSet: boolean;
    /** Survives the process, and other processes may write to it. */
    readonly durable: boolean;
  };
  /** Reads a record and the version it has; `undefined` if there is none. */
  read(
    key: string,
    options: SignalOptions,
  ): Promise<{ readonly record: StoredRecord; readonly version: string } | undefined>;
  /**
   * Writes if the stored version is `ifVersion` (`undefined`: if nothing is stored) and gives the new version;
   * `undefined` if it is another. A version is never used twice for a key.
   */
  write(
    key: string,
    record: StoredRecord,
    options: SignalOptions & { readonly ifVersion: string | undefined },
  ): Promise<string | undefined>;
  /** Deletes, if the version is `ifVersion` where given. `true` if the key is gone. */
  delete(key: string, options: SignalOptions & { readonly ifVersion?: string }): Promise<boolean>;
  /** Tries once, without waiting; `undefined` if somebody holds it. A store without this method has no lease. */
  lease?(key: string, options: SignalOptions & { readonly ttlMs: number }): Promise<Lease | undefined>;
  /**
   * Keys whose `dueAt` is before `before`, earliest first, at most `limit`. Without it, sessions that a process left
   * which is gone are refreshed when they are used.
   */
  due?(
    options: SignalOptions & { readonly before: number; readonly limit: number },
  ): Promise<readonly { readonly key: string; readonly dueAt: number }[]>;
  /** Keys after `after` in key order, at most `limit`: for sweeps and lists. Keys of one tenant and subject share a prefix. */
  keys?(
    options: SignalOptions & { readonly prefix?: string; readonly after?: string; readonly limit: number },
  ): Promise<readonly string[]>;
}
