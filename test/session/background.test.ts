import { describe, expect, test } from "vitest";
import { TokenManager } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import { acmeServer } from "./acme-room.ts";
import { HOUR, follow, gate, openScene, run, issuedAt, signInGrace } from "./scene.ts";

describe("stale tokens", () => {
  test("R-02 detached: the caller gets the token at once, the refresh goes on behind", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR - 400_000);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    expect(await scene.session.getAccessToken()).toBe(scene.login.accessToken);
    await scene.clock.advance(0);
    expect((await scene.session.status()).state).toBe("refreshing");
    answer.open();
    await scene.clock.advance(0);
    expect(await scene.session.getAccessToken()).toBe(issuedAt(scene, 1).access_token);
    expect(scene.refreshes()).toHaveLength(1);
  });

  test('R-02 "none": a stale caller awaits the refresh and gets the new token', async () => {
    const scene = await openScene({ manager: { background: "none" } });
    await scene.clock.advance(HOUR - 400_000);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(100);
    expect(token.state).toBe("pending");
    answer.open();
    await scene.clock.advance(0);
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
  });

  test('R-03 "none": a refresh that fails is no error while the token is valid', async () => {
    const scene = await openScene({ manager: { background: "none" } });
    await scene.clock.advance(HOUR - 400_000);
    scene.fake.fail({ at: "token", kind: "status", status: 502, times: Infinity });
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.value).toBe(scene.login.accessToken);
  });

  test('R-03 "none": a token that ended while its caller waited is not handed out', async () => {
    const clock = manualClock();
    const server = acmeServer(clock, {}, 60);
    server.answer = () => new Promise(() => undefined);
    const manager = new TokenManager({ clock, background: "none" });
    const session = await manager.save(server.client, { subject: "ada" }, server.tokens());
    await clock.advance(52_000);
    const token = await run(clock, session.getAccessToken());
    expect(token.error).toMatchObject({ code: "timeout" });
  });

  test('R-40 "none": a caller without a signal waits for 30 s, and has the token that is still good then', async () => {
    const scene = await openScene({ manager: { background: "none" } });
    await scene.clock.advance(HOUR - 400_000);
    await scene.store.takeLease(HOUR);
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(29_900);
    expect(token.state).toBe("pending");
    await scene.clock.advance(200);
    expect(token.value).toBe(scene.login.accessToken);
  });

  test('R-40 "none": the caller can leave', async () => {
    const scene = await openScene({ manager: { background: "none" } });
    await scene.clock.advance(HOUR - 400_000);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const controller = new AbortController();
    const token = follow(scene.session.getAccessToken({ signal: controller.signal }));
    await scene.clock.advance(100);
    controller.abort(new Error("enough"));
    await scene.clock.advance(100);
    expect(token.error?.message).toBe("enough");
    answer.open();
    await scene.clock.advance(0);
    expect(scene.store.stored()?.generation).toBe(2);
  });

  test("R-02 a function is the platform's waitUntil: it gets the refresh, which never rejects", async () => {
    const handed: Promise<unknown>[] = [];
    const background = (work: Promise<unknown>): void => void handed.push(work);
    const scene = await openScene({ manager: { background } });
    await scene.clock.advance(HOUR - 400_000);
    scene.fake.fail({ at: "token", kind: "status", status: 400 });
    expect(await scene.session.getAccessToken()).toBe(scene.login.accessToken);
    expect(handed.length).toBeGreaterThan(0);
    await scene.clock.advance(0);
    expect((await Promise.allSettled(handed)).every(({ status }) => status === "fulfilled")).toBe(true);
  });

  test("R-02 the promise that waitUntil gets lasts until the tokens are saved", async () => {
    const handed: Promise<unknown>[] = [];
    const scene = await openScene({ manager: { background: (work) => void handed.push(work) } });
    await scene.clock.advance(HOUR - 400_000);
    const saving = scene.store.hold("tokens");
    await scene.session.getAccessToken();
    await saving.reached;
    const all = follow(Promise.all(handed));
    await scene.clock.advance(0);
    expect(all.state).toBe("pending");
    saving.open();
    await scene.clock.advance(0);
    expect(all.state).toBe("fulfilled");
  });

  test("S-104 a waitUntil that throws breaks nothing", async () => {
    const background = (): never => {
      throw new Error("not in a request");
    };
    const scene = await openScene({ manager: { background } });
    await scene.clock.advance(HOUR - 400_000);
    expect(await scene.session.getAccessToken()).toBe(scene.login.accessToken);
    await scene.clock.advance(0);
    expect(await scene.session.getAccessToken()).toBe(issuedAt(scene, 1).access_token);
  });

  test("R-33 a caller that begins to wait promotes a refresh that sleeps in the line", async () => {
    const scene = await openScene({ manager: { concurrency: { atOnce: 1 } } });
    const hers = await signInGrace(scene);
    await scene.clock.advance(HOUR - 400_000);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    await hers.getAccessToken();
    await scene.session.getAccessToken();
    await scene.clock.advance(0);
    expect(scene.refreshes()).toHaveLength(1);
    const waiting = follow(scene.session.refresh());
    await scene.clock.advance(100);
    answer.open();
    await scene.clock.advance(1_000);
    expect(waiting.state).toBe("fulfilled");
    expect(scene.refreshes()).toHaveLength(2);
  });
});

describe("proactive refresh", () => {
  test("R-01 3600 s: about ten minutes early, and a caller never waits", async () => {
    const scene = await openScene();
    scene.manager.start();
    const seen = new Set<string | undefined>();
    for (let minute = 0; minute < 300; minute += 5) {
      seen.add(scene.session.peek());
      await scene.clock.advance(300_000);
    }
    expect(seen).not.toContain(undefined);
    expect(scene.refreshes().length).toBeGreaterThanOrEqual(5);
    expect(scene.refreshes().length).toBeLessThanOrEqual(7);
  });

  for (const [lifetimeMs, perHour] of [
    [600_000, 7.5],
    [60_000, 75],
  ] as const) {
    test(`R-01 ${String(lifetimeMs / 1000)} s: ${String(perHour)} an hour`, async () => {
      const scene = await openScene({ accessTokenLifetimeMs: lifetimeMs });
      scene.manager.start();
      let gaps = 0;
      for (let tick = 0; tick < 720; tick++) {
        if (scene.session.peek() === undefined) gaps += 1;
        await scene.clock.advance(5_000);
      }
      expect(gaps).toBe(0);
      expect(Math.abs(scene.refreshes().length - perHour)).toBeLessThanOrEqual(perHour * 0.12 + 1);
    });
  }

  test("R-07 idle for an hour: it stops; used again: it goes on", async () => {
    const scene = await openScene();
    scene.manager.start();
    await scene.clock.advance(10 * HOUR);
    const idle = scene.refreshes().length;
    expect(idle).toBeLessThanOrEqual(2);
    expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
    expect(scene.refreshes()).toHaveLength(idle + 1);
    await scene.clock.advance(HOUR);
    expect(scene.refreshes()).toHaveLength(idle + 2);
  });

  test("R-07 keepAlive: idle sessions are refreshed only before the refresh token's own end", async () => {
    const scene = await openScene({ warehouse: "bigquery", manager: { refresh: { keepAlive: true } } });
    const serve = async (request: Request): Promise<Response> => {
      const real = (await (await scene.fake.fetch(request)).json()) as object;
      return Response.json({ ...real, refresh_token_expires_in: 36_000 });
    };
    scene.answers.push(serve, serve);
    await run(scene.clock, scene.session.refresh());
    scene.manager.start();
    await scene.clock.advance(8.5 * HOUR);
    const early = scene.refreshes().length;
    expect(early).toBeLessThanOrEqual(2);
    await scene.clock.advance(1.4 * HOUR);
    expect(scene.refreshes().length).toBe(early + 1);
  });

  test.each([
    [
      "where a refresh kills access tokens",
      { refreshExtends: "on-rotation", refreshRotation: "single-use", rotationVoidsAccessTokens: true },
      {},
    ],
    ["where nobody knows how long they live", { refreshExtends: "on-use" }, { expiresAt: undefined as never }],
  ] as const)(
    "R-07 keepAlive, %s: refreshed before the refresh token ends, not before",
    async (_, definition, tokens) => {
      const clock = manualClock();
      const server = acmeServer(clock, definition);
      server.answer = (_call, index) =>
        Response.json({
          access_token: `access-${String(index)}`,
          token_type: "Bearer",
          refresh_token: `refresh-${String(index)}`,
          refresh_token_expires_in: 10_800,
        });
      const manager = new TokenManager({ clock, random: () => 0.5, refresh: { keepAlive: true } });
      manager.start();
      const refreshExpiresAt = clock.now() + 3 * HOUR;
      const login = server.tokens({ refreshExpiresAt, ...tokens });
      await manager.save(server.client, { subject: "ada" }, login);
      await clock.advance(2.6 * HOUR);
      expect(server.calls).toHaveLength(0);
      await clock.advance(0.2 * HOUR);
      expect(server.calls).toHaveLength(1);
      await clock.advance(3 * HOUR);
      expect(server.calls).toHaveLength(2);
    },
  );

  test("R-07 keepAlive does nothing where no end is known", async () => {
    const scene = await openScene({ manager: { refresh: { keepAlive: true } } });
    scene.manager.start();
    await scene.clock.advance(6 * HOUR);
    expect(scene.refreshes().length).toBeLessThanOrEqual(2);
  });

  test("R-59 used a moment before an hour of sleep: one refresh at wake, before anybody asks", async () => {
    // An hour without use is idle by default, and a sleep is no use.
    const scene = await openScene({ manager: { refresh: { idleMs: 2 * HOUR } } });
    scene.manager.start();
    await scene.clock.advance(30 * 60_000);
    expect(scene.session.peek()).toBe(scene.login.accessToken);
    expect(scene.refreshes()).toHaveLength(0);
    scene.clock.jump(HOUR);
    await scene.clock.advance(75_000);
    expect(scene.refreshes()).toHaveLength(1);
    expect(await scene.session.getAccessToken()).toBe(issuedAt(scene, 1).access_token);
    await scene.clock.advance(10 * 60_000);
    expect(scene.refreshes()).toHaveLength(1);
  });

  test("R-59 R-09 fifty sessions wake: one refresh each, spread over ten seconds", async () => {
    let draws = 0;
    const random = (): number => (draws++ % 50) / 50;
    const scene = await openScene({ manager: { random, refresh: { idleMs: 2 * HOUR } } });
    for (let user = 0; user < 49; user++) {
      const subject = `user-${String(user)}`;
      const tokens = await scene.fake.issueTokens({ client: scene.client, subject });
      await scene.manager.save(scene.client, { subject }, tokens);
    }
    scene.manager.start();
    await scene.clock.advance(30_000);
    scene.clock.jump(HOUR);
    await scene.clock.advance(75_000);
    expect(scene.refreshes()).toHaveLength(50);
    expect(scene.fake.grants.map(({ refreshes }) => refreshes)).toEqual(Array<number>(50).fill(1));
    const perSecond = new Map<number, number>();
    for (const { time } of scene.refreshes()) {
      const second = Math.floor(time / 1_000);
      perSecond.set(second, (perSecond.get(second) ?? 0) + 1);
    }
    expect(perSecond.size).toBeGreaterThanOrEqual(10);
    expect(Math.max(...perSecond.values())).toBeLessThanOrEqual(6);
    await scene.clock.advance(10 * 60_000);
    expect(scene.refreshes()).toHaveLength(50);
  });

  test("R-59 R-07 asleep for eight hours, unused for as long: nothing at wake, one refresh when asked", async () => {
    const scene = await openScene();
    scene.manager.start();
    await scene.clock.advance(60_000);
    scene.clock.jump(8 * HOUR);
    await scene.clock.advance(90_000);
    expect(scene.refreshes()).toHaveLength(0);
    expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
    await scene.clock.advance(90_000);
    expect(scene.refreshes()).toHaveLength(1);
  });

  for (const [name, ms] of [
    ["+1 h", HOUR],
    ["-1 h", -HOUR],
    ["+10 years", 10 * 365 * 24 * HOUR],
    ["-50 years", -50 * 365 * 24 * HOUR],
  ] as const) {
    for (const when of ["idle", "in flight"] as const) {
      test(`R-60 the clock jumps by ${name}, ${when}: no loop, no immortal token`, async () => {
        const scene = await openScene();
        scene.manager.start();
        await scene.clock.advance(60_000);
        const answer = gate();
        if (when === "in flight") {
          scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
          follow(scene.session.refresh());
          await scene.clock.advance(0);
        }
        scene.clock.jump(ms);
        answer.open();
        for (let minute = 0; minute < 30; minute++) {
          const token = await run(scene.clock, scene.session.getAccessToken());
          // Ten years: the refresh token has ended, too, and the server says so.
          if (ms < 8 * HOUR) expect(token.state).toBe("fulfilled");
          await scene.clock.advance(60_000);
        }
        expect(scene.refreshes().length).toBeLessThanOrEqual(4);
        // Three hours later the token is one of the last hour.
        for (let hour = 0; hour < 3; hour++) {
          await run(scene.clock, scene.session.getAccessToken());
          await scene.clock.advance(HOUR);
        }
        if (ms < 8 * HOUR) {
          expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
          expect(scene.issued.length).toBeGreaterThan(2);
        }
      });
    }
  }

  test("R-61 R-06 expires_in 0 and 1: on demand only, never a loop", async () => {
    for (const expires of [0, 1]) {
      const scene = await openScene();
      scene.manager.start();
      const serve = async (request: Request): Promise<Response> => {
        scene.answers.push(serve);
        const real = (await (await scene.fake.fetch(request)).json()) as object;
        return Response.json({ ...real, expires_in: expires });
      };
      scene.answers.push(serve);
      const token = await run(scene.clock, scene.session.refresh());
      expect(token.state).toBe("fulfilled");
      await scene.clock.advance(10 * 60_000);
      expect(scene.refreshes()).toHaveLength(1);
    }
  });

  test("R-61 no expires_in: the warehouse's own lifetime; huge: looked at daily", async () => {
    const scene = await openScene();
    scene.manager.start();
    scene.fake.fail({ at: "token", kind: "omit_expires_in" });
    await run(scene.clock, scene.session.refresh());
    expect(await scene.session.status()).toMatchObject({ expiresAt: scene.clock.now() + HOUR });
    scene.answers.push(async (request) => {
      const real = (await (await scene.fake.fetch(request)).json()) as object;
      return Response.json({ ...real, expires_in: 177_733_951_521 });
    });
    await run(scene.clock, scene.session.refresh());
    await scene.clock.advance(HOUR);
    expect(scene.refreshes()).toHaveLength(2);
    expect(await scene.session.getAccessToken()).toBe(scene.issued.at(-1)?.access_token);
  });
});

describe("waitUntil", () => {
  test("S-104 gets the refresh that a caller began and left", async () => {
    const handed: Promise<unknown>[] = [];
    const scene = await openScene({ manager: { background: (work) => void handed.push(work) } });
    await scene.clock.advance(HOUR);
    handed.length = 0;
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const controller = new AbortController();
    const token = follow(scene.session.getAccessToken({ signal: controller.signal }));
    await scene.clock.advance(100);
    controller.abort(new Error("enough"));
    await token.promise;
    const all = follow(Promise.all(handed));
    await scene.clock.advance(0);
    expect(all.state).toBe("pending");
    answer.open();
    await scene.clock.advance(0);
    expect(all.state).toBe("fulfilled");
    expect(scene.store.stored()).toMatchObject({ generation: 2 });
  });

  test("R-24 the platform's waitUntil keeps it awake until what came is saved", async () => {
    const handed = new Set<Promise<unknown>>();
    const background = (work: Promise<unknown>): void => {
      handed.add(work);
      void work.finally(() => handed.delete(work));
    };
    const scene = await openScene({ manager: { background } });
    const { clock, store, session } = scene;
    await clock.advance(HOUR);
    store.fail("tokens", 1);
    const token = await run(clock, session.getAccessToken(), 0, 0);
    expect(token.state).toBe("fulfilled");
    // The platform freezes as soon as nothing is left that it was asked to wait for.
    for (let i = 0; i < 600 && handed.size > 0; i++) await clock.advance(100);
    expect(store.stored()?.tokens?.refreshToken).toBe(issuedAt(scene, 1).refresh_token);
  });

  test("S-104 one that refuses later hurts nobody", async () => {
    const unhandled: unknown[] = [];
    const listener = (error: unknown): void => void unhandled.push(error);
    process.on("unhandledRejection", listener);
    const refuse = (): unknown => Promise.reject(new Error("not in a request"));
    const scene = await openScene({ manager: { background: refuse } });
    await scene.clock.advance(HOUR - 400_000);
    await scene.session.getAccessToken();
    await scene.clock.advance(1_000);
    await new Promise((resolve) => setImmediate(resolve));
    process.off("unhandledRejection", listener);
    expect(unhandled).toEqual([]);
    expect(scene.refreshes()).toHaveLength(1);
  });
});

describe("start and stop", () => {
  test("R-11 stop: nothing by itself, everything when asked; start again", async () => {
    const scene = await openScene();
    scene.manager.start();
    scene.manager.start();
    scene.manager.stop();
    scene.manager.stop();
    await scene.clock.advance(HOUR - 1_000);
    expect(scene.refreshes()).toHaveLength(0);
    expect((await run(scene.clock, scene.session.refresh())).state).toBe("fulfilled");
    scene.manager.start();
    await scene.clock.advance(HOUR - 1_000);
    expect(scene.refreshes()).toHaveLength(2);
  });

  test("R-11 without start nothing happens by itself", async () => {
    const scene = await openScene();
    await scene.clock.advance(24 * HOUR);
    expect(scene.refreshes()).toHaveLength(0);
    expect(scene.store.steps.filter((step) => step === "read").length).toBeLessThanOrEqual(1);
  });
});
