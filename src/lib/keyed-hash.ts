import { invalidArgument } from "./invalid-argument.ts";

/** SipHash takes 128 bits of key. */
const KEY_BYTES = 16;

/** The "2-4" of SipHash-2-4, the variant that its authors recommend: rounds per block, rounds at the end. */
const BLOCK_ROUNDS = 2;
const FINAL_ROUNDS = 4;

const BLOCK_BYTES = 8;

/** One more than the largest 32-bit number. */
const WORD = 0x1_0000_0000;

/**
 * Makes a function that names a text by 16 hex characters from which nobody without the key gets back to the text, not
 * even by trying all texts: for references in events and logs.
 *
 * The key is random and never leaves this process, so the references of two processes, or of two runs, do not match.
 * Synchronous and without cost worth saving, unlike the HMAC of Web Crypto. It is no password hash and no signature:
 * 64 bits keep texts apart, they do not prove where one came from.
 *
 * @param key 16 bytes. Default is 16 random bytes.
 *
 * @throws TypeError with `invalid_argument`: the key has another length.
 */
export function createReferenceHash(
  key: Uint8Array = crypto.getRandomValues(new Uint8Array(KEY_BYTES)),
): (text: string) => string {
  if (key.length !== KEY_BYTES) {
    throw invalidArgument(`expected "key" to have ${String(KEY_BYTES)} bytes, got ${String(key.length)}`);
  }
  // A copy: nobody changes the key afterwards.
  const ownKey = key.slice();
  const encoder = new TextEncoder();
  return (text) => sipHash24(ownKey, encoder.encode(text));
}

/**
 * Computes SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012) of `data` under a key of 16
 * bytes, and gives the 8 bytes of the result in their published order, as hex.
 */
export function sipHash24(key: Uint8Array, data: Uint8Array): string {
  const keyView = new DataView(key.buffer, key.byteOffset, KEY_BYTES);
  const key0Low = keyView.getUint32(0, true);
  const key0High = keyView.getUint32(4, true);
  const key1Low = keyView.getUint32(8, true);
  const key1High = keyView.getUint32(12, true);

  // The last block is filled with zeros, and its last byte is the length modulo 256.
  const blocks = Math.floor(data.length / BLOCK_BYTES) + 1;
  const padded = new Uint8Array(blocks * BLOCK_BYTES);
  padded.set(data);
  padded[padded.length - 1] = data.length;
  const words = new DataView(padded.buffer);

  // Four 64-bit numbers as halves. JavaScript's bit operators give 32 signed bits; only a carry needs them unsigned.
  let v0Low = key0Low ^ 0x70736575;
  let v0High = key0High ^ 0x736f6d65;
  let v1Low = key1Low ^ 0x6e646f6d;
  let v1High = key1High ^ 0x646f7261;
  let v2Low = key0Low ^ 0x6e657261;
  let v2High = key0High ^ 0x6c796765;
  let v3Low = key1Low ^ 0x79746573;
  let v3High = key1High ^ 0x74656462;

  // One turn more than there are blocks: the last one is the finish.
  for (let block = 0; block <= blocks; block += 1) {
    const isFinish = block === blocks;
    const wordLow = isFinish ? 0 : words.getUint32(block * BLOCK_BYTES, true);
    const wordHigh = isFinish ? 0 : words.getUint32(block * BLOCK_BYTES + 4, true);
    v3Low ^= wordLow;
    v3High ^= wordHigh;
    if (isFinish) v2Low ^= 0xff;

    const rounds = isFinish ? FINAL_ROUNDS : BLOCK_ROUNDS;
    for (let round = 0; round < rounds; round += 1) {
      let low = 0;
      let high = 0;
      // v0 += v1; v1 = (v1 <<< 13) ^ v0; v0 <<<= 32
      v0High = (v0High + v1High + carryOf(v0Low, v1Low)) | 0;
      v0Low = (v0Low + v1Low) | 0;
      low = rotatedHalf(v1Low, v1High, 13) ^ v0Low;
      high = rotatedHalf(v1High, v1Low, 13) ^ v0High;
      v1Low = low;
      v1High = high;
      low = v0High;
      v0High = v0Low;
      v0Low = low;
      // v2 += v3; v3 = (v3 <<< 16) ^ v2
      v2High = (v2High + v3High + carryOf(v2Low, v3Low)) | 0;
      v2Low = (v2Low + v3Low) | 0;
      low = rotatedHalf(v3Low, v3High, 16) ^ v2Low;
      high = rotatedHalf(v3High, v3Low, 16) ^ v2High;
      v3Low = low;
      v3High = high;
      // v0 += v3; v3 = (v3 <<< 21) ^ v0
      v0High = (v0High + v3High + carryOf(v0Low, v3Low)) | 0;
      v0Low = (v0Low + v3Low) | 0;
      low = rotatedHalf(v3Low, v3High, 21) ^ v0Low;
      high = rotatedHalf(v3High, v3Low, 21) ^ v0High;
      v3Low = low;
      v3High = high;
      // v2 += v1; v1 = (v1 <<< 17) ^ v2; v2 <<<= 32
      v2High = (v2High + v1High + carryOf(v2Low, v1Low)) | 0;
      v2Low = (v2Low + v1Low) | 0;
      low = rotatedHalf(v1Low, v1High, 17) ^ v2Low;
      high = rotatedHalf(v1High, v1Low, 17) ^ v2High;
      v1Low = low;
      v1High = high;
      low = v2High;
      v2High = v2Low;
      v2Low = low;
    }

    v0Low ^= wordLow;
    v0High ^= wordHigh;
  }

  return toHex(v0Low ^ v1Low ^ v2Low ^ v3Low) + toHex(v0High ^ v1High ^ v2High ^ v3High);
}

/** Gives what the sum of two low halves adds to the high one. */
function carryOf(low: number, otherLow: number): number {
  return (low >>> 0) + (otherLow >>> 0) >= WORD ? 1 : 0;
}

/** Gives one half of a 64-bit number turned left by 1 to 31 bits: its own bits move up, the other half's top bits come in. */
function rotatedHalf(half: number, otherHalf: number, bits: number): number {
  return (half << bits) | (otherHalf >>> (32 - bits));
}

/** Writes four bytes as hex, the lowest first. */
function toHex(word: number): string {
  const swapped = ((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
  return (swapped >>> 0).toString(16).padStart(8, "0");
}
