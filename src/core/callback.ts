import { validateAuthResponse } from "oauth4webapi";
import { equalsConstantTime } from "../lib/constant-time.ts";
import { sanitizeServerText } from "../lib/redact.ts";
import type { PendingAuthorization } from "./authorization-request.ts";
import { internalsOf } from "./client.ts";
import type { OAuthClient } from "./client.ts";
import { CallbackError } from "./errors.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";
import type { CallbackErrorCode, ErrorAction } from "./errors.ts";

/** Marks values that only this library can make. Not exported from the package. */
declare const brand: unique symbol;

/** A callback that passed every check. Only {@link validateCallback} makes one; it can be exchanged once. */
export interface ValidatedCallback {
  readonly [brand]: "ValidatedCallback";
  /** Path of the application to go to now. */
  readonly returnTo: string | undefined;
}

/** What a validated callback stands for. */
export interface CallbackGrant {
  /** Branded by oauth4webapi, which accepts nothing else. */
  readonly parameters: URLSearchParams;
  readonly pending: PendingAuthorization;
}

const grants = new WeakMap<ValidatedCallback, CallbackGrant>();

/** Longest callback that is looked at, all of it (requirements 1.2 step 2). */
const MAX_CALLBACK_LENGTH = 16 * 1024;

/** Longest value of one parameter (requirements 1.2 step 2). */
const MAX_VALUE_LENGTH = 8 * 1024;

/** Parameters that mean something to us, and so may stand there only once (requirements S-017). */
const KNOWN = [
  "state",
  "code",
  "iss",
  "error",
  "error_description",
  "error_uri",
  "scope",
  "session_state",
  "response",
  "access_token",
  "id_token",
  "token_type",
] as const;

/** What we make: 32 random bytes in base64url. */
const STATE = /^[A-Za-z0-9_-]{43}$/;

/** A wall clock that went back further than this makes the age of a login unknown. */
const CLOCK_TOLERANCE_MS = 300_000;

/**
 * Checks a callback in the fixed order of RFC 6749 §4.1.2, RFC 9207 §2.4 and RFC 9700 §4.4: size, repetitions, state,
 * the login it belongs to, where that login was sent, age, issuer, error, code. Contacts nobody.
 *
 * That a login is finished once, and in the browser that began it, is the caller's to ensure: take `pending` out of
 * its place, bound to this browser, before calling this.
 *
 * @param pending What was remembered, already taken out of its place; `undefined` and `null` fail as `transaction_not_found`.
 *
 * @throws {@link CallbackError} also for an `error` callback, after the same checks.
 *
 * @example
 *
 * ```ts
 * import { exchangeCode, validateCallback, type OAuthClient, type PendingAuthorization } from "warehouse-oauth";
 *
 * declare const client: OAuthClient;
 * declare function takePending(request: Request): Promise<PendingAuthorization | undefined>;
 *
 * async function finishLogin(request: Request) {
 *   const callback = validateCallback(client, request, await takePending(request));
 *   return { tokens: await exchangeCode(client, callback), returnTo: callback.returnTo ?? "/" };
 * }
 * ```
 */
export function validateCallback(
  client: OAuthClient,
  callback: URL | URLSearchParams | Request,
  pending: PendingAuthorization | null | undefined,
): ValidatedCallback {
  const { clock, server, oauthClient } = internalsOf(client);
  const parameters = parametersOf(callback);
  assertValueSizes(parameters);
  for (const name of KNOWN) {
    if (parameters.getAll(name).length > 1) {
      throw new CallbackError("callback_param_duplicated", `the callback has more than one "${name}" (RFC 6749 §3.1)`);
    }
  }
  const state = parameters.get("state") ?? "";
  if (state === "") throw new CallbackError("callback_state_missing", 'the callback has no "state"');
  if (!STATE.test(state)) throw stateMismatch();
  if (pending === undefined || pending === null) {
    throw new CallbackError(
      "transaction_not_found",
      "no login under way belongs to this callback and this browser; begin the login again",
    );
  }
  assertPending(pending);
  if (!equalsConstantTime(state, pending.state)) throw stateMismatch();

  const { returnTo } = pending;
  const fail = (code: CallbackErrorCode, message: string): CallbackError => new CallbackError(code, message, returnTo);
  const isOfThisClient = pending.connectionId === client.connectionId && pending.issuer === client.warehouse.issuer;
  if (!isOfThisClient || pending.redirectUri !== client.redirectUri) {
    throw fail("callback_provider_mismatch", "this login was begun at another warehouse, client or redirect URI");
  }
  const now = clock.now();
  if (now >= pending.expiresAt || now < pending.createdAt - CLOCK_TOLERANCE_MS) {
    throw fail("transaction_expired", "the login took too long; begin it again");
  }
  assertIssuer(client, parameters.get("iss"), fail);
  const error = parameters.get("error");
  if (error !== null) throw authorizationError(error, parameters.get("error_description"), returnTo);
  assertOnlyCode(parameters, fail);

  const validated = Object.freeze({ returnTo }) as ValidatedCallback;
  grants.set(validated, {
    parameters: validateAuthResponse(server, oauthClient, parameters, pending.state),
    pending,
  });
  return validated;
}

/**
 * Gives what a validated callback stands for.
 *
 * @throws `TypeError` with `invalid_argument` for what {@link validateCallback} did not make.
 */
export function grantOf(callback: ValidatedCallback): CallbackGrant {
  const grant = grants.get(callback);
  if (grant === undefined) throw invalidArgument('"callback" must come from validateCallback');
  return grant;
}

function stateMismatch(): CallbackError {
  return new CallbackError("callback_state_mismatch", 'the "state" of the callback is not that of a login under way');
}

function parametersOf(callback: unknown): URLSearchParams {
  if (callback instanceof URLSearchParams) return callback;
  if (callback instanceof URL) return parametersWithin(callback);
  if (!(callback instanceof Request)) throw invalidArgument('"callback" must be a URL, URLSearchParams or Request');
  if (callback.method !== "GET") throw new CallbackError("callback_malformed", "a callback is a GET request");
  return parametersWithin(new URL(callback.url));
}

function parametersWithin(url: URL): URLSearchParams {
  if (url.href.length > MAX_CALLBACK_LENGTH) throw tooLarge();
  return url.searchParams;
}

/** Bare parameters have no URL around them: their names, values and the two signs between them are what is counted. */
function assertValueSizes(parameters: URLSearchParams): void {
  let length = 0;
  for (const [name, value] of parameters) {
    length += name.length + value.length + 2;
    if (value.length > MAX_VALUE_LENGTH || length > MAX_CALLBACK_LENGTH) throw tooLarge();
  }
}

function tooLarge(): CallbackError {
  return new CallbackError("callback_malformed", "the callback is larger than any real one: 16 KB, 8 KB a value");
}

/** What was remembered comes back from a store or cookie of the caller's. */
function assertPending(pending: unknown): asserts pending is PendingAuthorization {
  const { state, codeVerifier, nonce, connectionId, redirectUri, issuer, scopes, returnTo, createdAt, expiresAt } =
    typeof pending === "object" && pending !== null ? (pending as Record<keyof PendingAuthorization, unknown>) : {};
  const texts = [state, codeVerifier, connectionId, redirectUri, issuer];
  const times = [createdAt, expiresAt];
  if (
    !texts.every((text) => typeof text === "string") ||
    ![nonce, returnTo].every((text) => text === undefined || typeof text === "string") ||
    !times.every((time) => Number.isFinite(time)) ||
    !Array.isArray(scopes) ||
    (scopes.includes("openid") && nonce === undefined)
  ) {
    throw invalidArgument('"pending" must be what createAuthorizationRequest gave, whole');
  }
}

/** RFC 9207 §2.4: what is there is compared byte for byte, what must be there is missed. */
function assertIssuer(
  client: OAuthClient,
  issuer: string | null,
  fail: (code: CallbackErrorCode, message: string) => CallbackError,
): void {
  const { warehouse } = client;
  if (issuer === null || issuer === "") {
    if (warehouse.issuerInCallback === "always") {
      throw fail("callback_issuer_missing", 'the callback has no "iss", which this warehouse always sends (RFC 9207)');
    }
  } else if (issuer !== warehouse.issuer) {
    throw fail("callback_issuer_mismatch", 'the "iss" of the callback is another server (RFC 9207 §2.4)');
  }
}

function assertOnlyCode(
  parameters: URLSearchParams,
  fail: (code: CallbackErrorCode, message: string) => CallbackError,
): void {
  if (parameters.has("response")) {
    throw fail("callback_jarm_unexpected", 'the callback is a signed "response", which was not asked for');
  }
  for (const name of ["access_token", "id_token", "token_type", "token"]) {
    if (parameters.has(name)) {
      throw fail(
        "callback_unexpected_token",
        `the callback has "${name}"; only a code was asked for (RFC 9700 §2.1.2)`,
      );
    }
  }
  if ((parameters.get("code") ?? "") === "") throw fail("callback_code_missing", 'the callback has no "code"');
}

/** Error codes that callbacks have: RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6, RFC 8707 §2. */
const AUTHORIZATION_ERRORS: ReadonlyMap<string, ErrorAction> = new Map([
  ["access_denied", "none"],
  ["login_required", "reauthorize"],
  ["consent_required", "reauthorize"],
  ["interaction_required", "reauthorize"],
  ["account_selection_required", "reauthorize"],
  ["temporarily_unavailable", "reauthorize"],
  ["server_error", "reauthorize"],
  ["invalid_request", "fix_config"],
  ["unauthorized_client", "fix_config"],
  ["unsupported_response_type", "fix_config"],
  ["invalid_scope", "fix_config"],
  ["invalid_target", "fix_config"],
  ["invalid_request_uri", "fix_config"],
  ["invalid_request_object", "fix_config"],
  ["request_not_supported", "fix_config"],
  ["request_uri_not_supported", "fix_config"],
  ["registration_not_supported", "fix_config"],
]);

function authorizationError(error: string, description: string | null, returnTo: string | undefined): CallbackError {
  const known = AUTHORIZATION_ERRORS.get(error);
  const details = {
    action: known ?? "none",
    oauthError: known === undefined ? undefined : error,
    oauthErrorDescription: sanitizeServerText(description),
  } as const;
  if (error === "access_denied") {
    const message = "the person, or a policy of the warehouse, declined the login";
    return new CallbackError("authorization_denied", message, returnTo, details);
  }
  const name = known === undefined ? "an error of its own" : `"${error}"`;
  return new CallbackError("authorization_error", `the warehouse answered the login with ${name}`, returnTo, details);
}
