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

/** One error of a chain, by its code. */
interface Failure {
  readonly code: string;
  readonly notSent: boolean;
}

/**
 * Says whether a failed request may have been processed, from the codes in its causes.
 * What is not known is ambiguous: assuming "not sent" would spend a refresh token twice.
 */
export function classifyTransportFailure(error: unknown): TransportFailure {
  const failures = readFailures(error);
  const tls = failures.find(({ code, notSent }) => TLS.test(code) && !TLS_WHEN_UP.test(code) && !notSent);
  if (tls !== undefined) return { code: tls.code, ambiguous: false, retryable: false };
  const allNotSent = failures.length > 0 && failures.every(({ notSent }) => notSent);
  return { code: failures[0]?.code, ambiguous: !allNotSent, retryable: true };
}

/** What a `fetch` of the caller's own throws may have getters that throw. */
function readFailures(error: unknown): readonly Failure[] {
  try {
    return collectFailures(error, 0);
  } catch {
    return [];
  }
}

/** The failures found in an error, its causes, and the members of an aggregate, innermost first. */
function collectFailures(error: unknown, depth: number): readonly Failure[] {
  if (depth >= MAX_DEPTH || typeof error !== "object" || error === null) return [];
  const members = "errors" in error && Array.isArray(error.errors) ? (error.errors as readonly unknown[]) : [];
  const inner = [...members, ...("cause" in error ? [error.cause] : [])].flatMap((one) =>
    collectFailures(one, depth + 1),
  );
  if (!("code" in error && typeof error.code === "string" && CODE.test(error.code))) return inner;
  const { code } = error;
  // Node gives an aggregate the code of its first member, and nothing else of it.
  if (members.length > 0 && inner.some((failure) => failure.code === code)) return inner;
  return [...inner, { code, notSent: isNotSent(code, "syscall" in error ? error.syscall : undefined) }];
}

/** The same code of a connection that was up says nothing of what went through it. */
function isNotSent(code: string, syscall: unknown): boolean {
  if (syscall === "read" || syscall === "write") return false;
  return NOT_SENT.has(code) || (code === "ETIMEDOUT" && syscall === "connect");
}
