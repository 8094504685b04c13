import type { TokenSet } from "../core/index.ts";
import type { Ending, SessionFreshness } from "./session-freshness.ts";
import type { SessionEntry } from "./session-entry.ts";

/** Remembers of which ends this process has told: each is told of once. */
export class EndingNotices {
  readonly #freshness: SessionFreshness;
  readonly #told = new WeakMap<SessionEntry, Set<string>>();

  constructor(freshness: SessionFreshness) {
    this.#freshness = freshness;
  }

  /**
   * Gives the ends of a session that are near and were not told of.
   *
   * @param before The tokens that were replaced: what ended with them does not end now.
   */
  take(entry: SessionEntry, before: TokenSet | undefined): readonly Ending[] {
    const untold: Ending[] = [];
    for (const ending of this.#freshness.endingsOf(entry, before)) {
      const told = this.#told.get(entry) ?? new Set();
      const name = `${ending.what} ${String(ending.endsAt)}`;
      if (told.has(name)) continue;
      this.#told.set(entry, told.add(name));
      untold.push(ending);
    }
    return untold;
  }
}
