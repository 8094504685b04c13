import type { TokenSet } from "../core/index.ts";
import type { Flight } from "./flight.ts";
import { Postponed } from "./postponed.ts";
import { changeRecord } from "./record.ts";
import type { SessionRecord } from "./record.ts";
import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";

/** Somebody wrote at the same moment: what they wrote is looked at after this. */
const CONFLICT_PAUSE_MS = 100;

/** Tokens that lost a conflict, kept until those that won have been refreshed once: at some servers the last one lives. */
const lostConflict = new WeakMap<SessionEntry, { readonly tokens: TokenSet; readonly loginAt: number }>();

/** Keeps the tokens of a record that lost a conflict. */
export function keepLostTokens(entry: SessionEntry, { tokens, loginAt }: SessionRecord): void {
  if (tokens !== undefined) lostConflict.set(entry, { tokens, loginAt });
}

/** Whether there are tokens that lost a conflict. */
export function hasLostTokens(entry: SessionEntry): boolean {
  return lostTokensOf(entry) !== undefined;
}

/** Lets go of tokens that lost a conflict: those that won live, or something newer was written over all of them. */
export function dropLostTokens(entry: SessionEntry): void {
  lostConflict.delete(entry);
}

/**
 * Where the last writer wins, the tokens that lost a conflict may be those that live: they take the place of the dead
 * ones, to be tried once (requirements R-44).
 *
 * @throws {@link Postponed} if there are any: the refresh begins anew, with them. {@link StoreError} if they cannot be
 * written over dead ones; they are tried again then.
 */
export async function tryLostTokens(engine: SessionEngine, entry: SessionEntry, flight: Flight): Promise<void> {
  const { record, version: known } = entry;
  const tokens = lostTokensOf(entry);
  if (record === undefined || tokens?.refreshToken === undefined || isSame(tokens, record.tokens)) {
    dropLostTokens(entry);
    return;
  }
  const generation = record.generation + 1;
  const changes = { generation, state: "active", cause: undefined, tokens, intent: undefined } as const;
  const revived = changeRecord(record, changes);
  const times = engine.freshness.storedTimes(entry, revived);
  const version = await engine.store.write(entry.key, revived, times, known).catch((error: unknown) => {
    // Tokens that are not known to be dead are announced first, which fails as well: nothing is sent.
    if (record.state === "active") return undefined;
    throw error;
  });
  if (version === undefined) throw new Postponed(CONFLICT_PAUSE_MS, true);
  dropLostTokens(entry);
  flight.seenGeneration = generation;
  engine.apply(entry, { record: revived, version });
  throw new Postponed(0, true);
}

/** After another login there is nothing to go back to. */
function lostTokensOf(entry: SessionEntry): TokenSet | undefined {
  const lost = lostConflict.get(entry);
  return lost !== undefined && lost.loginAt === entry.record?.loginAt ? lost.tokens : undefined;
}

function isSame({ refreshToken }: TokenSet, stored: TokenSet | undefined): boolean {
  return refreshToken === stored?.refreshToken;
}
