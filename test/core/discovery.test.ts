import { describe, expect, it, vi } from "vitest";
import { discover } from "warehouse-oauth";
import type { DiscoverOptions, Fetch, Warehouse } from "warehouse-oauth";
import { documentFetch, expectCode, standingClock, thrownBy } from "./acme.ts";

const ISSUER = "https://login.acme.example";
const RFC8414 = `${ISSUER}/.well-known/oauth-authorization-server`;
const OPENID = `${ISSUER}/.well-known/openid-configuration`;

const METADATA = {
  issuer: ISSUER,
  authorization_endpoint: `${ISSUER}/authorize`,
  token_endpoint: `${ISSUER}/token`,
  revocation_endpoint: `${ISSUER}/revoke`,
  jwks_uri: `${ISSUER}/keys`,
  response_types_supported: ["code"],
  code_challenge_methods_supported: ["S256"],
};

const DAY_MS = 86_400_000;

const from = (changes: Record<string, unknown> = {}, options: DiscoverOptions = {}): Promise<Warehouse> =>
  discover(ISSUER, {
    fetch: documentFetch({ [RFC8414]: { ...METADATA, ...changes } }),
    clock: standingClock(),
    ...options,
  });

describe("discover", () => {
  it("makes a warehouse of the metadata", async () => {
    expect(await from()).toEqual({
      id: "login.acme.example",
      issuer: ISSUER,
      authorizationEndpoint: `${ISSUER}/authorize`,
      tokenEndpoint: `${ISSUER}/token`,
      revocationEndpoint: `${ISSUER}/revoke`,
      jwksUri: `${ISSUER}/keys`,
      apiOrigins: [],
      grants: ["authorization_code", "refresh_token", "client_credentials", "jwt_bearer", "token_exchange"],
      defaultScopes: [],
      machineScopes: [],
      scopeCatalogue: new Map(),
      clientSecretMethod: "client_secret_basic",
      refreshRotation: "unknown",
      rotationVoidsAccessTokens: false,
      issuerInCallback: "sometimes",
      hardMarginMs: 30_000,
      refusedBelowMs: 0,
    });
  });

  it("asks for JSON, undecoded, and follows nothing", async () => {
    const fetch = vi.fn<Fetch>(() => Promise.resolve(Response.json(METADATA)));
    await discover(ISSUER, { fetch, clock: standingClock() });
    expect(fetch).toHaveBeenCalledExactlyOnceWith(RFC8414, {
      method: "GET",
      headers: { accept: "application/json", "accept-encoding": "identity" },
      redirect: "manual",
      signal: expect.any(AbortSignal) as AbortSignal,
    });
  });

  it("makes a warehouse for machines where nobody signs in", async () => {
    const warehouse = await from({
      authorization_endpoint: undefined,
      revocation_endpoint: undefined,
      jwks_uri: undefined,
      response_types_supported: [],
    });
    expect(warehouse).toMatchObject({
      grants: ["client_credentials", "jwt_bearer", "token_exchange"],
      tokenEndpoint: `${ISSUER}/token`,
    });
    for (const member of ["authorizationEndpoint", "revocationEndpoint", "jwksUri"])
      expect(warehouse).not.toHaveProperty(member);
  });

  it.each([
    [undefined, "client_secret_basic"],
    [["client_secret_basic", "client_secret_post"], "client_secret_basic"],
    [["client_secret_post"], "client_secret_post"],
    [["none"], "client_secret_post"],
    ["client_secret_post", "client_secret_basic"],
  ])("sends the secret as the metadata says: %j", async (methods, clientSecretMethod) => {
    expect(await from({ token_endpoint_auth_methods_supported: methods })).toMatchObject({ clientSecretMethod });
  });

  it.each([
    [true, "always"],
    [false, "sometimes"],
    ["true", "sometimes"],
    [undefined, "sometimes"],
  ])("S-016 takes iss for certain only if it is promised: %j", async (promised, issuerInCallback) => {
    expect(await from({ authorization_response_iss_parameter_supported: promised })).toMatchObject({
      issuerInCallback,
    });
  });

  it("takes an id and overrides", async () => {
    const overrides = {
      defaultScopes: ["sql"],
      tokenEndpoint: "https://other.example/token",
      refreshRotation: "none",
    } as const;
    expect(await from({}, { id: "acme", overrides })).toMatchObject({ id: "acme", ...overrides });
  });

  it("refuses an option that is none, and what are no options", async () => {
    const error = await expectCode(() => from({}, { allowedHost: ["a.example"] } as never), "config_invalid");
    expect(error).toMatchObject({ option: "allowedHost" });
    await expectCode(() => discover(ISSUER, null as never), "invalid_argument");
  });

  it.each([
    ["https://9.example", "host-9.example"],
    ["https://[2001:db8::1]", "host--2001-db8--1-"],
    [`https://${"a".repeat(60)}.example.org`, `${"a".repeat(60)}.exa`],
    [`https://9${"a".repeat(60)}.example.org`, `host-9${"a".repeat(58)}`],
  ])("makes an id of the host: %s", async (issuer, id) => {
    const fetch = documentFetch({
      [`${issuer}/.well-known/oauth-authorization-server`]: { issuer, token_endpoint: `${issuer}/token` },
    });
    expect((await discover(issuer, { fetch, clock: standingClock() })).id).toBe(id);
  });

  it("uses the global fetch and the system's clock by default", async () => {
    vi.stubGlobal(
      "fetch",
      documentFetch({
        "https://global.example/.well-known/oauth-authorization-server": {
          issuer: "https://global.example",
          token_endpoint: "https://global.example/token",
        },
      }),
    );
    try {
      expect((await discover("https://global.example")).tokenEndpoint).toBe("https://global.example/token");
    } finally {
      vi.unstubAllGlobals();
    }
  });
});

describe("S-057 the issuer", () => {
  it.each([`${ISSUER}/`, "https://LOGIN.acme.example", "https://evil.example", "", undefined, null, 5])(
    "is compared byte for byte: %j",
    async (issuer) => {
      expect(await expectCode(() => from({ issuer }), "issuer_mismatch")).toMatchObject({
        option: "issuer",
        action: "fix_config",
      });
    },
  );

  it("S-100 is read from the document itself", async () => {
    const text = JSON.stringify({ ...METADATA, issuer: undefined }).replace(
      "{",
      `{"__proto__":{"issuer":"${ISSUER}"},`,
    );
    const fetch: Fetch = () => Promise.resolve(new Response(text, { headers: { "content-type": "application/json" } }));
    await expectCode(() => discover(ISSUER, { fetch, clock: standingClock() }), "issuer_mismatch");
  });

  it.each<[string, string[]]>([
    [ISSUER, [RFC8414, OPENID]],
    [`${ISSUER}/`, [RFC8414, OPENID]],
    [
      `${ISSUER}/a/b`,
      [
        `${ISSUER}/.well-known/oauth-authorization-server/a/b`,
        `${ISSUER}/a/b/.well-known/openid-configuration`,
        `${ISSUER}/a/b/.well-known/oauth-authorization-server`,
      ],
    ],
    [
      `${ISSUER}/a/`,
      [
        `${ISSUER}/.well-known/oauth-authorization-server/a`,
        `${ISSUER}/a/.well-known/openid-configuration`,
        `${ISSUER}/a/.well-known/oauth-authorization-server`,
      ],
    ],
  ])("is asked for its metadata where RFC 8414 §3.1 and OpenID say: %s", async (issuer, addresses) => {
    const nothing = documentFetch({});
    const error = await expectCode(
      () => discover(issuer, { fetch: nothing, clock: standingClock() }),
      "server_unavailable",
    );
    expect(error).toMatchObject({ status: 404 });
    expect(nothing.asked).toEqual(addresses);
    for (const [index, address] of addresses.entries()) {
      const fetch = documentFetch({ [address]: { ...METADATA, issuer } });
      expect((await discover(issuer, { fetch, clock: standingClock() })).issuer).toBe(issuer);
      expect(fetch.asked).toEqual(addresses.slice(0, index + 1));
    }
  });

  it("may be a URL; an origin has no slash at the end", async () => {
    expect(
      (await discover(new URL(ISSUER), { fetch: documentFetch({ [RFC8414]: METADATA }), clock: standingClock() }))
        .issuer,
    ).toBe(ISSUER);
    const issuer = `${ISSUER}/a`;
    const fetch = documentFetch({ [`${RFC8414}/a`]: { ...METADATA, issuer } });
    expect((await discover(new URL(issuer), { fetch, clock: standingClock() })).issuer).toBe(issuer);
  });

  it("must be an address without user, query or fragment", async () => {
    const fetch = documentFetch({});
    for (const issuer of [`${ISSUER}/?tenant=1`, `${ISSUER}?x`, "https://u:p@login.acme.example", `${ISSUER}/#x`]) {
      await expectCode(() => discover(issuer, { fetch }), "config_invalid");
      await expectCode(() => discover(new URL(issuer), { fetch }), "config_invalid");
    }
    for (const issuer of [undefined, null, 5, {}])
      await expectCode(() => discover(issuer as never, { fetch }), "invalid_argument");
    await expectCode(() => discover(ISSUER, { fetch, allowLoopbackHttp: "no" } as never), "invalid_argument");
    expect(fetch.asked).toEqual([]);
  });
});

describe("S-058 addresses in the metadata", () => {
  const NAMES = ["authorization_endpoint", "token_endpoint", "revocation_endpoint", "jwks_uri"] as const;

  describe.each(NAMES)("%s", (name) => {
    it.each([
      ["https://evil.example/token", "endpoint_not_allowed"],
      ["https://login.acme.example.evil.example/token", "endpoint_not_allowed"],
      ["https://login.acme.example:8443/token", "endpoint_not_allowed"],
      ["javascript:alert(1)", "endpoint_not_allowed"],
      ["ftp://login.acme.example/token", "endpoint_not_allowed"],
      ["https://user@login.acme.example/token", "endpoint_not_allowed"],
      ["https://:pw@login.acme.example/token", "endpoint_not_allowed"],
      ["https://login.acme.example@evil.example/token", "endpoint_not_allowed"],
      ["https://login.acme.example/token#", "endpoint_not_allowed"],
      ["https://login.acme.example/token#x", "endpoint_not_allowed"],
      ["https://login.acme.example\\@evil.example/", "endpoint_not_allowed"],
      ["https://login.acme.example/token\n", "endpoint_not_allowed"],
      ["/token", "endpoint_not_allowed"],
      ["", "endpoint_not_allowed"],
      [null, "endpoint_not_allowed"],
      [5, "endpoint_not_allowed"],
      [["https://login.acme.example/token"], "endpoint_not_allowed"],
      ["http://login.acme.example/token", "insecure_url"],
      ["http://127.0.0.1/token", "insecure_url"],
    ] as const)("%j is %s", async (value, code) => {
      expect(await expectCode(() => from({ [name]: value }), code)).toMatchObject({ option: name });
    });

    it("may lie on a host that is named", async () => {
      expect(
        Object.values(await from({ [name]: "https://other.example:8443/x" }, { allowedHosts: ["other.example:8443"] })),
      ).toContain("https://other.example:8443/x");
      await expectCode(
        () => from({ [name]: "https://other.example/x" }, { allowedHosts: ["other.example:8443"] }),
        "endpoint_not_allowed",
      );
    });
  });

  it("may be on this machine if that is switched on", async () => {
    const issuer = "http://127.0.0.1:8080";
    const fetch = documentFetch({
      [`${issuer}/.well-known/oauth-authorization-server`]: { issuer, token_endpoint: `${issuer}/token` },
    });
    expect((await discover(issuer, { fetch, clock: standingClock(), allowLoopbackHttp: true })).tokenEndpoint).toBe(
      `${issuer}/token`,
    );
    await expectCode(
      () => from({ token_endpoint: "http://127.0.0.1/token" }, { allowLoopbackHttp: true }),
      "endpoint_not_allowed",
    );
    await expectCode(
      () => from({ token_endpoint: "http://0x7f.1/token" }, { allowLoopbackHttp: true }),
      "insecure_url",
    );
  });

  it("need a token endpoint", async () => {
    expect(await expectCode(() => from({ token_endpoint: undefined }), "config_invalid")).toMatchObject({
      option: "token_endpoint",
    });
  });
});

describe("what the server must speak", () => {
  it.each([
    ["S-001", "code_challenge_methods_supported", ["plain"]],
    ["S-001", "code_challenge_methods_supported", []],
    ["S-006", "response_types_supported", ["token", "id_token"]],
    ["S-009", "require_pushed_authorization_requests", true],
  ])("%s refuses %s = %j", async (_number, option, value) => {
    expect(await expectCode(() => from({ [option]: value }), "config_invalid")).toMatchObject({ option });
  });

  it.each([
    { code_challenge_methods_supported: ["plain", "S256"] },
    { code_challenge_methods_supported: undefined },
    { response_types_supported: undefined },
    { response_types_supported: ["code id_token", "code"] },
    { require_pushed_authorization_requests: false },
  ])("takes %j", async (changes) => {
    expect((await from(changes)).issuer).toBe(ISSUER);
  });
});

describe("an answer that is no metadata", () => {
  const answer = (make: () => Response): Promise<unknown> =>
    thrownBy(() => discover(ISSUER, { fetch: () => Promise.resolve(make()), clock: standingClock() }));

  it.each([
    ["HTML", (): Response => new Response("<html>", { headers: { "content-type": "text/html" } })],
    [
      "JSON as text",
      (): Response => new Response(JSON.stringify(METADATA), { headers: { "content-type": "text/plain" } }),
    ],
    ["JSON without a type", (): Response => new Response(new TextEncoder().encode(JSON.stringify(METADATA)))],
    [
      "another type",
      (): Response => new Response(JSON.stringify(METADATA), { headers: { "content-type": "application/jsonp" } }),
    ],
    [
      "a type that ends like JSON's",
      (): Response => new Response(JSON.stringify(METADATA), { headers: { "content-type": "text/application/json" } }),
    ],
    ["a list", (): Response => Response.json([METADATA])],
    ["null", (): Response => Response.json(null)],
    [
      "half of it",
      (): Response =>
        new Response(JSON.stringify(METADATA).slice(0, -1), { headers: { "content-type": "application/json" } }),
    ],
    ["201", (): Response => Response.json(METADATA, { status: 201 })],
    ["503", (): Response => Response.json(METADATA, { status: 503 })],
  ])("%s is server_unavailable", async (_what, make) => {
    expect(await answer(make)).toMatchObject({ code: "server_unavailable", retryable: true, status: make().status });
  });

  it.each([
    "application/json",
    "application/json; charset=utf-8",
    "Application/JSON ;x",
    "application/oauth-authorization-server+json",
  ])("%s is a type of JSON", async (type) => {
    const fetch: Fetch = () =>
      Promise.resolve(new Response(JSON.stringify(METADATA), { headers: { "content-type": type } }));
    expect((await discover(ISSUER, { fetch, clock: standingClock() })).issuer).toBe(ISSUER);
  });

  it("S-026 S-028 is refused as a redirect, or as too large", async () => {
    const fetch = vi.fn<Fetch>(() =>
      Promise.resolve(new Response(null, { status: 302, headers: { location: "https://evil.example/" } })),
    );
    await expectCode(() => discover(ISSUER, { fetch, clock: standingClock() }), "token_redirect_refused");
    expect(fetch.mock.calls.map(([address]) => address)).toEqual([RFC8414, OPENID]);
    expect(await answer(() => Response.json({ ...METADATA, pad: "x".repeat(1_048_576) }))).toMatchObject({
      code: "token_response_too_large",
    });
    const large = documentFetch({ [RFC8414]: { ...METADATA, pad: "x".repeat(1_000_000) } });
    expect((await discover(ISSUER, { fetch: large, clock: standingClock() })).issuer).toBe(ISSUER);
  });

  it("S-103 of 64 KB and more finishes", async () => {
    for (const text of ["[".repeat(65_536), '{"a":'.repeat(13_000), " ".repeat(65_536), "\u0000".repeat(65_536)]) {
      expect(await answer(() => new Response(text, { headers: { "content-type": "application/json" } }))).toMatchObject(
        { code: "server_unavailable" },
      );
    }
    expect(
      await answer(() =>
        Response.json(METADATA, { headers: { "content-type": `application/${"a+".repeat(32_000)}` } }),
      ),
    ).toMatchObject({ code: "server_unavailable" });
  });

  it("of a host that cannot be reached is not asked for elsewhere", async () => {
    const fetch = vi.fn<Fetch>(() =>
      Promise.reject(Object.assign(new TypeError("fetch failed"), { cause: { code: "ENOTFOUND" } })),
    );
    await expectCode(() => discover(ISSUER, { fetch, clock: standingClock() }), "network_error");
    expect(fetch).toHaveBeenCalledOnce();
  });

  it("S-027 is waited for ten seconds", async () => {
    const clock = standingClock();
    const delays: number[] = [];
    const setTimer = clock.setTimer.bind(clock);
    clock.setTimer = (callback, delayMs): (() => void) => {
      delays.push(delayMs);
      return setTimer(callback, delayMs);
    };
    const waiting = thrownBy(() => discover(ISSUER, { fetch: () => new Promise(() => undefined), clock }));
    await vi.waitFor(
      () => {
        expect(clock.timers.size).toBe(1);
      },
      { timeout: 60_000 },
    );
    for (const fire of clock.timers) fire();
    expect(await waiting).toMatchObject({ code: "timeout" });
    expect(delays).toEqual([10_000]);
  });
});

describe("S-061 keeping metadata", () => {
  it("for 24 hours, and not a millisecond longer", async () => {
    const clock = standingClock();
    const fetch = documentFetch({ [RFC8414]: METADATA });
    for (const time of [0, 1, DAY_MS - 1]) {
      clock.time += time - (clock.time - standingClock().time);
      await discover(ISSUER, { fetch, clock });
    }
    expect(fetch.asked).toHaveLength(1);
    clock.time += 1;
    await discover(ISSUER, { fetch, clock });
    expect(fetch.asked).toHaveLength(2);
  });

  it("a failure for 60 seconds", async () => {
    const clock = standingClock();
    const documents: Record<string, unknown> = {};
    const fetch = documentFetch(documents);
    const first = await expectCode(() => discover(ISSUER, { fetch, clock }), "server_unavailable");
    documents[RFC8414] = METADATA;
    clock.time += 59_999;
    expect(await expectCode(() => discover(ISSUER, { fetch, clock }), "server_unavailable")).toBe(first);
    expect(fetch.asked).toHaveLength(2);
    clock.time += 1;
    expect((await discover(ISSUER, { fetch, clock })).issuer).toBe(ISSUER);
    expect(fetch.asked).toHaveLength(3);
  });

  it("asks once for all who wait; an abort takes only its own caller away", async () => {
    const clock = standingClock();
    let answer: (response: Response) => void = () => undefined;
    const fetch = vi.fn<Fetch>(
      () =>
        new Promise((resolve) => {
          answer = resolve;
        }),
    );
    const controller = new AbortController();
    const left = thrownBy(() => discover(ISSUER, { fetch, clock, signal: controller.signal }));
    const waiting = Array.from({ length: 20 }, (_unused, index) =>
      discover(ISSUER, { fetch, clock, ...(index > 9 && { signal: new AbortController().signal }) }),
    );
    await Promise.resolve();
    const reason = { why: "gone" };
    controller.abort(reason);
    expect(await left).toBe(reason);
    answer(Response.json(METADATA));
    const warehouses = await Promise.all(waiting);
    expect(warehouses.map(({ issuer }) => issuer)).toEqual(Array(20).fill(ISSUER));
    expect(fetch).toHaveBeenCalledOnce();
    expect(await thrownBy(() => discover(ISSUER, { fetch, clock, signal: AbortSignal.abort(reason) }))).toBe(reason);
  });

  it("asks once for a failure too, and tells all who wait", async () => {
    const clock = standingClock();
    const fetch = documentFetch({});
    const { signal } = new AbortController();
    const outcomes = await Promise.allSettled([
      discover(ISSUER, { fetch, clock }),
      discover(ISSUER, { fetch, clock, signal }),
    ]);
    expect(outcomes).toMatchObject([
      { reason: { code: "server_unavailable" } },
      { reason: { code: "server_unavailable" } },
    ]);
    expect(fetch.asked).toHaveLength(2);
  });

  it("keeps the last good document when it cannot be had again, and asks again after 60 seconds", async () => {
    const clock = standingClock();
    const documents: Record<string, unknown> = { [RFC8414]: METADATA };
    const fetch = documentFetch(documents);
    await discover(ISSUER, { fetch, clock });
    Reflect.deleteProperty(documents, RFC8414);
    clock.time += DAY_MS;
    expect((await discover(ISSUER, { fetch, clock })).tokenEndpoint).toBe(`${ISSUER}/token`);
    expect(fetch.asked).toHaveLength(3);
    clock.time += 59_999;
    await discover(ISSUER, { fetch, clock });
    expect(fetch.asked).toHaveLength(3);
    clock.time += 1;
    documents[RFC8414] = { ...METADATA, token_endpoint: `${ISSUER}/token2` };
    expect((await discover(ISSUER, { fetch, clock })).tokenEndpoint).toBe(`${ISSUER}/token2`);
  });

  it("never serves a document of another issuer, nor hides that there is one", async () => {
    const clock = standingClock();
    const documents: Record<string, unknown> = { [RFC8414]: METADATA };
    const fetch = documentFetch(documents);
    await discover(ISSUER, { fetch, clock });
    documents[RFC8414] = { ...METADATA, issuer: "https://evil.example", token_endpoint: `${ISSUER}/evil` };
    clock.time += DAY_MS;
    await expectCode(() => discover(ISSUER, { fetch, clock }), "issuer_mismatch");
    await expectCode(() => discover(ISSUER, { fetch, clock }), "issuer_mismatch");
    documents[RFC8414] = METADATA;
    clock.time += 60_000;
    expect((await discover(ISSUER, { fetch, clock })).tokenEndpoint).toBe(`${ISSUER}/token`);
  });

  it("keeps issuers apart, and what one fetch brought from another", async () => {
    const clock = standingClock();
    const one = documentFetch({
      [RFC8414]: METADATA,
      [`${RFC8414}/b`]: { ...METADATA, issuer: `${ISSUER}/b`, token_endpoint: `${ISSUER}/b/token` },
    });
    const two = documentFetch({ [RFC8414]: { ...METADATA, token_endpoint: `${ISSUER}/two` } });
    expect((await discover(ISSUER, { fetch: one, clock })).tokenEndpoint).toBe(`${ISSUER}/token`);
    expect((await discover(`${ISSUER}/b`, { fetch: one, clock })).tokenEndpoint).toBe(`${ISSUER}/b/token`);
    expect((await discover(ISSUER, { fetch: two, clock })).tokenEndpoint).toBe(`${ISSUER}/two`);
  });

  it("keeps a hundred issuers, and lets the one go that was asked for longest ago", async () => {
    const clock = standingClock();
    const issuers = Array.from({ length: 101 }, (_unused, index) => `https://i${String(index)}.example`);
    const fetch = documentFetch(
      Object.fromEntries(
        issuers.map((issuer) => [
          `${issuer}/.well-known/oauth-authorization-server`,
          { issuer, token_endpoint: `${issuer}/token` },
        ]),
      ),
    );
    const ask = async (index: number): Promise<number> => {
      const before = fetch.asked.length;
      await discover(issuers[index] ?? "", { fetch, clock });
      return fetch.asked.length - before;
    };
    for (let index = 0; index < 100; index++) expect(await ask(index)).toBe(1);
    expect(await ask(0)).toBe(0);
    expect(await ask(100)).toBe(1); // 1 goes, which is now the oldest
    expect(await ask(0)).toBe(0);
    expect(await ask(2)).toBe(0);
    expect(await ask(1)).toBe(1);
  });
});
