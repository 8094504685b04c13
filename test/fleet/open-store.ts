import type { TokenStore } from "warehouse-oauth";
import { encryptedStore, keyRing } from "warehouse-oauth/stores/encrypted";
import type { StoreAddress } from "./messages.ts";

/** A store of one process, and the end of its connections. */
export interface OpenStore {
  readonly store: TokenStore;
  close(): Promise<void>;
}

/** Connections that one process opens at most: fifty of them fit into one PostgreSQL. */
const CONNECTIONS = 4;

/** Opens the store that an address names, as an application would. */
export async function openStore(address: StoreAddress): Promise<OpenStore> {
  const opened = await openPlain(address);
  const { sealedWith } = address;
  return sealedWith === undefined ? opened : { ...opened, store: sealedStore(opened.store, sealedWith) };
}

/** A store as everybody sees it who has this key, in base64. */
export function sealedStore(store: TokenStore, key: string): TokenStore {
  return encryptedStore(store, { keys: keyRing([{ id: "test", key }]) });
}

async function openPlain(address: StoreAddress): Promise<OpenStore> {
  switch (address.kind) {
    case "file": {
      const { fileStore } = await import("warehouse-oauth/stores/file");
      return { store: fileStore({ directory: address.folder }), close: () => Promise.resolve() };
    }
    case "postgres": {
      const { default: pg } = await import("pg");
      const { postgresStore } = await import("warehouse-oauth/stores/postgres");
      const pool = new pg.Pool({ connectionString: address.url, max: CONNECTIONS, connectionTimeoutMillis: 4_000 });
      // A connection that breaks while nobody uses it is replaced at the next use.
      pool.on("error", () => undefined);
      return { store: postgresStore({ client: pool }), close: () => pool.end() };
    }
    case "redis": {
      const { Redis } = await import("ioredis");
      const { redisStore } = await import("warehouse-oauth/stores/redis");
      const redis = new Redis(address.url, { maxRetriesPerRequest: 1 });
      redis.on("error", () => undefined);
      return {
        store: redisStore({ client: redis }),
        close: () => {
          redis.disconnect();
          return Promise.resolve();
        },
      };
    }
  }
}
