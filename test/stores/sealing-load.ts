import { setImmediate as turn } from "node:timers/promises";
import type { TokenStore } from "warehouse-oauth";
import { encryptedStore } from "warehouse-oauth/stores/encrypted";
import type { EncryptedStore, EncryptedStoreOptions } from "warehouse-oauth/stores/encrypted";
import { randomOf } from "../fleet/random.ts";

/** A process with the keys that it was started with. */
interface Process {
  readonly store: EncryptedStore;
  busy: number;
}

const PROCESSES = 3;
const WORKERS = 8;

/** Rounds between two steps of a deployment: enough for every process to have read and written. */
const ROUNDS = 24;

/** Processes that read and write all the time, and are replaced one after the other while they do. */
export class SealingLoad {
  /** What reads and writes threw. */
  readonly failures: unknown[] = [];
  /** How often each record was written: its value says the same, if no write was lost. */
  readonly written = new Map<string, number>();
  readonly #inner: TokenStore;
  readonly #keys: readonly string[];
  readonly #random: () => number;
  readonly #processes: Process[];
  readonly #workers: readonly Promise<void>[];
  #rounds = 0;
  #isOver = false;

  constructor(inner: TokenStore, keys: readonly string[], options: EncryptedStoreOptions, seed: number) {
    this.#inner = inner;
    this.#keys = keys;
    this.#random = randomOf(seed);
    this.#processes = Array.from({ length: PROCESSES }, () => this.#start(options));
    this.#workers = Array.from({ length: WORKERS }, () => this.#live());
  }

  static valueOf(count: number): string {
    return `{"refreshToken":"${String(count)}"}`;
  }

  /** Replaces all processes, one after the other. It is done when the old ones are gone, with what they had in hand. */
  async deploy(options: EncryptedStoreOptions): Promise<void> {
    for (const [at, before] of [...this.#processes].entries()) {
      this.#processes[at] = this.#start(options);
      await this.pass();
      while (before.busy > 0) await turn();
    }
  }

  /** Seals everything anew, until nothing is left. */
  async sweep(options: EncryptedStoreOptions): Promise<void> {
    const sweeper = encryptedStore(this.#inner, options);
    let left = 1;
    while (left > 0) ({ skipped: left } = await sweeper.reseal());
  }

  /** Waits until all has gone on for a while, in rounds of the workers. */
  async pass(): Promise<void> {
    const until = this.#rounds + ROUNDS;
    while (this.#rounds < until) await turn();
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#workers);
  }

  #start(options: EncryptedStoreOptions): Process {
    return { store: encryptedStore(this.#inner, options), busy: 0 };
  }

  async #live(): Promise<void> {
    while (!this.#isOver) {
      const key = this.#pick(this.#keys);
      try {
        const found = await this.#inProcess((from) => from.read(key, {}));
        const count = Number(/"refreshToken":"(\d+)"/.exec(found?.record.value ?? "")?.[1]);
        const record = { value: SealingLoad.valueOf(count + 1) };
        const version = await this.#inProcess((to) => to.write(key, record, { ifVersion: found?.version }));
        if (version !== undefined) this.written.set(key, (this.written.get(key) ?? 0) + 1);
      } catch (error) {
        this.failures.push(error);
      }
      this.#rounds += 1;
      await turn();
    }
  }

  async #inProcess<T>(work: (store: EncryptedStore) => Promise<T>): Promise<T> {
    const process = this.#pick(this.#processes);
    process.busy += 1;
    return work(process.store).finally(() => (process.busy -= 1));
  }

  #pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.#random() * from.length)] as T;
  }
}
