// What is the same for all queues: when a job is put in, what a job does, what happens when the queue is lost.
import { beforeEach, describe, expect, test } from "vitest";
import { ConfigurationError, TokenManager } from "warehouse-oauth";
import type { TokenManagerOptions, TokenSession, TokenStore } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { jobIdOf, readJobData } from "../../src/jobs/refresh-jobs/job-data.ts";
import { MAX_DELAY_MS, afterFailure, clampJobDelay } from "../../src/jobs/refresh-jobs/next-run.ts";
import { createRefreshJobs } from "../../src/jobs/refresh-jobs/refresh-jobs.ts";
import type { RefreshJobProblem, RefreshJobs, RefreshJobsOptions } from "../../src/jobs/refresh-jobs/refresh-jobs.ts";
import {
  DAY,
  HOUR,
  MINUTE,
  SECOND,
  acmeServer,
  refused,
  storeWith,
  storeWithout,
  success,
} from "../session/acme-room.ts";
import type { AcmeServer } from "../session/acme-room.ts";
import { paperQueue } from "./paper-queue.ts";
import type { PaperQueue } from "./paper-queue.ts";

let clock: ManualClock;
let server: AcmeServer;
let store: TokenStore;
let queue: PaperQueue;
let problems: (RefreshJobProblem & { readonly error: unknown })[];

beforeEach(() => {
  clock = manualClock();
  server = acmeServer(clock, { absoluteSessionLifetimeMs: 30 * DAY });
  store = storeWith(clock);
  queue = paperQueue(clock);
  problems = [];
});

interface Process {
  readonly manager: TokenManager;
  readonly jobs: RefreshJobs;
}

/** One process of a fleet: a manager of its own on the same store and the same queue. */
function openProcess(options: Partial<RefreshJobsOptions> = {}, manage: Partial<TokenManagerOptions> = {}): Process {
  const manager = new TokenManager({ store, clock, random: () => 0.5, resolveClient: () => server.client, ...manage });
  const jobs = createRefreshJobs(queue, {
    manager: {
      refresh: (key) => manager.refresh(key),
      close: (drain) => {
        queue.log.push("manager closed");
        return manager.close(drain);
      },
    },
    clock,
    random: () => 0.5,
    onError: (error, problem) => problems.push({ error, ...problem }),
    ...options,
  });
  return { manager, jobs };
}

const login = ({ manager }: Process, subject = "ada"): Promise<TokenSession> =>
  manager.save(server.client, { subject }, server.tokens());

/** When a token of ten minutes is due, give or take the spread of a process. */
const DUE = 480 * SECOND;
const SPREAD = 12 * SECOND;

/** Lets time pass until something holds. */
async function pass(holds: () => boolean, stepMs = SECOND): Promise<void> {
  while (!holds()) await clock.advance(stepMs);
}

const onlyPut = (): { readonly delayMs: number } => {
  expect(queue.puts).toHaveLength(1);
  return queue.puts[0] ?? { delayMs: NaN };
};

describe("schedule", () => {
  test("puts in one job for when the refresh is due, with the key and no secret", async () => {
    const process = openProcess();
    const session = await login(process);
    expect(await process.jobs.schedule(session)).toBe(true);
    const [job] = queue.puts;
    expect(job).toMatchObject({ data: { key: session.key }, id: await jobIdOf(session.key), replace: true });
    expect(job?.delayMs).toBeGreaterThanOrEqual(DUE - SPREAD);
    expect(job?.delayMs).toBeLessThanOrEqual(DUE + SPREAD);
    expect(JSON.stringify(queue.puts)).not.toMatch(/access-0|refresh-0/);
    expect(server.calls).toHaveLength(0);
  });

  test("twice is one waiting job, and the later word counts", async () => {
    const process = openProcess();
    const session = await login(process);
    await process.jobs.schedule(session);
    await clock.advance(MINUTE);
    await process.jobs.schedule(await login(process));
    expect(queue.waiting.size).toBe(1);
    expect(queue.puts.at(-1)?.delayMs).toBeGreaterThanOrEqual(DUE - SPREAD);
  });

  test("an overdue session gets a job for now", async () => {
    const process = openProcess();
    const session = await login(process);
    await clock.advance(9 * MINUTE);
    await process.jobs.schedule(session);
    expect(onlyPut().delayMs).toBe(0);
  });

  test("R-60 a delay beyond a day is clamped; no number and no past is a delay", async () => {
    const process = openProcess();
    const month = server.tokens({ expiresAt: clock.now() + 30 * DAY });
    await process.jobs.schedule(await process.manager.save(server.client, { subject: "ada" }, month));
    expect(onlyPut().delayMs).toBeLessThanOrEqual(MAX_DELAY_MS);
    expect([NaN, Infinity, 9 * DAY, -Infinity, -1, 1.2].map((delay) => clampJobDelay(delay, 0))).toEqual([
      DAY,
      DAY,
      DAY,
      0,
      0,
      2,
    ]);
  });

  test.each([
    ["nobody signed in", (process: Process) => process.manager.session(server.client, { subject: "bob" })],
    [
      "somebody signed out",
      async (process: Process) => {
        const session = await login(process);
        await session.forget();
        return session;
      },
    ],
    [
      "no refresh token",
      (process: Process) =>
        process.manager.save(server.client, { subject: "ada" }, server.tokens({ refreshToken: undefined } as never)),
    ],
    [
      "a lifetime that nobody knows",
      (process: Process) =>
        process.manager.save(server.client, { subject: "ada" }, server.tokens({ expiresAt: undefined } as never)),
    ],
  ])("puts nothing in: %s", async (_name, open) => {
    const process = openProcess();
    expect(await process.jobs.schedule(await open(process))).toBe(false);
    expect(queue.puts).toEqual([]);
    expect(problems).toEqual([]);
  });

  test("a queue that refuses breaks nobody, and is reported", async () => {
    const process = openProcess();
    const session = await login(process);
    const lost = new Error("lost");
    queue.fault = () => Promise.reject(lost);
    expect(await process.jobs.schedule(session)).toBe(false);
    expect(problems).toEqual([{ error: lost, step: "schedule", key: session.key }]);
    expect(await session.getAccessToken()).toBe("access-0");
  });

  test("a queue that never answers holds nobody for longer than five seconds", async () => {
    const process = openProcess();
    const session = await login(process);
    queue.fault = () => new Promise(() => undefined);
    let answer: boolean | undefined;
    void process.jobs.schedule(session).then((value) => (answer = value));
    await clock.advance(4_900);
    expect(answer).toBeUndefined();
    await clock.advance(200);
    expect(answer).toBe(false);
    expect(problems).toMatchObject([{ error: { name: "TimeoutError" }, step: "schedule" }]);
  });

  test.each<[string, NonNullable<RefreshJobsOptions["onError"]>]>([
    [
      "throws",
      () => {
        throw new Error("listener");
      },
    ],
    // It would end the process: the test run fails of it.
    ["rejects", () => Promise.reject(new Error("listener"))],
  ])("S-104 a listener that %s hurts nobody", async (_, onError) => {
    const process = openProcess({ onError });
    const session = await login(process);
    queue.fault = () => Promise.reject(new Error("lost"));
    expect(await process.jobs.schedule(session)).toBe(false);
  });

  test("takes a session, not something else", async () => {
    const { jobs } = openProcess();
    await expect(jobs.schedule("ada" as never)).rejects.toMatchObject({ code: "invalid_argument" });
    expect(() => createRefreshJobs(queue, { manager: {} as never })).toThrow('"manager" must be a TokenManager');
  });
});

describe("a job", () => {
  test("refreshes when it is due, once, and puts in the next: on and on, in whichever process", async () => {
    const processes = [openProcess(), openProcess(), openProcess()];
    for (const { jobs } of processes) await jobs.start();
    const [first] = processes;
    if (first === undefined) throw new Error("no process");
    await first.jobs.schedule(await login(first));
    // Minute by minute: nothing else waits here, and a digest that is slow for once would let the rest of the day pass at once.
    for (let minute = 0; minute < DAY / MINUTE; minute++) await clock.advance(MINUTE);
    // A day holds 180 times the 480 seconds; jobs that meet another process's spread come a few seconds later.
    expect(server.calls.length).toBeGreaterThanOrEqual(172);
    expect(server.calls.length).toBeLessThanOrEqual(185);
    const gaps = server.calls.slice(1).map(({ at }, index) => at - (server.calls[index]?.at ?? 0));
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(DUE - 2 * SPREAD);
    expect(queue.waiting.size).toBe(1);
    expect(problems).toEqual([]);
  });

  test("that comes early, late or twice is harmless", async () => {
    const process = openProcess();
    await process.jobs.start();
    const session = await login(process);
    await queue.deliver({ key: session.key });
    expect(server.calls).toHaveLength(0);
    expect(queue.puts.at(-1)?.delayMs).toBeGreaterThan(DUE - SPREAD - SECOND);
    await clock.advance(9 * MINUTE);
    const calls = server.calls.length;
    await Promise.all([queue.deliver({ key: session.key }), queue.deliver({ key: session.key })]);
    expect(server.calls).toHaveLength(calls);
    expect(queue.waiting.size).toBe(1);
  });

  test("that comes hours late refreshes once, not once for each time that was missed", async () => {
    const process = openProcess();
    await process.jobs.start();
    const session = await login(process);
    await clock.advance(5 * HOUR);
    await queue.deliver({ key: session.key });
    expect(server.calls).toHaveLength(1);
    expect(queue.waiting.size).toBe(1);
  });

  test("finds the session refreshed on use meanwhile, and leaves it until it is due again", async () => {
    const process = openProcess();
    await process.jobs.start();
    const session = await login(process);
    await process.jobs.schedule(session);
    await clock.advance(7 * MINUTE);
    await session.refresh();
    await clock.advance(2 * MINUTE);
    expect(server.calls).toHaveLength(1);
    await clock.advance(7 * MINUTE);
    expect(server.calls).toHaveLength(2);
  });

  test("of a session that was signed out in another process ends the chain", async () => {
    const [web, worker] = [openProcess(), openProcess()];
    await worker.jobs.start();
    const session = await login(web);
    await web.jobs.schedule(session);
    await clock.advance(9 * MINUTE);
    expect(server.calls).toHaveLength(1);
    await session.forget();
    await clock.advance(HOUR);
    expect(server.calls).toHaveLength(1);
    expect(queue.waiting.size).toBe(0);
    expect(problems).toEqual([]);
  });

  test("of a session that needs a person ends the chain; the next login begins another", async () => {
    const [web, worker] = [openProcess(), openProcess()];
    await worker.jobs.start();
    await web.jobs.schedule(await login(web));
    server.answer = () => refused("invalid_grant");
    await clock.advance(HOUR);
    const calls = server.calls.length;
    expect(queue.waiting.size).toBe(0);
    const seenElsewhere = openProcess().manager.session(server.client, { subject: "ada" });
    expect((await seenElsewhere.status()).state).toBe("reauthorization_required");
    expect(problems).toEqual([]);

    server.answer = () => success("access-new");
    await web.jobs.schedule(await login(web));
    await clock.advance(9 * MINUTE);
    expect(server.calls).toHaveLength(calls + 1);
    expect(queue.waiting.size).toBe(1);
  });

  test("of a session without a record is over", async () => {
    const process = openProcess();
    await process.jobs.start();
    await queue.deliver({ key: process.manager.session(server.client, { subject: "bob" }).key });
    expect(queue.puts).toEqual([]);
    expect(problems).toEqual([]);
  });

  test("of a client that is no longer ours is over, and says so", async () => {
    const web = openProcess();
    const worker = openProcess({}, { resolveClient: () => undefined });
    await worker.jobs.start();
    const { key } = await login(web);
    await queue.deliver({ key });
    expect(queue.puts).toEqual([]);
    expect(problems).toMatchObject([{ error: { code: "client_unresolved" }, step: "refresh", key }]);
  });

  test("comes again when finding the client failed", async () => {
    const web = openProcess();
    const worker = openProcess({}, { resolveClient: () => Promise.reject(new Error("database")) });
    await worker.jobs.start();
    const { key } = await login(web);
    await queue.deliver({ key });
    expect(queue.puts).toMatchObject([{ data: { key, failures: 1 }, delayMs: 2_500 }]);
    expect(problems).toMatchObject([{ error: { message: "database" }, step: "refresh", key }]);
  });

  test.each([undefined, "key", {}, { key: 1 }, { key: "" }, Object.create({ key: "inherited" }) as unknown])(
    "S-100 of somebody else's making is left alone: %j",
    async (data) => {
      await openProcess().jobs.start();
      await queue.deliver(data);
      expect(queue.puts).toEqual([]);
      expect(problems).toMatchObject([{ error: { code: "invalid_argument" }, step: "refresh", key: undefined }]);
    },
  );

  test("a key that is none is over, and says so", async () => {
    await openProcess().jobs.start();
    await queue.deliver({ key: "no key", failures: 3, more: 1 });
    expect(queue.puts).toEqual([]);
    expect(problems).toMatchObject([{ error: { code: "config_invalid" } }]);
  });
});

describe("a refresh that fails", () => {
  async function failing(answer: () => Response): Promise<{ readonly process: Process; readonly key: string }> {
    const process = openProcess();
    await process.jobs.start();
    const session = await login(process);
    await clock.advance(8.5 * MINUTE);
    server.answer = answer;
    const job = queue.deliver({ key: session.key });
    await clock.advance(20 * SECOND);
    await job;
    return { process, key: session.key };
  }

  test("R-30 comes again later and later, by a job of its own, until it succeeds", async () => {
    await failing(() => refused("temporarily_unavailable", 503));
    await clock.advance(HOUR);
    const counts = queue.puts.map(({ data }) => data.failures);
    expect(counts).toEqual(counts.map((_, index) => index + 1));
    const delays = queue.puts.map(({ delayMs }) => delayMs);
    expect(delays.slice(0, 2)).toEqual([2_500, 5_000]);
    expect(delays.length).toBeLessThan(40);
    expect(Math.max(...delays)).toBeLessThanOrEqual(5 * MINUTE);
    // Nobody hears of it but the events: it is what the manager reports anyway.
    expect(problems).toEqual([]);

    server.answer = () => success("access-new");
    await clock.advance(6 * MINUTE);
    expect(queue.puts.at(-1)?.data).not.toHaveProperty("failures");
    expect(queue.waiting.size).toBe(1);
  });

  test("R-31 waits as long as the server asks", async () => {
    await failing(() => new Response("{}", { status: 429, headers: { "retry-after": "1200" } }));
    expect(queue.puts[0]?.delayMs).toBeGreaterThanOrEqual(1_200_000);
    expect(queue.puts[0]?.delayMs).toBeLessThanOrEqual(1_320_000);
  });

  test("R-32 what somebody has to repair is tried again every few minutes", async () => {
    await failing(() => refused("invalid_client", 401));
    expect(queue.puts[0]?.delayMs).toBe(225_000);
  });

  test("R-21 a refresh token that may be spent is not sent again in a hurry", () => {
    const lost = { code: "network_error", action: "retry", ambiguous: true };
    expect(afterFailure(lost, 0, () => 0).delayMs).toBe(150_000);
    expect(afterFailure({ ...lost, ambiguous: false }, 0, () => 0).delayMs).toBe(50);
  });

  test("a session whose record cannot be opened is over, and says so", () => {
    expect(afterFailure({ code: "decrypt_failed", action: "reauthorize" }, 0, () => 0)).toEqual({
      delayMs: undefined,
      counts: true,
      isNews: true,
    });
  });

  test("what is thrown may be anything", () => {
    expect(afterFailure(undefined, 0, () => 0.5)).toMatchObject({ delayMs: 2_500, isNews: true });
    expect(afterFailure("no", 60, () => 0.5)).toMatchObject({ delayMs: 150_000, isNews: true });
  });
});

describe("when the queue is lost", () => {
  test("sessions refresh on use", async () => {
    const process = openProcess();
    await process.jobs.start();
    const session = await login(process);
    await process.jobs.schedule(session);
    queue.loseAll();
    queue.fault = () => Promise.reject(new Error("lost"));
    await clock.advance(HOUR);
    expect(server.calls).toHaveLength(0);
    expect(await session.getAccessToken()).toBe("access-1");
  });

  test("a refresh is kept although its next job could not be put in", async () => {
    const process = openProcess();
    await process.jobs.start();
    const session = await login(process);
    await clock.advance(9 * MINUTE);
    queue.fault = () => Promise.reject(new Error("lost"));
    await queue.deliver({ key: session.key });
    expect(session.peek()).toBe("access-1");
    expect(problems).toMatchObject([{ step: "schedule", key: session.key }]);
  });

  test("the sweep finds sessions that have no job, and begins their chains again", async () => {
    const process = openProcess({ store });
    await process.jobs.start();
    for (const subject of ["ada", "bob", "cyd"]) await process.jobs.schedule(await login(process, subject));
    queue.loseAll();
    await clock.advance(DUE + SPREAD + 3 * MINUTE);
    expect(server.calls).toHaveLength(3);
    expect(queue.waiting.size).toBe(3);
    await clock.advance(DUE + SPREAD);
    expect(server.calls).toHaveLength(6);
  });

  test("R-10 what a sweep finds is spread, not begun at once", async () => {
    const draws = [0.5, 0.1, 0.4, 0.9];
    const process = openProcess({ store, random: () => draws.shift() ?? 0.5 });
    for (const subject of ["ada", "bob", "cyd"]) await login(process, subject);
    await clock.advance(HOUR);
    await process.jobs.start();
    await clock.advance(MINUTE);
    const swept = queue.puts.filter(({ replace }) => !replace);
    expect(swept.map(({ delayMs }) => delayMs)).toEqual([3_000, 12_000, 27_000]);
  });

  test("the sweep leaves a job alone that waits, as the server asked", async () => {
    const process = openProcess({ store });
    await process.jobs.start();
    const session = await login(process);
    await clock.advance(8.5 * MINUTE);
    server.answer = () => new Response("{}", { status: 429, headers: { "retry-after": "3000" } });
    const job = queue.deliver({ key: session.key });
    await clock.advance(20 * SECOND);
    await job;
    const calls = server.calls.length;
    await clock.advance(40 * MINUTE);
    expect(queue.puts.filter(({ replace }) => !replace).length).toBeGreaterThan(10);
    expect(server.calls).toHaveLength(calls);
  });

  test("a sweep into a lost queue says so once, and the next one tries again", async () => {
    const process = openProcess({ store });
    await process.jobs.start();
    for (let index = 0; index < 50; index++) await login(process, `user-${String(index)}`);
    queue.fault = () => Promise.reject(new Error("lost"));
    await clock.advance(DUE + SPREAD + 2 * MINUTE);
    const sweeps = problems.filter(({ step }) => step === "sweep");
    expect(sweeps.length).toBeGreaterThanOrEqual(1);
    expect(sweeps.length).toBeLessThanOrEqual(2);
    queue.fault = undefined;
    await pass(() => server.calls.length === 50);
  });

  test("a store that fails says so, and is asked again", async () => {
    let asked = 0;
    const process = openProcess({
      store: {
        due: () => {
          asked++;
          return Promise.reject(new Error("store"));
        },
      },
    });
    await process.jobs.start();
    await clock.advance(3 * MINUTE);
    expect(asked).toBe(3);
    expect(problems).toMatchObject(Array.from({ length: 3 }, () => ({ step: "sweep", error: { message: "store" } })));
  });

  test("a sweep that is cut short looks further, past what nobody can refresh", async () => {
    const limits: number[] = [];
    const keys = Array.from({ length: 1_200 }, (_, index) => ({ key: `key-${String(index)}`, dueAt: 0 }));
    const process = openProcess({
      store: {
        due: ({ limit }) => {
          limits.push(limit);
          return Promise.resolve(keys.slice(0, limit));
        },
      },
    });
    await process.jobs.start();
    await clock.advance(MINUTE / 2);
    await pass(() => queue.puts.length === 500 + 1_000 + 1_200, 20);
    expect(limits).toEqual([500, 1_000, 2_000]);
    expect(new Set(queue.puts.map(({ id }) => id)).size).toBe(1_200);
  });

  describe("sessions that nobody can refresh", () => {
    /** A process whose store lists these as due, for ever, and which finds a client for none but `good`. */
    function openSweeper(
      due: readonly string[],
      good?: string,
    ): { readonly asked: string[]; readonly jobs: RefreshJobs } {
      const asked: string[] = [];
      const { jobs } = openProcess({
        store: { due: ({ limit }) => Promise.resolve(due.slice(0, limit).map((key) => ({ key, dueAt: 0 }))) },
        manager: {
          refresh(key) {
            asked.push(key);
            if (key === good) return Promise.resolve({ state: "absent" });
            return Promise.reject(new ConfigurationError("client_unresolved", "no client", "resolveClient"));
          },
          close: () => Promise.resolve({ unsaved: [] }),
        },
      });
      return { asked, jobs };
    }

    test("however many they are, a sweep looks beyond them", async () => {
      const hopeless = Array.from({ length: 20_000 }, () => "one");
      const { asked, jobs } = openSweeper([...hopeless, "good"], "good");
      await jobs.start();
      await queue.deliver({ key: "one" });
      await pass(() => asked.includes("good"));
      expect(asked).toEqual(["one", "good"]);
    });

    test("are reported once, and tried again after an hour", async () => {
      const { asked, jobs } = openSweeper(["one", "two"]);
      await jobs.start();
      await pass(() => asked.length === 2);
      await clock.advance(50 * MINUTE);
      expect(asked).toHaveLength(2);
      expect(problems.map(({ key }) => key).sort()).toEqual(["one", "two"]);
      await clock.advance(15 * MINUTE);
      expect(asked).toHaveLength(4);
      expect(problems).toHaveLength(4);
    });

    test("are refreshed by a job that somebody put in, after a login for example", async () => {
      const { asked, jobs } = openSweeper(["one"]);
      await jobs.start();
      await pass(() => asked.length === 1);
      await queue.deliver({ key: "one" });
      expect(asked).toHaveLength(2);
      expect(problems).toHaveLength(1);
    });
  });

  test("without a store that lists what is due there is no sweep", async () => {
    const process = openProcess({ store: storeWithout(clock, ["due"]) });
    await process.jobs.start();
    const session = await login(process);
    await clock.advance(DAY);
    expect(queue.puts).toEqual([]);
    expect(await session.getAccessToken()).toBe("access-1");
  });
});

describe("shutdown", () => {
  test("R-11 takes no more jobs, lets the running end, puts in the next, then closes the manager", async () => {
    const process = openProcess();
    await process.jobs.start();
    const session = await login(process);
    await clock.advance(9 * MINUTE);
    let answer: (response: Response) => void = () => undefined;
    server.answer = () => new Promise((resolve) => (answer = resolve));
    void queue.deliver({ key: session.key });
    await clock.advance(0);
    let result: unknown;
    void process.jobs.close().then((value) => (result = value));
    await clock.advance(SECOND);
    expect(queue.log).toEqual(["start", "stop"]);
    expect(result).toBeUndefined();
    await expect(session.status()).resolves.toMatchObject({ state: "refreshing" });
    answer(success("access-late"));
    await clock.advance(0);
    expect(result).toEqual({ unsaved: [] });
    expect(queue.log).toEqual(["start", "stop", "manager closed"]);
    expect(queue.waiting.size).toBe(1);
    expect(problems).toEqual([]);
    await expect(process.manager.refresh(session.key)).rejects.toMatchObject({ code: "manager_closed" });
  });

  test("a job that comes while closing is put back, not done", async () => {
    const process = openProcess();
    await process.jobs.start();
    const session = await login(process);
    await clock.advance(9 * MINUTE);
    let stopped: () => void = () => undefined;
    queue.stopFault = () => new Promise((resolve) => (stopped = resolve));
    const closed = process.jobs.close();
    await queue.deliver({ key: session.key, failures: 2 });
    stopped();
    await closed;
    expect(server.calls).toHaveLength(0);
    expect(queue.puts).toMatchObject([{ data: { key: session.key, failures: 2 }, delayMs: 1_000 }]);
  });

  test("a refresh that does not end in time is given up with the manager, and its job is put back", async () => {
    const process = openProcess();
    await process.jobs.start();
    const session = await login(process);
    await clock.advance(9 * MINUTE);
    server.answer = () => refused("temporarily_unavailable", 503);
    void queue.deliver({ key: session.key });
    await clock.advance(0);
    let result: unknown;
    void process.jobs.close({ drainMs: 100 }).then((value) => (result = value));
    await clock.advance(500);
    expect(result).toEqual({ unsaved: [] });
    expect(queue.puts).toHaveLength(1);
    expect(queue.puts[0]?.delayMs).toBe(1_000);
  });

  test("a worker that does not stop holds nobody for ever", async () => {
    const process = openProcess();
    await process.jobs.start();
    queue.stopFault = () => new Promise(() => undefined);
    let result: unknown;
    void process.jobs.close({ drainMs: SECOND }).then((value) => (result = value));
    await clock.advance(30 * SECOND);
    expect(result).toEqual({ unsaved: [] });
    expect(problems).toMatchObject([{ step: "stop", error: { name: "TimeoutError" } }]);
  });

  test("a worker that cannot be stopped is reported, and the manager is closed all the same", async () => {
    const process = openProcess();
    await process.jobs.start();
    queue.stopFault = () => Promise.reject(new Error("gone"));
    expect(await process.jobs.close()).toEqual({ unsaved: [] });
    expect(problems).toMatchObject([{ step: "stop", error: { message: "gone" } }]);
  });

  test("twice is once, and nothing begins afterwards", async () => {
    const process = openProcess({ store });
    await process.jobs.start();
    await process.jobs.start();
    expect(await process.jobs.close()).toEqual({ unsaved: [] });
    await process.jobs.close();
    expect(queue.log).toEqual(["start", "stop", "manager closed"]);
    await expect(openProcess().jobs.close()).resolves.toEqual({ unsaved: [] });
    const closed = openProcess();
    await closed.jobs.close();
    await expect(closed.jobs.start()).rejects.toMatchObject({ name: "InvalidStateError" });
    await clock.advance(HOUR);
    expect(queue.puts).toEqual([]);
  });

  test("a start that fails may be tried again", async () => {
    const { jobs } = openProcess();
    const start = queue.start.bind(queue);
    queue.start = () => Promise.reject(new Error("no queue"));
    await expect(jobs.start()).rejects.toThrow("no queue");
    queue.start = start;
    await jobs.start();
    expect(queue.log).toEqual(["start"]);
  });
});

describe("what a job carries", () => {
  test("S-080 the id of a job is a hash of the key: no colon, no subject, the same everywhere", async () => {
    const { manager } = openProcess();
    const { key } = manager.session(server.client, { subject: "ada:lovelace", tenant: "a" });
    expect(await jobIdOf(key)).toMatch(/^[0-9a-f]{64}$/);
    expect(await jobIdOf(key)).toBe(await jobIdOf(key));
    expect(await jobIdOf(key)).not.toBe(await jobIdOf(`${key}x`));
  });

  test.each([
    [{ key: "a" }, { key: "a" }],
    [
      { key: "a", failures: 2 },
      { key: "a", failures: 2 },
    ],
    [{ key: "a", failures: -1 }, { key: "a" }],
    [{ key: "a", failures: "2" }, { key: "a" }],
    [{ key: "a", failures: Infinity }, { key: "a" }],
  ])("S-100 is read field by field: %j", (data, read) => {
    expect(readJobData(data)).toEqual(read);
  });
});
