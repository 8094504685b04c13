import { parseRetryAfter } from "../lib/retry-after.ts";
import { sanitizeServerText } from "../lib/redact.ts";
import {
  ConfigurationError,
  RateLimitError,
  ReauthorizationRequiredError,
  TokenEndpointError,
  TransportError,
} from "./errors.ts";
import type { OAuthError } from "./errors.ts";
import type { Answer } from "./transport.ts";
import type { Grant, TokenFailure, TokenFailureClass, Warehouse } from "./warehouse.ts";

/** `error` of RFC 6749 §5.2: the characters of its grammar, and a length that a code has. */
const OAUTH_ERROR = /^[\x20\x21\x23-\x5B\x5D-\x7E]{1,64}$/;

/** A wait for servers that say "too many" and not how long (requirements R-30). */
const DEFAULT_THROTTLE_MS = 2_000;

/** What OAuth error codes mean, whatever the status says (requirements 2.4). */
const BY_ERROR: ReadonlyMap<string, TokenFailureClass> = new Map<string, TokenFailureClass>([
  ["invalid_grant", "dead_grant"],
  ["expired_token", "dead_grant"],
  ["invalid_token", "dead_grant"],
  ["interaction_required", "interaction_required"],
  ["login_required", "interaction_required"],
  ["consent_required", "interaction_required"],
  ["invalid_client", "client_rejected"],
  ["unauthorized_client", "client_rejected"],
  ["temporarily_unavailable", "transient"],
  ["server_error", "transient"],
  ["slow_down", "throttled"],
  ["too_many_requests", "throttled"],
  ["unsupported_grant_type", "fatal"],
  ["invalid_scope", "fatal"],
  ["invalid_target", "fatal"],
  ["access_denied", "fatal"],
]);

/** Statuses after which the same request may succeed: overloaded, or a server in the middle that failed. */
const TRANSIENT_STATUSES: ReadonlySet<number> = new Set([408, 421, 425, 500, 502, 503, 504]);

/** What a request for tokens was for, and where its failure is looked at. */
export interface FailedRequest {
  readonly grant: Grant;
  readonly warehouse: Pick<Warehouse<never>, "classifyTokenError">;
  /** The client has neither a secret nor a key. */
  readonly isPublic: boolean;
}

/**
 * Says what an error answer of a token endpoint means: the warehouse's own view first, then the OAuth code, then the status.
 */
export function classifyTokenFailure(warehouse: FailedRequest["warehouse"], failure: TokenFailure): TokenFailureClass {
  const own = classifiedByWarehouse(warehouse, failure);
  if (own !== undefined) return own;
  const { grant, status, oauthError } = failure;
  const byError = oauthError === undefined ? undefined : BY_ERROR.get(oauthError);
  if (byError !== undefined) return byError;
  // rate_limited, rate_limit_exceeded and others: no RFC names it.
  if (oauthError?.startsWith("rate_limit") === true) return "throttled";
  if (status === 429 || status === 423) return "throttled";
  if (TRANSIENT_STATUSES.has(status) || (status >= 520 && status <= 527)) return "transient";
  // Servers that others wrote say so instead of `invalid_grant`; an uncoded 400 to a refresh is the same (R-23).
  if (grant === "refresh_token" && status === 400 && (oauthError ?? "invalid_request") === "invalid_request") {
    return "dead_grant";
  }
  return "fatal";
}

/** @throws {@link ConfigurationError} `config_invalid` if the warehouse's own function throws. */
function classifiedByWarehouse(
  { classifyTokenError }: FailedRequest["warehouse"],
  failure: TokenFailure,
): TokenFailureClass | undefined {
  try {
    return classifyTokenError?.(failure);
  } catch (cause) {
    const { grant, status, oauthError } = failure;
    throw new ConfigurationError(
      "config_invalid",
      `the "classifyTokenError" of the warehouse failed on an answer of ${String(status)}; correct that function`,
      "classifyTokenError",
      { status, oauthError, ambiguous: isAmbiguous(grant, status, "fatal"), cause },
    );
  }
}

/**
 * Makes the error for an answer that is not a success. Nothing the server wrote reaches the message but a known code.
 */
export function createTokenFailure(
  { grant, warehouse, isPublic }: FailedRequest,
  answer: Answer,
  body: Readonly<Record<string, unknown>> | undefined,
  now: number,
): OAuthError {
  const oauthError = readOAuthError(body);
  const failure: TokenFailure = { grant, status: answer.status, oauthError, body };
  const kind = classifyTokenFailure(warehouse, failure);
  const retryAfterMs = parseRetryAfter(answer.headers.get("retry-after"), {
    now,
    date: answer.headers.get("date"),
  });
  const details = {
    status: answer.status,
    oauthError,
    oauthErrorDescription: sanitizeServerText(body?.["error_description"] ?? body?.["message"]),
    retryAfterMs,
    ambiguous: isAmbiguous(grant, answer.status, kind),
  };
  // Only names that we know: a code of the server's own is server text, and stands in `oauthError`.
  const named = oauthError !== undefined && (BY_ERROR.has(oauthError) || oauthError === "invalid_request");
  const answered = `the token endpoint answered ${String(answer.status)}${named ? ` "${oauthError}"` : ""}`;
  switch (kind) {
    case "throttled":
      return new RateLimitError(
        "rate_limited",
        `${answered}: too many requests`,
        retryAfterMs ?? DEFAULT_THROTTLE_MS,
        details,
      );
    case "transient":
      return new TransportError("server_unavailable", `${answered}; it may work later`, details);
    case "interaction_required":
      return new ReauthorizationRequiredError(
        "interaction_required",
        `${answered}: a person must sign in again`,
        details,
      );
    case "client_rejected": {
      const absent = isPublic ? 'neither "clientSecret" nor "clientAuthentication" was given; ' : "";
      return new TokenEndpointError(
        "client_auth_failed",
        `${answered}: ${absent}look at the client id, its secret or key, how it is sent, and the network policy it is under`,
        details,
      );
    }
    case "dead_grant":
      return deadGrant(grant, answered, details);
    case "fatal":
      return new TokenEndpointError(
        "token_http_error",
        `${answered}; look at the endpoint's address and the client's registration`,
        details,
      );
  }
}

/** What `invalid_grant` means depends on what was presented: only people can sign in again. */
function deadGrant(
  grant: Grant,
  answered: string,
  details: ConstructorParameters<typeof TokenEndpointError>[2],
): OAuthError {
  switch (grant) {
    case "refresh_token":
      return new ReauthorizationRequiredError(
        "refresh_token_dead",
        `${answered}: the refresh token is used, expired or revoked; a person must sign in again`,
        details,
      );
    case "authorization_code":
      return new ReauthorizationRequiredError(
        "interaction_required",
        `${answered}: the code is used, expired, or of another client, redirect URI or verifier; begin the login again`,
        details,
      );
    case "client_credentials":
    case "jwt_bearer":
    case "token_exchange":
      return new TokenEndpointError(
        "token_http_error",
        `${answered}: the assertion was refused; look at its issuer, audience and subject, and at this machine's clock`,
        details,
      );
  }
}

/** Reads `error` as a code, and only as a code. */
export function readOAuthError(body: Readonly<Record<string, unknown>> | undefined): string | undefined {
  const error = body === undefined || !Object.hasOwn(body, "error") ? undefined : body["error"];
  return typeof error === "string" && OAUTH_ERROR.test(error) ? error : undefined;
}

/**
 * Whether the request may have been processed although the answer is an error (requirements R-20): a server that fails
 * after it spent the refresh token answers 500 `server_error` too. What was refused by name was not processed; a 503
 * counts as "not processed" except for codes, which nobody repeats.
 */
function isAmbiguous(grant: Grant, status: number, kind: TokenFailureClass): boolean {
  if (kind !== "transient" && kind !== "fatal") return false;
  if (status === 503) return grant === "authorization_code";
  return status === 408 || status >= 500;
}
