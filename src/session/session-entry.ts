import type { ErrorCode, OAuthClient, TokenSet } from "../core/index.ts";
import type { DueSlot } from "../lib/due-queue.ts";
import type { Connection } from "./connection.ts";
import type { Flight } from "./flight.ts";
import type { SessionRecord } from "./record.ts";
import { formatSessionKey } from "./session-key.ts";
import type { SessionIdentity } from "./session-key.ts";
import type { UnsavedTokens } from "./unsaved-tokens.ts";

/** How a session without a person gets tokens. */
export type Obtain = (client: OAuthClient, options: { readonly signal: AbortSignal }) => Promise<TokenSet>;

/** Trouble of a session: absent while all is well, as it is for nearly all of a million. */
export interface Trouble {
  /** Why the last refresh failed; `undefined` if it was only put off. */
  readonly code: ErrorCode | undefined;
  /** In a row. */
  readonly failures: number;
  /** No refresh in the background before this, monotonic milliseconds: the wall clock may jump. */
  readonly retryAt: number;
}

/** What one process knows of one session. There may be a million of them, so it has no more fields than it needs. */
export class SessionEntry {
  readonly connection: Connection;
  readonly localKey: string;
  readonly identity: SessionIdentity;
  obtain: Obtain | undefined = undefined;

  /** As last read or written; `undefined` before the first read, and for an absent session. */
  record: SessionRecord | undefined = undefined;
  version: string | undefined = undefined;
  /** When it was last read or written, wall clock; `-Infinity` before the first read. */
  readAt: number;

  /** The hot path: this token may be handed out without a second look from `quickFrom` until `quickUntil`, wall clock. */
  accessToken: string | undefined = undefined;
  quickFrom: number;
  quickUntil: number;
  staleAt: number;
  expiredAt: number;

  /** Last use, wall clock. */
  usedAt: number;
  slot: DueSlot | undefined = undefined;
  flight: Flight | undefined = undefined;
  trouble: Trouble | undefined = undefined;
  unsaved: UnsavedTokens | undefined = undefined;
  /** A token that a server refused and that was replaced or is being replaced: refused again, it is not news. */
  rejectedToken: string | undefined = undefined;
  /** Refreshes left to this session, and when that was counted, monotonic milliseconds. */
  guardLeft: number;
  guardAt: number;
  /** No longer the one that the manager knows. */
  evicted = false;

  constructor(connection: Connection, localKey: string, identity: SessionIdentity, usedAt: number) {
    this.connection = connection;
    this.localKey = localKey;
    this.identity = identity;
    this.usedAt = usedAt;
    this.readAt = this.quickUntil = this.staleAt = this.expiredAt = -Infinity;
    this.quickFrom = this.guardAt = 0;
    this.guardLeft = NaN;
  }

  get key(): string {
    return formatSessionKey(this.localKey, this.connection.connectionId);
  }

  get generation(): number {
    return this.record?.generation ?? 0;
  }
}
