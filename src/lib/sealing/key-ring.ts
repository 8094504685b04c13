import { base64url } from "jose";
import { INSPECT, REDACTED } from "../redact.ts";
import type { SealKey, SealPurpose, SealedBy } from "./seal.ts";

/** Who waits for a key. */
export interface KeyWaiter {
  /** Read only where somebody is asked: making one costs more than sealing. */
  readonly signal?: AbortSignal;
}

/** Where the keys for sealing come from. The tenant is whose record it is, if the record belongs to one. */
export interface SealKeys {
  /** Gives the key that seals now. */
  sealing(purpose: SealPurpose, tenant: string | undefined, waiter: KeyWaiter): Promise<SealKey>;
  /** Gives the key that a sealed text asks for; `undefined` if there is none, `"unreadable"` if the text is no good. */
  opening(
    purpose: SealPurpose,
    tenant: string | undefined,
    wanted: SealedBy,
    waiter: KeyWaiter,
  ): Promise<CryptoKey | "unreadable" | undefined>;
  /** Seals from now on with what is newest where the keys are; absent where that cannot change. */
  startOver?(): void;
}

/** One key of a ring. */
export interface RingKey {
  /** Public, and stored with what it seals: 1 to 64 letters, digits, `.`, `_`, `-`. Never used for another key. */
  readonly id: string;
  /** **Secret.** At least 32 random bytes, or as many in base64, base64url or hexadecimal. */
  readonly key: Uint8Array | string;
}

/** Shorter, and it can be guessed; HKDF makes 32 bytes of it. */
const MIN_KEY_BYTES = 32;

/** Different bytes in 32 random ones: 30 on average, fewer than 16 never in the life of this world. */
const MIN_DIFFERENT_BYTES = 16;

const KEY_ID = /^[A-Za-z0-9._-]{1,64}$/;

const HEX = /^(?:[0-9a-f]{2})+$/i;

/** Keeps the constructor for this module: JavaScript has no `private`. */
const construct: unique symbol = Symbol("construct");

/**
 * Keys by id. The first one seals, all of them open. Shows its ids and never a key.
 *
 * Made by `keyRing`.
 */
export class KeyRing {
  /** Ids of the keys, the sealing one first. */
  readonly ids: readonly string[];
  readonly #keys: ReadonlyMap<string, Uint8Array>;
  readonly #derived = new Map<string, Promise<CryptoKey>>();
  readonly #first: string;

  private constructor(key: typeof construct, first: string, keys: ReadonlyMap<string, Uint8Array>) {
    if (key !== construct) throw new TypeError("key rings are made by keyRing");
    this.#first = first;
    this.#keys = keys;
    this.ids = Object.freeze([...keys.keys()]);
    Object.freeze(this);
  }

  /** @internal */
  static of(first: string, keys: ReadonlyMap<string, Uint8Array>): KeyRing {
    return new KeyRing(construct, first, keys);
  }

  /** @internal */
  async sealing(purpose: SealPurpose): Promise<SealKey> {
    const key = await this.#derive(this.#first, purpose);
    if (key === undefined) throw new TypeError("unreachable: a ring without its first key");
    return { id: this.#first, key };
  }

  /** @internal */
  opening(
    purpose: SealPurpose,
    _tenant: string | undefined,
    { id, wrapped }: SealedBy,
  ): Promise<CryptoKey | undefined> {
    return wrapped === undefined ? this.#derive(id, purpose) : Promise.resolve(undefined);
  }

  /** Gives the ids. */
  toJSON(): { readonly keys: typeof REDACTED; readonly ids: readonly string[] } {
    return { keys: REDACTED, ids: this.ids };
  }

  /** @internal */
  [INSPECT](): string {
    return `KeyRing ${JSON.stringify(this)}`;
  }

  #derive(id: string, purpose: SealPurpose): Promise<CryptoKey | undefined> {
    const bytes = this.#keys.get(id);
    if (bytes === undefined) return Promise.resolve(undefined);
    const name = `${purpose} ${id}`;
    let derived = this.#derived.get(name);
    if (derived === undefined) this.#derived.set(name, (derived = deriveSealKey(bytes, purpose)));
    return derived;
  }
}

/**
 * Makes a ring of keys that were checked.
 *
 * @returns What is wrong, as the end of a sentence and without the key, instead of a ring.
 */
export function createKeyRing(keys: readonly RingKey[]): KeyRing | string {
  const found = new Map<string, Uint8Array>();
  for (const { id, key } of keys) {
    if (typeof id !== "string" || !KEY_ID.test(id)) return "ids must have 1 to 64 letters, digits, dots, _ or -";
    if (found.has(id)) return `the id "${id}" is there twice`;
    const bytes = readKeyBytes(key);
    if (typeof bytes === "string") return `the key "${id}" ${bytes}`;
    found.set(id, bytes);
  }
  const [first] = found.keys();
  return first === undefined ? "at least one key is needed" : KeyRing.of(first, found);
}

/** Makes the key for one purpose of a secret that serves several: HKDF with SHA-256 (RFC 5869). */
export async function deriveSealKey(secret: Uint8Array, purpose: SealPurpose): Promise<CryptoKey> {
  const input = await crypto.subtle.importKey("raw", secret.slice(), "HKDF", false, ["deriveKey"]);
  const info = new TextEncoder().encode(`warehouse-oauth sealing 1 ${purpose}`);
  return crypto.subtle.deriveKey(
    // No salt: the secret is random through and through (RFC 5869 §3.1).
    { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info },
    input,
    { name: "AES-GCM", length: 256 },
    false,
    ["encrypt", "decrypt"],
  );
}

/** Gives a copy of the bytes, or says what is wrong with them. Something that a person thought of is no key. */
function readKeyBytes(key: unknown): Uint8Array | string {
  const bytes = typeof key === "string" ? decodeKey(key) : key instanceof Uint8Array ? key.slice() : undefined;
  if (bytes === undefined) return "must be bytes, or text in base64, base64url or hexadecimal";
  if (bytes.length < MIN_KEY_BYTES) {
    return (
      `has ${String(bytes.length)} bytes; ${String(MIN_KEY_BYTES)} random ones are needed, and a password is no key; ` +
      `make one with: openssl rand -base64 ${String(MIN_KEY_BYTES)}`
    );
  }
  const isText = bytes.every((byte) => byte >= 0x20 && byte < 0x7f);
  if (isText || new Set(bytes).size < MIN_DIFFERENT_BYTES) {
    return `is not random; make one with: openssl rand -base64 ${String(MIN_KEY_BYTES)}`;
  }
  return bytes;
}

function decodeKey(text: string): Uint8Array | undefined {
  if (HEX.test(text)) return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  try {
    return base64url.decode(
      text
        .trim()
        .replace(/={1,2}$/, "")
        .replaceAll("+", "-")
        .replaceAll("/", "_"),
    );
  } catch {
    return undefined;
  }
}
