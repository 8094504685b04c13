import { OAuthError, RateLimitError, StoreError } from "../core/index.ts";
import { moveOn } from "./adoption.ts";
import type { Place } from "./endpoint-gate.ts";
import type { Flight } from "./flight.ts";
import { MAX_WAIT_UNDER_LEASE_MS } from "./lease-keeper.ts";
import type { LeaseKeeper } from "./lease-keeper.ts";
import { tryLostTokens } from "./lost-tokens.ts";
import { Postponed } from "./postponed.ts";
import { assertRenewable, awaitOrphan, awaitRest } from "./refresh-conditions.ts";
import { foregroundDelay } from "./retry.ts";
import { settleUnsaved } from "./save-tokens.ts";
import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";
import { mayRotate } from "./session-freshness.ts";
import { spend } from "./spend.ts";
import { readStored } from "./stored-copy.ts";
import { overlookUnsent } from "./unsent.ts";

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
    const { foreground } = flight;
    try {
      return await attempt(engine, entry, flight);
    } catch (error) {
      flight.sent = false;
      // Put off while nobody waited, and now somebody does: it is decided anew, for them.
      const isPromoted = flight.foreground && !foreground && error instanceof Postponed;
      const delayMs = isPromoted ? 0 : delayAfter(engine, entry, flight, error);
      engine.assertOpen();
      await engine.sleep(delayMs, { keepAlive: flight.foreground, signal: flight.cancel.signal });
    }
  }
}

/** @throws What ends the flight. */
function delayAfter(engine: SessionEngine, entry: SessionEntry, flight: Flight, error: unknown): number {
  return error instanceof Postponed ? waitAgain(engine, flight, error) : retryAgain(engine, entry, flight, error);
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
  // Nothing was tried, so there is nothing to repeat.
  if (flight.history.rested) throw error;
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
  engine.assertOpen();
  engine.emit(entry, { type: "refresh_retried", attempt: flight.history.failures, code: error.code, delayMs });
  return delayMs;
}

async function attempt(engine: SessionEngine, entry: SessionEntry, flight: Flight): Promise<string> {
  engine.assertOpen();
  await settleUnsaved(engine, entry);
  const before = moveOn(engine, entry, flight, await readStored(engine, entry));
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
  const meanwhile = moveOn(engine, entry, flight, await readStored(engine, entry));
  if (meanwhile !== undefined) return meanwhile;
  overlookUnsent(engine, entry);
  if (entry.record?.state === "reauthorization_required") await tryLostTokens(engine, entry, flight);
  assertRenewable(engine, entry, flight);
  awaitOrphan(engine, entry);
  awaitRest(engine, entry, flight);
  const { version } = entry;
  const place = await takePlace(engine, entry, flight);
  return spend(engine, entry, flight, { lease, place, version });
}

async function takePlace(engine: SessionEngine, entry: SessionEntry, flight: Flight): Promise<Place> {
  const gate = engine.gateOf(entry.connection);
  const waitMs = gate.waitMs(flight.foreground);
  if (waitMs > MAX_WAIT_UNDER_LEASE_MS) {
    const leftMs = flight.startedAt + engine.retry.totalMs - engine.clock.monotonic();
    if (!flight.foreground || waitMs < leftMs) throw new Postponed(waitMs, false);
    throw new RateLimitError("rate_limited", "too many refreshes wait for this token endpoint", Math.ceil(waitMs));
  }
  engine.assertOpen();
  const free = gate.enterNow(entry);
  if (free !== undefined) return free;
  const { signal } = flight.cancel;
  const request = gate.request(entry, { foreground: flight.foreground, signal, waitMs: 2 * MAX_WAIT_UNDER_LEASE_MS });
  flight.waitsFor(request);
  try {
    return await request.granted;
  } catch (error) {
    // The line became longer while it stood there. Nobody waits for it, so nothing failed.
    if (!flight.foreground && error instanceof RateLimitError) throw new Postponed(gate.waitMs(false), false);
    throw error;
  } finally {
    flight.waitsFor(undefined);
  }
}
