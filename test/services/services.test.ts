import { Redis } from "ioredis";
import pg from "pg";
import { describe, expect, test } from "vitest";
import { noPostgres, startPostgres } from "./postgres.ts";
import { noRedis, startRedis } from "./redis.ts";

describe("services", () => {
  test.skipIf(noRedis !== undefined)(`a Redis of our own keeps its data across a crash ${noRedis ?? ""}`, async () => {
    const service = await startRedis();
    try {
      const before = new Redis(service.url);
      await before.set("a", "1");
      before.disconnect();
      await service.crash();
      await service.restart();
      const after = new Redis(service.url);
      expect(await after.get("a")).toBe("1");
      after.disconnect();
    } finally {
      await service.stop();
    }
  });

  test.skipIf(noPostgres !== undefined)(
    `a PostgreSQL of our own keeps its data across a crash ${noPostgres ?? ""}`,
    async () => {
      const service = await startPostgres();
      try {
        const before = new pg.Client(service.url);
        await before.connect();
        await before.query("create table t(a int)");
        await before.query("insert into t values (1)");
        await before.end();
        await service.crash();
        await service.restart();
        const after = new pg.Client(service.url);
        await after.connect();
        expect((await after.query("select a from t")).rows).toEqual([{ a: 1 }]);
        await after.end();
      } finally {
        await service.stop();
      }
    },
  );
});
