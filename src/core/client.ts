import type { AuthorizationServer, Client } from "oauth4webapi";
import { systemClock } from "../lib/clock.ts";
import type { Clock } from "../lib/clock.ts";
import { clientSecretBasic, clientSecretPost, none } from "./client-authentication.ts";
import type { ClientAuthentication, Secret } from "./client-authentication.ts";
import { assertSecure, isLoopbackHttp, isPlainUrl } from "./endpoint-url.ts";
import { ConfigurationError } from "./errors.ts";
import { globalFetch } from "../lib/global-fetch.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";
import { assertKnownOptions } from "./known-options.ts";
import type { Fetch } from "./transport.ts";
import { isWarehouse } from "./warehouse.ts";
import type { Warehouse } from "./warehouse.ts";

/** Marks values that only this library can make. Not exported from the package. */
declare const brand: unique symbol;

/** What every registration has, however it authenticates. */
export interface ClientBase<Login> {
  /** Where the client is registered. */
  readonly warehouse: Warehouse<Login>;
  /** As the warehouse gave it. */
  readonly clientId: string;
  /** Exactly as registered, byte for byte. Needed for logins. */
  readonly redirectUri?: string;
  /** Defaults of every login at this client; `createAuthorizationRequest` overrides them one by one. */
  readonly login?: NoInfer<Login>;
  /** Lets `http://127.0.0.1`, `http://[::1]` and `http://localhost` pass (RFC 8252 §8.3). Default is `false`. */
  readonly allowLoopbackHttp?: boolean;
  /** Time for one attempt, from asking for the secret to the last byte, in milliseconds. Default is 10 000. */
  readonly timeoutMs?: number;
  /** Used for the token endpoint and for `TokenSession.fetch`. Default is the global one. */
  readonly fetch?: Fetch;
  /** Default is the system's. Must be the manager's, where there is a manager. */
  readonly clock?: Clock;
}

/** A registration at a warehouse: public, with a secret, or with another authentication. */
export type ClientOptions<Login = object> = ClientBase<Login> &
  (
    | { readonly clientSecret?: never; readonly clientAuthentication?: never }
    | { readonly clientSecret: Secret; readonly clientAuthentication?: never }
    | { readonly clientAuthentication: ClientAuthentication; readonly clientSecret?: never }
  );

/**
 * A frozen registration. Prints without its secret.
 * `OAuthClient` without a parameter is a client of some warehouse, no matter which.
 */
export interface OAuthClient<in Login = object> {
  readonly [brand]: "OAuthClient";
  /** Where it is registered. */
  readonly warehouse: Warehouse<Login>;
  /** As the warehouse gave it. */
  readonly clientId: string;
  /** As registered; `undefined` for clients that never log people in. */
  readonly redirectUri: string | undefined;
  /** Made of warehouse id, issuer, token endpoint and client id; no secret in it. Tokens never cross from one to another. */
  readonly connectionId: string;
}

/** What a client knows that it does not show. */
export interface ClientInternals {
  readonly authenticate: ClientAuthentication;
  /** The secret as it was given, to tell a corrected one from the one before. **Never printed.** */
  readonly clientSecret: Secret | undefined;
  /** Neither a secret nor another authentication was given. */
  readonly isPublic: boolean;
  readonly login: object;
  readonly fetch: Fetch;
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly allowLoopbackHttp: boolean;
  /** The same server and client in the words of oauth4webapi. */
  readonly server: AuthorizationServer;
  readonly oauthClient: Client;
}

const internals = new WeakMap<OAuthClient, ClientInternals>();

/** Time for one attempt, from asking for the secret to the last byte (requirements S-027). */
const DEFAULT_TIMEOUT_MS = 10_000;

/** Longest time for one attempt: a timer keeps no longer delays. */
const MAX_TIMEOUT_MS = 900_000;

/** `client_id`: visible ASCII and space (RFC 6749 appendix A.1). */
const CLIENT_ID = /^[\x20-\x7E]{1,2048}$/;

const OPTIONS: ReadonlySet<string> = new Set<keyof ClientOptions>([
  "warehouse",
  "clientId",
  "clientSecret",
  "clientAuthentication",
  "redirectUri",
  "login",
  "allowLoopbackHttp",
  "timeoutMs",
  "fetch",
  "clock",
]);

/**
 * Makes a client. Pure and cheap: one for each tenant and request is fine.
 *
 * @throws {@link ConfigurationError} `config_invalid`, `insecure_url`.
 *
 * @example
 *
 * ```ts
 * import { createClient } from "warehouse-oauth";
 * import { snowflake } from "warehouse-oauth/snowflake";
 *
 * declare const secretFromVault: () => Promise<string>;
 *
 * const client = createClient({
 *   warehouse: snowflake({ account: "acme-prod" }),
 *   clientId: "client-id",
 *   clientSecret: secretFromVault,
 *   redirectUri: "https://app.example/callback",
 * });
 * ```
 */
export function createClient<Login extends object>(options: ClientOptions<Login>): OAuthClient<Login> {
  assertOptions(options);
  const { warehouse, clientId, redirectUri, allowLoopbackHttp = false, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  if (typeof clientId !== "string") throw invalidArgument('"clientId" must be a string');
  if (!CLIENT_ID.test(clientId)) {
    throw new ConfigurationError(
      "config_invalid",
      '"clientId" must be 1 to 2048 printable ASCII characters',
      "clientId",
    );
  }
  if (typeof allowLoopbackHttp !== "boolean") throw invalidArgument('"allowLoopbackHttp" must be true or false');
  if (typeof timeoutMs !== "number") throw invalidArgument('"timeoutMs" must be a number');
  if (!(timeoutMs >= 1 && timeoutMs <= MAX_TIMEOUT_MS)) {
    throw new ConfigurationError("config_invalid", '"timeoutMs" must be 1 to 900 000', "timeoutMs");
  }
  assertPorts(options);
  for (const option of ["authorizationEndpoint", "tokenEndpoint", "revocationEndpoint", "jwksUri"] as const) {
    const endpoint = warehouse[option];
    if (endpoint !== undefined) assertSecure(endpoint, option, allowLoopbackHttp);
  }
  for (const origin of warehouse.apiOrigins) assertSecure(origin, "apiOrigins", allowLoopbackHttp);
  if (redirectUri !== undefined) assertRedirectUri(redirectUri, allowLoopbackHttp);

  const client: Omit<OAuthClient<Login>, typeof brand> = Object.freeze({
    warehouse,
    clientId,
    redirectUri,
    connectionId: formatConnectionId({
      warehouse: warehouse.id,
      issuer: warehouse.issuer,
      tokenEndpoint: warehouse.tokenEndpoint,
      clientId,
    }),
  });
  internals.set(client as OAuthClient, {
    authenticate: authenticationOf(options),
    clientSecret: options.clientSecret,
    isPublic: options.clientSecret === undefined && options.clientAuthentication === undefined,
    login: Object.freeze({ ...options.login }),
    fetch: options.fetch ?? globalFetch,
    clock: options.clock ?? systemClock,
    timeoutMs,
    allowLoopbackHttp,
    server: serverOf(warehouse),
    oauthClient: Object.freeze({ client_id: clientId }),
  });
  return client as OAuthClient<Login>;
}

/**
 * Gives what a client does not show.
 *
 * @throws `TypeError` with `invalid_argument` for what `createClient` did not make.
 */
export function internalsOf(client: OAuthClient): ClientInternals {
  const found = internals.get(client);
  if (found === undefined) throw invalidArgument('"client" must come from createClient');
  return found;
}

/** What a connection id is made of. */
export interface ConnectionParts {
  readonly warehouse: string;
  readonly issuer: string;
  readonly tokenEndpoint: string;
  readonly clientId: string;
}

/** Writes a connection id: readable parts, encoded so that none can pretend to be two. */
export function formatConnectionId(parts: ConnectionParts): string {
  return [parts.warehouse, parts.issuer, parts.tokenEndpoint, parts.clientId].map(encodeURIComponent).join("|");
}

/** Reads a connection id; `undefined` for anything else. */
export function parseConnectionId(connectionId: string): ConnectionParts | undefined {
  try {
    const [warehouse, issuer, tokenEndpoint, clientId, ...rest] = connectionId.split("|").map(decodeURIComponent);
    if (warehouse === undefined || issuer === undefined || tokenEndpoint === undefined || clientId === undefined) {
      return undefined;
    }
    return rest.length === 0 ? { warehouse, issuer, tokenEndpoint, clientId } : undefined;
  } catch {
    return undefined; // not percent-encoded
  }
}

/**
 * Checks what the outside world is reached through, as far as that can be seen without using it.
 *
 * @throws `TypeError` with `invalid_argument`.
 */
export function assertPorts({ fetch, clock }: { readonly fetch?: unknown; readonly clock?: unknown }): void {
  if (fetch !== undefined && typeof fetch !== "function") throw invalidArgument('"fetch" must be a function');
  const isClock = (value: object): boolean =>
    ["now", "monotonic", "setTimer"].every((name) => typeof Reflect.get(value, name) === "function");
  if (clock !== undefined && !(typeof clock === "object" && clock !== null && isClock(clock))) {
    throw invalidArgument('"clock" must have the functions now, monotonic and setTimer');
  }
}

function assertOptions<Login>(options: ClientOptions<Login>): void {
  assertKnownOptions(options, "createClient", OPTIONS);
  if (!isWarehouse(options.warehouse)) {
    throw invalidArgument('"warehouse" must come from defineWarehouse, discover or an adapter');
  }
  for (const option of ["clientSecret", "clientAuthentication"] as const) {
    if (Object.entries(options).some(([name, value]) => name === option && value === undefined)) {
      throw new ConfigurationError(
        "config_invalid",
        `"${option}" is there but undefined; for a public client leave it out, else look where it got lost`,
        option,
      );
    }
  }
  if ("clientSecret" in options && "clientAuthentication" in options) {
    throw new ConfigurationError(
      "config_invalid",
      'give "clientSecret" or "clientAuthentication", not both (RFC 6749 §2.3)',
      "clientAuthentication",
    );
  }
}

function authenticationOf<Login>(options: ClientOptions<Login>): ClientAuthentication {
  if (options.clientAuthentication !== undefined) {
    if (typeof options.clientAuthentication !== "function") {
      throw invalidArgument('"clientAuthentication" must be a function: clientSecretBasic(…), privateKeyJwt(…)');
    }
    return options.clientAuthentication;
  }
  if (options.clientSecret === undefined) return none();
  return options.warehouse.clientSecretMethod === "client_secret_post"
    ? clientSecretPost(options.clientSecret)
    : clientSecretBasic(options.clientSecret);
}

/** Schemes of redirect URIs that no application can own: a browser runs or shows them itself. */
const FORBIDDEN_SCHEMES: ReadonlySet<string> = new Set([
  "javascript:",
  "data:",
  "vbscript:",
  "file:",
  "blob:",
  "about:",
  "ftp:",
  "ws:",
  "wss:",
]);

function assertRedirectUri(redirectUri: unknown, allowLoopbackHttp: boolean): void {
  const fail = (message: string): never => {
    throw new ConfigurationError("config_invalid", message, "redirectUri");
  };
  if (typeof redirectUri !== "string") throw invalidArgument('"redirectUri" must be a string');
  if (!isPlainUrl(redirectUri)) return fail('"redirectUri" must be an absolute URI in ASCII (RFC 6749 §3.1.2)');
  if (redirectUri.includes("#")) return fail('"redirectUri" must not have a fragment (RFC 6749 §3.1.2)');
  const url = new URL(redirectUri);
  if (url.username !== "" || url.password !== "") return fail('"redirectUri" must not hold a user name or password');
  if (FORBIDDEN_SCHEMES.has(url.protocol)) return fail('"redirectUri" has a scheme that no application can own');
  if (url.protocol === "http:" && !(allowLoopbackHttp && isLoopbackHttp(redirectUri))) {
    throw new ConfigurationError(
      "insecure_url",
      '"redirectUri" is http; use https, or 127.0.0.1, [::1] or localhost with "allowLoopbackHttp: true" (RFC 8252 §7.3)',
      "redirectUri",
    );
  }
}

function serverOf(warehouse: Warehouse<never>): AuthorizationServer {
  return Object.freeze({
    issuer: warehouse.issuer,
    token_endpoint: warehouse.tokenEndpoint,
    ...(warehouse.revocationEndpoint !== undefined && { revocation_endpoint: warehouse.revocationEndpoint }),
    authorization_response_iss_parameter_supported: warehouse.issuerInCallback === "always",
  });
}
