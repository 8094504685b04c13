// Refresh jobs on BullMQ: what is asked of it, and a fleet on a real one.
import { setTimeout as wait } from "node:timers/promises";
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { TokenManagerOptions } from "warehouse-oauth";
import { bullmqJobs } from "warehouse-oauth/jobs/bullmq";
import type { BullmqJobOptions, BullmqProcess, RefreshJobData, RefreshJobs } from "warehouse-oauth/jobs/bullmq";
import { redisStore } from "warehouse-oauth/stores/redis";
import { noRedis, startRedis } from "../services/redis.ts";
import type { Service } from "../services/service.ts";
import { JOB_SESSIONS, hastyClock, isDue, openFleet, until } from "./fleet.ts";
import type { Fleet, Member } from "./fleet.ts";

describe("what is asked of BullMQ", () => {
  interface Added {
    readonly name: string;
    readonly data: RefreshJobData;
    readonly options: BullmqJobOptions;
  }

  function openJobs(fleet: Fleet): {
    readonly added: Added[];
    readonly log: string[];
    readonly jobs: RefreshJobs;
    readonly member: ReturnType<Fleet["join"]>;
    readonly process: () => BullmqProcess;
  } {
    const added: Added[] = [];
    const log: string[] = [];
    let process: BullmqProcess | undefined;
    const member = fleet.join((options) =>
      bullmqJobs({
        ...options,
        manager: {
          refresh: (key) => options.manager.refresh(key),
          close: (drain) => {
            log.push("manager closed");
            return options.manager.close(drain);
          },
        },
        queue: {
          add: (name, data, jobOptions) => {
            added.push({ name, data, options: jobOptions });
            return Promise.resolve();
          },
        },
        worker: (run) => {
          process = run;
          log.push("worker made");
          return {
            close: () => {
              log.push("worker closed");
              return Promise.resolve();
            },
          };
        },
      }),
    );
    const made = (): BullmqProcess => {
      if (process === undefined) throw new Error("no worker was made");
      return process;
    };
    return { added, log, member, jobs: member.jobs, process: made };
  }

  test("one attempt, nothing kept, one waiting job for each session, no colon and no secret", async () => {
    const fleet = openFleet({ lifetimeMs: 3_600_000 });
    const { member, jobs, added } = openJobs(fleet);
    const session = await fleet.signIn(member, "ada");
    await jobs.schedule(session);
    expect(added).toEqual([
      {
        name: "refresh",
        data: { key: session.key },
        options: {
          delay: expect.any(Number) as number,
          attempts: 1,
          removeOnComplete: true,
          removeOnFail: true,
          deduplication: {
            id: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
            replace: true,
            keepLastIfActive: true,
          },
        },
      },
    ]);
    expect(Number.isInteger(added[0]?.options.delay)).toBe(true);
    const { accessToken, refreshToken = "none" } = await fleet.fake.issueTokens({ client: fleet.client });
    expect(JSON.stringify(added)).not.toContain(accessToken);
    expect(JSON.stringify(added)).not.toContain(refreshToken);
  });

  test("the worker is made at the start, and closed before the manager", async () => {
    const fleet = openFleet();
    const { jobs, log } = openJobs(fleet);
    expect(log).toEqual([]);
    await jobs.start();
    await jobs.close();
    expect(log).toEqual(["worker made", "worker closed", "manager closed"]);
  });

  test("a job that fails never rejects: BullMQ has nothing to repeat", async () => {
    const fleet = openFleet();
    const { member, jobs, process, added } = openJobs(fleet);
    await jobs.start();
    const session = await fleet.signIn(member, "ada");
    fleet.fake.fail({ at: "token", kind: "oauth_error", error: "invalid_client", times: Infinity });
    await until(async () => isDue(await session.status()));
    await expect(process()({ data: { key: session.key } })).resolves.toBeUndefined();
    await expect(process()({ data: undefined })).resolves.toBeUndefined();
    expect(added).toMatchObject([{ data: { failures: 1 } }]);
  });

  test("takes a queue and a way to make a worker, not something else", () => {
    const manager = openFleet().join(() => ({}) as RefreshJobs).manager;
    expect(() => bullmqJobs({ manager, queue: "name" as never })).toThrow('"queue" must be a BullMQ Queue');
    const queue = { add: () => Promise.resolve() };
    expect(() => bullmqJobs({ manager, queue, worker: {} as never })).toThrow('"worker" must be a function');
  });
});

describe.skipIf(noRedis !== undefined)(`on a real BullMQ ${noRedis ?? ""}`, () => {
  let redis: Service;
  let queue: Queue;
  let fleet: Fleet;
  let count = 0;

  beforeAll(async () => {
    redis = await startRedis();
  });

  afterAll(async () => {
    await redis.stop();
  });

  const connection = (): { host: string; port: number } => ({ host: "127.0.0.1", port: redis.port });

  beforeEach(async () => {
    queue = openQueue(`refresh-${String(++count)}`);
    await queue.waitUntilReady();
    fleet = openFleet();
  });

  afterEach(async () => {
    await fleet.close();
    await queue.close();
  });

  function openQueue(name: string): Queue {
    const opened = new Queue(name, { connection: connection() });
    opened.on("error", () => undefined); // tells of every try to connect again
    return opened;
  }

  function makeWorker(process: BullmqProcess, options: { readonly stalledInterval?: number } = {}): Worker {
    const worker = new Worker(queue.name, process, { connection: connection(), concurrency: 20, ...options });
    worker.on("error", () => undefined);
    return worker;
  }

  const join = (
    options: Parameters<Fleet["join"]>[1] = {},
    more: { readonly stalledInterval?: number; readonly manage?: TokenManagerOptions } = {},
  ): Member => {
    const { manage, ...workerOptions } = more;
    return fleet.join(
      (common) => bullmqJobs({ ...common, queue, worker: (process) => makeWorker(process, workerOptions) }),
      options,
      manage,
    );
  };

  test("two processes on one Redis for all refresh each session once when it is due, again and again", async () => {
    const clients = [new Redis(redis.url), new Redis(redis.url)] as const;
    const [store, otherStore] = [redisStore({ client: clients[0] }), redisStore({ client: clients[1] })];
    fleet = openFleet({ store });
    const subjects = Array.from({ length: JOB_SESSIONS }, (_, index) => `user-${String(index)}`);
    const [first, second] = [join({ store }), join({ store: otherStore }, { manage: { store: otherStore } })];
    await first.jobs.start();
    await second.jobs.start();
    const startedAt = Date.now();
    for (const subject of subjects) await first.jobs.schedule(await fleet.signIn(first, subject));
    await fleet.untilRefreshed(subjects);
    await fleet.close();
    await fleet.assertOnce(subjects, Date.now() - startedAt);
    expect(fleet.problems).toEqual([]);
    expect(await queue.getJobCountByTypes("delayed", "waiting")).toBe(JOB_SESSIONS);
    expect(await queue.getJobCounts()).toMatchObject({ completed: 0, failed: 0, active: 0 });
    for (const client of clients) client.disconnect();
  });

  test("put in twice it waits once, for the later word; signed out it ends", async () => {
    const member = join();
    const session = await fleet.signIn(member, "ada");
    await member.jobs.schedule(session);
    const [before] = await queue.getDelayed();
    await member.jobs.schedule(await fleet.signIn(member, "ada"));
    const delayed = await queue.getDelayed();
    expect(delayed).toHaveLength(1);
    expect(delayed[0]?.id).not.toBe(before?.id);
    expect(delayed[0]?.data).toEqual({ key: session.key });
    expect(delayed[0]?.opts).toMatchObject({ attempts: 1 });
    await session.forget();
    await member.jobs.start();
    await until(async () => (await queue.getDelayedCount()) === 0);
    await until(async () => (await queue.getActiveCount()) === 0);
    expect(fleet.refreshes()).toEqual([]);
    expect(await queue.getJobCounts()).toMatchObject({ delayed: 0, waiting: 0, completed: 0, failed: 0 });
  });

  test("the sweep leaves a waiting job alone, and puts one in where there is none", async () => {
    const member = join();
    const session = await fleet.signIn(member, "ada");
    await member.jobs.schedule(session);
    const [waiting] = await queue.getDelayed();
    const due = (): Promise<readonly { readonly key: string; readonly dueAt: number }[]> =>
      Promise.resolve(["ada", "bob"].map((name) => ({ key: session.key.replace("ada", name), dueAt: 0 })));
    const sweeper = fleet.join((options) => bullmqJobs({ ...options, queue, store: { due }, clock: hastyClock }), {
      random: () => 0.01,
    });
    await sweeper.jobs.start();
    await until(async () => (await queue.getJobCountByTypes("delayed", "waiting")) === 2);
    const ids = (await queue.getDelayed()).map(({ id }) => id);
    expect(ids).toContain(waiting?.id);
  });

  test("R-11 at the end the running job is waited for, its next one waits, and nothing begins", async () => {
    const member = join();
    const session = await fleet.signIn(member, "ada");
    let answer: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (answer = resolve));
    fleet.fake.fail({ at: "token", kind: "hold", until: held });
    await member.jobs.start();
    await member.jobs.schedule(session);
    await until(async () => (await session.status()).state === "refreshing");
    const log: string[] = [];
    const closed = member.jobs.close().finally(() => log.push("closed"));
    await wait(100); // in which one that waits for nobody would be done
    log.push("answered");
    answer();
    expect(await closed).toEqual({ unsaved: [] });
    expect(log).toEqual(["answered", "closed"]);
    expect(await queue.getJobCounts()).toMatchObject({ delayed: 1, active: 0, waiting: 0 });
    expect(await fleet.generationOf("ada")).toBe(2);
    expect(fleet.problems).toEqual([]);
  });

  test("a job whose process died is done by another one", async () => {
    const [dying, living] = [join(), join({}, { stalledInterval: 300 })];
    const session = await fleet.signIn(dying, "ada");
    // What a worker does that takes a job and is never heard of again.
    const dead = new Worker(queue.name, null, { connection: connection(), lockDuration: 500 });
    await dying.jobs.schedule(session);
    await until(async () => ((await dead.getNextJob("token")) as unknown) !== undefined);
    await dead.close(true);
    await living.jobs.start();
    await until(async () => (await fleet.generationOf("ada")) >= 2);
    await until(async () => (await queue.getDelayedCount()) === 1);
  });

  test("R-69 a Redis that is gone breaks no login and no use; back again, the chain goes on", async () => {
    const member = join({ clock: hastyClock });
    const session = await fleet.signIn(member, "ada");
    expect(await member.jobs.schedule(session)).toBe(true);
    await redis.crash();
    const other = await fleet.signIn(member, "bob");
    expect(await member.jobs.schedule(other)).toBe(false);
    expect(fleet.problems).toMatchObject([{ step: "schedule", key: other.key }]);
    const token = await session.getAccessToken();
    await fleet.untilExpired(session);
    expect(await session.getAccessToken()).not.toBe(token);
    expect(fleet.refreshes().length).toBeGreaterThanOrEqual(1);
    await redis.restart();
    await member.jobs.start();
    await until(async () => (await fleet.generationOf("ada")) >= 3);
    expect(await fleet.generationOf("bob")).toBeGreaterThanOrEqual(1);
  });
});
