import { OAuthError, StoreError, exportTokens, importTokens, revokeTokens } from "../core/index.ts";
import type { TokenSet } from "../core/index.ts";
import { backoffDelay } from "../lib/backoff.ts";
import { dropLostTokens, keepLostTokens } from "./lost-tokens.ts";
import { changeRecord, fingerprintOf, isReplacedBy } from "./record.ts";
import type { Intent, SessionRecord } from "./record.ts";
import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";
import type { UnsavedTokens } from "./unsaved-tokens.ts";

/** Conflicts that are written over: each needs another writer in the same moment, so a few are plenty. */
const MAX_CONFLICTS = 5;

/** First and longest wait between tries to save. */
const SAVE_RETRY = { baseMs: 500, capMs: 30_000 } as const;

/**
 * Saves what a refresh brought before anybody gets it. If the store fails, the tokens stay in memory, this process is
 * served from there, and saving goes on in the background.
 *
 * @returns `false` if others had written: what they wrote is what counts now.
 */
export async function saveTokens(engine: SessionEngine, entry: SessionEntry, unsaved: UnsavedTokens): Promise<boolean> {
  const { generation } = unsaved.record;
  entry.unsaved = unsaved;
  try {
    return await trySave(engine, entry, unsaved);
  } catch (error) {
    noteFailure(engine, entry, unsaved, error);
    // A logout or a login in this process counts even while the store cannot be asked.
    const isCurrent = entry.generation < generation;
    if (isCurrent) engine.apply(entry, { record: unsaved.record, version: unsaved.ifVersion ?? "" });
    // After `close` nobody saves any more; this caller still gets what came.
    if (engine.ended) settle(engine, entry, unsaved);
    if (!engine.closed) {
      entry.unsaved = unsaved;
      engine.handOver(new Promise<void>((resolve) => (unsaved.onSettled = resolve)));
      keepSaving(engine, entry, unsaved);
    }
    return isCurrent;
  }
}

/** Lets go of what could not be saved, because something newer was written over it. */
export function dropUnsaved(engine: SessionEngine, entry: SessionEntry): void {
  dropLostTokens(entry);
  if (entry.unsaved !== undefined) settle(engine, entry, entry.unsaved);
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

async function trySave(engine: SessionEngine, entry: SessionEntry, unsaved: UnsavedTokens): Promise<boolean> {
  for (let conflicts = 0; conflicts <= MAX_CONFLICTS; conflicts++) {
    const { record } = unsaved;
    const times = engine.freshness.storedTimes(entry, record);
    const version = await engine.store.write(entry.key, record, times, unsaved.ifVersion);
    if (version !== undefined) {
      // Another try may have saved them long ago: then more was written since.
      if (entry.unsaved === unsaved) engine.apply(entry, { record, version });
      settle(engine, entry, unsaved);
      return true;
    }
    const stored = await engine.store.read(entry.key);
    const isOldCopy = stored !== undefined && stored.record.generation < record.generation - 1;
    if (isOldCopy && isReplacedBy(stored.record, record)) {
      throw new StoreError("store_unavailable", "the store answered with an older copy than it had", "read");
    }
    if (stored === undefined || stored.record.state === "revoked") {
      engine.apply(entry, stored);
      settle(engine, entry, unsaved);
      if (stored?.record.revokeLate === true) await revokeQuietly(entry, record.tokens);
      return false;
    }
    const storedToken = stored.record.tokens?.refreshToken;
    if (storedToken === record.tokens?.refreshToken && storedToken !== unsaved.sentRefreshToken) {
      // An earlier try of ours was written although its answer got lost.
      engine.apply(entry, stored);
      settle(engine, entry, unsaved);
      return true;
    }
    if (storedToken !== unsaved.sentRefreshToken) {
      // Another try may have saved them long ago: then what is stored was bought with them.
      if (entry.unsaved === unsaved) {
        engine.emit(entry, { type: "refresh_conflict" });
        // After another login there is nothing to go back to.
        const isSameLogin = stored.record.loginAt === record.loginAt;
        if (isSameLogin) keepLostTokens(entry, record);
      }
      engine.apply(entry, stored);
      settle(engine, entry, unsaved);
      return false;
    }
    // Somebody wrote something else into the record; the refresh token in it is the one we spent.
    const generation = Math.max(record.generation, stored.record.generation + 1);
    const intent = mayHaveSent(engine, stored.record) ? traceOf(engine, record) : undefined;
    unsaved.record = changeRecord(record, { generation, intent });
    unsaved.ifVersion = stored.version;
  }
  throw new StoreError("store_unavailable", "the record changed under every try to save it", "write");
}

/** Whether another process sent, or was about to send, the refresh token that we had spent. */
function mayHaveSent(engine: SessionEngine, { state, intent }: SessionRecord): boolean {
  return state === "reauthorization_required" || (intent !== undefined && intent.owner !== engine.instanceId);
}

/**
 * A server that takes that for theft kills what we got, too. Whoever finds it dead learns from this trace that a rotation
 * was lost, and not that somebody took the grant away.
 */
function traceOf(engine: SessionEngine, { tokens }: SessionRecord): Intent {
  return {
    attemptId: crypto.randomUUID(),
    owner: engine.instanceId,
    startedAt: engine.clock.now(),
    attempts: 0,
    fingerprint: fingerprintOf(tokens?.refreshToken ?? ""),
  };
}

/** Nobody who waits for the token waits until the lease is given back, too. */
function settle(engine: SessionEngine, entry: SessionEntry, unsaved: UnsavedTokens): void {
  if (entry.unsaved === unsaved) entry.unsaved = undefined;
  unsaved.cancelRetry?.();
  unsaved.onSettled?.();
  engine.run(unsaved.lease.release());
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
  unsaved.cancelRetry = engine.clock.setTimer(
    () => {
      if (entry.unsaved !== unsaved || engine.closed) return;
      trySave(engine, entry, unsaved).catch((error: unknown) => {
        noteFailure(engine, entry, unsaved, error);
        if (entry.unsaved === unsaved && !engine.closed) keepSaving(engine, entry, unsaved);
      });
    },
    delayMs,
    { keepAlive: true },
  );
}

/** Puts another refresh token into tokens whose access token stays. */
export function replaceRefreshToken(tokens: TokenSet, refreshToken: string): TokenSet {
  return importTokens({ ...exportTokens(tokens), refreshToken });
}
