import { base64url } from "jose";
import type { RefreshRotation } from "../core/index.ts";

/** A grant as the fake knows it. `revoked` after a replayed refresh token or code, among others. */
export interface FakeGrant {
  /** Who agreed; the client itself at grants for machines. */
  readonly user: string;
  /** Whom it was given to. */
  readonly clientId: string;
  /** What was agreed to. */
  readonly scopes: readonly string[];
  /** How often it was refreshed. */
  readonly refreshes: number;
  /** Why its tokens work no more, or `false`. */
  readonly revoked: false | "reuse" | "replayed_code" | "revoked" | "admin";
}

/**
 * Why a grant ended.
 *
 * @internal
 */
export type RevocationReason = Exclude<FakeGrant["revoked"], false>;

/**
 * A grant with what only the server knows.
 *
 * @internal
 */
export interface LedgerGrant {
  readonly user: string;
  readonly clientId: string;
  readonly scopes: readonly string[];
  readonly rotation: RefreshRotation;
  refreshes: number;
  revoked: FakeGrant["revoked"];
  /** Access tokens that work, so that a rotation can void them. */
  readonly live: Set<AccessToken>;
}

/**
 * An access token the server issued.
 *
 * @internal
 */
export interface AccessToken {
  readonly grant: LedgerGrant;
  readonly scopes: readonly string[];
  expiresAt: number;
  voided: boolean;
}

/**
 * A refresh token the server issued.
 *
 * @internal
 */
export interface RefreshToken {
  readonly grant: LedgerGrant;
  readonly value: string;
  expiresAt: number;
  spent: boolean;
}

/**
 * An authorization code, and all it is bound to.
 *
 * @internal
 */
export interface AuthorizationCode {
  readonly clientId: string;
  readonly redirectUri: string;
  readonly codeChallenge: string;
  readonly nonce: string | undefined;
  readonly user: string;
  readonly scopes: readonly string[];
  /** Whether the exchange brings a refresh token. */
  readonly offline: boolean;
  readonly expiresAt: number;
  used: boolean;
  grant: LedgerGrant | undefined;
}

/**
 * What became of an access token that was shown to the data API.
 *
 * @internal
 */
export type TokenCheck =
  | { readonly state: "good"; readonly token: AccessToken }
  | { readonly state: "missing" | "unknown" | "expired" | "voided" };

/** 256 bits, as RFC 6749 §10.10 wants (at least 128). */
const SECRET_BYTES = 32;

/** Makes an unguessable text. */
export function randomSecret(prefix = ""): string {
  return prefix + base64url.encode(crypto.getRandomValues(new Uint8Array(SECRET_BYTES)));
}

/** How a ledger writes its tokens, so that a client which parses one is found out. */
export interface TokenPrefixes {
  readonly code: string;
  readonly access: string;
  readonly refresh: string;
}

/**
 * Knows every grant, code and token of one fake. Synchronous throughout: between a check and its consequence nothing
 * else can run, so a code or a refresh token is spent exactly once.
 *
 * @internal
 */
export class TokenLedger {
  readonly #prefixes: TokenPrefixes;
  readonly #grants: LedgerGrant[] = [];
  readonly #codes = new Map<string, AuthorizationCode>();
  readonly #accessTokens = new Map<string, AccessToken>();
  readonly #refreshTokens = new Map<string, RefreshToken>();

  constructor(prefixes: TokenPrefixes) {
    this.#prefixes = prefixes;
  }

  /** Copies of the grants, in the order they were made. */
  get grants(): readonly FakeGrant[] {
    return Object.freeze(
      this.#grants.map(({ user, clientId, scopes, refreshes, revoked }) =>
        Object.freeze({ user, clientId, scopes, refreshes, revoked }),
      ),
    );
  }

  openGrant(grant: Pick<LedgerGrant, "user" | "clientId" | "scopes" | "rotation">): LedgerGrant {
    const opened: LedgerGrant = {
      ...grant,
      scopes: Object.freeze([...grant.scopes]),
      refreshes: 0,
      revoked: false,
      live: new Set(),
    };
    this.#grants.push(opened);
    return opened;
  }

  issueCode(code: Omit<AuthorizationCode, "used" | "grant">): string {
    const value = randomSecret(this.#prefixes.code);
    this.#codes.set(value, { ...code, used: false, grant: undefined });
    return value;
  }

  findCode(value: string): AuthorizationCode | undefined {
    return this.#codes.get(value);
  }

  issueAccessToken(grant: LedgerGrant, scopes: readonly string[], expiresAt: number): string {
    const value = randomSecret(this.#prefixes.access);
    const token: AccessToken = { grant, scopes, expiresAt, voided: false };
    this.#accessTokens.set(value, token);
    grant.live.add(token);
    return value;
  }

  issueRefreshToken(grant: LedgerGrant, expiresAt: number): string {
    const value = randomSecret(this.#prefixes.refresh);
    this.#refreshTokens.set(value, { grant, value, expiresAt, spent: false });
    return value;
  }

  findRefreshToken(value: string): RefreshToken | undefined {
    return this.#refreshTokens.get(value);
  }

  findAccessToken(value: string): AccessToken | undefined {
    return this.#accessTokens.get(value);
  }

  /** Says what an API would find out about a token. */
  check(value: string | undefined, now: number): TokenCheck {
    if (value === undefined) return { state: "missing" };
    const token = this.#accessTokens.get(value);
    if (token === undefined) return { state: "unknown" };
    if (token.voided || token.grant.revoked !== false) return { state: "voided" };
    if (token.expiresAt <= now) return { state: "expired" };
    return { state: "good", token };
  }

  /** Ends the access tokens a grant has so far. */
  voidAccessTokens(grant: LedgerGrant): void {
    for (const token of grant.live) token.voided = true;
    grant.live.clear();
  }

  /** Ends every access token, as if its time were over. */
  expireAccessTokens(now: number): void {
    for (const token of this.#accessTokens.values()) token.expiresAt = Math.min(token.expiresAt, now);
  }

  /** Ends a grant with all its tokens. The first reason stays. */
  revoke(grant: LedgerGrant, reason: RevocationReason): void {
    if (grant.revoked === false) grant.revoked = reason;
    this.voidAccessTokens(grant);
  }

  /** Ends all grants, or those of one user, and codes that could become one. */
  revokeWhere(user: string | undefined, reason: RevocationReason): void {
    for (const grant of this.#grants) {
      if (user === undefined || grant.user === user) this.revoke(grant, reason);
    }
    for (const [value, code] of this.#codes) {
      if (!code.used && (user === undefined || code.user === user)) this.#codes.delete(value);
    }
  }
}
