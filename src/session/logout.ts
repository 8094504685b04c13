import { TokenSet, revokeTokens } from "../core/index.ts";
import type { RevocationResult } from "../core/index.ts";
import { replaceRecord } from "./replace-record.ts";
import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";
import { notRevoked } from "./session-errors.ts";

/** Deletes here first, then revokes at the server: who asks again finds nothing to revoke. @throws As `TokenSession.revoke`. */
export async function revokeSession(engine: SessionEngine, entry: SessionEntry): Promise<RevocationResult> {
  const tokens = await bury(engine, entry, true);
  if (tokens === undefined) return { refreshToken: "absent", accessToken: "absent", instructions: undefined };
  engine.emit(entry, { type: "revoked" });
  return revokeTokens(entry.connection.client, tokens);
}

/** Deletes here only. @throws As `TokenSession.forget`. */
export async function forgetSession(engine: SessionEngine, entry: SessionEntry): Promise<void> {
  const tokens = await bury(engine, entry, false);
  if (tokens !== undefined) engine.emit(entry, { type: "revoked" });
}

/** Writes a tombstone, over whatever others write meanwhile, and gives the tokens of this client that lay there. */
async function bury(engine: SessionEngine, entry: SessionEntry, revokeLate: boolean): Promise<TokenSet | undefined> {
  // What a first try wrote over before its answer got lost.
  const { record: known } = entry;
  const replaced = await replaceRecord(engine, entry, (found) => ({
    state: "revoked",
    cause: undefined,
    tokens: undefined,
    rotates: found?.rotates ?? false,
    loginAt: found?.loginAt ?? engine.clock.now(),
    revokeLate,
  }));
  const { dropped } = replaced;
  const stored = replaced.record?.tokens;
  // What waited to be saved comes after what was sent for it, and after nothing else.
  const isSpent = stored === undefined || stored.refreshToken === dropped?.sentRefreshToken;
  const tokens = isSpent ? (dropped?.record.tokens ?? stored ?? known?.tokens) : stored;
  if (tokens === undefined && revokeLate && replaced.unreadable !== undefined) throw notRevoked(replaced.unreadable);
  // Those of another client go to no server of ours (requirements S-044).
  return tokens && TokenSet.connectionIdOf(tokens) === entry.connection.connectionId ? tokens : undefined;
}
