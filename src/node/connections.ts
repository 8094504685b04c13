import { Agent as HttpAgent, request as requestHttp } from "node:http";
import type { ClientRequest, IncomingMessage, RequestOptions } from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";
import { TLSSocket } from "node:tls";
import { TransportError } from "../core/index.ts";
import { AnswerBody } from "./answer-body.ts";
import { LightResponse, mayHaveBody } from "./light-response.ts";

/** Idle connections are let go before most servers close them: a request on a closed one is lost without an answer. */
const IDLE_SOCKET_MS = 4_000;

/** Older versions of TLS are broken (RFC 8996). */
const MIN_TLS_VERSION = "TLSv1.2";

/** A request that may be sent. */
export interface PreparedRequest {
  readonly url: URL;
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly body: string | Uint8Array | undefined;
  readonly signal: AbortSignal | undefined;
  readonly refusesRedirects: boolean;
}

/** The kept connections of one transport. */
export class Connections {
  readonly #http: HttpAgent;
  readonly #https: HttpsAgent;
  /** A request is under way until its connection is free again, or gone; its answer is there once it begins. */
  readonly #underWay = new Map<ClientRequest, AnswerBody | undefined>();
  #closing: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;

  constructor({ maxSockets, ca }: { readonly maxSockets: number; readonly ca: string | undefined }) {
    const shared = { keepAlive: true, maxSockets, timeout: IDLE_SOCKET_MS };
    this.#http = new HttpAgent(shared);
    const tls = { rejectUnauthorized: true, minVersion: MIN_TLS_VERSION, ...(ca !== undefined && { ca }) } as const;
    this.#https = new HttpsAgent({ ...shared, ...tls });
  }

  send({ url, method, headers, body, signal, refusesRedirects }: PreparedRequest): Promise<Response> {
    if (signal?.aborted === true) return Promise.reject(signal.reason as Error);
    if (this.#closing !== undefined) return Promise.reject(closedError());
    return new Promise((resolve, reject) => {
      const options: RequestOptions = { method, headers };
      const request =
        url.protocol === "https:"
          ? requestHttps(url, { ...options, agent: this.#https })
          : requestHttp(url, { ...options, agent: this.#http });
      this.#underWay.set(request, undefined);
      const onAbort = (): void => {
        const reason = signal?.reason as Error;
        reject(reason);
        this.#underWay.get(request)?.breakOff(reason);
        request.destroy();
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      request.on("error", (error) => {
        reject(failed(causeOf(error, request)));
      });
      request.on("response", (message) => {
        const refusal = refusalOf(message, method, refusesRedirects);
        if (refusal === undefined) {
          resolve(new LightResponse(message, this.#bodyOf(request, message), withoutFragment(url), method));
        } else {
          reject(failed(refusal));
          message.destroy();
        }
      });
      request.once("close", () => {
        signal?.removeEventListener("abort", onAbort);
        // Not every end is an error to Node: after a change of protocol (101) there is nothing but this.
        if (this.#underWay.get(request) === undefined)
          reject(failed(new Error("the connection ended without an answer")));
        this.#underWay.delete(request);
        if (this.#underWay.size === 0) this.#onIdle?.();
      });
      request.end(body);
    });
  }

  close(): Promise<void> {
    this.#closing ??= new Promise<void>((resolve) => {
      this.#onIdle = () => {
        this.#http.destroy();
        this.#https.destroy();
        resolve();
      };
      for (const body of this.#underWay.values()) body?.waitForNobody();
      if (this.#underWay.size === 0) this.#onIdle();
    });
    return this.#closing;
  }

  #bodyOf(request: ClientRequest, message: IncomingMessage): AnswerBody {
    const body = new AnswerBody(message);
    this.#underWay.set(request, body);
    if (this.#closing !== undefined) body.waitForNobody();
    return body;
  }
}

/** Like no failure of a network: nothing was sent, and trying again gives the same. */
function closedError(): TransportError {
  return new TransportError("network_error", "nothing was sent: the transport was closed", {
    retryable: false,
    action: "fix_config",
  });
}

function failed(cause: unknown): TypeError {
  return new TypeError("the request failed", { cause });
}

function withoutFragment({ href, hash }: URL): string {
  return hash === "" ? href : href.slice(0, -hash.length);
}

/** What an error of TLS is called. */
const TLS_CODE = /^ERR_(?:SSL|TLS)_/;

/** Such a code says that TLS did not come up. Once it was up it says no more than that the connection broke (requirements R-20). */
function causeOf(error: NodeJS.ErrnoException, { socket }: ClientRequest): unknown {
  if (!(socket instanceof TLSSocket)) return error;
  // The reason of a handshake that failed is in the message only.
  if (!socket.authorized && error.code === "EPROTO") {
    return Object.assign(new Error("TLS did not come up"), { code: "ERR_SSL_HANDSHAKE" });
  }
  if (!socket.authorized || error.code === undefined || !TLS_CODE.test(error.code)) return error;
  return Object.assign(new Error(`the connection broke: ${error.code}`), { code: "ECONNRESET" });
}

const REDIRECT_STATUSES: ReadonlySet<number | undefined> = new Set([301, 302, 303, 307, 308]);

/** Why an answer is not taken: its redirect was not wanted, or its bytes would have to be decoded. */
function refusalOf(
  { statusCode, headers }: IncomingMessage,
  method: string,
  refusesRedirects: boolean,
): Error | undefined {
  if (refusesRedirects && REDIRECT_STATUSES.has(statusCode)) return new Error("the server answered with a redirect");
  const encoding = headers["content-encoding"] ?? "";
  const isPlain = encoding === "" || encoding.toLowerCase() === "identity";
  if (isPlain || !mayHaveBody(method, statusCode)) return undefined;
  return new Error("the answer is encoded, which was not asked for");
}
