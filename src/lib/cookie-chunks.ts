/** What a browser sent of one sealed text that was cut into cookies. */
export interface ReceivedChunks {
  /**
   * The values of the cookies from number 0 on, up to the first that is missing; `undefined` if they are not to be looked
   * at. The last ones may be left over from another response.
   */
  readonly chunks: readonly string[] | undefined;
  /** Numbers of the cookies that the browser may have. */
  readonly numbers: readonly number[];
}

/** How cookies are written. */
export interface CookieForm {
  /** Begins with `__Host-`. A number is added to it. */
  readonly name: string;
  readonly sameSite: "Lax" | "Strict";
}

/** Name and value of a cookie may have 4 096 bytes (RFC 6265bis §5.6); some browsers count attributes, so we do. */
const MAX_COOKIE_BYTES = 4_096;

/** Nine cookies: their numbers have one digit. */
export const MAX_CHUNKS = 9;

/** Node refuses more than 16 KB of headers. */
const MAX_HEADER_LENGTH = 16_384;

const OWN_NUMBER = /^[0-8]$/;

/**
 * Finds the cookies of one name in a `Cookie` header and puts them together. Cookies without a name, and all others, are
 * skipped; nothing is decoded. The same cookie twice is somebody else's work (requirements S-066).
 */
export function readChunks(header: string | undefined, name: string): ReceivedChunks {
  if (header === undefined || header === "") return { chunks: [], numbers: [] };
  // Not looked at, so any of them may be there.
  if (header.length > MAX_HEADER_LENGTH)
    return { chunks: undefined, numbers: Array.from({ length: MAX_CHUNKS }, (_, at) => at) };
  const found = new Map<number, string>();
  let isDoubled = false;
  for (const pair of header.split(";")) {
    const equals = pair.indexOf("=");
    const ownName = pair.slice(0, Math.max(0, equals)).trim();
    if (!ownName.startsWith(`${name}.`)) continue;
    const digit = ownName.slice(name.length + 1);
    if (!OWN_NUMBER.test(digit)) continue;
    isDoubled ||= found.has(Number(digit));
    found.set(Number(digit), pair.slice(equals + 1).trim());
  }
  const numbers = [...found.keys()].sort((a, b) => a - b);
  const chunks = numbers.filter((number, at) => number === at).map((number) => found.get(number) ?? "");
  return { chunks: isDoubled ? undefined : chunks, numbers };
}

/** Says in how many cookies a sealed text of this length goes. */
export function countChunks(length: number, form: CookieForm, maxAgeSeconds: number): number {
  return Math.ceil(length / valueRoom(form, maxAgeSeconds));
}

/** Bytes that a browser sends for a text of this length: what its server's limit for headers counts. */
export function sentBytes(length: number, count: number, { name }: CookieForm): number {
  return length + count * `${name}.0=; `.length;
}

/** Writes a sealed text as the values of `Set-Cookie` headers. */
export function formatChunks(text: string, form: CookieForm, maxAgeSeconds: number): string[] {
  const room = valueRoom(form, maxAgeSeconds);
  const chunks = Array.from({ length: Math.ceil(text.length / room) }, (_, at) =>
    text.slice(at * room, (at + 1) * room),
  );
  return chunks.map((chunk, number) => formatCookie(form, number, chunk, maxAgeSeconds));
}

/** Writes the `Set-Cookie` headers that take cookies away from a browser. */
export function formatRemovals(numbers: readonly number[], form: CookieForm): string[] {
  return numbers.map((number) => formatCookie(form, number, "", 0));
}

function valueRoom(form: CookieForm, maxAgeSeconds: number): number {
  return MAX_COOKIE_BYTES - formatCookie(form, 0, "", maxAgeSeconds).length;
}

function formatCookie({ name, sameSite }: CookieForm, number: number, value: string, maxAgeSeconds: number): string {
  const age = `Max-Age=${String(maxAgeSeconds)}`;
  return `${name}.${String(number)}=${value}; Path=/; ${age}; Secure; HttpOnly; SameSite=${sameSite}`;
}
