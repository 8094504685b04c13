import { CompactEncrypt, base64url, compactDecrypt } from "jose";
import type { JWEHeaderParameters } from "jose";
import { invalidArgument } from "../invalid-argument.ts";

/** What a sealed text is for. Each has keys of its own, and none is taken for another (requirements S-074, S-075). */
export type SealPurpose = "record" | "refresh-token" | "cookie" | "data-key";

/** Where a sealed text belongs: elsewhere it does not open (requirements S-076). */
export interface SealPlace {
  /** What it is for. */
  readonly purpose: SealPurpose;
  /** What it is kept under, by {@link addressOf}. */
  readonly address: string;
}

/** A key to seal with, and what whoever opens needs to find it again. */
export interface SealKey {
  /** Public. */
  readonly id: string;
  /** The key itself as somebody else wrapped it, in base64url; absent for keys that are known by their id. */
  readonly wrapped?: string;
  /** For AES-256-GCM. Cannot be exported. */
  readonly key: CryptoKey;
}

/** What a sealed text says of the key that opens it. Not to be believed before it was opened. */
export type SealedBy = Omit<SealKey, "key">;

/** The only format so far. It is part of what is authenticated. */
const FORMAT = 1;

/** `dir`: the key itself encrypts, so that none comes along. */
const ALGORITHM = "dir";
/** 96 random bits for each text: fewer than 2^32 texts for one key, then another key (NIST SP 800-38D §8.3). */
const ENCRYPTION = "A256GCM";

/** Beside these, a header says nothing: no `zip`, no `crit`, nothing that a later jose may learn to obey. */
const HEADER_MEMBERS: ReadonlySet<string> = new Set(["alg", "enc", "v", "use", "at", "kid", "wk"]);

/** A data key as a key service wraps it takes a few hundred bytes, 8 192 at the most. */
const MAX_HEADER_LENGTH = 16_384;

/** Of A256GCM (RFC 7518 §5.3). */
const IV_BYTES = 12;
const TAG_BYTES = 16;

/** Header, no key, IV of 12 bytes, content, tag of 16 bytes whose last character has four bits that mean nothing. */
const SHAPE = /^[\w-]+\.\.[\w-]{16}\.([\w-]*)\.[\w-]{21}[AQgw]$/;

/** Last characters that leave no bit unused, by what the length leaves when it is divided by four. */
const CONTENT_ENDS: readonly (string | undefined)[] = ["", undefined, "AQgw", "AEIMQUYcgkosw048"];

/** SHA-256 in base64url. */
const HASH_LENGTH = 43;

/** Longest sealed text that is looked at, 4 MB: a thousand times a record, and no load for a process. */
const MAX_LENGTH = 4_194_304;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Hashes the name of a place, for the header of what is sealed there. A compact JWE has no room for additional
 * authenticated data, but its header is authenticated; and a hash in a cookie does not show whose record it is to
 * everybody who sees the cookie.
 */
export async function addressOf(name: string): Promise<string> {
  return base64url.encode(new Uint8Array(await crypto.subtle.digest("SHA-256", encoder.encode(name))));
}

/**
 * Seals a text as JWE in compact form, `dir` and `A256GCM` (RFC 7516 §7.1, RFC 7518 §5.3), bound to a place.
 *
 * @throws TypeError with `invalid_argument`: the text has more than 2 MB.
 */
export async function sealText(text: string, place: SealPlace, { id, wrapped, key }: SealKey): Promise<string> {
  const plain = encoder.encode(text);
  if (plain.length > MAX_LENGTH / 2) throw invalidArgument("a text of more than 2 MB is not sealed");
  const header = headerOf(place, { id, ...(wrapped !== undefined && { wrapped }) });
  return new CompactEncrypt(plain).setProtectedHeader(header).encrypt(key);
}

/**
 * Reads which key a sealed text wants, if it claims to belong to this place.
 *
 * @returns `undefined` for what {@link sealText} did not write, or not for this place.
 */
export function readSealedBy(sealed: string, place: SealPlace): SealedBy | undefined {
  const end = sealed.indexOf(".");
  if (end <= 0 || end > MAX_HEADER_LENGTH) return undefined;
  try {
    const value: unknown = JSON.parse(decoder.decode(base64url.decode(sealed.slice(0, end))));
    if (typeof value !== "object" || value === null) return undefined;
    if (!Object.keys(value).every((member) => HEADER_MEMBERS.has(member))) return undefined;
    const { alg, enc, v, use, at, kid, wk } = value as Record<string, unknown>;
    if (alg !== ALGORITHM || enc !== ENCRYPTION || v !== FORMAT) return undefined;
    if (use !== place.purpose || at !== place.address || typeof kid !== "string") return undefined;
    if (wk === undefined) return { id: kid };
    return typeof wk === "string" ? { id: kid, wrapped: wk } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Opens what {@link readSealedBy} has looked at. Both lists of algorithms have one entry, and nothing is decompressed.
 *
 * @returns `undefined` for another key, and for a text that was changed.
 */
export async function openSealed(sealed: string, key: CryptoKey): Promise<string | undefined> {
  if (!isCanonical(sealed)) return undefined;
  try {
    const { plaintext } = await compactDecrypt(sealed, key, {
      keyManagementAlgorithms: [ALGORITHM],
      contentEncryptionAlgorithms: [ENCRYPTION],
      maxDecompressedLength: 0,
    });
    return decoder.decode(plaintext);
  } catch {
    // Why does not matter, and would tell whoever tries.
    return undefined;
  }
}

/**
 * Says whether this is the only way to write these bytes: base64url leaves bits of its last character unused, and what is
 * sealed must not be changed in any bit.
 */
function isCanonical(sealed: string): boolean {
  if (sealed.length > MAX_LENGTH) return false;
  const content = SHAPE.exec(sealed)?.[1];
  if (content === undefined) return false;
  const ends = CONTENT_ENDS[content.length % 4];
  return ends === "" || ends?.includes(content.at(-1) ?? "") === true;
}

/** Says how long a text of so many bytes will be when it is sealed. */
export function sealedLength(plainBytes: number, purpose: SealPurpose, sealedBy: SealedBy): number {
  const header = JSON.stringify(headerOf({ purpose, address: "h".repeat(HASH_LENGTH) }, sealedBy));
  const parts = [encoder.encode(header).length, 0, IV_BYTES, plainBytes, TAG_BYTES];
  // Four characters for three bytes, and a dot between two parts.
  return parts.reduce((length, bytes) => length + Math.ceil((bytes * 4) / 3), parts.length - 1);
}

function headerOf(
  { purpose, address }: SealPlace,
  { id, wrapped }: SealedBy,
): JWEHeaderParameters & { alg: string; enc: string } {
  return {
    alg: ALGORITHM,
    enc: ENCRYPTION,
    v: FORMAT,
    use: purpose,
    at: address,
    kid: id,
    ...(wrapped !== undefined && { wk: wrapped }),
  };
}
