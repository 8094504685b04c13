// The event `expiring`: requirement S-073.
import { TokenManager, clientCredentials, createClient, defineWarehouse } from "warehouse-oauth";
import type { OAuthClient, SessionEvent } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import { expect, test } from "vitest";
import { DAY, acmeServer, eventsOf, storeWith, success } from "./acme-room.ts";
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
