import type { TrustedIssuer } from "warehouse-oauth/testing";

const ISSUER = "https://login.acme.example";

/** Ten minutes: what providers of CI tokens give. */
const LIFETIME_SECONDS = 600;

/** An identity provider that the workspace has a federation policy for. */
export async function identityProvider(): Promise<{
  readonly trusted: TrustedIssuer;
  issueToken(audience: string, now: number): Promise<string>;
}> {
  const algorithm = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
  const { publicKey, privateKey } = await crypto.subtle.generateKey(
    { ...algorithm, modulusLength: 2_048, publicExponent: new Uint8Array([1, 0, 1]) },
    false,
    ["sign", "verify"],
  );
  return {
    trusted: { issuer: ISSUER, publicKey },
    issueToken: async (audience, now) => {
      const iat = Math.floor(now / 1_000);
      const claims = { iss: ISSUER, sub: "ci", aud: audience, iat, exp: iat + LIFETIME_SECONDS };
      const text = `${encode({ alg: "RS256", typ: "JWT" })}.${encode(claims)}`;
      const signature = await crypto.subtle.sign(algorithm, privateKey, new TextEncoder().encode(text));
      return `${text}.${Buffer.from(signature).toString("base64url")}`;
    },
  };
}

const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString("base64url");
