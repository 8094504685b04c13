import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createReferenceHash, sipHash24 } from "../../src/lib/keyed-hash.ts";

const MASK = (1n << 64n) - 1n;

/** SipHash-2-4 as its paper writes it, with 64-bit numbers. */
function sipHashModel(key: Uint8Array, data: Uint8Array): string {
  const wordAt = (bytes: Uint8Array, at: number): bigint => {
    let word = 0n;
    for (let index = 7; index >= 0; index -= 1) word = (word << 8n) | BigInt(bytes[at + index] ?? 0);
    return word;
  };
  const rotate = (word: bigint, bits: bigint): bigint => ((word << bits) | (word >> (64n - bits))) & MASK;
  const [key0, key1] = [wordAt(key, 0), wordAt(key, 8)];
  let v0 = key0 ^ 0x736f6d6570736575n;
  let v1 = key1 ^ 0x646f72616e646f6dn;
  let v2 = key0 ^ 0x6c7967656e657261n;
  let v3 = key1 ^ 0x7465646279746573n;
  const mix = (rounds: number): void => {
    for (let round = 0; round < rounds; round += 1) {
      v0 = (v0 + v1) & MASK;
      v1 = rotate(v1, 13n) ^ v0;
      v0 = rotate(v0, 32n);
      v2 = (v2 + v3) & MASK;
      v3 = rotate(v3, 16n) ^ v2;
      v0 = (v0 + v3) & MASK;
      v3 = rotate(v3, 21n) ^ v0;
      v2 = (v2 + v1) & MASK;
      v1 = rotate(v1, 17n) ^ v2;
      v2 = rotate(v2, 32n);
    }
  };
  const blocks = Math.floor(data.length / 8) + 1;
  for (let block = 0; block < blocks; block += 1) {
    let word = wordAt(data, block * 8);
    if (block === blocks - 1) word |= BigInt(data.length & 0xff) << 56n;
    v3 ^= word;
    mix(2);
    v0 ^= word;
  }
  v2 ^= 0xffn;
  mix(4);
  const hex = (v0 ^ v1 ^ v2 ^ v3).toString(16).padStart(16, "0");
  return (hex.match(/../g) ?? []).reverse().join("");
}

/** 00 01 02 … */
const counting = (length: number): Uint8Array => Uint8Array.from({ length }, (_, index) => index);

describe("sipHash24", () => {
  // From the reference implementation's list (key 00 to 0f, data 00 01 02 …); that of 15 bytes is also in the paper.
  it.each([
    [0, "310e0edd47db6f72"],
    [1, "fd67dc93c539f874"],
    [2, "5a4fa9d909806c0d"],
    [3, "2d7efbd796666785"],
    [4, "b7877127e09427cf"],
    [5, "8da699cd64557618"],
    [6, "cee3fe586e46c9cb"],
    [7, "37d1018bf50002ab"],
    [8, "6224939a79f5f593"],
    [9, "b0e4a90bdf82009e"],
    [15, "e545be4961ca29a1"],
    [63, "724506eb4c328a95"],
  ])("S-086 gives the published result for %i bytes", (length, expected) => {
    expect(sipHash24(counting(16), counting(length))).toBe(expected);
  });

  it("S-086 agrees with 64-bit arithmetic for any key and data", () => {
    const key = fc.uint8Array({ minLength: 16, maxLength: 16 });
    fc.assert(
      fc.property(key, fc.uint8Array({ maxLength: 300 }), (keyBytes, data) => {
        expect(sipHash24(keyBytes, data)).toBe(sipHashModel(keyBytes, data));
      }),
      { numRuns: 300 },
    );
  });

  it("reads a key that is part of a larger buffer", () => {
    const inside = counting(40).subarray(0, 16);
    const shifted = Uint8Array.from([9, 9, 9, ...counting(16)]).subarray(3);
    expect(sipHash24(shifted, counting(8))).toBe(sipHash24(inside, counting(8)));
  });
});

describe("createReferenceHash", () => {
  it("S-086 gives 16 hex characters, the same for the same text", () => {
    const hash = createReferenceHash();
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        expect(hash(text)).toMatch(/^[0-9a-f]{16}$/);
        expect(hash(text)).toBe(hash(text));
      }),
    );
  });

  it("S-086 hashes the UTF-8 of the text under the key", () => {
    const hash = createReferenceHash(counting(16));
    expect(hash("")).toBe("310e0edd47db6f72");
    expect(hash("\u0000\u0001\u0002")).toBe("2d7efbd796666785");
    expect(hash("größe")).toBe(sipHashModel(counting(16), new TextEncoder().encode("größe")));
  });

  it("S-086 has a random key, so that nobody can try subjects", () => {
    expect(createReferenceHash()("alice")).not.toBe(createReferenceHash()("alice"));
  });

  it("S-086 tells 20 000 subjects apart", () => {
    const hash = createReferenceHash();
    const references = new Set(Array.from({ length: 20_000 }, (_, index) => hash(`user-${String(index)}`)));
    expect(references.size).toBe(20_000);
  });

  it("keeps its key when the caller's bytes change", () => {
    const key = counting(16);
    const hash = createReferenceHash(key);
    key.fill(0);
    expect(hash("")).toBe("310e0edd47db6f72");
  });

  it.each([0, 8, 15, 17, 32])("refuses a key of %i bytes", (length) => {
    expect(() => createReferenceHash(new Uint8Array(length))).toThrow(
      expect.objectContaining({ name: "TypeError", code: "invalid_argument" }) as Error,
    );
  });
});
