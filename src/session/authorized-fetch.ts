import { ConfigurationError } from "../core/index.ts";
import type { Clock, Fetch, Warehouse } from "../core/index.ts";

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
 * @throws {@link ConfigurationError} `endpoint_not_allowed`, `config_invalid`; what getting a token throws; whatever
 * `fetch` throws.
 */
export async function fetchAuthorized(
  context: FetchContext,
  input: string | URL | Request,
  init: RequestInit = {},
): Promise<Response> {
  const url = allowedUrl(context.warehouse, input);
  const signal = init.signal ?? (input instanceof Request ? input.signal : undefined);
  const waiting = signal === undefined ? {} : { signal };
  const token = await context.getAccessToken(waiting);
  const attempt = prepare(url, input, init);
  const response = await send(context, attempt, token);
  if (response.status < 400 || !(await isTokenRejected(context, response))) return response;

  const next = await context.getAccessToken({ ...waiting, rejected: token }).catch((error: unknown) => {
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
  if (!apiOrigins.includes(url.origin) || url.username !== "" || url.password !== "") {
    throw new ConfigurationError(
      "endpoint_not_allowed",
      `tokens of this warehouse go only to ${apiOrigins.join(", ")}; add an origin to "apiOrigins" if it is the warehouse's own`,
      "apiOrigins",
    );
  }
  return url;
}

function prepare(url: URL, input: string | URL | Request, init: RequestInit): Attempt {
  const request = input instanceof Request ? input : undefined;
  const headers = new Headers(init.headers ?? request?.headers);
  if (headers.has("authorization")) {
    throw new ConfigurationError("config_invalid", "the session sets the Authorization header itself", "headers");
  }
  const body = init.body ?? request?.body ?? undefined;
  const method = init.method ?? request?.method ?? "GET";
  const streams = isStream(body);
  const own: RequestInit & { duplex?: "half" } = {
    ...(request !== undefined && {
      signal: request.signal,
      cache: request.cache,
      credentials: request.credentials,
      redirect: request.redirect,
    }),
    ...init,
    method,
    ...(body !== undefined && { body }),
    ...(streams && { duplex: "half" }),
  };
  return { url, init: own, headers, repeatable: !streams };
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
    const method = attempt.init.method ?? "GET";
    const mayFollow = wanted === "follow" && (method === "GET" || method === "HEAD") && redirects < MAX_REDIRECTS;
    if (location === null || !mayFollow || !URL.canParse(location, url)) return response;
    const next = new URL(location, url);
    // Elsewhere the token has no business; the caller sees the redirect and decides.
    if (!warehouse.apiOrigins.includes(next.origin)) return response;
    discard(response);
    url = next;
  }
}

/** RFC 6750 §3.1: a token that lacks a scope is not a token that has ended. */
const INSUFFICIENT_SCOPE = /\berror="?insufficient_scope\b/;

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
