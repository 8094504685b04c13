/** Names kept at most: more would be a leak if somebody else chooses them. */
const MAX_KEPT = 1_000;

/** Keeps one value for each name, so that a million holders of equal values hold the same one. */
export class SharedValues<T> {
  readonly #kept = new Map<string, T>();

  /** Gives the value of this name, made now if it is not known (any more). */
  get(name: string, make: () => T): T {
    const known = this.#kept.get(name);
    if (known !== undefined) return known;
    if (this.#kept.size >= MAX_KEPT) this.#kept.clear();
    const made = make();
    this.#kept.set(name, made);
    return made;
  }
}
