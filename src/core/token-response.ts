import { readOAuthError } from "./token-failure.ts";
import { TokenEndpointError } from "./errors.ts";
import type { TokenEndpointErrorCode } from "./errors.ts";
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
  /** Some servers name the user beside the tokens. */
  readonly userName: string | undefined;
}

/** How an answer is read. */
export interface ReadOptions {
  readonly grant: Grant;
  readonly tolerateLifetime?: boolean;
}

type Json = Readonly<Record<string, unknown>>;

/** A well-formed refresh token that came in an answer which is otherwise no good: spent is the old one all the same. */
const rescued = new WeakMap<object, string>();

/** Keeps the refresh token of an answer with the error that it is refused by. */
export function rescueRefreshToken(error: unknown, refreshToken: unknown): void {
  if (isToken(refreshToken) && typeof error === "object" && error !== null) rescued.set(error, refreshToken);
}

/** Gives the refresh token that came with an answer we had to refuse, if there was one. */
export function rescuedRefreshToken(error: object): string | undefined {
  return rescued.get(error);
}

/** Media types that JSON has. A server that says `text/plain` speaks of something else (requirements S-029). */
const JSON_TYPE = /^application\/json(?:\s*;|$)/i;

/** Parses the body of any answer; `undefined` for what is no JSON object. */
export function parseJsonObject(text: string): Json | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether an answer of status 200 says that it failed (requirements S-030). */
export function isErrorInDisguise(body: Json | undefined): boolean {
  return body !== undefined && readOAuthError(body) !== undefined && !Object.hasOwn(body, "access_token");
}

/**
 * Reads an answer that is no error. Only status 200 is a success (requirements S-029). Unknown members are left where they are (requirements S-028 to S-035).
 *
 * @throws {@link TokenEndpointError}; the refresh token that came with it is kept for {@link rescuedRefreshToken}.
 */
export function readTokenResponse(
  warehouse: Pick<Warehouse<never>, "normalizeTokenResponse">,
  request: ReadOptions,
  answer: Answer,
  parsed: Json | undefined,
): TokenResponse {
  if (!JSON_TYPE.test(answer.headers.get("content-type") ?? "")) {
    throw refuse("token_response_not_json", "its media type is not application/json", answer.status);
  }
  if (parsed === undefined) {
    const code = isJson(answer.text) ? "token_response_malformed" : "token_response_not_json";
    throw refuse(code, "its body is not one whole JSON object", answer.status);
  }
  const body = warehouse.normalizeTokenResponse?.(parsed, { grant: request.grant }) ?? parsed;
  const read = (name: string): unknown => (Object.hasOwn(body, name) ? body[name] : undefined);
  const refreshToken = read("refresh_token");
  try {
    if (answer.status !== 200) throw malformed("the status of a success is 200 (RFC 6749 §5.1)", answer.status);
    return readMembers(read, request);
  } catch (error) {
    rescueRefreshToken(error, refreshToken);
    throw error;
  }
}

function readMembers(read: (name: string) => unknown, { grant, tolerateLifetime }: ReadOptions): TokenResponse {
  const accessToken = read("access_token");
  if (read("error") !== undefined) throw malformed("it has both a token and an error");
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
  const userName = read("username");
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

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function malformed(what: string, status?: number): TokenEndpointError {
  return refuse("token_response_malformed", what, status);
}

/** The request was processed: whether it may be sent again is for the grant to decide. */
function refuse(code: TokenEndpointErrorCode, what: string, status = 200): TokenEndpointError {
  const message = `the token endpoint answered ${String(status)}, but ${what}`;
  return new TokenEndpointError(code, message, { status, ambiguous: true });
}
