/** Ten years: beyond this a lifetime is a mistake of the server, not a fact (requirements 1.4). */
const MAX_LIFETIME_MS = 10 * 365 * 86_400_000;

/**
 * Reads `expires_in` (RFC 6749 §5.1), seconds on the wire, milliseconds here. Whole seconds; text of digits counts.
 *
 * @returns `undefined` for what is no lifetime: negative, not finite, or of another type.
 */
export function parseExpiresIn(value: unknown): number | undefined {
  const seconds = typeof value === "string" && /^[0-9]{1,20}$/.test(value) ? Number(value) : value;
  if (typeof seconds !== "number" || !Number.isFinite(seconds) || seconds < 0) return undefined;
  return Math.min(Math.floor(seconds) * 1000, MAX_LIFETIME_MS);
}
