import type { TokenStore } from "warehouse-oauth";
import { describe, expect, test } from "vitest";
import { withoutCoordination } from "./gate-store.ts";
import { HOUR, follow, gate, issuedAt, openScene, run, signInGrace } from "./scene.ts";

/** The store as a process sees it that can die: from then on nothing it asks for is done, and nothing is answered. */
function mortalStore(store: TokenStore): { readonly store: TokenStore; kill(): void } {
  let dead = false;
  const live =
    <Args extends unknown[], T>(run: (...args: Args) => Promise<T>) =>
    async (...args: Args): Promise<T> => {
      const result = dead ? undefined : await run(...args);
      return dead ? new Promise<never>(() => undefined) : (result as T);
    };
  return {
    store: {
      capabilities: store.capabilities,
      read: live((key, options) => store.read(key, options)),
      write: live((key, record, options) => store.write(key, record, options)),
      delete: live((key, options) => store.delete(key, options)),
      lease: live(async (key, options) => {
        const lease = await store.lease?.(key, options);
        return lease && { renew: live((ttlMs) => lease.renew(ttlMs)), release: live(() => lease.release()) };
      }),
    },
    kill() {
      dead = true;
    },
  };
}

describe("two managers on one store are two processes", () => {
  test("R-41 both at expiry: one refresh, one token", async () => {
    const scene = await openScene();
    const other = scene.process();
    await scene.clock.advance(HOUR);
    const both = Promise.all([scene.session.getAccessToken(), other.session.getAccessToken()]);
    const tokens = await run(scene.clock, both);
    expect(new Set(tokens.value)).toEqual(new Set([issuedAt(scene, 1).access_token]));
    expect(scene.refreshes()).toHaveLength(1);
    expect(scene.fake.grants[0]?.revoked).toBe(false);
  });

  test("R-41 ten processes, fifty callers each, ten rotations: ten refreshes", async () => {
    const scene = await openScene();
    const sessions = Array.from({ length: 10 }, () => scene.process().session);
    for (let rotation = 1; rotation <= 10; rotation++) {
      await scene.clock.advance(HOUR);
      const calls = sessions.flatMap((session) => Array.from({ length: 50 }, () => session.getAccessToken()));
      const tokens = await run(scene.clock, Promise.all(calls));
      expect(new Set(tokens.value).size).toBe(1);
      expect(scene.refreshes()).toHaveLength(rotation);
    }
    expect(scene.fake.grants[0]).toMatchObject({ revoked: false, refreshes: 10 });
  });

  test("R-41 both refresh proactively: one refresh for each life of a token", async () => {
    const scene = await openScene();
    const other = scene.process({ random: () => 0.1 });
    await other.session.getAccessToken();
    scene.manager.start();
    other.manager.start();
    for (let minute = 0; minute < 6 * 60; minute++) {
      scene.session.peek();
      other.session.peek();
      await scene.clock.advance(60_000);
    }
    expect(scene.refreshes().length).toBeGreaterThanOrEqual(6);
    expect(scene.refreshes().length).toBeLessThanOrEqual(9);
    expect(scene.fake.grants[0]?.revoked).toBe(false);
  });

  test("a session that cannot be refreshed here looks whether another process could", async () => {
    const scene = await openScene();
    const other = scene.process();
    await other.session.getAccessToken();
    await scene.clock.advance(HOUR - 400_000);
    scene.fake.fail({ at: "token", kind: "status", status: 503, retryAfter: "3600" });
    await scene.session.getAccessToken();
    await scene.clock.advance(1_000);
    expect(await scene.session.status()).toMatchObject({ state: "degraded" });
    expect((await run(scene.clock, other.session.refresh())).state).toBe("fulfilled");
    await scene.clock.advance(30_000);
    expect(await scene.session.getAccessToken()).toBe(scene.login.accessToken); // and looks, behind the caller's back
    await scene.clock.advance(1_000);
    expect(await scene.session.getAccessToken()).toBe(issuedAt(scene, 1).access_token);
    expect(await scene.session.status()).toMatchObject({ state: "active" });
  });

  test("R-42 background work never waits for a lease: the token at hand is given at once", async () => {
    const scene = await openScene();
    const other = scene.process();
    await other.session.getAccessToken();
    await scene.clock.advance(HOUR - 400_000);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    expect(await scene.session.getAccessToken()).toBe(scene.login.accessToken);
    await scene.clock.advance(0);
    expect(await other.session.getAccessToken()).toBe(scene.login.accessToken);
    await scene.clock.advance(1_000);
    expect((await other.session.status()).state).toBe("active");
    answer.open();
    await scene.clock.advance(60_000);
    expect((await run(scene.clock, other.session.getAccessToken())).state).toBe("fulfilled");
    await scene.clock.advance(1_000);
    expect(await other.session.getAccessToken()).toBe(issuedAt(scene, 1).access_token);
    expect(scene.refreshes()).toHaveLength(1);
  });

  test("R-04 both are refused the same token: one refresh", async () => {
    const scene = await openScene();
    const other = scene.process();
    const rejected = scene.login.accessToken;
    const both = Promise.all([scene.session.getAccessToken({ rejected }), other.session.getAccessToken({ rejected })]);
    expect(new Set((await run(scene.clock, both)).value)).toEqual(new Set([issuedAt(scene, 1).access_token]));
    expect(scene.refreshes()).toHaveLength(1);
  });

  for (const [name, refreshRotation, isProcessed] of [
    ["not worked on", "single-use", false],
    ["worked on, by a server that takes the old token again", "rotates", true],
  ] as const) {
    test(`R-25 R-45 a process dies while the server has its request, ${name}: the next one waits, tries once, lives`, async () => {
      const scene = await openScene({ refreshRotation });
      const mortal = mortalStore(scene.store);
      const dying = scene.process({ store: mortal.store });
      await scene.clock.advance(HOUR);
      const arrived: string[] = [];
      scene.answers.push(async (request) => {
        arrived.push(new URLSearchParams(await request.clone().text()).get("refresh_token") ?? "");
        if (isProcessed) await scene.fake.fetch(request);
        return new Promise<never>(() => undefined);
      });
      const lost = follow(dying.session.getAccessToken());
      await scene.clock.advance(1_000);
      expect(arrived).toEqual([scene.login.refreshToken]);
      expect(scene.refreshes()).toHaveLength(isProcessed ? 1 : 0);
      mortal.kill();
      expect(scene.store.stored()?.intent).toMatchObject({ attempts: 1 });

      const early = await run(scene.clock, scene.session.getAccessToken(), 1_000);
      expect(early.error).toMatchObject({ retryable: true });
      expect(scene.refreshes()).toHaveLength(isProcessed ? 1 : 0);
      await scene.clock.advance(40_000);
      const token = await run(scene.clock, scene.session.getAccessToken());
      expect(token.value).toBe(scene.issued.at(-1)?.access_token);
      expect(scene.refreshes()).toHaveLength(isProcessed ? 2 : 1);
      expect(scene.store.stored()).toMatchObject({ state: "active", generation: 2 });
      expect(scene.store.stored()?.intent).toBeUndefined();
      expect(scene.fake.grants[0]?.revoked).toBe(false);
      expect(lost.value).toBeUndefined();
    });
  }

  test("R-25 S-045 a process that dies with the answer unsaved: the next one finds rotation_lost", async () => {
    const scene = await openScene();
    const mortal = mortalStore(scene.store);
    const dying = scene.process({ store: mortal.store });
    await scene.clock.advance(HOUR);
    const saving = scene.store.hold("tokens");
    follow(dying.session.getAccessToken());
    await saving.reached;
    mortal.kill();
    expect(scene.refreshes()).toHaveLength(1);
    await scene.clock.advance(61_000);
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({ code: "reauthorization_required", reason: "rotation_lost" });
    expect(scene.heard()).toContain("rotation_lost");
    expect(scene.refreshes()).toHaveLength(2);
  });

  test("R-04 the same identity in one manager is one session", async () => {
    const scene = await openScene();
    const again = scene.manager.session(scene.client, { subject: "ada" });
    const labelled = scene.manager.session(scene.client, { subject: "ada", label: "analyst" });
    expect(again.key).toBe(scene.session.key);
    expect(labelled.key).not.toBe(scene.session.key);
    expect(again.reference).toBe(scene.session.reference);
    expect(await labelled.status()).toEqual({ state: "absent" });
  });

  test("S-079 two users at one client refresh at once, each gets their own", async () => {
    const scene = await openScene();
    const hers = await signInGrace(scene);
    await scene.clock.advance(HOUR);
    const both = await run(scene.clock, Promise.all([scene.session.getAccessToken(), hers.getAccessToken()]));
    expect(new Set(both.value).size).toBe(2);
    expect(scene.refreshes()).toHaveLength(2);
    expect(scene.fake.grants.map(({ refreshes }) => refreshes)).toEqual([1, 1]);
  });

  test("S-078 a store without compare-and-set or lease is refused where refresh tokens rotate", async () => {
    const scene = await openScene();
    const { manager } = scene.process({ store: withoutCoordination(scene.store) });
    const tokens = await scene.fake.issueTokens({ client: scene.client });
    await expect(manager.save(scene.client, { subject: "ada" }, tokens)).rejects.toMatchObject({
      code: "store_incapable",
    });
  });
});
