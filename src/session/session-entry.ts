import type { OAuthClient, TokenSet } from "../core/index.ts";
import type { DueSlot } from "../lib/due-queue.ts";
import type { Connection } from "./connection.ts";
import type { Flight } from "./flight.ts";
import type { SessionRecord } from "./record.ts";
import { formatSessionKey, parseLocalKey } from "./session-key.ts";
import type { SessionIdentity } from "./session-key.ts";
import type { Trouble } from "./trouble.ts";
import type { UnsavedTokens } from "./unsaved-tokens.ts";

/** How a session without a person gets tokens. */
export type Obtain = (client: OAuthClient, options: { readonly signal: AbortSignal }) => Promise<TokenSet>;

/** What one process knows of one session. There may be a million of them, so it has no more fields than it needs. */
export class SessionEntry {
  readonly connection: Connection;
  readonly localKey: string;
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

  /** Where in the spread of due times it stands; computed when first needed. */
  spreadStep: number | undefined = undefined;
  /** Last use, wall clock. */
  usedAt: number;
  slot: DueSlot | undefined = undefined;
  flight: Flight | undefined = undefined;
  trouble: Trouble | undefined = undefined;
  unsaved: UnsavedTokens | undefined = undefined;
  /** A token that a server refused and that was replaced or is being replaced: refused again, it is not news. */
  rejectedToken: string | undefined = undefined;
  /** When the guard has forgotten all refreshes of this session, monotonic milliseconds. */
  guardFullAt: number;
  /** No longer the one that the manager knows. */
  evicted = false;

  constructor(connection: Connection, localKey: string, usedAt: number) {
    this.connection = connection;
    this.localKey = localKey;
    this.usedAt = usedAt;
    this.readAt = this.quickUntil = this.staleAt = this.expiredAt = this.guardFullAt = -Infinity;
    this.quickFrom = 0;
  }

  get key(): string {
    return formatSessionKey(this.localKey, this.connection.connectionId);
  }

  /** Frozen. Read from the key: a million copies of what stands there already would be kept for the few that are asked. */
  get identity(): SessionIdentity {
    return parseLocalKey(this.localKey);
  }

  get generation(): number {
    return this.record?.generation ?? 0;
  }

  /** How long nobody used it. A use in the future was one before the clock went back: it counts from now. */
  unusedForMs(now: number): number {
    this.usedAt = Math.min(this.usedAt, now);
    return now - this.usedAt;
  }
}
