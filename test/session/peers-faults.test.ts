// What was measured at other packages ("Measured faults" of the peers, 2026-11-21), one test for each: here all of it works.
import { beforeEach, describe, expect, test } from "vitest";
import { TokenManager, exportTokens, importTokens, memoryStore, refreshTokens } from "warehouse-oauth";
import type { TokenManagerOptions, TokenSession } from "warehouse-oauth";
import { fakeDatabricks, fakeSnowflake, manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { DAY, MINUTE, SECOND, acmeServer, eventsOf, refused, storeWith, success } from "./acme-room.ts";
import type { AcmeServer } from "./acme-room.ts";

let clock: ManualClock;
let server: AcmeServer;

beforeEach(() => {
  clock = manualClock();
  server = acmeServer(clock, { refreshRotation: "unknown" });
});

const open = (options: TokenManagerOptions = {}): TokenManager =>
  new TokenManager({ clock, random: () => 0.5, ...options });

async function login(options: TokenManagerOptions = {}): Promise<TokenSession> {
  return open(options).save(server.client, { subject: "ada" }, server.tokens());
}

const sent = (): readonly string[] => server.calls.map(({ refreshToken }) => refreshToken);

describe("@databricks/sql 2.1.0", () => {
  test("R-40 8 parallel calls on an expired token, 20 ms token endpoint: 8 calls there, 1 here", async () => {
    const fake = fakeDatabricks({ clock, refreshRotation: "single-use" });
    const session = await open().save(fake.client, { subject: "ada" }, await fake.issueTokens());
    await clock.advance(60 * MINUTE);
    fake.fail({ at: "token", kind: "delay", delayMs: 20 });
    const asked = Promise.all(Array.from({ length: 8 }, () => session.getAccessToken()));
    await clock.advance(20);
    expect(new Set(await asked).size).toBe(1);
    expect(fake.requests.filter(({ grant }) => grant === "refresh_token")).toHaveLength(1);
    expect(fake.grants[0]).toMatchObject({ refreshes: 1, revoked: false });
  });

  test("S-043 an answer without refresh_token: throws there, keeps the old one here", async () => {
    const session = await login();
    await session.refresh();
    await session.refresh();
    expect(sent()).toEqual(["refresh-0", "refresh-0"]);
  });

  test("S-031 an opaque access token: throws there, is a token here", async () => {
    const session = await login();
    server.answer = () => success("opaque, not a JWT: ~!@#$%^&*()");
    await session.refresh();
    expect(await session.getAccessToken()).toBe("opaque, not a JWT: ~!@#$%^&*()");
  });

  test("R-02 a token with 1 s left: used as it is there, replaced first here", async () => {
    const session = await login();
    await clock.advance(599 * SECOND);
    expect(session.peek()).toBeUndefined();
    expect(await session.getAccessToken()).toBe("access-1");
  });
});

describe("snowflake-sdk 3.3.0", () => {
  test("R-21 ECONNRESET during a refresh: the refresh token is thrown away and a browser opened there; tried again here", async () => {
    const session = await login();
    server.answer = (_call, n) => {
      if (n === 1) throw Object.assign(new TypeError("fetch failed"), { cause: { code: "ECONNRESET" } });
      return success("access-2");
    };
    await clock.advance(10 * MINUTE);
    const asked = session.getAccessToken();
    await clock.advance(SECOND);
    expect(await asked).toBe("access-2");
    expect(sent()).toEqual(["refresh-0", "refresh-0"]);
    expect(await session.status()).toMatchObject({ state: "active" });
  });

  test("S-045 ECONNRESET for good: an error that says retry, never one that says sign in", async () => {
    const manager = open();
    const events = eventsOf(manager);
    const session = await manager.save(server.client, { subject: "ada" }, server.tokens());
    server.answer = () => {
      throw Object.assign(new TypeError("fetch failed"), { cause: { code: "ECONNRESET" } });
    };
    await clock.advance(10 * MINUTE);
    const failed = session.getAccessToken().catch((error: unknown) => error);
    await clock.advance(MINUTE);
    expect(await failed).toMatchObject({ code: "network_error", action: "retry" });
    expect(await session.status()).toMatchObject({ state: "degraded" });
    expect(events.map(({ type }) => type)).not.toContain("reauthorization_required");
    server.answer = () => success("access-again");
    expect(await session.getAccessToken()).toBe("access-again");
    expect(new Set(sent())).toEqual(new Set(["refresh-0"]));
  });

  test("R-40 4 parallel calls with a token that was refused: 4 calls there, 1 here", async () => {
    const fake = fakeSnowflake({ clock, refreshRotation: "single-use" });
    const session = await open().save(fake.client, { subject: "ada" }, await fake.issueTokens());
    const rejected = await session.getAccessToken();
    const tokens = await Promise.all(Array.from({ length: 4 }, () => session.getAccessToken({ rejected })));
    expect(new Set(tokens).size).toBe(1);
    expect(tokens[0]).not.toBe(rejected);
    expect(fake.requests.filter(({ grant }) => grant === "refresh_token")).toHaveLength(1);
    expect(fake.grants[0]?.revoked).toBe(false);
  });
});

describe("simple-oauth2 5.1.0, databricks-sdk-py 0.133, oidc-client-ts 3.5.0", () => {
  test("S-043 an answer without refresh_token leaves undefined there; the next refresh works here, from the store too", async () => {
    const inner = memoryStore({ clock });
    const session = await login({ store: storeWith(clock, {}, inner) });
    await session.refresh();
    const restarted = open({ store: storeWith(clock, {}, inner) }).session(server.client, { subject: "ada" });
    await restarted.refresh();
    expect(await restarted.getAccessToken()).toBe("access-2");
    expect(sent()).toEqual(["refresh-0", "refresh-0"]);
  });

  test("S-043 without a session as well: refreshTokens merges, and what is saved can be refreshed", async () => {
    const next = await refreshTokens(server.client, server.tokens());
    expect(next.refreshToken).toBe("refresh-0");
    const restored = importTokens(JSON.parse(JSON.stringify(exportTokens(next))));
    expect((await refreshTokens(server.client, restored)).accessToken).toBe("access-2");
  });

  test.each([null, "", 7])("S-031 refresh_token %j in an answer loses nothing either", async (refreshToken) => {
    const session = await login();
    server.answer = (_call, n) => success(`access-${String(n)}`, n === 1 ? { refresh_token: refreshToken } : {});
    const first = session.refresh().catch(() => undefined);
    await clock.advance(20 * SECOND);
    await first;
    server.answer = () => success("access-good");
    await clock.advance(10 * MINUTE);
    expect(await session.getAccessToken()).toBeDefined();
    expect(new Set(sent())).toEqual(new Set(["refresh-0"]));
  });
});

describe("google-auth-library 11.3.4", () => {
  test("S-043 rotation on each of 3 refreshes: RT1 is sent 3 times there, each once here", async () => {
    server.answer = (_call, n) => success(`access-${String(n)}`, { refresh_token: `refresh-${String(n)}` });
    const session = await login();
    for (let time = 0; time < 3; time++) await Promise.all([session.refresh(), clock.advance(SECOND)]);
    expect(sent()).toEqual(["refresh-0", "refresh-1", "refresh-2"]);
  });

  test("S-043 at a warehouse that is said not to rotate, and at one that stops rotating", async () => {
    server = acmeServer(clock, { refreshRotation: "none" });
    server.answer = (_call, n) =>
      success(`access-${String(n)}`, n <= 2 ? { refresh_token: `refresh-${String(n)}` } : {});
    const session = await login();
    for (let time = 0; time < 4; time++) await Promise.all([session.refresh(), clock.advance(SECOND)]);
    expect(sent()).toEqual(["refresh-0", "refresh-1", "refresh-2", "refresh-2"]);
  });
});

describe("@badgateway/oauth2-client 3.3.1", () => {
  test("R-03 503 on a refresh: a login there, patience here", async () => {
    const manager = open();
    const events = eventsOf(manager);
    const session = await manager.save(server.client, { subject: "ada" }, server.tokens());
    manager.start();
    server.answer = (_call, n) => (n < 4 ? refused("temporarily_unavailable", 503) : success("access-4"));
    for (let elapsed = 0; elapsed < 10; elapsed++) {
      await clock.advance(MINUTE);
      await session.getAccessToken();
    }
    expect(await session.getAccessToken()).not.toBe("access-0");
    const types = events.map(({ type }) => type);
    expect(types).toContain("refresh_failed");
    expect(types).not.toContain("reauthorization_required");
  });

  test("R-10 a restored 10-minute token: no timer there, refreshed in time here", async () => {
    const inner = memoryStore({ clock });
    await login({ store: storeWith(clock, {}, inner) });
    const restarted = open({ store: storeWith(clock, {}, inner) });
    const session = restarted.session(server.client, { subject: "ada" });
    restarted.start();
    await session.getAccessToken();
    await clock.advance(495 * SECOND);
    expect(sent()).toEqual(["refresh-0"]);
    expect(session.peek()).toBe("access-1");
  });

  test("R-10 the same if nobody asks for it after the restart", async () => {
    const inner = memoryStore({ clock });
    await login({ store: storeWith(clock, {}, inner) });
    open({ store: storeWith(clock, {}, inner), resolveClient: () => server.client }).start();
    await clock.advance(10 * MINUTE);
    expect(sent()).toEqual(["refresh-0"]);
  });
});

describe("timers of Node", () => {
  test("R-62 a token of 30 days: fires after 4 ms there, after a day at most here", async () => {
    server.expiresIn = 30 * 86_400;
    const manager = open({ refresh: { idleMs: 40 * DAY } });
    const session = await manager.save(server.client, { subject: "ada" }, server.tokens());
    manager.start();
    await clock.advance(60 * MINUTE);
    expect(server.calls).toEqual([]);
    clock.jump(22 * 60 * MINUTE);
    await clock.advance(2 * MINUTE);
    expect(server.calls).toEqual([]);
    expect(session.peek()).toBe("access-0");
    await clock.advance(60 * MINUTE);
    expect(server.calls).toHaveLength(1);
  });
});
