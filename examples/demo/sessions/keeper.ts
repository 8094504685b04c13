import { TokenManager, memoryStore, type SessionEvent, type TokenSet, type TokenStore } from "warehouse-oauth";
import type { DemoWarehouse } from "../warehouses.ts";
import { SessionWatch } from "./watch.ts";

/** Sessions that are followed; the oldest goes first. Their tokens leave memory when nobody uses them. */
const MAX_WATCHES = 3_000;

/** Nothing here outlives the program, so nothing is worth a long wait at its end. */
const DRAIN_MS = 1_000;

/** The whole of an application's token handling: one manager, and one log for each session of it. */
export class SessionKeeper {
  readonly #store: TokenStore = memoryStore();
  readonly #manager: TokenManager;
  /** Stands for another process: it shares the store and nothing else. It is not started; a person starts it. */
  readonly #other = new TokenManager({ store: this.#store });
  readonly #watches = new Map<string, SessionWatch>();

  /** @param random Jitter of the retries; a test wants to know how long they take. */
  constructor(random?: () => number) {
    this.#manager = new TokenManager({ store: this.#store, ...(random !== undefined && { random }) });
    this.#manager.on("*", (event) => {
      this.#deliver(event);
    });
    this.#manager.start();
  }

  /** Saves the tokens of a login, and follows the session from now on. */
  async save(warehouse: DemoWarehouse, subject: string, tokens: TokenSet): Promise<SessionWatch> {
    const { client } = warehouse;
    const session = this.#manager.session(client, { subject });
    const person = tokens.user?.email ?? tokens.user?.id ?? "somebody";
    const watch = new SessionWatch(session, warehouse, person, this.#store);
    this.#watches.delete(session.reference);
    this.#watches.set(session.reference, watch);
    const oldest = this.#watches.keys().next();
    if (this.#watches.size > MAX_WATCHES && oldest.done !== true) this.#watches.delete(oldest.value);
    await this.#manager.save(client, { subject }, tokens);
    return watch;
  }

  /** Refreshes a session as another process would, behind the back of this one. Gives the generation it got. */
  async refreshElsewhere({ session, warehouse }: SessionWatch): Promise<number> {
    const twin = this.#other.session(warehouse.client, session.identity);
    await twin.refresh();
    const status = await twin.status();
    return "generation" in status ? status.generation : 0;
  }

  async close(): Promise<void> {
    await Promise.all([this.#manager.close({ drainMs: DRAIN_MS }), this.#other.close({ drainMs: DRAIN_MS })]);
  }

  /** Events name a session by its reference; those of a client concern all of its sessions. */
  #deliver(event: SessionEvent): void {
    if ("session" in event) {
      this.#watches.get(event.session)?.take(event);
      return;
    }
    for (const watch of this.#watches.values()) {
      if (watch.warehouse.client.connectionId === event.connectionId) watch.take(event);
    }
  }
}
