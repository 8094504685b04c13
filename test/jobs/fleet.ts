// What the tests with real queues share: a fleet of managers on one store, one queue and one strict warehouse.
import { setTimeout as wait } from "node:timers/promises";
import { TokenManager } from "warehouse-oauth";
import type { OAuthClient, SessionStatus, TokenManagerOptions, TokenSession, TokenStore } from "warehouse-oauth";
import { fakeDatabricks } from "warehouse-oauth/testing";
import type { FakeRequest, FakeWarehouse } from "warehouse-oauth/testing";
import { expect } from "vitest";
import type { RefreshJobProblem, RefreshJobs, RefreshJobsOptions } from "../../src/jobs/refresh-jobs/refresh-jobs.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { storeWith } from "../session/acme-room.ts";

/** Sessions that two processes keep fresh. More, where somebody has the time: `JOB_SESSIONS=300`. */
export const JOB_SESSIONS = Number(process.env["JOB_SESSIONS"] ?? 8);

/** Tokens live three seconds, and are due after one. */
const LIFETIME_MS = 3_000;
const LEAD_MS = 2_500;

/** No refresh follows another sooner than this, by the rules of the manager (requirements R-06). */
const LEAST_PAUSE_MS = 1_000;

export interface Member {
  readonly manager: TokenManager;
  readonly jobs: RefreshJobs;
}

export interface Fleet {
  readonly fake: FakeWarehouse<never>;
  readonly client: OAuthClient;
  readonly store: TokenStore;
  readonly problems: (RefreshJobProblem & { readonly error: unknown })[];
  /** Another process: a manager of its own, and jobs on the queue. */
  join(
    make: (options: RefreshJobsOptions) => RefreshJobs,
    options?: Partial<RefreshJobsOptions>,
    manage?: TokenManagerOptions,
  ): Member;
  signIn(member: Member, subject: string): Promise<TokenSession>;
  /** The refreshes that the warehouse saw. */
  refreshes(): readonly FakeRequest[];
  /** How often the tokens of a session were replaced, as the store knows it. */
  generationOf(subject: string): Promise<number>;
  /** Waits until these sessions were refreshed, twice on average. */
  untilRefreshed(subjects: readonly string[]): Promise<void>;
  /** Nobody spent a refresh token twice, nothing was refused, and all that was refreshed is stored. */
  assertOnce(subjects: readonly string[], elapsedMs: number): Promise<void>;
  /** Waits until the tokens that a session has now are over. */
  untilExpired(session: TokenSession): Promise<void>;
  close(): Promise<void>;
}

/** Whether a session's refresh is due. */
export function isDue(status: SessionStatus): boolean {
  return "nextRefreshAt" in status && (status.nextRefreshAt ?? Infinity) <= Date.now();
}

export function openFleet(options: { readonly store?: TokenStore; readonly lifetimeMs?: number } = {}): Fleet {
  const { store = storeWith(systemClock), lifetimeMs = LIFETIME_MS } = options;
  const fake = fakeDatabricks({ refreshRotation: "single-use", accessTokenLifetimeMs: lifetimeMs });
  const client = fake.client as OAuthClient;
  const members: Member[] = [];
  const problems: Fleet["problems"] = [];
  const newManager = (manage: TokenManagerOptions = {}): TokenManager =>
    new TokenManager({ store, resolveClient: () => client, refresh: { leadTimeMs: LEAD_MS }, ...manage });
  const refreshes = (): readonly FakeRequest[] => fake.requests.filter(({ grant }) => grant === "refresh_token");
  const generationOf = async (subject: string): Promise<number> => {
    const status = await newManager().session(client, { subject }).status();
    return "generation" in status ? status.generation : 0;
  };
  return {
    fake: fake,
    client,
    store,
    problems,
    join(make, more = {}, manage = {}) {
      const manager = newManager(manage);
      const onError: RefreshJobsOptions["onError"] = (error, problem) => problems.push({ error, ...problem });
      const member = { manager, jobs: make({ manager, onError, ...more }) };
      members.push(member);
      return member;
    },
    async signIn(member, subject) {
      const tokens = await fake.issueTokens({ subject, client });
      return member.manager.save(client, { subject }, tokens);
    },
    refreshes,
    generationOf,
    async untilRefreshed(subjects) {
      await until(() => refreshes().length >= 2 * subjects.length);
      for (const subject of subjects) await until(async () => (await generationOf(subject)) >= 2);
    },
    async assertOnce(subjects, elapsedMs) {
      const seen = refreshes();
      expect(seen.filter(({ status }) => status !== 200)).toEqual([]);
      const spent = seen.map(({ parameters }) => parameters["refresh_token"]);
      expect(new Set(spent).size).toBe(spent.length);
      const generations = await Promise.all(subjects.map((subject) => generationOf(subject)));
      expect(generations.reduce((sum, generation) => sum + generation - 1, 0)).toBe(seen.length);
      const most = Math.floor(elapsedMs / LEAST_PAUSE_MS) + 1;
      expect(Math.min(...generations)).toBeGreaterThanOrEqual(2);
      expect(Math.max(...generations) - 1).toBeLessThanOrEqual(most);
    },
    async untilExpired(session) {
      const status = await session.status();
      const expiresAt = "expiresAt" in status ? (status.expiresAt ?? 0) : 0;
      await until(() => Date.now() > expiresAt);
    },
    async close() {
      for (const { jobs } of members) await jobs.close();
    },
  };
}

/** Something that waits until it is opened. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return {
    opened,
    open: () => {
      open();
    },
  };
}

/** Waits until something holds. What never does hangs, and the test ends by its timeout. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await wait(20);
}

/** The system's clock, with timers that fire twenty times sooner: deadlines of seconds for tests. */
export const hastyClock = {
  ...systemClock,
  setTimer: (callback: () => void, delayMs: number, options?: { readonly keepAlive?: boolean }): (() => void) =>
    systemClock.setTimer(callback, delayMs / 20, options),
};
