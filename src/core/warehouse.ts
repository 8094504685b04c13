import { parseEndpoint } from "./endpoint-url.ts";
import { ConfigurationError } from "./errors.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";
import { assertScopes } from "./scopes.ts";

/** Marks values that only this library can make. Not exported from the package. */
declare const brand: unique symbol;

/**
 * What the server does to a refresh token when it is used (RFC 9700 §4.14.2). `"unknown"` is handled as rotating;
 * an answer that brings another refresh token teaches the record, whatever was declared.
 */
export type RefreshRotation = "none" | "rotates" | "single-use" | "unknown";

/** The grants we speak, by their `grant_type` family (RFC 6749 §4, §6, RFC 7523, RFC 8693). */
export type Grant = "authorization_code" | "refresh_token" | "client_credentials" | "jwt_bearer" | "token_exchange";

/** What a person may choose for one login, at any server. Adapters extend it; every member is optional. */
export interface LoginOptions<Scope extends string = string> {
  /** Replaces the warehouse's default scopes (RFC 6749 §3.3). */
  readonly scopes?: readonly Scope[];
}

/** How much a scope lets an application do: look, change data, or change who may do what. */
export type ScopeLevel = "read" | "write" | "admin";

/** A login that is about to begin, as {@link WarehouseDefinition.authorizationParameters} sees it. */
export interface LoginRequest {
  /** What is asked for, as the application or the warehouse's default names it. */
  readonly scopes: readonly string[];
  /** The client's id at the warehouse. */
  readonly clientId: string;
  /** Where the person comes back to; `undefined` when only the scopes of a login are asked for. */
  readonly redirectUri: string | undefined;
}

/** What a warehouse knows of one scope. */
export interface ScopeFact {
  /** What it lets an application do, as a sentence for people. */
  readonly description: string;
  /** The most it allows; what the person may do at the warehouse limits it further. */
  readonly level: ScopeLevel;
}

/** An error answer of a token endpoint, as a classifier sees it. Holds no secret. */
export interface TokenFailure {
  /** What was asked for. */
  readonly grant: Grant;
  /** HTTP status, 100 to 599. */
  readonly status: number;
  /** `error` of RFC 6749 §5.2, if the body had one. */
  readonly oauthError: string | undefined;
  /** Parsed JSON body, or `undefined`. For reading only: nothing of it may reach a message. */
  readonly body: Readonly<Record<string, unknown>> | undefined;
}

/**
 * What a failed token request means. `transient` and `throttled`: repeat. `dead_grant`: the refresh token, code or
 * assertion is of no use any more. `interaction_required`: the grant may live, but a person must sign in again.
 * `client_rejected`: the registration or its secret is wrong. `fatal`: nothing of these.
 */
export type TokenFailureClass =
  "transient" | "throttled" | "dead_grant" | "interaction_required" | "client_rejected" | "fatal";

/** An answer of the warehouse's own API, as {@link WarehouseDefinition.isTokenRejected} sees it. */
export interface ApiAnswer {
  /** HTTP status, 400 to 599. */
  readonly status: number;
  /** Header fields of the answer. */
  readonly headers: Headers;
  /** At most the first 16 KB of the body. */
  readonly bodyStart: string;
}

/**
 * What {@link defineWarehouse} takes: data and pure functions, never I/O.
 * `Login` is the type of the options a login at this warehouse takes; all its members are optional.
 */
export interface WarehouseDefinition<in Login> {
  /** Stable, lower-case, goes into store keys and events: `"snowflake"`. */
  readonly id: string;
  /** Issuer identifier, compared byte for byte (RFC 9207 §2.4, RFC 8414 §3.3). */
  readonly issuer: string;
  /** Where people sign in. Absent at servers for machines only. */
  readonly authorizationEndpoint?: string;
  /** Where codes, refresh tokens and assertions become tokens. */
  readonly tokenEndpoint: string;
  /** RFC 7009. Absent means that revoking is local. */
  readonly revocationEndpoint?: string;
  /** What a person can do to revoke where the server has no endpoint; given back by `revokeTokens`. */
  readonly revocationInstructions?: string;
  /** RFC 7517, needed only when `openid` is requested. */
  readonly jwksUri?: string;
  /** Other names that `iss` of an ID token may be; tokens and users have the issuer's own. Default is none. */
  readonly idTokenIssuers?: readonly string[];
  /** Origins to which `TokenSession.fetch` may send a token; the first one resolves relative paths. */
  readonly apiOrigins?: readonly string[];
  /** Default is `["authorization_code", "refresh_token"]`. Another grant is `grant_unsupported`. */
  readonly grants?: readonly Grant[];
  /** Scopes of a login that names none. */
  readonly defaultScopes?: readonly string[];
  /** Scopes of `clientCredentials`, `jwtBearer` and `exchangeToken` that name none. */
  readonly machineScopes?: readonly string[];
  /** What each scope lets an application do, by scope. */
  readonly scopeCatalogue?: ReadonlyMap<string, ScopeFact>;
  /** Scopes with several names: from each other name to the one that tokens and the catalogue have. Default is none. */
  readonly scopeAliases?: ReadonlyMap<string, string>;
  /** How `clientSecret` is sent. Default is `"client_secret_basic"` (RFC 6749 §2.3.1). */
  readonly clientSecretMethod?: "client_secret_basic" | "client_secret_post";
  /** Default is `"unknown"`. */
  readonly refreshRotation?: RefreshRotation;
  /** A refresh that rotates kills the earlier access tokens. Default is `false`. */
  readonly rotationVoidsAccessTokens?: boolean;
  /** When a refresh postpones the end of the refresh token. Default is `"never"`. */
  readonly refreshExtends?: "on-use" | "on-rotation" | "never";
  /**
   * Whether the callback carries `iss` (RFC 9207): `"always"` makes a missing one an error; one that is there is
   * compared in any case. Default is `"sometimes"`.
   */
  readonly issuerInCallback?: "always" | "sometimes" | "never";
  /** `aud` of client assertions. Default is the issuer. */
  readonly assertionAudience?: string;
  /** Used when `expires_in` is missing. Absent means: unknown lifetime; refreshed on rejection, and when used after an hour. */
  readonly accessTokenLifetimeMs?: number;
  /** How long a refresh token lives when the server does not say. Absent means: unknown. */
  readonly refreshTokenLifetimeMs?: number;
  /** How long a session lives from its login, however often it is refreshed. Absent means: no such end. */
  readonly absoluteSessionLifetimeMs?: number;
  /** A token with less than this left is not handed out, but at most 10 % of its lifetime. Default is 30 000. */
  readonly hardMarginMs?: number;
  /** The warehouse refuses tokens with less than this left; the margin never goes below. Default is 0. */
  readonly refusedBelowMs?: number;
  /** Adds to the authorization request. `scopes` are those of the request; a returned `scope` replaces them. */
  readonly authorizationParameters?: (login: Login, request: LoginRequest) => Readonly<Record<string, string>>;
  /** Describes a scope that no catalogue can list, because a name of the customer's is in it. */
  readonly describeScope?: (scope: string) => ScopeFact | undefined;
  /** Adds to the body of a token request. */
  readonly tokenParameters?: (grant: Grant) => Readonly<Record<string, string>>;
  /** Turns a peculiar success body into that of RFC 6749 §5.1, wire names on both sides. */
  readonly normalizeTokenResponse?: (
    body: Readonly<Record<string, unknown>>,
    request: { readonly grant: Grant },
  ) => Readonly<Record<string, unknown>>;
  /** Member of a token answer that names the user; what it holds becomes `user.id`. Absent means: none does. */
  readonly userNameMember?: string;
  /** Widens the classifier; `undefined` leaves the decision to it. */
  readonly classifyTokenError?: (failure: TokenFailure) => TokenFailureClass | undefined;
  /** Whether an API answer means "this token is refused". Asked for status >= 400 only. Default is status 401. */
  readonly isTokenRejected?: (answer: ApiAnswer) => boolean;
}

/** A checked, frozen definition with its defaults filled in. Spread one into {@link defineWarehouse} to change it. */
export interface Warehouse<in Login = object> extends WarehouseDefinition<Login> {
  readonly [brand]: "Warehouse";
  /** Origins to which a token may be sent. Empty if none was named. */
  readonly apiOrigins: readonly string[];
  /** The grants this server speaks. */
  readonly grants: readonly Grant[];
  /** Scopes of a login that names none. */
  readonly defaultScopes: readonly string[];
  /** Scopes of a grant for machines that names none. */
  readonly machineScopes: readonly string[];
  /** What is known of each scope. */
  readonly scopeCatalogue: ReadonlyMap<string, ScopeFact>;
  /** What a refresh does to the refresh token. */
  readonly refreshRotation: RefreshRotation;
  /** Whether a refresh that rotates kills the earlier access tokens. */
  readonly rotationVoidsAccessTokens: boolean;
  /** Whether the callback carries `iss`. */
  readonly issuerInCallback: "always" | "sometimes" | "never";
  /** A token with less than this left is not handed out. */
  readonly hardMarginMs: number;
  /** The warehouse refuses tokens with less than this left. */
  readonly refusedBelowMs: number;
}

/** Clock differences, and requests under way when the token ends. Databricks says 60 s of itself. */
const DEFAULT_HARD_MARGIN_MS = 30_000;

const GRANTS: ReadonlySet<string> = new Set<Grant>([
  "authorization_code",
  "refresh_token",
  "client_credentials",
  "jwt_bearer",
  "token_exchange",
]);

/** Goes into store keys, so no separators and no case. */
const WAREHOUSE_ID = /^[a-z][a-z0-9.-]{0,63}$/;

/** Every member a definition may have: a misspelt one would be a default in disguise. */
const MEMBERS: Readonly<
  Record<keyof WarehouseDefinition<never>, "string" | "number" | "boolean" | "array" | "Map" | "function">
> = {
  id: "string",
  issuer: "string",
  authorizationEndpoint: "string",
  tokenEndpoint: "string",
  revocationEndpoint: "string",
  revocationInstructions: "string",
  jwksUri: "string",
  idTokenIssuers: "array",
  apiOrigins: "array",
  grants: "array",
  defaultScopes: "array",
  machineScopes: "array",
  scopeCatalogue: "Map",
  scopeAliases: "Map",
  clientSecretMethod: "string",
  refreshRotation: "string",
  rotationVoidsAccessTokens: "boolean",
  refreshExtends: "string",
  issuerInCallback: "string",
  assertionAudience: "string",
  accessTokenLifetimeMs: "number",
  refreshTokenLifetimeMs: "number",
  absoluteSessionLifetimeMs: "number",
  hardMarginMs: "number",
  refusedBelowMs: "number",
  authorizationParameters: "function",
  describeScope: "function",
  tokenParameters: "function",
  normalizeTokenResponse: "function",
  userNameMember: "string",
  classifyTokenError: "function",
  isTokenRejected: "function",
};

const CHOICES: ReadonlyMap<string, readonly string[]> = new Map([
  ["clientSecretMethod", ["client_secret_basic", "client_secret_post"]],
  ["refreshRotation", ["none", "rotates", "single-use", "unknown"]],
  ["refreshExtends", ["on-use", "on-rotation", "never"]],
  ["issuerInCallback", ["always", "sometimes", "never"]],
]);

/**
 * Makes a warehouse of any OAuth 2.0 server. Pure; the adapters are calls of it.
 *
 * @throws {@link ConfigurationError} `config_invalid`, `insecure_url`.
 *
 * @example
 *
 * ```ts
 * import { defineWarehouse } from "warehouse-oauth";
 *
 * const acme = defineWarehouse({
 *   id: "acme",
 *   issuer: "https://login.acme.example",
 *   authorizationEndpoint: "https://login.acme.example/authorize",
 *   tokenEndpoint: "https://login.acme.example/token",
 *   defaultScopes: ["read", "offline_access"],
 *   refreshRotation: "single-use",
 * });
 * ```
 */
export function defineWarehouse<Login extends object = LoginOptions>(
  definition: WarehouseDefinition<Login>,
): Warehouse<Login> {
  assertMembers(definition);
  if (!WAREHOUSE_ID.test(definition.id)) {
    throw new ConfigurationError(
      "config_invalid",
      '"id" must be 1 to 64 lower-case letters, digits, "." or "-", starting with a letter',
      "id",
    );
  }
  const grants = definition.grants ?? ["authorization_code", "refresh_token"];
  for (const grant of grants) {
    if (!GRANTS.has(grant)) {
      throw new ConfigurationError("config_invalid", `"grants" may hold ${[...GRANTS].join(", ")}`, "grants");
    }
  }
  for (const option of ["issuer", "authorizationEndpoint", "tokenEndpoint", "revocationEndpoint", "jwksUri"] as const) {
    if (definition[option] !== undefined) parseEndpoint(definition[option], option);
  }
  if (grants.includes("authorization_code") && definition.authorizationEndpoint === undefined) {
    throw new ConfigurationError(
      "config_invalid",
      '"authorizationEndpoint" is needed for people to sign in; for machines only, leave authorization_code out of "grants"',
      "authorizationEndpoint",
    );
  }
  assertTexts(definition.idTokenIssuers ?? [], "idTokenIssuers");
  assertScopes(definition.defaultScopes ?? [], "defaultScopes");
  assertScopes(definition.machineScopes ?? [], "machineScopes");

  const warehouse: Omit<Warehouse<Login>, typeof brand> = {
    ...definition,
    ...(definition.idTokenIssuers !== undefined && { idTokenIssuers: Object.freeze([...definition.idTokenIssuers]) }),
    apiOrigins: Object.freeze((definition.apiOrigins ?? []).map(originOf)),
    grants: Object.freeze([...grants]),
    defaultScopes: Object.freeze([...(definition.defaultScopes ?? [])]),
    machineScopes: Object.freeze([...(definition.machineScopes ?? [])]),
    scopeCatalogue: definition.scopeCatalogue ?? new Map<string, ScopeFact>(),
    refreshRotation: definition.refreshRotation ?? "unknown",
    rotationVoidsAccessTokens: definition.rotationVoidsAccessTokens ?? false,
    issuerInCallback: definition.issuerInCallback ?? "sometimes",
    hardMarginMs: definition.hardMarginMs ?? DEFAULT_HARD_MARGIN_MS,
    refusedBelowMs: definition.refusedBelowMs ?? 0,
  };
  Object.freeze(warehouse);
  warehouses.add(warehouse);
  return warehouse as Warehouse<Login>;
}

const warehouses = new WeakSet<object>();

/** Whether {@link defineWarehouse} made it: JavaScript callers have no brand. */
export function isWarehouse(value: unknown): value is Warehouse {
  return typeof value === "object" && value !== null && warehouses.has(value);
}

/** Checks names, types and choices of a definition; `undefined` counts as absent. */
function assertMembers(definition: WarehouseDefinition<never>): void {
  if (typeof definition !== "object" || (definition as unknown) === null) {
    throw invalidArgument("defineWarehouse takes an object");
  }
  for (const [name, value] of Object.entries(definition) as [string, unknown][]) {
    if (!Object.hasOwn(MEMBERS, name)) {
      throw new ConfigurationError("config_invalid", `"${name}" is no member of a warehouse definition`, name);
    }
    const type = MEMBERS[name as keyof typeof MEMBERS];
    if (value === undefined) continue;
    if (typeOf(value) !== type) throw invalidArgument(`"${name}" must be of type ${type}`);
    if (type === "number" && !(Number.isFinite(value) && (value as number) >= 0)) {
      throw new ConfigurationError("config_invalid", `"${name}" must be a number of milliseconds, 0 or more`, name);
    }
    const choices = CHOICES.get(name);
    if (choices !== undefined && !choices.includes(value as string)) {
      throw new ConfigurationError("config_invalid", `"${name}" must be one of ${choices.join(", ")}`, name);
    }
  }
  for (const required of ["id", "issuer", "tokenEndpoint"] as const) {
    if ((definition[required] as unknown) === undefined) {
      throw new ConfigurationError("config_invalid", `"${required}" is required`, required);
    }
  }
}

/** An empty name, or none, would let tokens of nobody pass. */
function assertTexts(values: readonly unknown[], option: string): void {
  if (!values.every((value) => typeof value === "string" && value !== "")) {
    throw new ConfigurationError("config_invalid", `each of "${option}" must be a string that is not empty`, option);
  }
}

function typeOf(value: unknown): string {
  if (Array.isArray(value)) return "array";
  return value instanceof Map ? "Map" : typeof value;
}

/** Gives the origin of an API address, and refuses an address that is more than an origin. */
function originOf(text: string): string {
  const url = parseEndpoint(text, "apiOrigins");
  if (url.pathname !== "/" || url.search !== "") {
    throw new ConfigurationError(
      "config_invalid",
      '"apiOrigins" holds origins: scheme and host, no path',
      "apiOrigins",
    );
  }
  return url.origin;
}
