import { ReauthorizationRequiredError, SessionClosedError, StoreError } from "../core/index.ts";
import type { TokenSet } from "../core/index.ts";
import { abortable } from "../lib/abortable.ts";
import { callIsolated } from "../lib/call-isolated.ts";
import type { Clock } from "../lib/clock.ts";
import { createReferenceHash } from "../lib/keyed-hash.ts";
import type { Connection } from "./connection.ts";
import { DueSessions } from "./due-sessions.ts";
import { refreshDue } from "./refresh-due.ts";
import { EndingNotices } from "./ending-notices.ts";
import { DEFAULT_PER_SECOND } from "./endpoint-gate.ts";
import type { ConcurrencyOptions, EndpointGate } from "./endpoint-gate.ts";
import { EndpointGates } from "./endpoint-gates.ts";
import type { EventHub, OwnConnectionEvent, OwnSessionEvent, RefreshReason } from "./events.ts";
import { Flight } from "./flight.ts";
import { GuardedStore } from "./guarded-store.ts";
import type { VersionedRecord } from "./guarded-store.ts";
import { isReplacedBy, tokensFor } from "./record.ts";
import type { SessionRecord } from "./record.ts";
import { Postponed } from "./postponed.ts";
import { RefreshGuard } from "./refresh-guard.ts";
import type { RefreshOptions } from "./refresh-policy.ts";
import { RefreshScheduler } from "./refresh-scheduler.ts";
import type { RetryPolicy } from "./retry.ts";
import { refreshSession } from "./rotation.ts";
import { dropUnsaved, settleUnsaved } from "./save-tokens.ts";
import { SessionDirectory } from "./session-directory.ts";
import type { ResolveClient } from "./session-directory.ts";
import type { Obtain, SessionEntry } from "./session-entry.ts";
import { FUTURE_TOLERANCE_MS, STEP_BACK_MS, SessionFreshness, isRenewable } from "./session-freshness.ts";
import type { TokenStore } from "./store.ts";
import { troubleAfter } from "./trouble.ts";
import { sleep } from "./waits.ts";
import type { WaitOptions } from "./waits.ts";

/** Where background work runs. */
export type Background = "detached" | "none" | ((work: Promise<unknown>) => void);

/** What a manager was made with, defaults filled in. */
export interface EngineOptions {
  readonly store: TokenStore;
  readonly clock: Clock;
  readonly random: () => number;
  readonly events: EventHub;
  readonly refresh: RefreshOptions;
  readonly retry: RetryPolicy;
  readonly concurrency: ConcurrencyOptions;
  readonly background: Background;
  readonly resolveClient: ResolveClient | undefined;
  readonly leaseTtlMs: number;
  readonly rotateWithoutLease: boolean;
}

/** Time for the store to take back leases at the very end. */
const RELEASE_MS = 1_000;

/** What a manager and its sessions share. Everything that happens to a session happens here or in the rotation. */
export class SessionEngine {
  readonly store: GuardedStore;
  readonly clock: Clock;
  readonly random: () => number;
  readonly retry: RetryPolicy;
  readonly leaseTtlMs: number;
  readonly background: Background;
  /** Tells our own announcements from those of other processes. */
  readonly instanceId: string = crypto.randomUUID();
  /** Two processes cannot both spend a refresh token, or the application said that there is only one. */
  readonly mayRotateTokens: boolean;
  readonly directory: SessionDirectory;
  readonly freshness: SessionFreshness;
  readonly scheduler: RefreshScheduler;
  /** Names a text so that nobody gets back to it. */
  readonly referenceOf: (text: string) => string;
  readonly #events: EventHub;
  readonly #gates: EndpointGates;
  readonly #guard: RefreshGuard;
  readonly #endings: EndingNotices;
  readonly #flying = new Set<SessionEntry>();
  readonly #tasks = new Set<Promise<unknown>>();
  closed = false;
  /** Aborts what nobody waits for once the manager closes. */
  readonly #closing = new AbortController();
  /** What could not be saved was said: nobody here saves any more. */
  ended = false;

  constructor(options: EngineOptions) {
    const { clock, random, refresh, store, resolveClient } = options;
    this.clock = clock;
    this.random = random;
    this.retry = options.retry;
    this.leaseTtlMs = options.leaseTtlMs;
    this.background = options.background;
    this.store = new GuardedStore(store, clock);
    this.mayRotateTokens = this.store.coordinates || options.rotateWithoutLease;
    this.referenceOf = createReferenceHash();
    this.freshness = new SessionFreshness(clock, refresh, this.referenceOf, this.store.durable);
    this.#endings = new EndingNotices(this.freshness);
    this.#events = options.events;
    this.#gates = new EndpointGates(clock, random, options.concurrency, this.referenceOf, (connection, event) => {
      this.emitOf(connection, event);
    });
    this.#guard = new RefreshGuard(clock, refresh.maxPerHour);
    const dueSessions =
      resolveClient === undefined
        ? undefined
        : new DueSessions(this, options.concurrency.perSecond ?? DEFAULT_PER_SECOND);
    this.scheduler = new RefreshScheduler(clock, random, {
      onDue: (entry) => {
        refreshDue(this, entry);
      },
      dueAtOf: (entry) => this.freshness.dueAtOf(entry),
      onHop: () => {
        dueSessions?.poll();
      },
    });
    this.directory = new SessionDirectory({
      clock,
      idleMs: this.freshness.idleMs,
      resolveClient,
      isKeptAlive: (entry) => this.freshness.keepAliveAt(entry) !== undefined,
      // One that waits for its time is taken off the store's list of due sessions first, or others would take it up.
      onIdle: (entry) => this.scheduler.hurry(entry),
      untilClosed: (work) => this.untilClosed(work),
      onEvicted: (entry) => {
        this.scheduler.schedule(entry, undefined);
      },
    });
  }

  /** @throws {@link SessionClosedError} */
  assertOpen(): void {
    if (this.closed) throw new SessionClosedError("the token manager was closed");
  }

  // ---------------------------------------------------------------- events

  emit(entry: SessionEntry, event: OwnSessionEvent): void {
    if (this.#events.silent) return;
    const common = {
      at: this.clock.now(),
      warehouse: entry.connection.client.warehouse.id,
      connectionId: entry.connection.connectionId,
      session: this.referenceOf(entry.key),
      tenant: entry.identity.tenant,
      generation: entry.generation,
    };
    this.#events.emit({ ...event, ...common });
  }

  emitOf(connection: Connection, event: OwnConnectionEvent): void {
    const { connectionId, client } = connection;
    const common = { at: this.clock.now(), warehouse: client.warehouse.id, connectionId };
    this.#events.emit({ ...event, ...common });
  }

  // ---------------------------------------------------------------- what is known of a session

  /** Takes over what the store has, or what was just written to it, unless that was replaced before the answer came. */
  apply(entry: SessionEntry, found: VersionedRecord | undefined): void {
    const before = entry.record;
    if (found !== undefined && isReplacedBy(found.record, before)) return;
    entry.record = found?.record;
    entry.version = found?.version;
    entry.readAt = this.clock.now();
    const isNews = found !== undefined && found.record.generation !== before?.generation;
    // Another process succeeded where this one had failed, or somebody signed in there.
    if (isNews) entry.trouble = undefined;
    const tokens = this.#setTimes(entry);
    if (isNews && tokens !== undefined) this.#reportChanges(entry, before?.tokens, tokens);
    this.scheduler.schedule(entry, this.freshness.dueAtOf(entry));
  }

  /** Says where the tokens of a session come from, and looks anew at those that nobody could renew before. */
  renewBy(entry: SessionEntry, obtain: Obtain): void {
    const wasRenewable = isRenewable(entry);
    entry.obtain = obtain;
    if (wasRenewable) return;
    // That there was nothing to refresh with is over.
    entry.trouble = undefined;
    if (this.#setTimes(entry) === undefined) return;
    this.scheduler.schedule(entry, this.freshness.dueAtOf(entry));
  }

  /** Sets the times of the hot path from the record, and gives its tokens. */
  #setTimes(entry: SessionEntry): TokenSet | undefined {
    const tokens = tokensFor(entry.connection.connectionId, entry.record);
    if (tokens === undefined) {
      entry.accessToken = undefined;
      entry.staleAt = entry.expiredAt = entry.quickUntil = -Infinity;
      return undefined;
    }
    const { staleAt, expiredAt } = this.freshness.of(entry, tokens);
    entry.accessToken = tokens.accessToken;
    entry.staleAt = isRenewable(entry) ? staleAt : expiredAt;
    entry.expiredAt = expiredAt;
    this.noteReading(entry, tokens);
    return tokens;
  }

  /** Sets between which moments the token is handed out without another look, by the wall clock that was just read. */
  noteReading(entry: SessionEntry, { obtainedAt }: TokenSet): void {
    const { readAt, staleAt } = entry;
    entry.quickFrom = Math.max(obtainedAt - FUTURE_TOLERANCE_MS, readAt - STEP_BACK_MS);
    entry.quickUntil = this.closed ? -Infinity : Math.min(staleAt, readAt + this.freshness.copyAgeMs(entry));
  }

  #reportChanges(entry: SessionEntry, before: TokenSet | undefined, tokens: TokenSet): void {
    if (before !== undefined) {
      const added = Object.freeze(tokens.scopes.filter((scope) => !before.scopes.includes(scope)));
      const removed = Object.freeze(before.scopes.filter((scope) => !tokens.scopes.includes(scope)));
      if (added.length + removed.length > 0) this.emit(entry, { type: "scopes_changed", added, removed });
    }
    for (const ending of this.#endings.take(entry, before)) this.emit(entry, { type: "expiring", ...ending });
  }

  // ---------------------------------------------------------------- the store

  /** An idle session leaves memory while handles on it live on: gives the entry that took its place. */
  currentOf(entry: SessionEntry): SessionEntry {
    if (!entry.evicted) return entry;
    const { connection, identity, obtain } = entry;
    const current = this.directory.entryOf(connection, identity);
    if (obtain !== undefined && current.obtain === undefined) this.renewBy(current, obtain);
    return current;
  }

  /** Writes what others should know; if that fails, the next read finds out. */
  async writeQuietly(entry: SessionEntry, record: SessionRecord): Promise<void> {
    try {
      const times = this.freshness.storedTimes(entry, record);
      const version = await this.store.write(entry.key, record, times, entry.version);
      if (version !== undefined) this.apply(entry, { record, version });
    } catch {
      // What was written before stays; it is only less exact.
    }
  }

  // ---------------------------------------------------------------- flights

  /** Gives the one refresh of a session that is under way, or begins it. */
  fly(entry: SessionEntry, reason: RefreshReason, foreground: boolean): Flight {
    const current = entry.flight;
    if (current !== undefined) {
      if (foreground) current.promote(this.clock.monotonic());
      this.handOver(current.promise);
      return current;
    }
    const flight = new Flight(reason, entry.generation, foreground, this.clock.monotonic());
    entry.flight = flight;
    this.#flying.add(entry);
    this.scheduler.schedule(entry, undefined);
    flight.promise = this.#runFlight(entry, flight);
    flight.promise.catch(() => undefined);
    this.handOver(flight.promise);
    return flight;
  }

  async #runFlight(entry: SessionEntry, flight: Flight): Promise<string> {
    const startedAt = this.clock.monotonic();
    try {
      for (;;) {
        try {
          const token = await refreshSession(this, entry, flight);
          entry.trouble = undefined;
          return token;
        } catch (error) {
          // A caller came in the very moment in which it gave way: now somebody waits.
          if (error instanceof Postponed && flight.foreground) continue;
          // Somebody signed in meanwhile: what had ended was the session before.
          const isOver = error instanceof ReauthorizationRequiredError && entry.generation > flight.seenGeneration;
          if ((isOver && isRenewable(entry)) || flight.history.rested) throw error;
          throw this.#noteTrouble(entry, flight, error, startedAt);
        }
      }
    } finally {
      entry.flight = undefined;
      this.#flying.delete(entry);
      this.scheduler.schedule(entry, this.freshness.dueAtOf(entry));
    }
  }

  /** Remembers why a refresh failed and when to try again, and says so. */
  #noteTrouble(entry: SessionEntry, flight: Flight, error: unknown, startedAt: number): unknown {
    if (error instanceof SessionClosedError) return error;
    const trouble = troubleAfter(error, entry, this);
    const { error: known } = trouble;
    // It is none of those who signed in meanwhile.
    if (entry.generation <= flight.seenGeneration) entry.trouble = trouble;
    if (error instanceof Postponed) {
      return new StoreError("lease_timeout", "another process is refreshing this session", "lease");
    }
    // That a person must sign in is said once, when it is found out, and not each time somebody asks.
    if (known !== undefined && !(known instanceof ReauthorizationRequiredError)) {
      this.emit(entry, { type: "refresh_failed", code: known.code, durationMs: this.clock.monotonic() - startedAt });
    }
    return error;
  }

  /** Refreshes without anybody waiting, unless it failed a moment ago. */
  flyInBackground(entry: SessionEntry): Flight | undefined {
    if (entry.flight === undefined && this.clock.monotonic() < (entry.trouble?.retryAt ?? -Infinity)) return undefined;
    return this.fly(entry, "due", this.background === "none");
  }

  /**
   * Gives work to the platform's `waitUntil`: whoever began it may leave. It may refuse, outside of a request, for example;
   * then the work goes on as far as the platform lets it.
   */
  handOver(work: Promise<unknown> | undefined): void {
    if (typeof this.background !== "function" || work === undefined) return;
    callIsolated(
      this.background,
      work.catch(() => undefined),
    );
  }

  /** Runs background work: nobody waits for it but `close`. */
  run(work: Promise<unknown>): void {
    const done = work.catch(() => undefined).finally(() => this.#tasks.delete(done));
    this.#tasks.add(done);
    this.handOver(done);
  }

  /** Runs work that goes on to its end when the caller leaves: an abort is heard by the caller only. */
  finish<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    this.run(work);
    return abortable(work, signal);
  }

  /** Waits by the manager's clock. */
  sleep(delayMs: number, options?: WaitOptions): Promise<void> {
    return sleep(this.clock, delayMs, options);
  }

  // ---------------------------------------------------------------- limits

  gateOf(connection: Connection): EndpointGate {
    return this.#gates.of(connection);
  }

  /** @throws {@link RateLimitError} `refresh_limit_reached` for a session that was refreshed too often. */
  assertGuard(entry: SessionEntry): void {
    const error = this.#guard.check(entry);
    if (error === undefined) return;
    this.emitOf(entry.connection, { type: "rate_limited", retryAfterMs: error.retryAfterMs });
    throw error;
  }

  countRefresh(entry: SessionEntry): void {
    this.#guard.count(entry);
  }

  // ---------------------------------------------------------------- the end

  /** Begins nothing any more, lets what was sent be answered and saved, and says what could not be saved. */
  async close(drainMs: number): Promise<readonly string[]> {
    this.closed = true;
    const closed = new SessionClosedError("the token manager was closed");
    this.#closing.abort(closed);
    this.scheduler.stop();
    // Whoever asks from here on goes the long way, and is told.
    for (const entry of this.directory.entries()) entry.quickUntil = -Infinity;
    const flights: Promise<unknown>[] = [];
    for (const { flight } of this.#flying) {
      if (flight?.promise === undefined) continue;
      // One that was not sent has a lease to give back, and an announcement to take back.
      flights.push(flight.promise.catch(() => undefined));
      if (!flight.sent) flight.cancel.abort(closed);
    }
    await this.#settled([...flights, ...this.#tasks], drainMs);
    const lost = await this.#saveAll();
    // Leases that were given back just now: a program that exits next would leave them to the others as held.
    await this.#settled([...this.#tasks], RELEASE_MS);
    return lost;
  }

  async #settled(work: readonly Promise<unknown>[], limitMs: number): Promise<void> {
    if (work.length === 0) return;
    const over = new AbortController();
    await Promise.race([Promise.allSettled(work), this.sleep(limitMs, { signal: over.signal })]);
    over.abort();
  }

  /** Waits for what the application may never answer, no longer than until `close`. */
  untilClosed<T>(work: Promise<T>): Promise<T> {
    return abortable(work, this.#closing.signal);
  }

  async #saveAll(): Promise<readonly string[]> {
    await Promise.allSettled(this.#unsaved().map((entry) => settleUnsaved(this, entry)));
    // What came meanwhile and could not be saved either is among them.
    const lost = this.#unsaved();
    // Nobody here saves any more: others may have the lease, and no timer may hold the process.
    for (const entry of lost) dropUnsaved(this, entry);
    this.ended = true;
    return lost.map(({ key }) => key);
  }

  #unsaved(): readonly SessionEntry[] {
    return [...this.directory.entries()].filter(({ unsaved }) => unsaved !== undefined);
  }
}
