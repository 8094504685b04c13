import { OAuthError, ReauthorizationRequiredError, StoreError, rescuedRefreshToken } from "../core/index.ts";
import { confirmDead } from "./dead-grant.ts";
import type { Place } from "./endpoint-gate.ts";
import type { Flight } from "./flight.ts";
import { MAX_WAIT_UNDER_LEASE_MS } from "./lease-keeper.ts";
import type { LeaseKeeper } from "./lease-keeper.ts";
import { dropLostTokens } from "./lost-tokens.ts";
import { Postponed } from "./postponed.ts";
import { attemptsOf, changeRecord, fingerprintOf } from "./record.ts";
import type { SessionRecord } from "./record.ts";
import { MIN_SCHEDULED_LIFETIME_MS } from "./refresh-policy.ts";
import { renewTokens } from "./renew-tokens.ts";
import type { RenewedTokens } from "./renew-tokens.ts";
import { replaceRefreshToken, saveTokens } from "./save-tokens.ts";
import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";
import { absentError } from "./session-errors.ts";
import { mayRotate } from "./session-freshness.ts";
import { noteSent, noteUnsent } from "./unsent.ts";

/** A request that may be sent: its place at the endpoint, and what was known when it was asked for. */
export interface Permit {
  readonly lease: LeaseKeeper;
  readonly place: Place;
  /** Of the record, as read under the lease. */
  readonly version: string | undefined;
}

/** A request that is about to leave. What this process writes after that, a logout or a login, is not written over. */
interface Payment {
  readonly lease: LeaseKeeper;
  readonly base: SessionRecord | undefined;
  /** Of the record when the request leaves. */
  readonly version: string | undefined;
  /** Of the tokens that it is to bring. */
  readonly generation: number;
  /** Monotonic milliseconds. */
  readonly sentAt: number;
}

/** Announces, sends once, and keeps what comes before anybody gets it. The one place where a refresh token is spent. */
export async function spend(
  engine: SessionEngine,
  entry: SessionEntry,
  flight: Flight,
  permit: Permit,
): Promise<string> {
  const { place } = permit;
  const payment = await prepare(engine, entry, flight, permit).catch((error: unknown) => {
    place.abandon();
    throw error;
  });
  // Functions of the application come first, for secrets and keys: they may take their time, and fail.
  const onSend = (): void => {
    assertMaySend(engine, entry, payment);
    if (place.isHeldUp()) throw new Postponed(0, false);
    noteSent(entry);
    flight.sent = true;
  };
  let renewed: RenewedTokens;
  try {
    renewed = await renewTokens(engine, entry, payment.base, onSend);
  } catch (error) {
    if (flight.sent) {
      place.failed(error);
      return afterFailure(engine, entry, flight, payment, error);
    }
    place.abandon();
    await takeBack(engine, entry, payment);
    throw error;
  }
  place.succeeded();
  const token = await keep(engine, entry, payment, renewed);
  assertNotOverslept(engine, flight, payment, renewed);
  return token;
}

async function prepare(
  engine: SessionEngine,
  entry: SessionEntry,
  flight: Flight,
  { lease, place, version }: Permit,
): Promise<Payment> {
  // A logout or a login in this process came while the line was long.
  if (entry.version !== version) throw new Postponed(0, true);
  const base = entry.record;
  if (base !== undefined && mayRotate(entry)) await announce(engine, entry, base);
  const { version: current } = entry;
  try {
    await waitForTurn(engine, flight, place);
    assertMaySend(engine, entry, { lease, version: current });
  } catch (error) {
    await takeBack(engine, entry, { base, version: current });
    throw error;
  }
  if (!flight.history.announced) engine.emit(entry, { type: "refresh_started", reason: flight.reason });
  flight.history.announced = true;
  const generation = Math.max(entry.generation, flight.seenGeneration) + 1;
  return { lease, base, version: current, generation, sentAt: engine.clock.monotonic() };
}

/** @throws What came between the announcement and the moment at which the request leaves. */
function assertMaySend(
  engine: SessionEngine,
  entry: SessionEntry,
  { lease, version }: Pick<Payment, "lease" | "version">,
): void {
  if (!lease.isOurs) {
    throw new StoreError("lease_lost", "the lease ended before anything was sent: this process was paused", "lease");
  }
  engine.assertOpen();
  // A logout or a login in this process came before its turn.
  if (entry.version !== version) throw new Postponed(0, true);
}

/** What was announced and not sent, or is proven not to be processed, did not happen. */
async function takeBack(
  engine: SessionEngine,
  entry: SessionEntry,
  { base, version }: Pick<Payment, "base" | "version">,
): Promise<void> {
  if (base === undefined || !mayRotate(entry) || entry.version !== version) return;
  noteUnsent(entry, base);
  await engine.writeQuietly(entry, base);
}

/**
 * Those whose announcements were written at the same moment leave one by one all the same (requirements R-65), and none
 * after the endpoint has asked for a pause.
 */
async function waitForTurn(engine: SessionEngine, flight: Flight, place: Place): Promise<void> {
  for (let waitMs = place.takeTurn(); waitMs > 0; waitMs = place.takeTurn()) {
    if (waitMs > MAX_WAIT_UNDER_LEASE_MS) throw new Postponed(0, false);
    // It is announced: a program that ends here would leave that to others as a riddle.
    await engine.sleep(waitMs, { keepAlive: true, signal: flight.cancel.signal });
  }
}

/** Writes down what is about to be done: proof that the store can be written, and a trace if we do not come back. */
async function announce(engine: SessionEngine, entry: SessionEntry, base: SessionRecord): Promise<void> {
  const intent = {
    attemptId: crypto.randomUUID(),
    owner: engine.instanceId,
    startedAt: engine.clock.now(),
    attempts: attemptsOf(base) + 1,
    fingerprint: fingerprintOf(base.tokens?.refreshToken ?? ""),
  };
  const record = changeRecord(base, { intent });
  noteUnsent(entry, base);
  const times = engine.freshness.storedTimes(entry, record);
  const version = await engine.store.write(entry.key, record, times, entry.version);
  if (version === undefined) throw new Postponed(0, true);
  engine.apply(entry, { record, version });
  // A logout or a login in this process came while the store was writing.
  if (entry.version !== version) throw new Postponed(0, true);
}

/** This process slept while the tokens were on their way, and they ended meanwhile: the flight begins anew, once. */
function assertNotOverslept(
  { clock }: SessionEngine,
  flight: Flight,
  { sentAt }: Payment,
  { tokens: { obtainedAt, expiresAt = Infinity } }: RenewedTokens,
): void {
  const lifetimeMs = expiresAt - obtainedAt;
  const isOver = lifetimeMs >= MIN_SCHEDULED_LIFETIME_MS && clock.monotonic() - sentAt >= lifetimeMs;
  if (!isOver || flight.history.overslept) return;
  flight.history.overslept = true;
  flight.startedAt = clock.monotonic();
  throw new Postponed(0, true);
}

/** Saves what came, and says so. */
async function keep(
  engine: SessionEngine,
  entry: SessionEntry,
  { lease, base, version, generation, sentAt }: Payment,
  { tokens, rotated, lifetimeInvalid }: RenewedTokens,
): Promise<string> {
  const record: SessionRecord = {
    generation,
    state: "active",
    cause: undefined,
    tokens,
    rotates: rotated || base?.rotates === true,
    // What was obtained without a person is a new beginning each time.
    loginAt: (entry.obtain === undefined ? base?.loginAt : undefined) ?? tokens.obtainedAt,
    intent: undefined,
    revokeLate: false,
  };
  const sentRefreshToken = base?.tokens?.refreshToken;
  const isOurs = await saveTokens(engine, entry, { record, ifVersion: version, sentRefreshToken, lease, attempts: 0 });
  engine.countRefresh(entry);
  // Others found theirs dead, which won over ours: ours came later, and are tried before a person is asked.
  if (entry.record?.state === "reauthorization_required") throw new Postponed(0, true);
  if (entry.record?.state !== "active" || entry.accessToken === undefined) throw absentError(entry.record);
  if (!isOurs) {
    engine.emit(entry, { type: "refresh_adopted" });
    return entry.accessToken;
  }
  dropLostTokens(entry);
  engine.emit(entry, {
    type: "refresh_succeeded",
    durationMs: engine.clock.monotonic() - sentAt,
    expiresAt: tokens.expiresAt,
    rotated,
    warning: lifetimeInvalid ? "token_expires_in_invalid" : undefined,
  });
  return entry.accessToken;
}

/** Decides what a failed request proves, writes that down, and passes the error on. */
async function afterFailure(
  engine: SessionEngine,
  entry: SessionEntry,
  flight: Flight,
  payment: Payment,
  error: unknown,
): Promise<string> {
  const { base, lease, version } = payment;
  if (base?.tokens === undefined || entry.obtain !== undefined) throw error;
  const rescued = rescuedRefreshToken(error);
  if (rescued !== undefined && rescued !== base.tokens.refreshToken) {
    const tokens = replaceRefreshToken(base.tokens, rescued);
    const generation = Math.max(base.generation, flight.seenGeneration) + 1;
    flight.history.ambiguousSends = 0;
    const record = changeRecord(base, { generation, tokens, rotates: true, intent: undefined });
    const sentRefreshToken = base.tokens.refreshToken;
    const unsaved = { record, ifVersion: version, sentRefreshToken, lease, attempts: 0 };
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
  await takeBack(engine, entry, payment);
  throw error;
}
