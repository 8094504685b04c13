import { base64url } from "jose";
import { abortable } from "../abortable.ts";
import type { Clock } from "../clock.ts";
import { invalidArgument } from "../invalid-argument.ts";
import { deriveSealKey } from "./key-ring.ts";
import type { KeyWaiter, SealKeys } from "./key-ring.ts";
import type { SealKey, SealPurpose, SealedBy } from "./seal.ts";

/** What a data key is for. A key service may keep it with the wrapped key and refuse to unwrap it for anything else. */
export interface DataKeyContext {
  /** Whose records; `undefined` for sessions without a tenant. */
  readonly tenant: string | undefined;
  /** What it seals: refresh tokens have keys of their own. */
  readonly purpose: "record" | "refresh-token";
}

/**
 * Wraps data keys with a key that never leaves it: a key service (KMS), one key-encryption key for each customer if you
 * like. What it throws counts as "down for now". Every call gets a `signal` with a deadline of four seconds in it.
 */
export interface KeyProvider {
  /** Wraps 32 bytes. `keyId` names the key that wrapped them, and changes when that one does. It is stored, and public. */
  wrap(
    dataKey: Uint8Array,
    context: DataKeyContext,
    options: { readonly signal: AbortSignal },
  ): Promise<{ readonly keyId: string; readonly wrapped: Uint8Array }>;
  /**
   * Gives the 32 bytes back. `"key_gone"` if the key was destroyed or taken away for good; `"unreadable"` if it did not
   * wrap this, or not for this context.
   */
  unwrap(
    wrapped: { readonly keyId: string; readonly wrapped: Uint8Array },
    context: DataKeyContext,
    options: { readonly signal: AbortSignal },
  ): Promise<Uint8Array | "key_gone" | "unreadable">;
}

/** How long and how many data keys stay in memory. */
export interface DataKeyOptions {
  /** Default is 300 000. A key that was taken away works on for this long, and a new one begins this late. */
  readonly maxAgeMs?: number;
  /** Default is 1 000. */
  readonly maxCount?: number;
}

/** What a key provider did instead of an answer. */
export class KeyProviderFailure extends Error {
  /** What it threw. Never shown: it may hold anything. */
  readonly #thrown: unknown;

  constructor(thrown: unknown) {
    super("the key provider gave no answer");
    this.#thrown = thrown;
  }

  /** Gives what was thrown, for the sanitized cause of an error only. */
  static thrownOf(failure: KeyProviderFailure): unknown {
    return failure.#thrown;
  }
}

/** Default of {@link DataKeyOptions.maxAgeMs}, five minutes: what a customer who takes the key away has to wait. */
const DEFAULT_MAX_AGE_MS = 300_000;
const DEFAULT_MAX_COUNT = 1_000;

/** Texts sealed with one data key: 2^20 of the 2^32 that random IVs allow. */
const MAX_USES = 1_048_576;

/** Less than a store has for one operation, so that the store can say what was late. */
const PROVIDER_DEADLINE_MS = 4_000;

const DATA_KEY_BYTES = 32;

/** The longest that key services name or wrap; both stand in each record. */
const MAX_KEY_ID_LENGTH = 2_048;
const MAX_WRAPPED_BYTES = 6_144;

interface Kept<T> {
  readonly promise: Promise<T>;
  /** Monotonic milliseconds. */
  readonly until: number;
  uses: number;
}

/**
 * Data keys by a {@link KeyProvider}: one seals what one tenant writes for a while, and each comes wrapped with what it
 * sealed. Kept in memory for a bounded time, so that a key service is asked once, and not for each record.
 */
export class DataKeys implements SealKeys {
  readonly #provider: KeyProvider;
  readonly #clock: Clock;
  readonly #maxAgeMs: number;
  readonly #maxCount: number;
  readonly #sealing = new Map<string, Kept<SealKey>>();
  readonly #opening = new Map<string, Kept<CryptoKey | "unreadable" | undefined>>();

  constructor(provider: KeyProvider, clock: Clock, options: DataKeyOptions = {}) {
    this.#provider = provider;
    this.#clock = clock;
    this.#maxAgeMs = options.maxAgeMs ?? DEFAULT_MAX_AGE_MS;
    this.#maxCount = options.maxCount ?? DEFAULT_MAX_COUNT;
  }

  /** Makes a new data key for everything that is sealed from now on: the wrapping key may have changed. */
  startOver(): void {
    this.#sealing.clear();
  }

  /** @throws {@link KeyProviderFailure}, the reason of an abort. */
  sealing(purpose: SealPurpose, tenant: string | undefined, { signal }: KeyWaiter): Promise<SealKey> {
    const context = contextOf(purpose, tenant);
    return abortable(
      this.#once(this.#sealing, JSON.stringify(context), () => this.#make(context)),
      signal,
    );
  }

  /** @throws {@link KeyProviderFailure}, the reason of an abort. */
  opening(
    purpose: SealPurpose,
    tenant: string | undefined,
    wanted: SealedBy,
    { signal }: KeyWaiter,
  ): Promise<CryptoKey | "unreadable" | undefined> {
    const { id, wrapped } = wanted;
    if (wrapped === undefined) return Promise.resolve(undefined);
    const context = contextOf(purpose, tenant);
    return abortable(
      this.#once(this.#opening, nameOf(context, id, wrapped), () => this.#unwrap(context, id, wrapped)),
      signal,
    );
  }

  async #make(context: DataKeyContext): Promise<SealKey> {
    const dataKey = crypto.getRandomValues(new Uint8Array(DATA_KEY_BYTES));
    const answer: unknown = await this.#ask((signal) => this.#provider.wrap(dataKey.slice(), context, { signal }));
    const { keyId, wrapped } = (answer ?? {}) as Readonly<Record<string, unknown>>;
    if (typeof keyId !== "string" || keyId === "" || keyId.length > MAX_KEY_ID_LENGTH) {
      throw invalidArgument('"wrap" must give a "keyId" of 1 to 2048 characters');
    }
    if (!(wrapped instanceof Uint8Array) || wrapped.length === 0 || wrapped.length > MAX_WRAPPED_BYTES) {
      throw invalidArgument('"wrap" must give "wrapped" as 1 to 6144 bytes');
    }
    const key = await deriveSealKey(dataKey, context.purpose);
    dataKey.fill(0);
    const text = base64url.encode(wrapped);
    // What this process writes it will read.
    this.#keep(this.#opening, nameOf(context, keyId, text), Promise.resolve(key));
    return { id: keyId, wrapped: text, key };
  }

  async #unwrap(context: DataKeyContext, keyId: string, text: string): Promise<CryptoKey | "unreadable" | undefined> {
    let wrapped: Uint8Array;
    try {
      wrapped = base64url.decode(text);
    } catch {
      return "unreadable";
    }
    const answer = await this.#ask((signal) => this.#provider.unwrap({ keyId, wrapped }, context, { signal }));
    if (answer === "key_gone") return undefined;
    if (answer === "unreadable") return answer;
    if (!(answer instanceof Uint8Array) || answer.length !== DATA_KEY_BYTES) {
      throw invalidArgument('"unwrap" must give 32 bytes, "key_gone" or "unreadable"');
    }
    return deriveSealKey(answer, context.purpose);
  }

  /** Asks within a deadline that no caller can shorten for the others. */
  async #ask<T>(question: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const deadline = new AbortController();
    let cancel = (): void => undefined;
    const late = new Promise<never>((_resolve, reject) => {
      cancel = this.#clock.setTimer(() => {
        deadline.abort();
        reject(new Error("the key provider did not answer in time"));
      }, PROVIDER_DEADLINE_MS);
    });
    try {
      return await Promise.race([question(deadline.signal), late]);
    } catch (thrown) {
      throw new KeyProviderFailure(thrown);
    } finally {
      cancel();
    }
  }

  /** Gives what is kept, or asks once for all who want it. Only an answer that is a key is kept. */
  #once<T extends object | string | undefined>(
    kept: Map<string, Kept<T>>,
    name: string,
    ask: () => Promise<T>,
  ): Promise<T> {
    const known = kept.get(name);
    if (known !== undefined && this.#clock.monotonic() < known.until && known.uses < MAX_USES) {
      known.uses += 1;
      // Used last, dropped last.
      kept.delete(name);
      kept.set(name, known);
      return known.promise;
    }
    const promise = ask();
    const entry = this.#keep(kept, name, promise);
    const drop = (): void => {
      if (kept.get(name) === entry) kept.delete(name);
    };
    promise.then((answer) => {
      if (typeof answer !== "object") drop();
    }, drop);
    return promise;
  }

  #keep<T>(kept: Map<string, Kept<T>>, name: string, promise: Promise<T>): Kept<T> {
    const entry: Kept<T> = { promise, until: this.#clock.monotonic() + this.#maxAgeMs, uses: 1 };
    kept.delete(name);
    kept.set(name, entry);
    for (const oldest of kept.keys()) {
      if (kept.size <= this.#maxCount) break;
      kept.delete(oldest);
    }
    return entry;
  }
}

function contextOf(purpose: SealPurpose, tenant: string | undefined): DataKeyContext {
  return Object.freeze({ tenant, purpose: purpose === "refresh-token" ? purpose : "record" });
}

function nameOf({ tenant, purpose }: DataKeyContext, keyId: string, wrapped: string): string {
  return JSON.stringify([tenant, purpose, keyId, wrapped]);
}
