import { generateKeyPairSync } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { decodeJwt, decodeProtectedHeader, jwtVerify } from "jose";
import { describe, expect, it } from "vitest";
import { createAssertion } from "../../src/core/assertion.ts";
import type { AssertionAlgorithm, SigningKey } from "../../src/core/assertion.ts";
import { NOON, expectCode } from "./acme.ts";

const CLAIMS = { iss: "a", aud: "b" };
const TIMES = { now: NOON, lifetimeMs: 60_000 };

const pkcs8 = (key: KeyObject): string => key.export({ type: "pkcs8", format: "pem" }).toString();

const KEYS = {
  rsa: generateKeyPairSync("rsa", { modulusLength: 2048 }),
  shortRsa: generateKeyPairSync("rsa", { modulusLength: 1024 }),
  p256: generateKeyPairSync("ec", { namedCurve: "P-256" }),
  p384: generateKeyPairSync("ec", { namedCurve: "P-384" }),
  p521: generateKeyPairSync("ec", { namedCurve: "P-521" }),
  ed25519: generateKeyPairSync("ed25519"),
  x25519: generateKeyPairSync("x25519"),
};

const NOT_FOR_SIGNING = '"key" must be a private key for RS256, PS256, ES256, ES384, EdDSA';

const RSA_PARAMETERS = { modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) };

async function webKey(
  algorithm: EcKeyGenParams | RsaHashedKeyGenParams | AlgorithmIdentifier,
  usages: KeyUsage[] = ["sign", "verify"],
): Promise<CryptoKeyPair> {
  return await crypto.subtle.generateKey(algorithm as EcKeyGenParams, false, usages);
}

describe("createAssertion", () => {
  it.each<[keyof typeof KEYS, AssertionAlgorithm | undefined, AssertionAlgorithm]>([
    ["rsa", undefined, "RS256"],
    ["rsa", "RS256", "RS256"],
    ["rsa", "PS256", "PS256"],
    ["p256", undefined, "ES256"],
    ["p256", "ES256", "ES256"],
    ["p384", undefined, "ES384"],
    ["ed25519", undefined, "EdDSA"],
    ["ed25519", "EdDSA", "EdDSA"],
  ])("S-051 signs with a PEM key: %s, asked for %s, gives %s", async (name, algorithm, alg) => {
    const { privateKey, publicKey } = KEYS[name];
    const token = await createAssertion({ key: pkcs8(privateKey), algorithm })(CLAIMS, TIMES);
    const { protectedHeader } = await jwtVerify(token, publicKey, { currentDate: new Date(NOON) });
    expect(protectedHeader).toEqual({ alg, typ: "JWT" });
  });

  it.each<[AssertionAlgorithm, EcKeyGenParams | RsaHashedKeyGenParams | AlgorithmIdentifier]>([
    ["RS256", { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256", ...RSA_PARAMETERS }],
    ["PS256", { name: "RSA-PSS", hash: "SHA-256", ...RSA_PARAMETERS }],
    ["ES256", { name: "ECDSA", namedCurve: "P-256" }],
    ["ES384", { name: "ECDSA", namedCurve: "P-384" }],
    ["EdDSA", { name: "Ed25519" }],
  ])("S-051 S-055 signs with a key that cannot be exported: %s", async (alg, parameters) => {
    const { privateKey, publicKey } = await webKey(parameters);
    for (const algorithm of [undefined, alg]) {
      const token = await createAssertion({ key: privateKey, algorithm })(CLAIMS, TIMES);
      await jwtVerify(token, publicKey, { currentDate: new Date(NOON) });
      expect(decodeProtectedHeader(token).alg).toBe(alg);
    }
  });

  it.each<[string, EcKeyGenParams | RsaHashedKeyGenParams]>([
    ["RS512", { name: "RSASSA-PKCS1-v1_5", hash: "SHA-512", ...RSA_PARAMETERS }],
    ["PS384", { name: "RSA-PSS", hash: "SHA-384", ...RSA_PARAMETERS }],
    ["ES512", { name: "ECDSA", namedCurve: "P-521" }],
  ])("S-051 refuses a key for %s", async (_name, parameters) => {
    const { privateKey } = await webKey(parameters);
    const error = await expectCode(() => createAssertion({ key: privateKey })(CLAIMS, TIMES), "config_invalid");
    expect(error).toMatchObject({ option: "key", message: NOT_FOR_SIGNING });
  });

  it("S-051 refuses a shared secret, a public key, and a key for something else", async () => {
    const hmac = await crypto.subtle.generateKey({ name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
    const { publicKey, privateKey } = await webKey({ name: "ECDSA", namedCurve: "P-256" });
    const { privateKey: agreement } = await webKey({ name: "ECDH", namedCurve: "P-256" }, ["deriveBits"]);
    const { privateKey: longer } = await webKey({ name: "ECDH", namedCurve: "P-384" }, ["deriveBits"]);
    const { privateKey: decryption } = await webKey({ name: "RSA-OAEP", hash: "SHA-256", ...RSA_PARAMETERS }, [
      "decrypt",
      "encrypt",
    ]);
    for (const key of [hmac, publicKey, agreement, longer, decryption]) {
      const error = await expectCode(() => createAssertion({ key })(CLAIMS, TIMES), "config_invalid");
      expect(error).toMatchObject({ option: "key", message: NOT_FOR_SIGNING });
    }
    const sign = createAssertion({ key: privateKey, algorithm: "ES384" });
    const error = await expectCode(() => sign(CLAIMS, TIMES), "config_invalid");
    expect(error).toMatchObject({ message: '"key" must be a private key for ES384' });
  });

  it("S-051 refuses an RSA key that is too short, in our words", async () => {
    const error = await expectCode(
      () => createAssertion({ key: pkcs8(KEYS.shortRsa.privateKey) })(CLAIMS, TIMES),
      "config_invalid",
    );
    expect(error).toMatchObject({ option: "key", message: '"key" cannot sign with RS256' });
  });

  it.each(["HS256", "none", "ES512", "RS512", "constructor", ""])(
    "S-051 refuses the algorithm %j",
    async (algorithm) => {
      const error = await expectCode(
        () => createAssertion({ key: pkcs8(KEYS.rsa.privateKey), algorithm: algorithm as never }),
        "config_invalid",
      );
      const message = '"algorithm" must be one of RS256, PS256, ES256, ES384, EdDSA';
      expect(error).toMatchObject({ option: "algorithm", message });
    },
  );

  it.each<[keyof typeof KEYS, AssertionAlgorithm]>([
    ["rsa", "ES256"],
    ["p256", "ES384"],
    ["p256", "RS256"],
    ["ed25519", "ES256"],
  ])("refuses a PEM key of another kind: %s for %s", async (name, algorithm) => {
    const error = await expectCode(
      () => createAssertion({ key: pkcs8(KEYS[name].privateKey), algorithm })(CLAIMS, TIMES),
      "config_invalid",
    );
    expect(error).toMatchObject({ option: "key", message: `"key" is no PKCS#8 private key for ${algorithm}` });
  });

  it.each(["p521", "x25519"] as const)("refuses a PEM key of a kind it does not know: %s", async (name) => {
    const { message } = (await expectCode(
      () => createAssertion({ key: pkcs8(KEYS[name].privateKey) })(CLAIMS, TIMES),
      "config_invalid",
    )) as Error;
    expect(message).toContain("must be an RSA, P-256, P-384 or Ed25519 key");
  });

  it("says how to convert another kind of PEM", async () => {
    const old = KEYS.rsa.privateKey.export({ type: "pkcs1", format: "pem" }).toString();
    const { message } = (await expectCode(
      () => createAssertion({ key: old })(CLAIMS, TIMES),
      "config_invalid",
    )) as Error;
    expect(message).toContain("openssl pkcs8 -topk8");
    const plain = (await expectCode(
      () => createAssertion({ key: "no key" })(CLAIMS, TIMES),
      "config_invalid",
    )) as Error;
    expect(plain.message).toContain("-----BEGIN PRIVATE KEY-----");
    expect(plain.message).not.toContain("openssl");
  });

  it.each(["A", "=A==", "AAAA", "not base64 at all="])("S-103 refuses a PEM key whose body is %j", async (body) => {
    const key = `-----BEGIN PRIVATE KEY-----\n${body}\n-----END PRIVATE KEY-----`;
    await expectCode(() => createAssertion({ key })(CLAIMS, TIMES), "config_invalid");
    await expectCode(() => createAssertion({ key, algorithm: "RS256" })(CLAIMS, TIMES), "config_invalid");
  });

  it("takes a PEM key with other line ends and space around it", async () => {
    const key = `\n  ${pkcs8(KEYS.p256.privateKey).replaceAll("\n", "\r\n")}  \n`;
    expect(decodeProtectedHeader(await createAssertion({ key })(CLAIMS, TIMES)).alg).toBe("ES256");
  });

  it("S-103 finishes on 64 KB of no PEM", async () => {
    for (const key of [
      "-----BEGIN ".repeat(6000),
      `-----BEGIN ${"A ".repeat(32_768)}`,
      " ".repeat(65_536),
      `-----BEGIN PRIVATE KEY-----${"A ".repeat(32_768)}`,
    ]) {
      await expectCode(() => createAssertion({ key })(CLAIMS, TIMES), "config_invalid");
    }
  });

  it.each([undefined, null, 5, {}, new Uint8Array(32)])("refuses %j for a key", async (key) => {
    await expectCode(() => createAssertion({ key: key as never }), "invalid_argument");
    await expectCode(() => createAssertion({ key: (() => key) as never })(CLAIMS, TIMES), "invalid_argument");
  });

  it("S-055 asks a function for the key each time", async () => {
    const keys: SigningKey[] = [pkcs8(KEYS.rsa.privateKey), pkcs8(KEYS.p256.privateKey)];
    const sign = createAssertion({ key: () => Promise.resolve(keys.shift() as string) });
    const first = await sign(CLAIMS, TIMES);
    const second = await sign(CLAIMS, TIMES);
    expect([first, second].map((token) => decodeProtectedHeader(token).alg)).toEqual(["RS256", "ES256"]);
  });

  it("S-037 S-051 writes whole seconds, five before now, and a new jti", async () => {
    const sign = createAssertion({ key: pkcs8(KEYS.p256.privateKey), keyId: "k" });
    const claims = { iss: "i", aud: "a", sub: "s", scope: "x y" };
    const tokens = [await sign(claims, { now: NOON + 999, lifetimeMs: 1_500 }), await sign(claims, TIMES)];
    const [first, second] = tokens.map((token) => decodeJwt(token));
    expect(first).toStrictEqual({ ...claims, jti: first?.jti, iat: NOON / 1000 - 5, exp: NOON / 1000 + 2 });
    expect(second?.jti).not.toBe(first?.jti);
    expect(decodeProtectedHeader(tokens[0] ?? "")).toEqual({ alg: "ES256", typ: "JWT", kid: "k" });
  });
});
