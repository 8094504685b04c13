/** How much of something is done: small by default, more where the environment says so. */
export function countOf(name: string, usual: number): number {
  return Number(process.env[name] ?? usual);
}

/** Says what was run, for the record. */
export function report(what: string, startedAt: number): void {
  console.log(`fleet: ${what}, ${((performance.now() - startedAt) / 1_000).toFixed(1)} s`);
}
