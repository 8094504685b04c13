import { createHash } from "node:crypto";
import { vi } from "vitest";

/**
 * Takes chance and threads out of Web Crypto: random bytes come from a seed, and digests come at once instead of
 * through the event loop, in whatever order the threads finish. Without it the same schedule is not the same run.
 */
export function makeCryptoRepeatable(seed: number): void {
  const random = seededRandom(seed);
  vi.spyOn(crypto, "getRandomValues").mockImplementation((array) => {
    const bytes = ArrayBuffer.isView(array)
      ? new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
      : new Uint8Array(0);
    for (let index = 0; index < bytes.length; index++) bytes[index] = Math.floor(random() * 256);
    return array;
  });
  let nextId = 0;
  vi.spyOn(crypto, "randomUUID").mockImplementation(() => {
    const tail = String(nextId++).padStart(12, "0");
    return `00000000-0000-4000-8000-${tail}`;
  });
  vi.spyOn(crypto.subtle, "digest").mockImplementation((_algorithm, data) => {
    const bytes = ArrayBuffer.isView(data)
      ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
      : new Uint8Array(data);
    const digest = createHash("sha256").update(bytes).digest();
    return Promise.resolve(new Uint8Array(digest).buffer);
  });
}

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}
