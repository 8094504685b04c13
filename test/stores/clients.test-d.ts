import type { PGlite } from "@electric-sql/pglite";
import type { Cluster, Redis } from "ioredis";
import type { Client, Pool, PoolClient } from "pg";
import type { Sql } from "postgres";
import type { createClient, createClientPool, createCluster, createSentinel } from "redis";
import { describe, expectTypeOf, test } from "vitest";
import type { TokenStore } from "warehouse-oauth";
import { postgresStore } from "warehouse-oauth/stores/postgres";
import type { PostgresStoreOptions } from "warehouse-oauth/stores/postgres";
import { redisStore } from "warehouse-oauth/stores/redis";
import type { RedisStoreOptions } from "warehouse-oauth/stores/redis";

describe("the clients that people have fit as they are", () => {
  type PostgresClient = PostgresStoreOptions["client"];
  type RedisClient = RedisStoreOptions["client"];

  test("pg, postgres and PGlite", () => {
    expectTypeOf<Pool>().toExtend<PostgresClient>();
    expectTypeOf<Client>().toExtend<PostgresClient>();
    expectTypeOf<PoolClient>().toExtend<PostgresClient>();
    expectTypeOf<Sql>().toExtend<PostgresClient>();
    expectTypeOf<Sql<{ bigint: bigint }>>().toExtend<PostgresClient>();
    expectTypeOf<PGlite>().toExtend<PostgresClient>();
  });

  test("ioredis and node-redis", () => {
    expectTypeOf<Redis>().toExtend<RedisClient>();
    expectTypeOf<Cluster>().toExtend<RedisClient>();
    expectTypeOf<ReturnType<typeof createClient>>().toExtend<RedisClient>();
    expectTypeOf<ReturnType<typeof createClientPool>>().toExtend<RedisClient>();
    expectTypeOf<ReturnType<typeof createCluster>>().toExtend<RedisClient>();
    expectTypeOf<ReturnType<typeof createSentinel>>().toExtend<RedisClient>();
  });

  test("what is no such client does not", () => {
    expectTypeOf<{ query(text: string): void }>().not.toExtend<PostgresClient>();
    expectTypeOf<{ get(key: string): Promise<string> }>().not.toExtend<RedisClient>();
    // @ts-expect-error a connection string is not a client
    expectTypeOf(postgresStore).toBeCallableWith({ client: "postgres://127.0.0.1/" });
    // @ts-expect-error neither here
    expectTypeOf(redisStore).toBeCallableWith({ client: "redis://127.0.0.1" });
  });

  test("both are stores that have everything", () => {
    expectTypeOf(postgresStore).returns.toExtend<Required<TokenStore>>();
    expectTypeOf(redisStore).returns.toExtend<Required<TokenStore>>();
  });
});
