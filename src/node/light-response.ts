import type { IncomingMessage } from "node:http";
import { READ_WITHIN } from "../core/index.ts";
import type { BoundedResponse } from "../core/index.ts";
import type { AnswerBody } from "./answer-body.ts";

/** Statuses whose answers have no body (Fetch standard, "null body status"). */
const WITHOUT_BODY: ReadonlySet<number | undefined> = new Set([204, 205, 304]);

/** Whether an answer may have a body. */
export function mayHaveBody(method: string, status: number | undefined): boolean {
  return method !== "HEAD" && !WITHOUT_BODY.has(status);
}

/** What a number that is no status counts as (RFC 9110 §15). */
const SERVER_ERROR = 500;

/** What a `Response` takes as `statusText`. */
const REASON_PHRASE = /^[\t\x20-\x7e\x80-\xff]*$/;

/**
 * An answer of node:http that looks like a `Response` and becomes one only if somebody reads it as one: building a
 * `Response` and its stream costs more than the rest of a token request. Not `instanceof Response`; `clone()` is.
 */
export class LightResponse implements BoundedResponse {
  readonly redirected = false;
  readonly type = "basic";
  readonly url: string;
  readonly status: number;
  readonly statusText: string;
  readonly #message: IncomingMessage;
  readonly #content: AnswerBody | undefined;
  #headers: Headers | undefined;
  #whole: Response | undefined;
  #read = false;

  constructor(message: IncomingMessage, body: AnswerBody, url: string, method: string) {
    this.#message = message;
    this.url = url;
    this.status = message.statusCode ?? 0;
    this.statusText = message.statusMessage ?? "";
    if (mayHaveBody(method, this.status)) this.#content = body;
    else body.waitForNobody();
  }

  get ok(): boolean {
    return this.status >= 200 && this.status <= 299;
  }

  get headers(): Headers {
    if (this.#headers === undefined) {
      this.#headers = new Headers();
      const { rawHeaders } = this.#message;
      for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
        this.#headers.append(rawHeaders[index] ?? "", rawHeaders[index + 1] ?? "");
      }
    }
    return this.#headers;
  }

  get body(): Response["body"] {
    return this.#response.body;
  }

  get bodyUsed(): boolean {
    return this.#read || (this.#whole?.bodyUsed ?? false);
  }

  arrayBuffer(): Promise<ArrayBuffer> {
    return this.#response.arrayBuffer();
  }

  blob(): Promise<Blob> {
    return this.#response.blob();
  }

  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(await this.#response.arrayBuffer());
  }

  clone(): Response {
    return this.#response.clone();
  }

  formData(): Promise<FormData> {
    return this.#response.formData();
  }

  json(): Promise<unknown> {
    return this.#response.json();
  }

  text(): Promise<string> {
    return this.#response.text();
  }

  /** @internal */
  get [READ_WITHIN](): BoundedResponse[typeof READ_WITHIN] {
    return this.#read || this.#whole !== undefined ? undefined : (limitBytes) => this.#readWithin(limitBytes);
  }

  async #readWithin(limitBytes: number): ReturnType<NonNullable<BoundedResponse[typeof READ_WITHIN]>> {
    this.#read = this.#content !== undefined;
    const body = this.#content === undefined ? new Uint8Array(0) : await this.#content.readWithin(limitBytes);
    return body && { headers: { get: (name) => joinedHeader(this.#message.rawHeaders, name) }, body };
  }

  /** The real thing, made when it is asked for. */
  get #response(): Response {
    if (this.#whole === undefined) {
      const init = {
        status: this.status >= 200 && this.status <= 599 ? this.status : SERVER_ERROR,
        statusText: REASON_PHRASE.test(this.statusText) ? this.statusText : "",
        headers: this.headers,
      };
      this.#whole = this.#read ? usedResponse(init) : new Response(this.#content?.toStream() ?? null, init);
    }
    return this.#whole;
  }
}

/** The values of one header in one text, as `Headers` gives them: building those costs more than the few that are asked for. */
function joinedHeader(raw: readonly string[], name: string): string | null {
  const wanted = name.toLowerCase();
  let joined: string | null = null;
  for (let index = 0; index + 1 < raw.length; index += 2) {
    if (raw[index]?.toLowerCase() !== wanted) continue;
    const value = raw[index + 1] ?? "";
    joined = joined === null ? value : `${joined}, ${value}`;
  }
  return joined;
}

/** Every further reading of it fails, as it does with a response of the platform. */
function usedResponse(init: ResponseInit): Response {
  const used = new Response("", init);
  used.text().catch(() => undefined);
  return used;
}
