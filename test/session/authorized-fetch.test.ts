import { TokenManager, createClient, importTokens } from "warehouse-oauth";
import type { Clock, Fetch, OAuthClient, TokenSession, TokenSet, WarehouseDefinition } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { describe, expect, test, vi } from "vitest";
import { fetchAuthorized } from "../../src/session/authorized-fetch.ts";
import type { FetchContext } from "../../src/session/authorized-fetch.ts";
import { acme } from "./acme-room.ts";
import { HOUR, follow, gate, holdingTimers, openScene, run } from "./scene.ts";
import type { SceneOptions } from "./scene.ts";

/** A body that never comes, and whether it was let go. */
function stalledBody(): { readonly body: ReadableStream<Uint8Array>; readonly isCancelled: () => boolean } {
  let cancelled = false;
  const body = new ReadableStream<Uint8Array>({
    cancel() {
      cancelled = true;
    },
  });
  return { body, isCancelled: () => cancelled };
}

/** The smallest query at each warehouse. */
const QUERIES = {
  snowflake: ["/api/v2/statements", { statement: "select 1" }],
  databricks: ["/api/2.0/sql/statements", { statement: "select 1", warehouse_id: "w" }],
  bigquery: ["/bigquery/v2/projects/fake-project/queries", { query: "select 1" }],
} as const;

const query = (session: TokenSession, warehouse: keyof typeof QUERIES): Promise<Response> => {
  const [path, body] = QUERIES[warehouse];
  const headers = { "content-type": "application/json" };
  return session.fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
};

const API = "https://api.acme.example";

interface Sent {
  readonly url: string;
  readonly method: string;
  readonly headers: Headers;
  readonly body: Uint8Array;
  readonly redirect: RequestRedirect;
  readonly integrity: string;
  readonly signal: AbortSignal;
}

/** What `fetch` has of a session whose token is refused, and whose refresh fails. */
function refusing(
  clock: Clock,
  refuse: () => Response,
  definition: Partial<WarehouseDefinition<object>> = {},
): FetchContext {
  return {
    warehouse: acme({ apiOrigins: [API], ...definition }),
    clock,
    fetch: () => Promise.resolve(refuse()),
    getAccessToken: ({ rejected }) =>
      rejected === undefined ? Promise.resolve("a") : Promise.reject(new Error("down")),
  };
}

/** A warehouse of our own whose API plays a script; its token endpoint gives token-2, token-3 and so on. */
async function openApi(
  steps: readonly ((sent: Sent) => Response)[],
  definition: Partial<WarehouseDefinition<object>> = {},
): Promise<{ session: TokenSession; sent: Sent[]; refreshes: () => number; clock: ManualClock }> {
  const sent: Sent[] = [];
  let refreshes = 0;
  const fetch: Fetch = async (input, init) => {
    const request = new Request(input, init);
    if (request.url === "https://login.acme.example/token") {
      refreshes += 1;
      return Response.json({ access_token: `token-${String(refreshes + 1)}`, token_type: "Bearer", expires_in: 3600 });
    }
    const { url, method, headers, redirect, integrity, signal } = request;
    const body = new Uint8Array(await request.arrayBuffer());
    const one = { url, method, headers, redirect, integrity, signal, body };
    sent.push(one);
    const step = steps[Math.min(sent.length, steps.length) - 1];
    if (step === undefined) throw new Error("not in the script");
    return step(one);
  };
  const clock = manualClock();
  const warehouse = acme({ apiOrigins: [API, "https://eu.acme.example:8443"], ...definition });
  const client = createClient({ warehouse, clientId: "client-1", clientSecret: "secret", clock, fetch });
  const manager = new TokenManager({ clock });
  const session = await manager.save(client, { subject: "ada" }, tokensOf(client));
  return { session, sent, refreshes: () => refreshes, clock };
}

/** Those of a login at the beginning of a manual clock. */
function tokensOf({ connectionId }: OAuthClient): TokenSet {
  const obtainedAt = manualClock().now();
  return importTokens({
    accessToken: "token-1",
    refreshToken: "refresh-1",
    tokenType: "Bearer",
    obtainedAt,
    expiresAt: obtainedAt + HOUR,
    scopes: [],
    scopesAssumed: false,
    connectionId,
  });
}

const ok = (): Response => new Response("fine");
const refused = (): Response => new Response("who are you", { status: 401 });

describe("where a token may go (S-056, S-059)", () => {
  test("a path, a whole address and a URL object are resolved against the warehouse", async () => {
    const { session, sent } = await openApi([ok]);
    await session.fetch("/v1/rows?limit=2");
    await session.fetch(`${API}/v1/other`);
    await session.fetch(new URL("https://eu.acme.example:8443/v1"));
    expect(sent.map(({ url }) => url)).toEqual([
      `${API}/v1/rows?limit=2`,
      `${API}/v1/other`,
      "https://eu.acme.example:8443/v1",
    ]);
    expect(sent.every(({ headers }) => headers.get("authorization") === "Bearer token-1")).toBe(true);
  });

  for (const [name, address] of [
    ["another host", "https://evil.example/"],
    ["a host that begins like ours", "https://api.acme.example.evil.example/"],
    ["a host with no scheme", "//evil.example/v1"],
    ["backslashes", "\\\\evil.example\\v1"],
    ["another scheme", "http://api.acme.example/"],
    ["another port", "https://api.acme.example:8443/"],
    ["credentials before our host", "https://user:pass@api.acme.example/"],
    ["a user before our host", "https://user@api.acme.example/"],
    ["a password before our host", "https://:pass@api.acme.example/"],
    ["our host as credentials", "https://api.acme.example@evil.example/"],
    ["a script", "javascript:alert(1)"],
    ["data", "data:text/plain,hello"],
    ["a blob, whose origin is that of its page", `blob:${API}/0b6a`],
  ] as const) {
    test(`S-056 ${name} gets no token and no request`, async () => {
      const { session, sent } = await openApi([ok]);
      for (const input of [address, ...asRequest(address)]) {
        await expect(session.fetch(input)).rejects.toMatchObject({ code: "endpoint_not_allowed" });
      }
      expect(sent).toEqual([]);
    });
  }

  for (const [name, input] of [
    ["what looks like a Request", { url: `${API}/v1`, method: "DELETE" }],
    ["nothing", undefined],
    ["null", null],
    ["a number", 7],
  ] as const) {
    test(`S-056 ${name} is no address`, async () => {
      const { session, sent } = await openApi([ok]);
      await expect(session.fetch(input as never)).rejects.toMatchObject({ code: "invalid_argument" });
      expect(sent).toEqual([]);
    });
  }

  test("S-056 it goes where the session's own client says, whatever client was opened last", async () => {
    const clock = manualClock();
    const sent: string[] = [];
    const fetch: Fetch = (input) => {
      sent.push(new Request(input).url);
      return Promise.resolve(ok());
    };
    const options = { clientId: "client-1", clientSecret: "secret", clock, fetch };
    const eu = createClient({ ...options, warehouse: acme({ apiOrigins: ["https://eu.acme.example"] }) });
    const us = createClient({ ...options, warehouse: acme({ apiOrigins: ["https://us.acme.example"] }) });
    const manager = new TokenManager({ clock });
    const session = await manager.save(eu, { subject: "ada" }, tokensOf(eu));
    manager.session(us, { subject: "bob" });
    await session.fetch("/v1");
    await manager.session(us, { subject: "ada" }).fetch("/v1");
    expect(sent).toEqual(["https://eu.acme.example/v1", "https://us.acme.example/v1"]);
  });

  test("S-056 a warehouse without API origins has nowhere to send a token", async () => {
    const { session } = await openApi([ok], { apiOrigins: [] });
    await expect(session.fetch("/v1")).rejects.toMatchObject({ code: "endpoint_not_allowed" });
  });

  test("S-059 addresses in a refusal are not asked: the request is repeated once, and nothing else is sent", async () => {
    const addresses = {
      resource_metadata: "https://evil.example/.well-known/oauth-protected-resource",
      authorization_uri: "https://evil.example/authorize",
    };
    const named = Object.entries(addresses).map(([name, address]) => `${name}="${address}"`);
    const headers = { "www-authenticate": `Bearer error="invalid_token", ${named.join(", ")}` };
    const { session, sent, refreshes } = await openApi([() => Response.json(addresses, { status: 401, headers })]);
    const platform = vi.fn<typeof fetch>(() => Promise.reject(new TypeError("nobody has business here")));
    vi.stubGlobal("fetch", platform);
    try {
      expect((await session.fetch("/v1")).headers.get("www-authenticate")).toBe(headers["www-authenticate"]);
    } finally {
      vi.unstubAllGlobals();
    }
    expect(sent.map(({ url }) => url)).toEqual([`${API}/v1`, `${API}/v1`]);
    expect(refreshes()).toBe(1);
    expect(platform).not.toHaveBeenCalled();
  });

  test("S-050 a header of the caller's own beside ours is refused", async () => {
    const { session, sent } = await openApi([ok]);
    const outcome = session.fetch("/v1", { headers: { Authorization: "Bearer mine" } });
    await expect(outcome).rejects.toMatchObject({ code: "config_invalid" });
    expect(sent).toEqual([]);
  });
});

/** Written out, as by code that passes on what it was given. */
function fetchSayingNothing(session: TokenSession, request: Request): Promise<Response> {
  return session.fetch(request, {
    signal: undefined,
    integrity: undefined,
    redirect: undefined,
  } as unknown as RequestInit);
}

function asRequest(address: string): readonly Request[] {
  return URL.canParse(address) && address.startsWith("http") && !address.includes("@") ? [new Request(address)] : [];
}

describe("redirects (S-026, S-059)", () => {
  const to =
    (location: string, status = 302) =>
    (): Response =>
      new Response(null, { status, headers: { location } });

  test("S-026 within the warehouse they are followed, with the token", async () => {
    const { session, sent } = await openApi([to("/elsewhere"), to("https://eu.acme.example:8443/v2", 308), ok]);
    const response = await session.fetch("/v1");
    expect(await response.text()).toBe("fine");
    expect(sent.map(({ url }) => url)).toEqual([`${API}/v1`, `${API}/elsewhere`, "https://eu.acme.example:8443/v2"]);
    expect(sent.every(({ headers }) => headers.get("authorization") === "Bearer token-1")).toBe(true);
    // Nobody but us follows: the platform would send the token along, wherever to.
    expect(sent.every(({ redirect }) => redirect === "manual")).toBe(true);
  });

  test("a HEAD is followed as a GET is; where a redirect is an error, the platform is told", async () => {
    const { session, sent } = await openApi([to("/v2"), ok, ok]);
    expect((await session.fetch("/v1", { method: "HEAD" })).status).toBe(200);
    await session.fetch("/v1", { redirect: "error" });
    expect(sent.map(({ method, redirect }) => [method, redirect])).toEqual([
      ["HEAD", "manual"],
      ["HEAD", "manual"],
      ["GET", "error"],
    ]);
  });

  test("a GET in small letters is one", async () => {
    const { session } = await openApi([to("/v2"), ok]);
    expect((await session.fetch("/v1", { method: "get" })).status).toBe(200);
  });

  for (const location of [
    "https://evil.example/",
    "//evil.example/",
    "http://api.acme.example/",
    "javascript:1",
    `blob:${API}/0b6a`,
    "https://user:pass@api.acme.example/v2",
  ]) {
    test(`S-026 to ${location} the answer is the caller's, the other side gets nothing`, async () => {
      const { session, sent } = await openApi([to(location)]);
      expect((await session.fetch("/v1")).status).toBe(302);
      expect(sent).toHaveLength(1);
    });
  }

  test("S-026 a loop ends", async () => {
    const { session, sent } = await openApi([to("/v1")]);
    expect((await session.fetch("/v1")).status).toBe(302);
    expect(sent.length).toBeLessThanOrEqual(6);
  });

  test("S-026 a POST is not turned into something else, nor sent twice", async () => {
    const { session, sent } = await openApi([to("/v2", 307), ok]);
    expect((await session.fetch("/v1", { method: "POST", body: "x" })).status).toBe(307);
    expect(sent).toHaveLength(1);
  });

  test("redirect: manual is the caller's wish, in init and in a Request", async () => {
    const { session, sent } = await openApi([to("/v2"), to("/v2"), ok]);
    expect((await session.fetch("/v1", { redirect: "manual" })).status).toBe(302);
    expect((await session.fetch(new Request(`${API}/v1`, { redirect: "manual" }))).status).toBe(302);
    expect(sent).toHaveLength(2);
  });
});

describe("R-04 refused tokens", () => {
  for (const warehouse of ["snowflake", "databricks", "bigquery"] as const) {
    test(`R-04 ${warehouse}: its own refusal is known, the token replaced, the request repeated once`, async () => {
      const scene = await openScene({ warehouse });
      scene.fake.expireAccessTokens();
      const response = await run(scene.clock, query(scene.session, warehouse));
      expect(response.value?.status).toBe(200);
      expect(scene.refreshes()).toHaveLength(1);
      expect(scene.fake.requests.filter(({ at }) => at === "api")).toHaveLength(2);
      expect(scene.heard()).toContain("token_rejected");
    });
  }

  test("R-04 snowflake, single-use: requests refused with the old token are repeated with the current one", async () => {
    const options: SceneOptions = { warehouse: "snowflake", refreshRotation: "single-use" };
    const scene = await openScene(options);
    const answer = gate();
    scene.fake.fail({ at: "api", kind: "hold", until: answer.until });
    scene.fake.fail({ at: "api", kind: "status", status: 401 });
    const slow = follow(query(scene.session, "snowflake"));
    await scene.clock.advance(0);
    const other = follow(query(scene.session, "snowflake"));
    await scene.clock.advance(0);
    answer.open();
    await scene.clock.advance(0);
    expect(slow.value?.status).toBe(200);
    expect(other.value?.status).toBe(200);
    expect(scene.refreshes()).toHaveLength(1);
  });

  test("R-04 a hundred requests refused at once are one refresh", async () => {
    const scene = await openScene();
    scene.fake.expireAccessTokens();
    const all = Promise.all(Array.from({ length: 100 }, () => query(scene.session, "databricks")));
    const responses = await run(scene.clock, all);
    expect(responses.value?.every(({ status }) => status === 200)).toBe(true);
    expect(scene.refreshes()).toHaveLength(1);
  });

  test("R-04 refused twice: the second refusal is the caller's", async () => {
    const { session, sent, refreshes } = await openApi([refused]);
    const response = await session.fetch("/v1");
    expect(response.status).toBe(401);
    expect(await response.text()).toBe("who are you");
    expect(sent.map(({ headers }) => headers.get("authorization"))).toEqual(["Bearer token-1", "Bearer token-2"]);
    expect(refreshes()).toBe(1);
  });

  test("R-04 the refresh fails: the refused answer is let go", async () => {
    const { body, isCancelled } = stalledBody();
    const context = refusing(manualClock(), () => new Response(body, { status: 401 }));
    await expect(fetchAuthorized(context, "/query")).rejects.toThrow("down");
    expect(isCancelled()).toBe(true);
  });

  test("R-55 while a refusal is read, somebody waits: the process must not end", async () => {
    const { watch, pending } = holdingTimers();
    let heldBy = 0;
    const isTokenRejected = ({ status }: { readonly status: number }): boolean => status === 401;
    const pull = (controller: ReadableStreamDefaultController): void => {
      heldBy = pending();
      controller.close();
    };
    const body = new ReadableStream({ pull }, { highWaterMark: 0 });
    const refuse = (): Response => new Response(body, { status: 401 });
    const context = refusing(watch(manualClock()), refuse, { isTokenRejected });
    await expect(fetchAuthorized(context, "/query")).rejects.toThrow("down");
    expect(heldBy).toBe(1);
    expect(pending()).toBe(0);
  });

  test("R-55 an answer that stalls is judged by what came of it, and stays the caller's", async () => {
    const isTokenRejected = ({ bodyStart }: { readonly bodyStart: string }): boolean => bodyStart.includes("expired");
    for (const [start, sends] of [
      ["expired, ", 2],
      ["busy, ", 1],
    ] as const) {
      const stalls = (): Response =>
        new Response(
          new ReadableStream({
            start: (controller) => {
              controller.enqueue(new TextEncoder().encode(start));
            },
          }),
          { status: 500 },
        );
      const { session, sent, clock } = await openApi([stalls, () => new Response("rows")], { isTokenRejected });
      const asked = follow(session.fetch("/query"));
      await clock.advance(4_999);
      expect(asked.state).toBe("pending");
      await clock.advance(1);
      await run(clock, asked.promise);
      expect(sent).toHaveLength(sends);
      expect(asked.value?.status).toBe(sends === 2 ? 200 : 500);
    }
  });

  test("R-04 a server that refuses everything is stopped by the guard, not hammered", async () => {
    const { session, refreshes, clock } = await openApi([refused]);
    const outcomes: unknown[] = [];
    for (let request = 0; request < 40; request++) {
      const outcome = await run(clock, session.fetch("/v1"));
      outcomes.push(outcome.error ?? outcome.value?.status);
    }
    expect(refreshes()).toBe(10);
    expect(outcomes.at(-1)).toMatchObject({ code: "refresh_limit_reached" });
  });

  test("R-04 reporting a token that was replaced already costs no refresh", async () => {
    const { session, refreshes } = await openApi([refused, ok]);
    await session.fetch("/v1");
    expect(await session.getAccessToken({ rejected: "token-1" })).toBe("token-2");
    expect(refreshes()).toBe(1);
  });

  for (const header of [
    'Bearer realm="api", error="insufficient_scope", scope="sql"',
    "Bearer error=insufficient_scope",
    'Bearer Error = "insufficient_scope"',
  ]) {
    test(`R-04 insufficient_scope is no ended token (RFC 6750 §3.1, RFC 9110 §11.2): ${header}`, async () => {
      const { session, sent, refreshes } = await openApi([
        () => new Response(null, { status: 401, headers: { "www-authenticate": header } }),
      ]);
      expect((await session.fetch("/v1")).status).toBe(401);
      expect(sent).toHaveLength(1);
      expect(refreshes()).toBe(0);
    });
  }

  for (const status of [400, 403, 404, 429, 500, 503]) {
    test(`R-04 ${String(status)} is not about the token`, async () => {
      const { session, sent, refreshes } = await openApi([() => new Response("no", { status })]);
      expect((await session.fetch("/v1")).status).toBe(status);
      expect(sent).toHaveLength(1);
      expect(refreshes()).toBe(0);
    });
  }

  test("R-04 the refresh fails: the error is the caller's, and says what to do", async () => {
    const scene = await openScene();
    scene.fake.expireAccessTokens();
    scene.fake.revokeGrants();
    const response = await run(scene.clock, query(scene.session, "databricks"));
    expect(response.error).toMatchObject({ code: "reauthorization_required" });
  });
});

describe("bodies", () => {
  const bytes = new Uint8Array([0, 1, 2, 253, 254, 255]);
  const form = new FormData();
  form.set("file", new Blob([bytes]), "rows.bin");
  const BODIES: readonly (readonly [string, () => RequestInit["body"]])[] = [
    ["a string", () => "select ☃"],
    ["bytes", () => bytes],
    ["a buffer", () => bytes.buffer],
    ["a Blob", () => new Blob([bytes], { type: "application/x-rows" })],
    ["URLSearchParams", () => new URLSearchParams({ a: "1 + 1", b: "ü" })],
    ["FormData", () => form],
  ];

  for (const [name, body] of BODIES) {
    test(`R-04 ${name} is repeated byte for byte`, async () => {
      const { session, sent } = await openApi([refused, ok]);
      const response = await session.fetch("/v1", { method: "POST", body: body() ?? null });
      expect(response.status).toBe(200);
      const [first, second] = sent.map(plain);
      expect(first?.body.length).toBeGreaterThan(0);
      expect(second).toEqual(first);
    });
  }

  test("R-04 a stream is not sent twice: the refusal is the answer, and the next request has the new token", async () => {
    const { session, sent } = await openApi([refused, ok]);
    const response = await session.fetch("/v1", { method: "POST", body: new Blob([bytes]).stream() });
    expect(response.status).toBe(401);
    expect(await response.text()).toBe("who are you");
    expect(sent).toHaveLength(1);
    await session.fetch("/v1");
    expect(sent[1]?.headers.get("authorization")).toBe("Bearer token-2");
  });

  test("R-04 an async iterable is a stream, too", async () => {
    const { session, sent } = await openApi([refused, ok]);
    const rows = (async function* () {
      await Promise.resolve();
      yield bytes;
    })();
    const response = await session.fetch("/v1", { method: "POST", body: rows as unknown as BodyInit });
    expect(response.status).toBe(401);
    expect(sent).toHaveLength(1);
    expect(sent[0]?.body).toEqual(bytes);
  });

  test("a Request is sent as it is: method, headers, body", async () => {
    const { session, sent } = await openApi([ok]);
    const headers = { "content-type": "text/plain", "x-rows": "7" };
    await session.fetch(new Request(`${API}/v1`, { method: "PUT", headers, body: "rows" }));
    expect(sent[0]).toMatchObject({ url: `${API}/v1`, method: "PUT" });
    expect(sent[0]?.headers.get("content-type")).toBe("text/plain");
    expect(sent[0]?.headers.get("x-rows")).toBe("7");
    expect(new TextDecoder().decode(sent[0]?.body)).toBe("rows");
  });

  for (const [name, fetchWith] of [
    ["alone", (session: TokenSession, request: Request) => session.fetch(request)],
    ["beside an init that says nothing of it", fetchSayingNothing],
    ["as init", (session: TokenSession, request: Request) => session.fetch("/v1", request)],
  ] as const) {
    test(`what a Request says of how it is sent is heeded: ${name}`, async () => {
      const { session, sent } = await openApi([ok]);
      const controller = new AbortController();
      const { signal } = controller;
      const integrity = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
      const request = new Request(`${API}/v1`, { signal, integrity, redirect: "error" });
      await fetchWith(session, request);
      expect(sent[0]).toMatchObject({ integrity, redirect: "error" });
      controller.abort();
      expect(sent[0]?.signal.aborted).toBe(true);
    });
  }

  test("headers are read at once: they may be used again for the next request", async () => {
    const { session, sent } = await openApi([ok]);
    const headers = new Headers({ "x-request-id": "1" });
    const first = session.fetch("/v1", { headers });
    headers.set("x-request-id", "2");
    await Promise.all([first, session.fetch("/v2", { headers })]);
    expect(sent.map((one) => one.headers.get("x-request-id"))).toEqual(["1", "2"]);
  });

  for (const [name, make, change] of [
    [
      "a form",
      () => new URLSearchParams({ n: "1" }),
      (body: URLSearchParams): void => {
        body.set("n", "2");
      },
    ],
    ["bytes", () => new Uint8Array([1, 2, 3]), (body: Uint8Array) => body.fill(9)],
    ["a buffer", () => new Uint8Array([1, 2, 3]).buffer, (body: ArrayBuffer) => new Uint8Array(body).fill(9)],
    [
      "a form with a file",
      () => {
        const form = new FormData();
        form.append("rows", new Blob(["1,2"]), "rows.csv");
        return form;
      },
      (body: FormData) => {
        body.append("late", "1");
      },
    ],
  ] as const) {
    test(`R-04 ${name} is read at once, too, and repeated as it was`, async () => {
      const { session, sent } = await openApi([refused, ok]);
      const body = make();
      const wanted = new Uint8Array(await new Response(body).arrayBuffer());
      const response = session.fetch("/v1", { method: "POST", body });
      (change as (value: typeof body) => unknown)(body);
      expect((await response).status).toBe(200);
      const withoutBoundary = (bytes: Uint8Array | undefined): string =>
        new TextDecoder().decode(bytes).replaceAll(/-+formdata-[^\r]*/g, "");
      expect(sent.map((one) => withoutBoundary(one.body))).toEqual([withoutBoundary(wanted), withoutBoundary(wanted)]);
    });
  }

  test("a signal that is null takes that of a Request away, as on the platform", async () => {
    const { session } = await openApi([ok]);
    const request = new Request(`${API}/v1`, { signal: AbortSignal.abort() });
    expect((await session.fetch(request, { signal: null })).status).toBe(200);
  });

  test("R-55 a warehouse that fails to judge an answer lets it go", async () => {
    const { body, isCancelled } = stalledBody();
    const isTokenRejected = (): never => {
      throw new RangeError("not ours to judge");
    };
    const { session, clock } = await openApi([() => new Response(body, { status: 400 })], { isTokenRejected });
    const response = follow(session.fetch("/v1"));
    await clock.advance(5_000);
    await response.promise;
    expect(response.error).toBeInstanceOf(RangeError);
    expect(isCancelled()).toBe(true);
  });

  test("a Request without a body is repeated; init wins over it", async () => {
    const { session, sent } = await openApi([refused, ok]);
    const response = await session.fetch(new Request(`${API}/v1`), { method: "DELETE" });
    expect(response.status).toBe(200);
    expect(sent.map(({ method }) => method)).toEqual(["DELETE", "DELETE"]);
  });

  for (const [name, init, status] of [
    ["HEAD", { method: "HEAD" }, 401],
    ["an empty refusal", {}, 401],
  ] as const) {
    test(`R-04 ${name}: repeated without a body to look at`, async () => {
      const { session, sent } = await openApi([() => new Response(null, { status }), ok]);
      expect((await session.fetch("/v1", init)).status).toBe(200);
      expect(sent).toHaveLength(2);
    });
  }

  test("S-028 of a big refusal 16 KB are looked at, and the caller still gets all of it", async () => {
    const large = 5_000_000;
    const seen: number[] = [];
    const { session } = await openApi([() => new Response("x".repeat(large), { status: 400 })], {
      isTokenRejected: ({ bodyStart }) => {
        seen.push(bodyStart.length);
        return false;
      },
    });
    const response = await session.fetch("/v1");
    expect(seen).toEqual([16 * 1024]);
    expect((await response.text()).length).toBe(large);
  });

  test("S-028 16 KB in all, however the answer is cut, and a character between two pieces is whole", async () => {
    const pieces = new TextEncoder().encode("€".repeat(10_000));
    const cut = (): ReadableStream<Uint8Array> => {
      let at = 0;
      return new ReadableStream({
        pull(controller) {
          controller.enqueue(pieces.subarray(at, (at += 10_000)));
          if (at === pieces.length) controller.close();
        },
      });
    };
    const seen: string[] = [];
    const { session } = await openApi([() => new Response(cut(), { status: 400 })], {
      isTokenRejected: ({ bodyStart }) => {
        seen.push(bodyStart);
        return false;
      },
    });
    const response = await session.fetch("/v1");
    expect(seen).toEqual(["€".repeat(Math.floor((16 * 1024) / 3))]);
    expect((await response.text()).length).toBe(10_000);
  });

  test("S-028 a refusal without end is not read to its end", async () => {
    let pulled = 0;
    const endless = (): Response =>
      new Response(
        new ReadableStream<Uint8Array>({
          pull(controller) {
            pulled += 1;
            if (pulled > 1_000) controller.error(new Error("read too far"));
            else controller.enqueue(new Uint8Array(4_096));
          },
        }),
        { status: 400 },
      );
    const { session } = await openApi([endless], { isTokenRejected: () => false });
    const response = await session.fetch("/v1");
    expect(pulled).toBeLessThan(20);
    await response.body?.cancel();
  });

  test("S-028 a code at the very beginning is seen, one beyond 16 KB is not", async () => {
    const body = (at: number) => (): Response => new Response(`${"x".repeat(at)}EXPIRED`, { status: 400 });
    const isTokenRejected = ({ bodyStart }: { readonly bodyStart: string }): boolean => bodyStart.includes("EXPIRED");
    const seen = await openApi([body(100), ok], { isTokenRejected });
    expect((await seen.session.fetch("/v1")).status).toBe(200);
    const unseen = await openApi([body(20_000), ok], { isTokenRejected });
    expect((await unseen.session.fetch("/v1")).status).toBe(400);
  });

  test("S-028 a success is not read by us at all", async () => {
    let pulled = 0;
    const stream = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          pulled += 1;
          controller.enqueue(bytes);
        },
      },
      { highWaterMark: 0 },
    );
    const { session } = await openApi([() => new Response(stream)], { isTokenRejected: () => true });
    const response = await session.fetch("/v1");
    expect(pulled).toBe(0);
    await response.body?.cancel();
  });
});

/** Multipart boundaries are drawn anew each time; everything else must be the same. */
function plain({ url, method, headers, body }: Sent): { url: string; method: string; type: string; body: string } {
  const type = headers.get("content-type") ?? "";
  const boundary = /boundary=(\S+)/.exec(type)?.[1];
  const text = Buffer.from(body).toString("latin1");
  const strip = (value: string): string => (boundary === undefined ? value : value.replaceAll(boundary, "boundary"));
  return { url, method, type: strip(type), body: strip(text) };
}

describe("aborts", () => {
  test("R-40 a caller that aborts does not abort the shared refresh", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const controller = new AbortController();
    const [path] = QUERIES.databricks;
    const left = follow(scene.session.fetch(path, { method: "POST", body: "{}", signal: controller.signal }));
    const stays = follow(query(scene.session, "databricks"));
    await scene.clock.advance(0);
    controller.abort(new Error("enough"));
    await left.promise;
    expect(left.error?.message).toBe("enough");
    answer.open();
    await scene.clock.advance(0);
    await stays.promise;
    expect(stays.value?.status).toBe(200);
    expect(scene.refreshes()).toHaveLength(1);
  });

  test("R-40 the signal of a Request counts as well", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    const answer = gate();
    scene.fake.fail({ at: "token", kind: "hold", until: answer.until });
    const controller = new AbortController();
    const request = new Request(`${scene.fake.origin}/api`, { signal: controller.signal });
    const outcome = follow(scene.session.fetch(request));
    await scene.clock.advance(0);
    controller.abort();
    await outcome.promise;
    expect(outcome.error?.name).toBe("AbortError");
    answer.open();
    await scene.clock.advance(0);
    expect(scene.store.stored()?.generation).toBe(2);
  });

  test("R-40 a Request without a signal of its caller's waits for a token as long as an address: 30 s", async () => {
    const scene = await openScene();
    await scene.clock.advance(HOUR);
    await scene.store.takeLease(HOUR);
    const address = `${scene.fake.origin}/api`;
    const asked = [follow(scene.session.fetch(address)), follow(scene.session.fetch(new Request(address)))];
    await scene.clock.advance(30_001);
    expect(asked.map(({ state }) => state)).toEqual(["rejected", "rejected"]);
  });
});
