import type { Clock } from "../lib/clock.ts";
import { setDeadline } from "../lib/deadline.ts";
import { OAuthError, TokenEndpointError, TransportError } from "./errors.ts";
import { classifyTransportFailure } from "./transport-failure.ts";

/** What we need of `fetch`. Every platform's `fetch` fits. */
export type Fetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;

/** A signal and nothing else: the last argument of functions that have no other option. */
export interface SignalOptions {
  /**
   * Aborts this call; its reason is rethrown untouched. A shared refresh goes on for the others, and so does what must not
   * be half done.
   */
  readonly signal?: AbortSignal;
}

/** Most bytes that a token or revocation answer may have, decoded (requirements S-028). */
export const TOKEN_ANSWER_LIMIT: number = 256 * 1024;

/** Most bytes that server metadata or a key set may have, decoded (requirements S-028). */
export const METADATA_ANSWER_LIMIT: number = 1024 * 1024;

/** Names the method of an answer that reads itself within bounds: for a `fetch` of our own whose answers are no streams. */
export const READ_WITHIN: unique symbol = Symbol.for("warehouse-oauth.readWithin") as never;

/** What we ask of the headers of an answer. Every platform's `Headers` fit. */
export type AnswerHeaders = Pick<Headers, "get">;

/** An answer that reads itself. */
export interface BoundedResponse extends Response {
  /**
   * Gives what it holds; `undefined` if its body has more than `limitBytes`: then the rest is let go unread. Not there
   * once somebody has asked for its stream or a copy: a `fetch` around ours may look at answers, too.
   */
  readonly [READ_WITHIN]:
    | ((limitBytes: number) => Promise<{ readonly headers: AnswerHeaders; readonly body: Uint8Array } | undefined>)
    | undefined;
}

/** A whole answer, read within its bounds. */
export interface Answer {
  readonly status: number;
  readonly headers: AnswerHeaders;
  readonly text: string;
}

/** One request, whole. */
export interface OutgoingRequest {
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly body?: URLSearchParams | undefined;
}

/** Where, when and how long: what a request needs beside itself. */
export interface TransportOptions {
  readonly fetch: Fetch;
  readonly clock: Clock;
  /** From `startedAt` to the last byte. */
  readonly timeoutMs: number;
  /** When the attempt began, monotonic milliseconds. Default is now. */
  readonly startedAt?: number;
  readonly limitBytes: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Sends one request and reads the whole answer: one deadline for all of it, decoded bytes counted, redirects refused.
 *
 * @throws {@link TransportError} `timeout`, `network_error`; {@link TokenEndpointError} `token_redirect_refused`,
 * `token_response_too_large`; the caller's own abort reason.
 */
export async function sendRequest(url: string, request: OutgoingRequest, options: TransportOptions): Promise<Answer> {
  const { clock, signal, timeoutMs, startedAt } = options;
  signal?.throwIfAborted();
  const exchange = new AbortController();
  let stop: (reason: unknown) => void = () => undefined;
  const stopped = new Promise<never>((_resolve, reject) => {
    stop = reject;
  });
  const onAbort = (): void => {
    stop(signal?.reason);
  };
  const spentMs = startedAt === undefined ? 0 : clock.monotonic() - startedAt;
  const cancelDeadline = setDeadline(clock, Math.max(1, timeoutMs - spentMs), () => {
    stop(new TransportError("timeout", `no complete answer within ${String(timeoutMs)} ms`, { ambiguous: true }));
  });
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    // Racing, because a `fetch` of the caller's own may not listen to its signal.
    return await Promise.race([exchangeOnce(url, request, options, exchange.signal), stopped]);
  } catch (error) {
    exchange.abort();
    if (signal?.aborted === true && error === signal.reason) throw error;
    throw OAuthError.is(error) ? error : toTransportError(error);
  } finally {
    cancelDeadline();
    signal?.removeEventListener("abort", onAbort);
  }
}

async function exchangeOnce(
  url: string,
  { method, headers, body }: OutgoingRequest,
  { fetch, limitBytes }: TransportOptions,
  signal: AbortSignal,
): Promise<Answer> {
  const response = await fetch(url, {
    method,
    headers,
    ...(body !== undefined && { body }),
    redirect: "manual",
    signal,
  });
  if (signal.aborted) discard(response.body);
  signal.throwIfAborted();
  // Browsers hide a refused redirect behind status 0 and this type.
  if ((response.status >= 300 && response.status < 400) || response.type === "opaqueredirect") {
    discard(response.body);
    throw new TokenEndpointError(
      "token_redirect_refused",
      "the server answered with a redirect, which is never followed; correct the endpoint's address (RFC 9700 §4.12)",
      { status: response.status },
    );
  }
  const { status } = response;
  const reading = (response as Partial<BoundedResponse>)[READ_WITHIN]?.(limitBytes);
  if (reading === undefined) {
    return { status, headers: response.headers, text: await readText(response, limitBytes, signal) };
  }
  const whole = await reading;
  if (whole === undefined || whole.body.byteLength > limitBytes) throw tooLarge(status, limitBytes);
  return { status, headers: whole.headers, text: new TextDecoder().decode(whole.body) };
}

/** Reads a body as UTF-8, counting what arrives: `Content-Length` says nothing about what is decoded. */
async function readText(response: Response, limitBytes: number, signal: AbortSignal): Promise<string> {
  if (response.body === null) return "";
  const reader = response.body.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  // A body that a `fetch` of the caller's own made may not listen to the signal either.
  const letGo = (): void => {
    reader.cancel().catch(() => undefined);
  };
  signal.addEventListener("abort", letGo, { once: true });
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    bytes += value.byteLength;
    if (bytes > limitBytes) {
      letGo();
      throw tooLarge(response.status, limitBytes);
    }
    text += decoder.decode(value, { stream: true });
  }
}

function tooLarge(status: number, limitBytes: number): TokenEndpointError {
  return new TokenEndpointError(
    "token_response_too_large",
    `the answer is larger than ${String(limitBytes)} bytes; nothing beyond was read`,
    { status, ambiguous: true },
  );
}

/** Lets a connection go without reading the rest. That may fail; nobody cares. */
function discard(body: ReadableStream | null): void {
  body?.cancel().catch(() => undefined);
}

function toTransportError(error: unknown): TransportError {
  const { code, ambiguous, retryable } = classifyTransportFailure(error);
  const name = code === undefined ? "" : ` (${code})`;
  const message = retryable
    ? `the server could not be reached or did not answer${name}`
    : `no secure connection to the server${name}; check its certificate, the proxy and this machine's clock`;
  return new TransportError("network_error", message, {
    ambiguous,
    retryable,
    action: retryable ? "retry" : "fix_config",
    cause: { name: error instanceof Error ? error.name : "Error", code },
  });
}
