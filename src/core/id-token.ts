import {
  clockSkew,
  getValidatedIdTokenClaims,
  processAuthorizationCodeResponse,
  processRefreshTokenResponse,
  validateApplicationLevelSignature,
} from "oauth4webapi";
import type { Client, IDToken } from "oauth4webapi";
import { systemClock } from "../lib/clock.ts";
import { internalsOf, requestOptions } from "./client.ts";
import type { OAuthClient } from "./client.ts";
import { CallbackError, OAuthError, TransportError } from "./errors.ts";
import type { WarehouseUser } from "./token-set.ts";
import { METADATA_ANSWER_LIMIT, sendRequest } from "./transport.ts";

/** An ID token and what it must fit to. */
export interface IdTokenCheck {
  readonly idToken: string | undefined;
  readonly accessToken: string;
  /** Of the login; `undefined` for a refresh, whose ID tokens may leave it out (OpenID Connect Core §12.2). */
  readonly nonce: string | undefined;
  readonly returnTo?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Checks an ID token (OpenID Connect Core §3.1.3.7) and says whom it names. The signature is checked where the
 * warehouse's keys are known; without them the TLS connection it came through vouches for it (§3.1.3.7, step 6).
 *
 * @throws {@link CallbackError} `nonce_mismatch`, `id_token_invalid`; {@link TransportError} if the keys cannot be had.
 */
export async function checkIdToken(client: OAuthClient, check: IdTokenCheck): Promise<WarehouseUser> {
  const { server, oauthClient, clock } = internalsOf(client);
  const { accessToken, idToken, nonce, returnTo } = check;
  if (idToken === undefined) {
    throw new CallbackError("id_token_invalid", "openid was asked for, but no ID token came", returnTo);
  }
  // The library reads the system's clock; the difference to the client's is what it has an option for.
  const skewed: Client = {
    ...oauthClient,
    [clockSkew]: Math.round((clock.now() - systemClock.now()) / 1000),
  };
  const response = Response.json({ access_token: accessToken, token_type: "bearer", id_token: idToken });
  try {
    const processed =
      nonce === undefined
        ? await processRefreshTokenResponse(server, skewed, response)
        : await processAuthorizationCodeResponse(server, skewed, response, {
            expectedNonce: nonce,
            requireIdToken: true,
          });
    if (client.warehouse.jwksUri !== undefined) {
      await validateApplicationLevelSignature(server, response, keyRequest(client, check.signal));
    }
    return userOf(getValidatedIdTokenClaims(processed));
  } catch (error) {
    if (check.signal?.aborted === true && error === check.signal.reason) throw error;
    throw toIdTokenError(error, returnTo);
  }
}

function keyRequest(client: OAuthClient, signal: AbortSignal | undefined): ReturnType<typeof requestOptions> {
  const { fetch, clock, timeoutMs, allowLoopbackHttp } = internalsOf(client);
  return requestOptions(allowLoopbackHttp, async (url, outgoing) => {
    const options = { fetch, clock, timeoutMs, limitBytes: METADATA_ANSWER_LIMIT, signal };
    const { status, headers, text } = await sendRequest(url, outgoing, options);
    if (status !== 200) throw new TransportError("server_unavailable", `status ${String(status)}`, { status });
    return new Response(text, { status, headers: { "content-type": headers.get("content-type") ?? "" } });
  });
}

function userOf(claims: IDToken | undefined): WarehouseUser {
  if (claims === undefined) throw new CallbackError("id_token_invalid", "the ID token has no claims");
  const email = claims["email"];
  return { issuer: claims.iss, id: claims.sub, email: typeof email === "string" && email !== "" ? email : undefined };
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
  if (claim === "nonce") {
    return new CallbackError("nonce_mismatch", "the ID token belongs to another login; begin it again", returnTo);
  }
  const which = claim === undefined ? "its form, algorithm or signature" : `its "${claim}"`;
  return new CallbackError("id_token_invalid", `the ID token does not pass the check of ${which}`, returnTo);
}

/** The claims that are checked by comparison or clock; only these names get into a message. */
const CHECKED_CLAIMS: ReadonlySet<unknown> = new Set(["iss", "aud", "azp", "exp", "nbf", "nonce"]);

function claimOf(error: unknown): string | undefined {
  const cause: unknown = error instanceof Error ? error.cause : undefined;
  if (typeof cause !== "object" || cause === null || !("claim" in cause)) return undefined;
  return CHECKED_CLAIMS.has(cause.claim) ? String(cause.claim) : undefined;
}
