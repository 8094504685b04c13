import type { OAuthClient, TokenSet } from "warehouse-oauth";
import { describe, expect, test } from "vitest";
import { HOUR, follow, gate, issuedAt, openScene, run, signInGrace } from "./scene.ts";
import type { Scene } from "./scene.ts";

/** BigQuery has a revocation endpoint; this one rotates, too, so there is a late token to revoke. */
async function openRotating(): Promise<Scene> {
  const scene = await openScene({ warehouse: "bigquery", refreshRotation: "single-use" });
  await run(scene.clock, scene.session.refresh());
  expect(scene.store.stored()).toMatchObject({ rotates: true, generation: 2 });
  await scene.clock.advance(HOUR);
  scene.store.steps.length = 0;
  return scene;
}

const digest = async (secret: string): Promise<string> => {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(secret));
  return `sha256:${Buffer.from(bytes).subarray(0, 9).toString("base64url")}`;
};

const revokedTokens = ({ fake }: Scene): readonly (string | undefined)[] =>
  fake.requests.filter(({ at }) => at === "revoke").map(({ parameters }) => parameters["token"]);

/** Where a refresh can be when somebody signs out: before and after each step at the store, and at the server. */
const STEPS = ["read", "lease", "read", "intent", "tokens", "release"];
const POINTS = [
  ...STEPS.flatMap((step, index) => [
    { name: `before ${step} (${String(index)})`, index, when: "before" as const },
    { name: `after ${step} (${String(index)})`, index, when: "after" as const },
  ]),
  { name: "with the answer on its way", index: undefined, when: "after" as const },
];

describe("S-047 R-73 logout at each await point of a refresh", () => {
  test("the points are those of a refresh", async () => {
    const scene = await openRotating();
    await run(scene.clock, scene.session.getAccessToken());
    expect(scene.store.steps).toEqual(STEPS);
  });

  for (const { name, index, when } of POINTS) {
    for (const way of ["revoke", "forget"] as const) {
      for (const where of ["here", "in another process"] as const) {
        test(`S-047 ${way} ${where}, ${name}: no resurrection`, async () => {
          const scene = await openRotating();
          const { clock, store, fake } = scene;
          const other = scene.process();
          const target = where === "here" ? scene.session : other.session;
          const answer = gate();
          const point =
            index === undefined ? { reached: clock.advance(0), open: answer.open } : store.holdNth(index, when);
          if (index === undefined) fake.fail({ at: "token", kind: "hold", until: answer.until });
          const caller = follow(scene.session.getAccessToken());
          if (index === undefined) await clock.advance(0);
          await point.reached;
          const out = follow<unknown>(target[way]());
          await clock.advance(0);
          expect(out.state).toBe("fulfilled");
          point.open();
          await clock.advance(0);
          if (where === "here") expect(scene.session.peek()).toBeUndefined();
          await clock.advance(1_000);
          await clock.advance(1_000);

          expect(caller.state).not.toBe("pending");
          expect(store.stored()?.state).toBe("revoked");
          expect(store.stored()?.tokens).toBeUndefined();
          // Within one look at the store nobody gets a token any more.
          await clock.advance(31_000);
          await run(clock, scene.session.getAccessToken()).then(undefined, () => undefined);
          const after = await run(clock, scene.session.getAccessToken());
          expect(after.error).toMatchObject({ code: "reauthorization_required" });
          expect(await scene.session.status()).toEqual({ state: "revoked" });
          expect(scene.session.peek()).toBeUndefined();
          expect(store.stored()?.state).toBe("revoked");
          expect(await store.takeLease(1_000)).toBeDefined();

          const latest = scene.issued.at(-1);
          const revoked = revokedTokens(scene);
          if (way === "forget") expect(revoked).toEqual([]);
          else expect(revoked).toContain(await digest(latest?.refresh_token ?? ""));
        });
      }
    }
  }
});

describe("logout", () => {
  test("S-047 deletes here first, then revokes: refresh token, then access token", async () => {
    const scene = await openScene({ warehouse: "bigquery" });
    const writing = scene.store.hold("tombstone");
    const out = follow(scene.session.revoke());
    await writing.reached;
    await scene.clock.advance(0);
    expect(revokedTokens(scene)).toEqual([]);
    writing.open();
    await scene.clock.advance(0);
    expect(out.value).toMatchObject({ refreshToken: "revoked" });
    expect(revokedTokens(scene)).toEqual([
      await digest(scene.login.refreshToken ?? ""),
      await digest(scene.login.accessToken),
    ]);
    expect(scene.heard()).toContain("revoked");
  });

  test("S-047 a store that cannot be written: nothing is revoked, the session lives, the next try does both", async () => {
    const scene = await openScene({ warehouse: "bigquery" });
    scene.store.fail("tombstone");
    expect((await run(scene.clock, scene.session.revoke())).error).toMatchObject({ code: "store_unavailable" });
    expect(revokedTokens(scene)).toEqual([]);
    expect(await scene.session.getAccessToken()).toBe(scene.login.accessToken);
    expect((await run(scene.clock, scene.session.revoke())).value).toMatchObject({ refreshToken: "revoked" });
  });

  test("S-047 R-69 a tombstone whose answer got lost: the next try still revokes what lay there", async () => {
    const scene = await openScene({ warehouse: "bigquery" });
    scene.store.loseAnswer("tombstone");
    expect((await run(scene.clock, scene.session.revoke())).state).toBe("rejected");
    expect(scene.store.stored()?.state).toBe("revoked");
    expect((await run(scene.clock, scene.session.revoke())).value).toMatchObject({ refreshToken: "revoked" });
  });

  test("S-047 a server that cannot be reached does not leave the session alive here", async () => {
    const scene = await openScene({ warehouse: "bigquery" });
    scene.fake.fail({ at: "revoke", kind: "drop", when: "before", times: Infinity });
    expect((await run(scene.clock, scene.session.revoke())).value).toMatchObject({ refreshToken: "failed" });
    expect(await scene.session.status()).toEqual({ state: "revoked" });
    expect(scene.store.stored()).toMatchObject({ state: "revoked" });
  });

  test("S-047 the tombstone outlives a lease by far, and generations go on growing over it", async () => {
    const scene = await openScene();
    await run(scene.clock, scene.session.refresh());
    await scene.session.forget();
    await scene.clock.advance(HOUR);
    expect(scene.store.stored()).toMatchObject({ state: "revoked", generation: 3 });
    const tokens = await scene.fake.issueTokens({ client: scene.client });
    await scene.manager.save(scene.client, { subject: "ada" }, tokens);
    expect(scene.store.stored()).toMatchObject({ state: "active", generation: 4 });
    expect(await scene.session.getAccessToken()).toBe(tokens.accessToken);
  });

  test("S-047 another process stops handing out the token within its copy's age", async () => {
    const scene = await openScene();
    const other = scene.process();
    expect(await other.session.getAccessToken()).toBe(scene.login.accessToken);
    await scene.session.forget();
    await scene.clock.advance(31_000);
    await run(scene.clock, other.session.getAccessToken());
    await scene.clock.advance(0);
    const after = await run(scene.clock, other.session.getAccessToken());
    expect(after.error).toMatchObject({ code: "reauthorization_required" });
    expect(other.session.peek()).toBeUndefined();
  });

  test("S-047 logging out twice, or of nothing, is no error", async () => {
    const scene = await openScene();
    await scene.session.revoke();
    expect(await scene.session.revoke()).toMatchObject({ refreshToken: expect.any(String) as string });
    const nobody = scene.manager.session(scene.client, { subject: "nobody" });
    expect(await nobody.revoke()).toMatchObject({ refreshToken: "absent", accessToken: "absent" });
    expect(await nobody.status()).toEqual({ state: "revoked" });
  });

  test("S-047 R-73 a read that began before the logout brings nothing back", async () => {
    const scene = await openScene();
    await scene.clock.advance(31_000);
    const looking = scene.store.hold("read", "after");
    expect(await scene.session.getAccessToken()).toBe(scene.login.accessToken);
    await looking.reached;
    await scene.session.forget();
    looking.open();
    await scene.clock.advance(3_000);
    expect(scene.session.peek()).toBeUndefined();
    expect((await run(scene.clock, scene.session.getAccessToken())).error).toMatchObject({
      code: "reauthorization_required",
    });
  });
});

describe("R-73 a login during a refresh", () => {
  test("R-73 a first read that began before a login takes nothing away", async () => {
    const scene = await openScene();
    const tokens = await scene.fake.issueTokens({ client: scene.client, subject: "grace" });
    const hers = scene.manager.session(scene.client, { subject: "grace" });
    const looking = scene.store.hold("read", "after");
    const status = follow(hers.status());
    await looking.reached;
    await scene.manager.save(scene.client, { subject: "grace" }, tokens);
    looking.open();
    await scene.clock.advance(200);
    expect(status.value).toMatchObject({ state: "active" });
    expect(hers.peek()).toBe(tokens.accessToken);
  });

  for (const { name, index, when } of POINTS) {
    for (const where of ["here", "in another process"] as const) {
      test(`R-73 login ${where}, ${name}: the login wins`, async () => {
        const scene = await openRotating();
        const { clock, store, fake, client } = scene;
        const manager = where === "here" ? scene.manager : scene.process().manager;
        const tokens = await fake.issueTokens({ client });
        const answer = gate();
        const point =
          index === undefined ? { reached: Promise.resolve(), open: answer.open } : store.holdNth(index, when);
        if (index === undefined) fake.fail({ at: "token", kind: "hold", until: answer.until });
        const caller = follow(scene.session.getAccessToken());
        await point.reached;
        await clock.advance(0);
        await manager.save(client, { subject: "ada" }, tokens);
        point.open();
        await clock.advance(2_000);

        expect(caller.state).toBe("fulfilled");
        expect(store.stored()).toMatchObject({ state: "active" });
        expect(store.stored()?.tokens?.refreshToken).toBe(tokens.refreshToken);
        expect(store.stored()?.intent).toBeUndefined();
        await clock.advance(31_000);
        await run(clock, scene.session.getAccessToken());
        expect((await run(clock, scene.session.getAccessToken())).value).toBe(tokens.accessToken);
        expect(await store.takeLease(1_000)).toBeDefined();
      });
    }
  }

  for (const failure of ["status", "dead", "rescued"] as const) {
    test(`R-73 login while the answer on its way is ${failure}: nothing is written over it`, async () => {
      const scene = await openScene();
      await scene.clock.advance(HOUR);
      const tokens = await scene.fake.issueTokens({ client: scene.client });
      const answer = gate();
      scene.answers.push(async () => {
        await answer.until;
        if (failure === "status") return Response.json({ error: "slow_down" }, { status: 429 });
        if (failure === "dead") return Response.json({ error: "invalid_grant" }, { status: 400 });
        return Response.json({ refresh_token: "late", token_type: "Bearer" });
      });
      const caller = follow(scene.session.getAccessToken());
      await scene.clock.advance(0);
      await scene.manager.save(scene.client, { subject: "ada" }, tokens);
      answer.open();
      await scene.clock.advance(10_000);
      expect(caller.value).toBe(tokens.accessToken);
      expect(scene.store.stored()).toMatchObject({ state: "active" });
      expect(scene.store.stored()?.tokens?.refreshToken).toBe(tokens.refreshToken);
    });

    test(`S-047 logout while the answer on its way is ${failure}: nothing is written over it`, async () => {
      const scene = await openScene();
      await scene.clock.advance(HOUR);
      const answer = gate();
      scene.answers.push(async () => {
        await answer.until;
        if (failure === "status") return Response.json({ error: "slow_down" }, { status: 429 });
        if (failure === "dead") return Response.json({ error: "invalid_grant" }, { status: 400 });
        return Response.json({ refresh_token: "late", token_type: "Bearer" });
      });
      const caller = follow(scene.session.getAccessToken());
      await scene.clock.advance(0);
      await scene.session.forget();
      answer.open();
      await scene.clock.advance(10_000);
      expect(caller.error).toMatchObject({ code: "reauthorization_required" });
      expect(scene.store.stored()).toMatchObject({ state: "revoked" });
    });
  }

  test("R-73 S-047 logout, then the store fails under the late tokens: served to nobody, revoked once it is back", async () => {
    const scene = await openRotating();
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const caller = follow(scene.session.getAccessToken());
    await scene.clock.advance(0);
    await scene.session.revoke();
    scene.store.fail("tokens", 2);
    scene.store.fail("read", 1);
    answer.open();
    await scene.clock.advance(0);
    expect(caller.state).toBe("rejected");
    expect(scene.session.peek()).toBeUndefined();
    expect(await scene.session.status()).toEqual({ state: "revoked" });
    await scene.clock.advance(5_000);
    expect(scene.store.stored()?.state).toBe("revoked");
    expect(revokedTokens(scene)).toContain(await digest(scene.issued.at(-1)?.refresh_token ?? ""));
    expect(await scene.manager.close()).toEqual({ unsaved: [] });
  });

  test("R-73 the tokens of an earlier login are not tried when a later one proves dead", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const caller = follow(scene.session.getAccessToken());
    await scene.clock.advance(0);
    await scene.session.forget();
    const tokens = await scene.fake.issueTokens({ client: scene.client });
    await scene.manager.save(scene.client, { subject: "ada" }, tokens);
    answer.open();
    await scene.clock.advance(0);
    expect(caller.value).toBe(tokens.accessToken);
    scene.fake.fail({ at: "token", kind: "oauth_error", error: "invalid_grant" });
    const outcome = await run(scene.clock, scene.session.refresh());
    expect(outcome.error).toMatchObject({ code: "reauthorization_required" });
    expect(scene.store.stored()?.tokens?.refreshToken).toBe(tokens.refreshToken);
  });

  test("S-047 an abort while it is revoked detaches the caller: it is told of, and revoked all the same", async () => {
    const scene = await openRotating();
    const { refreshToken } = scene.store.stored()?.tokens ?? {};
    const answer = gate();
    scene.fake.fail({ at: "revoke", kind: "hold", until: answer.until });
    const abort = new AbortController();
    const revoking = follow(scene.session.revoke({ signal: abort.signal }));
    await scene.clock.advance(100);
    abort.abort("left");
    await scene.clock.advance(0);
    expect(revoking.error).toBe("left");
    expect(scene.heard()).toContain("revoked");
    expect(await scene.session.status()).toEqual({ state: "revoked" });
    const closed = follow(scene.manager.close());
    await scene.clock.advance(0);
    expect(closed.state).toBe("pending");
    answer.open();
    await scene.clock.advance(0);
    expect(closed.state).toBe("fulfilled");
    expect(revokedTokens(scene)).toContain(await digest(refreshToken ?? ""));
  });

  test("R-73 a login lets go of what could not be saved: its lease, its timer, its tokens", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    scene.store.fail("tokens", 3);
    expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
    scene.store.heal();
    const tokens = await scene.fake.issueTokens({ client: scene.client });
    await scene.manager.save(scene.client, { subject: "ada" }, tokens);
    await scene.clock.advance(1_000);
    expect(await scene.store.takeLease(1_000)).toBeDefined();
    await scene.clock.advance(60_000);
    expect(scene.store.stored()?.tokens?.refreshToken).toBe(tokens.refreshToken);
    expect((await run(scene.clock, scene.session.refresh())).state).toBe("fulfilled");
  });

  test("R-73 a config change after a refresh that failed: the corrected secret is used for the next request", async () => {
    const scene = await openScene();
    const corrected = scene.fake.register({ clientId: scene.client.clientId, clientSecret: "another" });
    expect(corrected.connectionId).toBe(scene.client.connectionId);
    await scene.clock.advance(HOUR);
    // The registry knows the new secret only; a manager that was given the old client fails, with the new one not.
    const before = await run(scene.clock, scene.session.getAccessToken());
    expect(before.error).toMatchObject({ code: "client_auth_failed" });
    const session = scene.manager.session(corrected as never, { subject: "ada" });
    expect((await run(scene.clock, session.getAccessToken())).state).toBe("fulfilled");
    expect(scene.store.stored()).toMatchObject({ state: "active", generation: 2 });
  });
});

describe("R-73 another secret during a refresh", () => {
  /** Ada's refresh waits at the server, Grace's for the one place there is; then the secret is another one. */
  async function openChange(arm: (scene: Scene, until: Promise<void>) => void) {
    const scene = await openScene({ manager: { concurrency: { atOnce: 1 } } });
    const hers = await signInGrace(scene);
    await scene.clock.advance(HOUR);
    const answer = gate();
    arm(scene, answer.until);
    const ada = follow(scene.session.getAccessToken());
    await scene.clock.advance(100);
    const grace = follow(hers.getAccessToken());
    await scene.clock.advance(100);
    // From here on the server knows the new secret only.
    const { clientId, connectionId } = scene.client;
    const corrected = scene.fake.register({ clientId, clientSecret: "another" }) as unknown as OAuthClient;
    expect(corrected.connectionId).toBe(connectionId);
    const session = scene.manager.session(corrected, { subject: "ada" });
    return { scene, answer, ada, grace, hers, session };
  }

  /** Status and refresh token of each refresh, as the server saw it. */
  const sent = (scene: Scene): readonly (readonly [unknown, string | undefined])[] =>
    scene.refreshes().map(({ status, parameters }) => [status, parameters["refresh_token"]]);

  test("R-73 the one in the air is kept and joined, the one in the line is sent with the new secret, each once", async () => {
    const { scene, answer, ada, grace, hers, session } = await openChange(({ fake }, until) =>
      fake.fail({ at: "token", kind: "hold", until }),
    );
    expect(sent(scene)).toHaveLength(1);
    const joined = follow(session.getAccessToken());
    await scene.clock.advance(100);
    answer.open();
    await scene.clock.advance(1_000);
    // Two logins came before.
    expect(ada.value).toBe(issuedAt(scene, 2).access_token);
    expect(joined.value).toBe(ada.value);
    expect(grace.state).toBe("fulfilled");
    expect(sent(scene).map(([status]) => status)).toEqual([200, 200]);
    expect(scene.fake.grants.map(({ revoked, refreshes }) => [revoked, refreshes])).toEqual([
      [false, 1],
      [false, 1],
    ]);
    expect(await session.status()).toMatchObject({ state: "active", generation: 2 });
    expect(await hers.status()).toMatchObject({ state: "active", generation: 2 });

    expect((await run(scene.clock, session.refresh())).state).toBe("fulfilled");
    expect(sent(scene).map(([status]) => status)).toEqual([200, 200, 200]);
    expect(new Set(sent(scene).map(([, token]) => token)).size).toBe(3);
    expect(scene.heard().filter((type) => type === "refresh_retried" || type === "refresh_failed")).toEqual([]);
    expect(scene.store.stored()?.intent).toBeUndefined();
  });

  test("R-73 the one in the air is refused for the old secret: not repeated with it, nothing lost, the next has the new one", async () => {
    let arrived = 0;
    const { scene, answer, ada, grace, session } = await openChange(({ answers }, until) =>
      answers.push(async () => {
        arrived += 1;
        await until;
        return Response.json({ error: "invalid_client" }, { status: 401 });
      }),
    );
    answer.open();
    await scene.clock.advance(1_000);
    expect(ada.error).toMatchObject({ code: "client_auth_failed" });
    expect(grace.state).toBe("fulfilled");
    expect(arrived).toBe(1);
    expect(sent(scene).map(([status]) => status)).toEqual([200]);
    expect((await run(scene.clock, session.getAccessToken())).state).toBe("fulfilled");
    expect(sent(scene).map(([status]) => status)).toEqual([200, 200]);
    expect(scene.fake.grants.map(({ revoked, refreshes }) => [revoked, refreshes])).toEqual([
      [false, 1],
      [false, 1],
    ]);
    expect(await session.status()).toMatchObject({ state: "active", generation: 2 });
    expect(scene.heard()).not.toContain("circuit_opened");
  });
});

describe("S-047 a logout while tokens of an earlier login wait to be saved", () => {
  for (const [name, logIn] of [
    [
      "in another process",
      async (scene: Scene, login: TokenSet) => {
        scene.store.fail("tokens", 1);
        await run(scene.clock, scene.session.getAccessToken(), 0, 0);
        await scene.process().manager.save(scene.client, { subject: "ada" }, login);
      },
    ],
    [
      "here, while the first save hangs",
      async (scene: Scene, login: TokenSet) => {
        scene.store.hang("tokens", 1);
        void follow(scene.session.getAccessToken());
        await scene.clock.advance(0);
        await scene.manager.save(scene.client, { subject: "ada" }, login);
        await scene.clock.advance(5_000);
      },
    ],
  ] as const) {
    test(`S-047 the newer login ${name} is the one that is revoked`, async () => {
      const scene = await openRotating();
      const login = await scene.fake.issueTokens({ client: scene.client });
      await logIn(scene, login);
      await run(scene.clock, scene.session.revoke());
      expect(revokedTokens(scene)).toContain(await digest(login.refreshToken ?? ""));
    });
  }
});

test("S-047 what could not be saved while the tombstone was written is revoked, too", async () => {
  const scene = await openRotating();
  const answer = gate();
  scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
  const refreshed = follow(scene.session.refresh());
  await scene.clock.advance(0);
  const burying = scene.store.hold("tombstone");
  const revoked = follow(scene.session.revoke());
  await scene.clock.advance(0);
  await burying.reached;
  scene.store.fail("tokens", 1);
  answer.open();
  await scene.clock.advance(0);
  await refreshed.promise;
  burying.open();
  await run(scene.clock, revoked.promise);
  expect(revokedTokens(scene)).toContain(await digest(String(scene.issued.at(-1)?.refresh_token)));
});
