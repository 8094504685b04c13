import { describe, expect, test } from "vitest";
import { HOUR, follow, gate, holdingTimers, openScene, run, saveElsewhere, issuedAt } from "./scene.ts";

describe("a store that fails under a save (R-24, R-69)", () => {
  for (const times of [1, 5]) {
    test(`R-24 R-69 fails ${String(times)}×: callers are served from memory, it is saved in the end`, async () => {
      const scene = await openScene();
      await scene.clock.advance(HOUR);
      scene.store.fail("tokens", times);
      const token = await run(scene.clock, scene.session.getAccessToken());
      expect(token.value).toBe(issuedAt(scene, 1).access_token);
      expect(scene.events.find(({ type }) => type === "save_failed")).toMatchObject({
        code: "store_unavailable",
        attempt: 1,
      });
      expect(scene.store.stored()?.tokens?.refreshToken).toBe(scene.login.refreshToken);
      await scene.clock.advance(60_000);
      expect(scene.heard().filter((type) => type === "save_failed")).toHaveLength(times);
      expect(scene.store.stored()).toMatchObject({ generation: 2, state: "active" });
      expect(scene.store.stored()?.tokens?.refreshToken).toBe(issuedAt(scene, 1).refresh_token);
      expect(await scene.manager.close()).toEqual({ unsaved: [] });
    });
  }

  test("R-24 for ever: served until it ends, nothing is refreshed on top, close says what is unsaved", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.store.fail("tokens", Infinity);
    for (let minute = 0; minute < 50; minute++) {
      expect((await run(scene.clock, scene.session.getAccessToken())).value).toBe(issuedAt(scene, 1).access_token);
      await scene.clock.advance(60_000);
    }
    await scene.clock.advance(HOUR);
    const ended = await run(scene.clock, scene.session.getAccessToken());
    expect(ended.error).toMatchObject({ code: "store_unavailable", retryable: true });
    expect(scene.refreshes()).toHaveLength(1);
    expect(scene.heard().filter((type) => type === "save_failed").length).toBeGreaterThan(20);
    expect(await scene.manager.close()).toEqual({ unsaved: [scene.session.key] });
  });

  test("R-24 the lease is kept while tokens are unsaved, however long, and given back when they are saved", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.store.fail("tokens", 6);
    await run(scene.clock, scene.session.getAccessToken());
    expect(await scene.store.takeLease(1_000)).toBeUndefined();
    const other = scene.process();
    const theirs = follow(other.session.getAccessToken());
    await scene.clock.advance(2_000);
    expect(theirs.state).toBe("pending");
    expect(scene.refreshes()).toHaveLength(1);
    await scene.clock.advance(27_000);
    expect(theirs.value).toBe(issuedAt(scene, 1).access_token);
    expect(scene.refreshes()).toHaveLength(1);
    await scene.clock.advance(30_000);
    expect(await scene.store.takeLease(1_000)).toBeDefined();
  });

  test("R-24 close makes a last try, and it may succeed", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.store.fail("tokens", 1);
    await run(scene.clock, scene.session.getAccessToken(), 0, 0);
    expect(await scene.manager.close()).toEqual({ unsaved: [] });
    expect(scene.store.stored()?.tokens?.refreshToken).toBe(issuedAt(scene, 1).refresh_token);
  });

  test("R-11 after close with unsaved tokens the lease is free and nothing is tried any more", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.store.fail("tokens", Infinity);
    await run(scene.clock, scene.session.getAccessToken());
    await scene.manager.close();
    await scene.clock.advance(0);
    const asked = scene.store.steps.length;
    await scene.clock.advance(HOUR);
    expect(scene.store.steps).toHaveLength(asked);
    expect(await scene.store.takeLease(1_000)).toBeDefined();
  });

  test("R-69 a store that hangs under the save: the deadline is 5 s, then as a failure", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.store.hang("tokens");
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(4_900);
    expect(token.state).toBe("pending");
    await scene.clock.advance(200);
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
    await scene.clock.advance(5_000);
    expect(scene.store.stored()?.tokens?.refreshToken).toBe(issuedAt(scene, 1).refresh_token);
  });

  test("R-69 lost write: written, but answered with an error; known again, and not written over", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.store.loseAnswer("tokens");
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
    await scene.clock.advance(5_000);
    expect(scene.store.stored()).toMatchObject({ generation: 2 });
    expect(scene.heard()).not.toContain("refresh_conflict");
    expect(await scene.store.takeLease(1_000)).toBeDefined();
    expect(await scene.manager.close()).toEqual({ unsaved: [] });
  });

  test("R-69 lost write of the announcement: nothing was sent, and it is no lost rotation", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.store.loseAnswer("intent");
    expect((await run(scene.clock, scene.session.getAccessToken())).error).toMatchObject({ code: "store_unavailable" });
    expect(scene.refreshes()).toHaveLength(0);
    expect((await run(scene.clock, scene.session.getAccessToken())).value).toBe(issuedAt(scene, 1).access_token);
  });

  test("R-69 a rescued refresh token whose save fails is kept, saved, and only then used", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.answers.push(async (request) => {
      const real = (await (await scene.fake.fetch(request)).json()) as Record<string, unknown>;
      return Response.json({ refresh_token: real["refresh_token"], token_type: "Bearer" });
    });
    scene.store.fail("tokens", 1);
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.value).toBe(scene.issued.at(-1)?.access_token);
    expect(scene.fake.grants[0]).toMatchObject({ revoked: false, refreshes: 2 });
  });
});

describe("conflicts (R-44)", () => {
  test("R-43 the record changed but holds what we sent: written again on the new version", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(0);
    await scene.store.put({ loginAt: scene.clock.now() - 1 });
    answer.open();
    await scene.clock.advance(0);
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
    expect(scene.store.stored()?.tokens?.refreshToken).toBe(issuedAt(scene, 1).refresh_token);
    expect(scene.heard()).not.toContain("refresh_conflict");
  });

  test("R-44 S-048 the record holds another refresh token: adopted, never written over, ours is not revoked", async () => {
    const scene = await openScene({ warehouse: "bigquery", refreshRotation: "rotates" });
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(0);
    await saveElsewhere(scene);
    answer.open();
    await scene.clock.advance(0);
    expect(token.value).toBe("theirs");
    expect(scene.store.stored()?.tokens?.refreshToken).toBe("theirs-too");
    expect(scene.heard()).toEqual(expect.arrayContaining(["refresh_conflict", "refresh_adopted"]));
    expect(scene.heard()).not.toContain("refresh_succeeded");
    expect(scene.fake.requests.filter(({ at }) => at === "revoke")).toHaveLength(0);
  });

  test("R-44 the adopted one proves dead: ours is tried once, and lives", async () => {
    const scene = await openScene({ warehouse: "bigquery", refreshRotation: "rotates" });
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const first = follow(scene.session.getAccessToken());
    await scene.clock.advance(0);
    await saveElsewhere(scene);
    answer.open();
    await scene.clock.advance(0);
    expect(first.value).toBe("theirs");
    // The server never heard of theirs: last writer wins, and the last one was ours.
    await scene.clock.advance(HOUR);
    const second = await run(scene.clock, scene.session.getAccessToken());
    expect(second.value).toBe(scene.issued.at(-1)?.access_token);
    expect(scene.store.stored()).toMatchObject({ state: "active" });
  });

  test("R-44 ours is tried once only: dead as well, it ends the session", async () => {
    const scene = await openScene({ warehouse: "bigquery", refreshRotation: "rotates" });
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const first = follow(scene.session.getAccessToken());
    await scene.clock.advance(0);
    await saveElsewhere(scene);
    answer.open();
    await scene.clock.advance(0);
    await first.promise;
    await scene.clock.advance(HOUR);
    scene.fake.revokeGrants();
    const before = scene.refreshes().length;
    const second = await run(scene.clock, scene.session.getAccessToken());
    expect(second.error).toMatchObject({ code: "reauthorization_required" });
    expect(scene.refreshes().length - before).toBe(2);
  });

  test("R-44 once the adopted one was refreshed, ours is of no use any more", async () => {
    const scene = await openScene({ warehouse: "bigquery", refreshRotation: "rotates" });
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const first = follow(scene.session.getAccessToken());
    await scene.clock.advance(0);
    await saveElsewhere(scene);
    answer.open();
    await scene.clock.advance(0);
    await first.promise;
    scene.answers.push(() => Response.json({ access_token: "a3", refresh_token: "r3", token_type: "Bearer" }));
    await run(scene.clock, scene.session.refresh());
    const before = scene.refreshes().length;
    const outcome = await run(scene.clock, scene.session.refresh());
    expect(outcome.error).toMatchObject({ code: "reauthorization_required" });
    expect(scene.refreshes().length - before).toBe(1);
  });

  test("R-44 the store fails when ours is to be tried: it is kept for the next time", async () => {
    const scene = await openScene({ warehouse: "bigquery", refreshRotation: "rotates" });
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const first = follow(scene.session.getAccessToken());
    await scene.clock.advance(0);
    await saveElsewhere(scene);
    answer.open();
    await scene.clock.advance(0);
    await first.promise;
    await scene.clock.advance(HOUR);
    scene.store.fail("tokens", 1);
    const second = await run(scene.clock, scene.session.getAccessToken());
    expect(second.value).toBe(scene.issued.at(-1)?.access_token);
  });
});

describe("reads that lag behind (R-47)", () => {
  test("R-47 an older copy than was seen is asked for again, until it has caught up", async () => {
    const scene = await openScene();
    await run(scene.clock, scene.session.refresh());
    await scene.clock.advance(HOUR);
    scene.store.lag(3, 2);
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(200);
    expect(token.state).toBe("pending");
    await scene.clock.advance(100);
    expect(token.value).toBe(issuedAt(scene, 2).access_token);
    expect(scene.fake.grants[0]?.revoked).toBe(false);
  });

  test("R-47 a copy that lags for longer is asked for 2 s, then memory is used", async () => {
    const timers = holdingTimers();
    const scene = await openScene({ watch: timers.watch });
    await run(scene.clock, scene.session.refresh());
    await scene.clock.advance(60_000);
    scene.store.lag(Infinity, 1);
    const before = scene.store.steps.length;
    const status = follow(scene.session.status());
    await scene.clock.advance(1_999);
    expect(status.state).toBe("pending");
    expect(timers.pending()).toBe(1); // a program that awaits the status must not end here
    await scene.clock.advance(1);
    expect(status.value).toMatchObject({ state: "active", generation: 2 });
    expect(scene.store.steps.slice(before)).toEqual(Array<string>(21).fill("read"));
    expect(await scene.session.getAccessToken()).toBe(issuedAt(scene, 1).access_token);
    await scene.clock.advance(5_000);
    expect(scene.store.steps).toHaveLength(before + 21);
  });

  test("R-47 a refresh gives up a copy that lags after 2 s, too: nothing is sent that such a copy would announce", async () => {
    const scene = await openScene();
    await run(scene.clock, scene.session.refresh());
    await scene.clock.advance(HOUR);
    const before = scene.store.steps.length;
    const since = (): readonly string[] => scene.store.steps.slice(before).filter((step) => step !== "read");
    // For 2 s before the lease, and for 2 s under it.
    scene.store.lag(42, 2);
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(1_999);
    expect(since()).toEqual([]);
    await scene.clock.advance(1);
    expect(since()).toEqual(["lease"]);
    await scene.clock.advance(1_999);
    expect(since()).toEqual(["lease"]);
    await scene.clock.advance(1);
    // The version was that of the copy, and the store knows better.
    expect(since()).toEqual(["lease", "intent", "release"]);
    expect(scene.refreshes()).toHaveLength(1);
    await scene.clock.advance(1_000);
    expect(token.value).toBe(issuedAt(scene, 2).access_token);
    expect(scene.refreshes()).toHaveLength(2);
    expect(scene.fake.grants[0]).toMatchObject({ revoked: false, refreshes: 2 });
  });

  test("R-47 a copy that lags for good: what was seen is what counts, and no spent token is sent", async () => {
    const scene = await openScene();
    await run(scene.clock, scene.session.refresh());
    await scene.clock.advance(HOUR);
    const writes = scene.store.steps.filter((step) => step === "tokens").length;
    expect(writes).toBe(2);
    scene.store.lag(Infinity, 2);
    await run(scene.clock, scene.session.getAccessToken());
    expect(scene.fake.grants[0]?.revoked).toBe(false);
    scene.store.heal();
    expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
    expect(scene.fake.grants[0]?.revoked).toBe(false);
  });

  test("R-47 a lagging copy after a conflict under a save: ours is kept until the copy catches up", async () => {
    const scene = await openScene();
    await run(scene.clock, scene.session.refresh());
    await scene.clock.advance(HOUR);
    scene.store.loseAnswer("tokens");
    const token = await run(scene.clock, scene.session.getAccessToken(), 0, 0);
    expect(token.value).toBe(issuedAt(scene, 2).access_token);
    scene.store.lag(1, 3);
    await scene.clock.advance(60_000);
    expect(scene.heard()).not.toContain("refresh_conflict");
    expect(scene.store.stored()?.tokens?.refreshToken).toBe(issuedAt(scene, 2).refresh_token);
    expect(await scene.session.getAccessToken()).toBe(issuedAt(scene, 2).access_token);
  });
});

describe("a store that is down (R-46)", () => {
  test("R-46 at the start: store_unavailable, retryable, no login prompt, no request", async () => {
    const scene = await openScene();
    const { session } = scene.process();
    scene.store.fail("read", Infinity);
    const token = await run(scene.clock, session.getAccessToken());
    expect(token.error).toMatchObject({ code: "store_unavailable", retryable: true, action: "retry" });
    await expect(session.status()).rejects.toMatchObject({ code: "store_unavailable" });
    expect(scene.refreshes()).toHaveLength(0);
    scene.store.heal();
    expect(await session.getAccessToken()).toBe(scene.login.accessToken);
  });

  test("R-46 later on: the copy in memory serves until it ends", async () => {
    const scene = await openScene();
    scene.store.fail("read", Infinity);
    for (let minute = 0; minute < 48; minute++) {
      expect((await run(scene.clock, scene.session.getAccessToken())).value).toBe(scene.login.accessToken);
      await scene.clock.advance(60_000);
    }
    await scene.clock.advance(HOUR);
    expect((await run(scene.clock, scene.session.getAccessToken())).error).toMatchObject({ code: "store_unavailable" });
    expect(scene.refreshes()).toHaveLength(0);
  });

  test("R-69 an error says which operation failed and nothing of what the store said", async () => {
    const scene = await openScene();
    const { session } = scene.process();
    scene.store.fail("read", Infinity);
    const { error } = await run(scene.clock, session.getAccessToken());
    expect(error).toMatchObject({ operation: "read" });
    expect(error?.message).not.toContain("the store broke");
  });
});
