// How long a refresh waits, how often it is repeated, and what ends it: DESIGN 6, requirements.
import { TokenManager, refreshTokens } from "warehouse-oauth";
import type { TokenSession } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import { describe, expect, test } from "vitest";
import { acmeServer } from "./acme-room.ts";
import { withoutCoordination } from "./gate-store.ts";
import {
  HOUR,
  follow,
  gate,
  holdingTimers,
  issuedAt,
  openScene,
  refuseConnection,
  run,
  saveElsewhere,
  signInGrace,
} from "./scene.ts";
import type { Outcome, Scene, SceneOptions } from "./scene.ts";

/** A caller with a signal of its own, and so without our limit of 30 s. */
const patient = (): { readonly signal: AbortSignal } => ({ signal: new AbortController().signal });

const count = (list: readonly string[], wanted: string): number => list.filter((item) => item === wanted).length;

/** Another session has the only place at the endpoint; ours stands in line behind it. */
async function inLine(): Promise<{ readonly scene: Scene; readonly answer: () => Promise<void> }> {
  const scene = await openScene({ manager: { concurrency: { atOnce: 1 } } });
  const hers = await signInGrace(scene);
  await scene.clock.advance(HOUR);
  const held = gate();
  scene.fake.fail({ at: "token", kind: "hold", until: held.until });
  void run(scene.clock, hers.getAccessToken(), 0, 0);
  await scene.clock.advance(0);
  const answer = async (): Promise<void> => {
    held.open();
    await scene.clock.advance(1_000);
  };
  return { scene, answer };
}

/** The endpoint asked for a pause, to which nothing is added; another session comes in its time. */
async function paused(seconds: number, manager: SceneOptions["manager"] = {}): Promise<Scene> {
  const scene = await openScene({ manager: { random: () => 0, ...manager } });
  const hers = await signInGrace(scene);
  await scene.clock.advance(HOUR - 400_000);
  scene.fake.fail({ at: "token", kind: "status", status: 429, retryAfter: String(seconds) });
  await hers.getAccessToken(); // refreshes behind its caller's back, and is told to wait
  await scene.clock.advance(0);
  expect(scene.refreshes()).toHaveLength(1);
  return scene;
}

/** Another session has the only place, and is told to wait for a minute when it is let go. */
async function holdsThePlace(): Promise<{ readonly scene: Scene; readonly hers: ReturnType<typeof gate> }> {
  const scene = await openScene({ manager: { concurrency: { atOnce: 1 } } });
  const session = await signInGrace(scene);
  await scene.clock.advance(HOUR - 400_000);
  const hers = gate();
  scene.answers.push(async () => {
    await hers.until;
    return new Response("{}", { status: 429, headers: { "retry-after": "60" } });
  });
  await session.getAccessToken(); // refreshes behind its caller's back
  await scene.clock.advance(0);
  return { scene, hers };
}

test("R-21 R-62 while a refresh token rests, the store is left alone, too", async () => {
  const scene = await openScene();
  const lose = (): never => {
    throw new TypeError("fetch failed");
  };
  scene.answers.push(...Array.from({ length: 100 }, () => lose));
  scene.manager.start();
  await scene.clock.advance(HOUR + 300_000);
  const before = scene.answers.length;
  await run(scene.clock, scene.session.getAccessToken());
  expect(before - scene.answers.length).toBeGreaterThan(0);
  scene.store.fail("read");
  await run(scene.clock, scene.session.getAccessToken());
  const after = scene.answers.length;
  scene.store.steps.length = 0;
  await scene.clock.advance(20_000);
  expect(scene.answers).toHaveLength(after);
  expect(count(scene.store.steps, "lease")).toBeLessThanOrEqual(2);
});

describe("waiting for a lease (R-42)", () => {
  test("R-42 for 30 s, and not a look less", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    await scene.store.takeLease(10 * HOUR);
    const token = follow(scene.session.getAccessToken(patient()));
    await scene.clock.advance(30_100);
    expect(token.state).toBe("pending");
    await scene.clock.advance(200);
    expect(token.error).toMatchObject({ code: "lease_timeout" });
  });

  test("R-42 looks every 100 to 300 ms, as the dice say", async () => {
    for (const [dice, looks] of [
      [0, 10],
      [0.999, 3],
    ] as const) {
      const scene = await openScene({ manager: { random: () => dice } });
      await scene.clock.advance(HOUR);
      await scene.store.takeLease(10 * HOUR);
      void follow(scene.session.getAccessToken());
      await scene.clock.advance(50);
      scene.store.steps.length = 0;
      await scene.clock.advance(1_000);
      expect(count(scene.store.steps, "lease")).toBe(looks);
    }
  });

  test("R-42 in the background it is not waited for, and asked for again after a third of its life", async () => {
    const scene = await openScene({ manager: { leaseTtlMs: 30_000 } });
    scene.manager.start();
    await scene.clock.advance(HOUR - 700_000);
    await scene.store.takeLease(10 * HOUR);
    scene.store.steps.length = 0;
    while (!scene.store.steps.includes("lease")) await scene.clock.advance(1_000);
    await scene.clock.advance(31_000);
    expect(count(scene.store.steps, "lease")).toBe(4);
  });

  test("R-42 who begins to wait in the very moment in which a refresh gives way is waited for, too", async () => {
    for (let turns = 0; turns < 20; turns++) {
      const scene = await openScene();
      await scene.clock.advance(HOUR - 400_000);
      const lease = await scene.store.takeLease(HOUR);
      const asked = scene.store.hold("lease", "after");
      await scene.session.getAccessToken(); // behind its caller's back, it finds the lease taken
      await asked.reached;
      await lease?.release();
      asked.open();
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
      expect((await run(scene.clock, scene.session.refresh())).error).toBeUndefined();
    }
  });

  test("R-45 a caller who waits for somebody's announcement hears at once of what was saved", async () => {
    const scene = await openScene();
    const intent = { attemptId: "a", owner: "another", startedAt: 0, attempts: 1, fingerprint: "0" };
    await scene.store.put({ intent });
    const refreshed = follow(scene.session.refresh());
    await scene.clock.advance(1_000);
    expect(refreshed.state).toBe("pending");
    await saveElsewhere(scene);
    await scene.clock.advance(1_000);
    expect(refreshed.state).toBe("fulfilled");
    expect(scene.refreshes()).toHaveLength(0);
  });

  test("R-45 what this process announced itself is waited for by nobody", async () => {
    const scene = await openScene();
    scene.fake.fail({ at: "token", kind: "status", status: 502, times: 3 });
    expect((await run(scene.clock, scene.session.refresh())).error).toMatchObject({ code: "server_unavailable" });
    expect(scene.store.stored()?.intent).toBeDefined();
    await scene.clock.advance(30_000);
    const again = follow(scene.session.refresh());
    await scene.clock.advance(0);
    expect(again.state).toBe("fulfilled");
  });
});

describe("the line of an endpoint (R-33)", () => {
  test("R-33 R-73 a login while it stands in line: the new tokens are not spent", async () => {
    const { scene, answer } = await inLine();
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(100);
    const tokens = await scene.fake.issueTokens({ client: scene.client });
    await scene.manager.save(scene.client, { subject: "ada" }, tokens);
    await answer();
    expect(token.value).toBe(tokens.accessToken);
    expect(scene.refreshes()).toHaveLength(1); // hers
  });

  test("R-33 S-047 a logout while it stands in line: nothing is written over the tombstone", async () => {
    const { scene, answer } = await inLine();
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(100);
    await scene.session.forget();
    scene.store.steps.length = 0;
    await answer();
    expect(token.error).toMatchObject({ reason: "refresh_token_absent" });
    expect(scene.store.steps).not.toContain("tombstone");
  });

  test("R-31 R-24 a pause that a caller can outwait: without the lease, and then it is sent", async () => {
    const scene = await paused(8);
    const refreshed = follow(scene.session.refresh());
    await scene.clock.advance(1_000);
    const lease = await scene.store.takeLease(1_000);
    expect(lease).toBeDefined();
    await lease?.release();
    scene.store.steps.length = 0;
    await scene.clock.advance(6_000);
    expect(refreshed.state).toBe("pending");
    expect(scene.store.steps).not.toContain("lease"); // nobody else could end the pause: no need to look
    await scene.clock.advance(2_000);
    expect(refreshed.state).toBe("fulfilled");
  });

  test("R-31 a pause that outlasts the caller's time is told at once, with what is left of it", async () => {
    const scene = await paused(60);
    await scene.clock.advance(500);
    const refreshed = follow(scene.session.refresh());
    await scene.clock.advance(0);
    expect(refreshed.error).toMatchObject({ code: "rate_limited", retryAfterMs: 59_500 });
  });

  test("R-31 the caller's time is what was configured, to the millisecond", async () => {
    for (const [totalMs, state] of [
      [8_400, "rejected"],
      [8_401, "pending"],
    ] as const) {
      const scene = await paused(8, { retry: { totalMs }, random: () => 0.5 }); // a twentieth is added
      const refreshed = follow(scene.session.refresh());
      await scene.clock.advance(0);
      expect(refreshed.state).toBe(state);
    }
  });

  test("R-31 in the background a pause is no failure: nothing is said, and it goes on after it", async () => {
    const scene = await paused(60);
    scene.manager.start();
    await scene.session.getAccessToken();
    await scene.clock.advance(1_000);
    expect(scene.heard().filter((type) => type === "refresh_failed")).toHaveLength(1); // hers
    expect((await scene.session.status()).state).toBe("active");
    await scene.clock.advance(120_000);
    expect(scene.store.stored()).toMatchObject({ generation: 2 });
  });

  test("R-31 a pause that begins while nobody waits for those in the line is none of their failures either", async () => {
    const { scene, hers } = await holdsThePlace();
    await scene.session.getAccessToken(); // behind its caller's back, too: it stands in line
    await scene.clock.advance(1_000);
    hers.open();
    await scene.clock.advance(1_000);
    expect(scene.heard().filter((type) => type === "refresh_failed")).toHaveLength(1); // hers
    expect(await scene.store.takeLease(1)).toBeDefined();
    scene.manager.start();
    await scene.clock.advance(57_000);
    expect(scene.refreshes()).toHaveLength(0);
    await scene.clock.advance(90_000);
    expect(scene.heard().filter((type) => type === "refresh_failed")).toHaveLength(1);
    expect(scene.store.stored()).toMatchObject({ generation: 2 });
  });

  test("R-31 who begins to wait while the lease is given back before a long pause is told of it at once", async () => {
    const scene = await paused(600);
    const releasing = scene.store.hold("release");
    await scene.session.getAccessToken(); // behind its caller's back
    await scene.clock.advance(0);
    await releasing.reached;
    const refreshed = follow(scene.session.refresh());
    await scene.clock.advance(0);
    releasing.open();
    await scene.clock.advance(1_000);
    expect(refreshed.error).toMatchObject({ code: "rate_limited" });
  });

  test("R-31 a pause that begins while the secret is fetched: nothing leaves before its end", async () => {
    const clock = manualClock();
    const server = acmeServer(clock);
    const secret = gate();
    let asked = 0;
    const client = server.register("loader", {
      clientSecret: async () => {
        asked += 1;
        if (asked === 1) await secret.until;
        return "secret";
      },
    });
    const manager = new TokenManager({ clock, random: () => 0.5 });
    const logIn = (subject: string): Promise<TokenSession> =>
      manager.save(client, { subject }, server.tokens({ connectionId: client.connectionId }));
    const [ada, bob] = [await logIn("ada"), await logIn("bob")];
    server.answer = () => new Response(null, { status: 429, headers: { "retry-after": "600" } });
    const hers = follow(ada.refresh());
    await clock.advance(0);
    await follow(bob.refresh()).promise;
    expect(server.calls).toHaveLength(1);
    secret.open();
    await clock.advance(1_000);
    expect(server.calls).toHaveLength(1);
    expect(hers.error).toMatchObject({ code: "rate_limited" });
  });

  test("R-31 who begins to wait while it stands in line is told of the pause", async () => {
    const { scene, hers } = await holdsThePlace();
    await scene.session.getAccessToken();
    await scene.clock.advance(1_000);
    const refreshed = follow(scene.session.refresh());
    await scene.clock.advance(0);
    hers.open();
    await scene.clock.advance(1_000);
    expect(refreshed.error).toMatchObject({ code: "rate_limited" });
  });

  test("R-33 up to 5 s in the line are waited for with the lease in hand", async () => {
    const scene = await paused(5);
    const refreshed = follow(scene.session.refresh());
    await scene.clock.advance(1_000);
    expect(await scene.store.takeLease(1_000)).toBeUndefined();
    await scene.clock.advance(5_000);
    expect(refreshed.state).toBe("fulfilled");
  });
});

/** Ten sessions whose announcements the store writes at the same moment; `first` is the answer to the first request. */
async function announcedTogether({ first }: { readonly first?: ResponseInit } = {}): Promise<{
  readonly scene: Scene;
  readonly lastSession: TokenSession;
  readonly callers: readonly Outcome<string>[];
}> {
  const scene = await openScene({ manager: { concurrency: { atOnce: 10, perSecond: 10 } } });
  const { clock, fake, client, manager, store } = scene;
  const sessions: TokenSession[] = [];
  const logIn = async (subject: string): Promise<TokenSession> => {
    const session = await manager.save(client, { subject }, await fake.issueTokens({ client, subject }));
    sessions.push(session);
    return session;
  };
  for (let index = 0; index < 9; index += 1) await logIn(`user${String(index)}`);
  const lastSession = await logIn("grace");
  await clock.advance(HOUR);
  if (first !== undefined) scene.answers.push(() => new Response("{}", first));
  const writes = sessions.map(() => store.hold("intent"));
  const callers = sessions.map((session) => follow(session.getAccessToken()));
  await clock.advance(2_000);
  for (const { reached, open } of writes) {
    await reached;
    open();
  }
  await clock.advance(0);
  return { scene, lastSession, callers };
}

describe("the turn to send (R-65)", () => {
  test("R-65 what was announced in one moment is sent at the rate all the same", async () => {
    const { scene, callers } = await announcedTogether();
    expect(scene.refreshes()).toHaveLength(1);
    await scene.clock.advance(450);
    expect(scene.refreshes()).toHaveLength(5);
    await scene.clock.advance(450);
    expect(scene.refreshes()).toHaveLength(10);
    expect(callers.map(({ state }) => state)).toEqual(Array.from({ length: 10 }, () => "fulfilled"));
  });

  test("R-65 S-047 a logout before its turn: nothing is sent, nothing is written over the tombstone", async () => {
    const { scene, lastSession, callers } = await announcedTogether();
    await run(scene.clock, lastSession.forget(), 1);
    scene.store.steps.length = 0;
    await scene.clock.advance(2_000);
    expect(callers[9]?.error).toMatchObject({ code: "reauthorization_required" });
    expect(scene.refreshes()).toHaveLength(9);
    expect(await lastSession.status()).toEqual({ state: "revoked" });
  });

  test("R-31 a pause before its turn: nothing is sent, callers are told, announcements are taken back", async () => {
    const { scene, callers } = await announcedTogether({ first: { status: 429, headers: { "retry-after": "60" } } });
    await scene.clock.advance(1_000);
    expect(callers.map(({ error }) => error?.code)).toEqual(Array.from({ length: 10 }, () => "rate_limited"));
    await scene.clock.advance(50_000);
    expect(scene.refreshes()).toHaveLength(0);
    expect(scene.store.stored()?.intent).toBeUndefined();
  });

  test("R-31 a short pause before its turn is waited for", async () => {
    const { scene, callers } = await announcedTogether({ first: { status: 429, headers: { "retry-after": "2" } } });
    await scene.clock.advance(1_900);
    expect(scene.refreshes()).toHaveLength(0);
    await scene.clock.advance(4_000);
    expect(callers.map(({ state }) => state)).toEqual(Array.from({ length: 10 }, () => "fulfilled"));
    expect(scene.refreshes()).toHaveLength(10);
  });

  test("R-07 who is announced and waits for its turn holds the program until it is sent", async () => {
    const timers = holdingTimers();
    const scene = await openScene({ watch: timers.watch });
    const hers = await signInGrace(scene);
    await scene.clock.advance(HOUR - 400_000);
    const announcing = scene.store.hold("intent");
    await scene.session.getAccessToken(); // both refresh behind their callers' backs
    await scene.clock.advance(0);
    await announcing.reached;
    scene.answers.push(() => new Response("{}", { status: 429, headers: { "retry-after": "4" } }));
    await hers.getAccessToken();
    await scene.clock.advance(100);
    announcing.open();
    await scene.clock.advance(10);
    expect(scene.refreshes()).toHaveLength(0);
    expect(timers.pending()).toBeGreaterThan(0);
    await scene.clock.advance(5_000);
    expect(scene.refreshes()).toHaveLength(1);
    expect(timers.pending()).toBe(0);
  });

  test("R-65 R-11 a manager that closes before its turn takes the announcement back", async () => {
    const { scene, callers } = await announcedTogether();
    const closed = follow(scene.manager.close());
    await scene.clock.advance(2_000);
    expect(closed.value).toEqual({ unsaved: [] });
    expect(scene.refreshes()).toHaveLength(1);
    expect(callers.slice(1).map(({ error }) => error?.code)).toEqual(Array.from({ length: 9 }, () => "manager_closed"));
    expect(scene.store.stored()?.intent).toBeUndefined();
  });
});

describe("repeats (R-21, R-32)", () => {
  test("R-21 R-32 a refresh token that rests is not tried, so there is nothing to repeat", async () => {
    const scene = await openScene({ manager: { retry: { maxAttempts: 1 } } });
    const { clock } = scene;
    const other = scene.process();
    const heard: string[] = [];
    other.manager.on("*", ({ type }) => heard.push(type));
    await clock.advance(HOUR);
    scene.answers.push(...Array.from({ length: 4 }, () => refuseConnection));
    expect((await run(clock, other.session.getAccessToken())).error).toMatchObject({ code: "network_error" });
    for (let time = 0; time < 3; time++) {
      scene.answers.splice(0, Infinity, () => new Response("bad", { status: 502 }));
      await run(clock, scene.session.getAccessToken());
    }
    expect(scene.store.stored()?.intent?.attempts).toBe(3);
    heard.length = 0;
    const asked = follow(other.session.getAccessToken());
    await clock.advance(0);
    expect(asked.error).toMatchObject({ code: "network_error" });
    expect(heard).not.toContain("refresh_retried");
  });

  test("R-32 what was not processed is sent four times, and each repeat is told", async () => {
    const scene = await openScene({ warehouse: "bigquery", manager: { retry: { totalMs: HOUR } } });
    await scene.clock.advance(HOUR);
    scene.fake.fail({ at: "token", kind: "status", status: 503, times: Infinity });
    const token = await run(scene.clock, scene.session.getAccessToken(patient()));
    expect(token.error).toMatchObject({ code: "server_unavailable" });
    expect(scene.refreshes()).toHaveLength(4);
    const told = scene.events.filter(({ type }) => type === "refresh_retried");
    expect(told).toMatchObject([
      { attempt: 1, code: "server_unavailable", delayMs: 250 },
      { attempt: 2, code: "server_unavailable", delayMs: 500 },
      { attempt: 3, code: "server_unavailable", delayMs: 1_000 },
    ]);
  });

  test("R-21 a lost answer where nothing rotates costs nothing: four sends as well", async () => {
    const scene = await openScene({ warehouse: "bigquery" });
    await scene.clock.advance(HOUR);
    scene.answers.push(...Array.from({ length: 9 }, () => () => Promise.reject(new TypeError("fetch failed"))));
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({ code: "network_error" });
    expect(scene.answers).toHaveLength(5);
  });

  test("R-21 a lost answer is repeated for 30 s after the first loss: later a repeat has no better chance", async () => {
    const retry = { totalMs: HOUR, baseDelayMs: 40_000, maxDelayMs: 40_000 };
    const scene = await openScene({ manager: { retry } });
    await scene.clock.advance(HOUR);
    scene.answers.push(...Array.from({ length: 9 }, () => () => Promise.reject(new TypeError("fetch failed"))));
    await run(scene.clock, scene.session.getAccessToken(patient()));
    expect(scene.answers).toHaveLength(6); // at 0 s, 20 s and 40 s
    const late = await openScene({ manager: { retry: { ...retry, baseDelayMs: 80_000, maxDelayMs: 80_000 } } });
    await late.clock.advance(HOUR);
    late.answers.push(...Array.from({ length: 9 }, () => () => Promise.reject(new TypeError("fetch failed"))));
    await run(late.clock, late.session.getAccessToken(patient()));
    expect(late.answers).toHaveLength(7); // at 0 s and 40 s
  });

  test("R-72 S-045 what was answered dead before the end is still confirmed and written down", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.revokeGrants();
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(100);
    expect(scene.refreshes()).toHaveLength(1);
    void follow(scene.manager.close());
    await scene.clock.advance(1_000);
    expect(token.error).toMatchObject({ code: "reauthorization_required" });
    expect(scene.store.stored()).toMatchObject({ state: "reauthorization_required" });
  });
});

describe("what cannot be refreshed", () => {
  const isDead = async (scene: Scene, session = scene.session): Promise<Outcome<string>> => {
    scene.store.steps.length = 0;
    const token = await run(scene.clock, session.getAccessToken());
    expect(scene.store.steps).not.toContain("lease");
    expect(scene.refreshes()).toHaveLength(0);
    return token;
  };

  test("R-13 one that was refreshed too often, and then signed out: sign in, not try later", async () => {
    const scene = await openScene();
    for (let time = 0; time < 10; time++) await run(scene.clock, scene.session.refresh());
    expect((await run(scene.clock, scene.session.refresh())).error).toMatchObject({ code: "refresh_limit_reached" });
    await scene.session.forget();
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({ code: "reauthorization_required" });
  });

  test("S-045 a session that nobody signed in, and one that was signed out", async () => {
    const scene = await openScene();
    const bob = await isDead(scene, scene.manager.session(scene.client, { subject: "bob" }));
    expect(bob.error).toMatchObject({
      reason: "refresh_token_absent",
      message: expect.stringContaining("no tokens for this session") as string,
    });
    await scene.session.forget();
    const ada = await isDead(scene, scene.process().session);
    expect(ada.error).toMatchObject({
      reason: "refresh_token_absent",
      message: expect.stringContaining("was signed out") as string,
    });
  });

  test("S-045 an expired session without a refresh token, or without any token", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const tokens = { ...scene.store.stored()?.tokens, refreshToken: undefined };
    await scene.store.put({ tokens });
    expect((await isDead(scene)).error).toMatchObject({ reason: "refresh_token_absent" });
    await scene.store.put({ tokens: undefined });
    expect((await isDead(scene)).error).toMatchObject({ reason: "refresh_token_absent" });
    expect(scene.store.stored()).toMatchObject({ state: "active" });
  });

  test("S-045 one that was found dead elsewhere, with its cause, and with none", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    await scene.store.put({ state: "reauthorization_required", cause: "interaction_required" });
    expect((await isDead(scene)).error).toMatchObject({ reason: "interaction_required" });
    await scene.store.put({ cause: undefined });
    expect((await isDead(scene)).error).toMatchObject({ reason: "refresh_token_dead" });
  });

  test("S-078 one that rotates at a store that cannot keep two processes apart", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const token = await isDead(scene, scene.process({ store: withoutCoordination(scene.store) }).session);
    expect(token.error).toMatchObject({ code: "store_incapable" });
  });
});

describe("sessions that obtain their tokens anew", () => {
  const obtained = async (): Promise<Scene> => {
    const scene = await openScene({ warehouse: "bigquery", refreshRotation: "rotates" });
    let times = 0;
    const obtain = async (): Promise<Awaited<ReturnType<typeof scene.fake.issueTokens>>> => {
      times += 1;
      if (times === 2) return refreshTokens(scene.client, scene.login); // whatever it is made from has ended
      return scene.fake.issueTokens({ client: scene.client });
    };
    const session = scene.manager.session(scene.client, { subject: "loader" }, { obtain });
    expect((await run(scene.clock, session.getAccessToken())).state).toBe("fulfilled");
    await scene.clock.advance(HOUR);
    scene.store.steps.length = 0;
    scene.fake.revokeGrants();
    return { ...scene, session };
  };

  test("R-13 an obtain that is answered dead buries nothing: the next call tries again", async () => {
    const { clock, session, store } = await obtained();
    const token = follow(session.getAccessToken());
    await clock.advance(0);
    expect(token.error).toMatchObject({ code: "reauthorization_required" });
    expect(store.steps).not.toContain("dead");
    expect((await run(clock, session.getAccessToken())).state).toBe("fulfilled");
  });

  test("R-13 the same before there ever were tokens", async () => {
    const scene = await openScene();
    scene.fake.revokeGrants();
    const obtain = (): ReturnType<typeof refreshTokens> => refreshTokens(scene.client, scene.login);
    const session = scene.manager.session(scene.client, { subject: "loader" }, { obtain });
    const token = follow(session.getAccessToken());
    await scene.clock.advance(0);
    expect(token.error).toMatchObject({ code: "reauthorization_required" });
  });

  test("R-24 nothing is announced, the second time neither", async () => {
    const scene = await openScene();
    const obtain = (): ReturnType<typeof scene.fake.issueTokens> => scene.fake.issueTokens({ client: scene.client });
    const session = scene.manager.session(scene.client, { subject: "loader" }, { obtain });
    await run(scene.clock, session.getAccessToken());
    await scene.clock.advance(HOUR);
    const again = await run(scene.clock, session.getAccessToken());
    expect(again.state).toBe("fulfilled");
    expect(scene.store.steps).not.toContain("intent");
    expect(scene.store.stored()).toMatchObject({ generation: 2, rotates: false });
    const told = scene.events.filter(({ type }) => type === "refresh_succeeded");
    expect(told).toMatchObject([
      { rotated: false, warning: undefined },
      { rotated: false, warning: undefined },
    ]);
  });

  test("R-45 an announcement in the record is nobody's business", async () => {
    const scene = await openScene();
    const obtain = (): ReturnType<typeof scene.fake.issueTokens> => scene.fake.issueTokens({ client: scene.client });
    const session = scene.manager.session(scene.client, { subject: "loader" }, { obtain });
    await run(scene.clock, session.getAccessToken());
    await scene.store.put({
      intent: { attemptId: "a", owner: "another", startedAt: 0, attempts: 1, fingerprint: "0" },
    });
    const refreshed = follow(session.refresh());
    await scene.clock.advance(0);
    expect(refreshed.state).toBe("fulfilled");
  });
});

describe("what is written and told", () => {
  test("R-24 one start and one success, with the time from sending to saving", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.events.length = 0;
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(1_500);
    answer.open();
    await scene.clock.advance(0);
    expect(token.state).toBe("fulfilled");
    expect(scene.events).toMatchObject([
      { type: "refresh_started", reason: "expired" },
      { type: "refresh_succeeded", durationMs: 1_500, rotated: true },
    ]);
  });

  test("R-24 however often it is repeated, it starts once", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.fail({ at: "token", kind: "status", status: 503, times: 2 });
    expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
    expect(count(scene.heard(), "refresh_retried")).toBe(2);
    expect(count(scene.heard(), "refresh_started")).toBe(1);
  });

  test("S-043 S-047 a refresh that brings no other refresh token teaches nothing, and revokes nothing later", async () => {
    const scene = await openScene({ warehouse: "bigquery" });
    await scene.clock.advance(HOUR);
    await run(scene.clock, scene.session.getAccessToken());
    expect(scene.store.stored()).toMatchObject({ generation: 2, rotates: false, revokeLate: false });
  });

  test("R-21 announcements are counted for one refresh token, and not for the next", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const next = await scene.fake.issueTokens({ client: scene.client });
    const attempts: (number | undefined)[] = [];
    const lose = (): Promise<never> => {
      attempts.push(scene.store.stored()?.intent?.attempts);
      return Promise.reject(new TypeError("fetch failed"));
    };
    scene.answers.push(lose, lose, lose, () => {
      attempts.push(scene.store.stored()?.intent?.attempts);
      return undefined;
    });
    await run(scene.clock, scene.session.getAccessToken());
    const tokens = { ...scene.store.stored()?.tokens, refreshToken: next.refreshToken };
    await scene.store.put({ tokens });
    expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
    expect(attempts).toEqual([1, 2, 3, 1]);
  });

  test("R-56 S-043 a rescued refresh token is the next generation, and proof that this session rotates", async () => {
    const scene = await openScene({ warehouse: "bigquery" });
    await scene.clock.advance(HOUR);
    let saved: unknown;
    scene.answers.push(
      () => Response.json({ refresh_token: "rescued", token_type: "Bearer" }),
      () => {
        saved = { ...scene.store.stored(), sent: scene.store.steps.includes("intent") };
        return Response.json({ access_token: "a3", token_type: "Bearer", expires_in: 3600 });
      },
    );
    expect((await run(scene.clock, scene.session.getAccessToken())).value).toBe("a3");
    expect(saved).toMatchObject({ generation: 2, rotates: true, tokens: { refreshToken: "rescued" }, sent: true });
    expect(scene.store.stored()).toMatchObject({ generation: 3 });
  });

  test("R-56 S-043 the refresh token that was sent comes back in a bad answer: nothing was replaced", async () => {
    const scene = await openScene({ warehouse: "bigquery" });
    await scene.clock.advance(HOUR);
    scene.answers.push(() => Response.json({ refresh_token: scene.login.refreshToken, token_type: "Bearer" }));
    expect((await run(scene.clock, scene.session.getAccessToken())).value).toBe(issuedAt(scene, 2).access_token);
    expect(scene.store.stored()).toMatchObject({ generation: 2, rotates: false });
  });

  test("R-44 buried by another process under the save: ours came later, and are tried before a person is asked", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const refreshed = follow(scene.session.refresh());
    await scene.clock.advance(0);
    await saveElsewhere(scene);
    await scene.store.put({ state: "reauthorization_required", cause: "refresh_token_dead" });
    answer.open();
    await run(scene.clock, refreshed.promise);
    expect(refreshed.state).toBe("fulfilled");
    expect(await scene.session.getAccessToken()).toBe(issuedAt(scene, 2).access_token);
    expect(scene.heard()).not.toContain("refresh_adopted");
  });

  test("R-44 the same later: what lost the conflict is tried when the other one turns out dead", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const refreshed = follow(scene.session.refresh());
    await scene.clock.advance(0);
    await saveElsewhere(scene);
    answer.open();
    await run(scene.clock, refreshed.promise);
    expect(scene.heard()).toContain("refresh_conflict");
    await scene.store.put({ state: "reauthorization_required", cause: "refresh_token_dead" });
    expect((await run(scene.clock, scene.session.refresh())).state).toBe("fulfilled");
    expect(scene.store.stored()).toMatchObject({ state: "active" });
  });

  test("S-045 ours was dead, too: the next call says so, and nothing is tried a second time", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const refreshed = follow(scene.session.refresh());
    await scene.clock.advance(0);
    await saveElsewhere(scene);
    await scene.store.put({ state: "reauthorization_required", cause: "refresh_token_dead" });
    answer.open();
    scene.answers.push(() => Response.json({ error: "invalid_grant" }, { status: 400 }));
    await run(scene.clock, refreshed.promise);
    expect(refreshed.error).toMatchObject({ code: "reauthorization_required" });
    const sent = scene.refreshes().length;
    expect((await run(scene.clock, scene.session.refresh())).error).toMatchObject({ code: "reauthorization_required" });
    expect(scene.refreshes()).toHaveLength(sent);
  });
});
