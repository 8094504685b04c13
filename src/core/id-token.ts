import type * as Jose from "jose";
import type { JWTPayload, JWTVerifyOptions } from "jose";
import { abortable } from "../lib/abortable.ts";
import { equalsConstantTime } from "../lib/constant-time.ts";
import { internalsOf } from "./client.ts";
import type { OAuthClient } from "./client.ts";
import { CallbackError, OAuthError, TransportError } from "./errors.ts";
import type { WarehouseUser } from "./token-set.ts";
import { METADATA_ANSWER_LIMIT, sendRequest } from "./transport.ts";
import type { Fetch } from "./transport.ts";
import type { Warehouse } from "./warehouse.ts";

/** An ID token and what it must fit to. */
export interface IdTokenCheck {
  readonly idToken: string | undefined;
  /** Of the login; `undefined` for a refresh, whose ID tokens may leave it out (OpenID Connect Core §12.2). */
  readonly nonce: string | undefined;
  readonly returnTo?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Signatures that ID tokens may have: asymmetric ones, never `none` (RFC 8725 §3.1). */
const ALGORITHMS = ["RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"];

/** How far the server's clock may be off (requirements S-037). */
const CLOCK_TOLERANCE_S = 30;

/**
 * Checks an ID token (OpenID Connect Core §3.1.3.7) and says whom it names. The signature is checked where the
 * warehouse's keys are known; without them the TLS connection it came through vouches for it (§3.1.3.7, step 6).
 *
 * @throws {@link CallbackError} `nonce_mismatch`, `id_token_invalid`; {@link TransportError} if the keys cannot be had;
 * the abort reason.
 */
export async function checkIdToken(client: OAuthClient, check: IdTokenCheck): Promise<WarehouseUser> {
  const { idToken, nonce, returnTo, signal } = check;
  if (idToken === undefined) {
    throw new CallbackError("id_token_invalid", "openid was asked for, but no ID token came", returnTo);
  }
  try {
    const claims = await abortable(readClaims(client, idToken), signal);
    assertAuthorizedParty(client, claims);
    if (nonce !== undefined) assertNonce(claims, nonce, returnTo);
    return userOf(client, claims);
  } catch (error) {
    if (signal?.aborted === true && error === signal.reason) throw error;
    throw toIdTokenError(error, returnTo);
  }
}

/**
 * Gets what checks ID tokens, and the warehouse's newest keys: a check right after it asks nobody. For a refresh, whose
 * refresh token is saved before anything else may take time.
 *
 * @returns `false` if the keys cannot be had: then nothing can be checked.
 */
export async function prepareIdTokenCheck(client: OAuthClient, signal: AbortSignal | undefined): Promise<boolean> {
  const jose = await import("jose");
  const { jwksUri } = client.warehouse;
  const keys = jwksUri === undefined ? undefined : keysOf(client, jwksUri, jose);
  try {
    if (keys?.coolingDown === false) await abortable(keys.reload(), signal);
    return true;
  } catch {
    signal?.throwIfAborted();
    return false;
  }
}

/** Reads the claims of an ID token that fits this client. Only who gets one loads what checks it. */
async function readClaims(client: OAuthClient, idToken: string): Promise<JWTPayload> {
  const jose = await import("jose");
  const { issuer, idTokenIssuers = [], jwksUri } = client.warehouse;
  const rules: JWTVerifyOptions = {
    algorithms: ALGORITHMS,
    issuer: [issuer, ...idTokenIssuers],
    audience: client.clientId,
    requiredClaims: ["sub", "exp", "iat"],
    clockTolerance: CLOCK_TOLERANCE_S,
    currentDate: new Date(internalsOf(client).clock.now()),
  };
  if (jwksUri !== undefined) return (await jose.jwtVerify(idToken, keysOf(client, jwksUri, jose), rules)).payload;
  const { alg = "", crit } = jose.decodeProtectedHeader(idToken);
  const [, payload = "", , ...more] = idToken.split(".");
  if (!ALGORITHMS.includes(alg) || crit !== undefined || more.length > 0) throw new TypeError("no signed token");
  return jose.UnsecuredJWT.decode(`${UNSIGNED}.${payload}.`, rules).payload;
}

/** `{"alg":"none"}`: with it, claims that nobody needs to sign for pass the same checks as the others. */
const UNSIGNED = "eyJhbGciOiJub25lIn0";

/** By the `fetch` that brought them, so that a test's keys never serve a program. */
const keysByFetch = new WeakMap<Warehouse<never>, WeakMap<Fetch, RemoteKeys>>();

type RemoteKeys = ReturnType<typeof Jose.createRemoteJWKSet>;

/** Gives the keys of a warehouse, which are asked for once at a time and kept for ten minutes. */
function keysOf(client: OAuthClient, jwksUri: string, jose: typeof Jose): RemoteKeys {
  const { fetch, clock, timeoutMs } = internalsOf(client);
  let known = keysByFetch.get(client.warehouse);
  if (known === undefined) keysByFetch.set(client.warehouse, (known = new WeakMap<Fetch, RemoteKeys>()));
  let keys = known.get(fetch);
  if (keys === undefined) {
    const getKeys = async (url: string): Promise<Response> => {
      const headers = { accept: "application/json", "accept-encoding": "identity" };
      const limits = { timeoutMs, limitBytes: METADATA_ANSWER_LIMIT };
      const { status, text } = await sendRequest(url, { method: "GET", headers }, { fetch, clock, ...limits });
      if (status !== 200) throw new TransportError("server_unavailable", `status ${String(status)}`, { status });
      return new Response(text);
    };
    known.set(fetch, (keys = jose.createRemoteJWKSet(new URL(jwksUri), { [jose.customFetch]: getKeys })));
  }
  return keys;
}

/** A token for several audiences, or made for another party, may be somebody else's (OpenID Connect Core §3.1.3.7). */
function assertAuthorizedParty({ clientId }: OAuthClient, { aud, azp }: JWTPayload): void {
  const isForUs = azp === undefined ? !Array.isArray(aud) || aud.length === 1 : azp === clientId;
  if (!isForUs) throw Object.assign(new TypeError("another party"), { claim: "azp" });
}

function assertNonce({ nonce: received }: JWTPayload, nonce: string, returnTo: string | undefined): void {
  if (received === undefined) throw new TypeError("no nonce");
  if (typeof received !== "string" || !equalsConstantTime(received, nonce)) {
    throw new CallbackError("nonce_mismatch", "the ID token belongs to another login; begin it again", returnTo);
  }
}

/** The issuer has one name here, however the token spells it: identity is issuer and subject. */
function userOf({ warehouse }: OAuthClient, { sub, email }: JWTPayload): WarehouseUser {
  if (typeof sub !== "string" || sub === "") throw new TypeError("no subject");
  return { issuer: warehouse.issuer, id: sub, email: typeof email === "string" && email !== "" ? email : undefined };
}

/** The failed check is named, what failed it is not: the library's error holds the claims. */
function toIdTokenError(error: unknown, returnTo: string | undefined): OAuthError {
  if (error instanceof TransportError) {
    return new TransportError(error.code, `the keys of the ID token could not be fetched: ${error.message}`, {
      // The code is spent: only a new login helps.
      retryable: false,
      action: "reauthorize",
      status: error.status,
    });
  }
  if (OAuthError.is(error)) return error;
  const claim = claimOf(error);
  const which = claim === undefined ? "its form, algorithm or signature" : `its "${claim}"`;
  return new CallbackError("id_token_invalid", `the ID token does not pass the check of ${which}`, returnTo);
}

/** The claims that are checked by comparison or clock; only these names get into a message. */
const CHECKED_CLAIMS: ReadonlySet<unknown> = new Set(["iss", "aud", "azp", "exp", "nbf"]);

function claimOf(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("claim" in error)) return undefined;
  return CHECKED_CLAIMS.has(error.claim) ? String(error.claim) : undefined;
}
