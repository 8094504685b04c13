import { compactVerify, decodeJwt, decodeProtectedHeader, errors, type JWTPayload } from "jose";
import { ConfigurationError } from "../core/index.ts";
import { Refused } from "./refusal.ts";

/** Somebody whose signed assertions the fake believes. */
export interface TrustedIssuer {
  /** Claim `iss`, byte for byte: a service account's address, an identity provider's issuer. */
  readonly issuer: string;
  /** Checks the signature: RS256, at Databricks also ES256. */
  readonly publicKey: CryptoKey;
  /** Claim `aud` that is accepted. Default is the token endpoint. */
  readonly audience?: string;
}

/**
 * What is checked of an assertion.
 *
 * @internal
 */
export interface AssertionRules {
  readonly algorithms: readonly string[];
  readonly tokenEndpoint: string;
  readonly maxLifetimeSeconds: number;
  readonly now: number;
}

/** Google lets `iat` lie about five minutes ahead (facts sheet §6.1, checked 2026-11-21). */
const MAX_CLOCK_AHEAD_SECONDS = 300;

/**
 * Verifies signed assertions of RFC 7523 §2.1 and subject tokens of RFC 8693 §2.1, in the order in which Google answers.
 *
 * @internal
 */
export class TrustedAssertions {
  readonly #issuers: ReadonlyMap<string, TrustedIssuer>;

  constructor(issuers: readonly TrustedIssuer[], option: string) {
    for (const { issuer, publicKey } of issuers) {
      if (issuer === "" || (publicKey as unknown) === undefined || publicKey.type !== "public") {
        throw new ConfigurationError(
          "config_invalid",
          `each of "${option}" needs an issuer and its public key`,
          option,
        );
      }
    }
    this.#issuers = new Map(issuers.map((trusted) => [trusted.issuer, trusted]));
  }

  /**
   * Gives the claims of a good assertion.
   *
   * @throws Refused
   */
  async verify(assertion: string, rules: AssertionRules): Promise<JWTPayload> {
    let claims: JWTPayload;
    let algorithm: unknown;
    try {
      claims = decodeJwt(assertion);
      algorithm = decodeProtectedHeader(assertion).alg;
    } catch {
      throw new Refused("assertion_malformed", "invalid_request", "the assertion is no JWT");
    }
    const trusted = this.#issuers.get(claims.iss ?? "");
    if (trusted === undefined) {
      throw new Refused("assertion_issuer", "invalid_grant", '"iss" of the assertion is not known here');
    }
    if (typeof algorithm !== "string" || !rules.algorithms.includes(algorithm)) {
      throw new Refused(
        "assertion_signature",
        "invalid_grant",
        `the assertion must be signed with ${rules.algorithms.join(" or ")}`,
      );
    }
    try {
      await compactVerify(assertion, trusted.publicKey, { algorithms: [...rules.algorithms] });
    } catch (error) {
      if (!(error instanceof errors.JOSEError) && !(error instanceof TypeError)) throw error;
      throw new Refused("assertion_signature", "invalid_grant", "the signature of the assertion is wrong");
    }
    assertTimes(claims, rules);
    const audiences = [claims.aud ?? []].flat();
    if (audiences.length !== 1 || audiences[0] !== (trusted.audience ?? rules.tokenEndpoint)) {
      throw new Refused("assertion_audience", "invalid_grant", '"aud" of the assertion is not this server');
    }
    return claims;
  }
}

function assertTimes({ iat, exp }: JWTPayload, { now, maxLifetimeSeconds }: AssertionRules): void {
  if (iat === undefined || exp === undefined) {
    throw new Refused("assertion_times_missing", "invalid_grant", '"iat" and "exp" of the assertion are needed');
  }
  const nowSeconds = now / 1000;
  if (exp <= nowSeconds || iat > nowSeconds + MAX_CLOCK_AHEAD_SECONDS || exp > iat + maxLifetimeSeconds) {
    throw new Refused(
      "assertion_times",
      "invalid_grant",
      `the assertion is not valid now, or for longer than ${String(maxLifetimeSeconds)} seconds`,
    );
  }
}
