import { ConfigurationError } from "./errors.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";

/** A private key: Web Crypto key, PKCS#8 PEM text, or a function that gets either when it is needed. */
export type SigningKey = CryptoKey | string | (() => CryptoKey | string | Promise<CryptoKey | string>);

/** What we sign with. Neither a shared secret nor `none` is among them (RFC 8725 §3.1). */
export type AssertionAlgorithm = "RS256" | "PS256" | "ES256" | "ES384" | "EdDSA";

const ALGORITHMS: ReadonlySet<string> = new Set<AssertionAlgorithm>(["RS256", "PS256", "ES256", "ES384", "EdDSA"]);

/** How far `iat` lies back, for servers whose clock is behind ours (requirements S-037). */
const ISSUED_BEFORE_MS = 5_000;

/** The claims of one assertion beside its times and `jti`. */
export interface AssertionClaims {
  readonly iss: string;
  readonly aud: string;
  readonly sub?: string;
  readonly scope?: string;
}

/** Signs one assertion; each has a `jti` of its own (RFC 7523 §3). */
export type SignAssertion = (
  claims: AssertionClaims,
  times: { readonly now: number; readonly lifetimeMs: number },
) => Promise<string>;

/**
 * Prepares signing with a key. The key is looked at when first used; a key that a function gives is asked for each time.
 *
 * @throws {@link ConfigurationError} `config_invalid` for an algorithm or key of another kind; while signing, also for a
 * key that does not fit.
 */
export function createAssertion(options: {
  readonly key: SigningKey;
  readonly keyId?: string | undefined;
  readonly algorithm?: AssertionAlgorithm | undefined;
}): SignAssertion {
  const { key, keyId, algorithm } = options;
  if (algorithm !== undefined && !ALGORITHMS.has(algorithm)) {
    throw new ConfigurationError(
      "config_invalid",
      `"algorithm" must be one of ${[...ALGORITHMS].join(", ")}`,
      "algorithm",
    );
  }
  if (typeof key !== "function" && !isPrivateKey(key)) throw notAKey();
  // Importing a key costs more than signing with it; what a function gives may change, so only constants are kept.
  let kept: Promise<ImportedKey> | undefined;
  return async (claims, { now, lifetimeMs }) => {
    const imported =
      typeof key === "function" ? importKey(await key(), algorithm) : (kept ??= importKey(key, algorithm));
    const { cryptoKey, alg } = await imported;
    const { SignJWT } = await import("jose");
    const assertion = new SignJWT({ ...claims, jti: crypto.randomUUID() })
      .setProtectedHeader({ alg, typ: "JWT", ...(keyId !== undefined && { kid: keyId }) })
      .setIssuedAt(Math.floor((now - ISSUED_BEFORE_MS) / 1000))
      .setExpirationTime(Math.floor((now + lifetimeMs) / 1000));
    try {
      return await assertion.sign(cryptoKey);
    } catch {
      // A key that may not sign, or an RSA key that is too short.
      throw new ConfigurationError("config_invalid", `"key" cannot sign with ${alg}`, "key");
    }
  };
}

interface ImportedKey {
  readonly cryptoKey: CryptoKey;
  readonly alg: AssertionAlgorithm;
}

function isPrivateKey(value: unknown): value is CryptoKey | string {
  return typeof value === "string" || (typeof CryptoKey !== "undefined" && value instanceof CryptoKey);
}

function notAKey(): TypeError {
  return invalidArgument('"key" must be a CryptoKey, PKCS#8 PEM text, or a function that gives one of them');
}

async function importKey(key: unknown, algorithm: AssertionAlgorithm | undefined): Promise<ImportedKey> {
  if (!isPrivateKey(key)) throw notAKey();
  if (typeof key !== "string") {
    const alg = algorithmOfKey(key);
    if (alg === undefined || (algorithm !== undefined && algorithm !== alg) || key.type !== "private") {
      throw new ConfigurationError(
        "config_invalid",
        `"key" must be a private key for ${algorithm ?? [...ALGORITHMS].join(", ")}`,
        "key",
      );
    }
    return { cryptoKey: key, alg };
  }
  const alg = algorithm ?? algorithmOfPem(key);
  const { importPKCS8 } = await import("jose");
  try {
    return { cryptoKey: await importPKCS8(key.trim(), alg), alg };
  } catch {
    // The cause is dropped: it may quote the key.
    throw new ConfigurationError("config_invalid", `"key" is no PKCS#8 private key for ${alg}`, "key");
  }
}

/** The algorithm that a Web Crypto key was made for. */
function algorithmOfKey(key: CryptoKey): AssertionAlgorithm | undefined {
  const { name } = key.algorithm;
  const hash = "hash" in key.algorithm ? (key.algorithm.hash as { readonly name: string }).name : undefined;
  const curve = "namedCurve" in key.algorithm ? key.algorithm.namedCurve : undefined;
  if (name === "RSASSA-PKCS1-v1_5" && hash === "SHA-256") return "RS256";
  if (name === "RSA-PSS" && hash === "SHA-256") return "PS256";
  if (name === "ECDSA" && curve === "P-256") return "ES256";
  if (name === "ECDSA" && curve === "P-384") return "ES384";
  return name === "Ed25519" ? "EdDSA" : undefined;
}

const PEM = /^\s*-----BEGIN ([A-Z0-9 ]+)-----([A-Za-z0-9+/=\s]+)-----END \1-----\s*$/;

/** Object identifiers as they stand in the DER, in hexadecimal, and what they are used with. The longer ones come first. */
const KEY_KINDS: readonly (readonly [string, AssertionAlgorithm])[] = [
  ["2a8648ce3d030107", "ES256"], // prime256v1 (RFC 5480 §2.1.1.1)
  ["2b81040022", "ES384"], // secp384r1
  ["2a864886f70d010101", "RS256"], // rsaEncryption (RFC 8017)
  ["2b6570", "EdDSA"], // id-Ed25519 (RFC 8410)
];

/** The algorithm identifier stands within the first bytes of a PKCS#8 key; the key itself must not be searched. */
const IDENTIFIER_BYTES = 40;

/** Finds out from a PKCS#8 key what it is for. */
function algorithmOfPem(pem: string): AssertionAlgorithm {
  const [, label, body = ""] = PEM.exec(pem) ?? [];
  if (label !== "PRIVATE KEY") {
    const hint = label === undefined ? "" : " Convert it: openssl pkcs8 -topk8 -nocrypt -in old.pem -out new.pem";
    throw new ConfigurationError(
      "config_invalid",
      `"key" must be PKCS#8 text that begins with -----BEGIN PRIVATE KEY-----.${hint}`,
      "key",
    );
  }
  const hex = startInHex(body);
  const kind = KEY_KINDS.find(([identifier]) => hex.includes(identifier));
  if (kind === undefined) {
    throw new ConfigurationError("config_invalid", '"key" must be an RSA, P-256, P-384 or Ed25519 key', "key");
  }
  return kind[1];
}

/** The first bytes of the DER in hexadecimal; empty for what is no base64. */
function startInHex(body: string): string {
  try {
    const start = atob(body.replace(/\s/g, "")).slice(0, IDENTIFIER_BYTES);
    return Array.from(start, (byte) => byte.charCodeAt(0).toString(16).padStart(2, "0")).join("");
  } catch {
    return "";
  }
}
