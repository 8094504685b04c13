import { ConfigurationError } from "../core/index.ts";
import type { SignalOptions } from "../core/index.ts";
import { systemClock } from "../lib/clock.ts";
import type { StoredRecord, TokenStore } from "../session/store.ts";

/** What one case of a store contract works with. */
export interface StoreBench {
  readonly store: TokenStore;
  /** Opens once more, where data is shared. */
  readonly reopen: () => Promise<TokenStore>;
  /** A key that no other case uses. */
  readonly key: (part?: string) => string;
  readonly prefix: string;
}

/** What a store need not have. */
export type StoreExtra = "lease" | "due" | "keys";

/** What is promised, what checks it, and what a store must have for it. */
export type StoreCase = readonly [name: string, check: (bench: StoreBench) => Promise<void>, needs?: StoreExtra];

/** What a case works with that needs such a method. */
type BenchWith<Extra extends StoreExtra> = StoreBench & {
  readonly store: TokenStore & Required<Pick<TokenStore, Extra>>;
};

/** A case for stores that have this method. One that lacks it says so, or the case fails: nothing passes unchecked. */
export function caseFor<Extra extends StoreExtra>(
  needs: Extra,
  name: string,
  check: (bench: BenchWith<Extra>) => Promise<void>,
): StoreCase {
  const checkIfThere = async (bench: StoreBench): Promise<void> => {
    expect(hasMethod(bench, needs), `the store has no "${needs}"; if that is meant, say so: lacks: ["${needs}"]`);
    await check(bench);
  };
  return [name, checkIfThere, needs];
}

function hasMethod<Extra extends StoreExtra>(bench: StoreBench, name: Extra): bench is BenchWith<Extra> {
  return bench.store[name] !== undefined;
}

/** Calls have a deadline in the manager; here they only must not need one to be absent. */
export const NO_OPTIONS: SignalOptions = Object.freeze({});

/** How many do the same at the same time. */
export const RACERS = 8;

/** Throws unless a promise is kept. */
export function expect(condition: boolean, message: string): asserts condition {
  if (!condition) throw new ConfigurationError("config_invalid", `the store contract is broken: ${message}`);
}

/** Writes where it must succeed, and gives the version. */
export async function put(store: TokenStore, key: string, record: StoredRecord, ifVersion?: string): Promise<string> {
  const version = await store.write(key, record, { ifVersion });
  expect(version !== undefined, "a write on the current version was refused");
  return version;
}

/** Whether two lists are the same, in the same order. */
export function same(found: readonly string[], wanted: readonly string[]): boolean {
  return found.length === wanted.length && found.every((text, at) => text === wanted[at]);
}

/** Waits by the system's clock: a store measures its leases by a clock of its own. */
export function sleep(durationMs: number): Promise<void> {
  return new Promise((resolve) => {
    systemClock.setTimer(resolve, durationMs, { keepAlive: true });
  });
}
