import { Redis } from "ioredis";
import { expect, test } from "vitest";
import { fakeDatabricks } from "warehouse-oauth/testing";
import { openManager, warningsOf } from "../../examples/redis-store.ts";
import { noRedis, startRedis } from "../services/redis.ts";

test.skipIf(noRedis !== undefined)(
  `a session outlives its process and is refreshed once by those who share it ${noRedis ?? ""}`,
  async () => {
    const service = await startRedis();
    const redis = new Redis(service.url);
    try {
      const fake = fakeDatabricks({ refreshRotation: "single-use" });
      const key = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64");
      const first = openManager(redis, key, fake.client);
      const login = await fake.issueTokens({ client: fake.client });
      await first.save(fake.client, { subject: "ada" }, login);
      await first.close();
      const [name = ""] = await redis.keys("*record:*");
      expect(JSON.stringify(await redis.hgetall(name))).not.toContain(login.accessToken);

      const managers = Array.from({ length: 3 }, () => openManager(redis, key, fake.client));
      const refused = login.accessToken;
      const tokens = await Promise.all(
        managers.map((manager) =>
          manager.session(fake.client, { subject: "ada" }).getAccessToken({ rejected: refused }),
        ),
      );
      expect(new Set(tokens).size).toBe(1);
      expect(tokens[0]).not.toBe(refused);
      expect(fake.requests.filter(({ grant }) => grant === "refresh_token")).toHaveLength(1);
      for (const manager of managers) await manager.close();

      expect(await warningsOf(redis)).toEqual([]);
      await redis.config("SET", "maxmemory-policy", "allkeys-lru");
      await redis.config("SET", "appendonly", "no");
      expect(await warningsOf(redis)).toHaveLength(2);
    } finally {
      redis.disconnect();
      await service.stop();
    }
  },
  30_000,
);
