import { systemClock } from "../lib/clock.ts";
import type { Clock } from "../lib/clock.ts";
import { globalFetch } from "../lib/global-fetch.ts";
import { assertPorts } from "./client.ts";
import { isLoopbackHttp, isPlainUrl, parseEndpoint } from "./endpoint-url.ts";
import { ConfigurationError } from "./errors.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";
import { assertKnownOptions } from "./known-options.ts";
import { loadMetadata } from "./metadata.ts";
import type { Metadata } from "./metadata.ts";
import type { Fetch, SignalOptions } from "./transport.ts";
import { defineWarehouse } from "./warehouse.ts";
import type { LoginOptions, Warehouse, WarehouseDefinition } from "./warehouse.ts";

/** How far to trust server metadata. */
export interface DiscoverOptions extends SignalOptions {
  /** Becomes {@link Warehouse.id}. Default is the issuer's host. */
  readonly id?: string;
  /** Hosts besides the issuer's on which endpoints may lie. Default is none. */
  readonly allowedHosts?: readonly string[];
  /** Added to what the metadata says. */
  readonly overrides?: Partial<Omit<WarehouseDefinition<LoginOptions>, "id" | "issuer">>;
  /** Lets `http` to this machine pass. Default is `false`. */
  readonly allowLoopbackHttp?: boolean;
  /** Default is the global one. What it fetched is kept for 24 h, for it alone. */
  readonly fetch?: Fetch;
  /** Default is the system's. */
  readonly clock?: Clock;
}

/**
 * Makes a warehouse from server metadata (RFC 8414, OpenID Connect Discovery), checked against `issuer`. The metadata
 * is asked for once at a time and kept for 24 hours; if it cannot be had again, the last good one is used.
 *
 * @throws {@link ConfigurationError} `issuer_mismatch`, `endpoint_not_allowed`, `insecure_url`, `config_invalid`;
 * `TransportError`.
 *
 * @example
 *
 * ```ts
 * import { discover } from "warehouse-oauth";
 *
 * const warehouse = await discover("https://login.acme.example", { id: "acme" });
 * ```
 */
export async function discover(issuer: string | URL, options: DiscoverOptions = {}): Promise<Warehouse> {
  assertOptions(options);
  const { allowedHosts = [], allowLoopbackHttp = false, clock = systemClock, fetch = globalFetch, signal } = options;
  if (typeof issuer !== "string" && !(issuer instanceof URL)) throw invalidArgument('"issuer" must be a string or URL');
  if (typeof allowLoopbackHttp !== "boolean") throw invalidArgument('"allowLoopbackHttp" must be true or false');
  const expected = typeof issuer === "string" ? issuer : textOf(issuer);
  const issuerUrl = parseEndpoint(expected, "issuer");
  if (issuerUrl.search !== "") {
    throw new ConfigurationError("config_invalid", '"issuer" must not have a query (RFC 8414 §2)', "issuer");
  }
  if (issuerUrl.protocol !== "https:" && !allowLoopbackHttp) {
    throw new ConfigurationError("insecure_url", '"issuer" is http; see "allowLoopbackHttp"', "issuer");
  }
  const metadata = await loadMetadata(expected, { fetch, clock, signal });
  const hosts = new Set([issuerUrl.host, ...allowedHosts]);
  const endpoint = (name: keyof Metadata & `${string}_${"endpoint" | "uri"}`): string | undefined =>
    checkedEndpoint(metadata[name], name, hosts, allowLoopbackHttp);
  assertSpeaksCodeWithS256(metadata);

  const tokenEndpoint = endpoint("token_endpoint");
  if (tokenEndpoint === undefined) {
    throw new ConfigurationError("config_invalid", 'the metadata has no "token_endpoint"', "token_endpoint");
  }
  const authorizationEndpoint = endpoint("authorization_endpoint");
  const revocationEndpoint = endpoint("revocation_endpoint");
  const jwksUri = endpoint("jwks_uri");
  const machineGrants = ["client_credentials", "jwt_bearer", "token_exchange"] as const;
  return defineWarehouse({
    id: options.id ?? idOf(issuerUrl),
    issuer: expected,
    tokenEndpoint,
    ...(authorizationEndpoint !== undefined && { authorizationEndpoint }),
    ...(revocationEndpoint !== undefined && { revocationEndpoint }),
    ...(jwksUri !== undefined && { jwksUri }),
    // Servers leave grants out of their list that they speak (Databricks: token exchange), so it is not a gate.
    grants:
      authorizationEndpoint === undefined ? machineGrants : ["authorization_code", "refresh_token", ...machineGrants],
    clientSecretMethod: speaksBasic(metadata) ? "client_secret_basic" : "client_secret_post",
    issuerInCallback: metadata.authorization_response_iss_parameter_supported === true ? "always" : "sometimes",
    ...options.overrides,
  });
}

const OPTIONS: ReadonlySet<string> = new Set<keyof DiscoverOptions>([
  "id",
  "allowedHosts",
  "overrides",
  "allowLoopbackHttp",
  "fetch",
  "clock",
  "signal",
]);

function assertOptions(options: DiscoverOptions): void {
  assertKnownOptions(options, "discover", OPTIONS);
  assertPorts(options);
}

/** A `URL` object writes an origin with a slash that issuers do not have. */
function textOf(issuer: URL): string {
  return issuer.href === `${issuer.origin}/` ? issuer.origin : issuer.href;
}

function idOf(issuer: URL): string {
  const id = issuer.hostname.replace(/[^a-z0-9.-]/g, "-");
  return /^[a-z]/.test(id) ? id.slice(0, 64) : `host-${id}`.slice(0, 64);
}

/**
 * Where a code, a verifier and a secret go is never the metadata's to choose freely: a document that names somebody
 * else's token endpoint beside the genuine authorization endpoint would steal all three (requirements S-058).
 */
function checkedEndpoint(
  value: unknown,
  name: string,
  hosts: ReadonlySet<string>,
  allowLoopbackHttp: boolean,
): string | undefined {
  if (value === undefined) return undefined;
  const notAllowed = (why: string): ConfigurationError =>
    new ConfigurationError("endpoint_not_allowed", `"${name}" of the metadata ${why}`, name);
  if (!isPlainUrl(value)) throw notAllowed("is no absolute URL");
  const url = new URL(value);
  if (url.username !== "" || url.password !== "" || value.includes("#")) {
    throw notAllowed("has a user name, password or fragment");
  }
  if (url.protocol !== "https:" && !(allowLoopbackHttp && isLoopbackHttp(value))) {
    if (url.protocol === "http:") {
      throw new ConfigurationError("insecure_url", `"${name}" of the metadata is http`, name);
    }
    throw notAllowed("is not https");
  }
  if (!hosts.has(url.host)) {
    throw notAllowed('lies on another host than the issuer; if that is right, name the host in "allowedHosts"');
  }
  return value;
}

/** What we send must be understood: S256 always, a code always, and no pushed requests, which we do not make. */
function assertSpeaksCodeWithS256(metadata: Metadata): void {
  const unsupported = (member: string, what: string): ConfigurationError =>
    new ConfigurationError("config_invalid", `"${member}" of the metadata ${what}`, member);
  const methods = metadata.code_challenge_methods_supported;
  if (Array.isArray(methods) && !methods.includes("S256")) {
    throw unsupported("code_challenge_methods_supported", "lacks S256, without which no login begins here (RFC 9700)");
  }
  const types = metadata.response_types_supported;
  if (metadata.authorization_endpoint !== undefined && Array.isArray(types) && !types.includes("code")) {
    throw unsupported("response_types_supported", 'lacks "code" (RFC 9700 §2.1.2)');
  }
  if (metadata.require_pushed_authorization_requests === true) {
    throw unsupported("require_pushed_authorization_requests", "asks for RFC 9126, which is not spoken here");
  }
}

/** RFC 8414 §2: without a list, `client_secret_basic` is understood. */
function speaksBasic(metadata: Metadata): boolean {
  const methods = metadata.token_endpoint_auth_methods_supported;
  return !Array.isArray(methods) || methods.includes("client_secret_basic");
}
