/** Milliseconds of the machine's monotonic clock, which all its processes share: moments of several of them compare. */
export function machineTime(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
