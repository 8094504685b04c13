import { OAuthError, StoreError, TokenSet, exportTokens, revokeTokens } from "../core/index.ts";
import { backoffDelay } from "../lib/backoff.ts";
import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";
import type { UnsavedTokens } from "./unsaved-tokens.ts";

/** Conflicts that are written over: each needs another writer in the same moment, so a few are plenty. */
const MAX_CONFLICTS = 5;

/** First and longest wait between tries to save. */
const SAVE_RETRY = { baseMs: 500, capMs: 30_000 } as const;

/** Tokens that lost a conflict, kept until those that won have been refreshed once: at some servers the last one lives. */
const lostConflict = new WeakMap<SessionEntry, TokenSet>();

/** Takes the tokens that lost a conflict, if there are any. */
export function takeLostTokens(entry: SessionEntry): TokenSet | undefined {
  const tokens = lostConflict.get(entry);
  lostConflict.delete(entry);
  return tokens;
}

/**
 * Saves what a refresh brought before anybody gets it. If the store fails, the tokens stay in memory, this process is
 * served from there, and saving goes on in the background.
 */
export async function saveTokens(engine: SessionEngine, entry: SessionEntry, unsaved: UnsavedTokens): Promise<void> {
  entry.unsaved = unsaved;
  try {
    await trySave(engine, entry, unsaved);
  } catch (error) {
    noteFailure(engine, entry, unsaved, error);
    engine.apply(entry, { record: unsaved.record, version: unsaved.ifVersion ?? "" });
    keepSaving(engine, entry, unsaved);
  }
}

/**
 * Tries once more to save what is only in memory.
 *
 * @throws {@link StoreError} if that fails: nothing may be refreshed before.
 */
export async function settleUnsaved(engine: SessionEngine, entry: SessionEntry): Promise<void> {
  const { unsaved } = entry;
  if (unsaved !== undefined) await trySave(engine, entry, unsaved);
}

async function trySave(engine: SessionEngine, entry: SessionEntry, unsaved: UnsavedTokens): Promise<void> {
  let { record } = unsaved;
  for (let conflicts = 0; conflicts <= MAX_CONFLICTS; conflicts++) {
    const times = engine.freshness.storedTimes(entry, record);
    const version = await engine.store.write(entry.key, record, times, unsaved.ifVersion);
    if (version !== undefined) {
      engine.apply(entry, { record, version });
      return settle(entry, unsaved);
    }
    const stored = await engine.store.read(entry.key);
    if (stored === undefined || stored.record.state === "revoked") {
      engine.apply(entry, stored);
      await settle(entry, unsaved);
      if (stored?.record.revokeLate !== false) await revokeQuietly(entry, record.tokens);
      return;
    }
    const storedToken = stored.record.tokens?.refreshToken;
    if (storedToken === record.tokens?.refreshToken && storedToken !== unsaved.sentRefreshToken) {
      // An earlier try of ours was written although its answer got lost.
      engine.apply(entry, stored);
      return settle(entry, unsaved);
    }
    if (storedToken !== unsaved.sentRefreshToken) {
      engine.emit(entry, { type: "refresh_conflict" });
      if (record.tokens !== undefined) lostConflict.set(entry, record.tokens);
      engine.apply(entry, stored);
      return settle(entry, unsaved);
    }
    // Somebody wrote something else into the record; the refresh token in it is the one we spent.
    record = { ...record, generation: Math.max(record.generation, stored.record.generation + 1) };
    unsaved.ifVersion = stored.version;
  }
  throw new StoreError("store_unavailable", "the record changed under every try to save it", "write");
}

async function settle(entry: SessionEntry, unsaved: UnsavedTokens): Promise<void> {
  if (entry.unsaved === unsaved) entry.unsaved = undefined;
  await unsaved.lease.release();
}

/** Lets go of tokens that a login or logout made obsolete, and of the lease they held. */
export function dropUnsaved(entry: SessionEntry): void {
  const { unsaved } = entry;
  entry.unsaved = undefined;
  void unsaved?.lease.release();
}

/** A logout came first: what the server issued after it is of no use to anybody. */
async function revokeQuietly(entry: SessionEntry, tokens: TokenSet | undefined): Promise<void> {
  if (tokens !== undefined) await revokeTokens(entry.connection.client, tokens).catch(() => undefined);
}

function noteFailure(engine: SessionEngine, entry: SessionEntry, unsaved: UnsavedTokens, error: unknown): void {
  unsaved.attempts += 1;
  const code = OAuthError.is(error) ? error.code : "store_unavailable";
  engine.emit(entry, { type: "save_failed", code, attempt: unsaved.attempts });
}

function keepSaving(engine: SessionEngine, entry: SessionEntry, unsaved: UnsavedTokens): void {
  const delayMs = backoffDelay(unsaved.attempts - 1, { ...SAVE_RETRY, random: engine.random });
  engine.clock.setTimer(
    () => {
      if (entry.unsaved !== unsaved || engine.closed) return;
      trySave(engine, entry, unsaved).catch((error: unknown) => {
        noteFailure(engine, entry, unsaved, error);
        keepSaving(engine, entry, unsaved);
      });
    },
    delayMs,
    { keepAlive: true },
  );
}

/** Puts another refresh token into tokens whose access token stays. */
export function replaceRefreshToken(tokens: TokenSet, refreshToken: string): TokenSet {
  return TokenSet.of({ ...exportTokens(tokens), refreshToken });
}
