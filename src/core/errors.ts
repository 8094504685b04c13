/** What to do about an error. */
export type ErrorAction = "retry" | "reauthorize" | "fix_config" | "none";

/**
 * Every code, and what to do about it unless the error itself says otherwise. The one table from which types,
 * `retryable` and the documentation of codes follow.
 */
export const ERROR_ACTIONS: Readonly<Record<ErrorCode, ErrorAction>> = {
  // ConfigurationError
  config_invalid: "fix_config",
  insecure_url: "fix_config",
  endpoint_not_allowed: "fix_config",
  issuer_mismatch: "fix_config",
  grant_unsupported: "fix_config",
  store_incapable: "fix_config",
  tokens_invalid: "fix_config",
  client_unresolved: "fix_config",
  // CallbackError, in about the order of the checks
  callback_malformed: "none",
  callback_param_duplicated: "none",
  callback_state_missing: "none",
  callback_state_mismatch: "none",
  callback_provider_mismatch: "none",
  callback_issuer_missing: "none",
  callback_issuer_mismatch: "none",
  callback_code_missing: "reauthorize",
  callback_unexpected_token: "none",
  callback_jarm_unexpected: "fix_config",
  transaction_not_found: "reauthorize",
  transaction_used: "reauthorize",
  transaction_expired: "reauthorize",
  authorization_denied: "none",
  authorization_error: "fix_config",
  nonce_mismatch: "reauthorize",
  id_token_invalid: "fix_config",
  session_invalid: "reauthorize",
  login_timeout: "reauthorize",
  login_aborted: "none",
  // TokenEndpointError
  client_auth_failed: "fix_config",
  code_exchange_ambiguous: "reauthorize",
  scope_not_granted: "reauthorize",
  token_expires_in_invalid: "retry",
  token_http_error: "fix_config",
  token_redirect_refused: "fix_config",
  token_response_malformed: "retry",
  token_response_not_json: "retry",
  token_response_too_large: "fix_config",
  token_type_mismatch: "fix_config",
  token_type_unsupported: "fix_config",
  // ReauthorizationRequiredError
  reauthorization_required: "reauthorize",
  // TransportError
  network_error: "retry",
  timeout: "retry",
  server_unavailable: "retry",
  // CircuitOpenError
  circuit_open: "retry",
  // RateLimitError
  rate_limited: "retry",
  refresh_limit_reached: "retry",
  // StoreError
  store_unavailable: "retry",
  lease_lost: "retry",
  lease_timeout: "retry",
  decrypt_failed: "reauthorize",
  unknown_key: "fix_config",
  cache_locked: "retry",
  cache_permissions: "fix_config",
  cookie_too_large: "fix_config",
  // SessionClosedError
  manager_closed: "none",
};

/** Codes of {@link ConfigurationError}. */
export type ConfigurationErrorCode =
  | "config_invalid"
  | "insecure_url"
  | "endpoint_not_allowed"
  | "issuer_mismatch"
  | "grant_unsupported"
  | "store_incapable"
  | "tokens_invalid"
  | "client_unresolved";

/** Codes of {@link CallbackError}, in about the order of the checks. */
export type CallbackErrorCode =
  | "callback_malformed"
  | "callback_param_duplicated"
  | "callback_state_missing"
  | "callback_state_mismatch"
  | "callback_provider_mismatch"
  | "callback_issuer_missing"
  | "callback_issuer_mismatch"
  | "callback_code_missing"
  | "callback_unexpected_token"
  | "callback_jarm_unexpected"
  | "transaction_not_found"
  | "transaction_used"
  | "transaction_expired"
  | "authorization_denied"
  | "authorization_error"
  | "nonce_mismatch"
  | "id_token_invalid"
  | "session_invalid"
  | "login_timeout"
  | "login_aborted";

/** Codes of {@link TokenEndpointError}. */
export type TokenEndpointErrorCode =
  | "client_auth_failed"
  | "code_exchange_ambiguous"
  | "scope_not_granted"
  | "token_expires_in_invalid"
  | "token_http_error"
  | "token_redirect_refused"
  | "token_response_malformed"
  | "token_response_not_json"
  | "token_response_too_large"
  | "token_type_mismatch"
  | "token_type_unsupported";

/** Codes of {@link StoreError}. */
export type StoreErrorCode =
  | "store_unavailable"
  | "lease_lost"
  | "lease_timeout"
  | "decrypt_failed"
  | "unknown_key"
  | "cache_locked"
  | "cache_permissions"
  | "cookie_too_large";

/** Code of {@link ReauthorizationRequiredError}; its `reason` of `rotation_lost` may be a sign of theft (RFC 9700 §4.14). */
export type ReauthorizationErrorCode = "reauthorization_required";
/** Codes of {@link TransportError}. */
export type TransportErrorCode = "network_error" | "timeout" | "server_unavailable";
/** Codes of {@link RateLimitError}: the server's limit, our guard. */
export type RateLimitErrorCode = "rate_limited" | "refresh_limit_reached";

/** Every code there is. A new one is a minor version, a changed one a major. */
export type ErrorCode = AnyOAuthError["code"];

/** Why a person must sign in again. */
export type ReauthorizationCause =
  | "refresh_token_dead"
  | "refresh_token_absent"
  | "rotation_lost"
  | "absolute_lifetime_over"
  | "interaction_required"
  | "connection_changed"
  | "key_removed";

/** What is kept of a failure that somebody else threw: never their object, which may hold a response or a secret. */
export interface SanitizedCause {
  /** Name of the error's class. */
  readonly name: string;
  /** Its `code`, if it had one of ordinary form. */
  readonly code: string | undefined;
  /** HTTP status, if it had one. */
  readonly status: number | undefined;
}

/**
 * What an error may carry beside its code and message.
 *
 * @internal
 */
export interface ErrorDetails {
  readonly action?: ErrorAction;
  readonly retryable?: boolean;
  readonly status?: number | undefined;
  readonly oauthError?: string | undefined;
  readonly oauthErrorDescription?: string | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly ambiguous?: boolean;
  /** Anything; only a {@link SanitizedCause} of it is kept. */
  readonly cause?: unknown;
}

/** Beside the error, not in it: servers echo secrets, and inspectors print what is in an error (S-082, S-084). */
const descriptions = new WeakMap<OAuthError, string>();

/** Registered, so that errors of another copy of this package are known too. */
const BRAND = Symbol.for("warehouse-oauth.error");

/** The base of all our errors. No message, cause or property holds a token, code, verifier, secret or query string. */
export abstract class OAuthError extends Error {
  /** Stable name of what went wrong, for `switch`. */
  readonly code: string;
  /** Whether the same call may succeed later. */
  readonly retryable: boolean;
  /** What to do about it. */
  readonly action: ErrorAction;
  /** HTTP status, where there was an answer. */
  declare readonly status: number | undefined;
  /** `error` of RFC 6749 §5.2 and §4.1.2.1. */
  declare readonly oauthError: string | undefined;
  /** Server text: cut and stripped, not part of the message, and printed by nobody. */
  get oauthErrorDescription(): string | undefined {
    return descriptions.get(this);
  }
  /** How long to wait, milliseconds, as the server or a limit of ours says. */
  declare readonly retryAfterMs: number | undefined;
  /** The request may have been processed although no answer came. */
  readonly ambiguous: boolean;
  /** Sanitized: never a third party's object. */
  declare readonly cause: SanitizedCause | undefined;
  /** @internal */
  constructor(name: string, code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message);
    Object.defineProperty(this, BRAND, { value: true });
    this.name = name;
    this.code = code;
    this.action = details.action ?? ERROR_ACTIONS[code];
    this.retryable = details.retryable ?? this.action === "retry";
    this.ambiguous = details.ambiguous ?? false;
    if (details.status !== undefined) this.status = details.status;
    if (details.oauthError !== undefined) this.oauthError = details.oauthError;
    if (details.oauthErrorDescription !== undefined) descriptions.set(this, details.oauthErrorDescription);
    if (details.retryAfterMs !== undefined) this.retryAfterMs = details.retryAfterMs;
    if (details.cause !== undefined) this.cause = sanitizeCause(details.cause);
  }

  /**
   * The documented guard; true also for errors of another copy of this package. Narrow on with `switch (error.code)`.
   *
   * @example
   *
   * ```ts
   * import { OAuthError } from "warehouse-oauth";
   *
   * function mustSignIn(error: unknown): boolean {
   *   return OAuthError.is(error) && error.action === "reauthorize";
   * }
   * ```
   */
  static is(value: unknown): value is AnyOAuthError {
    return typeof value === "object" && value !== null && BRAND in value;
  }
}

/** Something in your code, registration or server metadata is wrong. */
export class ConfigurationError extends OAuthError {
  declare readonly code: ConfigurationErrorCode;
  declare readonly retryable: false;
  /** The option, parameter or metadata field to look at. */
  readonly option: string | undefined;

  /** @internal */
  constructor(code: ConfigurationErrorCode, message: string, option?: string, details?: ErrorDetails) {
    super("ConfigurationError", code, message, details);
    this.option = option;
  }
}

/** A login did not succeed (RFC 6749 §4.1.2.1). `returnTo` is there once the state was checked. */
export class CallbackError extends OAuthError {
  declare readonly code: CallbackErrorCode;
  declare readonly retryable: false;
  /** Where the application wanted to go after the login. */
  readonly returnTo: string | undefined;

  /** @internal */
  constructor(code: CallbackErrorCode, message: string, returnTo?: string, details?: ErrorDetails) {
    super("CallbackError", code, message, { retryable: false, ...details });
    this.returnTo = returnTo;
  }
}

/** The token endpoint refused, or its answer was not one (RFC 6749 §5.2). */
export class TokenEndpointError extends OAuthError {
  declare readonly code: TokenEndpointErrorCode;

  /** @internal */
  constructor(code: TokenEndpointErrorCode, message: string, details?: ErrorDetails) {
    super("TokenEndpointError", code, message, details);
  }
}

/** A person must sign in again. */
export class ReauthorizationRequiredError extends OAuthError {
  declare readonly code: ReauthorizationErrorCode;
  declare readonly retryable: false;
  /** Why. */
  readonly reason: ReauthorizationCause;

  /** @internal */
  constructor(reason: ReauthorizationCause, message: string, details?: ErrorDetails) {
    super("ReauthorizationRequiredError", "reauthorization_required", message, details);
    this.reason = reason;
  }
}

/** No answer, or only a passing failure. */
export class TransportError extends OAuthError {
  declare readonly code: TransportErrorCode;

  /** @internal */
  constructor(code: TransportErrorCode, message: string, details?: ErrorDetails) {
    super("TransportError", code, message, details);
  }
}

/** Too many failures or a refused client at this endpoint; nothing was sent. */
export class CircuitOpenError extends OAuthError {
  declare readonly code: "circuit_open";
  declare readonly retryable: true;
  declare readonly retryAfterMs: number;

  /** @internal */
  constructor(message: string, retryAfterMs: number, details?: ErrorDetails) {
    super("CircuitOpenError", "circuit_open", message, { ...details, retryAfterMs });
  }
}

/** The server's limit, or our guard for one session. */
export class RateLimitError extends OAuthError {
  declare readonly code: RateLimitErrorCode;
  declare readonly retryable: true;
  declare readonly retryAfterMs: number;

  /** @internal */
  constructor(code: RateLimitErrorCode, message: string, retryAfterMs: number, details?: ErrorDetails) {
    super("RateLimitError", code, message, { ...details, retryAfterMs });
  }
}

/** The store failed; tokens in memory are still served while they are good. */
export class StoreError extends OAuthError {
  declare readonly code: StoreErrorCode;
  /** What was asked of the store. */
  readonly operation: "read" | "write" | "delete" | "lease" | "due";

  /** @internal */
  constructor(code: StoreErrorCode, message: string, operation: StoreError["operation"], details?: ErrorDetails) {
    super("StoreError", code, message, details);
    this.operation = operation;
  }
}

/** The manager was closed. */
export class SessionClosedError extends OAuthError {
  declare readonly code: "manager_closed";
  declare readonly retryable: false;

  /** @internal */
  constructor(message: string) {
    super("SessionClosedError", "manager_closed", message);
  }
}

/** The errors as a union that `switch (error.code)` narrows. */
export type AnyOAuthError =
  | ConfigurationError
  | CallbackError
  | TokenEndpointError
  | ReauthorizationRequiredError
  | TransportError
  | CircuitOpenError
  | RateLimitError
  | StoreError
  | SessionClosedError;

/** What a class name or a code looks like; anything else could be data. */
const PLAIN_NAME = /^[A-Za-z][A-Za-z0-9_.]{0,63}$/;

/** SQLSTATE, the codes of databases: five digits or capitals (ISO/IEC 9075-2). */
const SQLSTATE = /^[0-9A-Z]{5}$/;

/**
 * Keeps name, code and status of somebody else's error, and nothing that could hold a secret (S-083).
 *
 * @internal
 */
export function sanitizeCause(cause: unknown): SanitizedCause | undefined {
  if (typeof cause !== "object" || cause === null) return undefined;
  const name = readOwnOrInherited(cause, "name");
  const code = readOwnOrInherited(cause, "code");
  const status = readOwnOrInherited(cause, "status");
  return Object.freeze({
    name: typeof name === "string" && PLAIN_NAME.test(name) ? name : "Error",
    code: typeof code === "string" && (PLAIN_NAME.test(code) || SQLSTATE.test(code)) ? code : undefined,
    status: typeof status === "number" && Number.isInteger(status) ? status : undefined,
  });
}

/** Reads a property of a foreign object, whose getter may throw. */
function readOwnOrInherited(value: object, key: string): unknown {
  try {
    return Reflect.get(value, key);
  } catch {
    return undefined;
  }
}
