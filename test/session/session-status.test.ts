// How a session stands: DESIGN 5 (SessionStatus), requirements.
import { beforeEach, describe, expect, test } from "vitest";
import { StoreError, TokenManager, memoryStore } from "warehouse-oauth";
import type { TokenSession, TokenSet, TokenStore } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { DAY, HOUR, MINUTE, SECOND, acmeServer, eventsOf, refused, storeWith, success, thrownBy } from "./acme-room.ts";
import type { AcmeServer } from "./acme-room.ts";

let clock: ManualClock;
let server: AcmeServer;
let manager: TokenManager;

beforeEach(() => {
  clock = manualClock();
  server = acmeServer(clock, { absoluteSessionLifetimeMs: DAY, defaultScopes: ["sql", "admin"] });
  manager = new TokenManager({ clock, random: () => 0.5 });
});

const login = (changes: Parameters<AcmeServer["tokens"]>[0] = {}): Promise<TokenSession> =>
  manager.save(server.client, { subject: "ada" }, server.tokens(changes));

describe("status", () => {
  test("absent: nobody signed in, and nothing was asked of the server", async () => {
    expect(await manager.session(server.client, { subject: "ada" }).status()).toEqual({ state: "absent" });
    expect(server.calls).toEqual([]);
  });

  test("active: with every end and scope, and no token", async () => {
    const session = await login({ refreshExpiresAt: clock.now() + 9 * HOUR });
    const status = await session.status();
    expect(status).toEqual({
      state: "active",
      cause: undefined,
      expiresAt: clock.now() + 600_000,
      refreshExpiresAt: clock.now() + 9 * HOUR,
      absoluteExpiresAt: clock.now() + DAY,
      grantedScopes: ["sql"],
      missingScopes: ["admin"],
      generation: 1,
      nextRefreshAt: expect.closeTo(clock.now() + 480_000, -5) as number,
    });
    expect(await session.status()).toMatchObject({ nextRefreshAt: expect.toSatisfy(Number.isInteger) as number });
    expect(JSON.stringify(status)).not.toMatch(/access-0|refresh-0/);
  });

  test("what is not known is undefined", async () => {
    const plain = acmeServer(clock);
    const session = await manager.save(
      plain.client,
      { subject: "ada" },
      plain.tokens({ expiresAt: undefined } as never),
    );
    expect(await session.status()).toMatchObject({
      state: "active",
      expiresAt: undefined,
      refreshExpiresAt: undefined,
      absoluteExpiresAt: undefined,
    });
  });

  test("refreshing, then active again with the next generation", async () => {
    const session = await login();
    let answer: (response: Response) => void = () => undefined;
    server.answer = () => new Promise((resolve) => (answer = resolve));
    const refreshing = session.refresh();
    await clock.advance(0);
    expect((await session.status()).state).toBe("refreshing");
    answer(success("access-1"));
    await refreshing;
    expect(await session.status()).toMatchObject({ state: "active", generation: 2 });
  });

  test("R-12 degraded with its cause, while tries follow; refreshing during one; active after one that succeeds", async () => {
    const session = await login();
    manager.start();
    server.answer = () => refused("temporarily_unavailable", 503);
    await clock.advance(495 * SECOND);
    expect(await session.status()).toMatchObject({ state: "degraded", cause: "server_unavailable", generation: 1 });
    server.answer = () => success("access-new");
    await clock.advance(MINUTE);
    expect(await session.status()).toMatchObject({ state: "active", cause: undefined, generation: 2 });
  });

  test("a refresh that was only put off is no trouble", async () => {
    const store = storeWith(clock, { lease: () => Promise.resolve(undefined) });
    manager = new TokenManager({ clock, random: () => 0.5, store });
    const session = await login();
    await clock.advance(500 * SECOND);
    await session.getAccessToken();
    await clock.advance(SECOND);
    expect(await session.status()).toMatchObject({ state: "active", cause: undefined });
  });

  test("S-044 tokens of another connection are none: a person must sign in", async () => {
    const store = memoryStore({ clock });
    const there = new TokenManager({ clock, store, random: () => 0.5 });
    const { key } = await there.save(server.client, { subject: "ada" }, server.tokens());
    const read = await store.read(key, {});
    const value = (read?.record.value ?? "").replace(`"connectionId":"`, `"connectionId":"another-`);
    await store.write(key, { value }, { ifVersion: read?.version });
    const session = new TokenManager({ clock, store, random: () => 0.5 }).session(server.client, { subject: "ada" });
    expect(await session.status()).toEqual({
      state: "reauthorization_required",
      cause: "connection_changed",
      generation: 1,
    });
    // Signing out deletes them here, and sends them nowhere.
    expect(await session.revoke()).toMatchObject({ refreshToken: "absent", accessToken: "absent" });
    expect(await session.status()).toEqual({ state: "revoked" });
    expect(server.calls).toEqual([]);
  });

  test("R-13 a job whose first tokens cannot be had says why, refreshes when asked, and is active then", async () => {
    let isDown = true;
    const obtain = (): Promise<TokenSet> =>
      isDown ? Promise.reject(new Error("vault down")) : Promise.resolve(server.tokens());
    const session = manager.session(server.client, { subject: "job" }, { obtain });
    await expect(session.getAccessToken()).rejects.toThrow("vault down");
    expect(await session.status()).toEqual({
      state: "degraded",
      cause: "config_invalid",
      expiresAt: undefined,
      refreshExpiresAt: undefined,
      absoluteExpiresAt: undefined,
      grantedScopes: [],
      missingScopes: [],
      generation: 0,
      nextRefreshAt: undefined,
    });
    isDown = false;
    expect(await manager.refresh(session.key)).toMatchObject({ state: "active", generation: 1 });
  });

  test("S-045 asking for more time than there is degrades nobody who cannot be renewed", async () => {
    const session = await login({ refreshToken: undefined } as never);
    await clock.advance(400 * SECOND);
    expect(await session.getAccessToken({ minRemainingMs: HOUR })).toBe("access-0");
    expect(await session.status()).toMatchObject({ state: "active", cause: undefined });
  });

  test("S-077 a key that is gone: signed in until the token ends, and again when the key comes back", async () => {
    let isKeyThere = true;
    const inner = memoryStore({ clock });
    const read: TokenStore["read"] = (key, options) =>
      isKeyThere ? inner.read(key, options) : Promise.reject(new StoreError("unknown_key", "no such key", "read"));
    const store = storeWith(clock, { read }, inner);
    const warm = await new TokenManager({ clock, store, random: () => 0.5 }).save(
      server.client,
      { subject: "ada" },
      server.tokens(),
    );
    isKeyThere = false;
    const cold = new TokenManager({ clock, store, random: () => 0.5 }).session(server.client, { subject: "ada" });
    expect(await cold.status()).toEqual({ state: "reauthorization_required", cause: "key_removed", generation: 0 });
    expect(await warm.status()).toMatchObject({ state: "active" });
    await clock.advance(HOUR);
    expect(await thrownBy(() => warm.getAccessToken())).toMatchObject({ code: "unknown_key" });
    expect(await warm.status()).toEqual({ state: "reauthorization_required", cause: "key_removed", generation: 1 });
    isKeyThere = true;
    for (const session of [cold, warm]) {
      await session.getAccessToken();
      expect(await session.status()).toMatchObject({ state: "active", generation: 2 });
    }
    expect(server.calls).toHaveLength(1);
  });

  test.each([
    ["invalid_grant", "refresh_token_dead"],
    ["interaction_required", "interaction_required"],
  ])("R-13 %s: a person must sign in again, because %s", async (error, cause) => {
    const session = await login();
    server.answer = () => refused(error);
    await thrownBy(() => session.refresh());
    expect(await session.status()).toEqual({ state: "reauthorization_required", cause, generation: 1 });
  });

  test("the longest life of a login is over, to the millisecond", async () => {
    const events = eventsOf(manager);
    for (const [afterMs, cause] of [
      [DAY - 1, "refresh_token_dead"],
      [DAY, "absolute_lifetime_over"],
    ] as const) {
      server.answer = () => refused("invalid_grant");
      const session = await login({ obtainedAt: clock.now() - afterMs, expiresAt: clock.now() + HOUR });
      await thrownBy(() => session.refresh());
      expect(await session.status()).toMatchObject({ state: "reauthorization_required", cause });
    }
    await clock.advance(0);
    expect(events.filter(({ type }) => type === "reauthorization_required")).toHaveLength(2);
  });

  test("revoked after forget, and after a login active again", async () => {
    const session = await login();
    await session.forget();
    expect(await session.status()).toEqual({ state: "revoked" });
    await login();
    expect(await session.status()).toMatchObject({ state: "active", generation: 3 });
  });

  test("without a refresh token: active to its end, then a person is needed", async () => {
    const session = await login({ refreshToken: undefined } as never);
    await clock.advance(569_999);
    expect((await session.status()).state).toBe("active");
    await clock.advance(1);
    expect(await session.status()).toEqual({
      state: "reauthorization_required",
      cause: "refresh_token_absent",
      generation: 1,
    });
    await clock.advance(MINUTE);
    expect(await thrownBy(() => session.getAccessToken())).toMatchObject({ reason: "refresh_token_absent" });
    expect(server.calls).toEqual([]);
  });

  test("expired with a refresh token is active still: the next caller refreshes", async () => {
    const session = await login();
    await clock.advance(HOUR);
    expect((await session.status()).state).toBe("active");
    expect(server.calls).toEqual([]);
  });

  test("an aborted signal asks nothing", async () => {
    const session = manager.session(server.client, { subject: "ada" });
    expect(await thrownBy(() => session.status({ signal: AbortSignal.abort("no") }))).toBe("no");
  });
});
