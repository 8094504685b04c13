import { expect, test } from "vitest";
import { HOUR, follow, openScene, run } from "./scene.ts";

test("R-64 a thousand callers of a session that was never read are one read of the store", async () => {
  const scene = await openScene();
  const { session } = scene.process();
  const before = scene.store.steps.length;
  const calls = Promise.all(Array.from({ length: 1_000 }, () => session.getAccessToken()));
  expect(new Set((await run(scene.clock, calls)).value)).toEqual(new Set([scene.login.accessToken]));
  expect(scene.store.steps.slice(before)).toEqual(["read"]);
});

test("R-64 the same for one whose token has ended: two more reads and one refresh", async () => {
  const scene = await openScene();
  await scene.clock.advance(HOUR);
  const { session } = scene.process();
  const before = scene.store.steps.length;
  const calls = Promise.all(Array.from({ length: 1_000 }, () => session.getAccessToken()));
  expect(new Set((await run(scene.clock, calls)).value).size).toBe(1);
  expect(scene.store.steps.slice(before).filter((step) => step === "read")).toHaveLength(3);
  expect(scene.refreshes()).toHaveLength(1);
});

test("R-46 a first read that fails, fails for all who waited for it, and the next one asks again", async () => {
  const scene = await openScene();
  const { session } = scene.process();
  scene.store.fail("read", 1);
  const calls = Promise.allSettled(Array.from({ length: 3 }, () => session.getAccessToken()));
  const outcomes = (await run(scene.clock, calls)).value ?? [];
  expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
  expect((await run(scene.clock, session.getAccessToken())).value).toBe(scene.login.accessToken);
});

test("R-46 a first read that fails is no error for who has a token by then, from a login meanwhile", async () => {
  const scene = await openScene();
  const { manager, session } = scene.process();
  scene.store.hang("read");
  const abort = new AbortController();
  const call = follow(session.getAccessToken());
  const aborted = follow(session.getAccessToken({ signal: abort.signal }));
  const tokens = await scene.fake.issueTokens({ client: scene.client });
  await run(scene.clock, manager.save(scene.client, { subject: "ada" }, tokens));
  expect(call.state).toBe("pending");
  abort.abort("no more");
  await run(scene.clock, Promise.all([call.promise, aborted.promise]));
  expect(call.value).toBe(tokens.accessToken);
  expect(aborted.error).toBe("no more");
});
