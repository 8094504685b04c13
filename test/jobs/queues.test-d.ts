// The real packages fit without a cast: bullmq 6.7, pg-boss 10.4.
import { Queue, Worker } from "bullmq";
import type { Job } from "bullmq";
import PgBoss from "pg-boss";
import { expectTypeOf, test } from "vitest";
import type { TokenManager, TokenSession, TokenStore } from "warehouse-oauth";
import { bullmqJobs } from "warehouse-oauth/jobs/bullmq";
import type { BullmqProcess, BullmqQueue, BullmqWorker, RefreshJobData } from "warehouse-oauth/jobs/bullmq";
import { pgBossJobs } from "warehouse-oauth/jobs/pg-boss";
import type { PgBossQueue, RefreshJobs } from "warehouse-oauth/jobs/pg-boss";

declare const manager: TokenManager;
declare const session: TokenSession;
declare const store: TokenStore;
const connection = { host: "127.0.0.1", port: 6379 };

test("BullMQ's Queue and Worker fit, typed or not", () => {
  expectTypeOf<Queue>().toExtend<BullmqQueue>();
  expectTypeOf<Queue<RefreshJobData, void, "refresh">>().toExtend<BullmqQueue>();
  expectTypeOf<Worker>().toExtend<BullmqWorker>();
  expectTypeOf<BullmqProcess>().toExtend<(job: Job<RefreshJobData>, token?: string) => Promise<void>>();
  const make = (): RefreshJobs =>
    bullmqJobs({
      manager,
      store,
      queue: new Queue("refresh", { connection }),
      worker: (process) => new Worker("refresh", process, { connection, concurrency: 20 }),
    });
  expectTypeOf(make).returns.toEqualTypeOf<RefreshJobs>();
});

test("PgBoss fits", () => {
  expectTypeOf<PgBoss>().toExtend<PgBossQueue>();
  const make = (): RefreshJobs => pgBossJobs({ manager, store, boss: new PgBoss("postgres://127.0.0.1/app") });
  expectTypeOf(make).returns.toEqualTypeOf<RefreshJobs>();
});

test("a manager and a session fit as they are; what is none does not", () => {
  expectTypeOf<RefreshJobs["schedule"]>().toBeCallableWith(session);
  expectTypeOf<string>().not.toExtend<Parameters<RefreshJobs["schedule"]>[0]>();
  expectTypeOf<{ add(name: string): void }>().not.toExtend<BullmqQueue>();
});
