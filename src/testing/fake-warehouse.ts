import {
  ConfigurationError,
  assertKnownOptions,
  createAuthorizationRequest,
  createClient,
  defineWarehouse,
  exchangeCode,
  validateCallback,
  type ClientAuthentication,
  type Fetch,
  type OAuthClient,
  type RefreshRotation,
  type TokenSet,
  type Warehouse,
} from "../core/index.ts";
import { systemClock, type Clock } from "../lib/clock.ts";
import { DEFAULT_USER } from "./authorization-endpoint.ts";
import { FakeServer, connectionError, dropOf } from "./fake-server.ts";
import type { Fault } from "./fault.ts";
import type { FakeRequest } from "./request-log.ts";
import { findTicket, unescapeHtml } from "./sign-in-page.ts";
import { randomSecret, type FakeGrant } from "./token-ledger.ts";
import type { TrustedIssuer } from "./trusted-assertions.ts";
import type { WarehouseProfile } from "./warehouse-profile.ts";

/** How a fake behaves; by default as the warehouse's own documents say. */
export interface FakeOptions {
  /** Default is the system's. */
  readonly clock?: Clock;
  /** Default is the warehouse's own: 600 000 at Snowflake, 3 600 000 elsewhere. */
  readonly accessTokenLifetimeMs?: number;
  /** Default is the warehouse's own. */
  readonly refreshTokenLifetimeMs?: number;
  /** `none` keeps a refresh token, `rotates` adds another, `single-use` spends it. Default is the warehouse's own. */
  readonly refreshRotation?: RefreshRotation;
  /** Rows the data API answers to every statement. Default is three rows that name the current user. */
  readonly rows?: readonly Readonly<Record<string, string | number | boolean | null>>[];
}

/** The members of {@link FakeOptions}, for those who know more of them. */
export const FAKE_OPTIONS: readonly (keyof FakeOptions)[] = [
  "clock",
  "accessTokenLifetimeMs",
  "refreshTokenLifetimeMs",
  "refreshRotation",
  "rows",
];

/** What a registration may say. */
export interface RegisterOptions<Login extends object> {
  /** Default is a new one. */
  readonly clientId?: string;
  /** Compared byte for byte. Default is that of {@link FakeWarehouse.client}. */
  readonly redirectUri?: string;
  /** Without a secret. Default is `false`. */
  readonly public?: boolean;
  /** Defaults of every login at this client. */
  readonly login?: Login;
  /** Default is a new one that nobody sees: name it when your application reads it from its own configuration. */
  readonly clientSecret?: string;
  /** How the client authenticates instead of its secret. With `privateKeyJwt`, give the public half too. */
  readonly clientAuthentication?: ClientAuthentication;
  /** Checks the assertions of `privateKeyJwt` (RS256). The client then has no secret. */
  readonly publicKey?: CryptoKey;
}

const REGISTER_OPTIONS: readonly (keyof RegisterOptions<never>)[] = [
  "clientId",
  "redirectUri",
  "public",
  "login",
  "clientSecret",
  "clientAuthentication",
  "publicKey",
];

/** A warehouse in memory, stricter than the real one. */
export interface FakeWarehouse<in Login extends object> {
  /** The whole fake as one function, for any server or mocking library. A broken connection is `Response.error()`. */
  handle(request: Request): Promise<Response>;
  /** The same as a `fetch`; refuses other origins, and does not follow redirects. */
  readonly fetch: Fetch;
  /** Where its data API is: the first of {@link FakeWarehouse.origins}. */
  readonly origin: string;
  /** Everywhere it answers. Google's endpoints are on several hosts. */
  readonly origins: readonly string[];
  /** The warehouse that this fake is. */
  readonly warehouse: Warehouse<Login>;
  /** A registered client with a secret, wired to this fake's `fetch` and clock. */
  readonly client: OAuthClient<Login>;
  /** Registers another client, with other login defaults or without a secret. */
  register(options?: RegisterOptions<Login>): OAuthClient<Login>;
  /** Does what a person does in the browser: signs in, agrees or declines. Gives the callback address. */
  signIn(
    authorizationUrl: URL,
    options?: { readonly user?: string; readonly granted?: readonly string[]; readonly decline?: boolean },
  ): Promise<URL>;
  /** Tokens without a login page: the whole code flow in one call. Default subject is `"ada"`. */
  issueTokens(options?: {
    readonly subject?: string;
    readonly client?: OAuthClient;
    readonly scopes?: readonly string[];
  }): Promise<TokenSet>;
  /** Arms a fault and gives the way to disarm it. Faults strike in the order armed. */
  fail(fault: Fault): () => void;
  /** Access tokens stop working now, without a word to the client. */
  expireAccessTokens(): void;
  /** An administrator withdraws grants: all, or one user's. */
  revokeGrants(user?: string): void;
  /** What it was asked so far, in the order of arrival. */
  readonly requests: readonly FakeRequest[];
  /** What it granted so far. */
  readonly grants: readonly FakeGrant[];
  /** The same fake as seen under another origin, where a real server passes requests on to `handle`. Its clients use the global `fetch`. */
  at(origin: string): FakeWarehouse<Login>;
}

/** Where the clients of a fake are sent back to, unless registered otherwise. */
const DEFAULT_REDIRECT_URI = "https://app.example.com/callback";

/**
 * What a fake is made of.
 *
 * @internal
 */
export interface FakeDefinition<Login extends object> {
  readonly profile: WarehouseProfile;
  readonly warehouse: Warehouse<Login>;
  /** Client id of {@link FakeWarehouse.client}: with characters that need care, where the warehouse's have them. */
  readonly clientId: string;
  /** Login options with which a login brings a refresh token every time. */
  readonly offlineLogin?: Login;
  readonly trusted?: readonly TrustedIssuer[];
  readonly trustedOption?: string;
}

/**
 * Makes a fake of its definition.
 *
 * @internal
 */
export function createFakeWarehouse<Login extends object>(
  definition: FakeDefinition<Login>,
  options: FakeOptions,
): FakeWarehouse<Login> {
  const { profile, warehouse, clientId, trusted = [], trustedOption = "trusted" } = definition;
  const server = new FakeServer({
    profile,
    policy: {
      accessTokenLifetimeMs: lifetime(options, "accessTokenLifetimeMs", profile),
      refreshTokenLifetimeMs: lifetime(options, "refreshTokenLifetimeMs", profile),
      refreshRotation: rotationOf(options.refreshRotation) ?? profile.defaults.refreshRotation,
    },
    clock: options.clock ?? systemClock,
    warehouse: warehouse as Warehouse,
    trusted,
    trustedOption,
  });
  // Both need encoding on the wire: a client that forgets it is refused.
  const secret = `${randomSecret()}+/=`;
  server.clients.add({ clientId, redirectUri: DEFAULT_REDIRECT_URI, clientSecret: secret, publicKey: undefined });
  return viewOf({ definition, server, warehouse, secret, local: true });
}

/** A fake, seen from one address. */
interface View<Login extends object> {
  readonly definition: FakeDefinition<Login>;
  readonly server: FakeServer;
  readonly warehouse: Warehouse<Login>;
  readonly secret: string;
  /** In memory, as opposed to behind a real port. */
  readonly local: boolean;
}

function viewOf<Login extends object>(view: View<Login>): FakeWarehouse<Login> {
  const { definition, server, warehouse, secret, local } = view;
  const origins = originsOf(warehouse as Warehouse);
  const handle = (request: Request): Promise<Response> => server.handle(request);
  const fakeFetch = local ? localFetch(handle, origins) : networkFetch(origins);
  const base = { warehouse, allowLoopbackHttp: true, fetch: fakeFetch, clock: server.clock };
  const client = createClient<Login>({
    ...base,
    clientId: definition.clientId,
    clientSecret: secret,
    redirectUri: DEFAULT_REDIRECT_URI,
  });

  const register = (options: RegisterOptions<Login> = {}): OAuthClient<Login> => {
    assertKnownOptions(options, "register", REGISTER_OPTIONS);
    const { redirectUri = DEFAULT_REDIRECT_URI, login, clientAuthentication, publicKey } = options;
    const id = options.clientId ?? `${definition.clientId}-${randomSecret().slice(0, 8)}`;
    if (options.public === true && (options.clientSecret ?? clientAuthentication ?? publicKey) !== undefined) {
      throw new ConfigurationError("config_invalid", '"public" means: no secret and no key', "public");
    }
    const hasSecret = options.public !== true && publicKey === undefined;
    const clientSecret = hasSecret ? (options.clientSecret ?? `${randomSecret()}+/=`) : undefined;
    const shared = { ...base, clientId: id, redirectUri, ...(login !== undefined && { login }) };
    const registered =
      clientAuthentication !== undefined
        ? createClient<Login>({ ...shared, clientAuthentication })
        : clientSecret !== undefined
          ? createClient<Login>({ ...shared, clientSecret })
          : createClient<Login>(shared);
    server.clients.add({ clientId: id, redirectUri, clientSecret, publicKey });
    return registered;
  };

  const signIn: FakeWarehouse<Login>["signIn"] = async (authorizationUrl, options = {}) => {
    if (!origins.includes(authorizationUrl.origin)) {
      throw new ConfigurationError(
        "config_invalid",
        `"authorizationUrl" must lead to this fake, ${origins.join(" or ")}; it leads to ${authorizationUrl.origin}`,
        "authorizationUrl",
      );
    }
    const page = await handle(new Request(authorizationUrl));
    const direct = page.headers.get("location");
    if (direct !== null) return new URL(direct);
    const text = await page.text();
    const ticket = findTicket(text);
    if (ticket === undefined) throw refusedSignIn(page.status, text);
    const requested = (authorizationUrl.searchParams.get("scope") ?? "").split(" ").filter((scope) => scope !== "");
    const form = new URLSearchParams({
      ticket,
      user: options.user ?? authorizationUrl.searchParams.get("login_hint") ?? DEFAULT_USER,
      decision: options.decline === true ? "decline" : "agree",
    });
    for (const scope of options.granted ?? requested) {
      if (!requested.includes(scope)) {
        throw new ConfigurationError("config_invalid", `"granted" names ${scope}, which was not asked for`, "granted");
      }
      form.append("scope", scope);
    }
    const target = new URL(authorizationUrl.pathname, authorizationUrl);
    const answer = await handle(new Request(target, { method: "POST", body: form }));
    const location = answer.headers.get("location");
    if (location === null) throw refusedSignIn(answer.status, await answer.text());
    return new URL(location);
  };

  return Object.freeze<FakeWarehouse<Login>>({
    handle,
    fetch: fakeFetch,
    origin: origins[0] ?? "",
    origins,
    warehouse,
    client,
    register,
    signIn,
    async issueTokens({ subject = DEFAULT_USER, client: target = client as OAuthClient, scopes } = {}) {
      const { url, pending } = await createAuthorizationRequest(target, {
        ...definition.offlineLogin,
        ...(scopes !== undefined && { scopes }),
      });
      const callback = await signIn(url, { user: subject });
      return exchangeCode(target, validateCallback(target, callback, pending));
    },
    fail: (fault) => server.faults.arm(fault),
    expireAccessTokens() {
      server.ledger.expireAccessTokens(server.clock.now());
    },
    revokeGrants(user) {
      server.ledger.revokeWhere(user, "admin");
      server.authorization.forgetConsents(user);
    },
    get requests() {
      return server.log.requests;
    },
    get grants() {
      return server.ledger.grants;
    },
    at(origin) {
      const moved = moveWarehouse(warehouse, origin);
      server.addAddress(new URL(origin).origin, moved as Warehouse);
      return viewOf({ ...view, warehouse: moved, local: false });
    },
  });
}

/** Gives the fake as a `fetch`: same errors for a broken connection and for an abort as the platform's. */
function localFetch(handle: (request: Request) => Promise<Response>, origins: readonly string[]): Fetch {
  return async (input, init) => {
    const request = new Request(input, init);
    assertOrigin(request.url, origins);
    const { signal } = request;
    signal.throwIfAborted();
    let stop = (): void => undefined;
    const aborted = new Promise<never>((_resolve, reject) => {
      const onAbort = (): void => {
        reject(signal.reason as Error);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      stop = () => {
        signal.removeEventListener("abort", onAbort);
      };
    });
    try {
      const response = await Promise.race([handle(request), aborted]);
      const dropped = dropOf(response);
      if (dropped !== undefined) throw connectionError(dropped);
      return response;
    } finally {
      stop();
    }
  };
}

/** The platform's `fetch`, kept to this fake: a test that goes elsewhere is a test that is wrong. */
function networkFetch(origins: readonly string[]): Fetch {
  return async (input, init) => {
    assertOrigin(input instanceof Request ? input.url : input, origins);
    return fetch(input, init);
  };
}

function assertOrigin(url: string | URL, origins: readonly string[]): void {
  const { origin } = new URL(url);
  if (!origins.includes(origin)) {
    throw new TypeError(`the fake answers for ${origins.join(", ")} only, and was asked for ${origin}`);
  }
}

/** The API first: that is what people mean by the warehouse's address. */
function originsOf(warehouse: Warehouse): readonly string[] {
  const { issuer, authorizationEndpoint, tokenEndpoint, revocationEndpoint, jwksUri, apiOrigins } = warehouse;
  const urls = [...apiOrigins, issuer, authorizationEndpoint, tokenEndpoint, revocationEndpoint, jwksUri];
  return Object.freeze([...new Set(urls.flatMap((url) => (url === undefined ? [] : [new URL(url).origin])))]);
}

/** Gives the same warehouse with all its addresses on one origin. Paths differ even where hosts did. */
function moveWarehouse<Login extends object>(warehouse: Warehouse<Login>, origin: string): Warehouse<Login> {
  const base = new URL(origin);
  if (base.pathname !== "/" || base.search !== "") {
    throw new ConfigurationError("config_invalid", '"origin" must be an origin: scheme and host, no path', "origin");
  }
  const move = (url: string): string => {
    const { pathname } = new URL(url);
    return base.origin + (pathname === "/" ? "" : pathname);
  };
  const { authorizationEndpoint, revocationEndpoint, jwksUri, assertionAudience, tokenEndpoint } = warehouse;
  return defineWarehouse<Login>({
    ...warehouse,
    issuer: move(warehouse.issuer),
    tokenEndpoint: move(tokenEndpoint),
    apiOrigins: [base.origin],
    ...(authorizationEndpoint !== undefined && { authorizationEndpoint: move(authorizationEndpoint) }),
    ...(revocationEndpoint !== undefined && { revocationEndpoint: move(revocationEndpoint) }),
    ...(jwksUri !== undefined && { jwksUri: move(jwksUri) }),
    ...(assertionAudience !== undefined && { assertionAudience: move(assertionAudience) }),
  });
}

function lifetime(
  options: FakeOptions,
  name: "accessTokenLifetimeMs" | "refreshTokenLifetimeMs",
  profile: WarehouseProfile,
): number {
  const value = options[name] ?? profile.defaults[name];
  if (!(Number.isFinite(value) && value >= 1000)) {
    throw new ConfigurationError(
      "config_invalid",
      `"${name}" must be 1000 or more: the wire counts whole seconds`,
      name,
    );
  }
  return value;
}

const ROTATIONS: readonly string[] = ["none", "rotates", "single-use", "unknown"];

/** "unknown" is what a client thinks; a server that may do anything adds another token. */
function rotationOf(rotation: RefreshRotation | undefined): RefreshRotation | undefined {
  if (rotation !== undefined && !ROTATIONS.includes(rotation)) {
    throw new ConfigurationError(
      "config_invalid",
      `"refreshRotation" must be one of ${ROTATIONS.join(", ")}`,
      "refreshRotation",
    );
  }
  return rotation === "unknown" ? "rotates" : rotation;
}

/** Text of a page of the fake, without markup. */
function refusedSignIn(status: number, page: string): ConfigurationError {
  const words = page
    .replace(/<style>.*?<\/style>|<title>.*?<\/title>|<[^>]*>/gs, " ")
    .replace(/\s+/g, " ")
    .trim();
  const text = unescapeHtml(words).slice(0, 400);
  return new ConfigurationError(
    "config_invalid",
    `the fake refused the authorization request with status ${String(status)}, on a page, as the warehouse would: ${text}`,
    "authorizationUrl",
  );
}
