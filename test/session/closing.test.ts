// What `close` waits for and leaves behind: requirements.
import { beforeEach, describe, expect, test } from "vitest";
import { TokenManager, memoryStore } from "warehouse-oauth";
import type { TokenSession, TokenStore } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { HOUR, SECOND, acmeServer, storeWith, success } from "./acme-room.ts";
import type { AcmeServer } from "./acme-room.ts";
import { follow, gate } from "./scene.ts";

const { signal } = new AbortController();

let clock: ManualClock;
let server: AcmeServer;
let inner: TokenStore;

beforeEach(() => {
  clock = manualClock();
  server = acmeServer(clock, { refreshRotation: "single-use" });
  inner = memoryStore({ clock });
});

/** A manager, and a session of it whose token has ended and whose answer waits behind a gate. */
async function waiting(changes: Partial<TokenStore> = {}): Promise<{
  readonly manager: TokenManager;
  readonly session: TokenSession;
  readonly answer: () => void;
}> {
  const manager = new TokenManager({ clock, store: storeWith(clock, changes, inner) });
  const session = await manager.save(server.client, { subject: "ada" }, server.tokens());
  const answered = gate();
  server.answer = async () => {
    await answered.until;
    return success("access-1", { refresh_token: "refresh-1" });
  };
  await clock.advance(600 * SECOND);
  return { manager, session, answer: answered.open };
}

const isFree = async ({ key }: TokenSession): Promise<boolean> =>
  (await inner.lease?.(key, { ttlMs: SECOND, signal })) !== undefined;

describe("leases", () => {
  test("R-11 close waits until the lease is given back: a program may exit right after it", async () => {
    let isReleased = false;
    const lease: TokenStore["lease"] = async (key, options) => {
      const got = await inner.lease?.(key, options);
      const release = async (): Promise<void> => {
        await new Promise<void>((resolve) => clock.setTimer(resolve, 50));
        isReleased = true;
        await got?.release();
      };
      return got && { renew: (ttlMs) => got.renew(ttlMs), release };
    };
    const { manager, session, answer } = await waiting({ lease });
    const caller = follow(session.getAccessToken());
    await clock.advance(0);
    const closed = follow(manager.close());
    answer();
    await clock.advance(49);
    expect(caller.value).toBe("access-1");
    expect(closed.state).toBe("pending");
    await clock.advance(SECOND);
    expect(closed.value).toEqual({ unsaved: [] });
    expect(isReleased).toBe(true);
  });

  test("R-72 an answer after the drain that cannot be saved: its caller gets it, and the lease is given back", async () => {
    let isDown = false;
    const write: TokenStore["write"] = (key, record, options) =>
      isDown ? Promise.reject(new Error("down")) : inner.write(key, record, options);
    const { manager, session, answer } = await waiting({ write });
    const caller = follow(session.getAccessToken());
    await clock.advance(0);
    const closed = follow(manager.close({ drainMs: SECOND }));
    await clock.advance(2 * SECOND);
    expect(closed.value).toEqual({ unsaved: [] });
    isDown = true;
    answer();
    await clock.advance(0);
    expect(caller.value).toBe("access-1");
    await clock.advance(SECOND);
    expect(await isFree(session)).toBe(true);
  });
});

test("R-11 close while sessions of a process that is gone are taken up: asks for no client any more", async () => {
  const gone = new TokenManager({ clock, store: storeWith(clock, {}, inner) });
  for (let n = 0; n < 30; n++) {
    await gone.save(server.client, { subject: `user-${String(n)}` }, server.tokens());
  }
  await gone.close();
  await clock.advance(HOUR);
  let asked = 0;
  const manager = new TokenManager({
    clock,
    store: storeWith(clock, {}, inner),
    async resolveClient() {
      asked += 1;
      await new Promise<void>((resolve) => clock.setTimer(resolve, 100));
      return server.client;
    },
  });
  manager.start();
  await clock.advance(550);
  const before = asked;
  expect(before).toBeGreaterThan(2);
  expect(before).toBeLessThan(30);
  const closed = follow(manager.close());
  await clock.advance(0);
  expect(closed.value).toEqual({ unsaved: [] });
  await clock.advance(HOUR);
  expect(asked).toBe(before);
});

test.each([Number.NaN, -1])("R-11 a drain of %s ms is refused, and nothing is closed", async (drainMs) => {
  const { manager } = await waiting();
  await expect(manager.close({ drainMs })).rejects.toMatchObject({ code: "config_invalid", option: "drainMs" });
  manager.start();
  expect(await manager.close({ drainMs: 0 })).toEqual({ unsaved: [] });
});
