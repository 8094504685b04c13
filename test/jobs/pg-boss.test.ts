// Refresh jobs on pg-boss: what is asked of it, on PGlite, and a fleet on a real PostgreSQL.
import { setTimeout as wait } from "node:timers/promises";
import { PGlite } from "@electric-sql/pglite";
import pg from "pg";
import PgBoss from "pg-boss";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { TokenManagerOptions } from "warehouse-oauth";
import { pgBossJobs } from "warehouse-oauth/jobs/pg-boss";
import type { PgBossJob, PgBossJobsOptions } from "warehouse-oauth/jobs/pg-boss";
import { postgresStore } from "warehouse-oauth/stores/postgres";
import { noPostgres, startPostgres } from "../services/postgres.ts";
import type { Service } from "../services/service.ts";
import { JOB_SESSIONS, gate, hastyClock, openFleet, until } from "./fleet.ts";
import type { Fleet, Member } from "./fleet.ts";
import { paperBoss } from "./paper-boss.ts";

/** Less than this pg-boss does not take. */
const POLL_MS = 500;

interface Row {
  readonly state: string;
  readonly data: unknown;
  readonly singleton_key: string;
  readonly retry_limit: number;
  readonly policy: string;
}

/** What lies in the tables of pg-boss. */
async function rowsOf(boss: PgBoss, queue: string): Promise<readonly Row[]> {
  const columns = "state, data, singleton_key, retry_limit, policy";
  const text = `select ${columns} from pgboss.job where name = $1`;
  const { rows } = await boss.getDb().executeSql(text, [queue]);
  return rows as readonly Row[];
}

/** One session of PostgreSQL in this process; several statements at once go another way than one with parameters. */
function databaseOn(pglite: PGlite): PgBoss.Db {
  return {
    async executeSql(text, values) {
      if ((values as unknown[] | undefined)?.length) return pglite.query(text, values);
      return { rows: (await pglite.exec(text)).flatMap(({ rows }) => rows) };
    },
  };
}

describe("what is asked of pg-boss", () => {
  const absent = {
    refresh: () => Promise.resolve({ state: "absent" } as const),
    close: () => Promise.resolve({ unsaved: [] }),
  };
  const job = (id: string): PgBossJob => ({ id, data: { key: "key" } });

  test("a batch is not over before the database knows: what pg-boss makes of it would end the process", async () => {
    const boss = paperBoss();
    const jobs = pgBossJobs({ manager: absent, boss, workers: 1, clock: hastyClock });
    await jobs.start();
    boss.gone = 2;
    await boss.handle([job("a"), job("b")]);
    expect(boss.log).toEqual(["work 1", "delete a b", "delete a b", "delete a b"]);
  });

  test("at the end nobody waits for a database that is gone", async () => {
    const boss = paperBoss();
    const jobs = pgBossJobs({ manager: absent, boss, workers: 1 });
    await jobs.start();
    boss.gone = Infinity;
    const handled = boss.handle([job("a")]);
    await until(() => boss.log.includes("delete a"));
    expect(await jobs.close()).toEqual({ unsaved: [] });
    await handled;
    expect(boss.log).toEqual(["work 1", "delete a", "off 1", "delete a"]);
  });

  test("R-11 at the end what a batch leaves in the table is waited for", async () => {
    const boss = paperBoss();
    const jobs = pgBossJobs({ manager: absent, boss, workers: 1 });
    await jobs.start();
    const database = gate();
    boss.before = (what) => (what === "deleteJob" ? database.opened : Promise.resolve());
    const handled = boss.handle([job("a")]);
    const closed = jobs.close().then(() => boss.log.push("closed"));
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
    database.open();
    await closed;
    await handled;
    expect(boss.log).toEqual(["work 1", "off 1", "delete a", "closed"]);
  });

  test.each(["createQueue", "work"] as const)("closed while it starts, in %s: no loop is left", async (where) => {
    const boss = paperBoss();
    const jobs = pgBossJobs({ manager: absent, boss, workers: 3 });
    const slow = gate();
    const reached = gate();
    boss.before = (what) => {
      if (what !== where) return Promise.resolve();
      reached.open();
      return slow.opened;
    };
    const started = jobs.start();
    await reached.opened;
    const closed = jobs.close();
    slow.open();
    await started;
    expect(await closed).toEqual({ unsaved: [] });
    expect(boss.log).toEqual(where === "work" ? ["work 1", "off 1"] : []);
  });

  test("a start that fails half way leaves no loop, and may be tried again", async () => {
    const boss = paperBoss();
    const jobs = pgBossJobs({ manager: absent, boss, workers: 2 });
    let begun = 0;
    boss.before = (what) =>
      what === "work" && (begun += 1) === 2 ? Promise.reject(new Error("gone")) : Promise.resolve();
    await expect(jobs.start()).rejects.toThrow("gone");
    expect(boss.log).toEqual(["work 1", "off 1"]);
    await jobs.start();
    await jobs.close();
    expect(boss.log.slice(2)).toEqual(["work 2", "work 3", "off 2", "off 3"]);
  });
});

describe("on PGlite", () => {
  let boss: PgBoss;
  let pglite: PGlite;
  let fleet: Fleet;
  let queue: string;
  let count = 0;

  beforeAll(async () => {
    pglite = new PGlite();
    boss = new PgBoss({ db: databaseOn(pglite), supervise: false, schedule: false });
    boss.on("error", () => undefined);
    await boss.start();
  });

  afterAll(async () => {
    await boss.stop({ graceful: false });
    await pglite.close();
  });

  beforeEach(() => {
    queue = `refresh-${String(++count)}`;
    fleet = openFleet();
  });

  afterEach(() => fleet.close());

  const join = (more: Partial<PgBossJobsOptions> = {}): Member =>
    fleet.join((options) => pgBossJobs({ ...options, boss, queue, pollMs: POLL_MS, workers: 1, ...more }));

  test("no retries, one waiting job for each session, no secret", async () => {
    const member = join();
    const session = await fleet.signIn(member, "ada");
    expect(await member.jobs.schedule(session)).toBe(true);
    expect(await member.jobs.schedule(session)).toBe(true);
    expect(await rowsOf(boss, queue)).toEqual([
      {
        state: "created",
        data: { key: session.key },
        singleton_key: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
        retry_limit: 0,
        policy: "short",
      },
    ]);
  });

  test("one process refreshes each session once when it is due, again and again, and leaves nothing behind", async () => {
    const subjects = ["ada", "bob", "cyd"];
    const member = join();
    await member.jobs.start();
    const startedAt = Date.now();
    for (const subject of subjects) await member.jobs.schedule(await fleet.signIn(member, subject));
    await fleet.untilRefreshed(subjects);
    await fleet.close();
    await fleet.assertOnce(subjects, Date.now() - startedAt);
    expect(fleet.problems).toEqual([]);
    expect((await rowsOf(boss, queue)).map(({ state }) => state)).toEqual(["created", "created", "created"]);
  });

  test("a session that was signed out ends its chain", async () => {
    const member = join();
    const session = await fleet.signIn(member, "ada");
    await member.jobs.schedule(session);
    await session.forget();
    await member.jobs.start();
    await until(async () => (await rowsOf(boss, queue)).length === 0);
    expect(fleet.refreshes()).toEqual([]);
    expect(fleet.problems).toEqual([]);
  });

  test("a batch that is full is followed by the next one at once", async () => {
    const member = join({ batchSize: 1, pollMs: 60_000 });
    for (const subject of ["ada", "bob", "cyd", "dan"]) {
      const session = await fleet.signIn(member, subject);
      await session.forget();
      await boss.createQueue(queue, { name: queue, policy: "short" });
      await boss.send(queue, { key: session.key }, { singletonKey: subject });
    }
    await member.jobs.start();
    await until(async () => (await rowsOf(boss, queue)).length === 0);
  });

  test("a queue with another policy is refused: its jobs would pile up", async () => {
    await boss.createQueue(queue, { name: queue, policy: "standard" });
    const member = join();
    await expect(member.jobs.start()).rejects.toMatchObject({ code: "invalid_argument" });
    expect(await member.jobs.schedule(await fleet.signIn(member, "ada"))).toBe(false);
    expect(fleet.problems).toMatchObject([{ step: "schedule", error: { code: "invalid_argument" } }]);
  });

  test("R-11 at the end the running job is waited for, its next one waits, and the boss is still yours", async () => {
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
    expect((await rowsOf(boss, queue)).filter(({ state }) => state === "created")).toHaveLength(1);
    expect(await fleet.generationOf("ada")).toBe(2);
    expect(fleet.problems).toEqual([]);
    await boss.createQueue(`${queue}-yours`);
    expect(await boss.send(`${queue}-yours`, {})).not.toBeNull();
  });

  test("takes a boss and sensible numbers, not something else", () => {
    const manager = openFleet().join(() => ({}) as Member["jobs"]).manager;
    const refuse = (options: object): void => {
      expect(() => pgBossJobs({ manager, boss, ...options })).toThrow(TypeError);
    };
    refuse({ boss: "postgres://" });
    refuse({ queue: "" });
    refuse({ workers: -1 });
    refuse({ batchSize: 0 });
    refuse({ pollMs: 100 });
    refuse({ manager: undefined });
  });
});

describe.skipIf(noPostgres !== undefined)(`on a real PostgreSQL ${noPostgres ?? ""}`, () => {
  let postgres: Service;
  let fleet: Fleet;
  const bosses: PgBoss[] = [];
  const queue = "refresh";

  beforeAll(async () => {
    postgres = await startPostgres();
  });

  afterAll(async () => {
    await postgres.stop();
  });

  beforeEach(() => {
    fleet = openFleet();
  });

  afterEach(async () => {
    await fleet.close();
    for (const boss of bosses.splice(0)) await boss.stop({ graceful: false });
  });

  async function openBoss(): Promise<PgBoss> {
    const boss = new PgBoss({ connectionString: postgres.url, schedule: false });
    boss.on("error", () => undefined); // tells of every lost connection
    await boss.start();
    bosses.push(boss);
    return boss;
  }

  const newPool = (): pg.Pool => new pg.Pool({ connectionString: postgres.url, max: 4 });

  const join = (boss: PgBoss, more: Partial<PgBossJobsOptions> = {}, manage: TokenManagerOptions = {}): Member =>
    fleet.join((options) => pgBossJobs({ ...options, boss, queue, pollMs: POLL_MS, ...more }), {}, manage);

  test("two processes on one PostgreSQL for all refresh each session once when it is due, again and again", async () => {
    const pools = [newPool(), newPool()] as const;
    const [store, otherStore] = [postgresStore({ client: pools[0] }), postgresStore({ client: pools[1] })];
    await store.migrate();
    fleet = openFleet({ store });
    const subjects = Array.from({ length: JOB_SESSIONS }, (_, index) => `user-${String(index)}`);
    const first = join(await openBoss(), { store });
    const second = join(await openBoss(), { store: otherStore }, { store: otherStore });
    await first.jobs.start();
    await second.jobs.start();
    const startedAt = Date.now();
    for (const subject of subjects) await first.jobs.schedule(await fleet.signIn(first, subject));
    await fleet.untilRefreshed(subjects);
    await fleet.close();
    await fleet.assertOnce(subjects, Date.now() - startedAt);
    expect(fleet.problems).toEqual([]);
    for (const pool of pools) await pool.end();
  });

  test("R-69 a PostgreSQL that is gone breaks no login and no use; back again, the chain goes on", async () => {
    const boss = await openBoss();
    await boss.purgeQueue(queue);
    const member = join(boss, { clock: hastyClock });
    await member.jobs.start();
    const session = await fleet.signIn(member, "ada");
    expect(await member.jobs.schedule(session)).toBe(true);
    let answer: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (answer = resolve));
    fleet.fake.fail({ at: "token", kind: "hold", until: held });
    await until(async () => (await session.status()).state === "refreshing");

    // In the middle of a job: what pg-boss makes of it would end the process if nobody waited.
    await postgres.crash();
    answer();
    await until(() => fleet.problems.length > 0);
    expect(fleet.problems[0]).toMatchObject({ step: "schedule", key: session.key });
    expect(session.peek()).toBeDefined();
    const other = await fleet.signIn(member, "bob");
    expect(await member.jobs.schedule(other)).toBe(false);
    await fleet.untilExpired(session);
    await session.getAccessToken();
    expect(fleet.refreshes().length).toBeGreaterThanOrEqual(2);

    await postgres.restart();
    await until(async () => (await fleet.generationOf("ada")) >= 4);
    expect((await rowsOf(boss, queue)).length).toBeLessThanOrEqual(2);
  });
});
