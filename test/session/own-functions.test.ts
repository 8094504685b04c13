// Functions of the application: they are slow, and fail, and nothing was sent by then. Requirements.
import { beforeEach, describe, expect, test, vi } from "vitest";
import { TokenManager, memoryStore } from "warehouse-oauth";
import type { OAuthClient, TokenSession, TokenStore } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { parseRecord } from "../../src/session/record.ts";
import { MINUTE, SECOND, acmeServer, eventsOf, refused, storeWith, success } from "./acme-room.ts";
import type { AcmeServer } from "./acme-room.ts";
import { follow, gate } from "./scene.ts";

let clock: ManualClock;
let server: AcmeServer;
let inner: TokenStore;

beforeEach(() => {
  clock = manualClock();
  server = acmeServer(clock, { refreshRotation: "single-use" });
  server.answer = (_call, n) => success(`access-${String(n)}`, { refresh_token: `refresh-${String(n)}` });
  inner = memoryStore({ clock });
});

const open = (changes: Partial<TokenStore> = {}): TokenManager =>
  new TokenManager({ clock, random: () => 0.5, leaseTtlMs: 6_000, store: storeWith(clock, changes, inner) });

/** A session whose token has ended, of a client that gets its secret from a function. */
async function ended(manager: TokenManager, clientSecret: () => string | Promise<string>): Promise<TokenSession> {
  const client: OAuthClient = server.register("vault-client", { clientSecret });
  const tokens = server.tokens({ connectionId: client.connectionId });
  const session = await manager.save(client, { subject: "ada" }, tokens);
  await clock.advance(600 * SECOND);
  return session;
}

const stored = async ({ key }: TokenSession): Promise<ReturnType<typeof parseRecord>> => {
  const found = await inner.read(key, { signal: new AbortController().signal });
  return parseRecord(found?.record.value ?? "");
};

describe("a secret that cannot be had", () => {
  test("R-20 R-21 nothing was sent, however often it is tried: no lost answer, no rest", async () => {
    let isSealed = true;
    const manager = open();
    const events = eventsOf(manager);
    const session = await ended(manager, () => {
      if (isSealed) throw new Error("vault sealed");
      return "secret";
    });
    for (let n = 0; n < 4; n++) {
      const caller = follow(session.getAccessToken());
      await clock.advance(SECOND);
      expect(caller.error).toEqual(new Error("vault sealed"));
    }
    expect(server.calls).toEqual([]);
    expect((await stored(session)).intent).toBeUndefined();
    expect(await session.status()).toMatchObject({ state: "degraded", cause: "config_invalid" });
    const failures = events.filter(({ type }) => type === "refresh_failed");
    expect(failures.map((event) => "code" in event && event.code)).toEqual(Array<string>(4).fill("config_invalid"));

    isSealed = false;
    const healed = follow(session.getAccessToken());
    await clock.advance(1);
    expect(healed.value).toBe("access-1");
    expect((await session.status()).state).toBe("active");
  });

  test("without rotation there is nothing to take back: the store is not written to", async () => {
    const still = acmeServer(clock);
    const write = vi.fn<TokenStore["write"]>((key, record, options) => inner.write(key, record, options));
    const client = still.register("vault-client", { clientSecret: () => Promise.reject(new Error("vault sealed")) });
    const tokens = still.tokens({ connectionId: client.connectionId });
    const session = await open({ write }).save(client, { subject: "ada" }, tokens);
    await clock.advance(600 * SECOND);
    const caller = follow(session.getAccessToken());
    await clock.advance(SECOND);
    expect(caller.error).toEqual(new Error("vault sealed"));
    expect(write).toHaveBeenCalledTimes(1); // the login
  });

  test("R-12 R-22 a refresh token that is found dead after it is dead, and not lost", async () => {
    let isSealed = true;
    const manager = open();
    const session = await ended(manager, () => {
      if (isSealed) throw new Error("vault sealed");
      return "secret";
    });
    manager.start();
    await clock.advance(10 * MINUTE);
    expect(server.calls).toEqual([]);
    isSealed = false;
    server.answer = () => refused("invalid_grant");
    const caller = follow(session.getAccessToken());
    await clock.advance(5 * SECOND);
    expect(caller.error).toMatchObject({ reason: "refresh_token_dead" });
  });
});

describe("a secret that takes its time", () => {
  test("R-67 the lease went to another process meanwhile: nothing is sent twice", async () => {
    let isLost = false;
    const lease: TokenStore["lease"] = async (key, options) => {
      const got = await inner.lease?.(key, options);
      const renew = async (ttlMs: number): Promise<boolean> => {
        if (!isLost) return (await got?.renew(ttlMs)) === true;
        await got?.release();
        return false;
      };
      return got && { renew, release: () => got.release() };
    };
    const slow = gate();
    const first = open({ lease });
    const session = await ended(first, async () => {
      await slow.until;
      return "secret";
    });
    isLost = true;
    const caller = follow(session.getAccessToken());
    await clock.advance(3 * SECOND); // it is renewed after a third of its time
    isLost = false;
    const quick = server.register("vault-client", { clientSecret: () => "secret" });
    const other = follow(open().session(quick, { subject: "ada" }).getAccessToken());
    await clock.advance(SECOND);
    slow.open();
    await clock.advance(3 * SECOND);
    expect(other.value).toBe("access-1");
    expect(caller.value).toBe("access-1");
    expect(server.calls.map(({ refreshToken }) => refreshToken)).toEqual(["refresh-0"]);
  });

  test("S-047 a logout meanwhile: nothing is sent", async () => {
    const slow = gate();
    const session = await ended(open(), async () => {
      await slow.until;
      return "secret";
    });
    const caller = follow(session.getAccessToken());
    await clock.advance(SECOND);
    await session.forget();
    slow.open();
    await clock.advance(SECOND);
    expect(caller.error).toMatchObject({ code: "reauthorization_required" });
    expect(server.calls).toEqual([]);
  });

  test("R-11 close meanwhile: nothing is sent, and nothing is left announced", async () => {
    const slow = gate();
    const manager = open();
    const session = await ended(manager, async () => {
      await slow.until;
      return "secret";
    });
    const caller = follow(session.getAccessToken());
    await clock.advance(SECOND);
    const closed = follow(manager.close());
    slow.open();
    await clock.advance(SECOND);
    expect(caller.error).toMatchObject({ code: "manager_closed" });
    expect(closed.value).toEqual({ unsaved: [] });
    expect(server.calls).toEqual([]);
    expect((await stored(session)).intent).toBeUndefined();
  });
});

test("R-02 a lead time that throws is the default one: what came is saved and handed out", async () => {
  const leadTimeMs = (lifetimeMs: number): number => {
    if (lifetimeMs === 600_000) return 60_000;
    throw new Error("no such lifetime");
  };
  const manager = new TokenManager({ clock, store: storeWith(clock, {}, inner), refresh: { leadTimeMs } });
  const session = await manager.save(server.client, { subject: "ada" }, server.tokens());
  await clock.advance(600 * SECOND);
  server.answer = () => success("access-1", { refresh_token: "refresh-1", expires_in: 900 });
  const caller = follow(session.getAccessToken());
  await clock.advance(1);
  expect(caller.value).toBe("access-1");
  expect((await stored(session)).tokens?.refreshToken).toBe("refresh-1");
  expect(await manager.close()).toEqual({ unsaved: [] });
});
