// What can come between a save and its record: other writers, late tries, the end. DESIGN 6, requirements.
import { TokenManager, memoryStore } from "warehouse-oauth";
import type { TokenSession, TokenStore } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import { describe, expect, test } from "vitest";
import { fingerprintOf } from "../../src/session/record.ts";
import { acmeServer, storeWith, success } from "./acme-room.ts";
import { HOUR, follow, gate, holdingTimers, issuedAt, openScene, run } from "./scene.ts";
import type { Outcome, Scene, SceneOptions } from "./scene.ts";

/** An announcement by another process. */
const theirs = {
  attemptId: "11111111-1111-4111-8111-111111111111",
  owner: "22222222-2222-4222-8222-222222222222",
  startedAt: 1_767_225_600_000,
  attempts: 1,
  fingerprint: "0",
};

/** Another process, at a store whose writes of new tokens are done as told. */
function processWriting(
  scene: Scene,
  write: (real: () => Promise<string | undefined>) => Promise<string | undefined>,
): { readonly manager: TokenManager; readonly session: TokenSession; readonly heard: readonly string[] } {
  const store: TokenStore = {
    ...scene.store,
    write: (key, record, options) => {
      const real = (): Promise<string | undefined> => scene.store.write(key, record, options);
      return (JSON.parse(record.value) as { readonly intent?: unknown }).intent === undefined ? write(real) : real();
    },
  };
  const other = scene.process({ store });
  const heard: string[] = [];
  other.manager.on("*", ({ type }) => heard.push(type));
  return { ...other, heard };
}

/** A refresh whose answer is on its way until it is opened. */
async function withAnswerOnItsWay(options?: SceneOptions): Promise<{
  readonly scene: Scene;
  readonly token: Outcome<string>;
  readonly answer: () => Promise<void>;
}> {
  const scene = await openScene(options);
  await scene.clock.advance(HOUR);
  const answer = gate();
  scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
  const token = follow(scene.session.getAccessToken());
  await scene.clock.advance(0);
  return {
    scene,
    token,
    answer: async () => {
      answer.open();
      await scene.clock.advance(0);
    },
  };
}

/** What the server issued, as a record keeps it. */
function issuedTokens(scene: Scene, index: number): { readonly accessToken: string; readonly refreshToken: string } {
  const { access_token: accessToken, refresh_token: refreshToken = "" } = issuedAt(scene, index);
  return { accessToken, refreshToken };
}

describe("a record that somebody else changed under a save (R-43, R-44)", () => {
  test("R-43 it was refreshed under the token that we sent, more than once: ours comes after all of these", async () => {
    const { scene, token, answer } = await withAnswerOnItsWay();
    await scene.store.put({ generation: 5 });
    await answer();
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
    expect(scene.store.stored()).toMatchObject({ generation: 6, state: "active" });
    expect(scene.store.stored()?.tokens?.refreshToken).toBe(issuedAt(scene, 1).refresh_token);
  });

  for (const [what, changes] of [
    ["announced the token that we sent", { intent: theirs }],
    ["found the token that we sent dead", { state: "reauthorization_required", intent: undefined }],
  ] as const) {
    test(`S-045 another process ${what}: ours is saved with a trace of it, and dead it is a lost rotation`, async () => {
      const { scene, token, answer } = await withAnswerOnItsWay();
      await scene.store.put(changes);
      await answer();
      const ours = issuedAt(scene, 1);
      expect(token.value).toBe(ours.access_token);
      const stored = scene.store.stored();
      expect(stored).toMatchObject({ state: "active", generation: 2, tokens: { refreshToken: ours.refresh_token } });
      expect(stored?.intent).toMatchObject({ attempts: 0, fingerprint: fingerprintOf(ours.refresh_token ?? "") });
      expect(stored?.intent?.owner).not.toBe(theirs.owner);
      scene.fake.revokeGrants();
      await scene.clock.advance(HOUR);
      const dead = await run(scene.clock, scene.session.getAccessToken());
      expect(dead.error).toMatchObject({ code: "reauthorization_required", reason: "rotation_lost" });
    });
  }

  test("S-045 the second write fails, too: what the conflict taught is not forgotten", async () => {
    const { scene, answer } = await withAnswerOnItsWay();
    await scene.store.put({ state: "reauthorization_required", cause: "refresh_token_dead", intent: undefined });
    scene.store.fail("intent", 1);
    await answer();
    await scene.clock.advance(5_000);
    const { refresh_token: ours = "" } = issuedAt(scene, 1);
    expect(scene.store.stored()?.intent).toMatchObject({ attempts: 0, fingerprint: fingerprintOf(ours) });
  });

  test("R-43 R-47 the second write fails, too: processes that saw a later generation do not put the spent token back", async () => {
    const { scene, answer } = await withAnswerOnItsWay();
    const spent = scene.login.refreshToken;
    await scene.store.put({ generation: 4 });
    const other = scene.process();
    await run(scene.clock, other.session.status());
    scene.store.fail("tokens", 1);
    await answer();
    await scene.clock.advance(5_000);
    expect(scene.store.stored()).toMatchObject({ generation: 5, tokens: issuedTokens(scene, 1) });
    expect((await run(scene.clock, other.session.refresh(), 100, 20_000)).state).toBe("fulfilled");
    expect(scene.store.stored()?.tokens?.refreshToken).not.toBe(spent);
  });

  test("S-045 nobody but us announced anything: no trace, and dead it is just dead", async () => {
    const { scene, answer } = await withAnswerOnItsWay();
    await scene.store.put({ loginAt: scene.clock.now() - 1 });
    await answer();
    expect(scene.store.stored()).toMatchObject({ generation: 2 });
    expect(scene.store.stored()?.intent).toBeUndefined();
  });

  test("R-43 where refresh tokens stay, a record with ours and an older access token is not taken for what we wrote", async () => {
    const { scene, token, answer } = await withAnswerOnItsWay({ warehouse: "bigquery" });
    await scene.store.put({ loginAt: scene.clock.now() - 1 });
    await answer();
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
    expect(scene.store.stored()?.tokens?.accessToken).toBe(issuedAt(scene, 1).access_token);
  });

  test("S-047 it is gone: signed out, nobody gets the tokens, nothing is left to be saved", async () => {
    const { scene, token, answer } = await withAnswerOnItsWay();
    await scene.store.delete(scene.session.key, { signal: new AbortController().signal });
    await answer();
    expect(token.error).toMatchObject({ code: "reauthorization_required", reason: "refresh_token_absent" });
    expect(scene.heard()).not.toContain("save_failed");
    expect(await scene.store.takeLease(1_000)).toBeDefined();
    expect(await scene.manager.close()).toEqual({ unsaved: [] });
  });

  test("R-44 it has no tokens any more: that counts, and is no failure of the store", async () => {
    const { scene, token, answer } = await withAnswerOnItsWay();
    await scene.store.put({ generation: 2, intent: undefined, tokens: undefined });
    await answer();
    expect(token.error).toMatchObject({ code: "reauthorization_required", reason: "refresh_token_absent" });
    expect(scene.heard()).not.toContain("save_failed");
  });

  test("R-44 a write that was done and called a conflict, as by a driver that repeats, is a success", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const { session, heard } = processWriting(scene, async (real) => {
      await real();
      return undefined;
    });
    const token = await run(scene.clock, session.getAccessToken());
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
    expect(heard).toContain("refresh_succeeded");
    expect(heard).not.toContain("refresh_conflict");
    expect(heard).not.toContain("refresh_adopted");
  });

  test("R-44 R-24 a store that calls every write a conflict: six tries, then as a store that fails", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    let tries = 0;
    let refuses = true;
    const { session, heard } = processWriting(scene, (real) => {
      tries += 1;
      return refuses ? Promise.resolve(undefined) : real();
    });
    const token = await run(scene.clock, session.getAccessToken(), 0, 0);
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
    expect(tries).toBe(6);
    expect(heard).toEqual(expect.arrayContaining(["save_failed", "refresh_succeeded"]));
    refuses = false;
    await scene.clock.advance(60_000);
    expect(scene.store.stored()?.tokens?.refreshToken).toBe(issuedAt(scene, 1).refresh_token);
  });
});

describe("tries to save that overtake each other (R-24, R-11)", () => {
  test("R-73 a late try of tokens that a login replaced lets go of nothing that came after it", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.store.fail("tokens", 1);
    await run(scene.clock, scene.session.getAccessToken(), 0, 0);
    const late = scene.store.hold("tokens");
    await scene.clock.advance(1_000);
    await late.reached;
    const login = await scene.fake.issueTokens({ client: scene.client });
    await scene.manager.save(scene.client, { subject: "ada" }, login);
    scene.store.fail("tokens", 1);
    expect((await run(scene.clock, scene.session.refresh(), 0, 0)).state).toBe("fulfilled");
    late.open();
    await scene.clock.advance(60_000);
    expect(scene.store.stored()?.tokens?.refreshToken).toBe(scene.issued.at(-1)?.refresh_token);
    expect(await scene.manager.close()).toEqual({ unsaved: [] });
  });

  test("R-44 a late try of tokens that were saved and spent meanwhile is no conflict: they are not sent again", async () => {
    const scene = await openScene();
    const { clock, store, session } = scene;
    await clock.advance(HOUR);
    store.fail("tokens", 1);
    await run(clock, session.getAccessToken(), 0, 0);
    const late = store.hold("tokens");
    await clock.advance(1_000);
    await late.reached;
    expect((await run(clock, session.refresh(), 0, 0)).state).toBe("fulfilled");
    late.open();
    await clock.advance(0);
    expect(scene.heard()).not.toContain("refresh_conflict");
    scene.fake.revokeGrants();
    await run(clock, session.refresh());
    const tokens = scene.refreshes().map(({ parameters }) => parameters["refresh_token"]);
    expect(new Set(tokens).size).toBe(3);
    expect(tokens).toHaveLength(3);
  });

  test("R-24 the next try to save keeps the program alive", async () => {
    const timers = holdingTimers();
    const scene = await openScene({ watch: timers.watch });
    await scene.clock.advance(HOUR);
    scene.store.fail("tokens", 1);
    await run(scene.clock, scene.session.getAccessToken(), 0, 0);
    expect(timers.pending()).toBe(1);
    await scene.clock.advance(1_000);
    expect(scene.store.stored()).toMatchObject({ generation: 2 });
    expect(timers.pending()).toBe(0);
  });

  test("R-11 a try that fails after another one succeeded is not repeated, and holds no program", async () => {
    const timers = holdingTimers();
    const scene = await openScene({ watch: timers.watch });
    await scene.clock.advance(HOUR);
    scene.store.fail("tokens", 1);
    await run(scene.clock, scene.session.getAccessToken(), 0, 0);
    scene.store.hang("tokens", 1);
    await scene.clock.advance(1_000);
    expect((await run(scene.clock, scene.session.refresh(), 0, 0)).state).toBe("fulfilled");
    await scene.clock.advance(4_300);
    for (let tick = 0; tick < 20; tick++) {
      expect(timers.pending()).toBe(0);
      await scene.clock.advance(100);
    }
    expect(scene.store.stored()).toMatchObject({ generation: 3 });
  });

  test("R-11 a try that fails after the end is not repeated, and holds no program", async () => {
    const timers = holdingTimers();
    const scene = await openScene({ watch: timers.watch });
    await scene.clock.advance(HOUR);
    scene.store.fail("tokens", 1);
    await run(scene.clock, scene.session.getAccessToken(), 0, 0);
    scene.store.hang("tokens", 1);
    await scene.clock.advance(1_000);
    scene.store.fail("tokens", 1);
    expect(await scene.manager.close()).toEqual({ unsaved: [scene.session.key] });
    await scene.clock.advance(4_300);
    for (let tick = 0; tick < 20; tick++) {
      expect(timers.pending()).toBe(0);
      await scene.clock.advance(100);
    }
  });

  test("R-11 R-72 a first try that outlives the end is not repeated: the store is left alone", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.store.hang("tokens", 2);
    const token = follow(scene.session.getAccessToken());
    await scene.clock.advance(0);
    const closing = follow(scene.manager.close({ drainMs: 1_000 }));
    await scene.clock.advance(7_000);
    expect(closing.value).toEqual({ unsaved: [scene.session.key] });
    expect(token.value).toBe(issuedAt(scene, 1).access_token);
    const asked = scene.store.steps.length;
    expect(scene.store.steps.filter((step) => step === "tokens")).toHaveLength(3); // the login's, ours, the end's
    await scene.clock.advance(HOUR);
    expect(scene.store.steps).toHaveLength(asked);
  });
});

test("R-24 the store breaks after the list of due sessions was written: callers get what came, not what was refused", async () => {
  const clock = manualClock();
  const server = acmeServer(clock, {}, 3_600);
  const inner = memoryStore({ clock });
  const listed = gate();
  const answered = gate();
  let isDown = false;
  const store = storeWith(
    clock,
    {
      // Another process took it off the list.
      read: async (key, options) => {
        const found = await inner.read(key, options);
        return found && { ...found, record: { value: found.record.value } };
      },
      write: async (key, record, options) => {
        if (isDown) throw new Error("down");
        await listed.until;
        return inner.write(key, record, options);
      },
    },
    inner,
  );
  await new TokenManager({ clock, store: storeWith(clock, {}, inner) }).save(
    server.client,
    { subject: "ada" },
    server.tokens(),
  );
  const session = new TokenManager({ clock, store }).session(server.client, { subject: "ada" });
  const rejected = await session.getAccessToken();
  server.answer = async () => {
    await answered.until;
    return success("access-1");
  };
  const token = follow(session.getAccessToken({ rejected }));
  await clock.advance(10);
  listed.open();
  await clock.advance(0);
  isDown = true;
  answered.open();
  await clock.advance(10);
  expect(token.value).toBe("access-1");
});
