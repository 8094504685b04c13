import {
  OAuthError,
  RateLimitError,
  ReauthorizationRequiredError,
  StoreError,
  TokenSet,
  rescuedRefreshToken,
} from "../core/index.ts";
import { moveOn } from "./adoption.ts";
import { confirmDead } from "./dead-grant.ts";
import type { Place } from "./endpoint-gate.ts";
import type { Flight } from "./flight.ts";
import type { LeaseKeeper } from "./lease-keeper.ts";
import { Postponed } from "./postponed.ts";
import { fingerprintOf } from "./record.ts";
import type { SessionRecord } from "./record.ts";
import { renewTokens } from "./renew-tokens.ts";
import { foregroundDelay, restMs } from "./retry.ts";
import { replaceRefreshToken, saveTokens, settleUnsaved, takeLostTokens } from "./save-tokens.ts";
import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";
import { absentError, incapableStore, reauthorizationError } from "./session-errors.ts";

/** A lease is not kept through waits longer than this. */
const MAX_WAIT_UNDER_LEASE_MS = 5_000;

/** Waiting for somebody else's refresh: how often to look, and how long. */
const LEASE_POLL_MS = 200;
const MAX_LEASE_WAIT_MS = 30_000;

/**
 * Refreshes one session, as a payment is made: looked up, agreed on, announced, sent once, kept, and only then
 * spoken of (DESIGN: the rotation transaction). The one place in which a refresh token is spent.
 *
 * @returns The access token that is good now.
 *
 * @throws Errors of `TokenSession.getAccessToken`; {@link Postponed} if nobody waits.
 */
export async function refreshSession(engine: SessionEngine, entry: SessionEntry, flight: Flight): Promise<string> {
  for (;;) {
    try {
      return await attempt(engine, entry, flight);
    } catch (error) {
      flight.sent = false;
      const delayMs =
        error instanceof Postponed ? waitAgain(engine, flight, error) : retryAgain(engine, entry, flight, error);
      engine.assertOpen();
      await engine.sleep(delayMs, { keepAlive: flight.foreground, signal: flight.cancel.signal });
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
function retryAgain(engine: SessionEngine, entry: SessionEntry, flight: Flight, error: unknown): number {
  const now = engine.clock.monotonic();
  if (OAuthError.is(error) && error.code === "lease_lost" && !flight.history.lostLease) {
    // Nothing was sent, and while this process stood still another one may have refreshed.
    flight.history.lostLease = true;
    flight.startedAt = now;
    return 0;
  }
  if (!OAuthError.is(error) || error instanceof StoreError || !flight.foreground) throw error;
  flight.history.failures += 1;
  const state = {
    failures: flight.history.failures,
    elapsedMs: now - flight.startedAt,
    mayBeSpent: error.ambiguous && mayRotate(entry),
    // Those of earlier flights count, too: the refresh token is the same.
    ambiguousSends: Math.max(flight.history.ambiguousSends, entry.record?.intent?.attempts ?? 0),
    ambiguousForMs: flight.history.ambiguousSends === 0 ? 0 : now - flight.history.ambiguousSince,
  };
  const delayMs = foregroundDelay(error, state, engine.retry, engine.random);
  if (delayMs === undefined || !engine.gateOf(entry.connection).mayRetry(error)) throw error;
  engine.emit(entry, { type: "refresh_retried", attempt: flight.history.failures, code: error.code, delayMs });
  return delayMs;
}

async function attempt(engine: SessionEngine, entry: SessionEntry, flight: Flight): Promise<string> {
  engine.assertOpen();
  await settleUnsaved(engine, entry);
  const before = moveOn(engine, entry, flight, await engine.read(entry));
  if (before !== undefined) return before;
  assertRenewable(engine, entry, flight);

  const lease = await engine.store.lease(entry.key, engine.leaseTtlMs);
  if (lease === undefined) throw new Postponed(engine.leaseTtlMs / 3, true);
  // Tokens that could not be saved hold the lease until they are.
  const giveBack = async (): Promise<void> => (entry.unsaved?.lease === lease ? undefined : lease.release());
  let token: string;
  try {
    token = await refreshUnderLease(engine, entry, flight, lease);
  } catch (error) {
    // The next attempt will ask for it again.
    await giveBack();
    throw error;
  }
  engine.run(giveBack());
  return token;
}

async function refreshUnderLease(
  engine: SessionEngine,
  entry: SessionEntry,
  flight: Flight,
  lease: LeaseKeeper,
): Promise<string> {
  const meanwhile = moveOn(engine, entry, flight, await engine.read(entry));
  if (meanwhile !== undefined) return meanwhile;
  assertRenewable(engine, entry, flight);
  awaitOrphan(engine, entry);
  awaitRest(engine, entry, flight);
  const { version } = entry;
  const place = await takePlace(engine, entry, flight);
  return spend(engine, entry, flight, lease, place, version);
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

/** Sent three times without an answer: more callers are no reason to send it again at once (requirements R-21). */
function awaitRest(engine: SessionEngine, entry: SessionEntry, flight: Flight): void {
  const { trouble, record } = entry;
  if (record?.intent === undefined || !mayRotate(entry)) return;
  const { startedAt } = record.intent;
  const waitMs = restMs({ attempts: earlierAttempts(record), sentMsAgo: engine.clock.now() - startedAt });
  if (waitMs === 0) return;
  if (trouble?.error === undefined) throw new Postponed(waitMs, true);
  flight.history.rested = true;
  throw trouble.error;
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
  if (!flight.history.announced) engine.emit(entry, { type: "refresh_started", reason: flight.reason });
  flight.history.announced = true;
  const sentAt = engine.clock.monotonic();
  // What this process writes while the answer is on its way, a logout or a login, is not ours to write over.
  const { version: sentVersion } = entry;
  const generation = Math.max(entry.generation, flight.seenGeneration) + 1;
  flight.sent = true;
  let outcome: Awaited<ReturnType<typeof renewTokens>>;
  try {
    outcome = await renewTokens(engine, entry, base);
    place.succeeded();
  } catch (error) {
    place.failed(error);
    return afterFailure(engine, entry, flight, lease, { base, sentVersion, error });
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
  const intent = {
    attemptId: crypto.randomUUID(),
    owner: engine.instanceId,
    startedAt: engine.clock.now(),
    attempts: earlierAttempts(base) + 1,
    fingerprint: fingerprintOf(base.tokens?.refreshToken ?? ""),
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
  // A logout or a login in this process came while the store was writing.
  if (entry.version !== version) throw new Postponed(0, true);
  return version;
}

/** How often this very refresh token was announced before, without an answer that was understood. */
function earlierAttempts({ intent, tokens }: SessionRecord): number {
  return intent?.fingerprint === fingerprintOf(tokens?.refreshToken ?? "") ? intent.attempts : 0;
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
  lease: LeaseKeeper,
  { base, sentVersion, error }: Failure,
): Promise<string> {
  if (base?.tokens === undefined || entry.obtain !== undefined) throw error;
  const rescued = rescuedRefreshToken(error);
  if (rescued !== undefined && rescued !== base.tokens.refreshToken) {
    const tokens = replaceRefreshToken(base.tokens, rescued);
    const generation = Math.max(base.generation, flight.seenGeneration) + 1;
    flight.history.ambiguousSends = 0;
    const record = { ...base, generation, tokens, rotates: true, intent: undefined };
    const sentRefreshToken = base.tokens.refreshToken;
    const unsaved = { record, ifVersion: sentVersion, sentRefreshToken, lease, attempts: 0 };
    if (await saveTokens(engine, entry, unsaved)) flight.seenGeneration = generation;
    throw error;
  }
  if (error instanceof ReauthorizationRequiredError) {
    return confirmDead(engine, entry, flight, base, error);
  }
  if (!OAuthError.is(error) || error.ambiguous) {
    if (flight.history.ambiguousSends === 0) flight.history.ambiguousSince = engine.clock.monotonic();
    flight.history.ambiguousSends += 1;
    throw error;
  }
  // Proven not to be processed: what was announced did not happen.
  if (mayRotate(entry) && entry.version === sentVersion) await engine.writeQuietly(entry, base);
  throw error;
}
