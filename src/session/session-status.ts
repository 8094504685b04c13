import { ReauthorizationRequiredError, StoreError, missingScopes } from "../core/index.ts";
import type { AnyOAuthError, ErrorCode, ReauthorizationCause } from "../core/index.ts";
import type { SessionEngine } from "./session-engine.ts";
import type { SessionEntry } from "./session-entry.ts";
import { tokensFor } from "./record.ts";
import { isRenewable } from "./session-freshness.ts";

/** A session as the store and this process know it. Never holds a token. */
export type SessionStatus =
  | {
      /** Nobody signed in, or the record is gone. */
      readonly state: "absent";
    }
  | {
      /** Somebody signed out. */
      readonly state: "revoked";
    }
  | {
      /** A person must sign in again; an access token that is still good goes on being handed out. */
      readonly state: "reauthorization_required";
      /** Why. */
      readonly cause: ReauthorizationCause;
      /** How often the tokens were replaced. */
      readonly generation: number;
    }
  | {
      /**
       * `degraded`: the last refresh failed, the token may still be good. It is tried again at the next use, and by
       * itself where `nextRefreshAt` is there.
       */
      readonly state: "active" | "refreshing" | "degraded";
      /** Why `degraded`. */
      readonly cause: ErrorCode | undefined;
      /** End of the access token, epoch milliseconds. */
      readonly expiresAt: number | undefined;
      /** End of the refresh token, epoch milliseconds. */
      readonly refreshExpiresAt: number | undefined;
      /** End of this login however often it is refreshed, epoch milliseconds. */
      readonly absoluteExpiresAt: number | undefined;
      /** What was granted. */
      readonly grantedScopes: readonly string[];
      /** What the client asks for and was not granted; of several with one registration, the newest. */
      readonly missingScopes: readonly string[];
      /** How often the tokens were replaced. */
      readonly generation: number;
      /**
       * When a refresh ahead of time is due, epoch milliseconds. `undefined` while one is under way, and for a session
       * that is refreshed only when it is used.
       */
      readonly nextRefreshAt: number | undefined;
    };

/** Whether the store says that the key is gone with which a record was sealed. */
export function isKeyRemoved(error: unknown): boolean {
  return error instanceof StoreError && error.code === "unknown_key";
}

/** The status of a session whose record nobody here can open. It is active again when the key comes back. */
export function keyRemoved({ generation }: SessionEntry): SessionStatus {
  return { state: "reauthorization_required", cause: "key_removed", generation };
}

/** Says how a session stands. */
export function statusOf(engine: SessionEngine, entry: SessionEntry): SessionStatus {
  const { record, flight } = entry;
  // That a person must sign in is said by the record, or by what the tokens lack.
  const trouble = entry.trouble?.error instanceof ReauthorizationRequiredError ? undefined : entry.trouble?.error;
  if (record?.state === "revoked") return { state: "revoked" };
  if (record?.tokens === undefined) return trouble === undefined ? { state: "absent" } : neverObtained(entry, trouble);
  const { generation, tokens } = record;
  if (record.state === "reauthorization_required") {
    return { state: "reauthorization_required", cause: record.cause ?? "refresh_token_dead", generation };
  }
  if (tokensFor(entry.connection.connectionId, record) === undefined) {
    return { state: "reauthorization_required", cause: "connection_changed", generation };
  }
  if (!isRenewable(entry) && engine.clock.now() >= entry.expiredAt) {
    return { state: "reauthorization_required", cause: "refresh_token_absent", generation };
  }
  if (isKeyRemoved(trouble) && engine.clock.now() >= entry.expiredAt) return keyRemoved(entry);
  const dueAt = engine.freshness.dueAtOf(entry);
  const calm = trouble === undefined ? "active" : "degraded";
  return {
    state: flight === undefined ? calm : "refreshing",
    cause: trouble?.code,
    expiresAt: tokens.expiresAt,
    refreshExpiresAt: tokens.refreshExpiresAt,
    absoluteExpiresAt: engine.freshness.absoluteEndOf(entry),
    grantedScopes: tokens.scopes,
    missingScopes: missingScopes(entry.connection.client, tokens),
    generation,
    nextRefreshAt: dueAt === undefined ? undefined : Math.ceil(dueAt),
  };
}

/** A session without a person whose first tokens could not be had. */
function neverObtained({ flight, generation }: SessionEntry, { code }: AnyOAuthError): SessionStatus {
  return {
    state: flight === undefined ? "degraded" : "refreshing",
    cause: code,
    expiresAt: undefined,
    refreshExpiresAt: undefined,
    absoluteExpiresAt: undefined,
    grantedScopes: [],
    missingScopes: [],
    generation,
    nextRefreshAt: undefined,
  };
}
