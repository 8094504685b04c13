import { ConfigurationError, TokenSet, invalidArgument } from "../core/index.ts";
import type { OAuthClient, SignalOptions } from "../core/index.ts";
import { abortable } from "../lib/abortable.ts";
import { systemClock } from "../lib/clock.ts";
import type { Clock } from "../lib/clock.ts";
import { systemRandom } from "../lib/system-random.ts";
import type { ConcurrencyOptions } from "./endpoint-gate.ts";
import { EventHub, isEventType } from "./events.ts";
import type { SessionEvent } from "./events.ts";
import { assertOptions, assertSessionOptions, retryPolicyOf } from "./manager-options.ts";
import { hasLostTokens } from "./lost-tokens.ts";
import { memoryStore } from "./memory-store.ts";
import type { RefreshOptions } from "./refresh-policy.ts";
import type { RetryOptions } from "./retry.ts";
import { replaceRecord } from "./replace-record.ts";
import { incapableStore } from "./session-errors.ts";
import { waitForFlight } from "./flight-wait.ts";
import { SessionEngine } from "./session-engine.ts";
import type { ResolveClient } from "./session-directory.ts";
import type { Background } from "./session-engine.ts";
import type { Obtain, SessionEntry } from "./session-entry.ts";
import { checkIdentity, parseSessionKey } from "./session-key.ts";
import type { SessionIdentity } from "./session-key.ts";
import { statusOf } from "./session-status.ts";
import type { SessionStatus } from "./session-status.ts";
import type { TokenStore } from "./store.ts";
import { recentEntry } from "./stored-copy.ts";
import { TokenSession } from "./token-session.ts";

/**
 * Lets a warehouse that rotates refresh tokens use a store without compare-and-set or lease.
 *
 * @deprecated Two processes that refresh at once lose the session, and may lose the user's whole grant.
 */
export const rotateWithoutLease: unique symbol = Symbol.for("warehouse-oauth.rotateWithoutLease") as never;

/** Everything is optional: without options, sessions live in this process. */
export interface TokenManagerOptions {
  /** Default is `memoryStore()`. */
  readonly store?: TokenStore;
  /**
   * Finds the client of a stored session, for proactive refresh and {@link TokenManager.refresh} after a restart.
   * `undefined` means "no longer ours": the session is left alone. A client with another `connectionId` is refused.
   */
  readonly resolveClient?: ResolveClient;
  /** When to refresh. */
  readonly refresh?: RefreshOptions;
  /** How failed attempts are repeated. */
  readonly retry?: RetryOptions;
  /**
   * Where background refreshes run: `"detached"` (default), `"none"` (a stale caller awaits the refresh), or the
   * platform's `waitUntil`, for platforms that freeze after the response.
   */
  readonly background?: Background;
  /** In this process, for each token endpoint and client. */
  readonly concurrency?: ConcurrencyOptions;
  /**
   * How long a refresh may go on without a sign of life before another process may begin. Default is 60 000; at least
   * 1 000. It is renewed while the refresh goes on.
   */
  readonly leaseTtlMs?: number;
  /** Default is the system's. */
  readonly clock?: Clock;
  /** Number in [0, 1) for jitter only. Secrets always come from Web Crypto. */
  readonly random?: () => number;
  /** Accepts the loss of sessions. */
  readonly [rotateWithoutLease]?: true;
}

/** How a session renews itself beside its refresh token. */
export interface SessionOptions {
  /**
   * Where tokens come from when there is no refresh token: jobs and services. Called under the lease, may be called
   * again, must pass `signal` on. `clientCredentials` fits as it is. While it runs it has one of the places at the token
   * endpoint (`concurrency.atOnce`): if it asks another session of the same client, allow more than one.
   */
  readonly obtain?: Obtain;
}

/** A minute: longer than any refresh takes, short enough for a process that died. */
const DEFAULT_LEASE_MS = 60_000;

/** Time that `close` gives to what was sent. */
const DEFAULT_DRAIN_MS = 15_000;

/**
 * Keeps sessions: one for a process, for all clients and subjects.
 *
 * @example
 *
 * ```ts
 * import { TokenManager, type OAuthClient, type TokenSet } from "warehouse-oauth";
 *
 * declare const client: OAuthClient;
 * declare const tokens: TokenSet;
 *
 * const manager = new TokenManager();
 * manager.start();
 * const session = await manager.save(client, { subject: "ada" }, tokens);
 * const response = await session.fetch("/api/v2/statements", { method: "POST", body: "{}" });
 * ```
 */
export class TokenManager {
  readonly #engine: SessionEngine;
  readonly #events = new EventHub();
  #closing: Promise<{ readonly unsaved: readonly string[] }> | undefined;

  /** @throws {@link ConfigurationError} `config_invalid`. Starts nothing. */
  constructor(options: TokenManagerOptions = {}) {
    assertOptions(options);
    const { clock = systemClock, random = systemRandom } = options;
    this.#engine = new SessionEngine({
      store: options.store ?? memoryStore({ clock }),
      clock,
      random,
      events: this.#events,
      refresh: options.refresh ?? {},
      retry: retryPolicyOf(options.retry),
      concurrency: options.concurrency ?? {},
      background: options.background ?? "detached",
      resolveClient: options.resolveClient,
      leaseTtlMs: options.leaseTtlMs ?? DEFAULT_LEASE_MS,
      rotateWithoutLease: options[rotateWithoutLease] === true,
    });
  }

  /**
   * Saves the tokens of a login; replaces what was there. An abort before the call saves nothing; later it is heard by
   * the caller only, and they are saved all the same.
   *
   * @throws `StoreError`; {@link ConfigurationError} `store_incapable`, `tokens_invalid` (of another client).
   */
  async save(
    client: OAuthClient,
    identity: SessionIdentity,
    tokens: TokenSet,
    options?: SignalOptions,
  ): Promise<TokenSession> {
    this.#engine.assertOpen();
    options?.signal?.throwIfAborted();
    if (TokenSet.connectionIdOf(tokens) !== client.connectionId) {
      throw new ConfigurationError("tokens_invalid", "these tokens belong to another client or warehouse", "tokens");
    }
    const rotates = client.warehouse.refreshRotation !== "none" && tokens.refreshToken !== undefined;
    if (rotates && !this.#engine.mayRotateTokens) throw incapableStore();
    const entry = this.#engine.directory.entryOf(this.#engine.directory.connectionOf(client), checkIdentity(identity));
    entry.usedAt = this.#engine.clock.now();
    await this.#engine.finish(this.#logIn(entry, tokens), options?.signal);
    return TokenSession.of(this.#engine, client, entry);
  }

  async #logIn(entry: SessionEntry, tokens: TokenSet): Promise<void> {
    await replaceRecord(this.#engine, entry, (before) => ({
      state: "active",
      cause: undefined,
      tokens,
      rotates: before?.rotates ?? false,
      loginAt: tokens.obtainedAt,
      revokeLate: false,
    }));
    const { expiresAt, scopes } = tokens;
    this.#engine.emit(entry, { type: "tokens_issued", expiresAt, scopes });
  }

  /** Gives the session. Reads nothing; the same identity is the same flight. */
  session(client: OAuthClient, identity: SessionIdentity, options?: SessionOptions): TokenSession {
    assertSessionOptions(options);
    const obtain = options?.obtain;
    const entry = this.#engine.directory.entryOf(this.#engine.directory.connectionOf(client), checkIdentity(identity));
    if (obtain !== undefined) this.#engine.renewBy(entry, obtain);
    return TokenSession.of(this.#engine, client, entry);
  }

  /**
   * Refreshes by key if it is due: the body of a queue's job. Errors as `TokenSession.getAccessToken`, also while the
   * token is good.
   *
   * @throws {@link ConfigurationError} `client_unresolved` for a key that nobody here has a client for, `config_invalid`
   * for a text that is no key. TypeError `invalid_argument` for what is no text.
   */
  async refresh(key: string, options?: SignalOptions): Promise<SessionStatus> {
    this.#engine.assertOpen();
    options?.signal?.throwIfAborted();
    if (typeof key !== "string") throw invalidArgument('"key" must be the key of a session, a string');
    const description = parseSessionKey(key);
    if (description === undefined) {
      throw new ConfigurationError("config_invalid", '"key" must be the key of a session', "key");
    }
    const known = await abortable(this.#engine.directory.resolve(description), options?.signal);
    if (known === undefined) {
      throw new ConfigurationError(
        "client_unresolved",
        'no client is known for this session; give "resolveClient", or open the session here first',
        "resolveClient",
      );
    }
    // Jobs go round a fleet: this process may have seen the session long ago, before a refresh or a login elsewhere.
    const entry = await abortable(recentEntry(this.#engine, known), options?.signal);
    const before = statusOf(this.#engine, entry);
    const renewable = before.state === "active" || before.state === "degraded" || before.state === "refreshing";
    if ((renewable || hasLostTokens(entry)) && this.#engine.freshness.zoneOf(entry) !== "fresh") {
      await waitForFlight(this.#engine.clock, this.#engine.fly(entry, "due", true), options?.signal);
    }
    return statusOf(this.#engine, entry);
  }

  /**
   * Starts proactive refresh; of sessions that only the store knows, too, where it is durable and has `due`, and
   * `resolveClient` is given. Does not keep the process alive.
   */
  start(): void {
    this.#engine.assertOpen();
    this.#engine.scheduler.start();
  }

  /** Stops proactive refresh. Sessions still refresh when asked. */
  stop(): void {
    this.#engine.scheduler.stop();
  }

  /**
   * Stops, waits for refreshes already sent (default 15 000), saves them. Idempotent. Lists keys of tokens it could not
   * save.
   *
   * @throws {@link ConfigurationError} `config_invalid` for a `drainMs` that is no time; then nothing was closed.
   */
  close(options?: { readonly drainMs?: number }): Promise<{ readonly unsaved: readonly string[] }> {
    const { drainMs = DEFAULT_DRAIN_MS } = options ?? {};
    if (!(drainMs >= 0)) {
      const message = '"drainMs" must be milliseconds, 0 or more';
      return Promise.reject(new ConfigurationError("config_invalid", message, "drainMs"));
    }
    return (this.#closing ??= this.#engine.close(drainMs).then((unsaved) => ({ unsaved })));
  }

  /** Listens to one kind of event, or to all. Returns the way to stop. A listener that throws hurts nobody. */
  on(type: "*", listener: (event: SessionEvent) => void): () => void;
  on<Type extends SessionEvent["type"]>(
    type: Type,
    listener: (event: Extract<SessionEvent, { readonly type: Type }>) => void,
  ): () => void;
  on(type: string, listener: (event: never) => void): () => void {
    if (typeof listener !== "function") throw invalidArgument('"listener" must be a function');
    if (type !== "*" && !isEventType(type)) {
      throw new ConfigurationError("config_invalid", `there is no event "${type}"; "*" hears all`, "type");
    }
    return this.#events.on(type, listener as (event: SessionEvent) => void);
  }
}
