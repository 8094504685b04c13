import { hexOf } from "./hex.ts";

/** Enough that no two are the same. */
const BYTES = 12;

/** Makes 24 hexadecimal digits that nobody else makes. */
export function randomId(): string {
  return hexOf(crypto.getRandomValues(new Uint8Array(BYTES)));
}
