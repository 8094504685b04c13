/**
 * Tokens that lie sealed in a database, with keys that the database does not have: a key ring from the environment, or a
 * key service (KMS) with one key for each customer. And the sweep that brings everything under a new key.
 */
import { TokenManager, type TokenStore } from "warehouse-oauth";
import {
  encryptedStore,
  keyRing,
  type KeyProvider,
  type KeyRing,
  type ResealProgress,
} from "warehouse-oauth/stores/encrypted";

/**
 * Reads a ring from text like `2026-11:<base64>,2025-11:<base64>`: the first key seals, the others still open. Make one
 * with `openssl rand -base64 32`, and keep it where the database's backups are not.
 */
export function readKeyRing(text: string): KeyRing {
  return keyRing(
    text.split(",").map((entry) => {
      const [id = "", key = ""] = entry.trim().split(":");
      return { id, key };
    }),
  );
}

/** A manager on your database. Whoever reads the database reads no token. */
export function createManager(database: TokenStore, keys: KeyRing | KeyProvider): TokenManager {
  return new TokenManager({ store: encryptedStore(database, { keys }) });
}

/** What we need of a key service. That of AWS (`@aws-sdk/client-kms`, class `KMS`) has this shape. */
export interface KeyService {
  encrypt(
    request: {
      readonly KeyId: string;
      readonly Plaintext: Uint8Array;
      readonly EncryptionContext: Record<string, string>;
    },
    options?: { readonly abortSignal?: AbortSignal },
  ): Promise<{ readonly KeyId?: string | undefined; readonly CiphertextBlob?: Uint8Array | undefined }>;
  decrypt(
    request: { readonly CiphertextBlob: Uint8Array; readonly EncryptionContext: Record<string, string> },
    options?: { readonly abortSignal?: AbortSignal },
  ): Promise<{ readonly Plaintext?: Uint8Array | undefined }>;
}

/** Errors that no repetition cures; all others mean that the service cannot be asked now. */
const ANSWERS: Readonly<Record<string, "key_gone" | "unreadable">> = {
  DisabledException: "key_gone",
  KMSInvalidStateException: "key_gone", // waiting to be deleted
  NotFoundException: "key_gone",
  IncorrectKeyException: "unreadable",
  InvalidCiphertextException: "unreadable", // changed, or of another customer
};

/**
 * One key-encryption key for each customer. The customer and the purpose go into the encryption context, so that the
 * service itself refuses to open one customer's data key for another, and can let a process open the one purpose only.
 */
export function keysByCustomer(service: KeyService, keyOf: (tenant: string | undefined) => string): KeyProvider {
  const contextOf = (tenant: string | undefined, purpose: string): Record<string, string> => ({
    purpose,
    ...(tenant !== undefined && { tenant }),
  });
  return {
    async wrap(dataKey, { tenant, purpose }, { signal }) {
      const KeyId = keyOf(tenant);
      const request = { KeyId, Plaintext: dataKey, EncryptionContext: contextOf(tenant, purpose) };
      const { CiphertextBlob: wrapped } = await service.encrypt(request, { abortSignal: signal });
      if (wrapped === undefined) throw new Error("the key service gave no answer");
      return { keyId: KeyId, wrapped };
    },
    async unwrap({ wrapped }, { tenant, purpose }, { signal }) {
      const request = { CiphertextBlob: wrapped, EncryptionContext: contextOf(tenant, purpose) };
      try {
        const { Plaintext: dataKey } = await service.decrypt(request, { abortSignal: signal });
        if (dataKey === undefined) throw new Error("the key service gave no answer");
        return dataKey;
      } catch (error) {
        const answer = ANSWERS[(error as Error).name];
        if (answer === undefined) throw error;
        return answer;
      }
    },
  };
}

/** The last step but one of a rotation: brings everything under the first key, while the application goes on. */
export async function resealEverything(
  database: TokenStore,
  keys: KeyRing | KeyProvider,
  print: (line: string) => void,
  signal?: AbortSignal,
): Promise<ResealProgress> {
  const store = encryptedStore(database, { keys });
  const progress = await store.reseal({
    ...(signal !== undefined && { signal }),
    onProgress: ({ looked, resealed, after }) => {
      print(`${String(resealed)} of ${String(looked)} sealed anew; to go on from here: ${after ?? ""}`);
    },
    onUnreadable: (key, code) => {
      print(`${key} cannot be opened (${code}): that person signs in again`);
    },
  });
  // Nobody may take the old key away before this is 0.
  print(`${String(progress.skipped)} left for another run`);
  return progress;
}
