// Sessions against an authorization server that others wrote: oidc-provider rotates, and ends the family when a spent token comes again.
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import {
  TokenManager,
  createAuthorizationRequest,
  createClient,
  discover,
  exchangeCode,
  memoryStore,
  validateCallback,
} from "warehouse-oauth";
import type { Fetch, OAuthClient, TokenManagerOptions, TokenSession, TokenStore } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import { walk } from "../core/real-servers/browser.ts";
import { startOidcProvider } from "../core/real-servers/oidc-provider-server.ts";
import type { OidcProviderServer } from "../core/real-servers/oidc-provider-server.ts";
import { eventsOf, storeWith, thrownBy } from "./acme-room.ts";

const REDIRECT_URI = "http://127.0.0.1:45678/callback";

let server: OidcProviderServer;
beforeAll(async () => {
  server = await startOidcProvider([{ client_id: "app", token_endpoint_auth_method: "none" }]);
});
afterAll(() => server.close());

/** What becomes of the next request for tokens, instead of its being sent. */
let disturb: ((send: () => Promise<Response>) => Promise<Response>) | undefined;
let client: OAuthClient;
let store: TokenStore;

beforeEach(async () => {
  disturb = undefined;
  const fetch: Fetch = (input, init) => {
    const next = disturb;
    disturb = undefined;
    const send = (): Promise<Response> => globalThis.fetch(input, init);
    return next === undefined ? send() : next(send);
  };
  const warehouse = await discover(server.origin, {
    id: "acme",
    allowLoopbackHttp: true,
    overrides: { defaultScopes: ["openid", "offline_access"], refreshRotation: "single-use" },
  });
  client = createClient({ warehouse, clientId: "app", redirectUri: REDIRECT_URI, allowLoopbackHttp: true, fetch });
  store = storeWith(manualClock(), {}, memoryStore());
});

const open = (options?: TokenManagerOptions): TokenManager => new TokenManager({ store, ...options });

/** Signs in with a browser of sorts. */
async function login(manager: TokenManager): Promise<TokenSession> {
  const { url, pending } = await createAuthorizationRequest(client, { parameters: { prompt: "consent" } });
  const tokens = await exchangeCode(client, validateCallback(client, await walk(url, REDIRECT_URI), pending));
  return manager.save(client, { subject: "ada" }, tokens);
}

const tokenRequests = (): number => server.requests.filter((path) => path === "/token").length;

test("R-01 R-41 a hundred callers in two processes, five refused tokens: one request each time", async () => {
  const [here, there] = [open(), open()];
  const session = await login(here);
  const theirs = there.session(client, { subject: "ada" });
  const before = tokenRequests();
  for (let round = 1; round <= 5; round++) {
    const rejected = await session.getAccessToken();
    const callers = Array.from({ length: 100 }, (_, n) =>
      (n % 2 === 0 ? session : theirs).getAccessToken({ rejected }),
    );
    const tokens = new Set(await Promise.all(callers));
    expect(tokens.size).toBe(1);
    expect(tokens).not.toContain(rejected);
    expect(tokenRequests()).toBe(before + round);
  }
  expect(await session.status()).toMatchObject({ state: "active", generation: 6 });
  await Promise.all([here.close(), there.close()]);
});

test("R-53 a request that never reached the server is sent again, and the grant lives", async () => {
  const manager = open({ retry: { baseDelayMs: 1 } });
  const session = await login(manager);
  disturb = () => Promise.reject(Object.assign(new TypeError("fetch failed"), { cause: { code: "ECONNRESET" } }));
  await session.refresh();
  await session.refresh();
  expect(await session.status()).toMatchObject({ state: "active", generation: 3 });
  await manager.close();
});

test("R-22 R-54 an answer that is lost: the same token once more, which this server takes for theft, is a lost rotation", async () => {
  const manager = open({ retry: { baseDelayMs: 1 } });
  const events = eventsOf(manager);
  const session = await login(manager);
  disturb = async (send) => {
    await (await send()).text();
    throw Object.assign(new TypeError("fetch failed"), { cause: { code: "ECONNRESET" } });
  };
  const error = await thrownBy(() => session.refresh());
  expect(error).toMatchObject({ code: "reauthorization_required", reason: "rotation_lost" });
  expect(events.map(({ type }) => type).slice(-2)).toEqual(["rotation_lost", "reauthorization_required"]);

  const again = await login(manager);
  await again.refresh();
  expect(await again.status()).toMatchObject({ state: "active" });
  await manager.close();
});

test("S-047 a logout ends it at the server", async () => {
  const manager = open();
  const session = await login(manager);
  expect(await session.revoke()).toMatchObject({ refreshToken: "revoked", accessToken: "revoked" });
  expect(await session.status()).toEqual({ state: "revoked" });
  expect(await thrownBy(() => session.getAccessToken())).toMatchObject({ code: "reauthorization_required" });
  await manager.close();
});
