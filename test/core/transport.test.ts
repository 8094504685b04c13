import { type IncomingMessage, type RequestListener, type Server, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import zlib, { gzipSync } from "node:zlib";
import { Readable } from "node:stream";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { type Fetch, TransportError, clientCredentials, exchangeCode } from "warehouse-oauth";
import { nodeTransport } from "warehouse-oauth/node";
import { systemClock } from "../../src/lib/clock.ts";
import { abortable } from "../../src/lib/abortable.ts";
import { METADATA_ANSWER_LIMIT, TOKEN_ANSWER_LIMIT, sendRequest } from "../../src/core/transport.ts";
import type { OutgoingRequest, TransportOptions } from "../../src/core/transport.ts";
import { NOW, TOKENS, acme, acmeClient, json, loggedIn, refusal, script, stillClock, text } from "./scripted-client.ts";

const POST: OutgoingRequest = { method: "POST", headers: { "x-one": "1" }, body: new URLSearchParams({ a: "b c" }) };
const URL_ = "https://login.acme.example/token";

const options = (changes: Partial<TransportOptions>): TransportOptions => ({
  fetch: script().fetch,
  clock: stillClock(),
  timeoutMs: 10_000,
  limitBytes: TOKEN_ANSWER_LIMIT,
  ...changes,
});

describe("what is sent", () => {
  it("S-025, S-026 sends method, headers and form as they are, and takes redirects into its own hands", async () => {
    const { fetch, sent } = script(json({ a: 1 }, { status: 418, headers: { "x-two": "2" } }));
    const answer = await sendRequest(URL_, POST, options({ fetch }));
    expect(sent).toHaveLength(1);
    expect(sent[0]).toMatchObject({ url: URL_, method: "POST", body: "a=b+c", redirect: "manual" });
    expect(sent[0]?.headers.get("x-one")).toBe("1");
    expect(answer).toMatchObject({ status: 418, text: '{"a":1}' });
    expect(answer.headers.get("x-two")).toBe("2");
  });

  it("sends no body where there is none", async () => {
    let seen: RequestInit | undefined;
    const fetch = (_input: unknown, init?: RequestInit): Promise<Response> => {
      seen = init;
      return Promise.resolve(new Response(null));
    };
    const { text: body } = await sendRequest(URL_, { method: "GET", headers: {} }, options({ fetch }));
    expect(body).toBe("");
    expect(seen !== undefined && "body" in seen).toBe(false);
  });

  it("S-028 allows 256 KB for tokens and 1 MB for metadata", () => {
    expect([TOKEN_ANSWER_LIMIT, METADATA_ANSWER_LIMIT]).toEqual([262_144, 1_048_576]);
  });

  it("reads UTF-8 across chunks, and bytes that are none as replacement characters", async () => {
    const bytes = new TextEncoder().encode("a€b");
    const fetch = (): Promise<Response> =>
      Promise.resolve(
        new Response(
          new ReadableStream({
            start(controller): void {
              controller.enqueue(bytes.slice(0, 2));
              controller.enqueue(bytes.slice(2));
              controller.enqueue(Uint8Array.of(0xe2));
              controller.close();
            },
          }),
        ),
      );
    expect((await sendRequest(URL_, POST, options({ fetch }))).text).toBe("a€b\uFFFD");
  });
});

describe("S-028 the limit", () => {
  it.each([0, 1, 99, 100])("takes %i bytes of 100", async (length) => {
    const { fetch } = script(text("x".repeat(length)));
    expect((await sendRequest(URL_, POST, options({ fetch, limitBytes: 100 }))).text).toHaveLength(length);
  });

  it("refuses the byte beyond, lets the connection go, and says that the request may have been processed", async () => {
    let cancelled = false;
    let pulled = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller): void {
        pulled++;
        controller.enqueue(new Uint8Array(101));
      },
      cancel(): void {
        cancelled = true;
      },
    });
    const { fetch } = script(() => new Response(body, { status: 200 }));
    const error = await refusal(sendRequest(URL_, POST, options({ fetch, limitBytes: 100 })));
    expect(error).toMatchObject({
      name: "TokenEndpointError",
      code: "token_response_too_large",
      status: 200,
      ambiguous: true,
      action: "fix_config",
    });
    await delay(0);
    expect(cancelled).toBe(true);
    expect(pulled).toBeLessThan(4);
  });
});

describe("S-026 redirects", () => {
  it.each([300, 301, 302, 303, 304, 307, 308, 399])("refuses status %i without reading its body", async (status) => {
    let cancelled = false;
    const response = {
      status,
      type: "basic",
      headers: new Headers({ location: "https://evil.example/" }),
      body: new ReadableStream({
        cancel(): void {
          cancelled = true;
          throw new Error("nobody cares");
        },
      }),
    };
    const { fetch, sent } = script(() => response as unknown as Response);
    const error = await refusal(sendRequest(URL_, POST, options({ fetch })));
    expect(error).toMatchObject({ code: "token_redirect_refused", status, ambiguous: false, retryable: false });
    expect(sent).toHaveLength(1);
    expect(sent[0]?.signal.aborted).toBe(true);
    expect(cancelled).toBe(true);
  });

  it("refuses what browsers hide a redirect behind", async () => {
    const hidden = { status: 0, type: "opaqueredirect", headers: new Headers(), body: null } as unknown as Response;
    const { fetch } = script(() => hidden);
    expect(await refusal(sendRequest(URL_, POST, options({ fetch })))).toMatchObject({
      code: "token_redirect_refused",
    });
  });

  it.each([299, 400])("does not call status %i a redirect", async (status) => {
    const { fetch } = script(text("", { status }));
    expect((await sendRequest(URL_, POST, options({ fetch }))).status).toBe(status);
  });
});

describe("S-027 one deadline for everything", () => {
  const never = (): Promise<Response> => new Promise(() => undefined);

  it("ends a request that nobody answers, also where fetch does not listen to its signal", async () => {
    const clock = stillClock();
    const run = refusal(sendRequest(URL_, POST, options({ fetch: never, clock, timeoutMs: 5000 })));
    expect(clock.timers).toEqual([expect.objectContaining({ delayMs: 5000, keepAlive: true })]);
    clock.advance(4999);
    const early = await Promise.race([run, delay(5, "still waiting")]);
    expect(early).toBe("still waiting");
    clock.advance(1);
    expect(await run).toMatchObject({
      name: "TransportError",
      code: "timeout",
      ambiguous: true,
      retryable: true,
      message: "no complete answer within 5000 ms",
    });
  });

  it("ends a body that drips, and lets go of it", async () => {
    const clock = stillClock();
    let cancelled = false;
    const body = new ReadableStream<Uint8Array>({
      start(controller): void {
        controller.enqueue(Uint8Array.of(123));
      },
      cancel(): void {
        cancelled = true;
        throw new Error("nobody cares");
      },
    });
    const { fetch, sent } = script(() => new Response(body));
    const run = refusal(sendRequest(URL_, POST, options({ fetch, clock })));
    await delay(5);
    clock.advance(10_000);
    expect(await run).toMatchObject({ code: "timeout" });
    expect(sent[0]?.signal.aborted).toBe(true);
    await delay(0);
    expect(cancelled).toBe(true);
  });

  it("lets go of an answer that comes too late", async () => {
    const clock = stillClock();
    let answer: (response: Response) => void = () => undefined;
    const fetch = (): Promise<Response> =>
      new Promise((resolve) => {
        answer = resolve;
      });
    const run = refusal(sendRequest(URL_, POST, options({ fetch, clock })));
    clock.advance(10_000);
    expect(await run).toMatchObject({ code: "timeout" });
    let cancelled = false;
    answer(
      new Response(
        new ReadableStream({
          cancel(): void {
            cancelled = true;
          },
        }),
      ),
    );
    await delay(1);
    expect(cancelled).toBe(true);
  });

  it("leaves no timer and no listener behind, whatever happened", async () => {
    const clock = stillClock();
    const controller = new AbortController();
    let listeners = 0;
    const { signal } = controller;
    const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
    signal.addEventListener = (...event: Parameters<typeof add>): void => {
      listeners++;
      add(...event);
    };
    signal.removeEventListener = (...event: Parameters<typeof remove>): void => {
      listeners--;
      remove(...event);
    };
    for (const step of [json({}), text("", { status: 500 }), new Error("down"), text("x".repeat(300_000))]) {
      const { fetch } = script(step);
      await sendRequest(URL_, POST, options({ fetch, clock, signal })).catch(() => undefined);
    }
    expect(clock.timers).toEqual([]);
    expect(listeners).toBe(0);
  });
});

describe("the caller's own abort", () => {
  it.each([
    ["an error", new Error("mine")],
    ["text", "stop"],
    ["a DOMException", undefined],
  ])("is rethrown as the same thing: %s", async (_what, reason) => {
    const controller = new AbortController();
    const { fetch, sent } = script(() => new Promise<Response>(() => undefined));
    const run = sendRequest(URL_, POST, options({ fetch, signal: controller.signal }));
    await delay(0);
    controller.abort(reason);
    const thrown: unknown = await run.then(
      () => "no error",
      (error: unknown) => error,
    );
    expect(thrown).toBe(controller.signal.reason);
    expect(sent[0]?.signal.aborted).toBe(true);
  });

  it("sends nothing if it came first", async () => {
    const reason = new Error("mine");
    const { fetch, sent } = script(json({}));
    const run = sendRequest(URL_, POST, options({ fetch, signal: AbortSignal.abort(reason) }));
    await expect(run).rejects.toBe(reason);
    expect(sent).toHaveLength(0);
  });

  it("is not taken for the failure of a request that failed by itself", async () => {
    const controller = new AbortController();
    const { fetch } = script(() => {
      throw Object.assign(new Error("x"), { code: "ECONNREFUSED" });
    });
    const error = await refusal(sendRequest(URL_, POST, options({ fetch, signal: controller.signal })));
    expect(error).toMatchObject({ code: "network_error", ambiguous: false });
  });

  it("while the body is read", async () => {
    const controller = new AbortController();
    const reason = new Error("mine");
    const body = new ReadableStream<Uint8Array>({
      start(stream): void {
        stream.enqueue(Uint8Array.of(123));
      },
    });
    const { fetch } = script(() => new Response(body));
    const run = sendRequest(URL_, POST, options({ fetch, signal: controller.signal }));
    await delay(2);
    controller.abort(reason);
    await expect(run).rejects.toBe(reason);
  });
});

describe("abortable", () => {
  it("waits as long as the caller does, and hears an abort that came before", async () => {
    expect(await abortable(Promise.resolve(1), undefined)).toBe(1);
    expect(await abortable(Promise.resolve(2), new AbortController().signal)).toBe(2);
    const failure = new Error("its own");
    await expect(abortable(Promise.reject(failure), new AbortController().signal)).rejects.toBe(failure);
    const reason = new Error("mine");
    await expect(abortable(Promise.resolve(3), AbortSignal.abort(reason))).rejects.toBe(reason);
    await expect(abortable(Promise.reject(failure), AbortSignal.abort(reason))).rejects.toBe(reason);
  });
});

describe("failures of fetch", () => {
  it.each([
    ["ECONNREFUSED", { ambiguous: false, retryable: true, action: "retry" }, / \(ECONNREFUSED\)$/],
    ["ECONNRESET", { ambiguous: true, retryable: true, action: "retry" }, /did not answer \(ECONNRESET\)$/],
    [
      "CERT_HAS_EXPIRED",
      { ambiguous: false, retryable: false, action: "fix_config" },
      /^no secure connection.*certificate/,
    ],
  ])("%s", async (code, expected, message) => {
    const { fetch } = script(
      new TypeError("fetch failed", { cause: Object.assign(new Error("to 10.0.0.1"), { code }) }),
    );
    const error = await refusal(sendRequest(URL_, POST, options({ fetch })));
    expect(error).toBeInstanceOf(TransportError);
    expect(error).toMatchObject({
      code: "network_error",
      ...expected,
      cause: { name: "TypeError", code, status: undefined },
    });
    expect(error.message).toMatch(message);
    expect(error.message).not.toContain("10.0.0.1");
  });

  it("names no code where there is none, and survives what is no error at all", async () => {
    for (const thrown of [new Error("secret"), "secret", undefined, null] as Error[]) {
      const fetch = (): Promise<Response> => Promise.reject(thrown);
      const error = await refusal(sendRequest(URL_, POST, options({ fetch })));
      expect(error).toMatchObject({
        code: "network_error",
        ambiguous: true,
        cause: { name: "Error", code: undefined },
      });
      expect(error.message).toBe("the server could not be reached or did not answer");
    }
  });

  it("hands on an error of ours that a fetch throws", async () => {
    const ours = new TransportError("timeout", "from another layer");
    const { fetch } = script(ours);
    await expect(sendRequest(URL_, POST, options({ fetch }))).rejects.toBe(ours);
  });
});

const MB = 1024 * 1024;

/** What the process may grow by: S-028 says 10 MB, which is about what a garbage collector may leave lying for a moment. */
const MEMORY_BOUND = 32 * MB;

/** 1 GB of text, packed so often. Made of equal parts, since a file of gzip may have many: nothing large is ever here. */
function nestedBomb(times: number): Buffer {
  let bomb: Buffer = Buffer.concat(Array<Buffer>(1024).fill(gzipSync(Buffer.alloc(MB, "{"))));
  for (let packed = 1; packed < times; packed++) bomb = gzipSync(bomb);
  return bomb;
}

function encodedAs(name: string, times: number): Record<string, string> {
  return { "content-type": "application/json", "content-encoding": Array(times).fill(name).join(",") };
}

/** Looks at the memory of this process until it is asked for the most that came on top. */
function watchMemory(): { growth(): number } {
  const before = process.memoryUsage.rss();
  let most = before;
  const look = (): void => {
    most = Math.max(most, process.memoryUsage.rss());
  };
  const looking = setInterval(look, 1);
  return {
    growth: () => {
      clearInterval(looking);
      look();
      return most - before;
    },
  };
}

/** What carries the requests; one decodes what it did not ask for, the other takes it for a fault. */
const TRANSPORTS: readonly { readonly name: string; readonly carry: Fetch; readonly decodes: boolean }[] = [
  { name: "global fetch", carry: fetch, decodes: true },
  { name: "the Node transport", carry: nodeTransport(), decodes: false },
];

describe.each(TRANSPORTS)("a real server on loopback, through $name", ({ carry, decodes }) => {
  let server: Server;
  let origin = "";
  let handler: RequestListener = (_request, response) => response.end();
  const requests: IncomingMessage[] = [];
  beforeAll(async () => {
    server = createServer((request, response) => {
      requests.push(request);
      request.resume();
      handler(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    origin = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });
  const client = (timeoutMs = 10_000): Parameters<typeof clientCredentials>[0] =>
    acmeClient(
      (input, init) => carry(input, init),
      { allowLoopbackHttp: true, timeoutMs, clock: systemClock },
      acme({ tokenEndpoint: `${origin}/token` }),
    );
  afterEach(() => vi.restoreAllMocks());
  /** What Node's own decoder, which its fetch uses, gives out. */
  const countUnpacked = (): { bytes: number } => {
    const unpacked = { bytes: 0 };
    const { createGunzip } = zlib;
    vi.spyOn(zlib, "createGunzip").mockImplementation((settings) => {
      const decoder = createGunzip(settings);
      const push = decoder.push.bind(decoder);
      decoder.push = (chunk: Buffer | null, encoding) => {
        unpacked.bytes += chunk?.length ?? 0;
        return push(chunk, encoding);
      };
      return decoder;
    });
    return unpacked;
  };

  it("works", async () => {
    handler = (_request, response) =>
      response.setHeader("content-type", "application/json").end(JSON.stringify(TOKENS));
    expect((await clientCredentials(client())).accessToken).toBe("access-1");
    expect(requests.at(-1)?.headers).toMatchObject({ accept: "application/json", "accept-encoding": "identity" });
  });

  it.each([301, 302, 303, 307, 308])("S-026 %i: where Location points to gets no request", async (status) => {
    let visits = 0;
    const other = createServer((_request, response) => {
      visits++;
      response.end();
    });
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const location = `http://127.0.0.1:${String((other.address() as AddressInfo).port)}/token`;
    handler = (_request, response) => response.writeHead(status, { location }).end("moved");
    const error = await refusal(clientCredentials(client()));
    other.close();
    expect(error).toMatchObject({ code: "token_redirect_refused", status });
    expect(visits).toBe(0);
  });

  it("S-028 a gzip bomb of 50 MB is let go after 256 KB", async () => {
    const bomb = gzipSync(Buffer.alloc(50 * 1024 * 1024, "{"));
    const headers = { "content-type": "application/json", "content-encoding": "gzip" };
    handler = (_request, response) => response.writeHead(200, headers).end(bomb);
    const unpacked = countUnpacked();
    const error = await refusal(clientCredentials(client()));
    expect(error).toMatchObject({ code: decodes ? "token_response_too_large" : "network_error", ambiguous: true });
    expect(unpacked.bytes > 0).toBe(decodes);
    expect(unpacked.bytes).toBeLessThan(1024 * 1024);
  });

  it("S-028 gzip under the limit is read, asked for or not", async () => {
    const headers = { "content-type": "application/json", "content-encoding": "gzip" };
    const body = gzipSync(JSON.stringify({ ...TOKENS, padding: "x".repeat(200_000) }));
    handler = (_request, response) => response.writeHead(200, headers).end(body);
    if (decodes) expect((await clientCredentials(client())).accessToken).toBe("access-1");
    else expect(await refusal(clientCredentials(client()))).toMatchObject({ code: "network_error", ambiguous: true });
  });

  it("S-028 a stream of 1 GB is let go after 256 KB", async () => {
    let written = 0;
    let closed: Promise<void> | undefined;
    handler = (_request, response) => {
      response.writeHead(200, { "content-type": "application/json", "content-length": String(2 ** 30) });
      const chunk = Buffer.alloc(64 * 1024, 32);
      const endless = new Readable({
        read(): void {
          written += chunk.length;
          this.push(written > 2 ** 30 ? null : chunk);
        },
      });
      closed = new Promise((resolve) => response.once("close", resolve));
      endless.pipe(response);
    };
    expect(await refusal(clientCredentials(client()))).toMatchObject({ code: "token_response_too_large" });
    await closed; // the connection was dropped, not read to its end
    // What we read, and what lay in the buffers of the two sockets: a sender's grows to 4 MB on Linux (tcp_wmem).
    expect(written).toBeLessThan(8 * MB);
  });

  it("S-028 a gzip bomb of 1 GB, packed five times over, is let go after 256 KB", async () => {
    const bomb = nestedBomb(5);
    expect(bomb.length).toBeLessThan(1024);
    handler = (_request, response) => response.writeHead(200, encodedAs("gzip", 5)).end(bomb);
    await refusal(clientCredentials(client())); // what is loaded once is not counted
    const unpacked = countUnpacked();
    const memory = watchMemory();
    const error = await refusal(clientCredentials(client()));
    expect(memory.growth()).toBeLessThan(MEMORY_BOUND);
    expect(error).toMatchObject({ code: decodes ? "token_response_too_large" : "network_error", ambiguous: true });
    expect(unpacked.bytes > 0).toBe(decodes);
    expect(unpacked.bytes).toBeLessThan(MB); // by all five decoders
  });

  // Five is what undici decodes since CVE-2026-22036.
  it.each([
    ["gzip", 6],
    ["gzip", 801],
    ["br", 5000],
  ])("S-028 a chain of %s, %i names long, is refused, and nothing is decoded", async (name, links) => {
    const bomb = nestedBomb(6);
    handler = (_request, response) => response.writeHead(200, encodedAs(name, links)).end(bomb);
    await refusal(clientCredentials(client())); // what is loaded once is not counted
    const decoders = [vi.spyOn(zlib, "createGunzip"), vi.spyOn(zlib, "createBrotliDecompress")];
    const memory = watchMemory();
    const error = await refusal(clientCredentials(client()));
    expect(memory.growth()).toBeLessThan(MEMORY_BOUND);
    expect(error).toMatchObject({
      name: "TransportError",
      code: "network_error",
      ambiguous: true,
      cause: { name: "TypeError", code: undefined },
    });
    for (const decoder of decoders) expect(decoder).not.toHaveBeenCalled();
  });

  it("S-028 a chain of 5000 names that is longer than headers may be is refused as that", async () => {
    handler = (_request, response) => response.writeHead(200, encodedAs("gzip", 5000)).end(nestedBomb(6));
    expect(await refusal(clientCredentials(client()))).toMatchObject({
      name: "TransportError",
      code: "network_error",
      ambiguous: true,
      cause: { code: decodes ? "UND_ERR_HEADERS_OVERFLOW" : "HPE_HEADER_OVERFLOW" },
    });
  });

  it.each([
    ["never answers", (): void => undefined],
    [
      "drips",
      (response: Parameters<RequestListener>[1]): void => {
        response.writeHead(200, { "content-type": "application/json" });
        const drip = setInterval(() => response.write(" "), 20);
        response.once("close", () => {
          clearInterval(drip);
        });
      },
    ],
  ])("S-027 a server that %s is left at the client's timeoutMs", async (_name, behave) => {
    let closed: Promise<void> | undefined;
    handler = (_request, response) => {
      closed = new Promise((resolve) => response.once("close", resolve));
      behave(response);
    };
    expect(await refusal(clientCredentials(client(150)))).toMatchObject({ code: "timeout", ambiguous: true });
    await closed; // the connection is gone too
  });

  it("S-021 a code whose answer is lost there is ambiguous", async () => {
    handler = (_request, response) => response.destroy();
    const warehouse = acme({ tokenEndpoint: `${origin}/token` });
    const loginClient = acmeClient(
      (input, init) => carry(input, init),
      { allowLoopbackHttp: true, clock: stillClock(NOW) },
      warehouse,
    );
    const { callback } = await loggedIn(loginClient);
    expect(await refusal(exchangeCode(loginClient, callback))).toMatchObject({ code: "code_exchange_ambiguous" });
  });
});
