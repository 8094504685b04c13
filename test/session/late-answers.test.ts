// What a store answers after something newer came: requirements S-047, R-24, R-44, R-47, R-73.
import type { TokenSet } from "warehouse-oauth";
import { TokenManager } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { describe, expect, test } from "vitest";
import { SECOND, acmeServer, refused, storeWith, success } from "./acme-room.ts";
import { HOUR, follow, gate, issuedAt, openScene, run } from "./scene.ts";

/** Lets everything happen that needs no time. */
const settle = (clock: ManualClock): Promise<void> => clock.advance(0);

describe("a write that is done and not answered yet", () => {
  for (const way of ["forget", "revoke"] as const) {
    test(`S-047 R-73 ${way} between a save and its answer: nobody gets the token`, async () => {
      const scene = await openScene();
      const { clock, store, session } = scene;
      await clock.advance(HOUR);
      const saving = store.hold("tokens", "after");
      const caller = follow(session.getAccessToken());
      await saving.reached;
      await run(clock, session[way]() as Promise<unknown>, 1);
      saving.open();
      await settle(clock);
      expect(caller.error).toMatchObject({ code: "reauthorization_required" });
      expect(session.peek()).toBeUndefined();
      expect(scene.heard()).not.toContain("refresh_succeeded");
      expect(store.stored()?.state).toBe("revoked");
    });
  }

  test("R-73 a login between a save and its answer: everybody gets the login's token", async () => {
    const { clock, store, session, manager, client, fake } = await openScene();
    await clock.advance(HOUR);
    const saving = store.hold("tokens", "after");
    const caller = follow(session.getAccessToken());
    await saving.reached;
    const login = await fake.issueTokens({ client });
    await run(clock, manager.save(client, { subject: "ada" }, login), 1);
    saving.open();
    await settle(clock);
    expect(caller.value).toBe(login.accessToken);
    expect(session.peek()).toBe(login.accessToken);
  });

  test("S-047 a logout between the announcement and its answer: nothing is sent", async () => {
    const scene = await openScene();
    const { clock, store, session } = scene;
    await clock.advance(0.85 * HOUR);
    const announcing = store.hold("intent", "after");
    const refreshed = follow(session.refresh());
    await announcing.reached;
    await run(clock, session.forget(), 1);
    announcing.open();
    await run(clock, refreshed.promise);
    expect(refreshed.error).toMatchObject({ code: "reauthorization_required" });
    expect(scene.refreshes()).toEqual([]);
    expect(session.peek()).toBeUndefined();
  });

  test("R-73 a login between the end that is written and its answer: the login lives", async () => {
    const { clock, store, session, manager, client, fake, answers } = await openScene();
    await clock.advance(HOUR);
    answers.push(() => Response.json({ error: "invalid_grant" }, { status: 400 }));
    const ending = store.hold("dead", "after");
    const caller = follow(session.getAccessToken());
    await clock.advance(2 * SECOND);
    await ending.reached;
    const login = await fake.issueTokens({ client });
    await run(clock, manager.save(client, { subject: "ada" }, login), 1);
    ending.open();
    await run(clock, caller.promise);
    expect((await session.status()).state).toBe("active");
    expect(session.peek()).toBe(login.accessToken);
  });

  test("R-24 a late answer to a second try to save takes nothing back", async () => {
    const scene = await openScene();
    const { clock, store, session } = scene;
    await clock.advance(HOUR);
    store.fail("tokens", 1);
    await run(clock, session.getAccessToken(), 10);
    const again = store.hold("tokens", "after");
    await clock.advance(SECOND);
    await again.reached;
    await run(clock, session.refresh(), 10);
    again.open();
    await settle(clock);
    expect(session.peek()).toBe(issuedAt(scene, 2).access_token);
  });

  test("R-11 the first save outlives close, and the last fails: its caller gets what came, not what was before", async () => {
    const scene = await openScene();
    const { clock, store, session, manager } = scene;
    await clock.advance(HOUR);
    store.hang("tokens", 1);
    store.fail("tokens", 100);
    const caller = follow(session.getAccessToken());
    await settle(clock);
    const closing = follow(manager.close({ drainMs: 1 }));
    await clock.advance(6 * SECOND);
    expect(closing.value).toEqual({ unsaved: [session.key] });
    expect(caller.value).toBe(issuedAt(scene, 1).access_token);
    expect(scene.heard()).not.toContain("refresh_adopted");
  });

  test("R-07 a session that is taken off the list while it is used again keeps its version", async () => {
    const scene = await openScene();
    const { clock, store, session, manager, answers } = scene;
    manager.start();
    await clock.advance(61 * 60 * SECOND); // refreshed by itself once
    const leaving = store.hold("tokens", "after");
    await run(clock, leaving.reached, 30 * SECOND, HOUR); // nobody used it
    const answered = gate();
    answers.push(() => answered.until.then(() => undefined));
    const refreshed = follow(session.refresh());
    await settle(clock);
    leaving.open();
    await settle(clock);
    store.fail("tokens", 1);
    answered.open();
    await run(clock, refreshed.promise, 10);
    expect(session.peek()).toBe(scene.issued.at(-1)?.access_token);
  });
});

describe("R-40 a lease that is not given back", () => {
  test("holds nobody up: the tokens are saved", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.store.hang("release", 1);
    const caller = follow(scene.session.getAccessToken());
    await scene.clock.advance(SECOND);
    expect(caller.value).toBe(issuedAt(scene, 1).access_token);
  });
});

describe("another login that began to count anew", () => {
  /** A process that has seen three refreshes, and a login elsewhere over a record that was gone by then. */
  async function openReplaced(): Promise<{
    readonly clock: ManualClock;
    readonly server: ReturnType<typeof acmeServer>;
    readonly session: Awaited<ReturnType<TokenManager["save"]>>;
    readonly signIn: () => Promise<TokenSet>;
  }> {
    const clock = manualClock();
    const server = acmeServer(clock, { refreshRotation: "single-use" });
    server.answer = ({ refreshToken }, index) =>
      success(`access-${String(index)}`, { refresh_token: `${refreshToken}+` });
    const store = storeWith(clock);
    const open = (): TokenManager => new TokenManager({ clock, store, random: () => 0.5 });
    const session = await open().save(server.client, { subject: "ada" }, server.tokens());
    for (let refreshed = 0; refreshed < 3; refreshed++) await run(clock, session.refresh());
    return {
      clock,
      server,
      session,
      async signIn() {
        await clock.advance(SECOND);
        await store.delete(session.key, {});
        const tokens = server.tokens({ accessToken: "new", refreshToken: "new" });
        await open().save(server.client, { subject: "ada" }, tokens);
        return tokens;
      },
    };
  }

  test("R-47 is no copy that lags behind: its tokens are refreshed, and those of before never written over it", async () => {
    const { clock, server, session, signIn } = await openReplaced();
    await signIn();
    await run(clock, session.refresh());
    expect(server.calls.at(-1)?.refreshToken).toBe("new");
    expect(await session.status()).toMatchObject({ state: "active", generation: 5 });
  });

  test("R-44 while a refresh is in the air: the login wins, and the lease is free", async () => {
    const { clock, server, session, signIn } = await openReplaced();
    const answered = gate();
    server.answer = () => answered.until.then(() => success("late", { refresh_token: "late" }));
    const late = follow(session.refresh());
    await settle(clock);
    await signIn();
    answered.open();
    await run(clock, late.promise);
    expect(session.peek()).toBe("new");
    server.answer = () => success("next", { refresh_token: "next" });
    await run(clock, session.refresh());
    expect(server.calls.at(-1)?.refreshToken).toBe("new");
    expect(session.peek()).toBe("next");
  });
});

test("R-24 a login whose write is answered late lets go of nothing that was refreshed and not saved since", async () => {
  const scene = await openScene();
  const { clock, store, client, manager, session } = scene;
  await clock.advance(HOUR);
  const login = await scene.fake.issueTokens({ client });
  const late = store.hold("tokens", "after");
  const saving = follow(manager.save(client, { subject: "ada" }, login));
  await clock.advance(0);
  await late.reached;
  expect((await run(clock, session.getAccessToken(), 0, 0)).value).toBe(login.accessToken);
  store.fail("tokens", 1);
  const token = await run(clock, session.refresh(), 0, 0);
  expect(token.state).toBe("fulfilled");
  expect(scene.heard()).toContain("save_failed");
  late.open();
  await clock.advance(0);
  expect(saving.state).toBe("fulfilled");
  await clock.advance(60_000);
  expect(store.stored()?.tokens?.refreshToken).toBe(scene.issued.at(-1)?.refresh_token);
});

test("S-045 a late answer to a try to save changes nothing that was announced since", async () => {
  const scene = await openScene();
  const { clock, store, session } = scene;
  await clock.advance(HOUR);
  store.fail("tokens", 1);
  await run(clock, session.getAccessToken(), 0, 0);
  const late = store.hold("tokens", "after");
  await clock.advance(1_000);
  await late.reached;
  const answer = gate();
  scene.answers.push(async () => {
    await answer.until;
    return refused("invalid_scope", 400);
  });
  const refresh = follow(session.refresh());
  await clock.advance(0);
  expect(store.stored()?.intent).toBeDefined();
  late.open();
  await clock.advance(0);
  answer.open();
  await clock.advance(0);
  expect(refresh.state).toBe("rejected");
  expect(store.stored()?.intent).toBeUndefined();
});
