/**
 * Compares two texts without telling by its duration where they differ. Different lengths are told at once:
 * what is compared here has a public length.
 */
export function equalsConstantTime(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let index = 0; index < a.length; index++) difference |= a.charCodeAt(index) ^ b.charCodeAt(index);
  return difference === 0;
}
