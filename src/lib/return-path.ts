/** Longest path that is kept. */
const MAX_LENGTH = 2048;

/** An origin that no application has: only the path is of interest. */
const ORIGIN = "https://return-path.invalid";

/** Backslashes, which browsers take for slashes, and control characters, which they leave out. */
const TRICKS = /[\\\p{Cc}]/u;

/**
 * Gives a path of the application, rebuilt from its parsed form, or `undefined` for anything that could lead elsewhere.
 * `/..//evil.example` passes a check of the origin and still has the path `//evil.example` (requirements S-072).
 */
export function parseReturnPath(text: string): string | undefined {
  if (text.length > MAX_LENGTH || !text.startsWith("/") || text.startsWith("//") || TRICKS.test(text)) return undefined;
  if (!URL.canParse(text, ORIGIN)) return undefined;
  const url = new URL(text, ORIGIN);
  if (url.origin !== ORIGIN || url.pathname.startsWith("//")) return undefined;
  const path = `${url.pathname}${url.search}${url.hash}`;
  // Escapes make it longer.
  return path.length > MAX_LENGTH ? undefined : path;
}
