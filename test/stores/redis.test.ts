import { randomBytes } from "node:crypto";
import { Cluster, Redis } from "ioredis";
import { createClient, createCluster } from "redis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ConfigurationError, StoreError } from "warehouse-oauth";
import type { Lease, TokenStore } from "warehouse-oauth";
import { redisStore } from "warehouse-oauth/stores/redis";
import type { IoredisClient, RedisStoreOptions } from "warehouse-oauth/stores/redis";
import { storeContract } from "warehouse-oauth/testing";
import { noRedis, startRedis } from "../services/redis.ts";
import type { Service } from "../services/service.ts";
import { buildRacer } from "./elsewhere.ts";
import type { Elsewhere } from "./elsewhere.ts";
import { sealedStore } from "../fleet/open-store.ts";
import { startLossyWire } from "./lossy-wire.ts";
import { startRedisCluster } from "./redis-cluster.ts";

const ANEW = { ifVersion: undefined };

async function failureOf(run: Promise<unknown>): Promise<StoreError> {
  const error: unknown = await run.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(StoreError);
  return error as StoreError;
}

function sleep(durationMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, durationMs));
}

/** Asks until there is something. */
async function soon<T>(ask: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const found = await ask();
    if (found !== undefined) return found;
    await sleep(10);
  }
}

/** A client that answers every script with what it is given. */
function answering(answer: () => Promise<unknown>): IoredisClient {
  return { eval: answer, evalsha: answer };
}

describe("redisStore without Redis", () => {
  const client = answering(() => Promise.reject(new Error("was asked")));

  test.each(["", "a b", "a{b}", "a\n", "é", "a".repeat(101)])("%j is no prefix", (prefix) => {
    expect(() => redisStore({ client, prefix })).toThrow(ConfigurationError);
  });

  test.each([0, 65, 1.5, Number.NaN])("%j is no number of partitions", (partitions) => {
    expect(() => redisStore({ client, partitions })).toThrow(ConfigurationError);
  });

  test.each([[undefined], [null], ["redis://"], [{}], [{ eval: () => undefined }]])("%j is no client", (other) => {
    const call = (): TokenStore => redisStore({ client: other as unknown as RedisStoreOptions["client"] });
    expect(call).toThrow(TypeError);
    expect(call).toThrow(/"client" must be/);
  });

  test("nothing is begun with a signal that is aborted", async () => {
    const signal = AbortSignal.abort(new Error("too late"));
    const store = redisStore({ client });
    const calls = [
      store.read("key", { signal }),
      store.write("key", { value: "" }, { ifVersion: undefined, signal }),
      store.delete("key", { signal }),
      store.lease("key", { ttlMs: 1_000, signal }),
      store.due({ before: 1, limit: 1, signal }),
      store.keys({ limit: 1, signal }),
    ];
    for (const call of calls) await expect(call).rejects.toThrow("too late");
  });

  test("a client that gives buffers is found out", async () => {
    const buffers = redisStore({ client: answering(() => Promise.resolve([Buffer.from("1")])) });
    expect((await failureOf(buffers.read("key", {}))).message).toMatch(/set to give buffers/);
    expect((await failureOf(buffers.keys({ limit: 1 }))).message).toMatch(/set to give buffers/);
    const nothing = redisStore({ client: answering(() => Promise.resolve(null)) });
    expect((await failureOf(nothing.due({ before: 1, limit: 1 }))).action).toBe("fix_config");
  });

  test.each([
    ["READONLY You can't write against a read only replica.", "retry", /replica/],
    ["ERR Error running script (call to f_1): @user_script:4: -READONLY You can't write", "retry", /replica/],
    ["LOADING Redis is loading the dataset in memory", "retry", /loading/],
    ["CLUSTERDOWN Hash slot not served", "retry", /primary of this slot/],
    ["MISCONF Redis is configured to save RDB snapshots", "retry", /cannot save to disk/],
    ["CROSSSLOT Keys in request don't hash to the same slot", "fix_config", /several slots/],
    ["NOAUTH Authentication required.", "fix_config", /password/],
    ["Connection is closed.", "retry", /no answer/],
  ])("S-083 %s: %s", async (message, action, says) => {
    const store = redisStore({ client: answering(() => Promise.reject(new Error(message))) });
    const error = await failureOf(store.write("key", { value: "secret" }, ANEW));
    expect(error).toMatchObject({ code: "store_unavailable", action, retryable: action === "retry" });
    expect(error.message).toMatch(says);
    expect(error.message).not.toContain(message);
  });
});

describe.skipIf(noRedis !== undefined)(`redisStore on Redis ${noRedis ?? ""}`, () => {
  let service: Service;
  let elsewhere: Elsewhere;
  let redis: Redis;
  let node: ReturnType<typeof createClient>;
  let store: ReturnType<typeof redisStore>;
  const clients: Redis[] = [];

  const connect = (options: object = {}): Redis => {
    const made = new Redis({ host: "127.0.0.1", port: service.port, maxRetriesPerRequest: 1, ...options });
    made.on("error", () => undefined);
    clients.push(made);
    return made;
  };

  beforeAll(async () => {
    [service, elsewhere] = await Promise.all([startRedis(), buildRacer()]);
    redis = connect();
    node = createClient({ url: service.url });
    node.on("error", () => undefined);
    await node.connect();
    store = redisStore({ client: redis });
  });

  afterAll(async () => {
    for (const client of clients) client.disconnect();
    node.destroy();
    await service.stop();
    await elsewhere.remove();
  });

  describe("with ioredis", () => {
    const cases = storeContract({
      open: () => redisStore({ client: connect() }),
      shared: true,
      elsewhere: (plan) => elsewhere.race({ kind: "redis", url: service.url }, plan),
    });
    for (const { name, run } of cases) test(name, run);
  });

  describe("with node-redis", () => {
    const cases = storeContract({
      open: () => redisStore({ client: node }),
      shared: true,
      elsewhere: (plan) => elsewhere.race({ kind: "redis", url: service.url }, plan),
    });
    for (const { name, run } of cases) test(name, run);
  });

  describe("with ioredis, sealed by encryptedStore", () => {
    const sealedWith = randomBytes(32).toString("base64");
    const cases = storeContract({
      open: () => sealedStore(redisStore({ client: connect() }), sealedWith),
      shared: true,
      elsewhere: (plan) => elsewhere.race({ kind: "redis", url: service.url, sealedWith }, plan),
    });
    for (const { name, run } of cases) test(name, run);
  });

  describe("with seven partitions, and a client that puts its own prefix before all keys", () => {
    const options = { prefix: "app:tokens", partitions: 7 };
    const open = (): TokenStore => redisStore({ client: connect({ keyPrefix: "all/" }), ...options });
    for (const { name, run } of storeContract({ open, shared: true }).filter(reachesLists)) test(name, run);
  });

  test("the contract finds WATCH on a shared connection, which lets every writer win", async () => {
    const watching: TokenStore = {
      ...pick(store),
      async write(key, record, { ifVersion }) {
        await redis.watch(`watched:${key}`);
        if (((await redis.get(`watched:${key}`)) ?? undefined) !== ifVersion) {
          await redis.unwatch();
          return undefined;
        }
        const version = crypto.randomUUID();
        const done = await redis.multi().set(`watched:${key}`, version).exec();
        if (done === null) return undefined;
        const { version: before } = (await store.read(key, {})) ?? {};
        await store.write(key, record, { ifVersion: before });
        return version;
      },
    };
    const cases = storeContract({ open: () => watching });
    await expect(cases.find(({ name }) => name.includes("one passes"))?.run()).rejects.toThrow(/writes on one version/);
  });

  describe("what lies in Redis", () => {
    test("is found again by every later version: its names do not change", async () => {
      const named = redisStore({ client: redis, prefix: "layout", partitions: 16 });
      await named.write("tenant/subject//id", { value: "v", dueAt: 1, deleteAfter: 4e12 + 0.5 }, ANEW);
      await named.lease("tenant/subject//id", { ttlMs: 60_000 });
      const keys = (await redis.keys("{layout*")).sort();
      expect(keys).toEqual([
        "{layout:5}due",
        "{layout:5}ends",
        "{layout:5}lease:tenant/subject//id",
        "{layout:5}names",
        "{layout:5}record:tenant/subject//id",
      ]);
      expect(await redis.hgetall(keys[4] ?? "")).toMatchObject({ value: "v", due: "1", end: "4000000000000.5" });
      expect(await redis.pexpiretime(keys[4] ?? "")).toBe(4_000_000_000_001);
    });

    test("S-080 a record goes at its end by itself, and the lists forget it", async () => {
      const brief = redisStore({ client: redis, prefix: "brief" });
      for (const name of ["a", "b"]) {
        await brief.write(name, { value: "", dueAt: 1, deleteAfter: Date.now() - 1_000 }, ANEW);
      }
      await brief.write("c", { value: "", dueAt: 1 }, ANEW);
      expect(await brief.read("a", {})).toBeUndefined();
      expect(await brief.due({ before: 10, limit: 10 })).toEqual([{ key: "c", dueAt: 1 }]);
      expect(await brief.keys({ limit: 10 })).toEqual(["c"]);
      expect(await redis.zcard("{brief}ends")).toBe(0);
      await brief.delete("c", {});
      expect(await redis.keys("{brief}*")).toEqual([]);
    });

    test("S-080 writes alone keep the lists from growing with the dead", async () => {
      const busy = redisStore({ client: redis, prefix: "busy" });
      for (let write = 0; write < 60; write += 1) {
        await busy.write(`key-${String(write)}`, { value: "", deleteAfter: Date.now() - 1_000 }, ANEW);
      }
      expect(await redis.zcard("{busy}names")).toBeLessThan(10);
      expect(await redis.zcard("{busy}ends")).toBeLessThan(10);
    });

    test("a later write takes the end away or puts it off", async () => {
      const version = await store.write("kept", { value: "1", deleteAfter: Date.now() + 50_000 }, ANEW);
      const second = await store.write(
        "kept",
        { value: "2", deleteAfter: Date.now() + 100_000 },
        { ifVersion: version },
      );
      await store.write("kept", { value: "3", deleteAfter: Infinity }, { ifVersion: second });
      expect(await redis.pttl("{warehouse-oauth}record:kept")).toBe(-1);
      expect((await store.read("kept", {}))?.record).toEqual({ value: "3", deleteAfter: Infinity });
      await store.delete("kept", {});
    });

    test("a record that was evicted is absent, and no list names it for long", async () => {
      const evicted = redisStore({ client: redis, prefix: "evicted" });
      await evicted.write("key", { value: "", dueAt: 1 }, ANEW);
      await redis.del("{evicted}record:key");
      expect(await evicted.due({ before: 10, limit: 10 })).toHaveLength(1);
      expect(await evicted.read("key", {})).toBeUndefined();
      expect(await evicted.due({ before: 10, limit: 10 })).toEqual([]);
      expect(await evicted.keys({ limit: 10 })).toEqual([]);
    });

    test("partitions are about even, and lists are in order over all of them", async () => {
      const spread = redisStore({ client: redis, prefix: "spread", partitions: 4 });
      const names = Array.from({ length: 200 }, (_, at) => `tenant-${String(at % 7)}/subject-${String(at)}//id`);
      await Promise.all(names.map((name, at) => spread.write(name, { value: "", dueAt: 1_000 - at }, ANEW)));
      for (const partition of ["0", "1", "2", "3"]) {
        expect(await redis.zcard(`{spread:${partition}}names`)).toBeGreaterThan(25);
      }
      expect(await spread.keys({ limit: 50 })).toEqual(names.toSorted().slice(0, 50));
      const due = await spread.due({ before: 1_000, limit: 3 });
      expect(due.map(({ dueAt }) => dueAt)).toEqual([801, 802, 803]);
    });
  });

  describe("leases", () => {
    test("R-45 end by Redis's own clock, to the millisecond that was asked for", async () => {
      /** When Redis says that it ends, and what Redis's own clock says before and after it was asked for. */
      const during = async (
        work: () => Promise<unknown>,
      ): Promise<readonly [before: number, end: number, after: number]> => {
        const timeOf = async (): Promise<number> => {
          const [seconds, microseconds] = await redis.time();
          return Number(seconds) * 1_000 + Math.floor(Number(microseconds) / 1_000);
        };
        const before = await timeOf();
        await work();
        const after = await timeOf();
        return [before, await redis.pexpiretime("{warehouse-oauth}lease:clock"), after];
      };
      let lease: Lease | undefined;
      for (const [ttlMs, work] of [
        [60_001, async () => (lease = await store.lease("clock", { ttlMs: 60_000.2 }))],
        [120_001, () => lease?.renew(120_000.2) ?? Promise.reject(new Error("it was not free"))],
      ] as const) {
        const [before, end, after] = await during(work);
        expect(end).toBeGreaterThanOrEqual(before + ttlMs);
        expect(end).toBeLessThanOrEqual(after + ttlMs);
      }
      await lease?.release();
      expect(await redis.exists("{warehouse-oauth}lease:clock")).toBe(0);
    });

    test("that came too late are given back", async () => {
      const controller = new AbortController();
      const slow: IoredisClient = {
        eval: (script, count, ...rest) => redis.eval(script, count, ...rest),
        async evalsha(digest, count, ...rest) {
          const reply = await redis.evalsha(digest, count, ...rest);
          controller.abort(new Error("too late"));
          return reply;
        },
      };
      await redisStore({ client: redis }).lease("warm", { ttlMs: 1 }); // the script is known, so that it is sent once
      const late = redisStore({ client: slow });
      await expect(late.lease("late", { ttlMs: 60_000, signal: controller.signal })).rejects.toThrow("too late");
      expect(await redis.exists("{warehouse-oauth}lease:late")).toBe(0);
    });
  });

  test("a server that has forgotten the scripts gets them again", async () => {
    for (const client of [redis, node]) {
      const forgotten = redisStore({ client });
      await forgotten.delete("scripts", {});
      await redis.script("FLUSH");
      expect(await forgotten.write("scripts", { value: "" }, ANEW)).toBeTypeOf("string");
      await redis.script("FLUSH");
      expect((await forgotten.read("scripts", {}))?.record).toEqual({ value: "" });
    }
    await store.delete("scripts", {});
  });

  describe("errors", () => {
    test("something else under the prefix, and a user who may not", async () => {
      await redis.set("{taken}record:key", "text");
      const taken = await failureOf(redisStore({ client: redis, prefix: "taken" }).read("key", {}));
      expect(taken).toMatchObject({ code: "store_unavailable", action: "fix_config", operation: "read" });
      expect(taken.message).toMatch(/prefix of its own/);

      await redis.call("ACL", "SETUSER", "weak", "on", "nopass", "~other:*", "+@all");
      const weak = redisStore({ client: connect({ username: "weak", password: "x" }) });
      expect((await failureOf(weak.read("key", {}))).message).toMatch(/may not run scripts on these keys/);
    });

    test("R-69 a memory that is full takes no record, and gives those it has", async () => {
      const version = await store.write("full", { value: "before" }, ANEW);
      await redis.config("SET", "maxmemory", "1mb");
      try {
        const error = await failureOf(store.write("full", { value: "after" }, { ifVersion: version }));
        expect(error).toMatchObject({ code: "store_unavailable", retryable: true, action: "retry" });
        expect(error.message).toMatch(/memory is full/);
      } finally {
        await redis.config("SET", "maxmemory", "0");
      }
      expect((await store.read("full", {}))?.record.value).toBe("before");
      await store.delete("full", {});
    });

    test("R-69 a replica takes no record", async () => {
      await redis.replicaof("127.0.0.1", 1);
      try {
        const error = await failureOf(store.write("replica", { value: "" }, ANEW));
        expect(error).toMatchObject({ retryable: true, action: "retry" });
        expect(error.message).toMatch(/must reach the primary/);
      } finally {
        await redis.replicaof("NO", "ONE");
      }
    });
  });

  describe("R-69 an answer that is lost", () => {
    test("with ioredis, which sends again: the second run finds its own version and has passed", async () => {
      const wire = await startLossyWire(service.port);
      const client = connect({ port: wire.port, maxRetriesPerRequest: 20 });
      const wired = redisStore({ client });
      const first = await wired.write("lost-io", { value: "old" }, ANEW);
      wire.loseNextAnswer();
      const second = await wired.write("lost-io", { value: "new" }, { ifVersion: first });
      expect(second).toBeTypeOf("string");
      expect(await wired.read("lost-io", {})).toEqual({ record: { value: "new" }, version: second });
      wire.loseNextAnswer();
      const lease = await wired.lease("lost-io", { ttlMs: 60_000 });
      expect(lease).toBeDefined();
      await lease?.release();
      await wired.delete("lost-io", {});
      client.disconnect();
      await wire.close();
    });

    test("with node-redis, which does not: the record is the old one or the new one", async () => {
      const wire = await startLossyWire(service.port);
      const client = createClient({ url: `redis://127.0.0.1:${String(wire.port)}` });
      client.on("error", () => undefined);
      await client.connect();
      const wired = redisStore({ client });
      const first = await wired.write("lost-node", { value: "old" }, ANEW);
      wire.loseNextAnswer();
      const error = await failureOf(wired.write("lost-node", { value: "new" }, { ifVersion: first }));
      expect(error).toMatchObject({ code: "store_unavailable", retryable: true });
      const read = await wired.read("lost-node", {});
      const again = await wired.write("lost-node", { value: "again" }, { ifVersion: first });
      expect(again === undefined).toBe(read?.record.value === "new");
      await wired.delete("lost-node", {});
      // A lease that was given to nobody blocks nobody.
      await wired.lease("warm", { ttlMs: 1 }); // the script is known, so that it is sent once
      wire.loseNextAnswer();
      await failureOf(wired.lease("lost-node", { ttlMs: 600_000 }));
      const next = await soon(() => store.lease("lost-node", { ttlMs: 600_000 }));
      await next.release();
      client.destroy();
      await wire.close();
    });
  });

  test("R-69 a crash in mid-use loses nothing that was said to be written, where the log is on disk", async () => {
    const client = connect({ maxRetriesPerRequest: 0, enableOfflineQueue: false, retryStrategy: () => 50 });
    await new Promise((resolve) => client.once("ready", resolve));
    const used = redisStore({ client });
    const lease = await used.lease("crash", { ttlMs: 60_000 });
    const last = new Map<string, string>();
    let failures = 0;
    const writers = Array.from({ length: 4 }, async (_, writer) => {
      const key = `crash-${String(writer)}`;
      for (let write = 0; failures < 20; write += 1) {
        try {
          const ifVersion = (await used.read(key, {}))?.version;
          if ((await used.write(key, { value: String(write) }, { ifVersion })) !== undefined)
            last.set(key, String(write));
        } catch (error) {
          expect(error).toMatchObject({ code: "store_unavailable", retryable: true });
          failures += 1;
          await sleep(20);
        }
      }
    });
    while (last.size < writers.length) await sleep(5); // each has written once
    await service.crash();
    await Promise.all(writers);
    await service.restart();
    if (client.status !== "ready") await new Promise((resolve) => client.once("ready", resolve));
    expect(last.size).toBe(4);
    for (const [key, value] of last) {
      // A write whose answer was lost may have come after the last one that was answered.
      expect(Number((await used.read(key, {}))?.record.value)).toBeGreaterThanOrEqual(Number(value));
      await used.delete(key, {});
    }
    expect(await used.lease("crash", { ttlMs: 1_000 })).toBeUndefined();
    expect(await lease?.renew(60_000)).toBe(true);
    await lease?.release();
  });
});

describe.skipIf(noRedis !== undefined)(`redisStore on a Redis Cluster ${noRedis ?? ""}`, () => {
  let service: Service;

  beforeAll(async () => {
    service = await startRedisCluster();
  });
  afterAll(() => service.stop());

  describe("with ioredis", () => {
    let cluster: Cluster;
    beforeAll(() => {
      cluster = new Cluster([{ host: "127.0.0.1", port: service.port }]);
    });
    afterAll(() => {
      cluster.disconnect();
    });
    const open = (): TokenStore => redisStore({ client: cluster, partitions: 16 });
    for (const { name, run } of storeContract({ open, shared: true }).filter(reachesLists)) test(name, run);
  });

  test("with node-redis", async () => {
    const cluster = createCluster({ rootNodes: [{ url: service.url }] });
    await cluster.connect();
    const cases = storeContract({ open: () => redisStore({ client: cluster, prefix: "node", partitions: 16 }) });
    for (const { run } of cases.filter(reachesLists)) await run();
    cluster.destroy();
  });
});

/** The cases that where keys lie makes a difference for. */
function reachesLists({ name }: { readonly name: string }): boolean {
  return /comes back|odd keys|one passes|delete keeps|one holder|hang on the record|due lists|keys |see the same/.test(
    name,
  );
}

/** The members that stay as they are. */
function pick(store: Required<TokenStore>): TokenStore {
  return {
    capabilities: store.capabilities,
    read: (key, options) => store.read(key, options),
    write: (key, record, options) => store.write(key, record, options),
    delete: (key, options) => store.delete(key, options),
  };
}
