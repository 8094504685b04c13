// What a token that is fresh costs: one look at the clock, and nothing else. How long that takes is for `npm run bench -- hot-path`.
import { expect, test } from "vitest";
import { TokenManager, memoryStore } from "warehouse-oauth";
import type { Clock, TokenSession, TokenStore } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { SECOND, acmeServer, storeWith, thrownBy } from "./acme-room.ts";

interface Scene {
  readonly clock: ManualClock;
  readonly manager: TokenManager;
  readonly session: TokenSession;
  /** How often the wall clock is asked while a token is. */
  readonly looks: () => Promise<number>;
}

/** A token of 600 s, which is stale after 480 s and a tenth of the lead to either side. */
async function scene(storeOf: (clock: Clock) => TokenStore): Promise<Scene> {
  const clock = manualClock();
  let looks = 0;
  const counted: Clock = {
    now: () => {
      looks += 1;
      return clock.now();
    },
    monotonic: () => clock.monotonic(),
    setTimer: (...timer) => clock.setTimer(...timer),
  };
  const manager = new TokenManager({ clock: counted, random: () => 0.5, store: storeOf(clock) });
  const server = acmeServer(counted);
  const session = await manager.save(server.client, { subject: "ada" }, server.tokens());
  return {
    clock,
    manager,
    session,
    looks: async () => {
      looks = 0;
      const token = session.getAccessToken();
      const asked = looks;
      expect(await token).toBe("access-0");
      await clock.advance(0);
      return asked;
    },
  };
}

test("with a store of this process alone: one look at the clock until the token is stale", async () => {
  const { clock, looks } = await scene((inner) => memoryStore({ clock: inner }));
  for (const seconds of [0, 29, 1, 200, 200]) {
    await clock.advance(seconds * SECOND);
    expect(await looks()).toBe(1);
  }
  await clock.advance(80 * SECOND);
  expect(await looks()).toBeGreaterThan(1);
});

test("with a shared store: one look for 30 s, then the store is looked at, then one again", async () => {
  const { clock, looks } = await scene(storeWith);
  for (let round = 0; round < 3; round++) {
    expect(await looks()).toBe(1);
    await clock.advance(30 * SECOND - 1);
    expect(await looks()).toBe(1);
    await clock.advance(1);
    expect(await looks()).toBeGreaterThan(1);
  }
});

test("while a slow store is looked at, the copy goes on for another 30 s", async () => {
  let isSlow = false;
  const { clock, looks } = await scene((inner) => {
    const store = memoryStore({ clock: inner });
    return storeWith(
      inner,
      { read: (...read) => (isSlow ? new Promise(() => undefined) : store.read(...read)) },
      store,
    );
  });
  isSlow = true;
  await clock.advance(30 * SECOND);
  expect(await looks()).toBeGreaterThan(1);
  expect(await looks()).toBe(1);
});

test("R-60 a clock that was set back by less than a second makes no difference, by more it does", async () => {
  const { clock, looks } = await scene(storeWith);
  clock.jump(-500);
  expect(await looks()).toBe(1);
  clock.jump(-2 * SECOND);
  expect(await looks()).toBeGreaterThan(1);
});

test("R-11 after a close nothing is handed out, not even what is fresh", async () => {
  const { manager, session, looks } = await scene(storeWith);
  expect(await looks()).toBe(1);
  await manager.close();
  expect(await thrownBy(() => session.getAccessToken())).toMatchObject({ code: "manager_closed" });
});
