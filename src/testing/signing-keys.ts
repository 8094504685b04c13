import { SignJWT, exportJWK, generateKeyPair, type JWK } from "jose";

/** What an ID token of the fake says (OpenID Connect Core §2). */
export interface IdTokenFacts {
  readonly issuer: string;
  readonly clientId: string;
  readonly user: string;
  readonly scopes: readonly string[];
  readonly nonce: string | undefined;
  readonly now: number;
}

/** Google's and Databricks' ID tokens live an hour; nobody should keep one (facts sheets, checked 2026-11-21). */
const ID_TOKEN_LIFETIME_SECONDS = 3_600;

/** The one key of a fake. */
const KEY_ID = "fake-1";

/** Scopes that stand for the address claim: the plain one and Google's alias. */
const EMAIL_SCOPES: ReadonlySet<string> = new Set(["email", "https://www.googleapis.com/auth/userinfo.email"]);

/**
 * Signs ID tokens. The key is made on first use: RSA takes a while, and most tests never ask for `openid`.
 *
 * @internal
 */
export class SigningKeys {
  #pair: Promise<{ readonly publicKey: CryptoKey; readonly privateKey: CryptoKey }> | undefined;

  /** Gives the public keys (RFC 7517 §5). */
  async jwks(): Promise<{ readonly keys: readonly JWK[] }> {
    const { publicKey } = await this.#keys();
    return { keys: [{ ...(await exportJWK(publicKey)), kid: KEY_ID, alg: "RS256", use: "sig" }] };
  }

  async signIdToken({ issuer, clientId, user, scopes, nonce, now }: IdTokenFacts): Promise<string> {
    const { privateKey } = await this.#keys();
    const issuedAt = Math.floor(now / 1000);
    const email = scopes.some((scope) => EMAIL_SCOPES.has(scope))
      ? { email: user.includes("@") ? user : `${user}@example.com`, email_verified: true }
      : {};
    return new SignJWT({ ...email, azp: clientId, ...(nonce !== undefined && { nonce }) })
      .setProtectedHeader({ alg: "RS256", kid: KEY_ID })
      .setIssuer(issuer)
      .setSubject(user)
      .setAudience(clientId)
      .setIssuedAt(issuedAt)
      .setExpirationTime(issuedAt + ID_TOKEN_LIFETIME_SECONDS)
      .sign(privateKey);
  }

  #keys(): Promise<{ readonly publicKey: CryptoKey; readonly privateKey: CryptoKey }> {
    this.#pair ??= generateKeyPair("RS256");
    return this.#pair;
  }
}
