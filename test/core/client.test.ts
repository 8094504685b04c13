import { inspect } from "node:util";
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import {
  type DiscoverOptions,
  clientSecretBasic,
  clientSecretPost,
  createClient,
  discover,
  none,
  privateKeyJwt,
} from "warehouse-oauth";
import { formatConnectionId, internalsOf, parseConnectionId } from "../../src/core/client.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { REDIRECT_URI, acmeClient, acmeWarehouse, expectCode, standingClock } from "./acme.ts";

const create = (changes: Record<string, unknown>) => (): unknown =>
  createClient({ warehouse: acmeWarehouse(), clientId: "client-1", ...changes });

describe("createClient", () => {
  it("gives a frozen registration and keeps the rest to itself", () => {
    const warehouse = acmeWarehouse();
    const client = createClient({ warehouse, clientId: "client-1", redirectUri: REDIRECT_URI });
    expect(client).toEqual({
      warehouse,
      clientId: "client-1",
      redirectUri: REDIRECT_URI,
      connectionId: "acme|https%3A%2F%2Flogin.acme.example|https%3A%2F%2Flogin.acme.example%2Ftoken|client-1",
    });
    expect(Object.isFrozen(client)).toBe(true);
    expect(internalsOf(client)).toMatchObject({
      isPublic: true,
      login: {},
      clock: systemClock,
      timeoutMs: 10_000,
      allowLoopbackHttp: false,
      oauthClient: { client_id: "client-1" },
      server: {
        issuer: "https://login.acme.example",
        token_endpoint: "https://login.acme.example/token",
        authorization_response_iss_parameter_supported: false,
      },
    });
    expect(internalsOf(client).server).not.toHaveProperty("revocation_endpoint");
  });

  it("keeps what is given", () => {
    const clock = standingClock();
    const fetch = (): Promise<Response> => Promise.reject(new Error("unused"));
    const warehouse = acmeWarehouse({
      issuerInCallback: "always",
      revocationEndpoint: "https://login.acme.example/revoke",
    });
    const options = { warehouse, clientId: "client-1", clock, fetch, timeoutMs: 5, login: { scopes: ["a"] } };
    const client = createClient({ ...options, clientSecret: "secret", allowLoopbackHttp: true });
    const known = internalsOf(client);
    expect(known).toMatchObject({ isPublic: false, timeoutMs: 5, allowLoopbackHttp: true, login: { scopes: ["a"] } });
    expect([known.clock, known.fetch]).toEqual([clock, fetch]);
    expect(known.server).toMatchObject({
      revocation_endpoint: "https://login.acme.example/revoke",
      authorization_response_iss_parameter_supported: true,
    });
    expect(internalsOf(createClient({ ...options, clientAuthentication: none() })).isPublic).toBe(false);
    expect(client.redirectUri).toBeUndefined();
  });

  it("looks the global fetch up when it is called", async () => {
    const { fetch } = internalsOf(acmeClient());
    const stub = vi.fn(() => Promise.resolve(new Response("later")));
    vi.stubGlobal("fetch", stub);
    try {
      expect(await (await fetch("https://a.example", { method: "POST" })).text()).toBe("later");
      expect(stub).toHaveBeenCalledWith("https://a.example", { method: "POST" });
    } finally {
      vi.unstubAllGlobals();
    }
  });

  it.each([
    [{ warehouse: { ...acmeWarehouse() } }, "invalid_argument"],
    [{ warehouse: undefined }, "invalid_argument"],
    [{ clientId: undefined }, "invalid_argument"],
    [{ clientId: 5 }, "invalid_argument"],
    [{ redirectUri: new URL("https://app.example") }, "invalid_argument"],
    [{ clientSecret: 5 }, "invalid_argument"],
    [{ clientSecret: null }, "invalid_argument"],
    [{ clientAuthentication: "secret" }, "invalid_argument"],
    [{ clientAuthentication: null }, "invalid_argument"],
    [{ timeoutMs: "10" }, "invalid_argument"],
    [{ allowLoopbackHttp: "false" }, "invalid_argument"],
    [{ allowLoopbackHttp: null }, "invalid_argument"],
    [{ clientId: "" }, "config_invalid"],
    [{ clientId: "a\nb" }, "config_invalid"],
    [{ clientId: "é" }, "config_invalid"],
    [{ clientId: "a\u007f" }, "config_invalid"],
    [{ clientId: "a".repeat(2049) }, "config_invalid"],
    [{ clientSecret: "" }, "config_invalid"],
    [{ clientSecret: undefined }, "config_invalid"],
    [{ clientAuthentication: undefined }, "config_invalid"],
    [{ clientSecret: "a", clientAuthentication: none() }, "config_invalid"],
    [{ timeoutMs: 0 }, "config_invalid"],
    [{ timeoutMs: 0.5 }, "config_invalid"],
    [{ timeoutMs: 900_001 }, "config_invalid"],
    [{ timeoutMs: Number.NaN }, "config_invalid"],
    [{ clientsecret: "a" }, "config_invalid"],
    [{ constructor: "a" }, "config_invalid"],
    [{ __proto__x: 1 }, "config_invalid"],
  ] as readonly [Record<string, unknown>, "invalid_argument" | "config_invalid"][])(
    "refuses %j",
    async (changes, code) => {
      const error = await expectCode(create(changes), code);
      if (code === "config_invalid")
        expect(error).toHaveProperty(
          "option",
          "clientId" in changes || "timeoutMs" in changes ? Object.keys(changes)[0] : expect.any(String),
        );
    },
  );

  it("S-101 refuses an own member called __proto__", async () => {
    const options = { warehouse: acmeWarehouse(), clientId: "client-1" };
    Object.defineProperty(options, "__proto__", { value: {}, enumerable: true });
    await expectCode(() => createClient(options), "config_invalid");
  });

  it.each([undefined, null, "client"])("refuses %j for options", async (options) => {
    await expectCode(() => createClient(options as never), "invalid_argument");
  });

  const now = (): number => 0;
  const monotonic = now;
  const setTimer = now;
  it.each([
    { fetch: 5 },
    { fetch: null },
    { clock: 5 },
    { clock: null },
    { clock: Date },
    { clock: { now, monotonic } },
    { clock: { now, setTimer } },
    { clock: { monotonic, setTimer } },
  ])("refuses what no request could be sent with: %j", async (changes) => {
    await expectCode(create(changes), "invalid_argument");
    const options = changes as DiscoverOptions;
    await expectCode(() => discover("https://login.acme.example", options), "invalid_argument");
  });

  it.each([
    { clientId: " ~" },
    { clientId: "a".repeat(2048) },
    { timeoutMs: 1 },
    { timeoutMs: 900_000 },
    { redirectUri: undefined },
  ])("takes %j", (changes) => {
    expect(create(changes)).not.toThrow();
  });
});

describe("redirectUri", () => {
  it.each([
    "https://app.example",
    "https://app.example/cb?a=b%2fc",
    "https://APP.example:443/cb/",
    "com.example.app:/callback",
    "com.example.app://callback",
  ])("S-007 is kept byte for byte: %s", (redirectUri) => {
    expect(acmeClient({ redirectUri }).redirectUri).toBe(redirectUri);
  });

  it.each([
    "",
    "app.example/cb",
    "/cb",
    "https://app.example/cb#",
    "https://app.example/cb#x",
    "https://user@app.example/cb",
    "https://:pw@app.example/cb",
    "https://app.example/cb\n",
    " https://app.example/cb",
    "https://app.example\\@evil.example",
    "https://app.example/\ud800",
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "file:///tmp/x",
    "blob:https://app.example/1",
    "about:blank",
    "ftp://app.example",
    "ws://app.example",
    "wss://app.example",
  ])("S-005 refuses %j", async (redirectUri) => {
    expect(await expectCode(create({ redirectUri }), "config_invalid")).toMatchObject({ option: "redirectUri" });
  });

  it.each([
    "http://app.example/cb",
    "http://127.0.0.1.evil.example/cb",
    "http://0x7f.1/cb",
    "http://2130706433/cb",
    "http://[::ffff:127.0.0.1]/cb",
    "http://localhost./cb",
  ])("S-025 refuses %s, switched on or not", async (redirectUri) => {
    expect(await expectCode(create({ redirectUri }), "insecure_url")).toMatchObject({ option: "redirectUri" });
    await expectCode(create({ redirectUri, allowLoopbackHttp: true }), "insecure_url");
  });

  it.each(["http://127.0.0.1:4711/cb", "http://[::1]/cb", "http://localhost/cb"])(
    "S-025 takes %s if switched on",
    async (redirectUri) => {
      await expectCode(create({ redirectUri }), "insecure_url");
      expect(acmeClient({ redirectUri, allowLoopbackHttp: true }).redirectUri).toBe(redirectUri);
    },
  );
});

describe("the default authentication", () => {
  const authenticate = async (client = acmeClient()): Promise<{ headers: Headers; body: URLSearchParams }> => {
    const headers = new Headers();
    const body = new URLSearchParams();
    const { issuer } = client.warehouse;
    await internalsOf(client).authenticate({
      clientId: "client-1",
      issuer,
      endpoint: "",
      audience: issuer,
      headers,
      body,
      now: 0,
    });
    return { headers, body };
  };

  it("is the header, the body where the warehouse wants it, or nothing but the id", async () => {
    const basic = await authenticate(acmeClient({ clientSecret: "s" }));
    expect([basic.headers.get("authorization"), basic.body.toString()]).toEqual([`Basic ${btoa("client-1:s")}`, ""]);
    const post = await authenticate(acmeClient({ clientSecret: "s" }, { clientSecretMethod: "client_secret_post" }));
    expect([[...post.headers], post.body.toString()]).toEqual([[], "client_id=client-1&client_secret=s"]);
    const open = await authenticate();
    expect([[...open.headers], open.body.toString()]).toEqual([[], "client_id=client-1"]);
  });

  it("is what is given as clientAuthentication", async () => {
    const own = await authenticate(
      acmeClient({
        clientAuthentication: ({ headers }) => {
          headers.set("x-own", "1");
        },
      }),
    );
    expect([...own.headers]).toEqual([["x-own", "1"]]);
  });
});

describe("S-055 secrets of a client", () => {
  const MARKER = "s3cr3t-marker";

  it.each([
    { clientSecret: MARKER },
    { clientSecret: () => MARKER },
    { clientAuthentication: clientSecretPost(MARKER) },
    { clientAuthentication: clientSecretBasic(MARKER) },
    { clientAuthentication: privateKeyJwt(`-----BEGIN PRIVATE KEY-----\n${MARKER}\n-----END PRIVATE KEY-----`) },
  ])("do not print: %#", (changes) => {
    const client = acmeClient(changes);
    const shown: unknown = client;
    const printed = [
      inspect(client, { depth: Infinity, showHidden: true }),
      inspect(client, { depth: Infinity, customInspect: false }),
      inspect(internalsOf(client).authenticate, { depth: Infinity, showHidden: true }),
      JSON.stringify(client),
      String(shown),
      String(Object.values(client)),
    ].join("\n");
    expect(printed).not.toContain(MARKER);
    expect(printed).toContain("client-1");
  });
});

describe("internalsOf", () => {
  it.each([undefined, null, 5, {}, { ...acmeClient() }])("refuses %j", async (client) => {
    await expectCode(() => internalsOf(client as never), "invalid_argument");
  });
});

describe("connection ids", () => {
  const text = fc.string({
    unit: fc.constantFrom("a", "B", "|", "%", "7", "C", "/", ":", "é", "😀", " ", "+"),
    maxLength: 12,
  });
  const parts = fc.record({ warehouse: text, issuer: text, tokenEndpoint: text, clientId: text });

  it("round-trip", () => {
    fc.assert(
      fc.property(parts, (value) => {
        expect(parseConnectionId(formatConnectionId(value))).toEqual(value);
      }),
    );
  });

  it("never collide", () => {
    fc.assert(
      fc.property(parts, parts, (one, other) => {
        const equal = JSON.stringify(one) === JSON.stringify(other);
        return (formatConnectionId(one) === formatConnectionId(other)) === equal;
      }),
    );
  });

  it("S-014 differ by warehouse, issuer, token endpoint and client, and by nothing else", () => {
    const ids = [
      acmeClient(),
      acmeClient({ clientId: "client-2" }),
      acmeClient({}, { id: "acme2" }),
      acmeClient({}, { issuer: "https://login.acme.example/" }),
      acmeClient({}, { tokenEndpoint: "https://login.acme.example/token2" }),
    ].map((client) => client.connectionId);
    expect(new Set(ids).size).toBe(ids.length);
    const same = acmeClient({ redirectUri: "https://other.example/", clientSecret: "x", login: {} });
    expect(same.connectionId).toBe(ids[0]);
  });

  it.each(["", "a", "a|b|c", "a|b|c|d|e", "a|b|c|d|", "a|b|c|%", "a|b|%zz|d", "%ff|a|b|c"])(
    "do not parse: %j",
    (id) => {
      expect(parseConnectionId(id)).toBeUndefined();
    },
  );
});
