/** What stands where a secret would. */
export const REDACTED = "[redacted]";

/** The key under which Node's `util.inspect` looks for an object's own way to print. */
export const INSPECT: unique symbol = Symbol.for("nodejs.util.inspect.custom") as never;

/** Longest piece of server text that is kept. */
const MAX_SERVER_TEXT = 512;

/** Everything outside `%x20-21 / %x23-5B / %x5D-7E`, the characters of `error_description` (RFC 6749 §5.2). */
const NOT_ERROR_TEXT = /[^\x20\x21\x23-\x5B\x5D-\x7E]/g;

/** Cuts and strips text that a server wrote, so that it can be shown: no control characters, quotes or markup escapes survive. */
export function sanitizeServerText(text: unknown): string | undefined {
  if (typeof text !== "string" || text === "") return undefined;
  const plain = text.slice(0, MAX_SERVER_TEXT).replace(NOT_ERROR_TEXT, " ").trim();
  return plain === "" ? undefined : plain;
}
