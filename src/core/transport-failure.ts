/** Whether a request that got no answer may have been processed. */
export interface TransportFailure {
  /** Code of the innermost failure, if the platform named one. */
  readonly code: string | undefined;
  /** `false` only where the platform proves that nothing left this machine. */
  readonly ambiguous: boolean;
  /** `false` where trying again gives the same: a certificate does not mend itself. */
  readonly retryable: boolean;
}

/** Nothing was sent: no name, no route, nobody listening, no connection in time (requirements R-20). */
const NOT_SENT: ReadonlySet<string> = new Set([
  "ENOTFOUND",
  "EAI_AGAIN",
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
  "ERR_TLS_HANDSHAKE_TIMEOUT",
]);

/** TLS did not come up, so no request was written (requirements R-20). */
const TLS = /^(?:CERT_|ERR_TLS_|ERR_SSL_|DEPTH_ZERO_SELF_SIGNED_CERT$|SELF_SIGNED_CERT|UNABLE_TO_|HOSTNAME_MISMATCH$)/;

/** These break a connection that was up, or may have been (RFC 8446 §6.2): the request may have gone through it. */
const TLS_WHEN_UP = /^ERR_SSL_.*(?:BAD_RECORD_MAC|DECRYPT|UNEXPECTED_EOF|ALERT_INTERNAL_ERROR)/;

/** What the codes of platforms look like. Anything else could be data, and codes stand in messages. */
const CODE = /^[A-Z][A-Z0-9_]{1,63}$/;

/** Failures are wrapped a few times at most; a longer chain is somebody's loop. */
const MAX_DEPTH = 5;

/**
 * Says whether a failed request may have been processed, from the codes in its causes.
 * What is not known is ambiguous: assuming "not sent" would spend a refresh token twice.
 */
export function classifyTransportFailure(error: unknown): TransportFailure {
  const codes = readCodes(error);
  const tls = codes.find((code) => TLS.test(code) && !TLS_WHEN_UP.test(code) && !NOT_SENT.has(code));
  if (tls !== undefined) return { code: tls, ambiguous: false, retryable: false };
  const allNotSent = codes.length > 0 && codes.every((code) => NOT_SENT.has(code));
  return { code: codes[0], ambiguous: !allNotSent, retryable: true };
}

/** What a `fetch` of the caller's own throws may have getters that throw. */
function readCodes(error: unknown): readonly string[] {
  try {
    return collectCodes(error, 0);
  } catch {
    return [];
  }
}

/** The codes found in an error, its causes, and the members of an aggregate, innermost first. */
function collectCodes(error: unknown, depth: number): readonly string[] {
  if (depth >= MAX_DEPTH || typeof error !== "object" || error === null) return [];
  const inner = [
    ...("errors" in error && Array.isArray(error.errors) ? (error.errors as readonly unknown[]) : []),
    ...("cause" in error ? [error.cause] : []),
  ].flatMap((cause) => collectCodes(cause, depth + 1));
  return "code" in error && typeof error.code === "string" && CODE.test(error.code) ? [...inner, error.code] : inner;
}
