import { readOAuthError } from "./token-failure.ts";
import { TokenEndpointError } from "./errors.ts";
import type { ErrorDetails, TokenEndpointErrorCode } from "./errors.ts";
import { parseExpiresIn } from "./expires-in.ts";
import { parseScopes } from "./scopes.ts";
import { isToken } from "./token-set.ts";
import type { Answer } from "./transport.ts";
import type { Grant, Warehouse } from "./warehouse.ts";

/** A success of a token endpoint (RFC 6749 §5.1), read member by member into our words. */
export interface TokenResponse {
  readonly accessToken: string;
  readonly refreshToken: string | undefined;
  readonly idToken: string | undefined;
  /** `undefined` if the server did not say. */
  readonly expiresInMs: number | undefined;
  /** The server said something that is no lifetime, and the caller tolerates it. */
  readonly lifetimeInvalid: boolean;
  readonly refreshExpiresInMs: number | undefined;
  /** `undefined` if the server did not say; empty if it granted none. */
  readonly scopes: readonly string[] | undefined;
  /** Some warehouses name the user beside the tokens. */
  readonly userName: string | undefined;
}

/** How an answer is read. */
export interface ReadOptions {
  readonly grant: Grant;
  readonly tolerateLifetime?: boolean;
}

/** What a warehouse says of its answers. */
type AnswerFacts = Pick<Warehouse<never>, "normalizeTokenResponse" | "userNameMember">;

type Json = Readonly<Record<string, unknown>>;

/** A well-formed refresh token that came in an answer which is otherwise no good: spent is the old one all the same. */
const rescued = new WeakMap<object, string>();

/** Keeps the refresh token of an answer with the error that it is refused by. */
export function rescueRefreshToken(error: unknown, refreshToken: unknown): void {
  if (isToken(refreshToken) && typeof error === "object" && error !== null) rescued.set(error, refreshToken);
}

/**
 * Gives the refresh token that came in a success which {@link refreshTokens} had to refuse, if there was one. **Secret.**
 * Where refresh tokens rotate, the one that was sent is spent by then. Sessions see to it themselves.
 *
 * @example
 *
 * ```ts
 * import {
 *   exportTokens,
 *   importTokens,
 *   refreshTokens,
 *   rescuedRefreshToken,
 *   type OAuthClient,
 *   type TokenSet,
 * } from "warehouse-oauth";
 *
 * async function refreshOrRescue(client: OAuthClient, tokens: TokenSet): Promise<TokenSet> {
 *   try {
 *     return await refreshTokens(client, tokens);
 *   } catch (error) {
 *     const refreshToken = rescuedRefreshToken(error);
 *     if (refreshToken === undefined) throw error;
 *     return importTokens({ ...exportTokens(tokens), refreshToken });
 *   }
 * }
 * ```
 */
export function rescuedRefreshToken(error: unknown): string | undefined {
  return typeof error === "object" && error !== null ? rescued.get(error) : undefined;
}

/** Media types that JSON has. A server that says `text/plain` speaks of something else (requirements S-029). */
const JSON_TYPE = /^application\/json(?:\s*;|$)/i;

/** Parses text; `undefined` for what is no JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Gives a parsed value back if it is a JSON object. */
export function asJsonObject(value: unknown): Json | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
}

/** Parses the body of any answer; `undefined` for what is no JSON object. */
export function parseJsonObject(text: string): Json | undefined {
  return asJsonObject(parseJson(text));
}

/** Whether an answer of status 200 says that it failed (requirements S-030). */
export function isErrorInDisguise(body: Json | undefined): boolean {
  return body !== undefined && readOAuthError(body) !== undefined && !Object.hasOwn(body, "access_token");
}

/**
 * Reads an answer that is no error. Only status 200 is a success (requirements S-029). Unknown members are left where they are (requirements S-028 to S-035).
 *
 * @param json What {@link parseJson} made of the answer's text.
 *
 * @throws {@link TokenEndpointError}; the refresh token that came with it is kept for {@link rescuedRefreshToken}.
 */
export function readTokenResponse(
  warehouse: AnswerFacts,
  request: ReadOptions,
  { status, headers }: Pick<Answer, "status" | "headers">,
  json: unknown,
): TokenResponse {
  let body = asJsonObject(json);
  try {
    // First, so that the refresh token is found also in what is refused below.
    if (body !== undefined) body = normalize(warehouse, body, request);
    if (!JSON_TYPE.test(headers.get("content-type") ?? "")) {
      throw refuse("token_response_not_json", "its media type is not application/json", status);
    }
    if (body === undefined) {
      const code = json === undefined ? "token_response_not_json" : "token_response_malformed";
      throw refuse(code, "its body is not one whole JSON object", status);
    }
    if (status !== 200) throw malformed("the status of a success is 200 (RFC 6749 §5.1)", status);
    return readMembers(body, request, warehouse);
  } catch (error) {
    if (body !== undefined) rescueRefreshToken(error, ownMember(body, "refresh_token"));
    throw error;
  }
}

function normalize({ normalizeTokenResponse }: AnswerFacts, body: Json, { grant }: ReadOptions): Json {
  if (normalizeTokenResponse === undefined) return body;
  try {
    const normalized = asJsonObject(normalizeTokenResponse(body, { grant }));
    if (normalized !== undefined) return normalized;
  } catch (error) {
    throw hookFailed(error);
  }
  throw hookFailed(undefined);
}

/** The warehouse's own function is at fault, not the server: the same answer fails again. */
function hookFailed(cause: unknown): TokenEndpointError {
  const what = 'the "normalizeTokenResponse" of the warehouse failed on it; correct that function';
  return refuse("token_response_malformed", what, 200, { action: "fix_config", cause });
}

/** Reads what stands in the answer itself, not what every object inherits. */
function ownMember(body: Json, name: string): unknown {
  return Object.hasOwn(body, name) ? body[name] : undefined;
}

function readMembers(
  body: Json,
  { grant, tolerateLifetime }: ReadOptions,
  { userNameMember }: AnswerFacts,
): TokenResponse {
  const read = (name: string): unknown => ownMember(body, name);
  const accessToken = read("access_token");
  // Some servers write all members that there are, and null into those that say nothing.
  if ((read("error") ?? undefined) !== undefined) throw malformed("it has both a token and an error");
  if (!isToken(accessToken)) throw malformed('"access_token" is missing or no token (RFC 6749 §5.1)');
  assertTokenType(read("token_type"));
  const refreshToken = read("refresh_token");
  if (refreshToken !== undefined && !isToken(refreshToken)) throw malformed('"refresh_token" is no token');
  const idToken = read("id_token");
  if (idToken !== undefined && !isToken(idToken)) throw malformed('"id_token" is no token');
  const scope = read("scope");
  if (scope !== undefined && typeof scope !== "string") throw malformed('"scope" is not text');
  if (grant === "token_exchange" && typeof read("issued_token_type") !== "string") {
    throw malformed('"issued_token_type" is missing (RFC 8693 §2.2.1)');
  }
  const userName = userNameMember === undefined ? undefined : read(userNameMember);
  const expiresIn = read("expires_in");
  const expiresInMs = parseExpiresIn(expiresIn);
  const lifetimeInvalid = expiresIn !== undefined && expiresInMs === undefined;
  if (lifetimeInvalid && tolerateLifetime !== true) {
    throw refuse("token_expires_in_invalid", '"expires_in" is no number of seconds, 0 or more');
  }
  return {
    accessToken,
    refreshToken,
    idToken,
    expiresInMs,
    lifetimeInvalid,
    refreshExpiresInMs: parseExpiresIn(read("refresh_token_expires_in")),
    scopes: scope === undefined ? undefined : parseScopes(scope),
    userName: typeof userName === "string" && userName !== "" ? userName : undefined,
  };
}

/** RFC 6749 §7.1, RFC 9449 §5: exactly what was asked for, and we never ask for DPoP. */
function assertTokenType(tokenType: unknown): void {
  if (typeof tokenType !== "string" || tokenType === "") throw malformed('"token_type" is missing (RFC 6749 §5.1)');
  const type = tokenType.toLowerCase();
  if (type === "dpop") throw refuse("token_type_mismatch", "its token is bound by DPoP, which was not asked for");
  if (type !== "bearer") throw refuse("token_type_unsupported", "its token is of a type other than Bearer");
}

function malformed(what: string, status?: number): TokenEndpointError {
  return refuse("token_response_malformed", what, status);
}

/** The request was processed: whether it may be sent again is for the grant to decide. */
function refuse(
  code: TokenEndpointErrorCode,
  what: string,
  status = 200,
  details?: Pick<ErrorDetails, "action" | "cause">,
): TokenEndpointError {
  const message = `the token endpoint answered ${String(status)}, but ${what}`;
  return new TokenEndpointError(code, message, { status, ambiguous: true, ...details });
}
