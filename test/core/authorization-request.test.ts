import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { createAuthorizationRequest, createClient, createPkce, defineWarehouse } from "warehouse-oauth";
import type { AuthorizationRequestOptions, LoginOptions, OAuthClient } from "warehouse-oauth";
import { requestedScopes } from "../../src/core/authorization-request.ts";
import { ACME, NOON, REDIRECT_URI, acmeClient, expectCode, standingClock } from "./acme.ts";

const RANDOM = /^[A-Za-z0-9_-]{43}$/;

const RESERVED = [
  "client_id",
  "redirect_uri",
  "response_type",
  "state",
  "code_challenge",
  "code_challenge_method",
  "nonce",
  "scope",
  "response_mode",
  "request",
  "request_uri",
];

interface RoleLogin extends LoginOptions {
  readonly role?: string;
  readonly add?: Readonly<Record<string, string>>;
}

/** A warehouse whose roles are scopes. */
function roleClient(login: RoleLogin = {}): OAuthClient<RoleLogin> {
  const warehouse = defineWarehouse<RoleLogin>({
    ...ACME,
    authorizationParameters: ({ role, add }, { scopes }) => ({
      ...add,
      ...(role !== undefined && { scope: [...scopes, `role:${role}`].join(" "), role_hint: role }),
    }),
  });
  return createClient({ warehouse, clientId: "client-1", redirectUri: REDIRECT_URI, login });
}

describe("createAuthorizationRequest", () => {
  it("S-001 S-005 S-006 builds the request of RFC 6749 §4.1.1 with PKCE, byte for byte", async () => {
    const { url, pending } = await createAuthorizationRequest(
      acmeClient({}, { authorizationEndpoint: "https://login.acme.example/authorize?p=1&p=2" }),
    );
    const { codeChallenge } = await createPkce(pending.codeVerifier);
    expect(url.href).toBe(
      "https://login.acme.example/authorize?p=1&p=2&response_type=code&client_id=client-1" +
        "&redirect_uri=https%3A%2F%2Fapp.example%2Foauth%2Fcallback%3Ftenant%3Da%2520b" +
        `&scope=sql+offline_access&state=${pending.state}&code_challenge=${codeChallenge}&code_challenge_method=S256`,
    );
    expect(pending).toEqual({
      state: expect.stringMatching(RANDOM) as string,
      codeVerifier: expect.stringMatching(RANDOM) as string,
      connectionId: acmeClient().connectionId,
      issuer: "https://login.acme.example",
      redirectUri: REDIRECT_URI,
      scopes: ["sql", "offline_access"],
      createdAt: NOON,
      expiresAt: NOON + 600_000,
    });
  });

  it("remembers what survives JSON", async () => {
    const { pending } = await createAuthorizationRequest(acmeClient(), { scopes: ["openid"], returnTo: "/a" });
    expect(JSON.parse(JSON.stringify(pending))).toEqual(pending);
  });

  it("S-003 never shows the verifier", async () => {
    const { url, pending } = await createAuthorizationRequest(acmeClient(), { scopes: ["openid"] });
    for (let start = 0; start + 8 <= pending.codeVerifier.length; start++) {
      expect(url.href).not.toContain(pending.codeVerifier.slice(start, start + 8));
    }
  });

  it("S-003 S-004 makes state, verifier and nonce anew each time, and of nothing but Web Crypto", async () => {
    const random = vi.spyOn(Math, "random").mockImplementation(() => {
      throw new Error("Math.random is not for secrets");
    });
    const client = acmeClient();
    const starts = await Promise.all([1, 2].map(() => createAuthorizationRequest(client, { scopes: ["openid"] })));
    random.mockRestore();
    const values = starts.flatMap(({ pending }) => [pending.state, pending.codeVerifier, pending.nonce]);
    expect(new Set(values).size).toBe(6);
    for (const value of values) expect(value).toMatch(RANDOM);
    for (const { url, pending } of starts) expect(url.searchParams.get("nonce")).toBe(pending.nonce);
  });

  it("sends a nonce only with openid", async () => {
    const { url, pending } = await createAuthorizationRequest(acmeClient());
    expect(url.searchParams.has("nonce")).toBe(false);
    expect(pending).not.toHaveProperty("nonce");
  });

  it("S-007 sends the configured redirect URI", async () => {
    for (const redirectUri of ["https://app.example", "https://app.example/", "https://APP.example/a%2fb"]) {
      const { url, pending } = await createAuthorizationRequest(acmeClient({ redirectUri }));
      expect([url.searchParams.get("redirect_uri"), pending.redirectUri]).toEqual([redirectUri, redirectUri]);
    }
  });

  it("needs a redirect URI and the code grant", async () => {
    const machines = acmeClient({}, { grants: ["client_credentials"] });
    await expectCode(() => createAuthorizationRequest(machines), "grant_unsupported");
    const without = acmeClient({}, { grants: ["client_credentials"], authorizationEndpoint: undefined } as never);
    expect(await expectCode(() => createAuthorizationRequest(without), "grant_unsupported")).toMatchObject({
      option: "grants",
    });
    const client = createClient({ warehouse: acmeClient().warehouse, clientId: "client-1" });
    expect(await expectCode(() => createAuthorizationRequest(client), "config_invalid")).toMatchObject({
      option: "redirectUri",
    });
    await expectCode(() => createAuthorizationRequest({} as never), "invalid_argument");
  });

  it("rethrows the abort reason untouched", async () => {
    const reason = { why: "closed" };
    const promise = createAuthorizationRequest(acmeClient(), { signal: AbortSignal.abort(reason) });
    await expect(promise).rejects.toBe(reason);
    const controller = new AbortController();
    const later = createAuthorizationRequest(acmeClient(), { signal: controller.signal });
    controller.abort(reason);
    await expect(later).rejects.toBe(reason);
  });
});

describe("parameters", () => {
  it("adds them", async () => {
    const parameters = { prompt: "login", ui_locales: "de fr" };
    const { url } = await createAuthorizationRequest(acmeClient(), { parameters });
    expect(url.searchParams.get("prompt")).toBe("login");
    expect(url.searchParams.get("ui_locales")).toBe("de fr");
  });

  it.each(RESERVED)("S-005 S-006 refuses %s", async (name) => {
    const parameters = { [name]: "fragment" };
    expect(
      await expectCode(() => createAuthorizationRequest(acmeClient(), { parameters }), "config_invalid"),
    ).toMatchObject({
      option: "parameters",
      message: expect.stringContaining(`"${name}"`) as string,
    });
  });

  it.each(RESERVED)("S-005 S-006 refuses %s from the warehouse", async (name) => {
    if (name === "scope") return; // replaces the scopes, as declared
    await expectCode(() => createAuthorizationRequest(roleClient(), { add: { [name]: "x" } }), "config_invalid");
  });

  it.each(RESERVED)("S-006 refuses %s in the query of the endpoint", async (name) => {
    const client = acmeClient(
      {},
      { authorizationEndpoint: `https://login.acme.example/authorize?p=1&${name}=form_post` },
    );
    expect(await expectCode(() => createAuthorizationRequest(client), "config_invalid")).toMatchObject({
      option: "authorizationEndpoint",
    });
  });

  it("refuses to override what the warehouse's own options set", async () => {
    const options = { role: "A", parameters: { role_hint: "B" } };
    expect(await expectCode(() => createAuthorizationRequest(roleClient(), options), "config_invalid")).toMatchObject({
      option: "parameters",
    });
    const { url } = await createAuthorizationRequest(roleClient(), { role: "A", parameters: { toString: "x" } });
    expect(url.searchParams.get("toString")).toBe("x");
  });

  it.each([{ a: 5 }, { a: undefined }, { a: null }, "a", null, 5])("refuses %j", async (parameters) => {
    await expectCode(() => createAuthorizationRequest(acmeClient(), { parameters } as never), "invalid_argument");
  });
});

describe("lifetimeMs", () => {
  it.each([1, 600_000])("S-013 takes %d", async (lifetimeMs) => {
    const { pending } = await createAuthorizationRequest(acmeClient(), { lifetimeMs });
    expect(pending.expiresAt - pending.createdAt).toBe(lifetimeMs);
  });

  it.each([0, -1, 0.9, 600_001, Number.NaN, Infinity])("S-013 refuses %d", async (lifetimeMs) => {
    expect(
      await expectCode(() => createAuthorizationRequest(acmeClient(), { lifetimeMs }), "config_invalid"),
    ).toMatchObject({ option: "lifetimeMs" });
  });

  it("refuses text", async () => {
    await expectCode(() => createAuthorizationRequest(acmeClient(), { lifetimeMs: "5" } as never), "invalid_argument");
  });

  it("is counted by the client's clock", async () => {
    const clock = standingClock(1_000);
    const { pending } = await createAuthorizationRequest(acmeClient({ clock }), { lifetimeMs: 5 });
    expect([pending.createdAt, pending.expiresAt]).toEqual([1_000, 1_005]);
  });
});

describe("returnTo", () => {
  it("S-072 is kept rebuilt", async () => {
    const { pending } = await createAuthorizationRequest(acmeClient(), { returnTo: "/a/../b?c=d e#f" });
    expect(pending.returnTo).toBe("/b?c=d%20e#f");
  });

  it("S-072 is refused if it leads elsewhere", async () => {
    const { message } = (await expectCode(
      () => createAuthorizationRequest(acmeClient(), { returnTo: "/..//evil.example" }),
      "config_invalid",
    )) as Error;
    expect(message).not.toContain("evil");
    await expectCode(() => createAuthorizationRequest(acmeClient(), { returnTo: 5 } as never), "invalid_argument");
    await expectCode(
      () => createAuthorizationRequest(acmeClient(), { returnTo: new URL("https://a.example") } as never),
      "invalid_argument",
    );
  });
});

describe("scopes", () => {
  const scopeOf = async (
    client: OAuthClient,
    options?: AuthorizationRequestOptions & LoginOptions,
  ): Promise<string | null> => (await createAuthorizationRequest(client, options)).url.searchParams.get("scope");

  it("come from the call, the client, the warehouse, in this order", async () => {
    expect(await scopeOf(acmeClient())).toBe("sql offline_access");
    expect(await scopeOf(acmeClient({ login: { scopes: ["a"] } }))).toBe("a");
    expect(await scopeOf(acmeClient({ login: { scopes: ["a"] } }), { scopes: ["b"] })).toBe("b");
    expect(await scopeOf(acmeClient({ login: { scopes: ["a"] } }), { scopes: [] })).toBeNull();
    expect(await scopeOf(acmeClient(), { scopes: ["b", "a", "b"] })).toBe("b a");
    expect((await createAuthorizationRequest(acmeClient(), { scopes: ["b", "a", "b"] })).pending.scopes).toEqual([
      "b",
      "a",
    ]);
  });

  it("take undefined for absent: a default of the client stays", async () => {
    expect(await scopeOf(acmeClient({ login: { scopes: ["a"] } }), { scopes: undefined } as never)).toBe("a");
    const { url } = await createAuthorizationRequest(roleClient({ role: "A" }), { role: undefined } as never);
    expect(url.searchParams.get("role_hint")).toBe("A");
  });

  it.each([[["a b"]], [[""]], [[5]]])("S-042 refuses %j", async (scopes) => {
    await expectCode(() => createAuthorizationRequest(acmeClient(), { scopes } as never), "config_invalid");
  });

  it("S-042 refuses text", async () => {
    await expectCode(() => createAuthorizationRequest(acmeClient(), { scopes: "sql" } as never), "invalid_argument");
  });

  it("may be replaced by the warehouse", async () => {
    const { url, pending } = await createAuthorizationRequest(roleClient({ role: "A" }), {
      scopes: ["openid"],
      role: "B",
    });
    expect(url.searchParams.get("scope")).toBe("openid role:B");
    expect(url.searchParams.getAll("role_hint")).toEqual(["B"]);
    expect(pending.scopes).toEqual(["openid", "role:B"]);
    expect(pending.nonce).toBe(url.searchParams.get("nonce"));
    const plain = await createAuthorizationRequest(roleClient(), { scopes: ["a", "a"] });
    expect(plain.pending.scopes).toEqual(["a"]);
  });

  it("are those of the client when nothing else is said", () => {
    expect(requestedScopes(acmeClient())).toEqual(["sql", "offline_access"]);
    expect(requestedScopes(acmeClient({ login: { scopes: ["a"] } }))).toEqual(["a"]);
    expect(requestedScopes(roleClient({ role: "A" }) as OAuthClient)).toEqual(["sql", "offline_access", "role:A"]);
  });

  it("are the one option of a login where the warehouse has none of its own", async () => {
    expect(
      await expectCode(() => createAuthorizationRequest(acmeClient(), { role: "A" } as never), "config_invalid"),
    ).toMatchObject({ option: "role" });
    const client = acmeClient({ login: { role: "A" } as never });
    await expectCode(() => createAuthorizationRequest(client), "config_invalid");
  });

  it("survive the way through the URL, whatever they are", async () => {
    const scope = fc.stringMatching(/^[!#-[\]-~]{1,20}$/);
    const client = acmeClient();
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(scope, { minLength: 1 }), async (scopes) => {
        const { url } = await createAuthorizationRequest(client, { scopes });
        return new URL(url.href).searchParams.get("scope") === scopes.join(" ");
      }),
      { numRuns: 50 },
    );
  });
});
