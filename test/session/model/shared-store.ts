import type { Lease, StoredRecord, TokenStore } from "warehouse-oauth";
import { parseRecord } from "../../../src/session/record.ts";
import type { SessionRecord } from "../../../src/session/record.ts";
import type { Process } from "./world.ts";

/** What a store does that it should not. */
export type StoreFault = "error" | "lost" | "lost-answer" | "slow" | "slow-answer" | "too-slow" | "stale";

/** What it does it to. */
export type StoreOperation =
  | "read"
  | "announce" // a write that says what is about to be sent
  | "save" // a write of other tokens than are there: what a refresh brought, or a login
  | "write" // any write
  | "lease"
  | "renew"
  | "release";

interface HeldLease {
  readonly id: number;
  readonly owner: Process;
  until: number;
}

interface Kept {
  readonly record: StoredRecord;
  readonly version: string;
}

/** Told of what really happens, whatever is answered. */
export interface StoreWatcher {
  onWrite(by: Process, key: string, before: SessionRecord | undefined, after: SessionRecord): void;
  onRelease(lease: number, stored: SessionRecord | undefined): void;
}

/** Time there and back when all is well. */
const LATENCY_MS = 1;

/** A store that is slow answers within the manager's five seconds; one that is too slow acts all the same, later. */
const SLOW_MS = 3_000;
const TOO_SLOW_MS = 7_000;

/** One table for all processes, with compare-and-set, leases by its own clock, and faults on demand. */
export class SharedStore {
  readonly #kept = new Map<string, Kept>();
  /** What a replica that lags behind still has. */
  readonly #before = new Map<string, Kept | undefined>();
  readonly #leases = new Map<string, HeldLease>();
  /** Those that nobody gave back before they ended. */
  readonly #lapsed: HeldLease[] = [];
  readonly #faults = new Map<Process, Map<StoreOperation, StoreFault[]>>();
  readonly #lastWritten = new Map<string, SessionRecord>();
  readonly #watcher: StoreWatcher;
  #count = 0;

  constructor(watcher: StoreWatcher) {
    this.#watcher = watcher;
  }

  /** The next operations of this kind go wrong. */
  fail(process: Process, operation: StoreOperation, fault: StoreFault, times: number): void {
    const faults = this.#faults.get(process) ?? new Map<StoreOperation, StoreFault[]>();
    this.#faults.set(process, faults);
    faults.set(operation, [...(faults.get(operation) ?? []), ...Array<StoreFault>(times).fill(fault)]);
  }

  heal(): void {
    this.#faults.clear();
  }

  /** What is really there. */
  peek(key: string): SessionRecord | undefined {
    const kept = this.#kept.get(key);
    return kept && parseRecord(kept.record.value);
  }

  /** What a process wrote last, and knows to be written. */
  lastWrittenBy(process: Process, key: string): SessionRecord | undefined {
    return this.#lastWritten.get(`${process.name} ${key}`);
  }

  /** The lease that a process holds now, by the store's clock. */
  leaseOf(process: Process, key: string): number | undefined {
    const held = this.#leases.get(key);
    return held?.owner === process && held.until > process.world.elapsed ? held.id : undefined;
  }

  isLeaseLive(id: number): boolean {
    return [...this.#leases.values()].some((lease) => lease.id === id && lease.until > lease.owner.world.elapsed);
  }

  /** Processes that did not give back a lease that ended after this. */
  forgetfulSince(elapsed: number): Process[] {
    return [...this.#lapsed, ...this.#leases.values()].filter(({ until }) => until > elapsed).map(({ owner }) => owner);
  }

  /** The store as one process sees it. */
  openFor(process: Process): TokenStore {
    const now = (): number => process.world.elapsed;
    return {
      capabilities: { compareAndSet: true, durable: true },
      read: (key) => this.#call(process, "read", (stale) => (stale ? this.#before : this.#kept).get(key)),
      write: async (key, record, { ifVersion }) => {
        const written = parseRecord(record.value);
        const write = (): string | undefined => this.#write(process, key, record, ifVersion);
        const version = await this.#call(process, this.#purposeOf(key, written), write);
        if (version !== undefined) this.#lastWritten.set(`${process.name} ${key}`, written);
        return version;
      },
      delete: () => Promise.reject(new Error("nothing here deletes")),
      lease: (key, { ttlMs }) =>
        this.#call(process, "lease", () => {
          const holder = this.#leases.get(key);
          if (holder !== undefined && holder.until > now()) return undefined;
          if (holder !== undefined) this.#lapsed.push(holder);
          const held = { id: this.#count++, owner: process, until: now() + ttlMs };
          this.#leases.set(key, held);
          return this.#leaseOf(process, key, held);
        }),
      due: () => Promise.resolve([]),
    };
  }

  #leaseOf(process: Process, key: string, held: HeldLease): Lease {
    return {
      renew: (ttlMs) =>
        this.#call(process, "renew", () => {
          const mine = this.#leases.get(key) === held && held.until > process.world.elapsed;
          if (mine) held.until = process.world.elapsed + ttlMs;
          return mine;
        }),
      release: () =>
        this.#call(process, "release", () => {
          if (this.#leases.get(key) !== held) return;
          this.#leases.delete(key);
          this.#watcher.onRelease(held.id, this.peek(key));
        }),
    };
  }

  #write(by: Process, key: string, record: StoredRecord, ifVersion: string | undefined): string | undefined {
    const kept = this.#kept.get(key);
    if (kept?.version !== ifVersion) return undefined;
    const version = `v${String(this.#count++)}`;
    const after = parseRecord(record.value);
    this.#watcher.onWrite(by, key, kept && parseRecord(kept.record.value), after);
    this.#before.set(key, kept);
    // A copy, as everything that leaves the process: its text is written and read.
    this.#kept.set(key, { record: { ...record }, version });
    return version;
  }

  #purposeOf(key: string, { intent, tokens }: SessionRecord): StoreOperation {
    if (intent !== undefined) return "announce";
    return tokens !== undefined && tokens.refreshToken !== this.peek(key)?.tokens?.refreshToken ? "save" : "write";
  }

  #faultOf(process: Process, operation: StoreOperation): StoreFault | undefined {
    const faults = this.#faults.get(process);
    const special = faults?.get(operation)?.shift();
    return special ?? (operation === "announce" || operation === "save" ? faults?.get("write")?.shift() : undefined);
  }

  #call<T>(process: Process, operation: StoreOperation, perform: (stale: boolean) => T): Promise<T> {
    const fault = this.#faultOf(process, operation);
    const latency = { thereMs: LATENCY_MS, backMs: LATENCY_MS };
    if (fault === "slow") latency.thereMs = SLOW_MS;
    if (fault === "slow-answer") latency.backMs = SLOW_MS;
    if (fault === "too-slow") latency.thereMs = TOO_SLOW_MS;
    if (fault === "lost") latency.thereMs = Infinity;
    if (fault === "lost-answer") latency.backMs = Infinity;
    return process.call(latency, () => {
      if (fault === "error") throw new Error("the store is down");
      return perform(fault === "stale");
    });
  }
}
