import { ConfigurationError, assertKnownOptions, invalidArgument, isLoopbackHttp } from "../core/index.ts";
import type { Fetch } from "../core/index.ts";
import { Connections } from "./connections.ts";
import type { PreparedRequest } from "./connections.ts";

/** Options of {@link nodeTransport}. */
export interface NodeTransportOptions {
  /** Connections to one server at once; further requests wait for one. Default is 32. */
  readonly maxSockets?: number;
  /** The only certificates to trust, PEM; for a gateway with an authority of its own. Default is Node's list. */
  readonly ca?: string;
}

/** A `fetch` for token requests that keeps its connections. */
export type NodeTransport = Fetch & {
  /**
   * Takes no more requests, lets those under way end with what is read of their answers, and lets go of all connections.
   * Idempotent.
   */
  close(): Promise<void>;
};

/** Three times what a manager sends at once by default: several clients of one server fit in. */
const DEFAULT_MAX_SOCKETS = 32;

const OPTIONS: ReadonlySet<string> = new Set<keyof NodeTransportOptions>(["maxSockets", "ca"]);

const FORM = "application/x-www-form-urlencoded;charset=UTF-8";
const TEXT = "text/plain;charset=UTF-8";

/**
 * Makes a `fetch` over `node:https` with connections that are kept, for fleets that refresh many tokens a second. One
 * for a process is enough. It sends to `https`, and to `http` on this machine only; it checks certificates whatever the
 * environment says, never follows a redirect, and decodes nothing: an encoded answer is refused.
 *
 * Give it to clients as `fetch`. Bodies are `URLSearchParams`, strings or bytes; streams are for the global `fetch`.
 *
 * @throws `ConfigurationError` `config_invalid`; TypeError `invalid_argument`.
 *
 * @example
 *
 * ```ts
 * import { createClient } from "warehouse-oauth";
 * import { nodeTransport } from "warehouse-oauth/node";
 * import { databricks } from "warehouse-oauth/databricks";
 *
 * const transport = nodeTransport();
 * const client = createClient({
 *   warehouse: databricks({ host: "https://dbc-a1b2345c-d6e7.cloud.databricks.com" }),
 *   clientId: "client-id",
 *   fetch: transport,
 * });
 * process.stdout.write(`${client.connectionId}\n`);
 * await transport.close();
 * ```
 */
export function nodeTransport(options: NodeTransportOptions = {}): NodeTransport {
  assertOptions(options);
  const { maxSockets = DEFAULT_MAX_SOCKETS, ca } = options;
  const connections = new Connections({ maxSockets, ca });
  // An async function: what is wrong with the arguments is a rejection, as it is with the global one.
  const transport: Fetch = async (input, init) => connections.send(prepare(input, init));
  return Object.assign(transport, { close: () => connections.close() });
}

function assertOptions(options: NodeTransportOptions): void {
  assertKnownOptions(options, "nodeTransport", OPTIONS);
  const { maxSockets, ca } = options;
  if (maxSockets !== undefined && !(Number.isInteger(maxSockets) && maxSockets >= 1)) {
    throw new ConfigurationError("config_invalid", '"maxSockets" must be a whole number of 1 or more', "maxSockets");
  }
  if (ca !== undefined && typeof ca !== "string") throw invalidArgument('"ca" must be certificates as PEM text');
}

function prepare(input: string | URL | Request, init: RequestInit = {}): PreparedRequest {
  const request = input instanceof Request ? input : undefined;
  const url = new URL(input instanceof Request ? input.url : input);
  assertReachable(url);
  const method = (init.method ?? request?.method ?? "GET").toUpperCase();
  const { body, contentType } = readBody(init.body ?? request?.body ?? undefined);
  const headers = readHeaders(init.headers ?? request?.headers);
  headers["accept"] ??= "*/*";
  headers["accept-encoding"] ??= "identity";
  if (contentType !== undefined) headers["content-type"] ??= contentType;
  if (body !== undefined) headers["content-length"] = String(Buffer.byteLength(body));
  const signal = init.signal ?? request?.signal;
  const redirect = init.redirect ?? request?.redirect;
  return { url, method, headers, body, signal, refusesRedirects: redirect === "error" };
}

/** @throws `ConfigurationError` `insecure_url` */
function assertReachable(url: URL): void {
  if (url.username !== "" || url.password !== "") {
    throw new ConfigurationError("config_invalid", "an address with a user in it is not sent to", "input");
  }
  if (url.protocol === "https:" || isLoopbackHttp(url.href)) return;
  throw new ConfigurationError(
    "insecure_url",
    "expected an https address, or http on 127.0.0.1, [::1] or localhost",
    "input",
  );
}

function readBody(body: unknown): { readonly body: string | Uint8Array | undefined; readonly contentType?: string } {
  if (body === undefined) return { body };
  if (body instanceof URLSearchParams) return { body: body.toString(), contentType: FORM };
  if (typeof body === "string") return { body, contentType: TEXT };
  if (body instanceof Uint8Array) return { body };
  throw invalidArgument(
    "expected a body of URLSearchParams, a string or a Uint8Array; other bodies are for the global fetch",
  );
}

/** Names in lower case; what stands there twice is joined as `Headers` does it. */
function readHeaders(given: RequestInit["headers"] | undefined): Record<string, string> {
  const headers: Record<string, string> = {};
  if (given === undefined) return headers;
  const isRecord = !(given instanceof Headers) && !Array.isArray(given) && !(Symbol.iterator in given);
  for (const [name, value] of isRecord ? Object.entries(given) : new Headers(given)) {
    headers[name.toLowerCase()] = value;
  }
  return headers;
}
