import { ConfigurationError, invalidArgument } from "../core/index.ts";
import type { Clock, Fetch, Warehouse } from "../core/index.ts";
import { abortable } from "../lib/abortable.ts";

/** Most of a refused answer that is looked at. */
const BODY_START_BYTES = 16 * 1024;

/** Time for it: an answer that stalls is judged by what came. */
const BODY_START_WITHIN_MS = 5_000;

/** Redirects followed within the warehouse; more are a loop. */
const MAX_REDIRECTS = 5;

const REDIRECT_STATUSES: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** What a request needs beside itself. */
export interface FetchContext {
  readonly warehouse: Warehouse;
  readonly fetch: Fetch;
  readonly clock: Clock;
  /** Gives a token that is good now; `rejected` is one that was refused. */
  getAccessToken(options: { readonly rejected?: string; readonly signal?: AbortSignal }): Promise<string>;
}

/**
 * Sends a request with the token attached, to the warehouse only. A refused token is replaced and the request repeated
 * once, if its body can be sent again.
 *
 * @throws {@link ConfigurationError} `endpoint_not_allowed`, `config_invalid`; TypeError `invalid_argument`; what getting a
 * token throws; whatever `fetch` throws.
 */
export async function fetchAuthorized(
  context: FetchContext,
  input: string | URL | Request,
  init: RequestInit = {},
): Promise<Response> {
  // Read at once: who calls may use the same headers and the same form for the next request.
  const attempt = prepare(allowedUrl(context.warehouse, input), input, init);
  const getAccessToken = (options: { readonly rejected?: string }): Promise<string> => {
    const { signal } = init;
    if (signal !== undefined && signal !== null) return context.getAccessToken({ ...options, signal });
    // Every Request has a signal, so it does not say that its caller sets limits to the wait.
    return abortable(context.getAccessToken(options), attempt.init.signal ?? undefined);
  };
  const token = await getAccessToken({});
  const response = await send(context, attempt, token);
  if (response.status < 400) return response;
  const isRejected = await isTokenRejected(context, response).catch((error: unknown) => {
    discard(response);
    throw error;
  });
  if (!isRejected) return response;

  const next = await getAccessToken({ rejected: token }).catch((error: unknown) => {
    discard(response);
    throw error;
  });
  if (next === token || !attempt.repeatable) return response;
  discard(response);
  return send(context, attempt, next);
}

/** A request without its token, ready to be sent once or twice. */
interface Attempt {
  readonly url: URL;
  readonly init: RequestInit;
  readonly headers: Headers;
  readonly repeatable: boolean;
}

/** A token goes to the warehouse's own origins and nowhere else; a path is resolved against the first. */
function allowedUrl({ apiOrigins }: Warehouse, input: string | URL | Request): URL {
  const [base] = apiOrigins;
  if (typeof input !== "string" && !(input instanceof URL) && !(input instanceof Request)) {
    throw invalidArgument("expected an address as a string or URL, or a Request of this platform");
  }
  const text = input instanceof Request ? input.url : String(input);
  if (base === undefined) {
    throw new ConfigurationError(
      "endpoint_not_allowed",
      'this warehouse names no "apiOrigins", so there is no origin to which a token may go',
      "apiOrigins",
    );
  }
  if (!URL.canParse(text, base)) throw new ConfigurationError("config_invalid", "the address is no URL", "input");
  const url = new URL(text, base);
  if (!mayGetToken(apiOrigins, url)) {
    throw new ConfigurationError(
      "endpoint_not_allowed",
      `tokens of this warehouse go only to ${apiOrigins.join(", ")}; add an origin to "apiOrigins" if it is the warehouse's own`,
      "apiOrigins",
    );
  }
  return url;
}

/** A `blob:` address has the origin of its page, and is nothing that a warehouse answers. */
function mayGetToken(apiOrigins: readonly string[], { origin, protocol, username, password }: URL): boolean {
  return apiOrigins.includes(origin) && protocol !== "blob:" && username === "" && password === "";
}

/** What a Request says of how it is sent, where `init` does not. Its members are getters: spreading it copies none. */
const REQUEST_MEMBERS = ["signal", "cache", "credentials", "redirect", "integrity", "keepalive"] as const;

function prepare(url: URL, input: string | URL | Request, init: RequestInit): Attempt {
  const request = input instanceof Request ? input : undefined;
  const headers = new Headers(init.headers ?? request?.headers);
  if (headers.has("authorization")) {
    throw new ConfigurationError("config_invalid", "the session sets the Authorization header itself", "headers");
  }
  const body = copyOf(init.body ?? request?.body ?? undefined);
  const method = init.method ?? request?.method ?? "GET";
  const streams = isStream(body);
  const own: RequestInit & { duplex?: "half" } = {
    ...init,
    method,
    ...(body !== undefined && { body }),
    ...(streams && { duplex: "half" }),
  };
  for (const name of REQUEST_MEMBERS) {
    // Only `undefined` says nothing: a signal that is `null` takes that of the Request away.
    const member = init[name] === undefined ? request?.[name] : init[name];
    if (member !== undefined) Object.assign(own, { [name]: member });
  }
  return { url, init: own, headers, repeatable: !streams };
}

/** What a caller may change while the token is waited for. */
function copyOf(body: RequestInit["body"]): RequestInit["body"] {
  if (body instanceof URLSearchParams) return new URLSearchParams(body);
  if (body instanceof ArrayBuffer) return body.slice();
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength).slice();
  if (!(body instanceof FormData)) return body;
  const copy = new FormData();
  for (const [name, value] of body) copy.append(name, value);
  return copy;
}

/** A stream is gone once it was sent; everything else that `fetch` takes can be sent again. */
function isStream(body: unknown): boolean {
  if (typeof body !== "object" || body === null) return false;
  return body instanceof ReadableStream || Symbol.asyncIterator in body;
}

/** Sends, and follows redirects for as long as they stay where a token may go. */
async function send({ warehouse, fetch }: FetchContext, attempt: Attempt, token: string): Promise<Response> {
  const wanted = attempt.init.redirect ?? "follow";
  let { url } = attempt;
  for (let redirects = 0; ; redirects++) {
    const headers = new Headers(attempt.headers);
    headers.set("authorization", `Bearer ${token}`);
    const response = await fetch(url, { ...attempt.init, headers, redirect: wanted === "error" ? "error" : "manual" });
    const location = REDIRECT_STATUSES.has(response.status) ? response.headers.get("location") : null;
    const isSafe = /^(?:get|head)$/i.test(attempt.init.method ?? "GET");
    const mayFollow = wanted === "follow" && isSafe && redirects < MAX_REDIRECTS;
    if (location === null || !mayFollow || !URL.canParse(location, url)) return response;
    const next = new URL(location, url);
    // Elsewhere the token has no business; the caller sees the redirect and decides.
    if (!mayGetToken(warehouse.apiOrigins, next)) return response;
    discard(response);
    url = next;
  }
}

/** RFC 6750 §3.1: a token that lacks a scope is not a token that has ended. */
const INSUFFICIENT_SCOPE = /\berror\s*=\s*"?insufficient_scope\b/i;

async function isTokenRejected({ warehouse, clock }: FetchContext, response: Response): Promise<boolean> {
  const { status, headers } = response;
  if (INSUFFICIENT_SCOPE.test(headers.get("www-authenticate") ?? "")) return false;
  if (warehouse.isTokenRejected === undefined) return status === 401;
  return warehouse.isTokenRejected({ status, headers, bodyStart: await readStart(response, clock) });
}

/** Reads the first bytes of a copy, so that the answer itself stays whole for the caller. */
async function readStart(response: Response, clock: Clock): Promise<string> {
  const reader = response.body === null ? undefined : response.clone().body?.getReader();
  if (reader === undefined) return "";
  const stop = (): void => void reader.cancel().catch(() => undefined);
  const cancelTimer = clock.setTimer(stop, BODY_START_WITHIN_MS, { keepAlive: true });
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  try {
    while (bytes < BODY_START_BYTES) {
      const { done, value } = (await reader.read()) as ReadableStreamReadResult<Uint8Array>;
      if (done) break;
      text += decoder.decode(value.subarray(0, BODY_START_BYTES - bytes), { stream: true });
      bytes += value.byteLength;
    }
  } catch {
    // The answer broke off: what came of it has to do.
  }
  cancelTimer();
  stop();
  return text;
}

function discard(response: Response): void {
  response.body?.cancel().catch(() => undefined);
}
