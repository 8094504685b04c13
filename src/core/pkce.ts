import { calculatePKCECodeChallenge, generateRandomCodeVerifier } from "oauth4webapi";
import { ConfigurationError } from "./errors.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";

/** Verifier and challenge (RFC 7636 §4). */
export interface Pkce {
  /** **Secret.** 43 characters made of 32 random bytes. */
  readonly codeVerifier: string;
  /** SHA-256 of the verifier, base64url without padding. */
  readonly codeChallenge: string;
  /** The only method there is here. */
  readonly codeChallengeMethod: "S256";
}

/** 43 to 128 unreserved characters (RFC 7636 §4.1). */
const CODE_VERIFIER = /^[A-Za-z0-9\-._~]{43,128}$/;

/**
 * Makes a PKCE pair from 32 random bytes. `createAuthorizationRequest` does it for you.
 *
 * @param codeVerifier A verifier of one's own, 43 to 128 unreserved characters (RFC 7636 §4.1). Default is a new one.
 *
 * @throws {@link ConfigurationError} `config_invalid` for a verifier that is none, or where Web Crypto is missing.
 *
 * @example
 *
 * ```ts
 * import { createPkce } from "warehouse-oauth";
 *
 * const { codeVerifier, codeChallenge } = await createPkce();
 * ```
 */
export async function createPkce(codeVerifier?: string): Promise<Pkce> {
  assertWebCrypto();
  if (codeVerifier !== undefined) assertCodeVerifier(codeVerifier);
  const verifier = codeVerifier ?? generateRandomCodeVerifier();
  return {
    codeVerifier: verifier,
    codeChallenge: await calculatePKCECodeChallenge(verifier),
    codeChallengeMethod: "S256",
  };
}

function assertCodeVerifier(codeVerifier: unknown): void {
  if (typeof codeVerifier !== "string") throw invalidArgument('"codeVerifier" must be a string');
  if (!CODE_VERIFIER.test(codeVerifier)) {
    throw new ConfigurationError(
      "config_invalid",
      '"codeVerifier" must be 43 to 128 of the characters A-Z a-z 0-9 - . _ ~ (RFC 7636 §4.1)',
      "codeVerifier",
    );
  }
}

/** React Native has no Web Crypto of its own; say so instead of a bare ReferenceError. */
function assertWebCrypto(): void {
  if (typeof crypto === "undefined" || (crypto.subtle as SubtleCrypto | undefined) === undefined) {
    throw new ConfigurationError(
      "config_invalid",
      "this platform has no Web Crypto (globalThis.crypto.subtle); install a polyfill before signing in",
      "crypto",
    );
  }
}
