import { INSPECT, REDACTED } from "../lib/redact.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";
import { SharedValues } from "../lib/shared-values.ts";
import { ConfigurationError } from "./errors.ts";
import { isScope } from "./scopes.ts";

/** Whom the warehouse says it signed in. From a checked ID token (`iss` and `sub`), or from the token answer. */
export interface WarehouseUser {
  /** Who says so. */
  readonly issuer: string;
  /** `sub` of the ID token, or the warehouse's name for the user. */
  readonly id: string;
  /** For display only: addresses change hands, so identity is `issuer` and `id`. */
  readonly email: string | undefined;
}

/** What a {@link TokenSet} shows to JSON, logs and inspectors. Cannot be imported. */
export interface RedactedTokens {
  /** Says that the tokens are not in it. */
  readonly redacted: true;
  /** How the token is presented. */
  readonly tokenType: "Bearer" | "DPoP";
  /** End of the access token, epoch milliseconds. */
  readonly expiresAt: number | undefined;
  /** What was granted. */
  readonly scopes: readonly string[];
}

/** Tokens as a plain object that JSON writes whole. **Every token is in it.** */
export interface ExportedTokens {
  /** **Secret.** */
  readonly accessToken: string;
  /** **Secret.** */
  readonly refreshToken?: string;
  /** **Secret.** */
  readonly idToken?: string;
  /** How the access token is presented. */
  readonly tokenType: "Bearer" | "DPoP";
  /** Start of the request that got the tokens, epoch milliseconds. */
  readonly obtainedAt: number;
  /** End of the access token, epoch milliseconds. */
  readonly expiresAt?: number;
  /** End of the refresh token, epoch milliseconds. */
  readonly refreshExpiresAt?: number;
  /** The server did not say: that end is what the warehouse is known for. Absent means: it said so, or nobody knows. */
  readonly refreshExpiresAssumed?: boolean;
  /** What was granted. */
  readonly scopes: readonly string[];
  /** The server did not say: `scopes` are those asked for. */
  readonly scopesAssumed: boolean;
  /** Whom the warehouse signed in. */
  readonly user?: WarehouseUser;
  /** Where they may be sent; {@link importTokens} keeps it, other clients refuse the tokens. */
  readonly connectionId: string;
}

/** When a refresh token ends, and whether that is only what the warehouse is known for. */
export interface EndOfRefreshToken {
  readonly refreshExpiresAt: number | undefined;
  readonly refreshExpiresAssumed: boolean;
}

/** Nobody knows, or there is none. */
export const UNKNOWN_END: EndOfRefreshToken = { refreshExpiresAt: undefined, refreshExpiresAssumed: false };

type Optional = "refreshToken" | "idToken" | "expiresAt" | "user";

/** All else that a {@link TokenSet} holds. Every member is there: objects of one shape cost less. */
export type GrantedTokens = Omit<ExportedTokens, Optional | keyof EndOfRefreshToken> & {
  readonly [Name in Optional]: ExportedTokens[Name] | undefined;
};

/** Keeps the constructor for this module: JavaScript has no `private`. */
const construct: unique symbol = Symbol("construct");

/** What the tokens of a fleet have in common, kept once. */
const sharedScopes = new SharedValues<readonly string[]>();
const sharedConnectionIds = new SharedValues<string>();

/** Tokens in memory. Secrets are read by name and never print: JSON, templates and inspectors see them redacted. */
export class TokenSet {
  readonly #accessToken: string;
  readonly #refreshToken: string | undefined;
  readonly #idToken: string | undefined;
  readonly #connectionId: string;
  /** How the access token is presented. */
  readonly tokenType: "Bearer" | "DPoP";
  /** Start of the request that got the tokens, epoch milliseconds. */
  readonly obtainedAt: number;
  /** `undefined` if the server did not say and the warehouse does not know. */
  readonly expiresAt: number | undefined;
  /** End of the refresh token, epoch milliseconds; `undefined` if unknown. */
  readonly refreshExpiresAt: number | undefined;
  /** The server did not say: that end is what the warehouse is known for. */
  readonly refreshExpiresAssumed: boolean;
  /** What was granted. */
  readonly scopes: readonly string[];
  /** The server did not say: `scopes` are those asked for (RFC 6749 §5.1). */
  readonly scopesAssumed: boolean;
  /** Whom the warehouse signed in, where it says so. */
  readonly user: WarehouseUser | undefined;

  private constructor(key: typeof construct, tokens: GrantedTokens, end: EndOfRefreshToken) {
    if (key !== construct) throw invalidArgument("token sets come from exchangeCode, refreshTokens or importTokens");
    this.#accessToken = tokens.accessToken;
    this.#refreshToken = tokens.refreshToken;
    this.#idToken = tokens.idToken;
    this.#connectionId = sharedConnectionIds.get(tokens.connectionId, () => tokens.connectionId);
    this.tokenType = tokens.tokenType;
    this.obtainedAt = tokens.obtainedAt;
    this.expiresAt = tokens.expiresAt;
    this.refreshExpiresAt = end.refreshExpiresAt;
    this.refreshExpiresAssumed = end.refreshExpiresAssumed;
    this.scopes = sharedScopes.get(tokens.scopes.join(" "), () => Object.freeze([...tokens.scopes]));
    this.scopesAssumed = tokens.scopesAssumed;
    this.user = tokens.user && Object.freeze({ ...tokens.user });
    Object.freeze(this);
  }

  /** **Secret.** What the warehouse's API takes. */
  get accessToken(): string {
    return this.#accessToken;
  }

  /** **Secret.** What gets the next access token; `undefined` if none was granted. */
  get refreshToken(): string | undefined {
    return this.#refreshToken;
  }

  /** **Secret.** The ID token, if `openid` was granted. */
  get idToken(): string | undefined {
    return this.#idToken;
  }

  /** Gives what may be printed. To save tokens, use {@link exportTokens}. */
  toJSON(): RedactedTokens {
    return { redacted: true, tokenType: this.tokenType, expiresAt: this.expiresAt, scopes: this.scopes };
  }

  /** Gives a text without a token in it. */
  toString(): string {
    return `TokenSet ${REDACTED}`;
  }

  /** @internal */
  [Symbol.toPrimitive](): string {
    return this.toString();
  }

  /** @internal */
  [INSPECT](): string {
    return `TokenSet ${JSON.stringify(this.toJSON())}`;
  }

  /** @internal */
  static of(tokens: GrantedTokens, end: EndOfRefreshToken): TokenSet {
    return new TokenSet(construct, tokens, end);
  }

  /** @internal */
  static connectionIdOf(tokens: TokenSet): string {
    if (typeof tokens !== "object" || (tokens as unknown) === null || !(#accessToken in tokens)) {
      throw invalidArgument('"tokens" must be a TokenSet; take saved ones back with importTokens');
    }
    return tokens.#connectionId;
  }
}

/**
 * Gives the tokens as a plain object, to save them oneself. **Every token is in it**: encrypt it, and never log it.
 *
 * @example
 *
 * ```ts
 * import { exportTokens, importTokens, type TokenSet } from "warehouse-oauth";
 *
 * declare const tokens: TokenSet;
 *
 * const text = JSON.stringify(exportTokens(tokens));
 * const back: TokenSet = importTokens(JSON.parse(text));
 * ```
 */
export function exportTokens(tokens: TokenSet): ExportedTokens {
  const connectionId = TokenSet.connectionIdOf(tokens);
  const { accessToken, refreshToken, idToken, tokenType, obtainedAt, expiresAt, refreshExpiresAt, user } = tokens;
  return {
    accessToken,
    ...(refreshToken !== undefined && { refreshToken }),
    ...(idToken !== undefined && { idToken }),
    tokenType,
    obtainedAt,
    ...(expiresAt !== undefined && { expiresAt }),
    ...(refreshExpiresAt !== undefined && { refreshExpiresAt }),
    ...(tokens.refreshExpiresAssumed && { refreshExpiresAssumed: true }),
    scopes: [...tokens.scopes],
    scopesAssumed: tokens.scopesAssumed,
    ...(user !== undefined && { user }),
    connectionId,
  };
}

/**
 * Takes back what {@link exportTokens} gave, from JSON, checked. Unknown members are left out.
 *
 * @throws {@link ConfigurationError} `tokens_invalid`; the message names the mistake if the object is redacted.
 *
 * @example
 *
 * ```ts
 * import { importTokens } from "warehouse-oauth";
 *
 * declare const savedText: string;
 *
 * const tokens = importTokens(JSON.parse(savedText));
 * ```
 */
export function importTokens(value: unknown): TokenSet {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw refuse("an object", undefined);
  const read = (name: string): unknown => (Object.hasOwn(value, name) ? Reflect.get(value, name) : undefined);
  if (read("redacted") === true) {
    throw new ConfigurationError(
      "tokens_invalid",
      "these tokens were printed by JSON.stringify, which redacts them; save exportTokens(tokens) instead",
      "tokens",
    );
  }
  const tokenType = read("tokenType");
  if (tokenType !== "Bearer" && tokenType !== "DPoP") throw refuse('"Bearer" or "DPoP"', "tokenType");
  const scopes = read("scopes");
  if (!Array.isArray(scopes) || !scopes.every(isScope)) throw refuse("an array of scopes", "scopes");
  const scopesAssumed = read("scopesAssumed");
  if (typeof scopesAssumed !== "boolean") throw refuse("true or false", "scopesAssumed");
  const refreshToken = optional(read("refreshToken"), isToken, "refreshToken");
  const idToken = optional(read("idToken"), isToken, "idToken");
  const expiresAt = optional(read("expiresAt"), isTime, "expiresAt");
  const refreshExpiresAt = optional(read("refreshExpiresAt"), isTime, "refreshExpiresAt");
  const refreshExpiresAssumed = optional(read("refreshExpiresAssumed"), isBoolean, "refreshExpiresAssumed");
  const user = optional(read("user"), isUser, "user");
  const granted = {
    accessToken: required(read("accessToken"), isToken, "accessToken"),
    refreshToken,
    idToken,
    tokenType,
    obtainedAt: required(read("obtainedAt"), isTime, "obtainedAt"),
    expiresAt,
    scopes,
    scopesAssumed,
    user: user && { issuer: user.issuer, id: user.id, email: user.email },
    connectionId: required(read("connectionId"), isText, "connectionId"),
  } as const;
  return TokenSet.of(granted, { refreshExpiresAt, refreshExpiresAssumed: refreshExpiresAssumed === true });
}

function refuse(expected: string, member: string | undefined): ConfigurationError {
  const where = member === undefined ? "saved tokens" : `"${member}" of saved tokens`;
  return new ConfigurationError("tokens_invalid", `${where} must be ${expected}`, member ?? "tokens");
}

function required<T>(value: unknown, is: (value: unknown) => value is T, member: string): T {
  if (!is(value)) throw refuse("there and of the form that exportTokens writes", member);
  return value;
}

function optional<T>(value: unknown, is: (value: unknown) => value is T, member: string): T | undefined {
  return value === undefined ? undefined : required(value, is, member);
}

/** Longest token that is taken (requirements S-031). */
const MAX_TOKEN_LENGTH = 64 * 1024;

/** Visible ASCII and space, the characters of tokens (RFC 6749 appendix A.12, A.17): no line end gets into a header. */
const TOKEN = /^[\x20-\x7E]+$/;

/** Whether a value is a token by length and characters. What stands in it is nobody's business but the server's. */
export function isToken(value: unknown): value is string {
  return typeof value === "string" && value.length <= MAX_TOKEN_LENGTH && TOKEN.test(value);
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

function isBoolean(value: unknown): value is boolean {
  return typeof value === "boolean";
}

function isTime(value: unknown): value is number {
  return Number.isFinite(value);
}

function isUser(value: unknown): value is WarehouseUser {
  if (typeof value !== "object" || value === null) return false;
  const { issuer, id, email } = value as Record<keyof WarehouseUser, unknown>;
  return isText(issuer) && isText(id) && (email === undefined || isText(email));
}
