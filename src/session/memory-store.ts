import { systemClock } from "../lib/clock.ts";
import type { Clock } from "../lib/clock.ts";
import type { Lease, StoredRecord, TokenStore } from "./store.ts";

interface Kept {
  readonly record: StoredRecord;
  readonly version: string;
}

interface Held {
  readonly owner: symbol;
  /** Monotonic milliseconds. */
  until: number;
}

/** Records looked at for their end on each write: two for one, so that the dead never outgrow the living. */
const SWEEP_PER_WRITE = 2;

/**
 * Keeps records in this process: compare-and-set, lease and due, not durable. The manager's own default uses the
 * manager's clock.
 *
 * @example
 *
 * ```ts
 * import { TokenManager, memoryStore } from "warehouse-oauth";
 *
 * const manager = new TokenManager({ store: memoryStore() });
 * ```
 */
export function memoryStore(options: { readonly clock?: Clock } = {}): TokenStore {
  return new MemoryStore(options.clock ?? systemClock);
}

class MemoryStore implements TokenStore {
  readonly capabilities = { compareAndSet: true, durable: false } as const;
  readonly #clock: Clock;
  readonly #records = new Map<string, Kept>();
  readonly #leases = new Map<string, Held>();
  #nextVersion = 1;
  #sweep: Iterator<[string, Kept]> | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  read(key: string): Promise<Kept | undefined> {
    return Promise.resolve(this.#living(key));
  }

  write(
    key: string,
    record: StoredRecord,
    { ifVersion }: { readonly ifVersion: string | undefined },
  ): Promise<string | undefined> {
    if (this.#living(key)?.version !== ifVersion) return Promise.resolve(undefined);
    const version = String(this.#nextVersion++);
    // What nobody can change any more needs no copy.
    this.#records.set(key, { record: Object.isFrozen(record) ? record : Object.freeze({ ...record }), version });
    this.#dropDead();
    return Promise.resolve(version);
  }

  delete(key: string, { ifVersion }: { readonly ifVersion?: string } = {}): Promise<boolean> {
    const kept = this.#living(key);
    if (kept !== undefined && ifVersion !== undefined && kept.version !== ifVersion) return Promise.resolve(false);
    this.#records.delete(key);
    return Promise.resolve(true);
  }

  lease(key: string, { ttlMs }: { readonly ttlMs: number }): Promise<Lease | undefined> {
    const now = this.#clock.monotonic();
    const holder = this.#leases.get(key);
    if (holder !== undefined && holder.until > now) return Promise.resolve(undefined);
    const owner = Symbol("owner");
    this.#leases.set(key, { owner, until: now + ttlMs });
    const held = (): Held | undefined => {
      const current = this.#leases.get(key);
      return current?.owner === owner && current.until > this.#clock.monotonic() ? current : undefined;
    };
    return Promise.resolve({
      renew: (renewMs: number) => {
        const mine = held();
        if (mine !== undefined) mine.until = this.#clock.monotonic() + renewMs;
        return Promise.resolve(mine !== undefined);
      },
      release: () => {
        if (this.#leases.get(key)?.owner === owner) this.#leases.delete(key);
        return Promise.resolve();
      },
    });
  }

  due({
    before,
    limit,
  }: {
    readonly before: number;
    readonly limit: number;
  }): Promise<readonly { readonly key: string; readonly dueAt: number }[]> {
    const found: { readonly key: string; readonly dueAt: number }[] = [];
    for (const [key, { record }] of this.#records) {
      if (record.dueAt !== undefined && record.dueAt < before) found.push({ key, dueAt: record.dueAt });
    }
    return Promise.resolve(found.sort((a, b) => a.dueAt - b.dueAt).slice(0, limit));
  }

  keys({
    prefix = "",
    after,
    limit,
  }: {
    readonly prefix?: string;
    readonly after?: string;
    readonly limit: number;
  }): Promise<readonly string[]> {
    const found = [...this.#records.keys()].filter(
      (key) => key.startsWith(prefix) && (after === undefined || key > after),
    );
    return Promise.resolve(found.sort().slice(0, limit));
  }

  #living(key: string): Kept | undefined {
    const kept = this.#records.get(key);
    if (kept !== undefined && this.#isOver(kept)) {
      this.#records.delete(key);
      return undefined;
    }
    return kept;
  }

  #isOver({ record }: Kept): boolean {
    return record.deleteAfter !== undefined && record.deleteAfter <= this.#clock.now();
  }

  /** Walks on through all records, a little with each write. */
  #dropDead(): void {
    for (let looked = 0; looked < SWEEP_PER_WRITE; looked++) {
      this.#sweep ??= this.#records.entries();
      const next = this.#sweep.next();
      if (next.done === true) {
        this.#sweep = undefined;
        return;
      }
      const [key, kept] = next.value;
      if (this.#isOver(kept)) this.#records.delete(key);
    }
  }
}
