// The event `expiring`: requirement S-073.
import { TokenManager, clientCredentials, createClient, defineWarehouse } from "warehouse-oauth";
import type { OAuthClient, SessionEvent } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import { expect, test } from "vitest";
import { EndingNotices } from "../../src/session/ending-notices.ts";
import type { SessionEntry } from "../../src/session/session-entry.ts";
import { SessionFreshness } from "../../src/session/session-freshness.ts";
import { DAY, acmeServer, entryOf, eventsOf, storeWith, success } from "./acme-room.ts";
import { HOUR, openScene, run } from "./scene.ts";

test("S-073 the end of the refresh token is told when it is near", async () => {
  const scene = await openScene({ warehouse: "snowflake" });
  const { refreshExpiresAt } = scene.login;
  expect(refreshExpiresAt).toBeDefined();
  const early = scene.heard().filter((type) => type === "expiring");
  expect(early).toEqual([]);
  await scene.clock.advance((refreshExpiresAt ?? 0) - scene.clock.now() - 24 * HOUR);
  await run(scene.clock, scene.session.getAccessToken());
  const told = (): SessionEvent[] => scene.events.filter(({ type }) => type === "expiring");
  expect(told()).toMatchObject([{ what: "refresh_token", endsAt: refreshExpiresAt }]);
  await run(scene.clock, scene.session.refresh());
  expect(told()).toHaveLength(1);
});

test("S-073 it is told by a process that reads the session for the first time, once", async () => {
  const scene = await openScene({ warehouse: "snowflake" });
  await scene.clock.advance(89 * 24 * HOUR);
  const { manager, session } = scene.process();
  const told: SessionEvent[] = [];
  manager.on("expiring", (event) => told.push(event));
  await run(scene.clock, session.status());
  await run(scene.clock, session.refresh());
  expect(told).toMatchObject([{ what: "refresh_token", endsAt: scene.login.refreshExpiresAt }]);
});

test("S-073 a refresh token that each refresh prolongs by a day does not end, however long ago the login was", async () => {
  const scene = await openScene();
  const prolong = async (request: Request): Promise<Response> => {
    const answer = (await (await scene.fake.fetch(request)).json()) as object;
    return Response.json({ ...answer, refresh_token_expires_in: 86_400 });
  };
  for (let day = 0; day < 30; day++) {
    scene.answers.push(prolong);
    await run(scene.clock, scene.session.refresh());
    await scene.clock.advance(23 * HOUR);
  }
  scene.answers.push(prolong);
  await run(scene.clock, scene.session.refresh());
  expect(scene.refreshes()).toHaveLength(31);
  expect(scene.heard()).not.toContain("expiring");

  const restarted = scene.process();
  const told: SessionEvent[] = [];
  restarted.manager.on("expiring", (event) => told.push(event));
  await run(scene.clock, restarted.session.getAccessToken());
  expect(told).toEqual([]);
  await scene.clock.advance(23 * HOUR);
  scene.answers.push(() => Response.json({}, { status: 503 }));
  const last = scene.process();
  last.manager.on("expiring", (event) => told.push(event));
  await run(scene.clock, last.session.status());
  expect(told).toMatchObject([{ what: "refresh_token" }]);
});

test("S-073 what is obtained without a person begins anew each time: no end of a login", async () => {
  const scene = await openScene();
  const warehouse = defineWarehouse({ ...scene.fake.warehouse, absoluteSessionLifetimeMs: 24 * HOUR });
  const { clientId } = scene.fake.register({ clientSecret: "job" });
  const client = createClient({
    warehouse,
    clientId,
    clientSecret: "job",
    clock: scene.clock,
    fetch: scene.fake.fetch,
  });
  const job = scene.manager.session(client as OAuthClient, { subject: "job" }, { obtain: clientCredentials });
  for (let hour = 0; hour < 30; hour++) {
    await run(scene.clock, job.getAccessToken());
    await scene.clock.advance(HOUR);
  }
  await run(scene.clock, job.getAccessToken());
  expect(scene.heard()).not.toContain("expiring");
  const { absoluteExpiresAt } = (await job.status()) as { absoluteExpiresAt?: number };
  expect(absoluteExpiresAt).toBeGreaterThan(scene.clock.now() + 23 * HOUR);
});

test.each([
  ["as the warehouse says", { refreshExtends: "never" }],
  ["as nobody says", {}],
] as const)("S-073 an end that no refresh moves, %s, is told by whoever reads the session", async (_, definition) => {
  const clock = manualClock();
  const store = storeWith(clock);
  const server = acmeServer(clock, definition);
  const endsAt = clock.now() + 10 * DAY;
  server.answer = () => success("access-1", { refresh_token_expires_in: (endsAt - clock.now()) / 1_000 });
  const session = await new TokenManager({ clock, store }).save(
    server.client,
    { subject: "ada" },
    server.tokens({ refreshExpiresAt: endsAt }),
  );
  await clock.advance(9 * DAY);
  await session.refresh();

  const restarted = new TokenManager({ clock, store });
  const events = eventsOf(restarted);
  await restarted.session(server.client, { subject: "ada" }).status();
  expect(events).toMatchObject([{ type: "expiring", what: "refresh_token", endsAt }]);
});

test("S-073 an end that the server counts down in whole seconds is one, told once, also by who comes back into memory", async () => {
  const clock = manualClock();
  const server = acmeServer(clock, { refreshExtends: "never" });
  const endsAt = clock.now() + 2 * DAY + 500;
  server.answer = (_, index) =>
    success(`access-${String(index)}`, { refresh_token_expires_in: Math.floor((endsAt - clock.now()) / 1_000) });
  const manager = new TokenManager({ clock, random: () => 0.5, store: storeWith(clock) });
  const events = eventsOf(manager);
  const told = (): SessionEvent[] => events.filter(({ type }) => type === "expiring");
  manager.start();
  const tokens = server.tokens({ refreshExpiresAt: endsAt });
  const session = await manager.save(server.client, { subject: "ada" }, tokens);
  const useFor = async (durationMs: number): Promise<void> => {
    for (let passedMs = 0; passedMs < durationMs; passedMs += 0.5 * HOUR) {
      await run(clock, session.getAccessToken());
      await clock.advance(0.5 * HOUR);
    }
  };
  await useFor(43 * HOUR);
  expect(told()).toEqual([]);
  await useFor(1 * HOUR);
  expect(told()).toMatchObject([{ what: "refresh_token" }]);
  for (let visit = 0; visit < 2; visit++) {
    await clock.advance(1.3 * HOUR);
    expect(session.peek()).toBeUndefined(); // it had left memory
    await run(clock, session.getAccessToken());
  }
  expect(told()).toHaveLength(1);
});

test("S-073 another end is told, too", async () => {
  const clock = manualClock();
  const server = acmeServer(clock, { refreshExtends: "never" });
  const manager = new TokenManager({ clock });
  const events = eventsOf(manager);
  for (let login = 0; login < 2; login++) {
    const refreshExpiresAt = clock.now() + 10 * DAY;
    const tokens = server.tokens({ refreshExpiresAt });
    const session = await manager.save(server.client, { subject: "ada" }, tokens);
    await clock.advance(9.5 * DAY);
    await run(clock, session.refresh());
    expect(events.filter(({ type }) => type === "expiring")).toHaveLength(login + 1);
    expect(events.findLast(({ type }) => type === "expiring")).toMatchObject({ endsAt: refreshExpiresAt });
  }
});

test("S-073 what is remembered of sessions that left memory is bounded: the last ten thousand", () => {
  const clock = manualClock();
  const server = acmeServer(clock);
  const freshness = new SessionFreshness(clock, {}, () => "80000000", true);
  const tokens = server.tokens({ obtainedAt: clock.now() - 10 * DAY, refreshExpiresAt: clock.now() + HOUR });
  const notices = new EndingNotices(freshness);
  const toldOf = (entry: SessionEntry): number => notices.take(entry, undefined).length;
  const ada = entryOf(server.client, tokens, "ada");
  expect(toldOf(ada)).toBe(1);
  for (let n = 0; n < 9_999; n++) toldOf(entryOf(server.client, tokens, `user-${String(n)}`));
  expect(toldOf(entryOf(server.client, tokens, "ada"))).toBe(0);
  // That made hers the last of all.
  for (let n = 0; n < 9_999; n++) toldOf(entryOf(server.client, tokens, `other-${String(n)}`));
  expect(toldOf(entryOf(server.client, tokens, "ada"))).toBe(0);
  for (let n = 0; n < 10_000; n++) toldOf(entryOf(server.client, tokens, `third-${String(n)}`));
  expect(toldOf(ada)).toBe(0); // she is still in memory
  for (let n = 0; n < 10_000; n++) toldOf(entryOf(server.client, tokens, `fourth-${String(n)}`));
  expect(toldOf(entryOf(server.client, tokens, "ada"))).toBe(1);
});
