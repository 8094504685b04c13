import type { PendingAuthorization, TokenSet } from "warehouse-oauth";
import type { QueryResult } from "./query.ts";
import type { SessionWatch } from "./sessions/watch.ts";
import type { WarehouseId } from "./warehouses.ts";

/** A login that was begun and waits for its callback. */
export interface Login {
  /** Names it in our own addresses; not its `state`. */
  readonly id: string;
  readonly warehouseId: WarehouseId;
  readonly url: URL;
  readonly pending: PendingAuthorization;
}

/** Rows, and how they came. */
export interface ShownResult extends QueryResult {
  /** What the query went through. */
  readonly way: string;
  /** What an embedded warehouse was asked meanwhile: method and path. */
  readonly requests: readonly string[];
}

/** Somebody who is signed in at a warehouse. */
export interface SignedIn {
  /** What the login said of the person and of the scopes. The tokens themselves are the session's. */
  readonly login: TokenSet;
  /** The session, and what became of it so far. */
  readonly watch: SessionWatch;
  readonly requestedScopes: readonly string[];
  result: ShownResult | undefined;
  /** What went wrong with the last click. Shown once. */
  problem: unknown;
}

/** What the server knows of one browser. The browser itself holds nothing but a random id. */
export class Visitor {
  /** By `state`, so that a forged callback finds nothing and ends no real login. */
  readonly #logins = new Map<string, Login>();
  readonly signedIn = new Map<WarehouseId, SignedIn>();
  /** Whose sessions these are, as an application's own user id would say. Not the id in the cookie. */
  readonly subject: string = createId();
  /** Shown once, on the next page. */
  notice: string | undefined;

  /** Remembers a login under way. */
  remember(login: Login): void {
    this.#logins.set(login.pending.state, login);
    const oldest = this.#logins.keys().next();
    if (this.#logins.size > MAX_LOGINS && oldest.done !== true) this.#logins.delete(oldest.value);
  }

  /** Finds a login by its own id, to show it. */
  findLogin(id: string): Login | undefined {
    return [...this.#logins.values()].find((login) => login.id === id);
  }

  /** Takes the login that a callback belongs to. Gives it once. */
  takeLogin(state: string): Login | undefined {
    const login = this.#logins.get(state);
    this.#logins.delete(state);
    return login;
  }
}

/** Tabs in which one browser may be signing in at once. */
const MAX_LOGINS = 5;

/** Browsers that are remembered; the one not seen for longest goes first. */
const MAX_VISITORS = 1_000;

/** Makes an id nobody can guess: 128 random bits. */
export function createId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The browsers, by the random id in their cookie. */
export class Visitors {
  readonly #visitors = new Map<string, Visitor>();

  find(id: string): Visitor | undefined {
    const visitor = this.#visitors.get(id);
    if (visitor !== undefined) {
      this.#visitors.delete(id);
      this.#visitors.set(id, visitor);
    }
    return visitor;
  }

  /** Keeps a visitor under a new id. Done at each login too, so that an id somebody planted is worth nothing. */
  keep(visitor: Visitor, formerId?: string): string {
    if (formerId !== undefined) this.#visitors.delete(formerId);
    const id = createId();
    this.#visitors.set(id, visitor);
    const oldest = this.#visitors.keys().next();
    if (this.#visitors.size > MAX_VISITORS && oldest.done !== true) this.#visitors.delete(oldest.value);
    return id;
  }
}
