/** Greatest code point there is: no text sorts after one that begins with it. */
const LAST_CODE_POINT = 0x10_ff_ff;

/** Half characters stand here, which no encoded text has. */
const FIRST_SURROGATE = 0xd8_00;
const LAST_SURROGATE = 0xdf_ff;

/**
 * Compares by code points, which is how databases order UTF-8 byte by byte. JavaScript's own order differs where a text
 * has characters beyond the first 65 536.
 */
export function compareKeys(a: string, b: string): number {
  const [left, right] = [a[Symbol.iterator](), b[Symbol.iterator]()];
  for (;;) {
    const [one, other] = [left.next(), right.next()];
    if (one.done === true || other.done === true) return Number(other.done ?? false) - Number(one.done ?? false);
    const difference = (one.value.codePointAt(0) ?? 0) - (other.value.codePointAt(0) ?? 0);
    if (difference !== 0) return difference;
  }
}

/** Gives the least text after all that begin with `prefix`; `undefined` if there is none, as after the empty one. */
export function endOfPrefix(prefix: string): string | undefined {
  const points = Array.from(prefix);
  for (let last = points.pop(); last !== undefined; last = points.pop()) {
    const point = last.codePointAt(0) ?? 0;
    if (point === LAST_CODE_POINT) continue;
    const next = point + 1 === FIRST_SURROGATE ? LAST_SURROGATE + 1 : point + 1;
    return points.join("") + String.fromCodePoint(next);
  }
  return undefined;
}
