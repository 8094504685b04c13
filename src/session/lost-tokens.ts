import type { TokenSet } from "../core/index.ts";
import type { Flight } from "./flight.ts";
import { Postponed } from "./postponed.ts";
import { changeRecord } from "./record.ts";
import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";

/** Tokens that lost a conflict, kept until those that won have been refreshed once: at some servers the last one lives. */
const lostConflict = new WeakMap<SessionEntry, TokenSet>();

/** Keeps tokens that lost a conflict. */
export function keepLostTokens(entry: SessionEntry, tokens: TokenSet): void {
  lostConflict.set(entry, tokens);
}

/** Whether there are tokens that lost a conflict. */
export function hasLostTokens(entry: SessionEntry): boolean {
  return lostConflict.has(entry);
}

/** Lets go of tokens that lost a conflict: those that won live, or something newer was written over all of them. */
export function dropLostTokens(entry: SessionEntry): void {
  lostConflict.delete(entry);
}

/**
 * Where the last writer wins, the tokens that lost a conflict may be those that live: they take the place of the dead
 * ones, to be tried once (requirements R-44).
 *
 * @throws {@link Postponed} if there are any: the refresh begins anew, with them.
 */
export async function tryLostTokens(engine: SessionEngine, entry: SessionEntry, flight: Flight): Promise<void> {
  const { record } = entry;
  const lost = lostConflict.get(entry);
  lostConflict.delete(entry);
  if (record === undefined || lost?.refreshToken === undefined) return;
  if (lost.refreshToken === record.tokens?.refreshToken) return;
  const generation = record.generation + 1;
  flight.seenGeneration = generation;
  const revived = { generation, state: "active", cause: undefined, tokens: lost, intent: undefined } as const;
  await engine.writeQuietly(entry, changeRecord(record, revived));
  if (entry.record?.tokens !== lost) keepLostTokens(entry, lost);
  throw new Postponed(0, true);
}
