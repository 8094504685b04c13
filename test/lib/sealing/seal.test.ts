// Sealing of text: requirements S-064, S-074, S-075, S-076.
import * as fc from "fast-check";
import { CompactEncrypt, base64url } from "jose";
import { createHash } from "node:crypto";
import { inspect } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import { createKeyRing, deriveSealKey, KeyRing } from "../../../src/lib/sealing/key-ring.ts";
import { addressOf, openSealed, readSealedBy, sealText, sealedLength } from "../../../src/lib/sealing/seal.ts";
import type { SealKey, SealPlace } from "../../../src/lib/sealing/seal.ts";

const random = (length = 32): Uint8Array => crypto.getRandomValues(new Uint8Array(length));
const PLACE: SealPlace = { purpose: "record", address: await addressOf("acme/ada//connection") };

const ELSEWHERE = await addressOf("acme/eve//connection");

let key: SealKey;

beforeAll(async () => {
  key = { id: "k1", key: await deriveSealKey(random(), "record") };
});

async function open(sealed: string, place = PLACE, cryptoKey = key.key): Promise<string | undefined> {
  return readSealedBy(sealed, place) && openSealed(sealed, cryptoKey);
}

/** A JWE with this header, as somebody who has the key could make it. */
function forge(header: object, text = "text"): Promise<string> {
  return new CompactEncrypt(new TextEncoder().encode(text))
    .setProtectedHeader(header as { alg: string; enc: string })
    .encrypt(key.key);
}

function headerOf(sealed: string): Record<string, unknown> {
  return JSON.parse(new TextDecoder().decode(base64url.decode(sealed.split(".")[0] ?? ""))) as Record<string, unknown>;
}

describe("a sealed text", () => {
  test("S-075 is a compact JWE, dir and A256GCM, that says which key and nothing of its place", async () => {
    const sealed = await sealText("secret text", PLACE, key);
    expect(sealed.split(".")).toHaveLength(5);
    expect(headerOf(sealed)).toEqual({
      alg: "dir",
      enc: "A256GCM",
      v: 1,
      use: "record",
      at: createHash("sha256").update("acme/ada//connection").digest("base64url"),
      kid: "k1",
    });
    expect(await open(sealed)).toBe("secret text");
  });

  test("S-075 comes back as it was, whatever it was, and is as long as was said", async () => {
    const texts = fc
      .array(fc.constantFrom("a", "é", "日本", "😀", "\u0000", '"', "\\", "\uFEFF"))
      .map((parts) => parts.join(""));
    await fc.assert(
      fc.asyncProperty(texts, texts, fc.nat({ max: 50 }), async (text, name, times) => {
        const long = text.repeat(times);
        const place: SealPlace = { purpose: "cookie", address: await addressOf(name) };
        const sealed = await sealText(long, place, key);
        expect(await open(sealed, place)).toBe(long);
        expect(sealed).toHaveLength(sealedLength(new TextEncoder().encode(long).length, "cookie", { id: "k1" }));
      }),
    );
  });

  test("S-075 never has the same IV twice", async () => {
    const ivs = await Promise.all(
      Array.from({ length: 500 }, async () => (await sealText("same", PLACE, key)).split(".")[2]),
    );
    expect(new Set(ivs).size).toBe(500);
  });

  test.each<[string, SealPlace]>([
    ["another name", { ...PLACE, address: ELSEWHERE }],
    ["another purpose", { ...PLACE, purpose: "cookie" }],
    ["no name", { ...PLACE, address: "" }],
  ])("S-076 does not open in %s", async (_, place) => {
    const sealed = await sealText("text", PLACE, key);
    expect(readSealedBy(sealed, place)).toBeUndefined();
  });

  test("S-076 does not open elsewhere even if whoever moved it corrects what the header says of its place", async () => {
    const mine = await sealText("mine", { ...PLACE, address: "a" }, key);
    const yours = await sealText("yours", { ...PLACE, address: "b" }, key);
    const [, ...rest] = mine.split(".");
    const moved = [yours.split(".")[0], ...rest].join(".");
    expect(readSealedBy(moved, { ...PLACE, address: "b" })).toEqual({ id: "k1" });
    expect(await open(moved, { ...PLACE, address: "b" })).toBeUndefined();
  });

  test("S-064 does not open when any bit of it was changed", async () => {
    const sealed = await sealText("a text of some length, é", PLACE, key);
    for (let at = 0; at < sealed.length; at += 1) {
      for (let bit = 0; bit < 7; bit += 1) {
        const changed = String.fromCharCode(sealed.charCodeAt(at) ^ (1 << bit));
        const text = sealed.slice(0, at) + changed + sealed.slice(at + 1);
        expect(await open(text), `bit ${String(bit)} of character ${String(at)}`).toBeUndefined();
      }
    }
  });

  test("S-064 does not open when it was cut or made longer", async () => {
    const sealed = await sealText("text", PLACE, key);
    for (let length = 0; length < sealed.length; length += 1) {
      expect(await open(sealed.slice(0, length))).toBeUndefined();
    }
    for (const more of [".", "=", "A", " ", "\n", ".A", "\u0000"]) expect(await open(sealed + more)).toBeUndefined();
  });

  test("does not open with another key", async () => {
    const sealed = await sealText("text", PLACE, key);
    expect(await open(sealed, PLACE, await deriveSealKey(random(), "record"))).toBeUndefined();
  });
});

describe("S-075 algorithms are pinned", () => {
  test.each<[string, object]>([
    ["zip", { zip: "DEF" }],
    ["another encryption", { enc: "A256CBC-HS512" }],
    ["another algorithm", { alg: "A256KW" }],
    ["a password", { alg: "PBES2-HS256+A128KW", p2c: 1_000_000, p2s: "c2FsdA" }],
    ["crit", { crit: ["exp"], exp: 1 }],
    ["another format", { v: 2 }],
    ["a member that we do not write", { jku: "https://evil.example" }],
    ["a key id that is no text", { kid: 1 }],
    ["a place that is no text", { at: 1 }],
    ["no purpose", { use: undefined }],
    ["a wrapped key that is no text", { wk: {} }],
  ])("%s in the header is refused before a key is looked for", async (_, change) => {
    const header = { ...headerOf(await sealText("text", PLACE, key)), ...change };
    const encoded = base64url.encode(JSON.stringify(header));
    expect(readSealedBy(`${encoded}..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA`, PLACE)).toBeUndefined();
  });

  test("what was compressed by somebody who has the key is not decompressed", async () => {
    const header = headerOf(await sealText("text", PLACE, key));
    const bomb = await forge({ ...header, zip: "DEF" }, "0".repeat(1_000_000));
    expect(await openSealed(bomb, key.key)).toBeUndefined();
    expect(await openSealed(await forge({ ...header, zip: "DEF" }), key.key)).toBeUndefined();
    expect(await openSealed(await forge(header), key.key)).toBe("text");
  });

  test("bytes that are no UTF-8 are no text", async () => {
    const header = headerOf(await sealText("text", PLACE, key)) as { alg: string; enc: string };
    const sealed = await new CompactEncrypt(Uint8Array.of(0xff, 0xfe)).setProtectedHeader(header).encrypt(key.key);
    expect(await openSealed(sealed, key.key)).toBeUndefined();
  });
});

describe("what nobody sealed", () => {
  test("is no crash", async () => {
    const odd = [
      "",
      ".",
      "....",
      "a.b.c.d.e",
      "bnVsbA....",
      `${base64url.encode("[]")}....`,
      "\u{1f600}....",
      "=.....",
    ];
    for (const text of odd) expect(await open(text)).toBeUndefined();
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.string(), fc.base64String(), fc.json().map(base64url.encode)), async (text) => {
        expect(await open(text)).toBeUndefined();
        expect(await openSealed(`${text}..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA`, key.key)).toBeUndefined();
      }),
    );
  });

  test("is refused for its size before it is read", async () => {
    const huge = "A".repeat(5_000_000);
    expect(await open(huge)).toBeUndefined();
    expect(await open(`${huge}..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA`)).toBeUndefined();
    expect(await openSealed(huge, key.key)).toBeUndefined();
    await expect(sealText("x".repeat(2_100_000), PLACE, key)).rejects.toMatchObject({ code: "invalid_argument" });
  });
});

describe("keys", () => {
  test("S-075 each purpose has its own, made of the same secret", async () => {
    const secret = random();
    const record = { id: "k", key: await deriveSealKey(secret, "record") };
    const sealed = await sealText("text", PLACE, record);
    expect(await openSealed(sealed, await deriveSealKey(secret, "record"))).toBe("text");
    for (const purpose of ["cookie", "refresh-token", "data-key"] as const) {
      expect(await openSealed(sealed, await deriveSealKey(secret, purpose))).toBeUndefined();
    }
  });

  test("S-075 is HKDF with SHA-256 as RFC 5869 has it, and cannot be exported", async () => {
    const secret = random();
    const derived = await deriveSealKey(secret, "record");
    expect(derived.extractable).toBe(false);
    const input = await crypto.subtle.importKey("raw", secret.slice(), "HKDF", false, ["deriveBits"]);
    const info = new TextEncoder().encode("warehouse-oauth sealing 1 record");
    const bits = await crypto.subtle.deriveBits(
      { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info },
      input,
      256,
    );
    const raw = await crypto.subtle.importKey("raw", bits, "AES-GCM", false, ["decrypt"]);
    expect(await openSealed(await sealText("text", PLACE, { id: "k", key: derived }), raw)).toBe("text");
  });

  test("S-075 bytes, base64, base64url and hexadecimal are the same key", async () => {
    const bytes = random();
    const rings = [
      bytes,
      Buffer.from(bytes).toString("base64"),
      `${Buffer.from(bytes).toString("base64url")}\n`,
      Buffer.from(bytes).toString("hex"),
    ].map((text) => createKeyRing([{ id: "k", key: text }]));
    for (const ring of rings) {
      if (!(ring instanceof KeyRing)) throw new Error(ring);
      const sealed = await sealText("text", PLACE, await ring.sealing("record"));
      const first = rings[0] as KeyRing;
      const opening = await first.opening("record", undefined, { id: "k" });
      expect(opening && (await openSealed(sealed, opening))).toBe("text");
    }
  });

  test.each<[string, unknown]>([
    ["a short one", random(31)],
    ["a password", "correct horse battery staple correct horse"],
    ["a password in bytes", new TextEncoder().encode("correct horse battery staple, thirty-two bytes")],
    ["a short text", Buffer.from(random(24)).toString("base64")],
    ["the same byte again and again", new Uint8Array(64).fill(7)],
    ["letters again and again", "A".repeat(64)],
    ["half a key in hexadecimal", Buffer.from(random(16)).toString("hex")],
    ["nothing", undefined],
    ["an array", [...random()]],
  ])("S-075 %s is none, and is not repeated in the message", (_, value) => {
    const problem = createKeyRing([{ id: "k", key: value as Uint8Array }]);
    expect(problem).toEqual(expect.stringContaining('the key "k"'));
    expect(problem).not.toContain("correct");
  });

  test("a ring is a copy: nobody changes a key afterwards", async () => {
    const bytes = random();
    const ring = createKeyRing([{ id: "k", key: bytes }]) as KeyRing;
    bytes.fill(0);
    const sealed = await sealText("text", PLACE, await ring.sealing("record"));
    const opening = await ring.opening("record", undefined, { id: "k" });
    expect(opening && (await openSealed(sealed, opening))).toBe("text");
    expect(await openSealed(sealed, await deriveSealKey(bytes, "record"))).toBeUndefined();
  });

  test("a ring shows ids, never keys, and is made by keyRing only", () => {
    const secret = Buffer.from(random()).toString("hex");
    const ring = createKeyRing([{ id: "k", key: secret }]) as KeyRing;
    for (const text of [JSON.stringify(ring), inspect(ring, { depth: 9, showHidden: true })]) {
      expect(text).not.toContain(secret.slice(0, 8));
    }
    expect(JSON.parse(JSON.stringify(ring))).toEqual({ keys: "[redacted]", ids: ["k"] });
    expect(inspect(ring)).toContain('"ids":["k"]');
    expect(() => new (KeyRing as unknown as new () => KeyRing)()).toThrow("keyRing");
  });
});
