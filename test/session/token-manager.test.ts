// The manager from outside: requirements, S-035, S-036, S-078, S-079, S-086, S-104.
import { beforeEach, describe, expect, test } from "vitest";
import { TokenManager, TokenSession, createClient, memoryStore, rotateWithoutLease } from "warehouse-oauth";
import type { Clock, TokenManagerOptions, TokenStore } from "warehouse-oauth";
import { fakeBigQuery, fakeSnowflake, manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import {
  DAY,
  HOUR,
  MINUTE,
  SECOND,
  acmeServer,
  eventsOf,
  refused,
  storeWith,
  storeWithout,
  success,
  thrownBy,
} from "./acme-room.ts";
import type { AcmeServer } from "./acme-room.ts";

let clock: ManualClock;
let server: AcmeServer;

beforeEach(() => {
  clock = manualClock();
  server = acmeServer(clock);
});

const open = (options: TokenManagerOptions = {}): TokenManager =>
  new TokenManager({ clock, random: () => 0.5, ...options });

const login = (manager: TokenManager, subject = "ada", from: AcmeServer = server): Promise<TokenSession> =>
  manager.save(from.client, { subject }, from.tokens());

describe("options", () => {
  test.each([
    [{ leaseTtlMs: 999 }, "leaseTtlMs"],
    [{ leaseTtlMs: NaN }, "leaseTtlMs"],
    [{ refresh: { idleMs: 0 } }, "refresh.idleMs"],
    [{ refresh: { maxPerHour: 0 } }, "refresh.maxPerHour"],
    [{ refresh: { leadTimeMs: -1 } }, "refresh.leadTimeMs"],
    [{ retry: { maxAttempts: 0 } }, "retry.maxAttempts"],
    [{ retry: { totalMs: -1 } }, "retry.totalMs"],
    [{ retry: { baseDelayMs: 0 } }, "retry.baseDelayMs"],
    [{ retry: { maxDelayMs: Infinity } }, "retry.maxDelayMs"],
    [{ concurrency: { atOnce: 0 } }, "concurrency.atOnce"],
    [{ concurrency: { atOnce: 1.5 } }, "concurrency.atOnce"],
    [{ concurrency: { perSecond: 0 } }, "concurrency.perSecond"],
    [{ background: "later" }, "background"],
    [{ stores: 1 }, "stores"],
    [{ refresh: { leadTime: 1 } }, "refresh.leadTime"],
    [{ retry: { attempts: 1 } }, "retry.attempts"],
    [{ concurrency: { perMinute: 1 } }, "concurrency.perMinute"],
  ])("refuses %j", (options, option) => {
    const refuse = (): unknown => new TokenManager(options as never);
    expect(refuse).toThrow(expect.objectContaining({ code: "config_invalid", option }));
    expect(refuse).toThrow(`"${option}"`);
  });

  test.each(["refresh", "retry", "concurrency"])("refuses %s as anything but an object", (option) => {
    for (const value of [1, null, "fast"]) {
      const refuse = (): unknown => new TokenManager({ [option]: value });
      expect(refuse).toThrow(expect.objectContaining({ name: "TypeError", code: "invalid_argument" }));
    }
  });

  test.each([null, 7])("%s is no options", (options) => {
    expect(() => new TokenManager(options as never)).toThrow(expect.objectContaining({ code: "invalid_argument" }));
  });

  test("the least of everything is fine", () => {
    open({
      leaseTtlMs: 1_000,
      refresh: { idleMs: 1, maxPerHour: 1, leadTimeMs: 0 },
      retry: { maxAttempts: 1, totalMs: 0, baseDelayMs: 1, maxDelayMs: 1 },
      concurrency: { atOnce: 1, perSecond: 0.001 },
      background: "none",
    });
    expect(new TokenManager()).toBeInstanceOf(TokenManager);
  });

  test("an option that is undefined is its default: attempts do not become endless", async () => {
    server.answer = () => refused("temporarily_unavailable", 503);
    const manager = open({ retry: { maxAttempts: undefined, totalMs: 1e9, baseDelayMs: undefined } as never });
    const session = await login(manager);
    await clock.advance(10 * MINUTE);
    const failed = thrownBy(() => session.getAccessToken({ signal: new AbortController().signal }));
    await clock.advance(MINUTE);
    expect(await failed).toMatchObject({ code: "server_unavailable" });
    expect(server.calls).toHaveLength(4);
  });

  test("sessions come from the manager only, and arguments are looked at", () => {
    expect((): unknown => Reflect.construct(TokenSession, [{}, {}, {}])).toThrow(
      expect.objectContaining({ code: "invalid_argument" }),
    );
    const manager = open();
    expect(() => manager.session(server.client, { subject: "ada" }, { obtian: () => undefined } as never)).toThrow(
      expect.objectContaining({ code: "config_invalid", message: expect.stringContaining("options.obtian") as string }),
    );
    expect(() => manager.session(server.client, { subject: "ada" }, { obtain: 7 as never })).toThrow(
      expect.objectContaining({ code: "invalid_argument" }),
    );
    expect(() => manager.on("*", 7 as never)).toThrow(expect.objectContaining({ code: "invalid_argument" }));
  });
});

describe("S-078 a warehouse that rotates needs a store that can", () => {
  const stores = {
    "no lease": () => storeWithout(clock, ["lease"]),
    "no compare-and-set": () => storeWith(clock, { capabilities: { compareAndSet: false, durable: true } }),
  };

  test.each(Object.entries(stores))("S-078 %s: refused, before anything is saved", async (_name, store) => {
    for (const refreshRotation of ["single-use", "rotates", "unknown"] as const) {
      const rotating = acmeServer(clock, { refreshRotation });
      const error = await thrownBy(() => login(open({ store: store() }), "ada", rotating));
      expect(error).toMatchObject({ code: "store_incapable", option: "store", action: "fix_config" });
    }
  });

  test.each(Object.entries(stores))(
    "S-078 %s is fine without rotation, without a refresh token, or at one's own risk",
    async (_name, store) => {
      await login(open({ store: store() }));
      const rotating = acmeServer(clock, { refreshRotation: "single-use" });
      await open({ store: store() }).save(
        rotating.client,
        { subject: "job" },
        rotating.tokens({ refreshToken: undefined } as never),
      );
      const manager = open({ store: store(), [rotateWithoutLease]: true });
      const session = await login(manager, "ada", rotating);
      rotating.answer = () => success("access-1", { refresh_token: "refresh-1" });
      await clock.advance(10 * MINUTE);
      expect(await session.getAccessToken()).toBe("access-1");
    },
  );

  test("S-078 a session that turns out to rotate at such a store is not refreshed twice", async () => {
    const manager = open({ store: stores["no lease"]() });
    const session = await login(manager);
    server.answer = (_call, n) => success(`access-${String(n)}`, { refresh_token: `refresh-${String(n)}` });
    await clock.advance(10 * MINUTE);
    expect(await session.getAccessToken()).toBe("access-1");
    await clock.advance(10 * MINUTE);
    expect(await thrownBy(() => session.getAccessToken())).toMatchObject({ code: "store_incapable" });
    expect(server.calls).toHaveLength(1);
  });
});

describe("save", () => {
  test("tokens of another client are refused", async () => {
    const other = server.register("other");
    expect(await thrownBy(() => open().save(other, { subject: "ada" }, server.tokens()))).toMatchObject({
      code: "tokens_invalid",
    });
  });

  test("an aborted signal saves nothing, and a closed manager neither", async () => {
    const manager = open();
    const signal = AbortSignal.abort("no");
    expect(await thrownBy(() => manager.save(server.client, { subject: "ada" }, server.tokens(), { signal }))).toBe(
      "no",
    );
    expect((await manager.session(server.client, { subject: "ada" }).status()).state).toBe("absent");
    await manager.close();
    expect(await thrownBy(() => login(manager))).toMatchObject({ code: "manager_closed" });
  });

  test("replaces what was there; generations grow; every handle sees it", async () => {
    const manager = open();
    const events = eventsOf(manager);
    const first = await login(manager);
    const second = await manager.save(server.client, { subject: "ada" }, server.tokens({ accessToken: "access-new" }));
    expect(second.peek()).toBe("access-new");
    expect(manager.session(server.client, { subject: "ada" }).peek()).toBe("access-new");
    expect(first.peek()).toBe("access-new");
    await clock.advance(0);
    expect(events.map(({ type }) => type)).toEqual(["tokens_issued", "tokens_issued"]);
    expect(events[1]).toMatchObject({ generation: 2, expiresAt: clock.now() + 600_000, scopes: ["sql"] });
  });

  test("a record that cannot be read is replaced by a login; a store that is down is not taken for one", async () => {
    let broken = true;
    const inner = memoryStore({ clock });
    const read = (key: string, options: never) =>
      broken
        ? Promise.resolve({ record: { value: "sealed with a lost key" }, version: "9" })
        : inner.read(key, options);
    const write = (key: string, record: never, options: never) => {
      broken = false;
      return inner.write(key, record, options);
    };
    const session = await login(open({ store: storeWith(clock, { read, write }, inner) }));
    expect(session.peek()).toBe("access-0");
    const down = storeWith(clock, { read: () => Promise.reject(new Error("down")) });
    expect(await thrownBy(() => login(open({ store: down })))).toMatchObject({ code: "store_unavailable" });
  });

  test("a store in which every write meets another gives up", async () => {
    let writes = 0;
    const store = storeWith(clock, { write: () => ((writes += 1), Promise.resolve(undefined)) });
    expect(await thrownBy(() => login(open({ store })))).toMatchObject({
      code: "store_unavailable",
      operation: "write",
    });
    expect(writes).toBe(10);
  });

  test("a login lets go of the lease of tokens that could not be saved", async () => {
    const rotating = acmeServer(clock, { refreshRotation: "single-use" });
    let failing = false;
    let writes = 0;
    const inner = memoryStore({ clock });
    const store = storeWith(
      clock,
      {
        write: (key, record, options) =>
          failing && (writes += 1) > 1 ? Promise.reject(new Error("disk full")) : inner.write(key, record, options),
      },
      inner,
    );
    const manager = open({ store });
    const session = await login(manager, "ada", rotating);
    rotating.answer = (_call, n) => success(`access-${String(n)}`, { refresh_token: `refresh-${String(n)}` });
    await clock.advance(10 * MINUTE);
    failing = true;
    expect(await session.getAccessToken()).toBe("access-1");
    failing = false;
    await manager.save(
      rotating.client,
      { subject: "ada" },
      rotating.tokens({ accessToken: "again", refreshToken: "again" }),
    );
    await clock.advance(10 * MINUTE);
    expect(await session.getAccessToken()).toBe("access-2");
  });
});

describe("R-40, R-64 one refresh, ever", () => {
  test("R-64 10 000 callers with an expired token: one token request", async () => {
    const fake = fakeSnowflake({ clock, refreshRotation: "single-use" });
    const manager = open();
    const session = await manager.save(fake.client, { subject: "ada" }, await fake.issueTokens({ subject: "ada" }));
    await clock.advance(10 * MINUTE);
    const tokens = await Promise.all(Array.from({ length: 10_000 }, () => session.getAccessToken()));
    expect(new Set(tokens).size).toBe(1);
    expect(fake.requests.filter(({ grant }) => grant === "refresh_token")).toHaveLength(1);
    expect(fake.grants[0]?.revoked).toBe(false);
  });

  test("R-64 the same for 10 000 callers with signals, and for callers that are cold", async () => {
    await login(open({ store: storeWith(clock, {}, memoryStore({ clock })) }));
    const inner = memoryStore({ clock });
    await login(open({ store: storeWith(clock, {}, inner) }));
    const cold = open({ store: storeWith(clock, {}, inner) });
    await clock.advance(10 * MINUTE);
    const session = cold.session(server.client, { subject: "ada" });
    const tokens = await Promise.all(
      Array.from({ length: 10_000 }, (_, n) =>
        session.getAccessToken(n % 2 === 0 ? { signal: new AbortController().signal } : undefined),
      ),
    );
    expect(new Set(tokens)).toEqual(new Set(["access-1"]));
    expect(server.calls).toHaveLength(1);
  });

  test("R-64 S-079 1 000 callers of each of 50 sessions: 50 requests, and each gets its own token", async () => {
    const manager = open({ concurrency: { atOnce: 100, perSecond: 10_000 } });
    server.answer = ({ refreshToken }) => success(`access of ${refreshToken}`);
    const sessions = await Promise.all(
      Array.from({ length: 50 }, (_, n) =>
        manager.save(
          server.client,
          { subject: `user-${String(n)}` },
          server.tokens({ refreshToken: `r-${String(n)}` }),
        ),
      ),
    );
    await clock.advance(10 * MINUTE);
    const asked = Array.from({ length: 50_000 }, async (_, n) => sessions[n % 50]?.getAccessToken());
    const expected = Array.from({ length: 50_000 }, (_, n) => `access of r-${String(n % 50)}`);
    expect(await Promise.all(asked)).toEqual(expected);
    expect(server.calls).toHaveLength(50);
    expect(new Set(server.calls.map(({ refreshToken }) => refreshToken)).size).toBe(50);
  });

  test("R-40 an abort detaches one caller; the flight goes on for the others", async () => {
    const session = await login(open());
    let answer: (response: Response) => void = () => undefined;
    server.answer = () => new Promise((resolve) => (answer = resolve));
    await clock.advance(10 * MINUTE);
    const controller = new AbortController();
    const leaving = thrownBy(() => session.getAccessToken({ signal: controller.signal }));
    const staying = session.getAccessToken();
    await clock.advance(0);
    controller.abort("bored");
    expect(await leaving).toBe("bored");
    answer(success("access-1"));
    expect(await staying).toBe("access-1");
    expect(await thrownBy(() => session.getAccessToken({ signal: AbortSignal.abort("late") }))).toBe("late");
    expect(server.calls).toHaveLength(1);
  });

  test("R-40 a failed flight is forgotten before its callers learn of it", async () => {
    const session = await login(open({ retry: { maxAttempts: 1 } }));
    server.answer = (_call, n) => (n === 1 ? refused("temporarily_unavailable", 503) : success("access-2"));
    await clock.advance(10 * MINUTE);
    const second = session.getAccessToken().catch(() => session.getAccessToken());
    expect(await second).toBe("access-2");
  });

  test("a caller without a signal has 30 s; one who comes later has 30 s too", async () => {
    let isFree = false;
    const inner = memoryStore({ clock });
    const lease: TokenStore["lease"] = async (key, options) => (isFree ? inner.lease?.(key, options) : undefined);
    const session = await login(open({ store: storeWith(clock, { lease }, inner) }));
    let answer: (response: Response) => void = () => undefined;
    server.answer = () => new Promise((resolve) => (answer = resolve));
    await clock.advance(10 * MINUTE);
    const first = thrownBy(() => session.getAccessToken());
    const done: string[] = [];
    void first.then(() => done.push("first"));
    await clock.advance(29_000);
    const late = session.getAccessToken();
    isFree = true;
    await clock.advance(999);
    expect(done).toEqual([]);
    await clock.advance(1);
    expect(await first).toMatchObject({ code: "timeout", retryable: true });
    await clock.advance(5_000);
    answer(success("access-1"));
    expect(await late).toBe("access-1");
  });

  test("R-40 an abort is heard while the store is asked, too", async () => {
    const read: TokenStore["read"] = () => new Promise(() => undefined);
    const manager = open({ store: storeWith(clock, { read }) });
    const session = manager.session(server.client, { subject: "ada" });
    for (const ask of [
      (signal: AbortSignal) => session.getAccessToken({ signal }),
      (signal: AbortSignal) => session.refresh({ signal }),
      (signal: AbortSignal) => session.status({ signal }),
      (signal: AbortSignal) => manager.refresh(session.key, { signal }),
      (signal: AbortSignal) => session.revoke({ signal }),
      (signal: AbortSignal) => session.forget({ signal }),
      (signal: AbortSignal) => manager.save(server.client, { subject: "ada" }, server.tokens(), { signal }),
    ]) {
      const controller = new AbortController();
      const asked = thrownBy(() => ask(controller.signal));
      await clock.advance(0);
      controller.abort("bored");
      expect(await asked).toBe("bored");
    }
  });

  test("R-40 S-047 a login and a logout go on when their callers leave", async () => {
    const inner = memoryStore({ clock });
    let release = (): void => undefined;
    const read: TokenStore["read"] = async (...args) => {
      await new Promise<void>((resolve) => (release = resolve));
      return inner.read(...args);
    };
    const manager = open({ store: storeWith(clock, { read }, inner) });
    const session = manager.session(server.client, { subject: "ada" });
    for (const [act, state] of [
      [(signal: AbortSignal) => manager.save(server.client, { subject: "ada" }, server.tokens(), { signal }), "active"],
      [(signal: AbortSignal) => session.forget({ signal }), "revoked"],
    ] as const) {
      const controller = new AbortController();
      const asked = thrownBy(() => act(controller.signal));
      await clock.advance(0);
      controller.abort("bored");
      expect(await asked).toBe("bored");
      release();
      await clock.advance(0);
      expect(await session.status()).toMatchObject({ state });
    }
  });

  test("R-55 a resolveClient that never answers holds nobody for ever", async () => {
    const { key } = open().session(server.client, { subject: "ada" });
    const manager = open({ resolveClient: () => new Promise(() => undefined) });
    const asked = thrownBy(() => manager.refresh(key));
    await clock.advance(30_000);
    expect(await asked).toMatchObject({ code: "timeout", message: expect.stringContaining("resolveClient") as string });
  });
});

describe("R-01, R-02 tokens in time", () => {
  test.each([
    [3600, 3000],
    [600, 480],
    [60, 48],
  ])("R-01 %d s of life: refreshed after %d s, a tenth of the lead to either side", async (lifeS, afterS) => {
    const ages: number[] = [];
    for (let process = 0; process < 12; process++) {
      const own = manualClock();
      const there = acmeServer(own, {}, lifeS);
      const manager = new TokenManager({ clock: own });
      const session = await manager.save(there.client, { subject: "ada" }, there.tokens());
      manager.start();
      const start = own.now();
      await own.advance((afterS + 0.12 * (lifeS - afterS)) * SECOND);
      expect(session.peek()).toBe("access-1");
      ages.push(((there.calls[0]?.at ?? 0) - start) / SECOND);
      await manager.close();
    }
    const tenth = 0.1 * (lifeS - afterS);
    for (const age of ages) expect(Math.abs(age - afterS)).toBeLessThanOrEqual(tenth + 0.01);
    expect(Math.max(...ages) - Math.min(...ages)).toBeGreaterThan(tenth / 20);
  });

  test.each([
    [60, 60, 85],
    [600, 6, 9],
    [3600, 1, 2],
  ])(
    "R-06 a token of %d s for an hour: nobody sees an expired one, %d to %d refreshes",
    async (lifeS, least, most) => {
      server.expiresIn = lifeS;
      const manager = open();
      const session = await login(manager);
      manager.start();
      const ends = new Map([["access-0", clock.now() + lifeS * SECOND]]);
      const { answer } = server;
      server.answer = (call, n) => {
        ends.set(`access-${String(n)}`, call.at + lifeS * SECOND);
        return answer(call, n);
      };
      for (let elapsed = 0; elapsed < HOUR; elapsed += 5 * SECOND) {
        await clock.advance(5 * SECOND);
        const token = await session.getAccessToken();
        expect((ends.get(token) ?? 0) - clock.now()).toBeGreaterThan(0);
      }
      expect(server.calls.length).toBeGreaterThanOrEqual(least);
      expect(server.calls.length).toBeLessThanOrEqual(most);
    },
    30_000,
  );

  test("S-036 life counts from the start of the request, not from the answer", async () => {
    const session = await login(open());
    await clock.advance(10 * MINUTE);
    const asked = clock.now();
    server.answer = async () => {
      await Promise.resolve();
      clock.jump(5_000);
      return success("access-1");
    };
    await session.getAccessToken();
    expect(await session.status()).toMatchObject({ expiresAt: asked + 600_000 });
  });

  test("R-02 stale: the token at once, the refresh behind the caller's back", async () => {
    const session = await login(open());
    await clock.advance(500 * SECOND);
    let answer: (response: Response) => void = () => undefined;
    server.answer = () => new Promise((resolve) => (answer = resolve));
    expect(await session.getAccessToken()).toBe("access-0");
    expect(await session.getAccessToken()).toBe("access-0");
    await clock.advance(0);
    expect((await session.status()).state).toBe("refreshing");
    answer(success("access-1"));
    await clock.advance(0);
    expect(await session.getAccessToken()).toBe("access-1");
    expect(server.calls).toHaveLength(1);
  });

  test("R-03 while the token is good, a failing refresh reaches nobody; in the margin neither", async () => {
    const session = await login(open());
    server.answer = () => refused("temporarily_unavailable", 503);
    await clock.advance(500 * SECOND);
    expect(await session.getAccessToken()).toBe("access-0");
    await clock.advance(80 * SECOND);
    const inMargin = session.getAccessToken();
    await clock.advance(15 * SECOND);
    expect(await inMargin).toBe("access-0");
    await clock.advance(10 * SECOND);
    const failed = thrownBy(() => session.getAccessToken());
    await clock.advance(MINUTE);
    expect(await failed).toMatchObject({ code: expect.stringMatching(/server_unavailable|circuit_open/) as string });
  });

  test("minRemainingMs asks for more, and a token just made always counts", async () => {
    server.expiresIn = 600;
    const session = await login(open());
    expect(await session.getAccessToken({ minRemainingMs: HOUR })).toBe("access-0");
    await clock.advance(301 * SECOND);
    expect(await session.getAccessToken({ minRemainingMs: 200 * SECOND })).toBe("access-0");
    expect(await session.getAccessToken({ minRemainingMs: HOUR })).toBe("access-1");
    expect(server.calls).toHaveLength(1);
  });

  test("R-04 one refresh for a refused token, however often it is reported", async () => {
    const session = await login(open());
    const both = await Promise.all([
      session.getAccessToken({ rejected: "access-0" }),
      session.getAccessToken({ rejected: "access-0" }),
    ]);
    expect(both).toEqual(["access-1", "access-1"]);
    expect(await session.getAccessToken({ rejected: "access-0" })).toBe("access-1");
    expect(server.calls).toHaveLength(1);
  });

  test("R-04 a server that answers the same token again is asked once", async () => {
    const session = await login(open());
    server.answer = () => success("access-0");
    expect(await session.getAccessToken({ rejected: "access-0" })).toBe("access-0");
    expect(await session.getAccessToken({ rejected: "access-0" })).toBe("access-0");
    expect(server.calls).toHaveLength(1);
  });

  test("a store that others write to is looked at again after 30 s", async () => {
    const inner = memoryStore({ clock });
    const here = open({ store: storeWith(clock, {}, inner) });
    const there = open({ store: storeWith(clock, {}, inner) });
    const session = await login(here);
    const other = there.session(server.client, { subject: "ada" });
    expect(await other.getAccessToken()).toBe("access-0");
    await session.forget();
    await clock.advance(30 * SECOND - 1);
    expect(await other.getAccessToken()).toBe("access-0");
    await clock.advance(1);
    await other.getAccessToken();
    await clock.advance(0);
    expect(await thrownBy(() => other.getAccessToken())).toMatchObject({ code: "reauthorization_required" });
  });

  test("peek never reads and never refreshes", async () => {
    const manager = open();
    expect(manager.session(server.client, { subject: "ada" }).peek()).toBeUndefined();
    const session = await login(manager);
    await clock.advance(569_999);
    expect(session.peek()).toBe("access-0");
    await clock.advance(1);
    expect(session.peek()).toBeUndefined();
    expect(server.calls).toEqual([]);
  });
});

describe("R-61 lifetimes as they come (S-035)", () => {
  test.each([
    [0, 0, 0],
    [1, 0, 0],
    [5, 130, 180],
    [59, 11, 14],
    ["600", 1, 2],
    [undefined, 0, 0],
    [-5, 0, 0],
    ["abc", 0, 0],
    [null, 0, 0],
    [true, 0, 0],
    [31_536_000, 0, 0],
    [177_733_951_521, 0, 0],
    [1e15, 0, 0],
  ])(
    "R-06 expires_in %s, unused for ten minutes: %d to %d refreshes, none within a second",
    async (expiresIn, least, most) => {
      server.expiresIn = expiresIn;
      const manager = open();
      const session = await manager.save(
        server.client,
        { subject: "ada" },
        server.tokens({ expiresAt: clock.now() + 600_000 }),
      );
      manager.start();
      await session.refresh();
      const before = server.calls.length;
      await clock.advance(10 * MINUTE);
      const calls = server.calls.slice(before);
      expect(calls.length).toBeGreaterThanOrEqual(least);
      expect(calls.length).toBeLessThanOrEqual(most);
      for (const [n, { elapsedMs }] of calls.entries()) {
        expect(elapsedMs - (server.calls[before + n - 1]?.elapsedMs ?? 0)).toBeGreaterThanOrEqual(1_000);
      }
      await manager.close();
    },
    60_000,
  );

  test("expires_in 0: handed to who waits, and the next asks again; the guard ends a loop of callers", async () => {
    server.expiresIn = 0;
    const manager = open({ refresh: { maxPerHour: 5 } });
    const paused: unknown[] = [];
    manager.on("rate_limited", ({ retryAfterMs }) => paused.push(retryAfterMs));
    const session = await manager.save(server.client, { subject: "ada" }, server.tokens({ expiresAt: clock.now() }));
    for (let time = 1; time <= 5; time++) {
      expect(await session.getAccessToken()).toBe(`access-${String(time)}`);
      await clock.advance(SECOND);
    }
    const error = await thrownBy(() => session.getAccessToken());
    expect(error).toMatchObject({ code: "refresh_limit_reached", retryAfterMs: 715_000 });
    expect(paused).toEqual([715_000]);
    expect(server.calls).toHaveLength(5);
  });

  test("unknown lifetime: never expired, never refreshed by itself, refreshed on rejection", async () => {
    const manager = open();
    const session = await manager.save(
      server.client,
      { subject: "ada" },
      server.tokens({ expiresAt: undefined } as never),
    );
    manager.start();
    for (let minute = 0; minute < 50; minute++) {
      await clock.advance(MINUTE);
      expect(await session.getAccessToken()).toBe("access-0");
    }
    expect(server.calls).toEqual([]);
    expect(await session.getAccessToken({ rejected: "access-0" })).toBe("access-1");
    expect(await session.status()).toMatchObject({ state: "active" });
  });

  test("a warning says that a lifetime was none", async () => {
    server.expiresIn = -5;
    const manager = open();
    const events = eventsOf(manager);
    const session = await login(manager);
    await session.refresh();
    await clock.advance(0);
    expect(events.find(({ type }) => type === "refresh_succeeded")).toMatchObject({
      warning: "token_expires_in_invalid",
      expiresAt: undefined,
    });
  });
});

describe("R-60 clock jumps", () => {
  test.each([HOUR, -HOUR, 10 * 365 * DAY, -50 * 365 * DAY])(
    "R-60 by %d ms, idle: no loop, no immortal token, no negative delay",
    async (byMs) => {
      const manager = open();
      const session = await login(manager);
      manager.start();
      await clock.advance(MINUTE);
      clock.jump(byMs);
      for (let step = 0; step < 120; step++) {
        await clock.advance(30 * SECOND);
        const token = await session.getAccessToken();
        const age = clock.monotonic() - (server.calls.at(-1)?.elapsedMs ?? 0);
        if (token !== "access-0") expect(age).toBeLessThan(600_000);
      }
      expect(server.calls.length).toBeGreaterThanOrEqual(6);
      expect(server.calls.length).toBeLessThanOrEqual(10);
    },
  );

  test.each([HOUR, -HOUR, 10 * 365 * DAY, -50 * 365 * DAY])("R-60 by %d ms during a refresh", async (byMs) => {
    const session = await login(open());
    await clock.advance(10 * MINUTE);
    server.answer = () => {
      clock.jump(byMs);
      return success("access-1");
    };
    expect(await session.getAccessToken()).toBe("access-1");
    server.answer = (_call, n) => success(`access-${String(n)}`);
    const asked = server.calls.length;
    for (let step = 0; step < 20; step++) {
      await clock.advance(MINUTE);
      await session.getAccessToken();
    }
    expect(server.calls.length - asked).toBeLessThanOrEqual(4);
    expect(server.calls.length - asked).toBeGreaterThanOrEqual(1);
  });

  test("R-60 a session in trouble when the clock goes back is tried again as soon as without", async () => {
    const manager = open();
    await login(manager);
    manager.start();
    server.answer = () => refused("temporarily_unavailable", 503);
    await clock.advance(500 * SECOND);
    clock.jump(-50 * 365 * DAY);
    const before = server.calls.length;
    await clock.advance(20 * MINUTE);
    expect(server.calls.length).toBeGreaterThan(before);
  });

  test("R-59 asleep for half an hour: one refresh", async () => {
    const manager = open();
    await login(manager);
    manager.start();
    clock.jump(30 * MINUTE);
    await clock.advance(2 * MINUTE);
    expect(server.calls).toHaveLength(1);
  });
});

describe("idle sessions", () => {
  test("are refreshed for an hour after their last use, then no more", async () => {
    const manager = open();
    await login(manager);
    manager.start();
    await clock.advance(65 * MINUTE);
    const calls = server.calls.length;
    expect(calls).toBeGreaterThanOrEqual(6);
    await clock.advance(5 * HOUR);
    expect(server.calls.length - calls).toBeLessThanOrEqual(1);
  });

  test("a handle on one that left memory finds the one that took its place", async () => {
    server.expiresIn = 86_400;
    const manager = open();
    const old = await login(manager);
    await clock.advance(2 * HOUR);
    for (let n = 0; n < 5; n++) manager.session(server.client, { subject: `new-${String(n)}` });
    const fresh = manager.session(server.client, { subject: "ada" });
    expect(fresh).not.toBe(old);
    await fresh.forget();
    expect(old.peek()).toBeUndefined();
    expect(await thrownBy(() => old.getAccessToken())).toMatchObject({ code: "reauthorization_required" });
  });

  test("one that obtains anew goes on doing so after it left memory", async () => {
    const manager = open();
    let obtained = 0;
    const obtain = (): Promise<never> => {
      obtained += 1;
      return Promise.resolve(server.tokens({ refreshToken: undefined } as never) as never);
    };
    const session = manager.session(server.client, { subject: "job" }, { obtain });
    expect(await session.getAccessToken()).toBe("access-0");
    await clock.advance(3 * HOUR);
    for (let n = 0; n < 5; n++) manager.session(server.client, { subject: `new-${String(n)}` });
    expect(await session.getAccessToken()).toBe("access-0");
    expect(obtained).toBe(2);
  });

  test("keepAlive refreshes them before the refresh token's own end, and only then", async () => {
    const there = acmeServer(clock, { refreshExtends: "on-use", refreshTokenLifetimeMs: 2 * HOUR });
    const manager = open({ refresh: { keepAlive: true, idleMs: 9 * MINUTE } });
    const ends = { refreshExpiresAt: clock.now() + 2 * HOUR, refreshExpiresAssumed: true };
    await manager.save(there.client, { subject: "ada" }, there.tokens(ends));
    manager.start();
    await clock.advance(20 * MINUTE);
    const early = there.calls.length;
    await clock.advance(80 * MINUTE);
    expect(there.calls).toHaveLength(early);
    await clock.advance(6 * HOUR);
    expect(there.calls.length - early).toBeGreaterThanOrEqual(3);
    expect(there.calls.length - early).toBeLessThanOrEqual(5);
  });
});

describe("R-05 an end that the server named", () => {
  test("and that no refresh moves is no reason to refresh again and again", async () => {
    const there = acmeServer(clock, { refreshExtends: "on-use", refreshTokenLifetimeMs: 2 * HOUR });
    const manager = open({ refresh: { keepAlive: true, idleMs: 9 * MINUTE } });
    await manager.save(there.client, { subject: "ada" }, there.tokens({ refreshExpiresAt: clock.now() + 2 * HOUR }));
    manager.start();
    await clock.advance(20 * MINUTE);
    const early = there.calls.length;
    await clock.advance(7 * HOUR);
    expect(there.calls.length - early).toBeLessThanOrEqual(1);
  });
});

describe("R-46, R-47 stores that fail", () => {
  test("R-46 down while a token is good: served from memory; when cold: a coded error and no login", async () => {
    let down = false;
    const inner = memoryStore({ clock });
    const read: typeof inner.read = (key, options) =>
      down ? Promise.reject(new Error("down")) : inner.read(key, options);
    const store = storeWith(clock, { read }, inner);
    const session = await login(open({ store }));
    down = true;
    await clock.advance(560 * SECOND);
    expect(await session.getAccessToken()).toBe("access-0");
    await clock.advance(20 * SECOND);
    expect(await session.getAccessToken()).toBe("access-0");
    await clock.advance(20 * SECOND);
    expect(await thrownBy(() => session.getAccessToken())).toMatchObject({
      code: "store_unavailable",
      retryable: true,
    });
    const cold = open({ store }).session(server.client, { subject: "ada" });
    expect(await thrownBy(() => cold.getAccessToken())).toMatchObject({ code: "store_unavailable", action: "retry" });
    down = false;
    expect(await session.getAccessToken()).toBe("access-1");
  });

  test("R-47 a copy that lags behind is asked for again for 2 s, then memory counts", async () => {
    const inner = memoryStore({ clock });
    let lagging: Awaited<ReturnType<typeof inner.read>>;
    let reads = 0;
    const read: typeof inner.read = (key, options) => {
      reads += 1;
      return lagging === undefined ? inner.read(key, options) : Promise.resolve(lagging);
    };
    const manager = open({ store: storeWith(clock, { read }, inner) });
    const session = await login(manager);
    lagging = await inner.read(session.key, { signal: new AbortController().signal });
    lagging = lagging && { ...lagging };
    const old = lagging;
    lagging = undefined;
    await clock.advance(500 * SECOND);
    await session.refresh();
    lagging = old;
    reads = 0;
    await clock.advance(31 * SECOND);
    expect(await session.getAccessToken()).toBe("access-1");
    await clock.advance(3 * SECOND);
    expect(reads).toBeGreaterThanOrEqual(20);
    expect(reads).toBeLessThanOrEqual(22);
    expect(await session.getAccessToken()).toBe("access-1");
  });
});

describe("background", () => {
  test("none: a stale caller awaits the refresh, but not beyond its signal", async () => {
    const session = await login(open({ background: "none" }));
    await clock.advance(500 * SECOND);
    let answer: (response: Response) => void = () => undefined;
    server.answer = () => new Promise((resolve) => (answer = resolve));
    const controller = new AbortController();
    const leaving = thrownBy(() => session.getAccessToken({ signal: controller.signal }));
    const staying = session.getAccessToken();
    await clock.advance(0);
    controller.abort("bored");
    expect(await leaving).toBe("bored");
    answer(success("access-1"));
    expect(await staying).toBe("access-1");
  });

  test("none: a refresh that fails leaves the token that is good", async () => {
    const session = await login(open({ background: "none", retry: { maxAttempts: 1 } }));
    await clock.advance(500 * SECOND);
    server.answer = () => refused("temporarily_unavailable", 503);
    expect(await session.getAccessToken()).toBe("access-0");
  });

  test("waitUntil gets the refresh, once it begins, and never a rejection", async () => {
    const work: Promise<unknown>[] = [];
    const session = await login(open({ background: (promise) => void work.push(promise) }));
    work.length = 0; // the login itself goes on, too, if its caller leaves
    await clock.advance(500 * SECOND);
    server.answer = () => refused("invalid_client", 401);
    expect(await session.getAccessToken()).toBe("access-0");
    expect(work).toHaveLength(1);
    await clock.advance(MINUTE);
    await expect(Promise.all(work)).resolves.toBeDefined();
  });

  test("S-104 a waitUntil that refuses breaks neither callers nor the scheduler", async () => {
    const refuse = (): never => {
      throw new Error("waitUntil is for requests only");
    };
    const manager = open({ background: refuse });
    const session = await login(manager);
    const other = await login(manager, "bob");
    manager.start();
    await clock.advance(540 * SECOND);
    expect(server.calls).toHaveLength(2);
    await clock.advance(500 * SECOND);
    expect(server.calls).toHaveLength(4);
    expect(await session.getAccessToken()).not.toBe(await other.getAccessToken());
    const stored = open({ background: refuse, store: storeWith(clock) });
    const third = await login(stored);
    await clock.advance(31 * SECOND);
    expect(await third.getAccessToken()).toBe("access-0");
  });
});

describe("R-31 Retry-After (R-51)", () => {
  test.each([
    ["7", 7_000, 7_700],
    ["Thu, 01 Jan 2026 00:08:28 GMT", 7_000, 45_000],
    ["-1", 0, 3_000],
    ["abc", 0, 3_000],
    ["1e3", 0, 3_000],
    ["1.5", 0, 3_000],
    ["7, 7", 0, 3_000],
    ["Thu, 01 Jan 2026 00:00:00 GMT", 0, 3_000],
    ["1000000000", 3_600_000, 3_960_000 + 60_000],
  ])("R-51 %s: the next request after %d to %d ms", async (header, least, most) => {
    const manager = open({ refresh: { idleMs: 10 * HOUR } });
    const session = await login(manager);
    manager.start();
    await clock.advance(450 * SECOND);
    server.answer = (_call, n) =>
      n === 1 ? new Response("{}", { status: 429, headers: { "retry-after": header } }) : success("access-2");
    await clock.advance(2 * HOUR);
    const [first, second] = server.calls;
    const waited = (second?.elapsedMs ?? 0) - (first?.elapsedMs ?? 0);
    expect(waited).toBeGreaterThanOrEqual(least);
    expect(waited).toBeLessThanOrEqual(most);
    await session.getAccessToken();
  });

  test("R-31 one answer pauses all sessions of the client", async () => {
    const manager = open();
    for (let n = 0; n < 20; n++) await login(manager, `user-${String(n)}`);
    server.answer = (_call, n) =>
      n === 1 ? new Response("{}", { status: 429, headers: { "retry-after": "20" } }) : success("access");
    manager.start();
    await clock.advance(560 * SECOND);
    const from = server.calls[0]?.elapsedMs ?? 0;
    const early = server.calls.filter(({ elapsedMs }) => elapsedMs > from && elapsedMs < from + 20_000);
    expect(early).toEqual([]);
    // What left in the same instant could not know the answer.
    expect(server.calls.filter(({ elapsedMs }) => elapsedMs === from).length).toBeLessThan(3);
  });
});

describe("R-13, R-70, R-71 sessions and clients that are refused", () => {
  test("R-13 a dead grant is asked once, and gives the same error to all", async () => {
    const manager = open();
    const session = await login(manager);
    server.answer = () => refused("invalid_grant");
    manager.start();
    await clock.advance(DAY / 24);
    const errors = await Promise.all([thrownBy(() => session.getAccessToken()), thrownBy(() => session.refresh())]);
    for (const error of errors)
      expect(error).toMatchObject({ code: "reauthorization_required", reason: "refresh_token_dead" });
    expect(server.calls).toHaveLength(1);
    expect(await session.status()).toEqual({
      state: "reauthorization_required",
      cause: "refresh_token_dead",
      generation: 1,
    });
  });

  test("R-13 a still valid token goes on being handed out", async () => {
    const session = await login(open());
    server.answer = () => refused("invalid_grant");
    await clock.advance(500 * SECOND);
    await session.getAccessToken();
    await clock.advance(5 * SECOND);
    expect(await session.getAccessToken()).toBe("access-0");
    expect((await session.status()).state).toBe("reauthorization_required");
    expect(server.calls).toHaveLength(1);
  });

  test("R-70 a poison session among 300 harms nobody", async () => {
    const manager = open({ concurrency: { atOnce: 100, perSecond: 1_000 } });
    for (let n = 0; n < 300; n++) {
      await manager.save(
        server.client,
        { subject: `user-${String(n)}` },
        server.tokens({ refreshToken: `r-${String(n)}` }),
      );
    }
    server.answer = ({ refreshToken }) =>
      refreshToken === "r-7" ? refused("invalid_grant") : success(`new ${refreshToken}`);
    manager.start();
    await clock.advance(9 * MINUTE);
    expect(server.calls.filter(({ refreshToken }) => refreshToken === "r-7")).toHaveLength(1);
    expect(server.calls).toHaveLength(300);
    expect(await manager.session(server.client, { subject: "user-8" }).getAccessToken()).toBe("new r-8");
  });

  test("R-71 a wrong secret: no more than three requests for 100 sessions", async () => {
    const manager = open();
    const sessions: TokenSession[] = [];
    for (let n = 0; n < 100; n++) sessions.push(await login(manager, `user-${String(n)}`));
    server.answer = () => refused("invalid_client", 401);
    await clock.advance(10 * MINUTE);
    const failures = sessions.map((session) => thrownBy(() => session.getAccessToken()));
    await clock.advance(20 * SECOND);
    const codes = new Set((await Promise.all(failures)).map((error) => (error as { code: string }).code));
    expect(server.calls.length).toBeLessThanOrEqual(3);
    expect([...codes].sort()).toEqual(["circuit_open", "client_auth_failed"]);
  });

  test("a corrected secret starts with a closed circuit", async () => {
    const manager = open();
    const sessions: TokenSession[] = [];
    for (let n = 0; n < 4; n++) sessions.push(await login(manager, `user-${String(n)}`));
    server.answer = () => refused("invalid_client", 401);
    await clock.advance(10 * MINUTE);
    for (const session of sessions) {
      await thrownBy(() => session.getAccessToken());
      await clock.advance(SECOND);
    }
    server.answer = (_call, n) => success(`access-${String(n)}`);
    expect(await thrownBy(() => sessions[0]?.getAccessToken())).toMatchObject({ code: "circuit_open" });
    const { warehouse, clientId } = server.client;
    const fetch = () => Promise.resolve(server.answer({ at: 0, elapsedMs: 0, refreshToken: "" }, 99));
    const corrected = createClient({ warehouse, clientId, clientSecret: "right", fetch, clock });
    expect(await manager.session(corrected, { subject: "user-0" }).getAccessToken()).toBe("access-99");
  });
});

describe("refresh by key", () => {
  test("refreshes what is due, and nothing else", async () => {
    const manager = open();
    const session = await login(manager);
    expect(await manager.refresh(session.key)).toMatchObject({ state: "active", generation: 1 });
    expect(server.calls).toEqual([]);
    await clock.advance(500 * SECOND);
    expect(await manager.refresh(session.key)).toMatchObject({ state: "active", generation: 2 });
    expect(server.calls).toHaveLength(1);
  });

  test("joins a refresh that is under way, and heals a session whose last one failed", async () => {
    const manager = open({ retry: { maxAttempts: 1 } });
    const session = await login(manager);
    await clock.advance(500 * SECOND);
    let answer: (response: Response) => void = () => undefined;
    server.answer = () => new Promise((resolve) => (answer = resolve));
    const refreshing = Promise.all([session.refresh(), manager.refresh(session.key)]);
    await clock.advance(1);
    expect((await session.status()).state).toBe("refreshing");
    const joined = manager.refresh(session.key);
    await clock.advance(1);
    answer(success("access-2"));
    await refreshing;
    expect(await joined).toMatchObject({ state: "active", generation: 2 });
    expect(server.calls).toHaveLength(1);

    await clock.advance(500 * SECOND);
    server.answer = () => refused("temporarily_unavailable", 503);
    await thrownBy(() => session.refresh());
    expect((await session.status()).state).toBe("degraded");
    server.answer = () => success("access-3");
    await clock.advance(MINUTE);
    expect(await manager.refresh(session.key)).toMatchObject({ state: "active", generation: 3 });
  });

  test("R-32 its caller waits, so what fails once is tried again at once", async () => {
    const manager = open();
    const session = await login(manager);
    await clock.advance(500 * SECOND);
    server.answer = (_call, n) => (n === 1 ? refused("temporarily_unavailable", 503) : success("access-2"));
    const asked = manager.refresh(session.key);
    await clock.advance(5 * SECOND);
    expect(await asked).toMatchObject({ state: "active", generation: 2 });
    expect(server.calls).toHaveLength(2);
  });

  test("keys that are none, or nobody's", async () => {
    const manager = open();
    expect(await thrownBy(() => manager.refresh("ada"))).toMatchObject({ code: "config_invalid", option: "key" });
    for (const none of [undefined, null, 7]) {
      expect(await thrownBy(() => manager.refresh(none as never))).toMatchObject({ code: "invalid_argument" });
    }
    const { key } = open().session(server.client, { subject: "ada" });
    expect(await thrownBy(() => manager.refresh(key))).toMatchObject({ code: "client_unresolved" });
    expect(await thrownBy(() => manager.refresh(key, { signal: AbortSignal.abort("no") }))).toBe("no");
    await manager.close();
    expect(await thrownBy(() => manager.refresh(key))).toMatchObject({ code: "manager_closed" });
  });

  test("after a restart, through resolveClient; dead and absent ones are only looked at", async () => {
    const inner = memoryStore({ clock });
    const session = await login(open({ store: storeWith(clock, {}, inner) }));
    const restarted = open({ store: storeWith(clock, {}, inner), resolveClient: () => server.client });
    await clock.advance(10 * MINUTE);
    expect((await restarted.refresh(session.key)).state).toBe("active");
    const absent = open().session(server.client, { subject: "nobody" });
    expect((await restarted.refresh(absent.key)).state).toBe("absent");
    await session.forget();
    await clock.advance(31 * SECOND);
    expect(server.calls).toHaveLength(1);
  });

  test("what fails is said", async () => {
    const manager = open({ retry: { maxAttempts: 1 } });
    const session = await login(manager);
    await clock.advance(500 * SECOND);
    server.answer = () => refused("temporarily_unavailable", 503);
    expect(await thrownBy(() => manager.refresh(session.key))).toMatchObject({ code: "server_unavailable" });
  });
});

describe("S-079, S-086 identities and references", () => {
  test("S-079 two users who refresh at once get each their own", async () => {
    const fake = fakeBigQuery({ clock });
    const manager = open();
    const ada = await manager.save(fake.client, { subject: "ada" }, await fake.issueTokens({ subject: "ada" }));
    const bob = await manager.save(fake.client, { subject: "bob" }, await fake.issueTokens({ subject: "bob" }));
    await clock.advance(HOUR);
    const [first, second] = await Promise.all([ada.getAccessToken(), bob.getAccessToken()]);
    expect(first).not.toBe(second);
    expect(fake.grants.map(({ user, refreshes }) => [user, refreshes])).toEqual([
      ["ada", 1],
      ["bob", 1],
    ]);
  });

  test("S-079 tenants, labels and clients keep apart", async () => {
    const manager = open();
    const identities = [{ subject: "ada" }, { subject: "ada", tenant: "t" }, { subject: "ada", label: "t" }];
    for (const [n, identity] of identities.entries()) {
      await manager.save(server.client, identity, server.tokens({ accessToken: `token-${String(n)}` }));
    }
    for (const [n, identity] of identities.entries()) {
      expect(await manager.session(server.client, identity).getAccessToken()).toBe(`token-${String(n)}`);
    }
    const other = manager.session(server.register("other"), { subject: "ada" });
    expect((await other.status()).state).toBe("absent");
  });

  test("S-086 events name a session by a hash that no other process has, and hold no secret", async () => {
    const manager = open();
    const events = eventsOf(manager);
    const session = await manager.save(server.client, { subject: "ada@example.com", tenant: "t" }, server.tokens());
    await session.refresh();
    await clock.advance(0);
    expect(session.reference).toMatch(/^[0-9a-f]{16}$/);
    expect(events.length).toBeGreaterThan(2);
    for (const event of events) {
      expect(event).toMatchObject({ session: session.reference, tenant: "t", warehouse: "acme" });
      expect(JSON.stringify(event)).not.toMatch(/ada@example|access-\d|refresh-\d/);
    }
    expect(open().session(server.client, { subject: "ada@example.com", tenant: "t" }).reference).not.toBe(
      session.reference,
    );
    expect(session.identity).toEqual({ subject: "ada@example.com", tenant: "t" });
  });
});

test("R-07, R-11 closing twice is closing once; after it nothing is begun", async () => {
  const manager = open();
  const session = await login(manager);
  manager.start();
  const closing = manager.close();
  expect(manager.close()).toBe(closing);
  expect(await closing).toEqual({ unsaved: [] });
  await clock.advance(HOUR);
  expect(server.calls).toEqual([]);
  expect(() => {
    manager.start();
  }).toThrow(expect.objectContaining({ code: "manager_closed" }));
  expect(await thrownBy(() => session.getAccessToken())).toMatchObject({ code: "manager_closed" });
});

test("stop: sessions still refresh when asked, and start goes on", async () => {
  const manager = open();
  const session = await login(manager);
  manager.start();
  manager.stop();
  await clock.advance(10 * MINUTE);
  expect(server.calls).toEqual([]);
  expect(await session.getAccessToken()).toBe("access-1");
  manager.start();
  await clock.advance(10 * MINUTE);
  expect(server.calls).toHaveLength(2);
});

describe("R-09 timers that fire a moment early, beside a coarse wall clock", () => {
  // The wall clock says that a pause is over, the monotonic one that it is not: as Node's do, by less than 1 ms.
  test.each([0.1, 0.333, 0.5, 0.777, 0.987])(
    "a pause after a failure ends in another try (jitter %d)",
    async (jitter) => {
      const manual = manualClock();
      const coarse: Clock = {
        now: () => Math.ceil(manual.now() / 10) * 10,
        monotonic: () => manual.monotonic(),
        setTimer: (callback, delayMs, options) => manual.setTimer(callback, Math.max(1, delayMs - 1), options),
      };
      const busy = acmeServer(coarse);
      const manager = new TokenManager({ clock: coarse, random: () => jitter });
      manager.start();
      const session = await manager.save(busy.client, { subject: "ada" }, busy.tokens());
      const answer = busy.answer;
      busy.answer = (call, index) => (index <= 2 ? new Response("busy", { status: 503 }) : answer(call, index));
      await manual.advance(599_000);
      expect(busy.calls.length).toBeGreaterThan(2);
      expect(await session.status()).toMatchObject({ state: "active", generation: 2 });
    },
  );
});
