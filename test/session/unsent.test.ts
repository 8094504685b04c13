// Announcements after which nothing was sent, where the store could not be told: DESIGN 6, requirements, S-045.
import { expect, test } from "vitest";
import { HOUR, openScene, refuseConnection, run } from "./scene.ts";
import type { Scene } from "./scene.ts";

async function expectPlainDeath(scene: Scene): Promise<void> {
  scene.fake.revokeGrants();
  const dead = await run(scene.clock, scene.session.getAccessToken());
  expect(dead.error).toMatchObject({ code: "reauthorization_required", reason: "refresh_token_dead" });
  expect(scene.heard()).not.toContain("rotation_lost");
}

test("S-045 announced, and the store's answer got lost: a refresh token that is dead later was not lost in rotation", async () => {
  const scene = await openScene();
  await scene.clock.advance(HOUR);
  scene.store.loseAnswer("intent");
  const first = await run(scene.clock, scene.session.getAccessToken());
  expect(first.error).toMatchObject({ code: "store_unavailable" });
  expect(scene.store.stored()?.intent).toBeDefined();
  await expectPlainDeath(scene);
});

test("R-20 S-045 nothing was sent, and taking that back failed: the same", async () => {
  const scene = await openScene({ manager: { retry: { maxAttempts: 1 } } });
  await scene.clock.advance(HOUR);
  scene.answers.push(refuseConnection);
  scene.store.fail("tokens", 1);
  const first = await run(scene.clock, scene.session.getAccessToken());
  expect(first.error).toMatchObject({ code: "network_error" });
  expect(scene.store.stored()?.intent).toBeDefined();
  await expectPlainDeath(scene);
});

test("R-21 three such announcements are no three sends: nothing rests", async () => {
  const scene = await openScene();
  await scene.clock.advance(HOUR);
  scene.store.loseAnswer("intent", 3);
  for (let time = 0; time < 3; time++) {
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({ code: "store_unavailable" });
  }
  expect(scene.refreshes()).toHaveLength(0);
  scene.store.heal();
  expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
});

test("S-045 what was sent after such an announcement counts: its answer got lost, so a dead token is a lost rotation", async () => {
  const scene = await openScene({ manager: { retry: { maxAttempts: 1 } } });
  await scene.clock.advance(HOUR);
  scene.store.loseAnswer("intent");
  await run(scene.clock, scene.session.getAccessToken());
  scene.answers.push(() => Promise.reject(new TypeError("fetch failed")));
  await run(scene.clock, scene.session.getAccessToken());
  expect(scene.store.stored()?.intent?.attempts).toBe(1);
  scene.fake.revokeGrants();
  const dead = await run(scene.clock, scene.session.getAccessToken());
  expect(dead.error).toMatchObject({ reason: "rotation_lost" });
});

test("R-20 S-045 an announcement that was never written does not make one that was into a send", async () => {
  const scene = await openScene();
  await scene.clock.advance(HOUR);
  scene.store.loseAnswer("intent");
  await run(scene.clock, scene.session.getAccessToken());
  scene.store.fail("intent");
  await run(scene.clock, scene.session.getAccessToken());
  expect(scene.refreshes()).toHaveLength(0);
  scene.fake.revokeGrants();
  const dead = await run(scene.clock, scene.session.getAccessToken());
  expect(dead.error).toMatchObject({ code: "reauthorization_required", reason: "refresh_token_dead" });
});
