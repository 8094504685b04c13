import type { TokenSet } from "../core/index.ts";
import type { Ending, SessionFreshness } from "./session-freshness.ts";
import type { SessionEntry } from "./session-entry.ts";

/** Notices remembered although their session left memory, as idle ones do: it may come back many times before its end. */
const REMEMBERED = 10_000;

/** Servers that count down in whole seconds name the same end a little differently each time. */
const SAME_END_MS = 60_000;

/** Remembers of which ends this process has told: each is told of once. */
export class EndingNotices {
  readonly #freshness: SessionFreshness;
  /** When what ends, of sessions in memory. */
  readonly #told = new WeakMap<SessionEntry, Map<Ending["what"], number>>();
  /** The last ones, of whatever session. */
  readonly #last = new Map<string, number>();

  constructor(freshness: SessionFreshness) {
    this.#freshness = freshness;
  }

  /**
   * Gives the ends of a session that are near and were not told of.
   *
   * @param before The tokens that were replaced: what ended with them does not end now.
   */
  take(entry: SessionEntry, before: TokenSet | undefined): readonly Ending[] {
    return this.#freshness.endingsOf(entry, before).filter((ending) => this.#isNew(entry, ending));
  }

  #isNew(entry: SessionEntry, { what, endsAt }: Ending): boolean {
    const told = this.#told.get(entry) ?? new Map<Ending["what"], number>();
    const name = `${entry.key} ${what}`;
    const known = told.get(what) ?? this.#last.get(name);
    this.#told.set(entry, told.set(what, endsAt));
    this.#remember(name, endsAt);
    return known === undefined || Math.abs(endsAt - known) > SAME_END_MS;
  }

  #remember(name: string, endsAt: number): void {
    this.#last.delete(name);
    this.#last.set(name, endsAt);
    if (this.#last.size <= REMEMBERED) return;
    for (const oldest of this.#last.keys()) {
      this.#last.delete(oldest);
      return;
    }
  }
}
