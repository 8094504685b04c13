/** Numbers in [0, 1) that are the same for the same seed, so that a run can be repeated. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b_79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

/** Always the same, or that of the environment; `FLEET_SEED=random` makes a new one. Printed by who uses it. */
export function chooseSeed(): number {
  const { FLEET_SEED = "20261129" } = process.env;
  return FLEET_SEED === "random" ? (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) : Number(FLEET_SEED);
}
