// What all sessions of a manager share: copies and their age, events, gates, the end. DESIGN 7, requirements.
import { TokenManager, createClient } from "warehouse-oauth";
import { describe, expect, test } from "vitest";
import { EventHub } from "../../src/session/events.ts";
import { DEFAULT_RETRY } from "../../src/session/retry.ts";
import { SessionEngine } from "../../src/session/session-engine.ts";
import { manualClock } from "warehouse-oauth/testing";
import { acmeServer, refused, storeWith } from "./acme-room.ts";
import { HOUR, follow, gate, openScene, run, saveElsewhere, signInGrace } from "./scene.ts";

const count = (list: readonly string[], wanted: string): number => list.filter((item) => item === wanted).length;

describe("events", () => {
  test("S-086 say when, where, whose and which generation", async () => {
    const scene = await openScene({ manager: { retry: { maxAttempts: 1 } } });
    const identity = { subject: "grace", tenant: "acme" };
    const tokens = await scene.fake.issueTokens({ client: scene.client });
    const session = await scene.manager.save(scene.client, identity, tokens);
    const common = {
      at: scene.clock.now(),
      warehouse: "databricks",
      connectionId: scene.client.connectionId,
      session: session.reference,
      tenant: "acme",
    };
    expect(scene.events.at(-1)).toMatchObject({ type: "tokens_issued", ...common, generation: 1 });
    await run(scene.clock, session.refresh());
    expect(scene.events.at(-1)).toMatchObject({ type: "refresh_succeeded", ...common, generation: 2 });
    scene.fake.fail({ at: "token", kind: "oauth_error", error: "invalid_client", status: 401, times: Infinity });
    for (let time = 0; time < 3; time++) await run(scene.clock, session.refresh());
    const { at, warehouse, connectionId } = common;
    const opened = scene.events.find(({ type }) => type === "circuit_opened");
    expect(opened).toMatchObject({ warehouse, connectionId, code: "client_auth_failed" });
    expect(opened?.at).toBeGreaterThanOrEqual(at);
  });

  test("S-086 a refresh that failed: why, and how long it took", async () => {
    const scene = await openScene({ manager: { retry: { maxAttempts: 1 } } });
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.answers.push(async () => {
      await answer.until;
      return new Response(null, { status: 503 });
    });
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(1_500);
    answer.open();
    await scene.clock.advance(0);
    expect(token.state).toBe("rejected");
    const failed = scene.events.filter(({ type }) => type === "refresh_failed");
    expect(failed).toMatchObject([{ code: "server_unavailable", durationMs: 1_500 }]);
  });

  for (const [scope, changed] of [
    ["sql admin", { added: ["admin"], removed: [] }],
    ["admin", { added: ["admin"], removed: ["sql"] }],
    ["sql", undefined],
  ] as const) {
    test(`R-75 the scopes were "sql" and are "${scope}"`, async () => {
      const scene = await openScene();
      await scene.store.put({ tokens: { ...scene.store.stored()?.tokens, scopes: ["sql"] } });
      const other = scene.process();
      const heard: unknown[] = [];
      other.manager.on("scopes_changed", ({ added, removed }) => {
        expect([Object.isFrozen(added), Object.isFrozen(removed)]).toEqual([true, true]);
      });
      other.manager.on("scopes_changed", (event) => heard.push(event));
      expect(await other.session.status()).toMatchObject({ grantedScopes: ["sql"] });
      scene.answers.push(async (request) => {
        const real = (await (await scene.fake.fetch(request)).json()) as object;
        return Response.json({ ...real, scope });
      });
      expect((await run(scene.clock, other.session.refresh())).error).toBeUndefined();
      if (changed === undefined) expect(heard).toEqual([]);
      else expect(heard).toMatchObject([changed]);
    });
  }
});

describe("a copy of the record", () => {
  test("R-12 R-02 nobody was signed in, and then somebody elsewhere is: active, and refreshed ahead of time", async () => {
    const clock = manualClock();
    const server = acmeServer(clock);
    const store = storeWith(clock);
    const [here, there] = [new TokenManager({ store, clock }), new TokenManager({ store, clock })];
    const session = here.session(server.client, { subject: "ada" });
    const early = await run(clock, session.getAccessToken());
    expect(early.error).toMatchObject({ code: "reauthorization_required" });
    await there.save(server.client, { subject: "ada" }, server.tokens());
    await clock.advance(31_000);
    expect(await session.status()).toMatchObject({ state: "active", cause: undefined });
    here.start();
    await clock.advance(500_000);
    expect(server.calls).toHaveLength(1);
  });

  test("R-12 another process succeeded where this one failed: all is well again", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR - 400_000);
    scene.fake.fail({ at: "token", kind: "status", status: 407 });
    await scene.session.getAccessToken();
    await scene.clock.advance(0);
    expect(await scene.session.status()).toMatchObject({ state: "degraded" });
    await saveElsewhere(scene);
    await scene.clock.advance(31_000);
    await scene.session.getAccessToken();
    await scene.clock.advance(0);
    expect(await scene.session.status()).toMatchObject({ state: "active", generation: 2 });
  });

  test("R-12 what another process only looked at does not end the trouble", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR - 400_000);
    scene.fake.fail({ at: "token", kind: "status", status: 407, times: Infinity });
    await scene.session.getAccessToken();
    await scene.clock.advance(0);
    await scene.store.put({ loginAt: scene.clock.now() });
    await scene.clock.advance(31_000);
    await scene.session.getAccessToken();
    await scene.clock.advance(0);
    expect(await scene.session.status()).toMatchObject({ state: "degraded", generation: 1 });
  });

  test("S-047 is looked at again after 30 s, to the millisecond, once, behind the caller's back", async () => {
    const scene = await openScene();
    scene.store.steps.length = 0;
    await scene.clock.advance(29_999);
    expect(await scene.session.getAccessToken()).toBe(scene.login.accessToken);
    await scene.clock.advance(0);
    expect(scene.store.steps).toEqual([]);
    await scene.clock.advance(1);
    const held = scene.store.hold("read");
    const both = Promise.all([scene.session.getAccessToken(), scene.session.getAccessToken()]);
    expect(await both).toEqual([scene.login.accessToken, scene.login.accessToken]);
    await held.reached;
    held.open();
    await scene.clock.advance(0);
    expect(scene.store.steps).toEqual(["read"]);
  });

  test("R-24 is not looked at again while what is in memory is newer", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.store.fail("tokens", Infinity);
    const token = await run(scene.clock, scene.session.getAccessToken());
    await scene.clock.advance(31_000);
    scene.store.steps.length = 0;
    expect(await scene.session.getAccessToken()).toBe(token.value);
    await scene.clock.advance(0);
    expect(count(scene.store.steps, "read")).toBe(0);
  });

  test("R-73 one that was asked for before a login is not taken", async () => {
    const scene = await openScene();
    await scene.clock.advance(31_000);
    const late = scene.store.hold("read", "after");
    await scene.session.getAccessToken();
    await late.reached;
    const tokens = await scene.fake.issueTokens({ client: scene.client });
    await scene.manager.save(scene.client, { subject: "ada" }, tokens);
    late.open();
    await scene.clock.advance(0);
    expect(await scene.session.getAccessToken()).toBe(tokens.accessToken);
    expect(await scene.session.status()).toMatchObject({ generation: 2 });
  });
});

describe("callers", () => {
  test("R-40 whose signal is aborted already gets its reason, and the refresh goes on", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const controller = new AbortController();
    const held = scene.store.hold("read");
    const other = follow(scene.session.getAccessToken());
    await held.reached;
    controller.abort(new Error("gone"));
    await expect(scene.session.refresh({ signal: controller.signal })).rejects.toThrow("gone");
    held.open();
    await scene.clock.advance(0);
    expect(other.state).toBe("fulfilled");
  });
});

describe("gates", () => {
  test("R-34 one for each secret of a client; those that hold nothing are let go", () => {
    const clock = manualClock();
    const server = acmeServer(clock);
    const engine = new SessionEngine({
      store: storeWith(clock),
      clock,
      random: () => 0.5,
      events: new EventHub(),
      refresh: {},
      retry: DEFAULT_RETRY,
      concurrency: {},
      background: "detached",
      resolveClient: undefined,
      leaseTtlMs: 60_000,
      rotateWithoutLease: false,
    });
    const withSecret = (clientSecret: string): ReturnType<typeof engine.gateOf> => {
      const { warehouse, clientId } = server.client;
      const connection = engine.directory.connectionOf(createClient({ warehouse, clientId, clientSecret, clock }));
      return engine.gateOf(connection);
    };
    const connection = engine.directory.connectionOf(server.client);
    const first = withSecret("one");
    expect(withSecret("one")).toBe(first);
    expect(connection.gates.size).toBe(1);
    const second = withSecret("two");
    expect(second).not.toBe(first);
    expect([...connection.gates.values()]).toEqual([second]);
    const { signal } = new AbortController();
    void second.request({}, { foreground: true, signal, waitMs: 1_000 }).granted;
    const third = withSecret("three");
    expect([...connection.gates.values()]).toEqual([second, third]);
  });
});

describe("the end (R-11)", () => {
  test("R-11 with nothing under way it is there at once", async () => {
    const scene = await openScene();
    const closing = follow(scene.manager.close({ drainMs: HOUR }));
    await closing.promise;
    expect(closing.value).toEqual({ unsaved: [] });
  });

  test("R-11 what runs behind the callers' backs is waited for, as long as the drain", async () => {
    const scene = await openScene();
    await scene.clock.advance(31_000);
    const reading = scene.store.hold("read");
    await scene.session.getAccessToken();
    await reading.reached;
    const closing = follow(scene.manager.close({ drainMs: 1_000 }));
    await scene.clock.advance(900);
    expect(closing.state).toBe("pending");
    reading.open();
    await scene.clock.advance(0);
    expect(closing.state).toBe("fulfilled");
  });

  test("R-11 one that was sent and one that waits: the first is saved, the second is told", async () => {
    const scene = await openScene();
    const hers = await signInGrace(scene);
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const sent = follow(scene.session.getAccessToken());
    await scene.clock.advance(0);
    const held = scene.store.hold("lease");
    const waits = follow(hers.getAccessToken());
    await held.reached;
    const closing = follow(scene.manager.close());
    held.open();
    await scene.clock.advance(0);
    expect(waits.error).toMatchObject({ code: "manager_closed" });
    expect(closing.state).toBe("pending");
    answer.open();
    await scene.clock.advance(0);
    expect(sent.state).toBe("fulfilled");
    expect(closing.value).toEqual({ unsaved: [] });
  });
});

test("R-73 a refresh in the background fails after a login: the login is active", async () => {
  const scene = await openScene();
  const { clock, client, manager, session } = scene;
  await clock.advance(HOUR - 400_000);
  const answer = gate();
  scene.answers.push(async () => {
    await answer.until;
    return refused("server_error", 500);
  });
  await session.getAccessToken();
  await clock.advance(0);
  const login = await scene.fake.issueTokens({ client });
  await manager.save(client, { subject: "ada" }, login);
  answer.open();
  await clock.advance(0);
  expect(await session.getAccessToken()).toBe(login.accessToken);
  expect(await session.status()).toMatchObject({ state: "active", cause: undefined });
});
