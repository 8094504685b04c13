import { abortable } from "../lib/abortable.ts";
import type { Clock } from "../lib/clock.ts";
import { ConfigurationError, TransportError } from "./errors.ts";
import { parseJsonObject } from "./token-response.ts";
import { METADATA_ANSWER_LIMIT, sendRequest } from "./transport.ts";
import type { Fetch } from "./transport.ts";

/** Server metadata, members as they stand on the wire and unchecked but for `issuer` (RFC 8414 §2). */
export interface Metadata {
  readonly issuer: string;
  readonly authorization_endpoint: unknown;
  readonly token_endpoint: unknown;
  readonly revocation_endpoint: unknown;
  readonly jwks_uri: unknown;
  readonly code_challenge_methods_supported: unknown;
  readonly response_types_supported: unknown;
  readonly token_endpoint_auth_methods_supported: unknown;
  readonly authorization_response_iss_parameter_supported: unknown;
  readonly require_pushed_authorization_requests: unknown;
}

/** How long metadata is kept, and how long a failure is (requirements S-061). */
const KEEP_MS = 24 * 3_600_000;
const KEEP_FAILURE_MS = 60_000;

/** Time for one request for metadata, from connect to the last byte. */
const TIMEOUT_MS = 10_000;

/** Issuers kept for one `fetch`; beyond it the one that was asked for longest ago goes. */
const MAX_KEPT = 100;

interface Kept {
  metadata: Metadata | undefined;
  failure: unknown;
  freshUntil: number;
  loading: Promise<Metadata> | undefined;
}

/** By the `fetch` that brought it, so that a test's document never serves a program. */
const keptByFetch = new WeakMap<Fetch, Map<string, Kept>>();

interface LoadOptions {
  readonly fetch: Fetch;
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
}

/**
 * Gives the metadata of an issuer: kept, or asked for once for all who wait. A caller's abort does not stop the others.
 *
 * @throws {@link ConfigurationError} `issuer_mismatch`; {@link TransportError}; the abort reason.
 */
export async function loadMetadata(issuer: string, { fetch, clock, signal }: LoadOptions): Promise<Metadata> {
  signal?.throwIfAborted();
  const kept = keptFor(fetch, issuer);
  const now = clock.now();
  if (now < kept.freshUntil && kept.loading === undefined) {
    if (kept.metadata !== undefined) return kept.metadata;
    throw kept.failure;
  }
  const loading = (kept.loading ??= refreshKept(kept, issuer, fetch, clock));
  return abortable(loading, signal);
}

function keptFor(fetch: Fetch, issuer: string): Kept {
  let issuers = keptByFetch.get(fetch);
  if (issuers === undefined) keptByFetch.set(fetch, (issuers = new Map<string, Kept>()));
  const kept = issuers.get(issuer) ?? { metadata: undefined, failure: undefined, freshUntil: 0, loading: undefined };
  // Last in order is last used.
  issuers.delete(issuer);
  issuers.set(issuer, kept);
  if (issuers.size > MAX_KEPT) {
    for (const oldest of issuers.keys()) {
      issuers.delete(oldest);
      break;
    }
  }
  return kept;
}

async function refreshKept(kept: Kept, issuer: string, fetch: Fetch, clock: Clock): Promise<Metadata> {
  try {
    kept.metadata = await fetchMetadata(issuer, fetch, clock);
    kept.freshUntil = clock.now() + KEEP_MS;
    return kept.metadata;
  } catch (error) {
    kept.failure = error;
    kept.freshUntil = clock.now() + KEEP_FAILURE_MS;
    // A document of another issuer is an attack or a mistake, not an outage: it never lets an older one live on.
    if (kept.metadata !== undefined && !(error instanceof ConfigurationError)) return kept.metadata;
    kept.metadata = undefined;
    throw error;
  } finally {
    kept.loading = undefined;
  }
}

/** RFC 8414 §3.1 first, then OpenID Connect Discovery §4, then what Databricks does: RFC 8414's name in OpenID's place. */
function wellKnownAddresses(issuer: string): readonly string[] {
  const url = new URL(issuer);
  const path = url.pathname.replace(/\/$/, "");
  return [
    `${url.origin}/.well-known/oauth-authorization-server${path}`,
    `${url.origin}${path}/.well-known/openid-configuration`,
    ...(path === "" ? [] : [`${url.origin}${path}/.well-known/oauth-authorization-server`]),
  ];
}

async function fetchMetadata(issuer: string, fetch: Fetch, clock: Clock): Promise<Metadata> {
  let failure: unknown;
  for (const address of wellKnownAddresses(issuer)) {
    try {
      return await fetchDocument(address, issuer, fetch, clock);
    } catch (error) {
      if (error instanceof ConfigurationError || isUnreachable(error)) throw error;
      failure ??= error;
    }
  }
  throw failure;
}

/** The host itself did not answer: its other addresses will not either. */
function isUnreachable(error: unknown): boolean {
  return error instanceof TransportError && error.code !== "server_unavailable";
}

async function fetchDocument(address: string, issuer: string, fetch: Fetch, clock: Clock): Promise<Metadata> {
  const { status, headers, text } = await sendRequest(
    address,
    { method: "GET", headers: { accept: "application/json", "accept-encoding": "identity" } },
    { fetch, clock, timeoutMs: TIMEOUT_MS, limitBytes: METADATA_ANSWER_LIMIT },
  );
  const isJsonType = /^application\/(?:[a-z.+-]+\+)?json(?:\s*;|$)/i.test(headers.get("content-type") ?? "");
  const document = status === 200 && isJsonType ? parseJsonObject(text) : undefined;
  if (document === undefined) {
    throw new TransportError("server_unavailable", `no server metadata there: status ${String(status)}`, { status });
  }
  const read = (name: string): unknown => (Object.hasOwn(document, name) ? document[name] : undefined);
  if (read("issuer") !== issuer) {
    throw new ConfigurationError(
      "issuer_mismatch",
      "the metadata names another issuer, byte for byte; a slash at the end counts (RFC 8414 §3.3)",
      "issuer",
    );
  }
  return Object.freeze({
    issuer,
    authorization_endpoint: read("authorization_endpoint"),
    token_endpoint: read("token_endpoint"),
    revocation_endpoint: read("revocation_endpoint"),
    jwks_uri: read("jwks_uri"),
    code_challenge_methods_supported: read("code_challenge_methods_supported"),
    response_types_supported: read("response_types_supported"),
    token_endpoint_auth_methods_supported: read("token_endpoint_auth_methods_supported"),
    authorization_response_iss_parameter_supported: read("authorization_response_iss_parameter_supported"),
    require_pushed_authorization_requests: read("require_pushed_authorization_requests"),
  });
}
