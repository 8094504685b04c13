import { http } from "msw";
import { setupServer } from "msw/node";
import { afterEach, describe, expect, it } from "vitest";
import { refreshTokens, type Fetch, type OAuthClient } from "warehouse-oauth";
import { fakeBigQuery, fakeDatabricks, fakeSnowflake, type FakeWarehouse } from "warehouse-oauth/testing";
import { listen } from "warehouse-oauth/testing/http";
import { mswHandlers } from "warehouse-oauth/testing/msw";
import { queryRequest } from "./data-api.ts";
import { Wire } from "./wire.ts";

type AnyFake = FakeWarehouse<object>;

/** A fake as one transport shows it, and the `fetch` with which it is reached there. */
interface Reached {
  readonly fake: AnyFake;
  readonly fetch: Fetch;
}

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

const globalFetch: Fetch = (input, init) => fetch(input, init);

const transports: Readonly<Record<string, (fake: AnyFake) => Promise<Reached>>> = {
  "in memory": (fake) => Promise.resolve({ fake, fetch: fake.fetch }),
  msw: (fake) => {
    const server = setupServer(...mswHandlers({ http }, fake));
    server.listen({ onUnhandledRequest: "error" });
    cleanups.push(() => {
      server.close();
    });
    return Promise.resolve({ fake, fetch: globalFetch });
  },
  "a real port": async (fake) => {
    const listening = await listen(fake);
    cleanups.push(() => listening.close());
    return { fake: listening, fetch: globalFetch };
  },
};

const fakes: Readonly<Record<string, () => AnyFake>> = {
  snowflake: () => fakeSnowflake(),
  databricks: () => fakeDatabricks(),
  bigquery: () => fakeBigQuery(),
};

const post = (body: Readonly<Record<string, string>>): RequestInit => ({
  method: "POST",
  body: new URLSearchParams(body),
  redirect: "manual",
});

/** An answer without what differs from run to run. */
async function stableAnswer(response: Response): Promise<unknown> {
  const text = await response.text();
  const names = ["content-type", "cache-control", "retry-after", "www-authenticate", "x-databricks-reason-phrase"];
  const headers = names.map((name) => response.headers.get(name));
  return [response.status, headers, text.replaceAll(/http:\/\/127\.0\.0\.1:\d+|https:\/\/[\w.-]+/g, "ORIGIN")];
}

/** The same conversation with a fake, whatever carries it. */
async function converse({ fake, fetch: send }: Reached): Promise<readonly unknown[]> {
  const wire = new Wire(fake);
  const tokenEndpoint = fake.warehouse.tokenEndpoint;
  const answers: unknown[] = [];
  const note = async (request: Promise<Response>): Promise<void> =>
    void answers.push(await stableAnswer(await request));

  await note(send(wire.authorizationUrl({ redirect_uri: "https://other.example" })));
  await note(send(wire.authorizationUrl({ code_challenge_method: "plain" }), { redirect: "manual" }));
  await note(send(tokenEndpoint, post({ grant_type: "refresh_token", client_id: "nobody" })));
  await note(send(tokenEndpoint, post({ grant_type: "password" })));
  await note(send(tokenEndpoint));
  await note(send(queryRequest(fake, undefined)));
  await note(send(queryRequest(fake, "made-up")));
  fake.fail({ at: "token", kind: "status", status: 503, retryAfter: "7" });
  await note(send(tokenEndpoint, post({})));
  fake.fail({ at: "token", kind: "html" });
  await note(send(tokenEndpoint, post({})));

  const page = await (await send(wire.authorizationUrl())).text();
  const ticket = /name="ticket" value="([^"]+)"/.exec(page)?.[1] ?? "";
  const scope = fake.warehouse.defaultScopes[0] ?? "";
  const form = post({ ticket, user: "ada", decision: "agree", scope });
  const callback = await send(fake.warehouse.authorizationEndpoint ?? "", form);
  answers.push(callback.status);
  const location = new URL(callback.headers.get("location") ?? "");
  answers.push([location.origin, ...location.searchParams.keys()]);

  const tokens = await fake.issueTokens();
  const query = (await (await send(queryRequest(fake, tokens.accessToken))).json()) as object;
  answers.push(Object.keys(query));
  const next = await refreshTokens(fake.client, tokens);
  answers.push(
    next.scopes,
    fake.requests.map(({ at, status }) => [at, status]),
  );
  return answers;
}

describe.each(Object.keys(fakes))("%s", (name) => {
  it("gives the same answers in memory, behind msw, and on a real port", async () => {
    const conversations: (readonly unknown[])[] = [];
    for (const reach of Object.values(transports)) {
      conversations.push(await converse(await reach(fakes[name]?.() ?? fakeSnowflake())));
      for (const clean of cleanups.splice(0).reverse()) await clean();
    }
    expect(conversations[0]?.length).toBeGreaterThan(10);
    expect(conversations[1]).toEqual(conversations[0]);
    expect(conversations[2]).toEqual(conversations[0]);
  });
});

describe.each(Object.entries(transports))("%s", (_name, reach) => {
  it.each(["before", "after"] as const)("a connection that drops %s is a network error", async (when) => {
    const { fake, fetch: send } = await reach(fakeSnowflake());
    const tokens = await fake.issueTokens();
    fake.fail({ at: "token", kind: "drop", when });
    await expect(send(fake.warehouse.tokenEndpoint, post({ grant_type: "refresh_token" }))).rejects.toThrow(TypeError);
    fake.fail({ at: "token", kind: "drop", when });
    await expect(refreshTokens(fake.client, tokens)).rejects.toMatchObject({ code: "network_error", ambiguous: true });
    expect(fake.grants[0]?.refreshes).toBe(when === "before" ? 0 : 1);
  });

  it("an answer that is cut off is no JSON", async () => {
    const { fake, fetch: send } = await reach(fakeSnowflake());
    fake.fail({ at: "token", kind: "truncated_json" });
    const response = await send(fake.warehouse.tokenEndpoint, post({ grant_type: "refresh_token" }));
    await expect(response.json()).rejects.toThrow();
  });

  it("a caller that gives up is let go", async () => {
    const { fake, fetch: send } = await reach(fakeSnowflake());
    fake.fail({ at: "token", kind: "hold", until: new Promise(() => undefined) });
    const caller = new AbortController();
    const waiting = send(fake.warehouse.tokenEndpoint, { ...post({}), signal: caller.signal });
    await expect.poll(() => fake.requests.length).toBe(1);
    caller.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
  });
});

describe("listen", () => {
  it.each([
    ["before", "ECONNRESET"],
    ["after", "UND_ERR_SOCKET"],
  ] as const)("breaks the real connection %s the work as Node reports it: %s", async (when, code) => {
    const fake = await listen(fakeSnowflake());
    cleanups.push(() => fake.close());
    fake.fail({ at: "token", kind: "drop", when });
    const broken = fetch(fake.warehouse.tokenEndpoint, post({ grant_type: "refresh_token" }));
    await expect(broken).rejects.toMatchObject({ cause: { code } });
  });

  it("gives the same fake as it looks from the port", async () => {
    const inMemory = fakeBigQuery();
    const fake = await listen(inMemory);
    cleanups.push(() => fake.close());
    expect(fake.origin).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(fake.origins).toEqual([fake.origin]);
    expect(fake.warehouse).toMatchObject({
      id: "bigquery",
      issuer: fake.origin,
      tokenEndpoint: `${fake.origin}/token`,
      jwksUri: `${fake.origin}/oauth2/v3/certs`,
      assertionAudience: `${fake.origin}/token`,
    });
    const client = fake.register({ redirectUri: "http://127.0.0.1:3000/cb" }) as OAuthClient;
    const tokens = await fake.issueTokens({ client, scopes: ["openid"], subject: "ada" });
    expect(tokens.user).toMatchObject({ issuer: fake.origin, id: "ada" });
    // One state behind both views; each answers under its own name.
    expect(inMemory.grants).toEqual(fake.grants);
    expect(inMemory.requests).toHaveLength(fake.requests.length);
    expect((await inMemory.issueTokens({ scopes: ["openid"] })).user?.issuer).toBe("https://accounts.google.com");
    await expect(fake.fetch("https://elsewhere.example")).rejects.toThrow("the fake answers for");
  });

  it("takes the port it is given, says when that is taken, and frees it", async () => {
    const first = await listen(fakeSnowflake());
    const port = Number(new URL(first.origin).port);
    await expect(listen(fakeSnowflake(), { port })).rejects.toMatchObject({ code: "EADDRINUSE" });
    await first.close();
    const second = await listen(fakeSnowflake(), { port });
    await second.close();
    await expect(fetch(second.origin)).rejects.toThrow(TypeError);
  });

  it("is not led to another host by the request line", async () => {
    const fake = await listen(fakeSnowflake());
    cleanups.push(() => fake.close());
    const response = await fetch(`${fake.origin}//elsewhere.example/oauth/authorize`);
    expect(response.status).toBe(401); // the data API's answer to a path it does not know, without a token
    expect(() => fakeSnowflake().at("https://proxy.example/path")).toThrow('"origin"');
  });
});
