/** Draws a number in [0, 1) for jitter, from Web Crypto: there is no other source of randomness in the house. */
export function systemRandom(): number {
  return (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) / 0x1_0000_0000;
}
