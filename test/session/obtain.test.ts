import { TokenManager, clientCredentials, createClient, exchangeToken, jwtBearer } from "warehouse-oauth";
import type { OAuthClient, TokenSession } from "warehouse-oauth";
import { fakeBigQuery, fakeDatabricks, manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { SignJWT, exportPKCS8, generateKeyPair } from "jose";
import { describe, expect, test } from "vitest";
import { acmeServer, refused, storeWith, success } from "./acme-room.ts";
import { gateStore, withoutCoordination } from "./gate-store.ts";
import { HOUR, follow, gate, openScene, run } from "./scene.ts";

type TestObtain = NonNullable<NonNullable<Parameters<TokenManager["session"]>[2]>["obtain"]>;

const service = async (obtain: TestObtain) => {
  const scene = await openScene();
  const session = scene.manager.session(scene.client, { subject: "loader" }, { obtain });
  return { ...scene, session };
};

const grants = ({ fake }: Awaited<ReturnType<typeof service>>, grant: string): number =>
  fake.requests.filter((request) => request.grant === grant).length;

describe("sessions without a person", () => {
  test("client credentials fit as they are: obtained when first asked, once for all callers", async () => {
    const scene = await service(clientCredentials);
    const calls = Promise.all(Array.from({ length: 100 }, () => scene.session.getAccessToken()));
    const tokens = await run(scene.clock, calls);
    expect(new Set(tokens.value).size).toBe(1);
    expect(grants(scene, "client_credentials")).toBe(1);
    expect((await scene.session.status()).state).toBe("active");
  });

  test("R-01 an obtain that is given after the tokens were saved: they are obtained anew before the end", async () => {
    const scene = await openScene({ durable: false });
    const tokens = await clientCredentials(scene.client);
    await scene.manager.save(scene.client, { subject: "loader" }, tokens);
    const session = scene.manager.session(scene.client, { subject: "loader" }, { obtain: clientCredentials });
    scene.manager.start();
    expect(await session.status()).toMatchObject({ nextRefreshAt: expect.any(Number) as number });
    await session.getAccessToken();
    await scene.clock.advance(HOUR - 400_000);
    expect(await session.status()).toMatchObject({ generation: 2 });
  });

  test("R-01 they are obtained anew before the end, in the background", async () => {
    const scene = await service(clientCredentials);
    const first = (await run(scene.clock, scene.session.getAccessToken())).value;
    await scene.clock.advance(HOUR - 400_000);
    expect(await scene.session.getAccessToken()).toBe(first);
    await scene.clock.advance(1_000);
    expect(await scene.session.getAccessToken()).not.toBe(first);
    expect(grants(scene, "client_credentials")).toBe(2);
  });

  test("no announcement: nothing can be spent", async () => {
    const scene = await service(clientCredentials);
    scene.store.steps.length = 0;
    await run(scene.clock, scene.session.getAccessToken());
    expect(scene.store.steps).not.toContain("intent");
    expect(scene.store.steps).toContain("lease");
  });

  test("R-41 two processes share what one obtained", async () => {
    const scene = await service(clientCredentials);
    const { manager } = scene.process();
    const other = manager.session(scene.client, { subject: "loader" }, { obtain: clientCredentials });
    const both = await run(scene.clock, Promise.all([scene.session.getAccessToken(), other.getAccessToken()]));
    expect(new Set(both.value).size).toBe(1);
    expect(grants(scene, "client_credentials")).toBe(1);
  });

  test("R-21 a lost answer is simply asked for again", async () => {
    const scene = await service(clientCredentials);
    scene.fake.fail({ at: "token", kind: "drop", when: "after", times: 2 });
    expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
    expect(grants(scene, "client_credentials")).toBe(3);
  });

  test("R-04 a refused token is replaced", async () => {
    const scene = await service(clientCredentials);
    const rejected = (await run(scene.clock, scene.session.getAccessToken())).value ?? "";
    const next = await run(scene.clock, scene.session.getAccessToken({ rejected }));
    expect(next.value).not.toBe(rejected);
    expect(grants(scene, "client_credentials")).toBe(2);
  });

  test("S-047 a logout while it is obtained wins; who asks later begins anew", async () => {
    const scene = await service(clientCredentials);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const caller = follow(scene.session.getAccessToken());
    await scene.clock.advance(0);
    await scene.session.forget();
    answer.open();
    await scene.clock.advance(5_000);
    expect(caller.error).toMatchObject({ code: "reauthorization_required" });
    expect(scene.store.stored()?.state).toBe("revoked");
    expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
    expect(scene.store.stored()?.state).toBe("active");
  });

  for (const [index, step] of ["read", "lease", "read"].entries()) {
    test(`S-047 a logout before it is obtained, after ${step} (${String(index)}): nothing comes back`, async () => {
      const scene = await service(clientCredentials);
      const point = scene.store.holdNth(index + 1, "before");
      const caller = follow(scene.session.getAccessToken());
      await point.reached;
      await scene.session.forget();
      point.open();
      await scene.clock.advance(5_000);
      expect(caller.error).toMatchObject({ code: "reauthorization_required" });
      expect(scene.store.stored()?.state).toBe("revoked");
    });
  }

  test("R-32 obtain that hangs ends after 30 s, with its signal aborted, and the next call tries again", async () => {
    const signals: AbortSignal[] = [];
    const scene = await service((_client, { signal }) => {
      signals.push(signal);
      return new Promise(() => undefined);
    });
    const token = follow(scene.session.getAccessToken({ signal: new AbortController().signal }));
    await scene.clock.advance(29_000);
    expect(token.state).toBe("pending");
    expect(signals[0]?.aborted).toBe(false);
    await scene.clock.advance(2_000);
    expect(token.error).toMatchObject({ code: "timeout" });
    expect(signals[0]?.aborted).toBe(true);
  });

  test("obtain that throws something of its own: the caller gets just that", async () => {
    const mine = new Error("the vault is sealed");
    const scene = await service(() => Promise.reject(mine));
    expect((await run(scene.clock, scene.session.getAccessToken())).error).toBe(mine);
    expect(await scene.store.takeLease(1_000)).toBeDefined();
  });

  test("obtain that gives tokens of another client is refused", async () => {
    const scene = await openScene();
    const foreign = await scene.fake.issueTokens({ client: scene.fake.register() as never });
    const session = scene.manager.session(
      scene.client,
      { subject: "loader" },
      { obtain: () => Promise.resolve(foreign) },
    );
    expect((await run(scene.clock, session.getAccessToken())).error).toMatchObject({ code: "tokens_invalid" });
  });

  test("R-24 a save that fails: served from memory, saved in the end", async () => {
    const scene = await service(clientCredentials);
    scene.store.fail("tokens", 2);
    expect((await run(scene.clock, scene.session.getAccessToken())).state).toBe("fulfilled");
    await scene.clock.advance(10_000);
    expect(scene.store.stored()).toMatchObject({ state: "active" });
    expect(await scene.manager.close()).toEqual({ unsaved: [] });
  });

  test("S-078 a store without compare-and-set will do: nothing rotates", async () => {
    const scene = await openScene();
    const { manager } = scene.process({ store: withoutCoordination(scene.store) });
    const session = manager.session(scene.client, { subject: "loader" }, { obtain: clientCredentials });
    expect((await run(scene.clock, session.getAccessToken())).state).toBe("fulfilled");
  });
});

describe("assertions", () => {
  const signed = async (clock: ManualClock, issuer: string, audience: string, privateKey: CryptoKey): Promise<string> =>
    new SignJWT({ jti: crypto.randomUUID() })
      .setProtectedHeader({ alg: "RS256" })
      .setIssuer(issuer)
      .setSubject("loader")
      .setAudience(audience)
      .setIssuedAt(Math.floor(clock.now() / 1000))
      .setExpirationTime(Math.floor(clock.now() / 1000) + 300)
      .sign(privateKey);

  const managed = (client: OAuthClient, clock: ManualClock, obtain: TestObtain): TokenSession =>
    new TokenManager({ clock, store: gateStore(clock), random: () => 0.5 }).session(
      client,
      { subject: "loader" },
      { obtain },
    );

  test("S-051 S-052 JWT bearer: each attempt has an assertion of its own", async () => {
    const clock = manualClock();
    const { publicKey, privateKey } = await generateKeyPair("RS256", { extractable: true });
    const account = "loader@acme.iam.gserviceaccount.com";
    const fake = fakeBigQuery({ clock, serviceAccounts: [{ issuer: account, publicKey }] });
    const client = createClient({ warehouse: fake.warehouse, clientId: account, clock, fetch: fake.fetch });
    const key = await exportPKCS8(privateKey);
    const obtain: TestObtain = (given, { signal }) => jwtBearer(given, { issuer: account, key, signal });
    const session = managed(client, clock, obtain);
    fake.fail({ at: "token", kind: "status", status: 503, times: 2 });
    const token = await run(clock, session.getAccessToken());
    expect(token.error).toBeUndefined();
    const assertions = fake.requests.map(({ parameters }) => parameters["assertion"]);
    expect(assertions).toHaveLength(3);
    expect(new Set(assertions).size).toBe(3);
  });

  test("S-053 token exchange: the subject token is asked for anew each time", async () => {
    const clock = manualClock();
    const { publicKey, privateKey } = await generateKeyPair("RS256", { extractable: true });
    const issuer = "https://ci.acme.example";
    const fake = fakeDatabricks({ clock, federation: [{ issuer, publicKey, audience: "databricks" }] });
    const client = createClient({ warehouse: fake.warehouse, clientId: "service", clock, fetch: fake.fetch });
    let asked = 0;
    const obtain: TestObtain = (given, { signal }) =>
      exchangeToken(given, {
        subjectToken: () => {
          asked += 1;
          return signed(clock, issuer, "databricks", privateKey);
        },
        subjectTokenType: "urn:ietf:params:oauth:token-type:jwt",
        scopes: ["all-apis"],
        signal,
      });
    const session = managed(client, clock, obtain);
    const first = await run(clock, session.getAccessToken());
    expect(first.error).toBeUndefined();
    await clock.advance(HOUR);
    const second = await run(clock, session.getAccessToken());
    expect(second.value).not.toBe(first.value);
    expect(asked).toBe(2);
  });
});

test("R-01 an obtain that is given after a refresh found nothing to refresh with: obtained before the end", async () => {
  const scene = await openScene({ durable: false });
  const tokens = await clientCredentials(scene.client);
  const before = await scene.manager.save(scene.client, { subject: "loader" }, tokens);
  await expect(before.refresh()).rejects.toMatchObject({ reason: "refresh_token_absent" });
  const session = scene.manager.session(scene.client, { subject: "loader" }, { obtain: clientCredentials });
  scene.manager.start();
  await session.getAccessToken();
  await scene.clock.advance(HOUR - 400_000);
  await session.getAccessToken();
  await scene.clock.advance(0);
  expect(await session.status()).toMatchObject({ generation: 2 });
});

test("R-52 an obtain that asks another session of the same client: the circuit closes once the server is back", async () => {
  const clock = manualClock();
  const server = acmeServer(clock);
  const manager = new TokenManager({ clock, random: () => 0.5, store: storeWith(clock), retry: { maxAttempts: 1 } });
  const person = await manager.save(server.client, { subject: "ada" }, server.tokens());
  const derived = manager.session(
    server.client,
    { subject: "derived" },
    {
      obtain: async (_client, { signal }) => {
        await person.getAccessToken({ signal });
        return server.tokens({ accessToken: `derived-${String(clock.now())}` });
      },
    },
  );
  await clock.advance(HOUR);
  server.answer = () => refused("server_error", 503);
  for (let i = 0; i < 10; i++) {
    await run(clock, derived.getAccessToken());
    await clock.advance(1_000);
  }
  server.answer = () => success("back");
  let last;
  for (let i = 0; i < 20; i++) {
    await clock.advance(70_000);
    last = await run(clock, derived.getAccessToken());
    if (last.state === "fulfilled") break;
  }
  expect(last?.error).toBeUndefined();
});

test("R-34 R-70 what an obtain passes on from another session is no failure of a second one", async () => {
  const clock = manualClock();
  const server = acmeServer(clock, { refreshRotation: "rotates" });
  const manager = new TokenManager({ clock, random: () => 0.5, store: storeWith(clock) });
  const poison = await manager.save(server.client, { subject: "ada" }, server.tokens({ refreshToken: "poison" }));
  const fine = await manager.save(server.client, { subject: "bob" }, server.tokens());
  const derived = manager.session(
    server.client,
    { subject: "derived" },
    {
      obtain: async (_client, { signal }) => {
        await poison.getAccessToken({ signal });
        return server.tokens();
      },
    },
  );
  await clock.advance(HOUR);
  server.answer = ({ refreshToken }) =>
    refreshToken === "poison" ? refused("server_error", 500) : success("fine", { refresh_token: "next" });
  const heard: string[] = [];
  manager.on("*", ({ type }) => heard.push(type));
  await run(clock, derived.getAccessToken());
  await run(clock, derived.getAccessToken());
  expect(server.calls.length).toBeLessThan(5);
  const token = await run(clock, fine.getAccessToken());
  expect(token.error).toBeUndefined();
  expect(heard).not.toContain("circuit_opened");
});
