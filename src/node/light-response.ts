import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { READ_WITHIN } from "../core/index.ts";
import type { AnswerHeaders, BoundedResponse } from "../core/index.ts";

/** Statuses whose answers have no body (Fetch standard, "null body status"). */
const WITHOUT_BODY: ReadonlySet<number> = new Set([101, 103, 204, 205, 304]);

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
  readonly #hasBody: boolean;
  #headers: Headers | undefined;
  #whole: Response | undefined;
  #read = false;

  constructor(message: IncomingMessage, url: string, method: string) {
    this.#message = message;
    this.url = url;
    this.status = message.statusCode ?? 0;
    this.statusText = message.statusMessage ?? "";
    this.#hasBody = method !== "HEAD" && !WITHOUT_BODY.has(this.status);
    // Nobody reads what is not there, and the connection is wanted for the next request.
    if (!this.#hasBody) message.resume();
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
  async [READ_WITHIN](limitBytes: number): Promise<{ headers: AnswerHeaders; body: Uint8Array } | undefined> {
    if (this.bodyUsed || this.#whole !== undefined) throw new TypeError("the body was read before");
    this.#read = true;
    const body = this.#hasBody ? await readWithin(this.#message, limitBytes) : new Uint8Array(0);
    return body && { headers: { get: (name) => joinedHeader(this.#message.rawHeaders, name) }, body };
  }

  /** The real thing, made when it is asked for. */
  get #response(): Response {
    if (this.#whole === undefined) {
      const { status, statusText, headers } = this;
      const stream = this.#hasBody && !this.#read ? Readable.toWeb(this.#message) : null;
      this.#whole = new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>> | null, {
        status,
        statusText,
        headers,
      });
      // Read already: every further reading fails, as it does with a response of the platform.
      if (this.#read) this.#whole = usedResponse(this.#whole);
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

function usedResponse({ status, statusText, headers }: Response): Response {
  const used = new Response("", { status, statusText, headers });
  used.text().catch(() => undefined);
  return used;
}

/** Collects a body, counting; a connection that breaks in the middle fails with the code that Node gives it. */
function readWithin(message: IncomingMessage, limitBytes: number): Promise<Uint8Array | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    message.on("data", (chunk: Uint8Array) => {
      bytes += chunk.byteLength;
      if (bytes > limitBytes) {
        resolve(undefined);
        message.destroy();
      } else {
        chunks.push(chunk);
      }
    });
    message.on("end", () => {
      const [first] = chunks;
      resolve(chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks));
    });
    message.on("error", (error) => {
      reject(new TypeError("the answer broke off", { cause: error }));
    });
    message.on("close", () => {
      reject(new TypeError("the answer broke off", { cause: { code: "ECONNRESET" } }));
    });
  });
}
