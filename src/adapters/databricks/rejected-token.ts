/** An answer of Databricks, in which only these headers are looked at. */
export interface RefusingAnswer {
  readonly status: number;
  readonly headers: { get(name: string): string | null | undefined };
  /** The first part of the body, as far as anybody has it. */
  readonly bodyStart: string;
}

/** Where the reason of a refusal stands beside the body: REST, then Thrift. */
const REASON_HEADERS = [
  "x-databricks-reason-phrase",
  "x-thriftserver-error-message",
  "x-databricks-error-or-redirect-message",
] as const;

/**
 * Tells whether an answer refuses the token itself.
 *
 * The answer to an expired token was 403, then 400, then 401 within two years, and still differs by kind of token; other
 * 403s are missing rights, which no token cures (databrickslabs/splunk-integration#55, checked 2026-11-21).
 *
 * @internal
 */
export function isTokenRejected({ status, headers, bodyStart }: RefusingAnswer): boolean {
  if (status === 401) return true;
  const text = [...REASON_HEADERS.map((name) => headers.get(name) ?? ""), bodyStart].join("\n");
  if (status === 403) return /invalid (?:access )?token|token is (?:expired|expiring)/i.test(text);
  return status === 400 && text.includes("ExpiredJwt");
}
