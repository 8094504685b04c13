// Stored sessions of a process that is gone: requirements, DESIGN 7.
import { beforeEach, describe, expect, test } from "vitest";
import { TokenManager, memoryStore } from "warehouse-oauth";
import type { OAuthClient, SessionDescription, TokenManagerOptions, TokenStore } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { HOUR, MINUTE, SECOND, acmeServer, quickClock, storeWith, storeWithout, success } from "./acme-room.ts";
import type { AcmeServer } from "./acme-room.ts";
import { randomOf } from "../fleet/random.ts";

let clock: ManualClock;
let server: AcmeServer;
let inner: TokenStore;
let random: () => number;

beforeEach(() => {
  clock = manualClock();
  server = acmeServer(clock);
  inner = memoryStore({ clock });
  random = randomOf(20_261_129); // one for all managers of a test: they differ, and do so each time alike
});

const open = (options: TokenManagerOptions = {}): TokenManager =>
  new TokenManager({
    clock,
    random,
    store: storeWith(clock, {}, inner),
    resolveClient: () => server.client,
    ...options,
  });

/** Sessions that a process left behind. */
async function leave(count: number, client: OAuthClient = server.client, prefix = "user"): Promise<void> {
  const gone = open();
  for (let n = 0; n < count; n++) {
    const tokens = server.tokens({ refreshToken: `${prefix}-${String(n)}`, connectionId: client.connectionId });
    await gone.save(client, { subject: `${prefix}-${String(n)}` }, tokens);
  }
  await gone.close();
}

/** Most requests within any second. */
function busiest(calls: AcmeServer["calls"]): number {
  let most = 0;
  for (let first = 0, last = 0; last < calls.length; last++) {
    while ((calls[last]?.elapsedMs ?? 0) - (calls[first]?.elapsedMs ?? 0) >= 1_000) first += 1;
    most = Math.max(most, last - first + 1);
  }
  return most;
}

describe("R-10 a restart", () => {
  test("fresh sessions are left alone until they are due, and taken up soon after", async () => {
    await leave(20);
    const manager = open();
    manager.start();
    await clock.advance(460 * SECOND);
    expect(server.calls).toEqual([]);
    await clock.advance(200 * SECOND);
    expect(server.calls).toHaveLength(20);
    expect(new Set(server.calls.map(({ refreshToken }) => refreshToken)).size).toBe(20);
  });

  test("due ones are spread over a minute", async () => {
    await leave(300);
    await clock.advance(HOUR);
    const manager = open({ concurrency: { atOnce: 100, perSecond: 1_000 } });
    manager.start();
    await clock.advance(30 * SECOND);
    expect(server.calls.length).toBeGreaterThan(100);
    expect(server.calls.length).toBeLessThan(200);
    await clock.advance(30 * SECOND);
    expect(server.calls).toHaveLength(300);
    expect(busiest(server.calls)).toBeLessThan(25);
  });

  test("those whose tokens end sooner are begun before they end", async () => {
    await leave(50);
    await clock.advance(540 * SECOND);
    const manager = open({ concurrency: { atOnce: 100, perSecond: 1_000 } });
    manager.start();
    await clock.advance(31 * SECOND);
    expect(server.calls).toHaveLength(50);
    expect(server.calls.filter(({ elapsedMs }) => elapsedMs < 555 * SECOND).length).toBeGreaterThan(10);
  });

  test("10 000 sessions: never more than the configured rate, and each refresh token once", async () => {
    const quick = quickClock();
    const there = acmeServer(quick, {}, 3600);
    const store = storeWith(quick, {}, memoryStore({ clock: quick }));
    const gone = new TokenManager({ clock: quick, random, store });
    for (let n = 0; n < 10_000; n++) {
      await gone.save(there.client, { subject: `user-${String(n)}` }, there.tokens({ refreshToken: `r-${String(n)}` }));
    }
    await gone.close();
    quick.skip(2 * HOUR);
    const concurrency = { perSecond: 100 };
    const manager = new TokenManager({ clock: quick, random, store, concurrency, resolveClient: () => there.client });
    manager.start();
    await quick.advance(200 * SECOND);
    expect(there.calls).toHaveLength(10_000);
    expect(busiest(there.calls)).toBeLessThanOrEqual(100);
    expect(new Set(there.calls.map(({ refreshToken }) => refreshToken)).size).toBe(10_000);
    await manager.close();
  });
});

describe("R-10 what was not taken up at first", () => {
  test("since it could not be read: it is at the next look", async () => {
    await leave(1);
    await clock.advance(HOUR);
    let failures = 1;
    const read: TokenStore["read"] = (key, options) =>
      failures-- > 0 ? Promise.reject(new Error("down")) : inner.read(key, options);
    open({ store: storeWith(clock, { read }, inner) }).start();
    await clock.advance(30 * SECOND);
    expect(server.calls).toEqual([]);
    await clock.advance(2 * MINUTE);
    expect(server.calls).toHaveLength(1);
  });

  test("since it was opened here: one that nobody asked is nobody's", async () => {
    await leave(1);
    const manager = open();
    manager.session(server.client, { subject: "user-0" });
    await clock.advance(3 * HOUR);
    manager.start();
    await clock.advance(3 * MINUTE);
    expect(server.calls).toHaveLength(1);
  });
});

describe("what is not taken up", () => {
  test("nothing without resolveClient, without start, or at a store that does not list", async () => {
    await leave(3);
    await clock.advance(HOUR);
    const silent = storeWithout(clock, ["due"], inner);
    new TokenManager({ clock, random, store: storeWith(clock, {}, inner) }).start();
    new TokenManager({ clock, random, store: silent, resolveClient: () => server.client }).start();
    open();
    await clock.advance(5 * MINUTE);
    expect(server.calls).toEqual([]);
  });

  test("sessions that are no longer ours, or whose client cannot be found, harm no other", async () => {
    await leave(4);
    await clock.advance(HOUR);
    const resolveClient = ({ subject }: SessionDescription): OAuthClient | undefined => {
      if (subject === "user-0") return undefined;
      if (subject === "user-1") throw new Error("db down");
      if (subject === "user-2") return server.register("other");
      return server.client;
    };
    open({ resolveClient }).start();
    await clock.advance(5 * MINUTE);
    expect(server.calls.map(({ refreshToken }) => refreshToken)).toEqual(["user-3"]);
  });

  test("more of them than fit into one look do not hide the rest", async () => {
    await leave(10_100, server.register("gone"), "gone");
    await clock.advance(20 * MINUTE); // by more than what chance adds to the time when a session is due
    await leave(3);
    await clock.advance(HOUR);
    const resolveClient = ({ clientId, subject }: SessionDescription): OAuthClient | undefined => {
      if (subject.endsWith("7")) throw new Error("db down");
      return clientId === "gone" ? undefined : server.client;
    };
    open({ resolveClient }).start();
    await clock.advance(10 * MINUTE);
    const refreshed = new Set(server.calls.map(({ refreshToken }) => refreshToken));
    expect([...refreshed].sort()).toEqual(["user-0", "user-1", "user-2"]);
  });

  test("a full list is looked beyond only if nothing of it is taken up", async () => {
    await leave(1);
    await clock.advance(HOUR);
    const [key = ""] = (await inner.keys?.({ prefix: "/user-", limit: 1, signal: new AbortController().signal })) ?? [];
    const limits: number[] = [];
    const due: TokenStore["due"] = ({ limit }) => {
      const others = Array.from({ length: limit - 1 }, () => ({ key: "not a key", dueAt: 0 }));
      return Promise.resolve([{ key: limits.push(limit) < 3 ? "no key either" : key, dueAt: 0 }, ...others]);
    };
    open({ store: storeWith(clock, { due }, inner) }).start();
    await clock.advance(5 * MINUTE);
    // The third finds one that is taken up; later ones find one that is known.
    expect(limits.slice(0, 5)).toEqual([10_000, 20_000, 40_000, 10_000, 20_000]);
    expect(server.calls).toHaveLength(1);

    limits.splice(0);
    open({ store: storeWith(clock, { due }, inner), concurrency: { perSecond: 200 } }).start();
    await clock.advance(SECOND);
    expect(limits[0]).toBe(24_000); // twice what may be refreshed in a minute
  });

  test("keys that are none, records that cannot be read, and a store that fails", async () => {
    await leave(1);
    await clock.advance(HOUR);
    const signal = new AbortController().signal;
    await inner.write("not a key", { value: "x", dueAt: 1 }, { signal, ifVersion: undefined });
    const broken = `/broken//${server.client.connectionId}`;
    await inner.write(broken, { value: "x", dueAt: 2 }, { signal, ifVersion: undefined });
    let looks = 0;
    const due: TokenStore["due"] = async (options) => {
      looks += 1;
      if (looks === 1) throw new Error("down");
      return (await inner.due?.(options)) ?? [];
    };
    open({ store: storeWith(clock, { due }, inner) }).start();
    await clock.advance(4 * MINUTE);
    expect(looks).toBeGreaterThanOrEqual(3);
    expect(looks).toBeLessThanOrEqual(5);
    expect(server.calls).toHaveLength(1);
  });

  test("R-10 a resolveClient that never answers is asked again only after its time, one batch at once", async () => {
    await leave(3);
    await clock.advance(HOUR);
    const asked: string[] = [];
    const resolveClient = ({ subject }: SessionDescription): Promise<never> => {
      asked.push(subject);
      return new Promise(() => undefined);
    };
    const manager = open({ resolveClient });
    manager.start();
    await clock.advance(80 * SECOND);
    expect(asked.toSorted()).toEqual(["user-0", "user-1", "user-2"]);
    await clock.advance(30 * SECOND);
    const closing = manager.close({ drainMs: HOUR });
    await clock.advance(90 * SECOND);
    expect(await closing).toEqual({ unsaved: [] });
  });

  test("what lies in the memory of this process only is nobody's who is gone", async () => {
    const manager = new TokenManager({ clock, store: inner, resolveClient: () => server.client });
    await manager.save(server.client, { subject: "ada" }, server.tokens());
    await clock.advance(HOUR);
    let looks = 0;
    const due: TokenStore["due"] = (options) => ((looks += 1), inner.due?.(options) ?? Promise.resolve([]));
    new TokenManager({
      clock,
      store: storeWith(clock, { due, capabilities: inner.capabilities }, inner),
      resolveClient: () => server.client,
    }).start();
    await clock.advance(5 * MINUTE);
    expect(looks).toBe(0);
  });

  test("R-07 a session that nobody uses is not taken up again because others come and go", async () => {
    const manager = open();
    manager.start();
    await manager.save(server.client, { subject: "ada" }, server.tokens());
    for (let visit = 0; visit < 100; visit++) {
      await clock.advance(10 * MINUTE);
      manager.session(server.client, { subject: `visitor-${String(visit)}` });
      manager.session(server.client, { subject: `other-${String(visit)}` });
    }
    expect(server.calls.length).toBeLessThanOrEqual(8); // those of the first hour
    expect(server.calls.at(-1)?.elapsedMs).toBeLessThan(1.2 * HOUR);
  });

  test("sessions that the process knows are not read again", async () => {
    let reads = 0;
    const read: TokenStore["read"] = (key, options) => {
      reads += 1;
      return inner.read(key, options);
    };
    server.answer = () => Promise.resolve(Response.json({}, { status: 503 }));
    const manager = open({ store: storeWith(clock, { read }, inner), random: () => 0.5 });
    await manager.save(server.client, { subject: "ada" }, server.tokens());
    manager.start();
    await clock.advance(10 * MINUTE);
    const before = reads;
    await clock.advance(MINUTE);
    expect(reads - before).toBeLessThanOrEqual(4);
  });
});

describe("several processes", () => {
  test("R-65 ten processes that start together send each refresh token once", async () => {
    const rotating = acmeServer(clock, { refreshRotation: "single-use" });
    rotating.answer = ({ refreshToken }) => success(`of ${refreshToken}`, { refresh_token: `${refreshToken}+` });
    const gone = open({ resolveClient: () => rotating.client });
    for (let n = 0; n < 20; n++) {
      await gone.save(
        rotating.client,
        { subject: `user-${String(n)}` },
        rotating.tokens({ refreshToken: `r-${String(n)}` }),
      );
    }
    await gone.close();
    await clock.advance(HOUR);
    for (let n = 0; n < 10; n++) open({ resolveClient: () => rotating.client }).start();
    await clock.advance(3 * MINUTE);
    expect(rotating.calls).toHaveLength(20);
    expect(new Set(rotating.calls.map(({ refreshToken }) => refreshToken)).size).toBe(20);
  });

  test("R-65 R-10 ten processes share a thousand out: none takes up more than it may refresh in a minute", async () => {
    const rotating = acmeServer(clock, { refreshRotation: "single-use" });
    rotating.answer = ({ refreshToken }) =>
      success(`of ${refreshToken}`, { refresh_token: `${refreshToken}+`, expires_in: 36_000 });
    await leave(1_000, rotating.client);
    await clock.advance(HOUR);
    const resolved: number[] = [];
    for (let process = 0; process < 10; process++) {
      resolved.push(0);
      const resolveClient = (): OAuthClient => {
        resolved[process] = (resolved[process] ?? 0) + 1;
        return rotating.client;
      };
      open({ resolveClient, concurrency: { perSecond: 2 } }).start();
    }
    await clock.advance(59 * SECOND);
    expect(Math.max(...resolved)).toBeLessThanOrEqual(120);
    expect(rotating.calls.length).toBeGreaterThan(500);
    await clock.advance(5 * MINUTE);
    expect(rotating.calls).toHaveLength(1_000);
    expect(new Set(rotating.calls.map(({ refreshToken }) => refreshToken)).size).toBe(1_000);
  });

  test("R-10 the share is counted for each client: one with many sessions does not hold up another", async () => {
    const other = server.register("other");
    await leave(200);
    await leave(5, other, "rare");
    await clock.advance(HOUR);
    const resolveClient = ({ clientId }: SessionDescription) => (clientId === "other" ? other : server.client);
    open({ resolveClient, concurrency: { perSecond: 1 } }).start();
    await clock.advance(MINUTE);
    const refreshed = server.calls.map(({ refreshToken }) => refreshToken);
    expect(refreshed.filter((token) => token.startsWith("rare"))).toHaveLength(5);
  });

  test("R-65 what another process refreshed since the list was made is not refreshed again", async () => {
    await leave(1);
    await clock.advance(HOUR);
    const other = open().session(server.client, { subject: "user-0" });
    const due: TokenStore["due"] = async (options) => {
      const found = (await inner.due?.(options)) ?? [];
      await other.getAccessToken();
      return found;
    };
    open({ store: storeWith(clock, { due }, inner) }).start();
    await clock.advance(2 * MINUTE);
    expect(server.calls).toHaveLength(1);
  });

  test("the sessions of a living process are not taken up by the others", async () => {
    const owner = open();
    const session = await owner.save(server.client, { subject: "ada" }, server.tokens());
    owner.start();
    let resolved = 0;
    const other = open({ resolveClient: () => ((resolved += 1), server.client) });
    other.start();
    for (let minute = 0; minute < 60; minute++) {
      await clock.advance(MINUTE);
      await session.getAccessToken();
    }
    expect(resolved).toBe(0);
    expect(server.calls.length).toBeGreaterThanOrEqual(6);
    expect(server.calls.length).toBeLessThanOrEqual(8);
  });

  test("R-07 sessions that a living process keeps alive are left alone by one that starts, until it is gone", async () => {
    server = acmeServer(clock, { refreshExtends: "on-use" });
    server.answer = (_, index) => success(`access-${String(index)}`, { refresh_token_expires_in: 36_000 });
    const refresh = { keepAlive: true };
    const owner = open({ refresh });
    owner.start();
    const tokens = server.tokens({ refreshExpiresAt: clock.now() + 10 * HOUR });
    await owner.save(server.client, { subject: "ada" }, tokens);
    await clock.advance(3 * HOUR);
    const calls = server.calls.length;
    open({ refresh }).start();
    await clock.advance(3 * HOUR);
    expect(server.calls).toHaveLength(calls);
    await owner.close();
    // A tenth of ten hours before its end, and later by what shows that its process is gone.
    await clock.advance(5 * HOUR);
    expect(server.calls.length).toBeGreaterThan(calls);
  });

  test("a session that nobody uses is not handed around for ever", async () => {
    const owner = open();
    await owner.save(server.client, { subject: "ada" }, server.tokens());
    owner.start();
    open().start();
    open().start();
    await clock.advance(3 * HOUR);
    const calls = server.calls.length;
    await clock.advance(3 * HOUR);
    expect(server.calls).toHaveLength(calls);
  });
});
