/** Not now, and nobody's fault: somebody else is at it, or the line is long. */
export class Postponed extends Error {
  readonly delayMs: number;
  /** What somebody else writes may end the wait sooner. */
  readonly watches: boolean;

  constructor(delayMs: number, watches: boolean) {
    super("postponed");
    this.delayMs = delayMs;
    this.watches = watches;
  }
}
