import { abortable } from "./abortable.ts";

/** Options of {@link SingleFlight.join}. */
export interface JoinOptions {
  /** Detaches this waiter only; the flight goes on. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Lets those who want the same thing at the same time share one piece of work.
 *
 * A flight belongs to no waiter: nobody's abort ends it, so the work needs a deadline of its own. Once it has settled,
 * the next `join` starts another one; that is true already for the waiters of a flight that failed. No promise given
 * out here ever counts as an unhandled rejection, so a flight may be started with nobody waiting for it.
 */
export class SingleFlight<Key, Value> {
  readonly #flights = new Map<Key, Promise<Value>>();

  /** Number of flights under way. */
  get size(): number {
    return this.#flights.size;
  }

  /** Tells whether a flight is under way. */
  has(key: Key): boolean {
    return this.#flights.has(key);
  }

  /**
   * Waits for the flight of this key, and starts it if there is none.
   *
   * `start` is called one microtask later, and no more than once per flight. It must not wait for the flight of its own
   * key, which is itself.
   *
   * @throws What the flight failed with, or the reason of `signal`, untouched. A signal that is already aborted starts nothing.
   */
  join(key: Key, start: () => Promise<Value>, { signal }: JoinOptions = {}): Promise<Value> {
    if (signal?.aborted === true) return ignoreRejection(Promise.reject<Value>(signal.reason as Error));
    const flight = this.#flights.get(key) ?? this.#begin(key, start);
    return signal === undefined ? flight : ignoreRejection(abortable(flight, signal));
  }

  /**
   * Forgets the flight of this key: it goes on for those who wait for it already, and the next `join` starts another.
   *
   * @returns Whether there was one.
   */
  forget(key: Key): boolean {
    return this.#flights.delete(key);
  }

  #begin(key: Key, start: () => Promise<Value>): Promise<Value> {
    const flight: Promise<Value> = Promise.resolve()
      .then(start)
      .finally(() => {
        // Part of the promise itself, so it is done before any waiter runs. The slot may hold a later flight by now.
        if (this.#flights.get(key) === flight) this.#flights.delete(key);
      });
    this.#flights.set(key, flight);
    return ignoreRejection(flight);
  }
}

/** Marks a promise as looked after; whoever waits for it still sees the rejection. */
function ignoreRejection<Value>(promise: Promise<Value>): Promise<Value> {
  promise.catch(() => undefined);
  return promise;
}
