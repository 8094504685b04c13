import {
  ConfigurationError,
  OAuthError,
  RateLimitError,
  ReauthorizationRequiredError,
  StoreError,
  TokenSet,
  attemptRefresh,
  rescuedRefreshToken,
} from "../core/index.ts";
import type { ReauthorizationCause } from "../core/index.ts";
import type { Place } from "./endpoint-gate.ts";
import type { Flight } from "./flight.ts";
import type { VersionedRecord } from "./guarded-store.ts";
import type { LeaseKeeper } from "./lease-keeper.ts";
import { fingerprintOf } from "./record.ts";
import type { SessionRecord } from "./record.ts";
import { foregroundDelay } from "./retry.ts";
import { keepLostTokens, replaceRefreshToken, saveTokens, settleUnsaved, takeLostTokens } from "./save-tokens.ts";
import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";
import { absentError, incapableStore, reauthorizationError } from "./session-errors.ts";

/** Not now, and nobody's fault: somebody else is at it, or the line is long. */
export class Postponed extends Error {
  readonly delayMs: number;
  /** What somebody else writes may end the wait sooner. */
  readonly watches: boolean;

  constructor(delayMs: number, watches: boolean) {
    super("postponed");
    this.delayMs = delayMs;
    this.watches = watches;
  }
}

/** A lease is not kept through waits longer than this. */
const MAX_WAIT_UNDER_LEASE_MS = 5_000;

/** Waiting for somebody else's refresh: how often to look, and how long. */
const LEASE_POLL_MS = 200;
const MAX_LEASE_WAIT_MS = 30_000;

/** Before a refused refresh token is believed dead, another process gets this long to save what it rotated to. */
const CONFIRM_WAIT_MS = 1_000;

/** What this flight knows of requests whose answer was lost. */
interface History {
  failures: number;
  ambiguousSends: number;
  ambiguousSince: number;
  announced: boolean;
  adoptions: number;
}

/**
 * Refreshes one session, as a payment is made: looked up, agreed on, announced, sent once, kept, and only then
 * spoken of (DESIGN: the rotation transaction). The one place in which a refresh token is spent.
 *
 * @returns The access token that is good now.
 *
 * @throws Errors of `TokenSession.getAccessToken`; {@link Postponed} if nobody waits.
 */
export async function refreshSession(engine: SessionEngine, entry: SessionEntry, flight: Flight): Promise<string> {
  const history: History = { failures: 0, ambiguousSends: 0, ambiguousSince: 0, announced: false, adoptions: 0 };
  for (;;) {
    try {
      return await attempt(engine, entry, flight, history);
    } catch (error) {
      flight.sent = false;
      const delayMs =
        error instanceof Postponed
          ? waitAgain(engine, flight, error)
          : retryAgain(engine, entry, flight, history, error);
      engine.assertOpen();
      await engine.sleep(delayMs, flight);
    }
  }
}

/** @throws What ends the flight: nobody waits, or waited long enough. */
function waitAgain(engine: SessionEngine, flight: Flight, postponed: Postponed): number {
  if (!flight.foreground) throw postponed;
  if (engine.clock.monotonic() - flight.startedAt > MAX_LEASE_WAIT_MS) {
    throw new StoreError("lease_timeout", "another process has been refreshing this session for too long", "lease");
  }
  const pollMs = LEASE_POLL_MS * (0.5 + engine.random());
  return postponed.watches ? Math.min(postponed.delayMs, pollMs) : postponed.delayMs;
}

/** @throws What failed, if it is not to be repeated. */
function retryAgain(
  engine: SessionEngine,
  entry: SessionEntry,
  flight: Flight,
  history: History,
  error: unknown,
): number {
  if (!OAuthError.is(error) || error instanceof StoreError || !flight.foreground) throw error;
  history.failures += 1;
  const now = engine.clock.monotonic();
  const state = {
    failures: history.failures,
    elapsedMs: now - flight.startedAt,
    mayBeSpent: error.ambiguous && mayRotate(entry),
    // Those of earlier flights count, too: the refresh token is the same.
    ambiguousSends: Math.max(history.ambiguousSends, entry.record?.intent?.attempts ?? 0),
    ambiguousForMs: history.ambiguousSends === 0 ? 0 : now - history.ambiguousSince,
  };
  const delayMs = foregroundDelay(error, state, engine.retry, engine.random);
  if (delayMs === undefined || !engine.gateOf(entry.connection).mayRetry(error)) throw error;
  engine.emit(entry, { type: "refresh_retried", attempt: history.failures, code: error.code, delayMs });
  return delayMs;
}

async function attempt(engine: SessionEngine, entry: SessionEntry, flight: Flight, history: History): Promise<string> {
  engine.assertOpen();
  await settleUnsaved(engine, entry);
  const before = moveOn(engine, entry, flight, history, await engine.read(entry));
  if (before !== undefined) return before;
  assertRenewable(engine, entry, flight);

  const lease = await engine.store.lease(entry.key, engine.leaseTtlMs);
  if (lease === undefined) throw new Postponed(engine.leaseTtlMs / 3, true);
  try {
    const meanwhile = moveOn(engine, entry, flight, history, await engine.read(entry));
    if (meanwhile !== undefined) return meanwhile;
    assertRenewable(engine, entry, flight);
    awaitOrphan(engine, entry);
    const { version } = entry;
    const place = await takePlace(engine, entry, flight);
    return await spend(engine, entry, flight, history, lease, place, version);
  } finally {
    // Tokens that could not be saved hold the lease until they are.
    if (entry.unsaved?.lease !== lease) await lease.release();
  }
}

/** Takes over what the store has, and gives the token if somebody else has refreshed since. */
function moveOn(
  engine: SessionEngine,
  entry: SessionEntry,
  flight: Flight,
  history: History,
  found: VersionedRecord | undefined,
): string | undefined {
  engine.apply(entry, found);
  const { accessToken, generation } = entry;
  if (accessToken === undefined || generation <= flight.seenGeneration || entry.record?.state !== "active")
    return undefined;
  const isFirst = history.adoptions === 0;
  history.adoptions += 1;
  flight.seenGeneration = generation;
  // What ended while this process slept is of no use. What ends as soon as it is made is: or two could go on for ever.
  const isOver = engine.clock.now() >= entry.expiredAt;
  if (isOver && (isFirst || isOlderThan(engine, entry, flight))) return undefined;
  engine.emit(entry, { type: "refresh_adopted" });
  return accessToken;
}

/** The token was there before this refresh began; told by durations, since nobody's wall clocks agree. */
function isOlderThan(engine: SessionEngine, entry: SessionEntry, flight: Flight): boolean {
  const obtainedAt = entry.record?.tokens?.obtainedAt ?? -Infinity;
  return engine.clock.now() - obtainedAt > engine.clock.monotonic() - flight.startedAt;
}

/** Refused tokens and answers may be spent on the other side: then everything is announced before it is sent. */
export function mayRotate(entry: SessionEntry): boolean {
  if (entry.obtain !== undefined) return false;
  return entry.record?.rotates === true || entry.connection.client.warehouse.refreshRotation !== "none";
}

/** @throws {@link ReauthorizationRequiredError}, {@link RateLimitError}, {@link ConfigurationError} */
function assertRenewable(engine: SessionEngine, entry: SessionEntry, flight: Flight): void {
  engine.assertGuard(entry);
  const { record } = entry;
  // Signed out while this was under way: only who asks after that begins anew.
  if (record?.state === "revoked" && record.generation > flight.seenGeneration) throw absentError();
  if (entry.obtain !== undefined) return;
  if (record === undefined || record.state === "revoked") throw absentError();
  if (record.state === "reauthorization_required") throw reauthorizationError(record.cause ?? "refresh_token_dead");
  if (record.tokens?.refreshToken === undefined) throw reauthorizationError("refresh_token_absent");
  if (TokenSet.connectionIdOf(record.tokens) !== entry.connection.connectionId) {
    throw reauthorizationError("connection_changed");
  }
  if (mayRotate(entry) && !engine.mayRotateTokens) throw incapableStore();
}

/** Announcements by others that were not cleared, and since when we know them, monotonic milliseconds. */
const orphans = new WeakMap<SessionEntry, { readonly attemptId: string; readonly since: number }>();

/** Somebody announced a refresh and did not come back. While the token is good, there is time to see whether they do. */
function awaitOrphan(engine: SessionEngine, entry: SessionEntry): void {
  const intent = entry.record?.intent;
  if (intent === undefined || intent.owner === engine.instanceId || entry.obtain !== undefined) return;
  const now = engine.clock.monotonic();
  let known = orphans.get(entry);
  if (known?.attemptId !== intent.attemptId) {
    known = { attemptId: intent.attemptId, since: now };
    orphans.set(entry, known);
  }
  const leftMs = known.since + engine.leaseTtlMs - now;
  const isGood = engine.clock.now() < entry.expiredAt && entry.rejectedToken !== entry.accessToken;
  if (leftMs > 0 && isGood) throw new Postponed(leftMs, true);
}

async function takePlace(engine: SessionEngine, entry: SessionEntry, flight: Flight): Promise<Place> {
  const gate = engine.gateOf(entry.connection);
  const waitMs = gate.waitMs(flight.foreground);
  if (waitMs > MAX_WAIT_UNDER_LEASE_MS) {
    const leftMs = flight.startedAt + engine.retry.totalMs - engine.clock.monotonic();
    if (!flight.foreground || waitMs < leftMs) throw new Postponed(waitMs, false);
    throw new RateLimitError("rate_limited", "too many refreshes wait for this token endpoint", Math.ceil(waitMs));
  }
  const { signal } = flight.cancel;
  const request = gate.request(entry, { foreground: flight.foreground, signal, waitMs: 2 * MAX_WAIT_UNDER_LEASE_MS });
  flight.waitsFor(request);
  try {
    return await request.granted;
  } finally {
    flight.waitsFor(undefined);
  }
}

async function spend(
  engine: SessionEngine,
  entry: SessionEntry,
  flight: Flight,
  history: History,
  lease: LeaseKeeper,
  place: Place,
  readVersion: string | undefined,
): Promise<string> {
  const base = entry.record;
  let announced: string | undefined;
  try {
    // A logout or a login in this process came while the line was long.
    if (entry.version !== readVersion) throw new Postponed(0, true);
    if (base !== undefined && mayRotate(entry)) announced = await announce(engine, entry, base);
    if (!lease.isOurs) {
      throw new StoreError("lease_lost", "the lease ended before anything was sent: this process was paused", "lease");
    }
    engine.assertOpen();
  } catch (error) {
    place.abandon();
    // What was announced and not sent did not happen. A logout that came meanwhile did.
    if (base !== undefined && announced !== undefined && entry.version === announced) {
      await engine.writeQuietly(entry, base);
    }
    throw error;
  }
  if (!history.announced) engine.emit(entry, { type: "refresh_started", reason: flight.reason });
  history.announced = true;
  const sentAt = engine.clock.monotonic();
  // What this process writes while the answer is on its way, a logout or a login, is not ours to write over.
  const { version: sentVersion } = entry;
  const generation = Math.max(entry.generation, flight.seenGeneration) + 1;
  flight.sent = true;
  let outcome: Awaited<ReturnType<typeof renew>>;
  try {
    outcome = await renew(engine, entry, base);
    place.succeeded();
  } catch (error) {
    place.failed(error);
    return afterFailure(engine, entry, flight, history, lease, { base, sentVersion, error });
  }
  const { tokens, rotated, lifetimeInvalid } = outcome;
  const record: SessionRecord = {
    generation,
    state: "active",
    cause: undefined,
    tokens,
    rotates: rotated || base?.rotates === true,
    loginAt: base?.loginAt ?? tokens.obtainedAt,
    intent: undefined,
    revokeLate: false,
  };
  const sentRefreshToken = base?.tokens?.refreshToken;
  const kept = await saveTokens(engine, entry, {
    record,
    ifVersion: sentVersion,
    sentRefreshToken,
    lease,
    attempts: 0,
  });
  engine.countRefresh(entry);
  if (entry.record?.state !== "active" || entry.accessToken === undefined) throw absentError();
  if (!kept) {
    engine.emit(entry, { type: "refresh_adopted" });
    return entry.accessToken;
  }
  takeLostTokens(entry);
  engine.emit(entry, {
    type: "refresh_succeeded",
    durationMs: engine.clock.monotonic() - sentAt,
    expiresAt: tokens.expiresAt,
    rotated,
    warning: lifetimeInvalid ? "token_expires_in_invalid" : undefined,
  });
  return entry.accessToken;
}

/**
 * Writes down what is about to be done: proof that the store can be written, and a trace if we do not come back.
 *
 * @returns The version of what was written.
 */
async function announce(engine: SessionEngine, entry: SessionEntry, base: SessionRecord): Promise<string> {
  const refreshToken = base.tokens?.refreshToken ?? "";
  const fingerprint = await fingerprintOf(refreshToken);
  const earlier = base.intent?.fingerprint === fingerprint ? base.intent.attempts : 0;
  const intent = {
    attemptId: crypto.randomUUID(),
    owner: engine.instanceId,
    startedAt: engine.clock.now(),
    attempts: earlier + 1,
    fingerprint,
  };
  const record = { ...base, intent };
  const version = await engine.store.write(
    entry.key,
    record,
    engine.freshness.storedTimes(entry, record),
    entry.version,
  );
  if (version === undefined) throw new Postponed(0, true);
  engine.apply(entry, { record, version });
  return version;
}

async function renew(
  engine: SessionEngine,
  entry: SessionEntry,
  base: SessionRecord | undefined,
): Promise<{ readonly tokens: TokenSet; readonly rotated: boolean; readonly lifetimeInvalid: boolean }> {
  const { client, connectionId } = entry.connection;
  if (entry.obtain === undefined && base?.tokens !== undefined) {
    return attemptRefresh(client, base.tokens, { tolerateLifetime: true });
  }
  const { obtain } = entry;
  if (obtain === undefined) throw absentError();
  const tokens = await engine.withDeadline((signal) => obtain(client, { signal }));
  if (TokenSet.connectionIdOf(tokens) !== connectionId) {
    throw new ConfigurationError("tokens_invalid", '"obtain" gave tokens of another client', "obtain");
  }
  return { tokens, rotated: false, lifetimeInvalid: false };
}

interface Failure {
  readonly base: SessionRecord | undefined;
  /** The version that was current when the request left. */
  readonly sentVersion: string | undefined;
  readonly error: unknown;
}

/** Decides what a failed request proves, writes that down, and passes the error on. */
async function afterFailure(
  engine: SessionEngine,
  entry: SessionEntry,
  flight: Flight,
  history: History,
  lease: LeaseKeeper,
  { base, sentVersion, error }: Failure,
): Promise<string> {
  if (base?.tokens === undefined || entry.obtain !== undefined) throw error;
  const rescued = typeof error === "object" && error !== null ? rescuedRefreshToken(error) : undefined;
  if (rescued !== undefined && rescued !== base.tokens.refreshToken) {
    const tokens = replaceRefreshToken(base.tokens, rescued);
    const generation = Math.max(base.generation, flight.seenGeneration) + 1;
    history.ambiguousSends = 0;
    const record = { ...base, generation, tokens, rotates: true, intent: undefined };
    const sentRefreshToken = base.tokens.refreshToken;
    const unsaved = { record, ifVersion: sentVersion, sentRefreshToken, lease, attempts: 0 };
    if (await saveTokens(engine, entry, unsaved)) flight.seenGeneration = generation;
    throw error;
  }
  if (error instanceof ReauthorizationRequiredError) {
    return confirmDead(engine, entry, flight, history, base, error);
  }
  if (!OAuthError.is(error) || error.ambiguous) {
    if (history.ambiguousSends === 0) history.ambiguousSince = engine.clock.monotonic();
    history.ambiguousSends += 1;
    throw error;
  }
  // Proven not to be processed: what was announced did not happen.
  if (mayRotate(entry) && entry.version === sentVersion) await engine.writeQuietly(entry, base);
  throw error;
}

/** `invalid_grant` is no proof of death: somebody else may have rotated, and not yet saved. */
async function confirmDead(
  engine: SessionEngine,
  entry: SessionEntry,
  flight: Flight,
  history: History,
  base: SessionRecord,
  error: ReauthorizationRequiredError,
): Promise<string> {
  if (engine.store.durable) await engine.sleep(CONFIRM_WAIT_MS, flight);
  const token = moveOn(engine, entry, flight, history, await engine.read(entry));
  if (token !== undefined) return token;
  const { record } = entry;
  if (record === undefined || record.state === "revoked") throw absentError();
  // The one that was answered dead is no longer the one that is stored, and only the stored one counts.
  if (record.state === "active" && record.tokens?.refreshToken !== base.tokens?.refreshToken)
    throw new Postponed(0, true);
  const lost = takeLostTokens(entry);
  if (lost?.refreshToken !== undefined && lost.refreshToken !== record.tokens?.refreshToken) {
    // Where the last writer wins, the one that lost here may be the one that lives: it is tried once.
    flight.seenGeneration = record.generation + 1;
    const revived = { ...record, generation: record.generation + 1, tokens: lost, intent: undefined };
    await engine.writeQuietly(entry, { ...revived, state: "active", cause: undefined });
    if (entry.record?.tokens !== lost) keepLostTokens(entry, lost);
    throw new Postponed(0, true);
  }
  if (record.state === "reauthorization_required") throw reauthorizationError(record.cause ?? "refresh_token_dead");
  const cause = causeOfDeath(engine, entry, history, base, error);
  const dead: SessionRecord = { ...record, state: "reauthorization_required", cause, intent: undefined };
  const version = await engine.store.write(entry.key, dead, engine.freshness.storedTimes(entry, dead), entry.version);
  if (version === undefined) throw new Postponed(0, true);
  engine.apply(entry, { record: dead, version });
  if (cause === "rotation_lost") engine.emit(entry, { type: "rotation_lost" });
  engine.emit(entry, { type: "reauthorization_required", cause });
  throw reauthorizationError(cause);
}

function causeOfDeath(
  engine: SessionEngine,
  entry: SessionEntry,
  history: History,
  base: SessionRecord,
  error: ReauthorizationRequiredError,
): ReauthorizationCause {
  const { absoluteSessionLifetimeMs } = entry.connection.client.warehouse;
  if (absoluteSessionLifetimeMs !== undefined && engine.clock.now() >= base.loginAt + absoluteSessionLifetimeMs) {
    return "absolute_lifetime_over";
  }
  const lostAnswer = history.ambiguousSends > 0 || base.intent !== undefined;
  return lostAnswer && error.reason === "refresh_token_dead" ? "rotation_lost" : error.reason;
}
