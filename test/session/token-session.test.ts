// What a session's handle does by itself: requirements, S-047.
import { describe, expect, test } from "vitest";
import { hardMarginOf } from "../../src/session/refresh-policy.ts";
import { HOUR, follow, gate, issuedAt, openScene, run } from "./scene.ts";

const idleMs = HOUR;

describe("use (R-07)", () => {
  for (const how of ["getAccessToken", "peek", "refresh"] as const) {
    test(`R-07 ${how} counts as use: the session goes on being refreshed`, async () => {
      const scene = await openScene({ manager: { refresh: { idleMs } } });
      await scene.clock.advance(HOUR / 2);
      if (how === "peek") expect(scene.session.peek()).toBe(scene.login.accessToken);
      else await run<unknown>(scene.clock, scene.session[how](), 0, 0);
      const before = scene.refreshes().length;
      scene.manager.start();
      await scene.clock.advance(HOUR - 1_000);
      expect(scene.refreshes().length).toBe(before + 1);
    });
  }

  test("R-02 peek gives the token until its margin, to the millisecond, and none after it", async () => {
    const scene = await openScene();
    const { session, clock, login } = scene;
    const marginMs = hardMarginOf(HOUR, scene.client.warehouse);
    await clock.advance(HOUR - marginMs - 1);
    expect(session.peek()).toBe(login.accessToken);
    await clock.advance(1);
    expect(session.peek()).toBeUndefined();
    expect(scene.refreshes()).toHaveLength(0);
  });
});

describe("a token that was refused (R-04)", () => {
  test("R-04 one that is not the current one is not news: the current one is given", async () => {
    const scene = await openScene();
    expect(await scene.session.getAccessToken({ rejected: "another" })).toBe(scene.login.accessToken);
    expect(scene.heard()).not.toContain("token_rejected");
    expect(scene.refreshes()).toHaveLength(0);
  });

  test("R-04 refused by many: told once, refreshed once; refused again after that it is given back", async () => {
    const scene = await openScene();
    scene.answers.push(async (request) => {
      const real = (await (await scene.fake.fetch(request)).json()) as object;
      return Response.json({ ...real, access_token: scene.login.accessToken });
    });
    const rejected = scene.login.accessToken;
    const all = [1, 2, 3].map(() => scene.session.getAccessToken({ rejected }));
    expect((await run(scene.clock, Promise.all(all))).value).toEqual([rejected, rejected, rejected]);
    expect(await scene.session.getAccessToken({ rejected })).toBe(rejected);
    expect(scene.heard().filter((type) => type === "token_rejected")).toHaveLength(1);
    expect(scene.issued).toHaveLength(2);
  });

  test("R-04 a refresh that failed is tried again for who is refused again", async () => {
    const scene = await openScene();
    const rejected = scene.login.accessToken;
    scene.fake.fail({ at: "token", kind: "status", status: 407 });
    expect((await run(scene.clock, scene.session.getAccessToken({ rejected }))).state).toBe("rejected");
    expect((await run(scene.clock, scene.session.getAccessToken({ rejected }))).value).toBe(
      issuedAt(scene, 1).access_token,
    );
    expect(scene.heard().filter((type) => type === "token_rejected")).toHaveLength(1);
  });
});

describe("an expired token", () => {
  test("R-03 within the margin it is given if the refresh fails; not to one who left, and not after its end", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR - 1_000);
    expect(scene.session.peek()).toBeUndefined();
    scene.fake.fail({ at: "token", kind: "status", status: 407, times: Infinity });
    expect(await scene.session.getAccessToken()).toBe(scene.login.accessToken);
    const held = scene.store.hold("lease");
    const controller = new AbortController();
    const left = follow(scene.session.getAccessToken({ signal: controller.signal }));
    await held.reached;
    controller.abort(new Error("left"));
    held.open();
    await scene.clock.advance(0);
    expect(left.error?.message).toBe("left");
    await scene.clock.advance(1_000);
    expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("rejected");
  });

  test("R-46 within the margin it is given if the store cannot be read, after its end it is not", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR - 1_000);
    scene.store.fail("read", Infinity);
    expect((await run(scene.clock, scene.session.getAccessToken(), 0, 0)).value).toBe(scene.login.accessToken);
    await scene.clock.advance(1_000);
    const ended = await run(scene.clock, scene.session.getAccessToken(), 0, 0);
    expect(ended.error).toMatchObject({ code: "store_unavailable" });
  });
});

describe("signing out (S-047)", () => {
  test("S-047 of nothing: absent, and no event", async () => {
    const scene = await openScene({ warehouse: "bigquery" });
    const session = scene.manager.session(scene.client, { subject: "nobody" });
    expect(await session.revoke()).toEqual({ refreshToken: "absent", accessToken: "absent", instructions: undefined });
    await session.forget();
    expect(scene.heard()).not.toContain("revoked");
    await scene.session.forget();
    expect(scene.heard().filter((type) => type === "revoked")).toHaveLength(1);
  });

  test("S-047 with tokens that are not saved yet: these are the ones that are revoked", async () => {
    const scene = await openScene({ warehouse: "bigquery", refreshRotation: "rotates" });
    await scene.clock.advance(HOUR);
    scene.store.fail("tokens", 1);
    await run(scene.clock, scene.session.getAccessToken(), 0, 0);
    await scene.session.revoke();
    const revoked = scene.fake.requests
      .filter(({ at }) => at === "revoke")
      .map(({ parameters }) => parameters["token"]);
    const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(issuedAt(scene, 1).refresh_token));
    expect(revoked).toContain(`sha256:${Buffer.from(bytes).subarray(0, 9).toString("base64url")}`);
  });

  test("S-047 a signal that is aborted signs nobody out", async () => {
    const scene = await openScene();
    const signal = AbortSignal.abort(new Error("not now"));
    await expect(scene.session.revoke({ signal })).rejects.toThrow("not now");
    await expect(scene.session.forget({ signal })).rejects.toThrow("not now");
    await expect(scene.session.status({ signal })).rejects.toThrow("not now");
    await expect(scene.session.getAccessToken({ signal })).rejects.toThrow("not now");
    expect(scene.store.stored()).toMatchObject({ state: "active" });
  });

  test("S-047 what a tombstone keeps: whether late tokens are revoked, and that it rotated", async () => {
    for (const way of ["revoke", "forget"] as const) {
      const scene = await openScene();
      await run(scene.clock, scene.session.refresh());
      const { loginAt } = scene.store.stored() ?? {};
      await scene.clock.advance(1_000);
      await run<unknown>(scene.clock, scene.session[way]());
      expect(scene.store.stored()).toMatchObject({
        state: "revoked",
        generation: 3,
        rotates: true,
        loginAt,
        revokeLate: way === "revoke",
      });
      expect(scene.store.stored()?.tokens).toBeUndefined();
    }
  });
});

test("R-40 a refresh that is asked for twice is one", async () => {
  const scene = await openScene();
  const answer = gate();
  scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
  const both = follow(Promise.all([scene.session.refresh(), scene.session.refresh()]));
  await scene.clock.advance(0);
  answer.open();
  await scene.clock.advance(0);
  expect(both.state).toBe("fulfilled");
  expect(scene.refreshes()).toHaveLength(1);
  expect(scene.events.find(({ type }) => type === "refresh_started")).toMatchObject({ reason: "asked" });
});
