// What counts when a refresh token is answered dead: DESIGN 6, requirements, S-045.
import { TokenManager } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import { describe, expect, test } from "vitest";
import { DAY, acmeServer, eventsOf, refused, storeWith, success } from "./acme-room.ts";
import { HOUR, follow, gate, issuedAt, openScene, run, saveElsewhere } from "./scene.ts";
import type { Scene, SceneOptions } from "./scene.ts";

const DEAD = (): Response => refused("invalid_grant");

/** The refresh token is answered dead, and something happens to the record while the answer is on its way. */
async function answeredDead(meanwhile: (scene: Scene) => Promise<unknown>, options?: SceneOptions): Promise<Scene> {
  const scene = await openScene(options);
  await scene.clock.advance(HOUR);
  scene.answers.push(async () => {
    await meanwhile(scene);
    return DEAD();
  });
  return scene;
}

/** Two refreshed at once, theirs was saved: what the server told us last lies in memory only. */
async function lostConflict(): Promise<Scene> {
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
  return scene;
}

describe("what another process did meanwhile", () => {
  test("S-045 it found the token dead, too: its cause is the one that is told, and nothing is written over it", async () => {
    const scene = await answeredDead(({ store }) =>
      store.put({ state: "reauthorization_required", cause: "interaction_required", intent: undefined }),
    );
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({ code: "reauthorization_required", reason: "interaction_required" });
    expect(scene.store.steps).not.toContain("dead");
    expect(scene.heard()).not.toContain("reauthorization_required");
  });

  test("R-41 it saves a moment later, and a caller begins to wait in between: adopted all the same", async () => {
    const scene = await openScene();
    scene.answers.push(DEAD);
    await scene.clock.advance(0.9 * HOUR);
    await scene.session.getAccessToken(); // stale: the refresh goes on behind it
    await scene.clock.advance(0);
    const caller = follow(scene.session.refresh());
    await scene.clock.advance(300);
    await saveElsewhere(scene);
    await scene.clock.advance(1_000);
    expect(caller.state).toBe("fulfilled");
    expect(scene.heard()).not.toContain("reauthorization_required");
    expect(scene.session.peek()).toBe("theirs");
  });

  test("S-045 it found the token dead and did not say why: it is dead", async () => {
    const scene = await answeredDead(({ store }) => store.put({ state: "reauthorization_required" }));
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({ code: "reauthorization_required", reason: "refresh_token_dead" });
  });

  test("S-045 it rotated and buried what it got: nobody asks the store, or the server, once more", async () => {
    const scene = await answeredDead(async ({ store }) => {
      const tokens = { ...store.stored()?.tokens, refreshToken: "theirs" };
      await store.put({ state: "reauthorization_required", cause: "rotation_lost", tokens });
      store.steps.length = 0;
    });
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({ reason: "rotation_lost" });
    expect(scene.store.steps).toEqual(["read", "release"]);
  });

  test("S-047 the record is gone: nobody is signed in, and none is written", async () => {
    const scene = await answeredDead(({ store, session }) =>
      Promise.resolve(store.delete(session.key, { signal: new AbortController().signal })),
    );
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({ code: "reauthorization_required", reason: "refresh_token_absent" });
    expect(scene.store.steps).not.toContain("dead");
  });

  test("S-043 the record has no tokens any more: absent, and not dead", async () => {
    const scene = await answeredDead(({ store }) => store.put({ tokens: undefined, intent: undefined }));
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({ code: "reauthorization_required", reason: "refresh_token_absent" });
  });

  test("R-41 it saves in the moment in which the end is written: its tokens count", async () => {
    const scene = await answeredDead(() => Promise.resolve());
    const burying = scene.store.hold("dead");
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(1_000);
    await burying.reached;
    await saveElsewhere(scene);
    burying.open();
    await scene.clock.advance(1_000);
    expect(token.value).toBe("theirs");
    expect(scene.store.stored()).toMatchObject({ state: "active", generation: 2 });
    expect(scene.heard()).not.toContain("reauthorization_required");
  });

  test("R-41 nobody else writes to a store in memory: it is dead at once, without a second of waiting", async () => {
    const scene = await answeredDead(() => Promise.resolve(), { durable: false });
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(0);
    expect(token.error).toMatchObject({ code: "reauthorization_required", reason: "refresh_token_dead" });
  });
});

describe("the cause", () => {
  test("S-045 without a lost answer it is no lost rotation, and no event says so", async () => {
    const scene = await answeredDead(() => Promise.resolve());
    await run(scene.clock, scene.session.getAccessToken());
    expect(scene.store.stored()).toMatchObject({ cause: "refresh_token_dead" });
    expect(scene.heard()).toContain("reauthorization_required");
    expect(scene.heard()).not.toContain("rotation_lost");
  });

  test("S-045 R-22 an answer was lost where nothing is announced: rotation_lost all the same", async () => {
    const scene = await openScene({ warehouse: "bigquery" });
    await scene.clock.advance(HOUR);
    scene.fake.fail({ at: "token", kind: "drop", when: "after" });
    scene.answers.push(() => undefined, DEAD);
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({ code: "reauthorization_required", reason: "rotation_lost" });
    expect(scene.refreshes()).toHaveLength(1);
    expect(scene.heard()).toContain("rotation_lost");
  });

  test("S-045 an answer was lost, then the administrator wants a person: that is what is told", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.fail({ at: "token", kind: "drop", when: "before" });
    scene.answers.push(
      () => undefined,
      () => refused("interaction_required"),
    );
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({ code: "reauthorization_required", reason: "interaction_required" });
    expect(scene.heard()).not.toContain("rotation_lost");
  });

  for (const [agoMs, reason] of [
    [DAY, "absolute_lifetime_over"],
    [DAY - 1, "refresh_token_dead"],
  ] as const) {
    test(`S-045 signed in ${String(agoMs)} ms ago where a login lives ${String(DAY)}: ${reason}`, async () => {
      const clock = manualClock();
      const server = acmeServer(clock, { absoluteSessionLifetimeMs: DAY });
      server.answer = DEAD;
      // In memory, so that the end is known in the very millisecond of the answer.
      const store = storeWith(clock, { capabilities: { compareAndSet: true, durable: false } });
      const manager = new TokenManager({ store, clock, background: "none" });
      const events = eventsOf(manager);
      const session = await manager.save(server.client, { subject: "ada" }, server.tokens());
      await clock.advance(agoMs);
      const token = await run(clock, session.getAccessToken());
      expect(token.error).toMatchObject({ code: "reauthorization_required", reason });
      expect(events.find(({ type }) => type === "reauthorization_required")).toMatchObject({ cause: reason });
    });
  }
});

describe("tokens that lost a conflict (R-44)", () => {
  test("R-44 theirs is dead while its access token is good: ours is refreshed, and not handed out as it is", async () => {
    const scene = await lostConflict();
    let stored: number | undefined;
    scene.answers.push(DEAD, () => {
      stored = scene.store.stored()?.generation;
      return undefined;
    });
    const outcome = await run(scene.clock, scene.session.refresh());
    expect(outcome.state).toBe("fulfilled");
    expect(await scene.session.getAccessToken()).toBe(issuedAt(scene, 2).access_token);
    // Theirs was 2. Whoever reads ours before it is refreshed must not take it for an older copy.
    expect(stored).toBe(3);
    expect(scene.store.stored()).toMatchObject({ generation: 4, state: "active" });
  });

  test("R-44 another process has buried theirs: ours is tried all the same", async () => {
    const scene = await lostConflict();
    scene.answers.push(async () => {
      const tokens = { ...scene.store.stored()?.tokens, refreshToken: "theirs-three" };
      await scene.store.put({ state: "reauthorization_required", cause: "refresh_token_dead", tokens });
      return DEAD();
    });
    const outcome = await run(scene.clock, scene.session.refresh());
    expect(outcome.state).toBe("fulfilled");
    expect(await scene.session.getAccessToken()).toBe(issuedAt(scene, 2).access_token);
    expect(scene.store.stored()).toMatchObject({ state: "active" });
  });

  test("R-44 another process has buried the session and dropped its tokens: ours is tried all the same", async () => {
    const scene = await lostConflict();
    scene.answers.push(async () => {
      await scene.store.put({ state: "reauthorization_required", cause: "refresh_token_dead", tokens: undefined });
      return DEAD();
    });
    const outcome = await run(scene.clock, scene.session.refresh());
    expect(outcome.state).toBe("fulfilled");
    expect(scene.store.stored()).toMatchObject({ state: "active" });
  });

  test("R-44 ours came into the store after all and is answered dead: it is not sent again", async () => {
    const scene = await lostConflict();
    const ours = issuedAt(scene, 1);
    const before = scene.refreshes().length;
    const tokens = { ...scene.store.stored()?.tokens, refreshToken: ours.refresh_token };
    await scene.store.put({ generation: 3, tokens });
    scene.fake.revokeGrants();
    await scene.clock.advance(HOUR);
    const outcome = await run(scene.clock, scene.session.getAccessToken());
    expect(outcome.error).toMatchObject({ code: "reauthorization_required" });
    expect(scene.refreshes().length - before).toBe(1);
  });

  test("S-045 the store fails before that can be confirmed: found dead again, it was no lost rotation", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.answers.push(() => {
      scene.store.fail("read", 1);
      return DEAD();
    }, DEAD);
    const first = await run(scene.clock, scene.session.getAccessToken());
    expect(first.error).toMatchObject({ code: "store_unavailable" });
    const second = await run(scene.clock, scene.session.getAccessToken());
    expect(second.error).toMatchObject({ reason: "refresh_token_dead" });
    expect(scene.heard()).not.toContain("rotation_lost");
  });
});

test("S-045 the cause that could not be told is forgotten once the token lived on", async () => {
  const clock = manualClock();
  const server = acmeServer(clock);
  const store = storeWith(clock);
  let broken = false;
  const own = {
    ...store,
    write: (...args: Parameters<typeof store.write>) =>
      broken ? Promise.reject(new Error("x")) : store.write(...args),
  };
  const manager = new TokenManager({ store: own, clock, random: () => 0.5 });
  const session = await manager.save(server.client, { subject: "ada" }, server.tokens());
  await clock.advance(HOUR);
  server.answer = () => refused("interaction_required");
  broken = true;
  await run(clock, session.getAccessToken());
  broken = false;
  server.answer = () => success("access-9");
  expect((await run(clock, session.getAccessToken())).value).toBe("access-9");
  await clock.advance(HOUR);
  server.answer = () => refused("invalid_grant");
  const dead = await run(clock, session.getAccessToken());
  expect(dead.error).toMatchObject({ reason: "refresh_token_dead" });
});
