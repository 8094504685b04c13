import { StoreError, TokenSet, exportTokens, importTokens } from "../core/index.ts";
import type { ReauthorizationCause } from "../core/index.ts";
import { sipHash24 } from "../lib/keyed-hash.ts";
import type { StoredRecord } from "./store.ts";

/** A refresh that was about to be sent when this was written: proof, for whoever finds it, that it may have been. */
export interface Intent {
  readonly attemptId: string;
  /** The manager that wrote it. */
  readonly owner: string;
  /** Wall clock, epoch milliseconds. */
  readonly startedAt: number;
  /** How often the token may have been sent without an answer that was understood. */
  readonly attempts: number;
  /** Of the refresh token that was announced. */
  readonly fingerprint: string;
}

/** What is known of a session, whatever process learned it. */
export interface SessionRecord {
  /** How often the tokens were replaced; grows across logins and logouts. */
  readonly generation: number;
  readonly state: "active" | "reauthorization_required" | "revoked";
  /** Why, in state `reauthorization_required`. */
  readonly cause: ReauthorizationCause | undefined;
  /** Absent in a tombstone. */
  readonly tokens: TokenSet | undefined;
  /** A refresh of this very session brought another refresh token: learned once, true for good. */
  readonly rotates: boolean;
  /** When a person signed in, epoch milliseconds. */
  readonly loginAt: number;
  readonly intent: Intent | undefined;
  /** In a tombstone: whether tokens that a late refresh brings are to be revoked, too. */
  readonly revokeLate: boolean;
}

/**
 * Whether a record is one that another has replaced: a copy that lags behind, or an answer that came late. A later login
 * is none, even where it began to count anew because nobody could read what lay there (requirements R-47, S-047).
 */
export function isReplacedBy(record: SessionRecord, known: SessionRecord | undefined): boolean {
  return known !== undefined && record.generation < known.generation && record.loginAt <= known.loginAt;
}

/**
 * Gives a record in which some members are others. Not a spread: in Node 20 that gives each of a million records a hidden
 * class of its own, which is larger than the record.
 */
export function changeRecord(record: SessionRecord, changes: Partial<SessionRecord>): SessionRecord {
  const pick = <Name extends keyof SessionRecord>(name: Name): SessionRecord[Name] =>
    Object.hasOwn(changes, name) ? (changes as SessionRecord)[name] : record[name];
  return {
    generation: pick("generation"),
    state: pick("state"),
    cause: pick("cause"),
    tokens: pick("tokens"),
    rotates: pick("rotates"),
    loginAt: pick("loginAt"),
    intent: pick("intent"),
    revokeLate: pick("revokeLate"),
  };
}

/** The only format so far. A later one is read by later versions; an unknown one is refused, never guessed. */
const FORMAT = 1;

const STATES: ReadonlySet<unknown> = new Set(["active", "reauthorization_required", "revoked"]);

/** What a store gets: the secret text of a record, written when the store looks at it. One in this process never does. */
class WrittenRecord implements StoredRecord {
  declare readonly value: string;
  declare readonly dueAt?: number;
  declare readonly deleteAfter?: number;
  readonly #record: SessionRecord;

  constructor(record: SessionRecord, { dueAt, deleteAfter }: Omit<StoredRecord, "value">) {
    this.#record = record;
    // Of its own and enumerable, for a store that copies what it gets.
    Object.defineProperty(this, "value", { enumerable: true, get: WrittenRecord.#write });
    if (dueAt !== undefined) this.dueAt = dueAt;
    if (deleteAfter !== undefined) this.deleteAfter = deleteAfter;
    Object.freeze(this);
  }

  static #write(this: WrittenRecord): string {
    return formatText(this.#record);
  }

  /** The record itself, if the store kept what it got as it was. */
  static recordOf(stored: StoredRecord): SessionRecord | undefined {
    return #record in stored ? stored.#record : undefined;
  }
}

/** Gives a record to a store. */
export function formatRecord(record: SessionRecord, times: Omit<StoredRecord, "value">): StoredRecord {
  return new WrittenRecord(record, times);
}

/**
 * Takes a record back from a store.
 *
 * @throws {@link StoreError} `decrypt_failed` for text that {@link formatRecord} did not write, or a later version did.
 */
export function readRecord(stored: StoredRecord): SessionRecord {
  return WrittenRecord.recordOf(stored) ?? parseRecord(stored.value);
}

function formatText({ generation, state, cause, tokens, rotates, loginAt, intent, revokeLate }: SessionRecord): string {
  return JSON.stringify({
    format: FORMAT,
    generation,
    state,
    cause,
    tokens: tokens && exportTokens(tokens),
    rotates,
    loginAt,
    intent,
    revokeLate,
  });
}

/**
 * Reads the text that a store kept.
 *
 * @throws {@link StoreError} `decrypt_failed` for text that {@link formatRecord} did not write, or a later version did.
 */
export function parseRecord(text: string): SessionRecord {
  const value = parseObject(text);
  const read = (name: string): unknown => (value !== undefined && Object.hasOwn(value, name) ? value[name] : undefined);
  const generation = read("generation");
  const loginAt = read("loginAt");
  const state = read("state");
  if (read("format") !== FORMAT || !isCount(generation) || !isCount(loginAt) || !STATES.has(state)) throw unreadable();
  const tokens = read("tokens");
  try {
    return {
      generation,
      state: state as SessionRecord["state"],
      cause: read("cause") as ReauthorizationCause | undefined,
      tokens: tokens === undefined ? undefined : importTokens(tokens),
      rotates: read("rotates") === true,
      loginAt,
      intent: parseIntent(read("intent")),
      revokeLate: read("revokeLate") === true,
    };
  } catch {
    throw unreadable();
  }
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function parseIntent(value: unknown): Intent | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { attemptId, owner, startedAt, attempts, fingerprint } = value as Record<keyof Intent, unknown>;
  if (typeof attemptId !== "string" || typeof owner !== "string" || typeof fingerprint !== "string") throw unreadable();
  if (!isCount(startedAt) || !isCount(attempts)) throw unreadable();
  return { attemptId, owner, startedAt, attempts, fingerprint };
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}

function unreadable(): StoreError {
  return new StoreError(
    "decrypt_failed",
    "a stored record cannot be read: it was changed, cut, or written by a newer version; sign in again to replace it",
    "read",
  );
}

/**
 * Gives the tokens of a record if they belong to this connection. A record that somebody moved under another key holds
 * tokens for another server, and these are neither sent nor handed out (requirements S-044).
 */
export function tokensFor(connectionId: string, record: SessionRecord | undefined): TokenSet | undefined {
  const tokens = record?.tokens;
  return tokens !== undefined && TokenSet.connectionIdOf(tokens) === connectionId ? tokens : undefined;
}

/** Without a secret in it: whoever can read a fingerprint reads the token beside it, in the same record. */
const FINGERPRINT_KEY = new Uint8Array(16);

const encoder = new TextEncoder();

/** Tells a refresh token from the next one. */
export function fingerprintOf(refreshToken: string): string {
  return sipHash24(FINGERPRINT_KEY, encoder.encode(refreshToken));
}

/** How often the refresh token of a record was announced without an answer that was understood. */
export function attemptsOf({ intent, tokens }: SessionRecord): number {
  if (intent === undefined) return 0;
  return intent.fingerprint === fingerprintOf(tokens?.refreshToken ?? "") ? intent.attempts : 0;
}
