import type { KeyWaiter, SealKeys } from "./key-ring.ts";
import { addressOf, openSealed, readSealedBy, sealText } from "./seal.ts";
import type { SealPlace, SealPurpose, SealedBy } from "./seal.ts";

/** Whose record, and who waits for it. */
export interface RecordPlace {
  /** What the store keeps it under. */
  readonly key: string;
  readonly tenant: string | undefined;
  readonly waiter: KeyWaiter;
}

/** What became of an attempt to open. */
export type OpenedRecord =
  | { readonly text: string; /** The keys it was sealed with. */ readonly sealedBy: readonly SealedBy[] }
  | { readonly failure: "unreadable" }
  | { readonly failure: "unknown_key"; readonly keyId: string };

/** Longest stored text that is looked at: twice what one part may have. */
const MAX_LENGTH = 8_388_608;

/** Between the parts; base64url has none. */
const SEPARATOR = "~";

/** How a refresh token begins as `JSON.stringify` writes it, in a record of whatever shape. */
const REFRESH_TOKEN = '"refreshToken":"';

/**
 * Seals a record in two parts: its refresh token under a key of its own, and the rest, which names its refresh token by
 * the seal of that, so that parts of two records, or of two versions of one, do not go together.
 */
export async function sealRecord(text: string, place: RecordPlace, keys: SealKeys): Promise<string> {
  const address = await addressOf(place.key);
  const seal = async (part: string, purpose: SealPurpose): Promise<string> =>
    sealText(part, { purpose, address }, await keys.sealing(purpose, place.tenant, place.waiter));
  const { refreshToken, rest, at } = takeOut(text);
  if (refreshToken === undefined) return seal(`::${rest}`, "record");
  const token = await seal(refreshToken, "refresh-token");
  const main = await seal(`${String(at)}:${sealTagOf(token)}:${rest}`, "record");
  return `${main}${SEPARATOR}${token}`;
}

/** Opens what {@link sealRecord} sealed, exactly as it was. */
export async function openRecord(sealed: string, place: RecordPlace, keys: SealKeys): Promise<OpenedRecord> {
  if (sealed.length > MAX_LENGTH) return { failure: "unreadable" };
  const address = await addressOf(place.key);
  const open = (part: string, purpose: SealPurpose): Promise<OpenedRecord> =>
    openPart(part, { purpose, address }, place, keys);
  const end = sealed.indexOf(SEPARATOR);
  const token = end < 0 ? undefined : sealed.slice(end + 1);
  const [main, opened] = await Promise.all([
    open(end < 0 ? sealed : sealed.slice(0, end), "record"),
    token === undefined ? undefined : open(token, "refresh-token"),
  ]);
  if ("failure" in main) return main;
  const parts = /^(\d*):([\w-]*):/.exec(main.text);
  // A part that is missing, or belongs to another version of this record.
  if (parts?.[2] !== (token === undefined ? "" : sealTagOf(token))) return { failure: "unreadable" };
  const rest = main.text.slice(parts[0].length);
  if (opened === undefined) return { text: rest, sealedBy: main.sealedBy };
  if ("failure" in opened) return opened;
  const at = Number(parts[1]);
  const text = rest.slice(0, at) + opened.text + rest.slice(at);
  return { text, sealedBy: [...main.sealedBy, ...opened.sealedBy] };
}

/** Says whether a record was sealed with the keys that would seal it now. */
export async function isSealedNow(
  [record, token]: readonly SealedBy[],
  place: RecordPlace,
  keys: SealKeys,
): Promise<boolean> {
  const isNow = async (sealedBy: SealedBy, purpose: SealPurpose): Promise<boolean> =>
    isSameKey(sealedBy, await keys.sealing(purpose, place.tenant, place.waiter));
  if (record === undefined || !(await isNow(record, "record"))) return false;
  return token === undefined || isNow(token, "refresh-token");
}

/** Data keys change all the time; the key that wrapped them counts. A key of a ring may have the same id as that one. */
function isSameKey(one: SealedBy, other: SealedBy): boolean {
  return one.id === other.id && (one.wrapped === undefined) === (other.wrapped === undefined);
}

function takeOut(text: string): { readonly refreshToken?: string; readonly rest: string; readonly at: number } {
  const found = text.indexOf(REFRESH_TOKEN);
  const at = found + REFRESH_TOKEN.length;
  let end = at;
  while (end < text.length && text[end] !== '"') end += text[end] === "\\" ? 2 : 1;
  if (found < 0 || end === at || end >= text.length) return { rest: text, at: 0 };
  return { refreshToken: text.slice(at, end), rest: text.slice(0, at) + text.slice(end), at };
}

/** The authentication tag of a compact JWE: its last part. */
function sealTagOf(sealed: string): string {
  return sealed.slice(sealed.lastIndexOf(".") + 1);
}

async function openPart(
  sealed: string,
  at: SealPlace,
  { tenant, waiter }: RecordPlace,
  keys: SealKeys,
): Promise<OpenedRecord> {
  const sealedBy = readSealedBy(sealed, at);
  if (sealedBy === undefined) return { failure: "unreadable" };
  const key = await keys.opening(at.purpose, tenant, sealedBy, waiter);
  if (key === undefined) return { failure: "unknown_key", keyId: sealedBy.id };
  const text = key === "unreadable" ? undefined : await openSealed(sealed, key);
  return text === undefined ? { failure: "unreadable" } : { text, sealedBy: [sealedBy] };
}
