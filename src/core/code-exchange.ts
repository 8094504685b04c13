import { grantOf } from "./callback.ts";
import type { CallbackGrant, ValidatedCallback } from "./callback.ts";
import { internalsOf } from "./client.ts";
import type { OAuthClient } from "./client.ts";
import { CallbackError, RateLimitError, TokenEndpointError, TransportError } from "./errors.ts";
import { createTokenSet } from "./granted-tokens.ts";
import { checkIdToken } from "./id-token.ts";
import { requestTokens } from "./token-request.ts";
import type { TokenAnswer } from "./token-request.ts";
import type { TokenSet } from "./token-set.ts";
import type { SignalOptions } from "./transport.ts";

/** Logins whose code may have left this machine. */
const spent = new WeakSet<CallbackGrant>();

/**
 * Exchanges the code for tokens. Sends one request: a code is single-use, so this is never retried (RFC 6749 §4.1.3).
 * Only where nothing was sent at all may the same callback be exchanged again.
 *
 * @throws {@link TokenEndpointError} `code_exchange_ambiguous` if the answer was lost; {@link CallbackError} for ID-token
 * checks, and `transaction_used` for a second try; `ReauthorizationRequiredError` for a refused code;
 * {@link TransportError}, also for a server that asks to come later: its `retryAfterMs` is for a new login.
 *
 * @example
 *
 * ```ts
 * import { exchangeCode, type OAuthClient, type ValidatedCallback } from "warehouse-oauth";
 *
 * declare const client: OAuthClient;
 * declare const callback: ValidatedCallback;
 *
 * const tokens = await exchangeCode(client, callback, { signal: AbortSignal.timeout(15_000) });
 * ```
 */
export async function exchangeCode(
  client: OAuthClient,
  callback: ValidatedCallback,
  options?: SignalOptions,
): Promise<TokenSet> {
  internalsOf(client);
  const grant = grantOf(callback);
  const { pending, parameters } = grant;
  if (pending.connectionId !== client.connectionId) {
    throw new CallbackError("callback_provider_mismatch", "this callback was validated for another client");
  }
  if (spent.has(grant)) {
    throw new CallbackError(
      "transaction_used",
      "this callback was exchanged before; begin the login again",
      pending.returnTo,
    );
  }
  const signal = options?.signal;
  signal?.throwIfAborted();
  spent.add(grant);
  const attempt = { sent: false };
  let answer: TokenAnswer;
  try {
    answer = await requestTokens(client, {
      grant: "authorization_code",
      parameters: {},
      signal,
      onSend: () => {
        attempt.sent = true;
      },
      code: { callback: parameters, redirectUri: pending.redirectUri, codeVerifier: pending.codeVerifier },
    });
  } catch (error) {
    if (!attempt.sent || neverArrived(error)) {
      spent.delete(grant);
      throw error;
    }
    throw toExchangeError(error);
  }
  const { idToken } = answer.response;
  const { nonce, returnTo } = pending;
  const user = nonce === undefined ? undefined : await checkIdToken(client, { idToken, nonce, returnTo, signal });
  return createTokenSet(client, answer, pending.scopes, { user, keepIdToken: nonce !== undefined });
}

function neverArrived(error: unknown): boolean {
  return error instanceof TransportError && error.code === "network_error" && !error.ambiguous;
}

/** The code is gone, so what another request might cure, only another login does. */
function toExchangeError(error: unknown): unknown {
  if (error instanceof TransportError && error.ambiguous) return answerLost(error);
  if (error instanceof TransportError || error instanceof RateLimitError) return unrepeatable(error);
  if (error instanceof TokenEndpointError && error.ambiguous) {
    const { code, message, status } = error;
    return new TokenEndpointError(code, message, { status, ambiguous: true, action: "reauthorize" });
  }
  return error;
}

/** A lost answer to a code is final: repeating it may revoke what it got (RFC 6749 §4.1.2, RFC 9700 §4.5). */
function answerLost({ name, code, status, oauthError }: TransportError): TokenEndpointError {
  return new TokenEndpointError(
    "code_exchange_ambiguous",
    "the answer to the code was lost, and a code must not be sent twice; begin the login again",
    { status, oauthError, ambiguous: true, cause: { name, code, status } },
  );
}

/** The server was asked and could not, or would not yet: another time it can, but not with this code. */
function unrepeatable({ message, status, oauthError, retryAfterMs }: TransportError | RateLimitError): TransportError {
  return new TransportError("server_unavailable", `${message}; begin the login again`, {
    status,
    oauthError,
    retryAfterMs,
    action: "reauthorize",
  });
}
