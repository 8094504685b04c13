import { base64url } from "jose";
import type { Grant, RefreshRotation, Warehouse } from "../core/index.ts";
import { assertSingleParameters } from "./authorization-endpoint.ts";
import type { ClientRegistry, RegisteredClient } from "./client-registry.ts";
import type { Fault } from "./fault.ts";
import { Refused } from "./refusal.ts";
import type { SigningKeys } from "./signing-keys.ts";
import type { LedgerGrant, RefreshToken, TokenLedger } from "./token-ledger.ts";
import type { TrustedAssertions } from "./trusted-assertions.ts";
import type { WarehouseProfile } from "./warehouse-profile.ts";

/** How the fake was told to behave, defaults filled in. */
export interface TokenPolicy {
  readonly accessTokenLifetimeMs: number;
  readonly refreshTokenLifetimeMs: number;
  readonly refreshRotation: RefreshRotation;
}

/** What the endpoint works with. */
interface Dependencies {
  readonly profile: WarehouseProfile;
  readonly policy: TokenPolicy;
  readonly clients: ClientRegistry;
  readonly ledger: TokenLedger;
  readonly keys: SigningKeys;
  readonly trusted: TrustedAssertions;
}

/** A token request, seen from one of the fake's addresses. */
export interface TokenRequest {
  readonly form: URLSearchParams;
  readonly authorization: string | null;
  readonly warehouse: Warehouse;
  readonly now: number;
  readonly strike: Fault["kind"] | undefined;
}

/** `grant_type` on the wire, by grant (RFC 6749 §4, §6, RFC 7523 §2.1, RFC 8693 §2.1). */
const GRANT_TYPES: ReadonlyMap<string, Grant> = new Map<string, Grant>([
  ["authorization_code", "authorization_code"],
  ["refresh_token", "refresh_token"],
  ["client_credentials", "client_credentials"],
  ["urn:ietf:params:oauth:grant-type:jwt-bearer", "jwt_bearer"],
  ["urn:ietf:params:oauth:grant-type:token-exchange", "token_exchange"],
]);

/** Reads `grant_type`. */
export function parseGrantType(text: string | null): Grant | undefined {
  return GRANT_TYPES.get(text ?? "");
}

/** RFC 7636 §4.1. */
const CODE_VERIFIER = /^[A-Za-z0-9\-._~]{43,128}$/;

/** The only subject token type that Databricks takes (facts sheet A3.2, checked 2026-11-21). */
const JWT_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:jwt";

/** Service accounts: at most an hour (Google, "Using OAuth 2.0 for Server to Server Applications", checked 2026-11-21). */
const MAX_SERVICE_ASSERTION_SECONDS = 3_600;

/** Subject tokens: identity providers give them a day at most. */
const MAX_SUBJECT_TOKEN_SECONDS = 86_400;

/** What one grant decided to issue. */
interface Decision {
  readonly grant: LedgerGrant;
  readonly scopes: readonly string[];
  readonly refreshToken?: string | undefined;
  readonly nonce?: string | undefined;
  readonly expiresAt?: number;
  readonly extra?: Readonly<Record<string, string>>;
  /** Google answers scopes of a service account that it does not know with an ID token, and nothing else. */
  readonly idTokenOnly?: boolean;
}

/**
 * The token endpoint (RFC 6749 §3.2).
 *
 * @internal
 */
export class TokenEndpoint {
  readonly #deps: Dependencies;

  constructor(dependencies: Dependencies) {
    this.#deps = dependencies;
  }

  /**
   * Gives the body of a success.
   *
   * @throws Refused
   */
  async answer(request: TokenRequest): Promise<Readonly<Record<string, unknown>>> {
    const { form } = request;
    assertSingleParameters(form);
    const grantType = form.get("grant_type");
    if (grantType === null) throw new Refused("malformed", "invalid_request", '"grant_type" is missing');
    const grant = parseGrantType(grantType);
    if (grant === undefined || !this.#deps.profile.grants.has(grant)) {
      throw new Refused(
        "grant_type",
        "unsupported_grant_type",
        `this server does not know the grant ${grantType.slice(0, 80)}`,
      );
    }
    const decision = await this.#decide(grant, request);
    return this.#issue(grant, decision, request);
  }

  #decide(grant: Grant, request: TokenRequest): Promise<Decision> {
    switch (grant) {
      case "authorization_code":
        return this.#exchangeCode(request);
      case "refresh_token":
        return this.#refresh(request);
      case "client_credentials":
        return this.#clientCredentials(request);
      case "jwt_bearer":
        return this.#jwtBearer(request);
      case "token_exchange":
        return this.#exchangeToken(request);
    }
  }

  #authenticate({ form, authorization, warehouse, now }: TokenRequest): Promise<RegisteredClient> {
    const { clients, profile } = this.#deps;
    return clients.authenticate(form, authorization, { profile, tokenEndpoint: warehouse.tokenEndpoint, now });
  }

  async #exchangeCode(request: TokenRequest): Promise<Decision> {
    const { form, now } = request;
    const { ledger, profile, policy } = this.#deps;
    const client = await this.#authenticate(request);
    const verifier = form.get("code_verifier");
    const challenge = verifier === null ? undefined : await challengeOf(verifier);
    // From here on nothing waits: one code, one winner.
    const value = form.get("code");
    if (value === null) throw new Refused("malformed", "invalid_request", '"code" is missing');
    const code = ledger.findCode(value);
    if (code?.clientId !== client.clientId)
      throw new Refused("code", "invalid_grant", "this code is unknown here, or another client's");
    if (code.used) {
      if (code.grant !== undefined) ledger.revoke(code.grant, "replayed_code");
      throw new Refused("code", "invalid_grant", "this code was used before; what it brought is revoked now");
    }
    // A failed attempt uses it up as well: somebody who guesses gets one guess.
    code.used = true;
    if (code.expiresAt <= now) throw new Refused("code", "invalid_grant", "this code is older than a minute");
    if (form.get("redirect_uri") !== code.redirectUri) {
      throw new Refused(
        "redirect_mismatch",
        "invalid_grant",
        '"redirect_uri" is not that of the authorization request',
      );
    }
    if (verifier === null) throw new Refused("verifier_missing", "invalid_grant", '"code_verifier" is missing');
    if (!CODE_VERIFIER.test(verifier) || challenge !== code.codeChallenge) {
      throw new Refused("verifier", "invalid_grant", '"code_verifier" does not fit the challenge');
    }
    const rotation = profile.rotationOf(form, policy.refreshRotation);
    const grant = ledger.openGrant({ user: code.user, clientId: client.clientId, scopes: code.scopes, rotation });
    code.grant = grant;
    const refreshToken =
      code.offline && request.strike !== "omit_refresh_token"
        ? ledger.issueRefreshToken(grant, now + policy.refreshTokenLifetimeMs)
        : undefined;
    return { grant, scopes: code.scopes, refreshToken, nonce: code.nonce };
  }

  async #refresh(request: TokenRequest): Promise<Decision> {
    const { form, now } = request;
    const { ledger, profile } = this.#deps;
    const client = await this.#authenticate(request);
    // From here on nothing waits: one refresh token, one winner.
    if (form.has("enable_single_use_refresh_tokens")) {
      throw new Refused(
        "malformed",
        "invalid_request",
        '"enable_single_use_refresh_tokens" belongs to the code exchange only',
      );
    }
    const value = form.get("refresh_token");
    if (value === null) throw new Refused("malformed", "invalid_request", '"refresh_token" is missing');
    const token = ledger.findRefreshToken(value);
    if (token?.grant.clientId !== client.clientId) {
      throw new Refused(
        "refresh_token_unknown",
        "invalid_grant",
        "this refresh token is unknown here, or another client's",
      );
    }
    const { grant } = token;
    if (grant.revoked !== false)
      throw new Refused("refresh_token_dead", "invalid_grant", "the grant of this refresh token is revoked");
    if (token.spent) {
      ledger.revoke(grant, "reuse");
      throw new Refused(
        "refresh_token_dead",
        "invalid_grant",
        "this refresh token was used before; its whole family is revoked now",
      );
    }
    if (token.expiresAt <= now)
      throw new Refused("refresh_token_dead", "invalid_grant", "this refresh token is too old");
    const scopes = narrowScopes(form.get("scope"), grant.scopes);
    grant.refreshes += 1;
    const refreshToken = this.#rotate(token, request);
    if (refreshToken !== undefined && profile.rotationVoidsAccessTokens) ledger.voidAccessTokens(grant);
    return { grant, scopes, refreshToken };
  }

  /** Makes the successor of a refresh token, where there is one. */
  #rotate(token: RefreshToken, { now, strike }: TokenRequest): string | undefined {
    const { ledger, policy, profile } = this.#deps;
    const { grant } = token;
    if (profile.refreshExtends === "on-use") token.expiresAt = now + policy.refreshTokenLifetimeMs;
    const twice = strike === "rotate_twice";
    if (strike === "omit_refresh_token" || (grant.rotation === "none" && !twice)) return undefined;
    const endsAt = profile.refreshExtends === "never" ? token.expiresAt : now + policy.refreshTokenLifetimeMs;
    if (grant.rotation === "single-use" || twice) token.spent = true;
    if (twice) {
      const between = ledger.findRefreshToken(ledger.issueRefreshToken(grant, endsAt));
      if (between !== undefined) between.spent = true;
    }
    return ledger.issueRefreshToken(grant, endsAt);
  }

  async #clientCredentials(request: TokenRequest): Promise<Decision> {
    const { ledger } = this.#deps;
    const client = await this.#authenticate(request);
    if (client.clientSecret === undefined && client.publicKey === undefined) {
      throw new Refused(
        "public_client",
        "unauthorized_client",
        "a public client has no tokens of its own (RFC 6749 §4.4)",
      );
    }
    const scopes = this.#checkedScopes(request.form.get("scope"));
    const grant = ledger.openGrant({ user: client.clientId, clientId: client.clientId, scopes, rotation: "none" });
    return { grant, scopes };
  }

  async #jwtBearer({ form, warehouse, now }: TokenRequest): Promise<Decision> {
    const { ledger, profile, trusted } = this.#deps;
    const claims = await trusted.verify(form.get("assertion") ?? "", {
      algorithms: ["RS256"],
      tokenEndpoint: warehouse.tokenEndpoint,
      maxLifetimeSeconds: MAX_SERVICE_ASSERTION_SECONDS,
      now,
    });
    const scopes = splitScopes(typeof claims["scope"] === "string" ? claims["scope"] : null);
    if (scopes.length === 0) throw new Refused("scope_missing", "invalid_scope", "no scope was asked for");
    const clientId = claims.iss ?? "";
    const grant = ledger.openGrant({ user: claims.sub ?? clientId, clientId, scopes, rotation: "none" });
    const unknown = profile.checkScopes({ scopes, parameters: new URLSearchParams() }) !== undefined;
    return { grant, scopes, idTokenOnly: unknown };
  }

  async #exchangeToken(request: TokenRequest): Promise<Decision> {
    const { form, authorization, warehouse, now } = request;
    const { ledger, trusted, policy } = this.#deps;
    // Federation needs no client at all; one that does present itself is checked.
    const client = authorization !== null || form.has("client_secret") ? await this.#authenticate(request) : undefined;
    if (form.get("subject_token_type") !== JWT_TOKEN_TYPE) {
      throw new Refused("malformed", "invalid_request", `"subject_token_type" must be ${JWT_TOKEN_TYPE}`);
    }
    const claims = await trusted.verify(form.get("subject_token") ?? "", {
      algorithms: ["RS256", "ES256"],
      tokenEndpoint: warehouse.tokenEndpoint,
      maxLifetimeSeconds: MAX_SUBJECT_TOKEN_SECONDS,
      now,
    });
    const scopes = this.#checkedScopes(form.get("scope"));
    const clientId = client?.clientId ?? form.get("client_id") ?? "";
    const grant = ledger.openGrant({ user: claims.sub ?? "", clientId, scopes, rotation: "none" });
    return {
      grant,
      scopes,
      // The new token does not outlive the one it was made of.
      expiresAt: Math.min(now + policy.accessTokenLifetimeMs, (claims.exp ?? 0) * 1000),
      extra: { issued_token_type: "urn:ietf:params:oauth:token-type:access_token" },
    };
  }

  #checkedScopes(text: string | null): readonly string[] {
    const scopes = splitScopes(text);
    if (scopes.length === 0) throw new Refused("scope_missing", "invalid_scope", "no scope was asked for");
    const refusal = this.#deps.profile.checkScopes({ scopes, parameters: new URLSearchParams() });
    if (refusal !== undefined) throw new Refused(refusal.reason, refusal.error, refusal.text);
    return scopes;
  }

  async #issue(grant: Grant, decision: Decision, request: TokenRequest): Promise<Readonly<Record<string, unknown>>> {
    const { ledger, profile, policy, keys } = this.#deps;
    const { now, strike, warehouse } = request;
    const { user, clientId } = decision.grant;
    const facts = { issuer: warehouse.issuer, clientId, user, scopes: decision.scopes, nonce: decision.nonce, now };
    if (decision.idTokenOnly === true) return { id_token: await keys.signIdToken(facts) };
    const expiresAt = decision.expiresAt ?? now + policy.accessTokenLifetimeMs;
    const accessToken = ledger.issueAccessToken(decision.grant, decision.scopes, expiresAt);
    const wantsIdToken = profile.jwksPath !== undefined && decision.scopes.includes("openid");
    const idToken = wantsIdToken ? await keys.signIdToken(facts) : undefined;
    const body = profile.tokenBody({
      grant,
      user,
      scopes: decision.scopes,
      accessToken,
      refreshToken: decision.refreshToken,
      idToken,
      expiresInSeconds: Math.floor((expiresAt - now) / 1000),
    });
    const entries = Object.entries({ ...body, ...decision.extra }).filter(
      ([name, value]) => value !== undefined && !(name === "expires_in" && strike === "omit_expires_in"),
    );
    return Object.fromEntries(entries);
  }
}

function splitScopes(text: string | null): readonly string[] {
  return [...new Set((text ?? "").split(" ").filter((scope) => scope !== ""))];
}

/** A refresh may ask for less, never for more (RFC 6749 §6). */
function narrowScopes(text: string | null, granted: readonly string[]): readonly string[] {
  if (text === null) return granted;
  const scopes = splitScopes(text);
  if (scopes.length === 0 || scopes.some((scope) => !granted.includes(scope))) {
    throw new Refused("scope", "invalid_scope", "a refresh may ask only for scopes that were granted (RFC 6749 §6)");
  }
  return scopes;
}

async function challengeOf(verifier: string): Promise<string> {
  return base64url.encode(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier))));
}
