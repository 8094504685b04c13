import type { KeyWaiter, SealKeys } from "./key-ring.ts";
import type { SealKey, SealPurpose, SealedBy } from "./seal.ts";

/**
 * Seals with the first keys and opens with both: for the time in which records move from the ones to the others. They are of
 * two kinds, and what is sealed says of which: a key that is wrapped, or one that is known by its id.
 */
export class JoinedKeys implements SealKeys {
  readonly #first: SealKeys;
  readonly #second: SealKeys;

  constructor(first: SealKeys, second: SealKeys) {
    this.#first = first;
    this.#second = second;
  }

  sealing(purpose: SealPurpose, tenant: string | undefined, waiter: KeyWaiter): Promise<SealKey> {
    return this.#first.sealing(purpose, tenant, waiter);
  }

  async opening(
    purpose: SealPurpose,
    tenant: string | undefined,
    wanted: SealedBy,
    waiter: KeyWaiter,
  ): Promise<CryptoKey | "unreadable" | undefined> {
    const key = await this.#first.opening(purpose, tenant, wanted, waiter);
    return key ?? this.#second.opening(purpose, tenant, wanted, waiter);
  }

  startOver(): void {
    this.#first.startOver?.();
  }
}
