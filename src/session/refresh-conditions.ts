import { TokenSet } from "../core/index.ts";
import type { Flight } from "./flight.ts";
import { hasLostTokens } from "./lost-tokens.ts";
import { Postponed } from "./postponed.ts";
import { attemptsOf } from "./record.ts";
import { restMs } from "./retry.ts";
import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";
import { absentError, incapableStore, reauthorizationError } from "./session-errors.ts";
import { mayRotate } from "./session-freshness.ts";

/** @throws {@link ReauthorizationRequiredError}, {@link RateLimitError}, {@link ConfigurationError} */
export function assertRenewable(engine: SessionEngine, entry: SessionEntry, flight: Flight): void {
  assertHasGrant(engine, entry, flight);
  engine.assertGuard(entry);
}

function assertHasGrant(engine: SessionEngine, entry: SessionEntry, flight: Flight): void {
  const { record } = entry;
  // Signed out while this was under way: only who asks after that begins anew.
  if (record?.state === "revoked" && record.generation > flight.seenGeneration) throw absentError(record);
  if (entry.obtain !== undefined) return;
  if (record === undefined || record.state === "revoked") throw absentError(record);
  const isDead = record.state === "reauthorization_required" && !hasLostTokens(entry);
  if (isDead) throw reauthorizationError(record.cause ?? "refresh_token_dead");
  if (record.tokens?.refreshToken === undefined) throw reauthorizationError("refresh_token_absent");
  if (TokenSet.connectionIdOf(record.tokens) !== entry.connection.connectionId) {
    throw reauthorizationError("connection_changed");
  }
  if (mayRotate(entry) && !engine.mayRotateTokens) throw incapableStore();
}

/** Announcements by others that were not cleared, and since when we know them, monotonic milliseconds. */
const orphans = new WeakMap<SessionEntry, { readonly attemptId: string; readonly since: number }>();

/** Somebody announced a refresh and did not come back. While the token is good, there is time to see whether they do. */
export function awaitOrphan(engine: SessionEngine, entry: SessionEntry): void {
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
export function awaitRest(engine: SessionEngine, entry: SessionEntry, flight: Flight): void {
  const { trouble, record } = entry;
  if (record?.intent === undefined || !mayRotate(entry)) return;
  const { startedAt } = record.intent;
  const waitMs = restMs({ attempts: attemptsOf(record), sentMsAgo: engine.clock.now() - startedAt });
  if (waitMs === 0) return;
  if (!flight.foreground || trouble?.error === undefined) throw new Postponed(waitMs, true);
  flight.history.rested = true;
  throw trouble.error;
}
