import type { Grant, RefreshRotation, Warehouse } from "../core/index.ts";
import type { Refusal } from "./refusal.ts";
import type { TokenCheck, TokenPrefixes } from "./token-ledger.ts";

/**
 * A request that reached the data API.
 *
 * @internal
 */
export interface ApiCall {
  readonly method: string;
  readonly url: URL;
  readonly headers: Headers;
  readonly body: string;
  /** The bearer token of the request. */
  readonly token: TokenCheck;
  /** Looks at a token that came another way. */
  checkToken(value: string): TokenCheck;
  readonly now: number;
}

/**
 * An authorization request that passed the checks all warehouses share.
 *
 * @internal
 */
export interface ScopeRequest {
  readonly scopes: readonly string[];
  readonly parameters: URLSearchParams;
}

/**
 * What the token endpoint is about to answer.
 *
 * @internal
 */
export interface TokenIssue {
  readonly grant: Grant;
  readonly user: string;
  readonly scopes: readonly string[];
  readonly accessToken: string;
  readonly refreshToken: string | undefined;
  readonly idToken: string | undefined;
  readonly expiresInSeconds: number;
}

/**
 * What makes a fake the fake of one warehouse: data and pure functions over the engine's decisions.
 *
 * @internal
 */
export interface WarehouseProfile {
  /** How people call it. */
  readonly displayName: string;
  /** What its own documents say. */
  readonly defaults: {
    readonly accessTokenLifetimeMs: number;
    readonly refreshTokenLifetimeMs: number;
    readonly refreshRotation: RefreshRotation;
  };
  /** A refresh that rotates ends the earlier access tokens. */
  readonly rotationVoidsAccessTokens: boolean;
  readonly refreshExtends: "on-use" | "on-rotation" | "never";
  readonly grants: ReadonlySet<Grant>;
  readonly clientAuthentication: ReadonlySet<"basic" | "post" | "private_key_jwt">;
  readonly prefixes: TokenPrefixes;
  /** Whether errors of an authorization request go back to the application, or end at the warehouse's own page. */
  readonly redirectsErrors: boolean;
  /** Whether the callback carries `iss` (RFC 9207). */
  readonly issuerInCallback: boolean;
  /** Whether the callback carries `scope`. */
  readonly scopeInCallback: boolean;
  readonly maxStateLength: number;
  /** Where the keys of ID tokens are. Absent: there are no ID tokens. */
  readonly jwksPath: string | undefined;
  /** Paths of the server metadata. */
  readonly metadataPaths: readonly string[];
  metadata(warehouse: Warehouse): Readonly<Record<string, unknown>>;
  /** Says no to scopes before anybody signs in. */
  checkScopes(request: ScopeRequest): Refusal | undefined;
  /** Says no to scopes that this person cannot have. */
  checkGranted(scopes: readonly string[]): Refusal | undefined;
  /** Whether a login with these scopes and parameters brings a refresh token. */
  isOffline(request: ScopeRequest & { readonly consentShown: boolean }): boolean;
  /** Whether the consent of one login holds for the next one, of any client. */
  readonly remembersConsent: boolean;
  /** Rotation of a grant that starts with this token request. */
  rotationOf(parameters: URLSearchParams, configured: RefreshRotation): RefreshRotation;
  /** The page or answer of an authorization request that cannot go back to the application. */
  authorizationPage(refusal: Refusal, request: { readonly clientId: string; readonly redirectUri: string }): Response;
  /** Status and body of a refused token or revocation request. */
  tokenError(refusal: Refusal): { readonly status: number; readonly body: Readonly<Record<string, unknown>> };
  tokenBody(issue: TokenIssue): Readonly<Record<string, unknown>>;
  /** Answers at the data API. */
  answer(call: ApiCall): Response;
}

/**
 * Makes a JSON answer.
 *
 * @internal
 */
export function jsonResponse(body: unknown, status = 200, headers: Readonly<Record<string, string>> = {}): Response {
  return new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json", ...headers } });
}

/**
 * Reads the body of an API request as a JSON object, or gives `undefined`.
 *
 * @internal
 */
export function parseJsonObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
    return value as Readonly<Record<string, unknown>>;
  } catch {
    return undefined;
  }
}
