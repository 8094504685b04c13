import { TokenManager } from "warehouse-oauth";
import type { SessionEvent, TokenSession } from "warehouse-oauth";
import { fakeDatabricks, manualClock } from "warehouse-oauth/testing";
import { describe, expect, test } from "vitest";
import { heldUp } from "../lib/held-up-clock.ts";
import type { HeldUpClock } from "../lib/held-up-clock.ts";
import { thrownBy } from "./acme-room.ts";
import { HOUR, follow, gate, openScene, run, issuedAt, signInGrace } from "./scene.ts";
import type { Scene } from "./scene.ts";

describe("answers that say no", () => {
  for (const status of [500, 502, 504] as const) {
    test(`R-50 ${String(status)} twice, then 200: one success, no error`, async () => {
      const scene = await openScene();
      await scene.clock.advance(HOUR);
      scene.fake.fail({ at: "token", kind: "status", status, times: 2 });
      const token = await run(scene.clock, scene.session.getAccessToken());
      expect(token.value).toBe(issuedAt(scene, 1).access_token);
      expect(scene.refreshes().map(({ status: answered }) => answered)).toEqual([status, status, 200]);
      const delays = scene.events.flatMap((event) => (event.type === "refresh_retried" ? [event.delayMs] : []));
      expect(delays).toEqual([250, 500]);
    });

    test(`R-50 ${String(status)} while the token is valid: no caller hears of it`, async () => {
      const scene = await openScene();
      await scene.clock.advance(HOUR - 400_000);
      scene.fake.fail({ at: "token", kind: "status", status, times: 2 });
      for (let second = 0; second < 20; second++) {
        expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
        await scene.clock.advance(1_000);
      }
      expect(await scene.session.getAccessToken()).toBe(issuedAt(scene, 1).access_token);
    });
  }

  const at = (scene: Scene, ms: number): string => new Date(scene.clock.now() + ms).toUTCString();
  const RETRY_AFTER: readonly (readonly [string, (scene: Scene) => string, number, number])[] = [
    ["7", () => "7", 7_000, 7_800],
    ["an HTTP date", (scene) => at(scene, 7_000), 6_000, 7_800],
    ["-1", () => "-1", 0, 3_000],
    ["abc", () => "abc", 0, 3_000],
    ["1e3", () => "1e3", 0, 3_000],
    ["7.5", () => "7.5", 0, 3_000],
    ["a date that is over", (scene) => at(scene, -60_000), 0, 3_000],
    ["two headers in one", () => "7, 7", 0, 3_000],
  ];
  for (const [name, value, least, most] of RETRY_AFTER) {
    test(`R-51 429 with Retry-After ${name}: not a call before, and not much later`, async () => {
      const scene = await openScene();
      await scene.clock.advance(HOUR);
      scene.fake.fail({ at: "token", kind: "status", status: 429, retryAfter: value(scene) });
      const token = await run(scene.clock, scene.session.getAccessToken(), 50);
      expect(token.state).toBe("fulfilled");
      const [first, second] = scene.refreshes();
      const waited = (second?.time ?? 0) - (first?.time ?? 0);
      expect(waited).toBeGreaterThanOrEqual(least);
      expect(waited).toBeLessThanOrEqual(most);
    });
  }

  test("R-51 10⁹ seconds: the caller is told now, with the time; nobody is sent to a login page", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.fail({ at: "token", kind: "status", status: 429, retryAfter: "1000000000" });
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({ code: "rate_limited", retryable: true });
    expect(token.error?.retryAfterMs).toBeGreaterThan(3_000_000);
    await scene.clock.advance(2 * HOUR);
    expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
  });

  test("R-51 R-31 one 429 pauses all sessions of the client", async () => {
    const scene = await openScene();
    const hers = await signInGrace(scene);
    await scene.clock.advance(HOUR);
    scene.fake.fail({ at: "token", kind: "status", status: 429, retryAfter: "7" });
    const ada = follow(scene.session.getAccessToken());
    await scene.clock.advance(100);
    const other = follow(hers.getAccessToken());
    await scene.clock.advance(6_800);
    expect(scene.refreshes()).toHaveLength(1);
    await scene.clock.advance(3_000);
    expect([ada.state, other.state]).toEqual(["fulfilled", "fulfilled"]);
  });

  test("R-52 503 for an hour: served to the end, then server_unavailable; few calls; back within a minute", async () => {
    const scene = await openScene();
    scene.manager.start();
    await scene.clock.advance(HOUR - 661_000);
    const stop = scene.fake.fail({ at: "token", kind: "status", status: 503, times: Infinity });
    const leftMs = (): number => (scene.login.expiresAt ?? 0) - scene.clock.now();
    const minutes = Array.from({ length: 10 }, (_, minute) => 660_000 - minute * 60_000);
    // In its last minute, too, where it is given only because there is none that is better.
    for (const left of [...minutes, 59_000, 40_000, 20_000, 10_000]) {
      await scene.clock.advance(leftMs() - left);
      const token = await run(scene.clock, scene.session.getAccessToken());
      expect(leftMs()).toBeGreaterThan(0);
      expect(token.value).toBe(scene.login.accessToken);
    }
    await scene.clock.advance(leftMs());
    const codes = new Set<string | undefined>();
    for (let minute = 0; minute < 49; minute++) {
      const token = await run(scene.clock, scene.session.getAccessToken());
      codes.add(token.error?.code);
      await scene.clock.advance(60_000);
    }
    expect([...codes].every((code) => code === "server_unavailable" || code === "circuit_open")).toBe(true);
    expect(scene.refreshes().length).toBeLessThan(120);
    expect(scene.heard()).not.toContain("reauthorization_required");
    stop();
    await scene.clock.advance(60_000);
    expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
  });
});

describe("answers that are none", () => {
  const text =
    (body: BodyInit | null, type = "application/json") =>
    (): Response =>
      new Response(body, { headers: { "content-type": type } });
  const utf16 = new Uint8Array(Buffer.from('{"access_token":"a","token_type":"Bearer"}', "utf16le"));
  const MALFORMED: readonly (readonly [string, () => Response, string])[] = [
    ["truncated", text('{"access_token":"a","token_ty'), "token_response_not_json"],
    ["empty", text(""), "token_response_not_json"],
    ["NUL behind it", text('{"access_token":"a","token_type":"Bearer"}\0'), "token_response_not_json"],
    ["UTF-16", text(utf16), "token_response_not_json"],
    ["two objects", text('{"access_token":"a","token_type":"Bearer"}{}'), "token_response_not_json"],
    ["null", text("null"), "token_response_malformed"],
    ["an array", text("[]"), "token_response_malformed"],
    ["a captive portal", text("<html>sign in to the wifi</html>", "text/html"), "token_response_not_json"],
    ["JSON as text", text('{"access_token":"a","token_type":"Bearer"}', "text/plain"), "token_response_not_json"],
  ];
  for (const [name, answer, code] of MALFORMED) {
    test(`R-56 R-58 ${name}: ambiguous, at most three sends, no token lost`, async () => {
      const scene = await openScene();
      await scene.clock.advance(HOUR);
      scene.answers.push(answer, answer, answer);
      const token = await run(scene.clock, scene.session.getAccessToken());
      expect(token.error).toMatchObject({ code, ambiguous: true });
      expect(scene.answers).toHaveLength(0);
      expect(scene.store.stored()?.tokens?.refreshToken).toBe(scene.login.refreshToken);
      await scene.clock.advance(30_000);
      expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
      expect(scene.heard()).not.toContain("reauthorization_required");
    });
  }

  test("R-56 a byte order mark is no fault", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.answers.push(
      text('\uFEFF{"access_token":"a2","refresh_token":"r2","token_type":"Bearer","expires_in":3600}'),
    );
    expect((await run(scene.clock, scene.session.getAccessToken())).value).toBe("a2");
    expect(scene.store.stored()?.tokens?.refreshToken).toBe("r2");
  });

  test("R-56 processed, and half of the answer arrives (strict server): rotation_lost, not a loop", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.fail({ at: "token", kind: "truncated_json" });
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({ code: "reauthorization_required", reason: "rotation_lost" });
    expect(scene.refreshes()).toHaveLength(2);
  });

  test("R-55 no answer at all: timeout after 10 s, then the repeat", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.fail({ at: "token", kind: "hold", until: new Promise(() => undefined) });
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(9_900);
    expect(scene.events.some(({ type }) => type === "refresh_retried")).toBe(false);
    await scene.clock.advance(200);
    expect(scene.events.find(({ type }) => type === "refresh_retried")).toMatchObject({ code: "timeout" });
    await scene.clock.advance(2_000);
    // The held request had been processed; a strict server says so to the repeat.
    expect(token.error).toMatchObject({ code: "reauthorization_required", reason: "rotation_lost" });
  });

  for (const [code, sends] of [
    ["ENOTFOUND", 4],
    ["EAI_AGAIN", 4],
    ["ECONNREFUSED", 4],
    ["UND_ERR_CONNECT_TIMEOUT", 4],
    ["DEPTH_ZERO_SELF_SIGNED_CERT", 1],
    ["ERR_TLS_CERT_ALTNAME_INVALID", 1],
    ["ECONNRESET", 3],
    ["UND_ERR_SOCKET", 3],
    ["SOMETHING_NEW", 3],
  ] as const) {
    test(`R-57 R-58 R-20 ${code}: ${String(sends)} tries, the announcement says what they prove`, async () => {
      const scene = await openScene();
      await scene.clock.advance(HOUR);
      let sent = 0;
      const broken = (): Promise<Response> => {
        sent += 1;
        scene.answers.push(broken);
        return Promise.reject(new TypeError("fetch failed", { cause: Object.assign(new Error("no"), { code }) }));
      };
      scene.answers.push(broken);
      const token = await run(scene.clock, scene.session.getAccessToken());
      expect(token.error).toMatchObject({ code: "network_error" });
      expect(sent).toBe(sends);
      const isProof = sends !== 3;
      expect(scene.store.stored()?.intent === undefined).toBe(isProof);
      scene.answers.length = 0;
      await scene.clock.advance(30_000);
      expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
    });
  }

  test("R-58 a proxy that wants a password: no retry, no token lost", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.fail({ at: "token", kind: "status", status: 407 });
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({ code: "token_http_error", action: "fix_config", retryable: false });
    expect(scene.refreshes()).toHaveLength(1);
    expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
  });

  test("R-75 token_type changes between refreshes: refused, and the refresh token that came with it is kept", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.answers.push(async (request) => {
      const real = (await (await scene.fake.fetch(request)).json()) as object;
      return Response.json({ ...real, token_type: "mac" });
    });
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({ code: "token_type_unsupported" });
    expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
    expect(scene.fake.grants[0]).toMatchObject({ revoked: false, refreshes: 2 });
  });
});

describe("many sessions", () => {
  const crowd = async (size: number, options: { readonly clientSecret?: string } = {}) => {
    const clock = manualClock();
    const fake = fakeDatabricks({ clock, refreshRotation: "single-use" });
    const client = fake.register({ clientSecret: options.clientSecret ?? "secret" });
    const manager = new TokenManager({ clock, random: () => 0.5, refresh: { idleMs: 24 * HOUR } });
    const events: SessionEvent[] = [];
    manager.on("*", (event) => events.push(event));
    const sessions: TokenSession[] = [];
    for (let index = 0; index < size; index++) {
      const subject = `user-${String(index)}`;
      const tokens = await fake.issueTokens({ client, subject });
      sessions.push(await manager.save(client, { subject }, tokens));
    }
    const refreshes = () => fake.requests.filter(({ grant }) => grant === "refresh_token");
    return { clock, fake, client, manager, sessions, events, refreshes };
  };

  test("R-70 R-13 one poison session among two hundred: one call, the others do not notice", async () => {
    const { clock, fake, manager, sessions, refreshes } = await crowd(200);
    fake.revokeGrants("user-100");
    manager.start();
    await clock.advance(HOUR);
    const statuses = await Promise.all(sessions.map((session) => session.status()));
    expect(statuses.filter(({ state }) => state === "reauthorization_required")).toHaveLength(1);
    expect(statuses.filter((status) => status.state === "active" && status.generation === 2)).toHaveLength(199);
    expect(refreshes()).toHaveLength(200);
    await clock.advance(HOUR);
    expect(refreshes()).toHaveLength(399);
  });

  test("R-71 R-34 invalid_client for all: three calls, then the circuit; a corrected secret starts closed", async () => {
    const { clock, fake, client, manager, sessions, events, refreshes } = await crowd(50);
    const { clientId } = client;
    const stop = fake.fail({ at: "token", kind: "oauth_error", error: "invalid_client", status: 401, times: Infinity });
    await clock.advance(HOUR);
    const outcomes = sessions.map((session) => follow(session.getAccessToken()));
    await clock.advance(20_000);
    expect(refreshes().length).toBeLessThanOrEqual(3);
    const codes = new Set(outcomes.map(({ error }) => error?.code));
    expect([...codes].sort()).toEqual(["circuit_open", "client_auth_failed"]);
    expect(events.filter(({ type }) => type === "circuit_opened")).toHaveLength(1);
    expect(events.some(({ type }) => type === "reauthorization_required")).toBe(false);
    stop();
    const corrected = fake.register({ clientId, clientSecret: "another secret" });
    const session = manager.session(corrected, { subject: "user-0" });
    expect((await run(clock, session.getAccessToken())).state).toBe("fulfilled");
  });

  test("R-34 an outage opens the circuit for all, valid tokens go on being served, one probe closes it", async () => {
    const { clock, fake, sessions, events, refreshes } = await crowd(20);
    const stop = fake.fail({ at: "token", kind: "status", status: 503, times: Infinity });
    await clock.advance(HOUR - 400_000);
    for (const session of sessions) expect(await session.getAccessToken()).toBeTypeOf("string");
    await clock.advance(2_000);
    expect(events.filter(({ type }) => type === "circuit_opened")).toHaveLength(1);
    expect(refreshes().length).toBeLessThanOrEqual(6);
    for (const session of sessions) expect(await session.getAccessToken()).toBeTypeOf("string");
    stop();
    await clock.advance(60_000);
    for (const session of sessions) expect((await run(clock, session.getAccessToken())).state).toBe("fulfilled");
    await clock.advance(5_000);
    expect(events.filter(({ type }) => type === "circuit_closed")).toHaveLength(1);
  });

  test("R-33 R-65 three hundred due at once: no more than the rate, every refresh token once", async () => {
    const { clock, fake, manager, sessions, refreshes } = await crowd(300);
    await clock.advance(HOUR);
    manager.start();
    const calls = Promise.all(sessions.slice(0, 100).map((session) => session.getAccessToken()));
    const outcome = follow(calls);
    await clock.advance(40_000);
    expect(outcome.state).toBe("fulfilled");
    const perSecond = new Map<number, number>();
    for (const { time } of refreshes()) {
      const second = Math.floor(time / 1000);
      perSecond.set(second, (perSecond.get(second) ?? 0) + 1);
    }
    expect(Math.max(...perSecond.values())).toBeLessThanOrEqual(20);
    expect(fake.grants.every(({ revoked, refreshes: times }) => revoked === false && times <= 1)).toBe(true);
  });
});

describe("listeners (R-74, S-104)", () => {
  test("R-74 one that throws, one that rejects, one that hangs: nobody notices", async () => {
    const scene = await openScene();
    const seen: string[] = [];
    scene.manager.on("*", () => {
      throw new Error("mine");
    });
    scene.manager.on("*", () => Promise.reject(new Error("mine, later")) as never);
    scene.manager.on("*", () => new Promise(() => undefined) as never);
    scene.manager.on("*", ({ type }) => seen.push(type));
    await scene.clock.advance(HOUR);
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
    expect(seen).toEqual(["refresh_started", "refresh_succeeded"]);
  });

  for (const type of ["refresh_started", "refresh_succeeded", "refresh_failed", "save_failed"] as const) {
    test(`R-74 one that asks for a token at ${type}: joins, no second refresh, no deadlock`, async () => {
      const scene = await openScene();
      await scene.clock.advance(HOUR);
      const inner: unknown[] = [];
      scene.manager.on(type, () => {
        if (inner.length < 3) inner.push(scene.session.getAccessToken().catch((error: unknown) => error));
      });
      if (type === "refresh_failed") scene.fake.fail({ at: "token", kind: "status", status: 407, times: 2 });
      if (type === "save_failed") scene.store.fail("tokens");
      const token = await run(scene.clock, scene.session.getAccessToken());
      expect(token.state).toBe(type === "refresh_failed" ? "rejected" : "fulfilled");
      await scene.clock.advance(5_000);
      await Promise.all(inner);
      expect(inner.length).toBeGreaterThan(0);
      expect(scene.issued).toHaveLength(2);
    });

    test(`R-74 one that closes the manager at ${type}: what was sent is saved`, async () => {
      const scene = await openScene();
      await scene.clock.advance(HOUR);
      const closed: Promise<unknown>[] = [];
      scene.manager.on(type, () => closed.push(scene.manager.close()));
      if (type === "refresh_failed") scene.fake.fail({ at: "token", kind: "status", status: 407 });
      if (type === "save_failed") scene.store.fail("tokens");
      const token = await run(scene.clock, scene.session.getAccessToken());
      // At `refresh_started` nothing has left yet: nothing does any more.
      const isSaved = type === "refresh_succeeded" || type === "save_failed";
      expect(token.state).toBe(isSaved ? "fulfilled" : "rejected");
      await scene.clock.advance(1_000);
      expect(closed).toHaveLength(1);
      expect(await closed[0]).toEqual({ unsaved: [] });
      expect(await thrownBy(() => scene.session.getAccessToken())).toMatchObject({ code: "manager_closed" });
      const kept = isSaved ? issuedAt(scene, 1).refresh_token : scene.login.refreshToken;
      expect(scene.store.stored()).toMatchObject({ tokens: { refreshToken: kept } });
      expect(scene.refreshes()).toHaveLength(type === "refresh_started" ? 0 : 1);
      expect(scene.store.stored()?.intent).toBeUndefined();
    });
  }

  test("S-086 no event carries a secret, and each says whose it is without saying who", async () => {
    const scene = await openScene();
    scene.store.fail("tokens");
    scene.fake.fail({ at: "token", kind: "status", status: 502 });
    await run(scene.clock, scene.session.refresh());
    await scene.clock.advance(5_000);
    await scene.session.forget();
    // A reference is random hex, which may spell "ada".
    const text = JSON.stringify(scene.events).replaceAll(scene.session.reference, "");
    for (const { access_token, refresh_token } of scene.issued) {
      expect(text).not.toContain(access_token);
      expect(text).not.toContain(refresh_token);
    }
    expect(text).not.toContain("ada");
    expect(scene.events.every((event) => !("session" in event) || event.session === scene.session.reference)).toBe(
      true,
    );
  });
});

describe("the machine", () => {
  test("R-62 two thousand sessions wait on one timer", async () => {
    const clock = manualClock();
    let timers = 0;
    let armed = false;
    const counting = {
      ...clock,
      setTimer: (callback: () => void, delayMs: number, options?: { readonly keepAlive?: boolean }) => {
        timers += 1;
        if (!armed) return clock.setTimer(callback, delayMs);
        expect(delayMs).toBeLessThanOrEqual(900_000);
        // Only a question to the store keeps the process, and that for as long as it may take.
        if (options?.keepAlive === true) expect(delayMs).toBe(5_000);
        const cancel = clock.setTimer(callback, delayMs);
        return () => {
          timers -= 1;
          cancel();
        };
      },
    };
    const fake = fakeDatabricks({ clock: counting });
    const manager = new TokenManager({ clock: counting });
    manager.start();
    const tokens = await fake.issueTokens();
    timers = 0;
    armed = true;
    const standing: number[] = [];
    for (let index = 0; index < 2_000; index++) {
      await manager.save(fake.client, { subject: String(index) }, tokens);
      if (index % 100 === 0) standing.push(timers);
    }
    expect(Math.max(...standing)).toBeLessThanOrEqual(1);
    await manager.close();
  });

  for (const [name, blockedMs, isInTime] of [
    ["30 s at the deadline: the answer that came meanwhile is taken", 30_000, true],
    ["10 ms at the deadline: an answer that comes then is late", 10, false],
  ] as const) {
    test(`R-63 the loop was blocked for ${name}`, async () => {
      let machine: HeldUpClock | undefined;
      const scene = await openScene({ refreshRotation: "rotates", watch: (clock) => (machine = heldUp(clock)) });
      await scene.clock.advance(HOUR);
      const arrival = gate();
      scene.answers.push(async (request) => {
        const answer = await scene.fake.fetch(request);
        await arrival.until;
        return answer;
      });
      const token = follow(scene.session.getAccessToken());
      await scene.clock.advance(9_995);
      expect(token.state).toBe("pending");
      // What is late fires first, and only then is read what has arrived.
      await machine?.block(blockedMs);
      arrival.open();
      await scene.clock.advance(0);
      expect(token.value).toBe(isInTime ? issuedAt(scene, 1).access_token : undefined);
      await scene.clock.advance(2_000);
      expect(token.state).toBe("fulfilled");
      expect(scene.refreshes()).toHaveLength(isInTime ? 1 : 2);
      expect(scene.heard().includes("refresh_retried")).toBe(!isInTime);
    });
  }

  test("R-53 a drop before and a drop after are the same to the caller: R-21 decides", async () => {
    for (const when of ["before", "after"] as const) {
      const scene = await openScene({ refreshRotation: "rotates" });
      await scene.clock.advance(HOUR);
      scene.fake.fail({ at: "token", kind: "drop", when });
      const token = await run(scene.clock, scene.session.getAccessToken());
      expect(token.value).toBe(scene.issued.at(-1)?.access_token);
      expect(scene.refreshes()).toHaveLength(2);
    }
  });

  test("R-40 R-55 an answer that takes 8 s: one flight for all who wait", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const calls = Array.from({ length: 20 }, () => follow(scene.session.getAccessToken()));
    await scene.clock.advance(8_000);
    answer.open();
    await scene.clock.advance(0);
    expect(calls.every(({ state }) => state === "fulfilled")).toBe(true);
    expect(scene.refreshes()).toHaveLength(1);
  });
});
