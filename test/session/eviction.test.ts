// Sessions that leave memory when nobody uses them, and their handles, which do not.
import { expect, test } from "vitest";
import { HOUR, follow, issuedAt, openScene, run } from "./scene.ts";

test("an idle session leaves memory; its handle comes back, with what the store has", async () => {
  const scene = await openScene();
  scene.manager.start();
  await scene.clock.advance(5 * HOUR);
  const other = scene.process();
  const theirs = await run(scene.clock, other.session.getAccessToken());
  expect((await run(scene.clock, scene.session.getAccessToken())).value).toBe(theirs.value);
  expect((await scene.session.status()).state).toBe("active");
});

test("S-047 a handle from before the eviction gives out nothing after a logout through another", async () => {
  const scene = await openScene({ durable: false, accessTokenLifetimeMs: 24 * HOUR });
  await scene.clock.advance(2 * HOUR);
  for (let user = 0; user < 5; user++) scene.manager.session(scene.client, { subject: `user-${String(user)}` });
  const fresh = scene.manager.session(scene.client, { subject: "ada" });
  await fresh.forget();
  expect(scene.session.peek()).toBeUndefined();
  const token = await run(scene.clock, scene.session.getAccessToken());
  expect(token.error).toMatchObject({ code: "reauthorization_required" });
});

for (const started of [true, false]) {
  test(`R-24 tokens that are not saved keep their session in memory, ${started ? "started" : "stopped"}`, async () => {
    const scene = await openScene({ manager: { refresh: { idleMs: 60_000 } } });
    if (started) scene.manager.start();
    await scene.clock.advance(HOUR);
    scene.store.fail("tokens", Infinity);
    await run(scene.clock, scene.session.getAccessToken());
    for (let user = 0; user < 20; user++) {
      await scene.clock.advance(61_000);
      scene.manager.session(scene.client, { subject: `user-${String(user)}` });
    }
    expect(scene.session.peek()).toBe(issuedAt(scene, 1).access_token);
    expect(await scene.manager.close()).toEqual({ unsaved: [scene.session.key] });
  });
}

test("R-24 what no store would take is saved once one does, however long nobody used it", async () => {
  const scene = await openScene({ manager: { refresh: { idleMs: 60_000 } } });
  scene.manager.start();
  await scene.clock.advance(HOUR);
  scene.store.fail("tokens", Infinity);
  await run(scene.clock, scene.session.getAccessToken());
  await scene.clock.advance(300_000);
  for (let user = 0; user < 5; user++) scene.manager.session(scene.client, { subject: `user-${String(user)}` });
  scene.store.heal();
  await scene.clock.advance(60_000);
  expect(scene.store.stored()?.tokens?.refreshToken).toBe(issuedAt(scene, 1).refresh_token);
  expect(await scene.manager.close()).toEqual({ unsaved: [] });
});

test("S-047 a status that was read while its session left memory brings nothing back", async () => {
  const scene = await openScene({ accessTokenLifetimeMs: 24 * HOUR });
  await scene.clock.advance(2 * HOUR);
  const reading = scene.store.hold("read");
  const status = follow(scene.session.status());
  await reading.reached;
  for (let user = 0; user < 5; user++) scene.manager.session(scene.client, { subject: `user-${String(user)}` });
  const fresh = scene.manager.session(scene.client, { subject: "ada" });
  reading.open();
  await status.promise;
  expect(status.value).toMatchObject({ state: "active" });
  await fresh.forget();
  expect(scene.session.peek()).toBeUndefined();
});

for (const [name, failures, unsaved, generation] of [
  ["close says what could not be saved", Infinity, 1, 1],
  ["close saves it", 1, 0, 2],
] as const) {
  test(`R-24 R-11 a job refreshes a session that leaves memory while it is read: ${name}`, async () => {
    const scene = await openScene();
    await scene.clock.advance(2 * HOUR);
    const reading = scene.store.hold("read");
    const job = follow(scene.manager.refresh(scene.session.key));
    await reading.reached;
    for (let user = 0; user < 5; user++) scene.manager.session(scene.client, { subject: `user-${String(user)}` });
    scene.store.fail("tokens", failures);
    reading.open();
    await scene.clock.advance(0);
    await job.promise;
    expect(scene.refreshes()).toHaveLength(1);
    const closed = await run(scene.clock, scene.manager.close());
    expect(closed.value?.unsaved).toHaveLength(unsaved);
    expect(scene.store.stored()).toMatchObject({ generation });
  });
}

test("R-11 R-24 a session that left memory while it was read: what it could not save is named", async () => {
  const scene = await openScene();
  const { clock, store, client } = scene;
  const { manager, session } = scene.process();
  await clock.advance(HOUR);
  const reading = store.hold("read");
  const token = follow(session.getAccessToken());
  await clock.advance(0);
  await reading.reached;
  clock.jump(2 * HOUR); // the machine slept
  for (let user = 0; user < 5; user++) manager.session(client, { subject: `user-${String(user)}` });
  store.fail("tokens", Infinity);
  reading.open();
  await clock.advance(0);
  expect(token.state).toBe("fulfilled");
  const closed = await run(clock, manager.close());
  expect(closed.value).toEqual({ unsaved: [session.key] });
});
