// Tokens that lost a conflict and may live all the same: DESIGN 6, requirements.
import { expect, test } from "vitest";
import { HOUR, follow, gate, openScene, run, saveElsewhere } from "./scene.ts";
import type { Scene } from "./scene.ts";

/** Ours lost a conflict, and what won is dead. */
async function lostAndBuried(): Promise<Scene> {
  const scene = await openScene();
  const { clock, session } = scene;
  await clock.advance(HOUR);
  const answer = gate();
  scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
  const token = follow(session.getAccessToken());
  await clock.advance(0);
  await saveElsewhere(scene);
  answer.open();
  await clock.advance(0);
  expect(token.value).toBe("theirs");
  await scene.store.put({ state: "reauthorization_required", cause: "refresh_token_dead", intent: undefined });
  await clock.advance(HOUR);
  return scene;
}

test("R-44 R-73 tokens that lost a conflict are of the login before: after a login elsewhere they are not brought back", async () => {
  const scene = await openScene();
  const { clock, store, session, client } = scene;
  await clock.advance(HOUR);
  const answer = gate();
  scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
  const token = follow(session.getAccessToken());
  await clock.advance(0);
  await saveElsewhere(scene); // conflict: ours is kept
  answer.open();
  await clock.advance(0);
  expect(token.value).toBe("theirs");
  expect(scene.heard()).toContain("refresh_conflict");
  // Signed out and in again in another process
  const other = scene.process();
  await run(clock, other.session.forget());
  await clock.advance(1_000);
  const login = await scene.fake.issueTokens({ client });
  await other.manager.save(client, { subject: "ada" }, login);
  const { loginAt } = store.stored() ?? {};
  // this process takes over the new login
  await clock.advance(31_000);
  await session.getAccessToken();
  await clock.advance(0);
  expect(await session.getAccessToken()).toBe(login.accessToken);
  // and the new login's grant is found dead by the other process
  await store.put({ state: "reauthorization_required", cause: "refresh_token_dead", intent: undefined });
  await clock.advance(HOUR);
  const dead = await run(clock, session.getAccessToken());
  expect(store.stored()?.tokens?.accessToken).toBe(login.accessToken);
  expect(store.stored()?.loginAt).toBe(loginAt);
  expect(dead.error).toMatchObject({ code: "reauthorization_required" });
});

test("R-44 R-69 a store that can be read and not written: said so, and not asked over and over", async () => {
  const scene = await lostAndBuried();
  const { clock, store, session } = scene;
  store.fail("tokens", Infinity);
  const asked = store.steps.length;
  const token = follow(session.getAccessToken());
  await clock.advance(0);
  for (let i = 0; i < 500; i++) await clock.advance(1);
  expect(store.steps.length - asked).toBeLessThan(40);
  expect(token.error).toMatchObject({ code: "store_unavailable" });
});

test("R-41 a login elsewhere comes before the tokens that lost are written: it is adopted, not refreshed", async () => {
  const scene = await lostAndBuried();
  const { clock, store, session, client } = scene;
  const held = store.hold("tokens", "before");
  const token = follow(session.getAccessToken());
  await clock.advance(0);
  await held.reached;
  const other = scene.process();
  const login = await scene.fake.issueTokens({ client });
  await other.manager.save(client, { subject: "ada" }, login);
  const before = scene.refreshes().length;
  held.open();
  for (let i = 0; i < 20 && token.state === "pending"; i++) await clock.advance(100);
  expect(scene.refreshes().length - before).toBe(0);
  expect(token.value).toBe(login.accessToken);
});

test("R-44 a job tries the tokens that lost, too", async () => {
  const scene = await lostAndBuried();
  const { clock, manager, session } = scene;
  const status = await run(clock, manager.refresh(session.key));
  expect(status.value).toMatchObject({ state: "active" });
});
