import { ConfigurationError, internalsOf } from "../core/index.ts";
import type { OAuthClient } from "../core/index.ts";
import type { Clock } from "../lib/clock.ts";
import { Connection } from "./connection.ts";
import { SessionEntry } from "./session-entry.ts";
import { formatLocalKey } from "./session-key.ts";
import type { SessionDescription, SessionIdentity } from "./session-key.ts";
import { inTime } from "./waits.ts";

/** Finds the client of a stored session. */
export type ResolveClient = (session: SessionDescription) => OAuthClient | undefined | Promise<OAuthClient | undefined>;

/** What a directory needs of its surroundings. */
export interface DirectoryOptions {
  readonly clock: Clock;
  readonly idleMs: number;
  readonly resolveClient: ResolveClient | undefined;
  /** Whether a session is to be refreshed even if nobody uses it: then it stays. */
  readonly isKeptAlive: (entry: SessionEntry) => boolean;
  /** Called for an idle entry that came up in the walk; `true` if the scheduler sees to it. */
  readonly onIdle: (entry: SessionEntry) => boolean;
  /** Waits for what may never come, no longer than until the end. */
  readonly untilClosed: <T>(work: Promise<T>) => Promise<T>;
  /** Called for an entry that leaves memory. */
  readonly onEvicted: (entry: SessionEntry) => void;
}

/** Time for a function of the application that finds a client. */
const RESOLVE_WITHIN_MS = 30_000;

/** Entries looked at whenever one comes in: two for one, so that the idle never outgrow the used. */
const LOOKED_AT_PER_ENTRY = 2;

/** Knows the sessions of this process: one entry for each, whoever asks. */
export class SessionDirectory {
  readonly #options: DirectoryOptions;
  readonly #connections = new Map<string, Connection>();
  #walk: Iterator<SessionEntry> | undefined;

  constructor(options: DirectoryOptions) {
    this.#options = options;
  }

  /** Gives the connection of a client; the newest client of a connection is the one that is used. */
  connectionOf(client: OAuthClient): Connection {
    if (internalsOf(client).clock !== this.#options.clock) {
      throw new ConfigurationError(
        "config_invalid",
        'the client and the manager have different clocks; give both the same "clock", or neither',
        "clock",
      );
    }
    const { connectionId } = client;
    let connection = this.#connections.get(connectionId);
    if (connection === undefined) this.#connections.set(connectionId, (connection = new Connection(client)));
    connection.client = client;
    return connection;
  }

  /** Gives what is known of a session, the same for all who ask. */
  entryOf(connection: Connection, identity: SessionIdentity): SessionEntry {
    const localKey = formatLocalKey(identity);
    const known = connection.entries.get(localKey);
    if (known !== undefined) return known;
    const entry = new SessionEntry(connection, localKey, this.#options.clock.now());
    connection.entries.set(localKey, entry);
    this.#evictSome();
    return entry;
  }

  *entries(): Generator<SessionEntry> {
    for (const connection of this.#connections.values()) yield* connection.entries.values();
  }

  /** Gives the entry of a key if this process has one. */
  find({ connectionId, ...description }: SessionDescription): SessionEntry | undefined {
    return this.#connections.get(connectionId)?.entries.get(formatLocalKey(description));
  }

  /**
   * Finds the session of a key: known here, or through `resolveClient`.
   *
   * @throws {@link ConfigurationError} `client_unresolved` for a client of another connection; what `resolveClient` throws;
   * {@link TransportError} `timeout` if it does not answer; {@link SessionClosedError} if the end comes first.
   */
  async resolve(description: SessionDescription): Promise<SessionEntry | undefined> {
    const known = this.find(description);
    if (known !== undefined) return known;
    const connection = await this.#resolveConnection(description, description.connectionId);
    return connection && this.entryOf(connection, description);
  }

  async #resolveConnection(description: SessionDescription, connectionId: string): Promise<Connection | undefined> {
    const { clock, resolveClient, untilClosed } = this.#options;
    // Without it, a client that was used here before is as good.
    if (resolveClient === undefined) return this.#connections.get(connectionId);
    const late = `"resolveClient" gave no client within ${String(RESOLVE_WITHIN_MS)} ms`;
    const answer = untilClosed(Promise.resolve(resolveClient(description)));
    const client = await inTime(clock, RESOLVE_WITHIN_MS, late, answer);
    if (client === undefined) return undefined;
    if (client.connectionId !== connectionId) {
      throw new ConfigurationError(
        "client_unresolved",
        '"resolveClient" gave a client of another connection than the one the tokens belong to',
        "resolveClient",
      );
    }
    return this.connectionOf(client);
  }

  /** Lets an idle entry go; the store keeps the session. `false` if it is not idle, or holds what nobody else has. */
  evictIfIdle(entry: SessionEntry): boolean {
    if (!this.#isIdle(entry) || entry.evicted || entry.flight !== undefined || entry.unsaved !== undefined)
      return false;
    if (this.#options.isKeptAlive(entry)) return false;
    entry.connection.entries.delete(entry.localKey);
    entry.evicted = true;
    // Handles on it live on, and must not give out what others replace or revoke from here on.
    entry.accessToken = undefined;
    entry.quickUntil = entry.expiredAt = -Infinity;
    this.#options.onEvicted(entry);
    return true;
  }

  #isIdle(entry: SessionEntry): boolean {
    return entry.unusedForMs(this.#options.clock.now()) > this.#options.idleMs;
  }

  /** Walks on through all entries, a little for each one that comes. */
  #evictSome(): void {
    for (let looked = 0; looked < LOOKED_AT_PER_ENTRY; looked++) {
      this.#walk ??= this.entries();
      const next = this.#walk.next();
      if (next.done === true) {
        this.#walk = undefined;
        return;
      }
      const entry = next.value;
      if (!this.#isIdle(entry) || this.#options.isKeptAlive(entry)) continue;
      if (!this.#options.onIdle(entry)) this.evictIfIdle(entry);
    }
  }
}
