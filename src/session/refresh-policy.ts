import type { Warehouse } from "../core/index.ts";

/** When to refresh. Defaults follow the lifetime: 600 000 ms of life are refreshed with 120 000 left. */
export interface RefreshOptions {
  /** Default is the lesser of 600 000 and a fifth of the lifetime. */
  readonly leadTimeMs?: number | ((lifetimeMs: number) => number);
  /** Without use for this long, proactive refresh stops. Default is 3 600 000. */
  readonly idleMs?: number;
  /**
   * Refreshes idle sessions too, but only shortly before the refresh token's own end, where that is known and a refresh
   * postpones it. Default is `false`.
   */
  readonly keepAlive?: boolean;
  /** Guard for one session. Default is 10, or twice what the lifetime explains. */
  readonly maxPerHour?: number;
}

/** Ten minutes: enough for an outage of a token endpoint to pass unnoticed. */
const MAX_LEAD_TIME_MS = 600_000;

/** A fifth: a ten-minute token is used for eight minutes of its ten. */
const LEAD_TIME_SHARE = 0.2;

/** A tenth: a margin must not eat a short life. */
const HARD_MARGIN_SHARE = 0.1;

/** A tenth to either side, so that a fleet does not wake at once. */
const SPREAD_SHARE = 0.1;

/** What a token of unknown lifetime is taken for: stale after an hour, never expired. */
const UNKNOWN_STALE_AFTER_MS = 3_600_000;

/** Longer lives are kept as told and refreshed daily: a month is too long to find out that a refresh token is dead. */
const MAX_SCHEDULED_LIFETIME_MS = 86_400_000;

/** Shorter lives are refreshed when asked for, never by themselves: that would be a loop (requirements R-06). */
export const MIN_SCHEDULED_LIFETIME_MS = 2_000;

/** A refresh is at least a quarter of the life away from the last (requirements R-06). */
const MIN_AGE_SHARE = 0.25;

/** The facts of a warehouse that freshness hangs on. */
export type FreshnessFacts = Pick<Warehouse, "hardMarginMs" | "refusedBelowMs">;

/** The times of one access token. */
export interface TokenTimes {
  /** Epoch milliseconds. */
  readonly obtainedAt: number;
  /** Epoch milliseconds; `undefined` if nobody knows. */
  readonly expiresAt: number | undefined;
}

/** Where the zones of a token's life lie, epoch milliseconds: fresh before `staleAt`, expired from `expiredAt`. */
export interface Freshness {
  readonly staleAt: number;
  readonly expiredAt: number;
  /** When to refresh without being asked; `undefined` for never. */
  readonly dueAt: number | undefined;
}

/**
 * Says when a token is fresh, stale and expired.
 *
 * @param context.spread Number in [-1, 1], the same for a session in a process, different elsewhere.
 * @param context.rotationVoids A refresh kills the token at once: then it is used to its hard margin, and nothing is
 * refreshed before somebody waits for it.
 */
export function freshnessOf(
  { obtainedAt, expiresAt }: TokenTimes,
  facts: FreshnessFacts,
  context: {
    readonly leadTimeMs?: RefreshOptions["leadTimeMs"];
    readonly spread: number;
    readonly rotationVoids: boolean;
  },
): Freshness {
  if (expiresAt === undefined) {
    return { staleAt: obtainedAt + UNKNOWN_STALE_AFTER_MS, expiredAt: Infinity, dueAt: undefined };
  }
  const lifetimeMs = Math.max(0, expiresAt - obtainedAt);
  const hardMarginMs = hardMarginOf(lifetimeMs, facts);
  const expiredAt = expiresAt - hardMarginMs;
  if (context.rotationVoids) return { staleAt: expiredAt, expiredAt, dueAt: undefined };
  const scheduledMs = Math.min(lifetimeMs, MAX_SCHEDULED_LIFETIME_MS);
  const leadMs = leadTimeOf(scheduledMs, context.leadTimeMs) * (1 + SPREAD_SHARE * context.spread);
  const earliest = obtainedAt + Math.max(1000, MIN_AGE_SHARE * scheduledMs);
  const staleAt = Math.min(expiredAt, Math.max(earliest, obtainedAt + scheduledMs - Math.max(leadMs, hardMarginMs)));
  // A margin that eats the whole life must not make the next refresh due at once.
  const dueAt = Math.max(earliest, staleAt);
  return { staleAt, expiredAt, dueAt: lifetimeMs < MIN_SCHEDULED_LIFETIME_MS ? undefined : dueAt };
}

/** A token with less than this left is not handed out. */
export function hardMarginOf(lifetimeMs: number, { hardMarginMs, refusedBelowMs }: FreshnessFacts): number {
  return Math.max(refusedBelowMs, Math.min(hardMarginMs, HARD_MARGIN_SHARE * lifetimeMs));
}

function leadTimeOf(lifetimeMs: number, option: RefreshOptions["leadTimeMs"]): number {
  const leadMs = typeof option === "function" ? askLeadTime(option, lifetimeMs) : option;
  if (leadMs === undefined || !Number.isFinite(leadMs) || leadMs < 0) {
    return Math.min(MAX_LEAD_TIME_MS, LEAD_TIME_SHARE * lifetimeMs);
  }
  return leadMs;
}

/** A function of the application that fails must not keep from being saved what was paid for. */
function askLeadTime(option: (lifetimeMs: number) => number, lifetimeMs: number): number | undefined {
  try {
    return option(lifetimeMs);
  } catch {
    return undefined;
  }
}

/** Refreshes an hour that one session may make by default, however long its tokens live. */
const DEFAULT_MAX_PER_HOUR = 10;

const HOUR_MS = 3_600_000;

/**
 * How many refreshes an hour are explained: ten, or twice what it takes if each token is used until it is stale.
 *
 * @param usedMs From when the token was obtained until it is stale.
 */
export function maxRefreshesPerHour(usedMs: number): number {
  return Math.max(DEFAULT_MAX_PER_HOUR, Math.ceil((2 * HOUR_MS) / Math.max(1000, usedMs)));
}

/** Share of a refresh token's life, and longest time, before its end at which a person is told. */
const EXPIRING_SHARE = 0.1;
const MAX_EXPIRING_MS = 7 * 86_400_000;

/** When the end of something that lives from `from` to `until` is near enough to say so. */
export function expiringFrom(from: number, until: number): number {
  return until - Math.min(MAX_EXPIRING_MS, EXPIRING_SHARE * Math.max(0, until - from));
}
