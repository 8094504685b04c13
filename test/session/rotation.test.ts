import { exportTokens, refreshTokens } from "warehouse-oauth";
import type { Clock } from "warehouse-oauth";
import type { ManualClock } from "warehouse-oauth/testing";
import { describe, expect, test } from "vitest";
import { HOUR, follow, gate, openScene, run, saveElsewhere, issuedAt } from "./scene.ts";
import type { Scene } from "./scene.ts";

describe("the transaction, step by step (DESIGN 6)", () => {
  test("R-24 R-35 looks, takes the lease, looks again, announces, sends, saves, gives the lease back", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.store.steps.length = 0;
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
    expect(scene.store.steps).toEqual(["read", "lease", "read", "intent", "tokens", "release"]);
    expect(scene.store.stored()).toMatchObject({ generation: 2, state: "active", rotates: true });
    expect(scene.store.stored()?.intent).toBeUndefined();
  });

  test("R-64 R-40 a thousand callers of an expired and cold session are one token request", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const { session } = scene.process();
    const all = await run(scene.clock, Promise.all(Array.from({ length: 1000 }, () => session.getAccessToken())));
    expect(new Set(all.value)).toEqual(new Set([issuedAt(scene, 1).access_token]));
    expect(scene.refreshes()).toHaveLength(1);
    expect(scene.fake.grants[0]?.revoked).toBe(false);
  });

  test("R-40 a caller's abort detaches this caller; the flight goes on for the others", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const reason = new Error("mine");
    const controller = new AbortController();
    const first = follow(scene.session.getAccessToken({ signal: controller.signal }));
    const second = follow(scene.session.getAccessToken());
    await scene.clock.advance(0);
    controller.abort(reason);
    await first.promise;
    expect(first.error).toBe(reason);
    answer.open();
    await scene.clock.advance(0);
    expect(second.value).toBe(issuedAt(scene, 1).access_token);
    expect(scene.refreshes()).toHaveLength(1);
  });

  test("R-40 a flight that everybody left is saved all the same, and rejects nobody's promise", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const controller = new AbortController();
    const only = follow(scene.session.getAccessToken({ signal: controller.signal }));
    await scene.clock.advance(0);
    controller.abort();
    await only.promise;
    answer.open();
    await scene.clock.advance(0);
    expect(scene.store.stored()?.tokens?.refreshToken).toBe(issuedAt(scene, 1).refresh_token);
  });

  test("R-24 nothing is sent before the announcement is written", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const announcing = scene.store.hold("intent");
    const token = follow(scene.session.getAccessToken());
    await announcing.reached;
    await scene.clock.advance(0);
    expect(scene.refreshes()).toHaveLength(0);
    announcing.open();
    await scene.clock.advance(0);
    expect(token.state).toBe("fulfilled");
    expect(scene.refreshes()).toHaveLength(1);
  });

  test("R-24 a store that cannot be written costs no refresh token: nothing is sent", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.store.fail("intent", Infinity);
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({ code: "store_unavailable", operation: "write" });
    expect(scene.refreshes()).toHaveLength(0);
    scene.store.heal();
    expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
  });

  test("R-24 the caller gets no token that the store was not asked to save", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const saving = scene.store.hold("tokens");
    const token = follow(scene.session.getAccessToken());
    await saving.reached;
    await scene.clock.advance(0);
    expect(token.state).toBe("pending");
    expect(scene.session.peek()).toBeUndefined();
    expect(scene.heard()).not.toContain("refresh_succeeded");
    saving.open();
    await scene.clock.advance(0);
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
  });

  test("S-043 a warehouse known not to rotate gets no announcement", async () => {
    const scene = await openScene({ warehouse: "bigquery" });
    await scene.clock.advance(HOUR);
    scene.store.steps.length = 0;
    await run(scene.clock, scene.session.getAccessToken());
    expect(scene.store.steps).toEqual(["read", "lease", "read", "tokens", "release"]);
    expect(scene.store.stored()?.tokens?.refreshToken).toBe(scene.login.refreshToken);
  });

  test("S-043 R-75 an answer with another refresh token teaches the record, for good", async () => {
    const scene = await openScene({ warehouse: "bigquery", refreshRotation: "single-use" });
    await scene.clock.advance(HOUR);
    await run(scene.clock, scene.session.getAccessToken());
    expect(scene.store.stored()).toMatchObject({ rotates: true });
    await scene.clock.advance(HOUR);
    scene.store.steps.length = 0;
    scene.fake.fail({ at: "token", kind: "omit_refresh_token" });
    await run(scene.clock, scene.session.getAccessToken());
    expect(scene.store.steps).toContain("intent");
    expect(scene.store.stored()).toMatchObject({ rotates: true });
  });

  test("S-043 R-75 an answer without a refresh token keeps the old one", async () => {
    const scene = await openScene();
    scene.fake.fail({ at: "token", kind: "omit_refresh_token" });
    await run(scene.clock, scene.session.refresh());
    expect(scene.store.stored()?.tokens).toMatchObject({
      accessToken: issuedAt(scene, 1).access_token,
      refreshToken: scene.login.refreshToken,
    });
    await run(scene.clock, scene.session.refresh());
    expect(scene.store.stored()?.tokens?.refreshToken).toBe(issuedAt(scene, 2).refresh_token);
  });

  test("R-54 rotated twice: the refresh token that the server told last is the one that is kept", async () => {
    const scene = await openScene();
    scene.fake.fail({ at: "token", kind: "rotate_twice" });
    await run(scene.clock, scene.session.refresh());
    expect((await run(scene.clock, scene.session.refresh())).state).toBe("fulfilled");
    expect(scene.fake.grants[0]).toMatchObject({ revoked: false, refreshes: 2 });
  });

  test("S-044 tokens of another connection are not sent anywhere", async () => {
    const scene = await openScene();
    const other = scene.fake.register();
    const foreign = await scene.fake.issueTokens({ client: other as never });
    await expect(scene.manager.save(scene.client, { subject: "ada" }, foreign)).rejects.toMatchObject({
      code: "tokens_invalid",
    });
    const tokens = { ...(scene.store.stored()?.tokens ?? {}), connectionId: other.connectionId };
    await scene.store.put({ tokens });
    const { session } = scene.process();
    for (const ageMs of [0, HOUR]) {
      await scene.clock.advance(ageMs);
      const outcome = await run(scene.clock, session.getAccessToken());
      expect(outcome.error).toMatchObject({ code: "reauthorization_required", reason: "connection_changed" });
      expect(session.peek()).toBeUndefined();
    }
    expect(scene.refreshes()).toHaveLength(0);
  });
});

describe("the lease", () => {
  test("R-41 a record that moved on before the lease is adopted; no lease is asked for", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const other = scene.process();
    await run(scene.clock, other.session.getAccessToken());
    scene.store.steps.length = 0;
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
    expect(scene.store.steps).toEqual(["read"]);
    expect(scene.refreshes()).toHaveLength(1);
    expect(scene.heard()).toContain("refresh_adopted");
  });

  test("R-41 a record that moved on while the lease was asked for is adopted after it", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const asking = scene.store.hold("lease");
    const late = follow(scene.session.getAccessToken());
    await asking.reached;
    const other = scene.process();
    await run(scene.clock, other.session.getAccessToken());
    asking.open();
    await scene.clock.advance(0);
    expect(late.value).toBe(issuedAt(scene, 1).access_token);
    expect(scene.refreshes()).toHaveLength(1);
  });

  test("R-42 a busy lease is waited for; a newer record ends the wait", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const other = scene.process();
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const holder = follow(other.session.getAccessToken());
    await scene.clock.advance(0);
    const waiter = follow(scene.session.getAccessToken());
    await scene.clock.advance(5_000);
    expect(waiter.state).toBe("pending");
    answer.open();
    await scene.clock.advance(500);
    expect(holder.value).toBe(issuedAt(scene, 1).access_token);
    expect(waiter.value).toBe(holder.value);
    expect(scene.refreshes()).toHaveLength(1);
  });

  test("R-42 a lease that is never free ends the wait with lease_timeout", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const lease = await scene.store.takeLease(10 * HOUR);
    const outcome = follow(scene.session.getAccessToken({ signal: new AbortController().signal }));
    await scene.clock.advance(29_000);
    expect(outcome.state).toBe("pending");
    await scene.clock.advance(2_000);
    expect(outcome.error).toMatchObject({ code: "lease_timeout", retryable: true });
    expect(scene.refreshes()).toHaveLength(0);
    await lease?.release();
    expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
  });

  test("R-42 with a lease store that is down nothing that rotates is sent, and a valid token is served", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR - 400_000);
    scene.store.fail("lease", Infinity);
    expect(await scene.session.getAccessToken()).toBe(scene.login.accessToken);
    await scene.clock.advance(1_000);
    expect(scene.refreshes()).toHaveLength(0);
    await scene.clock.advance(400_000);
    const expired = await run(scene.clock, scene.session.getAccessToken());
    expect(expired.error).toMatchObject({ code: "store_unavailable", operation: "lease" });
    expect(scene.refreshes()).toHaveLength(0);
  });

  test("R-43 a process that was paused past its lease sends nothing under it, and begins anew, once", async () => {
    let pausedMs = 0;
    const watch = (clock: ManualClock): Clock => ({ ...clock, monotonic: () => clock.monotonic() + pausedMs });
    const scene = await openScene({ watch });
    await scene.clock.advance(HOUR);
    const announcing = scene.store.hold("intent", "after");
    const token = follow(scene.session.getAccessToken());
    await announcing.reached;
    pausedMs = 61_000;
    const announcingAgain = scene.store.hold("intent", "after");
    announcing.open();
    await scene.clock.advance(1_000);
    await announcingAgain.reached;
    expect(scene.refreshes()).toHaveLength(0);
    expect(token.state).toBe("pending");
    pausedMs = 122_000;
    announcingAgain.open();
    await scene.clock.advance(0);
    expect(scene.refreshes()).toHaveLength(0);
    expect(token.error).toMatchObject({ code: "lease_lost" });
    // What was announced and not sent did not happen: no trace of it is left.
    expect(scene.store.stored()?.intent).toBeUndefined();
    expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
  });

  test("R-43 a holder paused past its lease takes back nothing that somebody else wrote", async () => {
    let pausedMs = 0;
    const watch = (clock: ManualClock): Clock => ({ ...clock, monotonic: () => clock.monotonic() + pausedMs });
    const scene = await openScene({ watch });
    await scene.clock.advance(HOUR);
    const announcing = scene.store.hold("intent", "after");
    const paused = follow(scene.session.getAccessToken());
    await announcing.reached;
    pausedMs = 61_000;
    const other = scene.process();
    const token = await run(scene.clock, other.session.getAccessToken());
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
    announcing.open();
    await scene.clock.advance(1_000);
    expect(paused.value).toBe(token.value); // looked again, and found it
    expect(scene.store.stored()?.tokens?.refreshToken).toBe(issuedAt(scene, 1).refresh_token);
    expect(scene.refreshes()).toHaveLength(1);
  });

  test("R-43 the lease is renewed while the answer takes its time", async () => {
    const scene = await openScene({ manager: { leaseTtlMs: 3_000 } });
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(9_000);
    expect(scene.store.steps.filter((step) => step === "renew").length).toBeGreaterThanOrEqual(8);
    expect(await scene.store.takeLease(1_000)).toBeUndefined();
    answer.open();
    await scene.clock.advance(0);
    expect(token.state).toBe("fulfilled");
    expect(await scene.store.takeLease(1_000)).toBeDefined();
  });

  test("R-69 a lease that cannot be given back holds up nobody for longer than the store's deadline", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.store.hang("release");
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(5_100);
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
  });

  test("R-45 a dead holder's lease ends, and the next one refreshes", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    await scene.store.takeLease(20_000);
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(19_000);
    expect(token.state).toBe("pending");
    await scene.clock.advance(2_000);
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
  });

  test("R-24 the lease is not kept while a caller waits before a retry", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.fail({ at: "token", kind: "status", status: 429, retryAfter: "7" });
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(1_000);
    const lease = await scene.store.takeLease(1_000);
    expect(lease).toBeDefined();
    await lease?.release();
    await scene.clock.advance(10_000);
    expect(token.state).toBe("fulfilled");
  });
});

describe("announcements of others (R-45)", () => {
  const orphan = {
    attemptId: "11111111-1111-4111-8111-111111111111",
    owner: "22222222-2222-4222-8222-222222222222",
    startedAt: 1_767_225_600_000,
    attempts: 1,
    fingerprint: "0".repeat(24),
  };

  test("R-45 with a valid token the record is watched for one lease time, then the stored token is tried", async () => {
    const scene = await openScene();
    scene.manager.start();
    await scene.clock.advance(HOUR - 700_000);
    await scene.store.put({ intent: orphan });
    await scene.clock.advance(300_000); // past the latest moment at which it may fall due, and one lease
    expect(scene.refreshes()).toHaveLength(1);
    const foundAt = scene.store.steps.indexOf("lease");
    expect(foundAt).toBeGreaterThan(0);
    expect(scene.store.stored()).toMatchObject({ generation: 2 });
  });

  test("R-45 nothing is sent before that lease time is over", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR - 400_000);
    await scene.store.put({ intent: orphan });
    await scene.session.getAccessToken();
    await scene.clock.advance(50_000);
    await scene.session.getAccessToken();
    await scene.clock.advance(5_000);
    expect(scene.refreshes()).toHaveLength(0);
    await scene.clock.advance(10_000);
    await scene.session.getAccessToken();
    await scene.clock.advance(1_000);
    expect(scene.refreshes()).toHaveLength(1);
  });

  test("R-45 what the other one saves after all is adopted, and nothing is sent", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR - 400_000);
    await scene.store.put({ intent: orphan });
    await scene.session.getAccessToken();
    await scene.clock.advance(1_000);
    const tokens = { ...scene.store.stored()?.tokens, accessToken: "theirs", refreshToken: "theirs-too" };
    await scene.store.put({ generation: 2, intent: undefined, tokens });
    await scene.clock.advance(60_000);
    await scene.session.getAccessToken();
    await scene.clock.advance(1_000);
    expect(await scene.session.getAccessToken()).toBe("theirs");
    expect(scene.refreshes()).toHaveLength(0);
  });

  test("R-45 with an expired token nobody waits: it is tried at once", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    await scene.store.put({ intent: orphan });
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
  });

  test("R-45 R-04 with a token that was refused nobody waits either", async () => {
    const scene = await openScene();
    await scene.store.put({ intent: orphan });
    const token = follow(scene.session.getAccessToken({ rejected: scene.login.accessToken }));
    await scene.clock.advance(2_000);
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
  });

  test("S-045 R-25 the orphan's token is answered dead: rotation_lost, quarantined", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    await scene.store.put({ intent: orphan });
    scene.fake.revokeGrants();
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({ code: "reauthorization_required", reason: "rotation_lost" });
    expect(scene.heard()).toEqual(expect.arrayContaining(["rotation_lost", "reauthorization_required"]));
    expect(scene.store.stored()).toMatchObject({ state: "reauthorization_required", cause: "rotation_lost" });
    const sent = scene.refreshes().length;
    await run(scene.clock, scene.session.getAccessToken());
    expect(scene.refreshes()).toHaveLength(sent);
  });
});

describe("answers that got lost (R-21, R-22)", () => {
  test("R-54 R-22 processed, answer dropped, strict server: two repeats within 30 s, then rotation_lost", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.fail({ at: "token", kind: "drop", when: "after" });
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({ code: "reauthorization_required", reason: "rotation_lost" });
    expect(scene.refreshes().length).toBeLessThanOrEqual(3);
    expect(scene.heard()).toContain("rotation_lost");
  });

  test("R-54 not processed: the repeat succeeds, and nobody is told of an end", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.fail({ at: "token", kind: "drop", when: "before", times: 2 });
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
    expect(scene.refreshes()).toHaveLength(3);
    expect(scene.heard()).not.toContain("rotation_lost");
  });

  test("R-54 a server with grace: the answer was dropped, the repeat gets the next pair", async () => {
    const scene = await openScene({ refreshRotation: "rotates" });
    await scene.clock.advance(HOUR);
    scene.fake.fail({ at: "token", kind: "drop", when: "after" });
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.value).toBe(scene.issued.at(-1)?.access_token);
    expect(scene.store.stored()?.tokens?.refreshToken).toBe(scene.issued.at(-1)?.refresh_token);
  });

  test("R-21 each repeat comes after another look at the store; what others saved meanwhile is adopted", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.answers.push(() => Promise.reject(new TypeError("fetch failed")));
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(0);
    await saveElsewhere(scene);
    await scene.clock.advance(2_000);
    expect(token.value).toBe("theirs");
    expect(scene.refreshes()).toHaveLength(0);
  });

  test("R-21 never more than three sends in 30 s, however many callers come one after the other", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.fail({ at: "token", kind: "status", status: 502, times: Infinity });
    const sends: number[] = [];
    for (let caller = 0; caller < 4; caller++) {
      const { error } = await run(scene.clock, scene.session.getAccessToken());
      expect(error).toMatchObject({ code: "server_unavailable", ambiguous: true });
      sends.push(scene.refreshes().length);
    }
    expect(sends).toEqual([3, 3, 3, 3]);
    expect(scene.heard().filter((type) => type === "refresh_failed")).toHaveLength(1);
    await scene.clock.advance(30_000);
    await run(scene.clock, scene.session.getAccessToken());
    expect(scene.refreshes()).toHaveLength(4);
  });

  test("R-21 another process that comes then waits for the rest of the 30 s, or for what is saved meanwhile", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.fail({ at: "token", kind: "status", status: 502, times: 3 });
    await run(scene.clock, scene.session.getAccessToken());
    const late = follow(scene.process().session.getAccessToken());
    await scene.clock.advance(25_000);
    expect(late.state).toBe("pending");
    expect(scene.refreshes()).toHaveLength(3);
    await saveElsewhere(scene);
    await scene.clock.advance(1_000);
    expect(late.value).toBe("theirs");
    expect(scene.refreshes()).toHaveLength(3);
  });

  test("R-22 an hour of 502 ends nothing: degraded, then back", async () => {
    const scene = await openScene();
    scene.manager.start();
    await scene.clock.advance(HOUR - 700_000);
    const stop = scene.fake.fail({ at: "token", kind: "status", status: 502, times: Infinity });
    await scene.clock.advance(600_000);
    expect(await scene.session.status()).toMatchObject({ state: "degraded", cause: "server_unavailable" });
    for (let minute = 0; minute < 60; minute++) {
      await scene.clock.advance(60_000);
      if (minute % 10 === 0) await run(scene.clock, scene.session.getAccessToken());
    }
    const sent = scene.refreshes().length;
    expect(sent).toBeLessThan(40);
    expect((await scene.session.status()).state).toBe("degraded");
    stop();
    await scene.clock.advance(600_000);
    expect((await scene.session.status()).state).toBe("active");
    expect(scene.heard()).not.toContain("reauthorization_required");
  });

  test("R-22 R-03 while the token is valid an ambiguous failure reaches no caller", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR - 400_000);
    scene.fake.fail({ at: "token", kind: "status", status: 502, times: Infinity });
    for (let second = 0; second < 120; second += 10) {
      expect(await scene.session.getAccessToken()).toBe(scene.login.accessToken);
      await scene.clock.advance(10_000);
    }
    expect(scene.refreshes().length).toBeLessThanOrEqual(4);
  });
});

describe("R-09 a process that slept while its tokens were on their way, until they ended", () => {
  /** Sleeps through the answers to come. */
  async function openSleeper(answers: number): Promise<Scene> {
    let sleptMs = 0;
    const watch = (clock: ManualClock): Clock => ({
      now: () => clock.now() + sleptMs,
      monotonic: () => clock.monotonic() + sleptMs,
      setTimer: (callback, delayMs, options) => clock.setTimer(callback, delayMs, options),
    });
    const scene = await openScene({ watch });
    await scene.clock.advance(HOUR);
    for (let count = 0; count < answers; count++) {
      scene.answers.push(() => {
        sleptMs += HOUR;
        return undefined; // the fake answers
      });
    }
    return scene;
  }

  test("refreshes once more: the caller gets a token that is good", async () => {
    const scene = await openSleeper(1);
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.value).toBe(issuedAt(scene, 2).access_token);
    expect(scene.refreshes()).toHaveLength(2);
    expect(scene.store.stored()).toMatchObject({ generation: 3, state: "active" });
  });

  test("does so once: who sleeps through that as well gets what came", async () => {
    const scene = await openSleeper(2);
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.value).toBe(issuedAt(scene, 2).access_token);
    expect(scene.refreshes()).toHaveLength(2);
  });
});

describe("answered dead", () => {
  test("R-41 invalid_grant after somebody else rotated is no death: theirs is adopted", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.answers.push(async () => {
      // While our request is on its way the other process, whose lease we do not see, saves.
      const tokens = { ...scene.store.stored()?.tokens, accessToken: "theirs", refreshToken: "theirs-too" };
      await scene.store.put({
        generation: 2,
        intent: undefined,
        tokens: { ...tokens, obtainedAt: scene.clock.now(), expiresAt: scene.clock.now() + HOUR },
      });
      return Response.json({ error: "invalid_grant" }, { status: 400 });
    });
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.value).toBe("theirs");
    expect(scene.heard()).toContain("refresh_adopted");
    expect(scene.store.stored()?.state).toBe("active");
  });

  test("R-41 invalid_grant: what somebody else saved within the second that follows counts", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.fail({ at: "token", kind: "oauth_error", error: "invalid_grant" });
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(500);
    expect(token.state).toBe("pending");
    const tokens = { ...scene.store.stored()?.tokens, accessToken: "theirs", refreshToken: "theirs-too" };
    await scene.store.put({
      generation: 2,
      intent: undefined,
      tokens: { ...tokens, obtainedAt: scene.clock.now(), expiresAt: scene.clock.now() + HOUR },
    });
    await scene.clock.advance(600);
    expect(token.value).toBe("theirs");
  });

  test("R-41 a newer record whose token has ended already is refreshed, not buried", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.answers.push(async () => {
      // The other process rotated for real, and its token ended while this one slept.
      const theirs = await refreshTokens(scene.client, scene.login);
      await scene.store.put({ generation: 2, intent: undefined, tokens: exportTokens(theirs) });
      scene.clock.jump(HOUR);
      return Response.json({ error: "invalid_grant" }, { status: 400 });
    });
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toBeUndefined();
    expect(token.value).toBe(issuedAt(scene, 2).access_token);
    expect(scene.store.stored()).toMatchObject({ state: "active", generation: 3 });
    expect(scene.fake.grants[0]).toMatchObject({ revoked: false, refreshes: 2 });
  });

  test("S-045 R-13 confirmed: marked, not deleted, no more network, the same error for all", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.revokeGrants();
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({
      code: "reauthorization_required",
      reason: "refresh_token_dead",
      action: "reauthorize",
      retryable: false,
    });
    expect(scene.store.stored()).toMatchObject({ state: "reauthorization_required", cause: "refresh_token_dead" });
    expect(scene.store.stored()?.tokens?.refreshToken).toBe(scene.login.refreshToken);
    scene.manager.start();
    for (let caller = 0; caller < 5; caller++) {
      const again = await run(scene.clock, scene.session.getAccessToken());
      expect(again.error).toMatchObject({ code: "reauthorization_required", reason: "refresh_token_dead" });
      await scene.clock.advance(HOUR);
    }
    expect(scene.refreshes()).toHaveLength(1);
    expect(scene.heard().filter((type) => type === "reauthorization_required")).toHaveLength(1);
  });

  test("R-13 the quarantine ends with new tokens", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.revokeGrants();
    await run(scene.clock, scene.session.getAccessToken());
    const tokens = await scene.fake.issueTokens({ client: scene.client });
    await scene.manager.save(scene.client, { subject: "ada" }, tokens);
    expect(await scene.session.getAccessToken()).toBe(tokens.accessToken);
    expect((await scene.session.status()).state).toBe("active");
    expect(scene.store.stored()?.generation).toBeGreaterThan(1);
  });

  test("R-03 answered dead while the access token is valid: it goes on being handed out, status and event change", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR - 400_000);
    scene.fake.revokeGrants();
    expect(await scene.session.getAccessToken()).toBe(scene.login.accessToken);
    await scene.clock.advance(2_000);
    expect(await scene.session.status()).toMatchObject({
      state: "reauthorization_required",
      cause: "refresh_token_dead",
    });
    expect(scene.heard()).toContain("reauthorization_required");
    expect(await scene.session.getAccessToken()).toBe(scene.login.accessToken);
    expect(scene.session.peek()).toBe(scene.login.accessToken);
    await scene.clock.advance(400_000);
    const ended = await run(scene.clock, scene.session.getAccessToken());
    expect(ended.error).toMatchObject({ code: "reauthorization_required" });
  });

  test("R-23 another process sees the end without asking the server", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.revokeGrants();
    await run(scene.clock, scene.session.getAccessToken());
    const other = scene.process();
    const token = await run(scene.clock, other.session.getAccessToken());
    expect(token.error).toMatchObject({ code: "reauthorization_required" });
    expect(scene.refreshes()).toHaveLength(1);
  });

  test("R-23 the store fails when the end is to be written: nothing is lost, the next one finds out again", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.revokeGrants();
    scene.store.fail("dead");
    const first = await run(scene.clock, scene.session.getAccessToken());
    expect(first.error).toMatchObject({ code: "store_unavailable" });
    const second = await run(scene.clock, scene.session.getAccessToken());
    // Our own announcement is still there; it was answered, and is no sign of theft.
    expect(second.error).toMatchObject({ code: "reauthorization_required", reason: "refresh_token_dead" });
    expect(scene.heard()).not.toContain("rotation_lost");
  });

  test("R-23 what was found of one refresh token is not said of the next one", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    // The first is lost: its answer never came, and the repeat was refused.
    scene.fake.fail({ at: "token", kind: "drop", when: "after" });
    scene.store.fail("dead");
    await run(scene.clock, scene.session.getAccessToken());
    const tokens = await scene.fake.issueTokens({ client: scene.client });
    await scene.manager.save(scene.client, { subject: "ada" }, tokens);
    await scene.clock.advance(HOUR);
    scene.fake.revokeGrants();
    const second = await run(scene.clock, scene.session.getAccessToken());
    expect(second.error).toMatchObject({ code: "reauthorization_required", reason: "refresh_token_dead" });
    expect(scene.heard()).not.toContain("rotation_lost");
  });

  test("R-21 that a server rotates is not forgotten with a new login", async () => {
    const scene = await openScene();
    await run(scene.clock, scene.session.refresh());
    expect(scene.store.stored()?.rotates).toBe(true);
    await scene.manager.save(scene.client, { subject: "ada" }, await scene.fake.issueTokens({ client: scene.client }));
    expect(scene.store.stored()?.rotates).toBe(true);
  });

  test("S-045 interaction_required is no lost rotation", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.fake.fail({ at: "token", kind: "oauth_error", error: "interaction_required" });
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toMatchObject({ code: "reauthorization_required", reason: "interaction_required" });
  });
});

describe("answers that are bad in part", () => {
  test("R-61 S-035 a refresh token that comes with a bad lifetime is saved; the lifetime counts as unknown", async () => {
    for (const lifetime of [-5, "abc", "", null, true, []]) {
      const scene = await openScene();
      await scene.clock.advance(HOUR);
      scene.answers.push(() =>
        Response.json({ access_token: "a2", refresh_token: "r2", token_type: "Bearer", expires_in: lifetime }),
      );
      const token = await run(scene.clock, scene.session.getAccessToken());
      expect(token.value).toBe("a2");
      expect(scene.store.stored()?.tokens?.refreshToken).toBe("r2");
      expect(scene.events.find(({ type }) => type === "refresh_succeeded")).toMatchObject({
        warning: "token_expires_in_invalid",
      });
    }
  });

  test("R-56 a refresh token in an answer that is refused is saved before anything else, and used next", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.answers.push(async (request) => {
      const real = (await (await scene.fake.fetch(request)).json()) as Record<string, unknown>;
      return Response.json({ ...real, token_type: undefined });
    });
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.error).toBeUndefined();
    expect(token.value).toBe(scene.issued.at(-1)?.access_token);
    expect(scene.fake.grants[0]).toMatchObject({ revoked: false, refreshes: 2 });
  });

  test("R-56 S-043 a rotation answered as text is not sent again with the refresh token it spent", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const sent: (string | null)[] = [];
    const spy = async (request: Request): Promise<Response> => {
      sent.push(new URLSearchParams(await request.clone().text()).get("refresh_token"));
      return scene.fake.fetch(request);
    };
    scene.answers.push(async (request) => {
      const real = await spy(request);
      return new Response(await real.text(), { headers: { "content-type": "text/plain" } });
    }, spy);
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(sent).toEqual([scene.login.refreshToken, issuedAt(scene, 1).refresh_token]);
    expect(token.value).toBe(scene.issued.at(-1)?.access_token);
    expect(scene.fake.grants[0]).toMatchObject({ revoked: false, refreshes: 2 });
  });

  test("R-56 the rescued token is used after any uptime: the clock's zero is no reason to give up", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const { session } = scene;
    scene.answers.push(async (request) => {
      const real = (await (await scene.fake.fetch(request)).json()) as Record<string, unknown>;
      return Response.json({ refresh_token: real["refresh_token"], token_type: "Bearer" });
    });
    expect((await run(scene.clock, session.getAccessToken())).value).toBe(scene.issued.at(-1)?.access_token);
  });
});

describe("single-use mode at Snowflake (rotation voids access tokens)", () => {
  test("R-01 no stale zone, nothing by itself; callers wait at the hard margin", async () => {
    const scene = await openScene({ warehouse: "snowflake", refreshRotation: "single-use" });
    scene.manager.start();
    await run(scene.clock, scene.session.refresh());
    const second = issuedAt(scene, 1).access_token;
    for (let at = 0; at < 560_000; at += 10_000) {
      expect(await scene.session.getAccessToken()).toBe(second);
      await scene.clock.advance(10_000);
    }
    expect(scene.refreshes()).toHaveLength(1);
    await scene.clock.advance(15_000);
    const token = await run(scene.clock, scene.session.getAccessToken());
    expect(token.value).toBe(issuedAt(scene, 2).access_token);
  });

  test("R-04 a request refused with the old token gets the current one, without a refresh", async () => {
    const scene = await openScene({ warehouse: "snowflake", refreshRotation: "single-use" });
    const before = scene.login.accessToken;
    await run(scene.clock, scene.session.refresh());
    const token = await run(scene.clock, scene.session.getAccessToken({ rejected: before }));
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
    expect(scene.refreshes()).toHaveLength(1);
  });
});
