import type { OAuthClient, TokenSet } from "../core/index.ts";
import type { Clock } from "../lib/clock.ts";
import type { SessionRecord } from "./record.ts";
import { expiringFrom, freshnessOf } from "./refresh-policy.ts";
import type { Freshness, RefreshOptions } from "./refresh-policy.ts";
import type { SessionEntry } from "./session-entry.ts";
import type { StoredRecord } from "./store.ts";

/** Without use for this long, proactive refresh stops and the session leaves memory. */
const DEFAULT_IDLE_MS = 3_600_000;

/** A copy is looked at again after this: another process may have logged out, or rotated. */
const COPY_AGE_MS = 30_000;
const VOIDING_COPY_AGE_MS = 1_000;

/** A wall clock that goes back by more says nothing of how old a copy is (requirements R-08). */
export const STEP_BACK_MS = 1_000;

/** A token obtained further in the future was obtained before the clock went back (requirements R-08). */
export const FUTURE_TOLERANCE_MS = 300_000;

/** A tombstone outlives every lease and every copy by far. */
const TOMBSTONE_MS = 86_400_000;

/** Records of sessions whose refresh token ended are of no use; a margin for clocks. */
const DELETE_MARGIN_MS = 86_400_000;

/** An end that is as near as this right after a refresh is one that no refresh moves (Google's time-limited access). */
const FIXED_END_MS = 1_800_000;

/** Sessions of one process fall due at this many moments on each side of the middle: a whole number takes no memory. */
const SPREAD_STEPS = 5_000;

/** Something that a person can put off only by signing in. */
export interface Ending {
  readonly what: "refresh_token" | "absolute_session";
  /** Epoch milliseconds. */
  readonly endsAt: number;
}

/** The zone of a session's access token. */
export type Zone = "fresh" | "stale" | "expired";

/** Reads the times of sessions: what is fresh, what is due, what ends. Changes nothing. */
export class SessionFreshness {
  readonly idleMs: number;
  readonly #clock: Clock;
  readonly #options: RefreshOptions;
  readonly #hash: (text: string) => string;
  readonly #shared: boolean;

  /** @param shared Whether other processes may write to the store. */
  constructor(clock: Clock, options: RefreshOptions, hash: (text: string) => string, shared: boolean) {
    this.#clock = clock;
    this.#options = options;
    this.#hash = hash;
    this.#shared = shared;
    this.idleMs = options.idleMs ?? DEFAULT_IDLE_MS;
  }

  of(entry: SessionEntry, tokens: TokenSet): Freshness {
    return freshnessOf(tokens, entry.connection.client.warehouse, {
      leadTimeMs: this.#options.leadTimeMs,
      spread: this.#spreadOf(entry),
      rotationVoids: this.#rotationVoids(entry),
    });
  }

  /** How long what was read may be used without another look. */
  copyAgeMs(entry: SessionEntry): number {
    // Nobody else writes to a store that ends with this process.
    if (!this.#shared) return Infinity;
    return this.#rotationVoids(entry) ? VOIDING_COPY_AGE_MS : COPY_AGE_MS;
  }

  zoneOf(entry: SessionEntry, minRemainingMs = 0): Zone {
    const now = this.#clock.now();
    const tokens = entry.record?.tokens;
    if (tokens === undefined || now >= entry.expiredAt) return "expired";
    const { expiresAt, obtainedAt } = tokens;
    if (minRemainingMs > 0 && expiresAt !== undefined) {
      // At most half of its life: otherwise a token would be refused the moment it was made.
      const neededMs = Math.min(minRemainingMs, (expiresAt - obtainedAt) / 2);
      if (now > expiresAt - neededMs) return "expired";
    }
    return now >= entry.staleAt || now < obtainedAt - FUTURE_TOLERANCE_MS ? "stale" : "fresh";
  }

  /** Whether the token has not ended yet, margin or not: better than an error. */
  isStillGood(entry: SessionEntry): boolean {
    const tokens = entry.record?.tokens;
    if (tokens === undefined || entry.rejectedToken === tokens.accessToken) return false;
    const { refusedBelowMs } = entry.connection.client.warehouse;
    return tokens.expiresAt === undefined || this.#clock.now() < tokens.expiresAt - refusedBelowMs;
  }

  /** When a session is to be refreshed by itself; `undefined` for never. */
  dueAtOf(entry: SessionEntry): number | undefined {
    const { record, trouble } = entry;
    if (entry.flight !== undefined || record?.tokens === undefined || !isRenewable(entry)) return undefined;
    const dueAt = this.#dueAt(entry, record, record.tokens);
    if (dueAt === undefined) return undefined;
    const now = this.#clock.now();
    // Obtained in the future: the clock went back, and nothing of its times can be trusted.
    const wanted = now < record.tokens.obtainedAt - FUTURE_TOLERANCE_MS ? now : dueAt;
    if (trouble === undefined) return wanted;
    const retryAt = now + trouble.retryAt - this.#clock.monotonic();
    return Number.isFinite(retryAt) ? Math.max(wanted, retryAt) : undefined;
  }

  /** When an idle session must be refreshed lest its refresh token end; `undefined` if that would not help. */
  keepAliveAt(entry: SessionEntry, record: SessionRecord | undefined = entry.record): number | undefined {
    const { connection, obtain } = entry;
    if (!isRenewable({ obtain, record })) return undefined;
    const { refreshExtends = "never" } = connection.client.warehouse;
    const tokens = record?.tokens;
    if (this.#options.keepAlive !== true || refreshExtends === "never" || tokens?.refreshExpiresAt === undefined) {
      return undefined;
    }
    if (tokens.refreshExpiresAt - tokens.obtainedAt < FIXED_END_MS) return undefined;
    return expiringFrom(tokens.obtainedAt, tokens.refreshExpiresAt);
  }

  /** What a store should know of a record's times. */
  storedTimes(entry: SessionEntry, record: SessionRecord): Omit<StoredRecord, "value"> {
    const now = this.#clock.now();
    if (record.state === "revoked" || record.tokens === undefined) return { deleteAfter: now + TOMBSTONE_MS };
    const { tokens } = record;
    const renewable = record.state === "active" && (entry.obtain !== undefined || tokens.refreshToken !== undefined);
    const dueAt = this.#dueAt(entry, record, tokens);
    const end = tokens.refreshToken === undefined ? tokens.expiresAt : tokens.refreshExpiresAt;
    const times: { dueAt?: number; deleteAfter?: number } = {};
    if (renewable && dueAt !== undefined) times.dueAt = dueAt;
    if (end !== undefined) times.deleteAfter = Math.max(end, now) + DELETE_MARGIN_MS;
    return times;
  }

  /** When the longest life of this login is over, epoch milliseconds. */
  absoluteEndOf({ connection, record }: SessionEntry): number | undefined {
    const { absoluteSessionLifetimeMs } = connection.client.warehouse;
    return absoluteSessionLifetimeMs === undefined || record === undefined
      ? undefined
      : record.loginAt + absoluteSessionLifetimeMs;
  }

  /**
   * What ends soon, and a person should know of.
   *
   * @param before The tokens that were replaced: an end that was not theirs was postponed by the refresh.
   */
  endingsOf(entry: SessionEntry, before?: TokenSet): readonly Ending[] {
    const { record } = entry;
    if (record?.tokens === undefined) return [];
    const now = this.#clock.now();
    const { loginAt, tokens } = record;
    const begunAt = refreshTokenFrom(entry.connection.client.warehouse, { loginAt, tokens, before });
    const ends = [
      { what: "refresh_token", from: begunAt, endsAt: tokens.refreshExpiresAt },
      { what: "absolute_session", from: loginAt, endsAt: this.absoluteEndOf(entry) },
    ] as const;
    return ends.flatMap(({ what, from, endsAt }) =>
      endsAt !== undefined && now >= expiringFrom(from, endsAt) ? [{ what, endsAt }] : [],
    );
  }

  /** When to refresh by itself: ahead of time, or where that does no good, to keep the refresh token alive. */
  #dueAt(entry: SessionEntry, record: SessionRecord, tokens: TokenSet): number | undefined {
    return this.of(entry, tokens).dueAt ?? this.keepAliveAt(entry, record);
  }

  /** Whether a refresh of this session is known to kill the access token that is in use. */
  #rotationVoids({ connection, record, obtain }: SessionEntry): boolean {
    const { rotationVoidsAccessTokens, refreshRotation } = connection.client.warehouse;
    if (!rotationVoidsAccessTokens || obtain !== undefined) return false;
    return record?.rotates === true || refreshRotation === "rotates" || refreshRotation === "single-use";
  }

  /** In [-1, 1], the same for a session in this process, another one elsewhere. */
  #spreadOf(entry: SessionEntry): number {
    entry.spreadStep ??= Math.round((this.#hashShareOf(entry) * 2 - 1) * SPREAD_STEPS);
    return entry.spreadStep / SPREAD_STEPS;
  }

  /** In [0, 1]. */
  #hashShareOf({ localKey }: SessionEntry): number {
    return parseInt(this.#hash(localKey).slice(0, 8), 16) / 0xffff_ffff;
  }
}

/** When the life of the refresh token began: at the login, or when it was last prolonged, as far as anybody can tell. */
function refreshTokenFrom(
  { refreshTokenLifetimeMs, refreshExtends = "never" }: OAuthClient["warehouse"],
  {
    loginAt,
    tokens,
    before,
  }: { readonly loginAt: number; readonly tokens: TokenSet; readonly before: TokenSet | undefined },
): number {
  const { obtainedAt, refreshExpiresAt = Infinity, refreshExpiresAssumed } = tokens;
  if (refreshExpiresAssumed && refreshTokenLifetimeMs !== undefined) {
    return Math.max(loginAt, refreshExpiresAt - refreshTokenLifetimeMs);
  }
  // Read for the first time, it may have been prolonged a moment ago; the next refresh tells.
  if (before === undefined) return refreshExtends === "never" ? loginAt : obtainedAt;
  // An end that moves does so with the time; a server that counts down in whole seconds names one that stands still
  // a little differently each time.
  const movedMs = Math.abs(refreshExpiresAt - (before.refreshExpiresAt ?? Infinity));
  return movedMs > (obtainedAt - before.obtainedAt) / 2 ? obtainedAt : loginAt;
}

/** Whether anything but a person can get the next token. */
export function isRenewable({ obtain, record }: Pick<SessionEntry, "obtain" | "record">): boolean {
  return obtain !== undefined || (record?.state === "active" && record.tokens?.refreshToken !== undefined);
}

/** Refused tokens and answers may be spent on the other side: then everything is announced before it is sent. */
export function mayRotate(entry: SessionEntry): boolean {
  if (entry.obtain !== undefined) return false;
  return entry.record?.rotates === true || entry.connection.client.warehouse.refreshRotation !== "none";
}
