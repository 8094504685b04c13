/**
 * Sessions in Redis, sealed: for a fleet that has a Redis and no database at hand. Says what it found out about that Redis,
 * because a session that Redis forgets is a person who must sign in again.
 *
 * `npm run build`, then with Node 22.18 or later `node examples/redis-store.ts` twice: the second run finds what the first
 * one left. With `REDIS_URL` and `TOKEN_KEY` (`openssl rand -base64 32`); the warehouse is a fake one.
 */
import { pathToFileURL } from "node:url";
import { Redis } from "ioredis";
import { TokenManager, type OAuthClient } from "warehouse-oauth";
import { encryptedStore, keyRing } from "warehouse-oauth/stores/encrypted";
import { redisStore } from "warehouse-oauth/stores/redis";

/** Says what of a server's settings loses sessions: nothing, if all is well. Some services do not let anybody ask. */
export async function warningsOf(redis: Redis): Promise<string[]> {
  const setting = async (name: string): Promise<string | undefined> => {
    const [, value] = (await redis.config("GET", name)) as (string | undefined)[];
    return value;
  };
  const warnings: string[] = [];
  if ((await setting("maxmemory-policy")) !== "noeviction") warnings.push("a full memory drops sessions: noeviction");
  if ((await setting("appendonly")) !== "yes") warnings.push("a restart loses sessions: appendonly yes");
  return warnings;
}

/** Makes the manager of one process. */
export function openManager(redis: Redis, key: string, client: OAuthClient): TokenManager {
  const manager = new TokenManager({
    store: encryptedStore(redisStore({ client: redis }), { keys: keyRing([{ id: "2026-11", key }]) }),
    resolveClient: ({ connectionId }) => (connectionId === client.connectionId ? client : undefined),
  });
  manager.start();
  return manager;
}

async function main({
  REDIS_URL = "redis://127.0.0.1:6379",
  TOKEN_KEY = "",
}: Readonly<Record<string, string | undefined>>): Promise<void> {
  const { fakeDatabricks } = await import("warehouse-oauth/testing");
  const fake = fakeDatabricks();
  const redis = new Redis(REDIS_URL, { maxRetriesPerRequest: 1 });
  redis.on("error", () => undefined); // it connects again by itself; calls meanwhile say that they failed
  for (const warning of await warningsOf(redis)) process.stdout.write(`${warning}\n`);
  const manager = openManager(redis, TOKEN_KEY, fake.client);
  const ada = manager.session(fake.client, { subject: "ada" });
  process.stdout.write(`found: ${(await ada.status()).state}\n`);
  await manager.save(fake.client, { subject: "ada" }, await fake.issueTokens({ client: fake.client }));
  process.stdout.write(`saved: ${(await ada.status()).state}\n`);
  await manager.close();
  redis.disconnect();
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main(process.env);
