import type { DataKeyContext, KeyProvider } from "./data-keys.ts";
import type { KeyRing } from "./key-ring.ts";
import { addressOf, openSealed, readSealedBy, sealText } from "./seal.ts";
import type { SealPlace } from "./seal.ts";

/**
 * Stands in for a key service, for tests and development: wraps data keys with a ring in this process. Says `"key_gone"`
 * once the ring no longer has the key.
 *
 * @example
 *
 * ```ts
 * import { memoryStore } from "warehouse-oauth";
 * import { encryptedStore, keyRing, localKeyProvider } from "warehouse-oauth/stores/encrypted";
 *
 * const ring = keyRing([{ id: "dev", key: crypto.getRandomValues(new Uint8Array(32)) }]);
 * export const store = encryptedStore(memoryStore(), { keys: localKeyProvider(ring) });
 * ```
 */
export function localKeyProvider(ring: KeyRing): KeyProvider {
  const encoder = new TextEncoder();
  const placeOf = async ({ tenant, purpose }: DataKeyContext): Promise<SealPlace> => ({
    purpose: "data-key",
    address: await addressOf(JSON.stringify([tenant ?? "", purpose])),
  });
  return Object.freeze<KeyProvider>({
    async wrap(dataKey, context) {
      const key = await ring.sealing("data-key");
      const text = await sealText(String.fromCharCode(...dataKey), await placeOf(context), key);
      return { keyId: key.id, wrapped: encoder.encode(text) };
    },
    async unwrap({ wrapped }, context) {
      const text = new TextDecoder().decode(wrapped);
      const sealedBy = readSealedBy(text, await placeOf(context));
      if (sealedBy === undefined) return "unreadable";
      const key = await ring.opening("data-key", context.tenant, sealedBy);
      if (key === undefined) return "key_gone";
      const dataKey = await openSealed(text, key);
      return dataKey === undefined ? "unreadable" : Uint8Array.from(dataKey, (byte) => byte.charCodeAt(0));
    },
  });
}
