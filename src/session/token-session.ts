import { internalsOf, invalidArgument } from "../core/index.ts";
import type { OAuthClient, RevocationResult, SignalOptions } from "../core/index.ts";
import { abortable } from "../lib/abortable.ts";
import { fetchAuthorized } from "./authorized-fetch.ts";
import type { Flight } from "./flight.ts";
import { waitForFlight } from "./flight-wait.ts";
import { forgetSession, revokeSession } from "./logout.ts";
import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";
import { isRenewable } from "./session-freshness.ts";
import type { SessionIdentity } from "./session-key.ts";
import { isKeyRemoved, keyRemoved, statusOf } from "./session-status.ts";
import type { SessionStatus } from "./session-status.ts";
import { ensureRead, isOldCopy, recentEntry, rereadBehind } from "./stored-copy.ts";

/** What kind of token will do. */
export interface GetAccessTokenOptions extends SignalOptions {
  /** Refreshes first if less than this is left; at most half of the token's life counts. */
  readonly minRemainingMs?: number;
  /** The token that a server refused. Refreshes only if it is still the current one. */
  readonly rejected?: string;
}

/** Anything that hands out access tokens. What the driver doors take; {@link TokenSession} is one. */
export interface TokenSource {
  /** Gives a token that is good now. */
  getAccessToken(options?: GetAccessTokenOptions): Promise<string>;
  /** The current token if it is not expired; never reads a store, never refreshes. */
  peek(): string | undefined;
}

/** Keeps the constructor for this module: JavaScript has no `private`. */
const construct: unique symbol = Symbol("construct");

/** The tokens of one subject at one client, kept fresh. Costs nothing until asked. */
export class TokenSession implements TokenSource {
  readonly #engine: SessionEngine;
  /** The client it was opened with: where `fetch` goes. Refreshes use the newest one of its connection. */
  readonly #client: OAuthClient;
  #entry: SessionEntry;

  private constructor(key: typeof construct, engine: SessionEngine, client: OAuthClient, entry: SessionEntry) {
    if (key !== construct) throw invalidArgument("sessions come from TokenManager.session and TokenManager.save");
    this.#engine = engine;
    this.#client = client;
    this.#entry = entry;
  }

  /** @internal */
  static of(engine: SessionEngine, client: OAuthClient, entry: SessionEntry): TokenSession {
    return new TokenSession(construct, engine, client, entry);
  }

  /** What the store calls it. Holds no secret; may go into a job's payload. */
  get key(): string {
    return this.#entry.key;
  }

  /** What events call it: a hash from which nobody gets back to the subject. Another one in each process. */
  get reference(): string {
    return this.#engine.referenceOf(this.#entry.key);
  }

  /** Whose tokens. */
  get identity(): SessionIdentity {
    return this.#entry.identity;
  }

  /**
   * Gives a token that is good now, refreshing at most once for all callers.
   *
   * @throws `ReauthorizationRequiredError`; with an expired token also `TransportError`, `TokenEndpointError`,
   * `CircuitOpenError`, `RateLimitError`, `StoreError`; `SessionClosedError`; the abort reason.
   */
  getAccessToken(options?: GetAccessTokenOptions): Promise<string> {
    const entry = this.#entry;
    if (options === undefined) {
      const now = this.#engine.clock.now();
      if (now < entry.quickUntil && now >= entry.quickFrom && entry.accessToken !== undefined) {
        entry.usedAt = now;
        return Promise.resolve(entry.accessToken);
      }
    }
    return this.#getAccessToken(options ?? {});
  }

  /** Gives the current token if it is not expired. Reads no store and refreshes nothing, but counts as use. */
  peek(): string | undefined {
    const entry = this.#entry;
    const now = this.#engine.clock.now();
    if (now >= entry.expiredAt) return undefined;
    entry.usedAt = now;
    return entry.accessToken;
  }

  /**
   * `fetch` with the token attached. A path is resolved against the warehouse; another origin is `endpoint_not_allowed`.
   * A refused token is replaced and the request repeated once. A body that is a stream cannot be sent twice: then the
   * refusal itself is the answer, and the next request has the new token. That of a Request is one, whatever it was made
   * from; it is sent without its length. Redirects of GET and HEAD are followed to the warehouse's own origins, five at
   * most; any other is the answer.
   *
   * @throws as {@link TokenSession.getAccessToken}, and whatever `fetch` throws. Not for HTTP errors.
   * {@link ConfigurationError} `endpoint_not_allowed`, `config_invalid` for what is no address of the warehouse;
   * `invalid_argument` for what is no address at all.
   */
  fetch(input: string | URL | Request, init?: RequestInit): Promise<Response> {
    const context = {
      warehouse: this.#client.warehouse,
      fetch: internalsOf(this.#client).fetch,
      clock: this.#engine.clock,
      getAccessToken: (options: GetAccessTokenOptions) => this.getAccessToken(options),
    };
    return fetchAuthorized(context, input, init);
  }

  /** Refreshes now, whatever the token's age. Errors as {@link TokenSession.getAccessToken}, also while the token is good. */
  async refresh(options?: SignalOptions): Promise<void> {
    options?.signal?.throwIfAborted();
    const entry = await this.#readToUse(options?.signal);
    await waitForFlight(this.#engine.clock, this.#engine.fly(entry, "asked", true), options?.signal);
  }

  /**
   * Deletes here first, then revokes at the server. A refresh in the air cannot bring it back: what it brings is
   * revoked, too. An abort before the call begins nothing; later it is heard by the caller only, and the work goes on.
   *
   * @throws `StoreError` if the store cannot be written: then nothing was revoked at the server, either. `unknown_key`
   * and `decrypt_failed` if what lay there cannot be opened: then it is gone here, and lives on at the server.
   */
  async revoke(options?: SignalOptions): Promise<RevocationResult> {
    options?.signal?.throwIfAborted();
    return this.#engine.finish(revokeSession(this.#engine, this.#use()), options?.signal);
  }

  /**
   * Deletes here only. At BigQuery, `revoke` would end every grant of the user to your project. Aborts as in
   * {@link TokenSession.revoke}.
   */
  async forget(options?: SignalOptions): Promise<void> {
    options?.signal?.throwIfAborted();
    return this.#engine.finish(forgetSession(this.#engine, this.#use()), options?.signal);
  }

  /** Reads the store if nothing was read lately, and does without if it is down; never refreshes, never asks the server. */
  async status(options?: SignalOptions): Promise<SessionStatus> {
    options?.signal?.throwIfAborted();
    const entry = this.#current();
    try {
      return statusOf(this.#engine, await abortable(recentEntry(this.#engine, entry), options?.signal));
    } catch (error) {
      if (isKeyRemoved(error)) return keyRemoved(entry);
      if (options?.signal?.aborted === true || entry.readAt === -Infinity) throw error;
      return statusOf(this.#engine, entry);
    }
  }

  // ---------------------------------------------------------------- the way of a token

  async #getAccessToken({ minRemainingMs, rejected, signal }: GetAccessTokenOptions): Promise<string> {
    signal?.throwIfAborted();
    const entry = await this.#readToUse(signal);
    if (rejected !== undefined && rejected === entry.accessToken) return this.#replaceRejected(entry, rejected, signal);
    const zone = this.#engine.freshness.zoneOf(entry, minRemainingMs);
    if (zone === "expired") return this.#awaitRefresh(entry, this.#engine.fly(entry, "expired", true), signal);
    // The token is good for a while: the refresh goes on behind the caller's back, where the platform lets it.
    const refresh = zone === "stale" && isRenewable(entry) ? this.#engine.flyInBackground(entry) : undefined;
    if (refresh !== undefined && this.#engine.background === "none") return this.#awaitRefresh(entry, refresh, signal);
    // While a refresh waits for its next try, another process may have made it.
    if (refresh === undefined && isOldCopy(this.#engine, entry)) rereadBehind(this.#engine, entry);
    return entry.accessToken ?? this.#awaitRefresh(entry, this.#engine.fly(entry, "expired", true), signal);
  }

  /** Reads what was never read. While it was read, it may have left memory, if a store takes longer than a session may rest. */
  async #readToUse(signal: AbortSignal | undefined): Promise<SessionEntry> {
    for (;;) {
      const entry = this.#use();
      try {
        await abortable(ensureRead(this.#engine, entry), signal);
      } catch (error) {
        // A store that is down is no reason to refuse a token that is at hand, from a login meanwhile.
        if (signal?.aborted === true || !this.#engine.freshness.isStillGood(entry)) throw error;
      }
      if (!entry.evicted) return entry;
    }
  }

  /** A server refused the current token: one refresh for each token, however often it is refused (requirements R-04). */
  async #replaceRejected(entry: SessionEntry, rejected: string, signal: AbortSignal | undefined): Promise<string> {
    if (entry.rejectedToken === rejected && entry.flight === undefined && entry.trouble === undefined) return rejected;
    if (entry.rejectedToken !== rejected) this.#engine.emit(entry, { type: "token_rejected" });
    entry.rejectedToken = rejected;
    return waitForFlight(this.#engine.clock, this.#engine.fly(entry, "rejected", true), signal);
  }

  async #awaitRefresh(entry: SessionEntry, flight: Flight, signal: AbortSignal | undefined): Promise<string> {
    try {
      return await waitForFlight(this.#engine.clock, flight, signal);
    } catch (error) {
      // Within the margin a token is better than an error.
      const { accessToken } = entry;
      if (signal?.aborted === true || accessToken === undefined || !this.#engine.freshness.isStillGood(entry))
        throw error;
      return accessToken;
    }
  }

  // ---------------------------------------------------------------- which entry

  #use(): SessionEntry {
    this.#engine.assertOpen();
    const entry = this.#current();
    entry.usedAt = this.#engine.clock.now();
    return entry;
  }

  #current(): SessionEntry {
    this.#entry = this.#engine.currentOf(this.#entry);
    return this.#entry;
  }
}
