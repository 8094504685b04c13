/**
 * Why the fake says no. The warehouse's profile turns it into that warehouse's own status and body.
 *
 * @internal
 */
export type RefusalReason =
  | "malformed"
  | "wrong_method"
  | "too_many_credentials"
  | "unknown_client"
  | "wrong_credentials"
  | "credentials_missing"
  | "public_client"
  | "redirect_mismatch"
  | "response_type"
  | "state"
  | "pkce"
  | "scope"
  | "scope_missing"
  | "role"
  | "grant_type"
  | "code"
  | "verifier_missing"
  | "verifier"
  | "refresh_token_unknown"
  | "refresh_token_dead"
  | "assertion_malformed"
  | "assertion_issuer"
  | "assertion_signature"
  | "assertion_times_missing"
  | "assertion_times"
  | "assertion_audience"
  | "assertion_replayed"
  | "token_unknown"
  | "declined"
  | "interaction_required";

/**
 * A refusal in the words of RFC 6749.
 *
 * @internal
 */
export interface Refusal {
  readonly reason: RefusalReason;
  /** `error` of RFC 6749 §4.1.2.1 and §5.2. */
  readonly error: string;
  /** What is wrong, for the person who reads the answer in a failing test. Holds no secret. */
  readonly text: string;
}

/**
 * Thrown inside the engine, and answered by it; never seen outside.
 *
 * @internal
 */
export class Refused extends Error {
  override readonly name = "Refused";
  readonly refusal: Refusal;

  constructor(reason: RefusalReason, error: string, text: string) {
    super(text);
    this.refusal = { reason, error, text };
  }
}
