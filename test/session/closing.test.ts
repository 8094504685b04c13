// What `close` waits for and leaves behind: requirements.
import { beforeEach, describe, expect, test } from "vitest";
import { TokenManager, memoryStore } from "warehouse-oauth";
import type { Clock, TokenSession, TokenStore } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { HOUR, SECOND, acmeServer, storeWith, success } from "./acme-room.ts";
import type { AcmeServer } from "./acme-room.ts";
import { follow, gate, holdingTimers, issuedAt, openScene, run } from "./scene.ts";
import type { HoldingTimers } from "./scene.ts";

describe("with a whole fake warehouse", () => {
  test("R-11 idempotent: the same answer, however often and however early", async () => {
    const scene = await openScene();
    const first = scene.manager.close();
    expect(scene.manager.close()).toBe(first);
    expect(await first).toEqual({ unsaved: [] });
    expect(await scene.process().manager.close()).toEqual({ unsaved: [] });
  });

  test("R-11 after it nothing begins: SessionClosedError", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    await scene.manager.close();
    const closed = { code: "manager_closed", retryable: false, action: "none" };
    expect((await run(scene.clock, scene.session.getAccessToken())).error).toMatchObject(closed);
    await expect(scene.session.refresh()).rejects.toMatchObject(closed);
    await expect(scene.session.revoke()).rejects.toMatchObject(closed);
    await expect(scene.session.fetch("/api")).rejects.toMatchObject(closed);
    await expect(scene.manager.refresh(scene.session.key)).rejects.toMatchObject(closed);
    await expect(scene.manager.save(scene.client, { subject: "ada" }, scene.login)).rejects.toMatchObject(closed);
    expect(() => {
      scene.manager.start();
    }).toThrow(expect.objectContaining(closed) as Error);
    expect(scene.refreshes()).toHaveLength(0);
  });

  test("R-11 after it a token at hand is not handed out either, nor what a last refresh brought", async () => {
    const closed = { code: "manager_closed" };
    const scene = await openScene();
    expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
    const refreshed = follow(scene.session.refresh());
    await scene.manager.close();
    await expect(scene.session.getAccessToken()).rejects.toMatchObject(closed);
    await scene.clock.advance(1_000);
    expect(refreshed.state).not.toBe("pending");
    await expect(scene.session.getAccessToken()).rejects.toMatchObject(closed);
  });

  test("R-72 in flight: what was sent is waited for and saved; the caller gets its token", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const caller = follow(scene.session.getAccessToken());
    await scene.clock.advance(0);
    const closing = follow(scene.manager.close());
    await scene.clock.advance(1_000);
    expect(closing.state).toBe("pending");
    answer.open();
    await scene.clock.advance(0);
    expect(closing.value).toEqual({ unsaved: [] });
    expect(caller.value).toBe(issuedAt(scene, 1).access_token);
    expect(scene.store.stored()?.tokens?.refreshToken).toBe(issuedAt(scene, 1).refresh_token);
    expect(await scene.store.takeLease(1_000)).toBeDefined();
  });

  test("R-72 in flight for longer than the drain: close ends, the announcement stays as a trace", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.fail({ at: "token", kind: "hold", until: new Promise(() => undefined) });
    follow(scene.session.getAccessToken());
    await scene.clock.advance(0);
    const closing = follow(scene.manager.close({ drainMs: 2_000 }));
    await scene.clock.advance(1_900);
    expect(closing.state).toBe("pending");
    await scene.clock.advance(200);
    expect(closing.state).toBe("fulfilled");
    expect(scene.store.stored()?.intent).toBeDefined();
  });

  test("R-72 in save: waited for", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const saving = scene.store.hold("tokens");
    const caller = follow(scene.session.getAccessToken());
    await saving.reached;
    const closing = follow(scene.manager.close());
    await scene.clock.advance(100);
    expect(closing.state).toBe("pending");
    saving.open();
    await scene.clock.advance(0);
    expect(closing.value).toEqual({ unsaved: [] });
    expect(caller.state).toBe("fulfilled");
  });

  test("R-72 in backoff: the caller is told at once, nothing is sent any more", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.fail({ at: "token", kind: "status", status: 429, retryAfter: "7", times: Infinity });
    const caller = follow(scene.session.getAccessToken());
    await scene.clock.advance(1_000);
    const closing = follow(scene.manager.close());
    await scene.clock.advance(0);
    expect(caller.error).toMatchObject({ code: "manager_closed" });
    expect(closing.value).toEqual({ unsaved: [] });
    await scene.clock.advance(HOUR);
    expect(scene.refreshes()).toHaveLength(1);
    expect(scene.heard()).not.toContain("refresh_failed");
  });

  test("R-72 sent, and then answered with what would be repeated: it is not, and close does not wait for the wait", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.answers.push(async () => {
      await answer.until;
      return new Response(null, { status: 429, headers: { "retry-after": "7" } });
    });
    const caller = follow(scene.session.getAccessToken());
    await scene.clock.advance(0);
    const closing = follow(scene.manager.close());
    await scene.clock.advance(0);
    answer.open();
    await scene.clock.advance(10);
    expect(closing.value).toEqual({ unsaved: [] });
    expect(caller.state).toBe("rejected");
    expect(scene.refreshes()).toHaveLength(0);
  });

  for (const step of ["read", "lease", "intent"] as const) {
    for (const when of ["before", "after"] as const) {
      test(`R-11 ${when} ${step}: nothing is sent, close gives back the lease and takes back the announcement`, async () => {
        const scene = await openScene();
        await scene.clock.advance(HOUR);
        const point = scene.store.hold(step, when);
        const caller = follow(scene.session.getAccessToken());
        await point.reached;
        const closing = follow(scene.manager.close());
        await scene.clock.advance(0);
        expect(closing.state).toBe("pending");
        point.open();
        await scene.clock.advance(2_500);
        expect(closing.state).toBe("fulfilled");
        expect(caller.error).toMatchObject({ code: "manager_closed" });
        expect(scene.refreshes()).toHaveLength(0);
        expect(scene.store.stored()?.intent).toBeUndefined();
        expect(await scene.store.takeLease(1_000)).toBeDefined();
      });
    }
  }

  test("R-11 while waiting for a busy lease: the caller is told at once", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    await scene.store.takeLease(HOUR);
    const caller = follow(scene.session.getAccessToken());
    await scene.clock.advance(1_000);
    await scene.manager.close();
    await caller.promise;
    expect(caller.error).toMatchObject({ code: "manager_closed" });
  });
});

const { signal } = new AbortController();

let clock: ManualClock;
let timers: HoldingTimers;
let watched: Clock;
let server: AcmeServer;
let inner: TokenStore;

beforeEach(() => {
  clock = manualClock();
  timers = holdingTimers();
  watched = timers.watch(clock);
  server = acmeServer(watched, { refreshRotation: "single-use" });
  inner = memoryStore({ clock });
});

/** A manager, and a session of it whose token has ended and whose answer waits behind a gate. */
async function waiting(changes: Partial<TokenStore> = {}): Promise<{
  readonly manager: TokenManager;
  readonly session: TokenSession;
  readonly answer: () => void;
}> {
  const manager = new TokenManager({ clock: watched, store: storeWith(clock, changes, inner) });
  const session = await manager.save(server.client, { subject: "ada" }, server.tokens());
  const answered = gate();
  server.answer = async () => {
    await answered.until;
    return success("access-1", { refresh_token: "refresh-1" });
  };
  await clock.advance(600 * SECOND);
  return { manager, session, answer: answered.open };
}

const isFree = async ({ key }: TokenSession): Promise<boolean> =>
  (await inner.lease?.(key, { ttlMs: SECOND, signal })) !== undefined;

describe("leases", () => {
  test("R-11 close waits until the lease is given back: a program may exit right after it", async () => {
    let isReleased = false;
    const lease: TokenStore["lease"] = async (key, options) => {
      const got = await inner.lease?.(key, options);
      const release = async (): Promise<void> => {
        await new Promise<void>((resolve) => clock.setTimer(resolve, 50));
        isReleased = true;
        await got?.release();
      };
      return got && { renew: (ttlMs) => got.renew(ttlMs), release };
    };
    const { manager, session, answer } = await waiting({ lease });
    const caller = follow(session.getAccessToken());
    await clock.advance(0);
    const closed = follow(manager.close());
    answer();
    await clock.advance(49);
    expect(caller.value).toBe("access-1");
    expect(closed.state).toBe("pending");
    await clock.advance(SECOND);
    expect(closed.value).toEqual({ unsaved: [] });
    expect(isReleased).toBe(true);
  });

  test("R-72 an answer after the drain that cannot be saved: its caller gets it, the lease is given back, no timer stays", async () => {
    let isDown = false;
    const write: TokenStore["write"] = (key, record, options) =>
      isDown ? Promise.reject(new Error("down")) : inner.write(key, record, options);
    const { manager, session, answer } = await waiting({ write });
    const caller = follow(session.getAccessToken());
    await clock.advance(0);
    const closed = follow(manager.close({ drainMs: SECOND }));
    await clock.advance(2 * SECOND);
    expect(closed.value).toEqual({ unsaved: [] });
    isDown = true;
    answer();
    await clock.advance(0);
    expect(caller.value).toBe("access-1");
    expect(timers.pending()).toBe(0);
    await clock.advance(SECOND);
    expect(await isFree(session)).toBe(true);
  });
});

test("R-11 an application that never says which client it is: neither a timer nor a caller waits for it after the end", async () => {
  const clock = manualClock();
  const timers = holdingTimers();
  const watched = timers.watch(clock);
  const server = acmeServer(watched);
  const store = storeWith(watched, {}, memoryStore({ clock: watched }));
  const gone = new TokenManager({ clock: watched, store });
  const { key } = await gone.save(server.client, { subject: "ada" }, server.tokens());
  await clock.advance(HOUR);
  const manager = new TokenManager({ clock: watched, store, resolveClient: () => new Promise(() => undefined) });
  manager.start();
  const job = follow(manager.refresh(key));
  await clock.advance(SECOND);
  expect(timers.pending()).toBe(2);
  await manager.close();
  await job.promise;
  expect(job.error).toMatchObject({ code: "manager_closed" });
  expect(timers.pending()).toBe(0);
});

test("R-11 close while sessions of a process that is gone are taken up: asks for no client any more", async () => {
  const gone = new TokenManager({ clock: watched, store: storeWith(clock, {}, inner) });
  for (let n = 0; n < 30; n++) {
    await gone.save(server.client, { subject: `user-${String(n)}` }, server.tokens());
  }
  await gone.close();
  await clock.advance(HOUR);
  let asked = 0;
  const manager = new TokenManager({
    clock: watched,
    store: storeWith(clock, {}, inner),
    async resolveClient() {
      asked += 1;
      await new Promise<void>((resolve) => clock.setTimer(resolve, 100));
      return server.client;
    },
  });
  manager.start();
  await clock.advance(550);
  const before = asked;
  expect(before).toBeGreaterThan(2);
  expect(before).toBeLessThan(30);
  const closed = follow(manager.close());
  await clock.advance(0);
  expect(closed.value).toEqual({ unsaved: [] });
  await clock.advance(HOUR);
  expect(asked).toBe(before);
});

test.each([Number.NaN, -1])("R-11 a drain of %s ms is refused, and nothing is closed", async (drainMs) => {
  const { manager } = await waiting();
  await expect(manager.close({ drainMs })).rejects.toMatchObject({ code: "config_invalid", option: "drainMs" });
  manager.start();
  expect(await manager.close({ drainMs: 0 })).toEqual({ unsaved: [] });
});

test("R-11 R-24 what cannot be saved while close saves others is named too, and its lease given back", async () => {
  const scene = await openScene();
  const { clock, store, client, manager, session } = scene;
  const bob = await manager.save(client, { subject: "bob" }, await scene.fake.issueTokens({ client }));
  await clock.advance(HOUR);
  // Ada: unsaved
  store.fail("tokens", 1);
  await run(clock, session.getAccessToken(), 0, 0);
  // Bob: in the air
  const answer = gate();
  scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
  const token = follow(bob.getAccessToken());
  await clock.advance(0);
  // the store: hangs for Ada's last try, then fails
  store.hang("tokens", 1);
  store.fail("tokens", Infinity);
  const closing = follow(manager.close({ drainMs: 100 }));
  await clock.advance(1_000);
  answer.open();
  await clock.advance(0);
  expect(token.state).toBe("fulfilled");
  await clock.advance(10_000);
  expect(closing.state).toBe("fulfilled");
  store.heal();
  await clock.advance(200_000);
  const signal = new AbortController().signal;
  expect(await store.lease?.(bob.key, { ttlMs: 1_000, signal })).toBeDefined();
  expect(closing.value?.unsaved).toContain(bob.key);
});
