import type { ReauthorizationCause, ReauthorizationRequiredError } from "../core/index.ts";
import { moveOn } from "./adoption.ts";
import type { Flight } from "./flight.ts";
import { tryLostTokens } from "./lost-tokens.ts";
import { Postponed } from "./postponed.ts";
import { changeRecord, fingerprintOf } from "./record.ts";
import type { SessionRecord } from "./record.ts";
import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";
import { absentError, reauthorizationError } from "./session-errors.ts";
import { readStored } from "./stored-copy.ts";

/** Before a refused refresh token is believed dead, another process gets this long to save what it rotated to. */
const CONFIRM_WAIT_MS = 1_000;

/** What refresh tokens died of, where the store could not be told: found dead again, they died of nothing else. */
const untold = new WeakMap<SessionEntry, Death>();

/** Some refresh tokens stay the same for years: one that was refreshed since did not die then. */
interface Death {
  readonly fingerprint: string;
  readonly generation: number;
  readonly cause: ReauthorizationCause;
}

/** `invalid_grant` is no proof of death: somebody else may have rotated, and not yet saved. */
export async function confirmDead(
  engine: SessionEngine,
  entry: SessionEntry,
  flight: Flight,
  base: SessionRecord,
  error: ReauthorizationRequiredError,
): Promise<string> {
  const fingerprint = fingerprintOf(base.tokens?.refreshToken ?? "");
  const { generation } = base;
  const known = untold.get(entry);
  const isKnown = known?.fingerprint === fingerprint && known.generation === generation;
  const cause = isKnown ? known.cause : causeOfDeath(engine, entry, flight, base, error);
  untold.set(entry, { fingerprint, generation, cause });
  if (engine.store.durable) await engine.sleep(CONFIRM_WAIT_MS, { keepAlive: true });
  const token = moveOn(engine, entry, flight, await readStored(engine, entry));
  if (token !== undefined) return token;
  const { record } = entry;
  if (record === undefined || record.state === "revoked") throw absentError(record);
  // The one that was answered dead is no longer the one that is stored, and only the stored one counts.
  if (record.state === "active" && record.tokens?.refreshToken !== base.tokens?.refreshToken)
    throw new Postponed(0, true);
  await tryLostTokens(engine, entry, flight);
  if (record.state === "reauthorization_required") throw reauthorizationError(record.cause ?? "refresh_token_dead");
  const dead = changeRecord(record, { state: "reauthorization_required", cause, intent: undefined });
  const version = await engine.store.write(entry.key, dead, engine.freshness.storedTimes(entry, dead), entry.version);
  if (version === undefined) throw new Postponed(0, true);
  untold.delete(entry);
  engine.apply(entry, { record: dead, version });
  if (cause === "rotation_lost") engine.emit(entry, { type: "rotation_lost" });
  engine.emit(entry, { type: "reauthorization_required", cause });
  throw reauthorizationError(cause);
}

function causeOfDeath(
  engine: SessionEngine,
  entry: SessionEntry,
  flight: Flight,
  base: SessionRecord,
  error: ReauthorizationRequiredError,
): ReauthorizationCause {
  const { absoluteSessionLifetimeMs } = entry.connection.client.warehouse;
  if (absoluteSessionLifetimeMs !== undefined && engine.clock.now() >= base.loginAt + absoluteSessionLifetimeMs) {
    return "absolute_lifetime_over";
  }
  const lostAnswer = flight.history.ambiguousSends > 0 || base.intent !== undefined;
  return lostAnswer && error.reason === "refresh_token_dead" ? "rotation_lost" : error.reason;
}
