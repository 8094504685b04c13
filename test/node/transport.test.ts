import { once } from "node:events";
import { createServer } from "node:http";
import type { RequestListener, Server, ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { createServer as createTcpServer } from "node:net";
import type { AddressInfo, Server as TcpServer, Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { Worker } from "node:worker_threads";
import { gzipSync } from "node:zlib";
import { afterEach, describe, expect, it } from "vitest";
import { OAuthError } from "warehouse-oauth";
import type { Clock, Fetch } from "warehouse-oauth";
import { nodeTransport } from "warehouse-oauth/node";
import type { NodeTransport } from "warehouse-oauth/node";
import { READ_WITHIN, sendRequest } from "../../src/core/transport.ts";
import type { Answer, BoundedResponse, OutgoingRequest } from "../../src/core/transport.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { freePort } from "../services/service.ts";
import { selfSigned } from "./self-signed.ts";

const POST: OutgoingRequest = {
  method: "POST",
  headers: { "x-one": "1", "accept-encoding": "identity" },
  body: new URLSearchParams({ a: "b c" }),
};

const closing: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function listen(server: Server | TcpServer): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(() => {
    if ("closeAllConnections" in server) server.closeAllConnections();
    server.close();
  });
  return `127.0.0.1:${String((server.address() as AddressInfo).port)}`;
}

async function serve(listener: RequestListener): Promise<string> {
  return `http://${await listen(createServer(listener))}/token`;
}

function open(options?: Parameters<typeof nodeTransport>[0]): NodeTransport {
  const transport = nodeTransport(options);
  closing.push(() => transport.close());
  return transport;
}

function send(
  fetch: Fetch,
  url: string,
  changes: { clock?: Clock; signal?: AbortSignal; timeoutMs?: number } = {},
): Promise<Answer> {
  return sendRequest(url, POST, { fetch, clock: systemClock, timeoutMs: 30_000, limitBytes: 1_000, ...changes });
}

/** More than is taken off a connection that nobody reads, and than the buffers of sockets hold. */
const LARGE = "x".repeat(20_000_000);

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** The start of an answer that never ends. */
const beginning: RequestListener = (_request, response) => {
  response.writeHead(200, { "content-length": "100" }).write("{");
};

/** An answer that broke off after the transport gave it out and before anybody reads it. */
async function brokenAnswer(fetch: Fetch, init?: RequestInit): Promise<Response> {
  const sockets: Socket[] = [];
  const url = await serve((request, response) => {
    sockets.push(request.socket);
    beginning(request, response);
  });
  const answer = await fetch(url, init);
  for (const socket of sockets) socket.destroy();
  await pause(50);
  return answer;
}

/** What can be compared of an outcome. */
async function outcomeOf(sending: Promise<Answer>): Promise<object> {
  try {
    const { status, headers, text } = await sending;
    const two = [headers.get("x-two"), headers.get("X-TWO")];
    return { status, two, cookies: headers.get("set-cookie"), text };
  } catch (error) {
    if (!OAuthError.is(error)) return { foreign: String(error) };
    return { code: error.code, ambiguous: error.ambiguous, retryable: error.retryable };
  }
}

/** What servers do, and what must come of it whatever carries the request. */
const SERVERS: readonly (readonly [string, RequestListener, object])[] = [
  [
    "answers",
    (_request, response) => response.writeHead(418, { "x-two": "2" }).end('{"a":"€"}'),
    { status: 418, two: ["2", "2"], cookies: null, text: '{"a":"€"}' },
  ],
  [
    "echoes",
    (request, response) => {
      let body = "";
      request.on("data", (chunk) => (body += String(chunk)));
      request.on("end", () => {
        const { method, headers } = request;
        const seen = [headers["x-one"], headers["content-type"], headers["content-length"], headers["accept-encoding"]];
        response.end(JSON.stringify([method, body, ...seen]));
      });
    },
    {
      text: JSON.stringify(["POST", "a=b+c", "1", "application/x-www-form-urlencoded;charset=UTF-8", "5", "identity"]),
    },
  ],
  ["answers nothing with 204", (_request, response) => response.writeHead(204).end(), { status: 204, text: "" }],
  [
    "answers in pieces",
    (_request, response) => {
      response.write("a");
      response.end("b");
    },
    { text: "ab" },
  ],
  [
    "R-54 says a thing twice",
    (_request, response) =>
      response.writeHead(200, ["X-Two", "7", "set-cookie", "a=1", "x-TWO", "8", "Set-Cookie", "b=2"]).end(),
    { two: ["7, 8", "7, 8"], cookies: "a=1, b=2" },
  ],
  ["S-028 answers up to the limit", (_request, response) => response.end("x".repeat(1_000)), { status: 200 }],
  [
    "S-028 answers a byte too much",
    (_request, response) => response.end("x".repeat(1_001)),
    { code: "token_response_too_large", ambiguous: true },
  ],
  [
    "S-025 redirects",
    (_request, response) => response.writeHead(307, { location: "/elsewhere" }).end(),
    { code: "token_redirect_refused" },
  ],
  [
    "R-53 closes without an answer",
    (request) => request.socket.destroy(),
    { code: "network_error", ambiguous: true, retryable: true },
  ],
  [
    "R-56 breaks off in the middle",
    (request, response) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("{");
      setImmediate(() => request.socket.destroy());
    },
    { code: "network_error", ambiguous: true, retryable: true },
  ],
];

const CARRIERS: readonly (readonly [string, () => Fetch])[] = [
  ["the global fetch", () => globalThis.fetch],
  ["nodeTransport", () => open()],
];

describe.each(CARRIERS)("over %s a server that", (_name, carrier) => {
  it.each(SERVERS)("%s", async (_what, listener, expected) => {
    expect(await outcomeOf(send(carrier(), await serve(listener)))).toMatchObject(expected);
  });

  it("R-20 does not listen: nothing was sent", async () => {
    const url = `http://127.0.0.1:${String(await freePort())}/token`;
    const expected = { code: "network_error", ambiguous: false, retryable: true };
    expect(await outcomeOf(send(carrier(), url))).toMatchObject(expected);
  });

  it("R-55 never answers: the deadline ends it, and the connection", async () => {
    let gone = (): void => undefined;
    const closed = new Promise<void>((resolve) => (gone = resolve));
    let expire = (): void => undefined;
    const clock: Clock = {
      ...systemClock,
      setTimer(callback) {
        expire = callback;
        return () => undefined;
      },
    };
    const url = await serve((request) => {
      request.socket.on("close", gone);
      expire();
    });
    const outcome = await outcomeOf(send(carrier(), url, { clock }));
    expect(outcome).toMatchObject({ code: "timeout", ambiguous: true });
    await closed;
  });

  it("R-63 answers while this process is held up past the deadline: the answer is taken", async () => {
    const worker = new Worker(
      `const { createServer } = require("node:http");
       const { parentPort } = require("node:worker_threads");
       const server = createServer((request, response) => {
         parentPort.postMessage("asked");
         setTimeout(() => response.end("in time"), 50);
       });
       server.listen(0, "127.0.0.1", () => parentPort.postMessage(server.address().port));`,
      { eval: true },
    );
    closing.push(() => worker.terminate());
    const [port] = (await once(worker, "message")) as [number];
    worker.once("message", () => {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_000);
    });
    const url = `http://127.0.0.1:${String(port)}/token`;
    expect(await outcomeOf(send(carrier(), url, { timeoutMs: 1_000 }))).toMatchObject({ text: "in time" });
  });

  it("never answers: the caller's reason comes back untouched", async () => {
    const abort = new AbortController();
    const url = await serve(() => {
      abort.abort(new RangeError("enough"));
    });
    expect(await outcomeOf(send(carrier(), url, { signal: abort.signal }))).toEqual({ foreign: "RangeError: enough" });
  });

  it("S-024 has a certificate that nobody knows: nothing is sent", async () => {
    let asked = 0;
    const server = createSecureServer(selfSigned(), (_request, response) => {
      asked += 1;
      response.end();
    });
    const url = `https://${await listen(server)}/token`;
    const expected = { code: "network_error", ambiguous: false, retryable: false };
    expect(await outcomeOf(send(carrier(), url))).toMatchObject(expected);
    expect(asked).toBe(0);
  });
});

describe("nodeTransport", () => {
  it("trusts the authority it is told of", async () => {
    const { key, cert } = selfSigned();
    const server = createSecureServer({ key, cert }, (_request, response) => response.end("hello"));
    expect(await send(open({ ca: cert }), `https://${await listen(server)}/token`)).toMatchObject({ text: "hello" });
  });

  it("checks certificates whatever the environment says", async () => {
    process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0";
    closing.push(() => delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"]);
    const server = createSecureServer(selfSigned(), (_request, response) => response.end("hello"));
    const outcome = await outcomeOf(send(open(), `https://${await listen(server)}/token`));
    expect(outcome).toMatchObject({ code: "network_error", ambiguous: false });
  });

  it("keeps its connection, also after a redirect, an empty and a refused answer", async () => {
    const ports = new Set<number | undefined>();
    const url = await serve((request, response) => {
      ports.add(request.socket.remotePort);
      response.writeHead(ports.size === 1 ? 204 : 200).end();
    });
    const transport = open();
    for (let count = 0; count < 5; count++) await send(transport, url);
    expect(ports.size).toBe(1);
  });

  it("R-53 a kept connection that the server closed under a request may have carried it", async () => {
    let count = 0;
    const url = await serve((request, response) => {
      count += 1;
      if (count === 1) response.end("one");
      else request.socket.destroy();
    });
    const transport = open();
    expect(await send(transport, url)).toMatchObject({ text: "one" });
    expect(await outcomeOf(send(transport, url))).toMatchObject({ code: "network_error", ambiguous: true });
    expect(count).toBe(2); // once: it is not for a transport to send again
  });

  it("opens no more connections than it may", async () => {
    const waiting: ServerResponse[] = [];
    let most = 0;
    const url = await serve((_request, response) => {
      most = Math.max(most, waiting.push(response));
      if (waiting.length !== 2) return;
      setTimeout(() => {
        for (const one of waiting.splice(0)) one.end();
      }, 20); // a third one had the time to come
    });
    const transport = open({ maxSockets: 2 });
    await Promise.all(Array.from({ length: 8 }, () => send(transport, url)));
    expect(most).toBe(2);
  });

  it("refuses an answer that it would have to decode", async () => {
    const url = await serve((_request, response) =>
      response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync("{}")),
    );
    expect(await outcomeOf(send(open(), url))).toMatchObject({ code: "network_error", ambiguous: true });
  });

  it.each([
    "http://login.acme.example/token",
    "http://127.0.0.2/token",
    "http://localhost.acme.example/",
    "ftp://a.example/",
  ])("S-021 does not send to %s", async (url) => {
    await expect(open()(url)).rejects.toMatchObject({ code: "insecure_url" });
  });

  it("S-028 counts for itself: what is beyond the limit is not read, and the connection is let go", async () => {
    let gone = (): void => undefined;
    const closed = new Promise<void>((resolve) => (gone = resolve));
    const url = await serve((request, response) => {
      request.socket.on("close", gone);
      response.end(LARGE);
    });
    const answer = (await open()(url)) as BoundedResponse;
    expect(await answer[READ_WITHIN]?.(10)).toBeUndefined();
    await closed;
  });

  it("refuses bodies that it cannot measure, by name", async () => {
    const sending = open()("https://login.acme.example/", { method: "POST", body: new FormData() });
    await expect(sending).rejects.toMatchObject({ code: "invalid_argument" });
  });

  it.each([{ maxSockets: 0 }, { maxSockets: 1.5 }, { sockets: 1 }])("refuses the options %j", (options) => {
    expect(() => nodeTransport(options)).toThrowError(expect.objectContaining({ code: "config_invalid" }) as Error);
  });

  it.each([
    ["a copy is read", (answer: Response): Promise<unknown> => answer.clone().text()],
    ["its stream is looked at", (answer: Response): Promise<unknown> => Promise.resolve(answer.body)],
  ])("R-54 a fetch around it may look at answers: %s, and the answer is taken", async (_what, look) => {
    const url = await serve((_request, response) => response.end('{"a":1}'));
    const transport = open();
    const looking: Fetch = async (input, init) => {
      const answer = await transport(input, init);
      await look(answer);
      return answer;
    };
    expect(await send(looking, url)).toMatchObject({ text: '{"a":1}' });
  });

  it("R-55 an answer that nobody reads gives its connection back", async () => {
    const ports = new Set<number | undefined>();
    const url = await serve((request, response) => {
      ports.add(request.socket.remotePort);
      response.end("x".repeat(60_000));
    });
    const transport = open({ maxSockets: 1 });
    const answers = [];
    for (let count = 0; count < 3; count++) answers.push(await transport(url));
    expect(ports.size).toBe(1);
    for (const answer of answers) expect(await answer.text()).toHaveLength(60_000);
  });

  it("R-55 an aborted request that waits for a connection is heard, and sent no more", async () => {
    const waiting: ServerResponse[] = [];
    let arrive = (): void => undefined;
    const arrived = new Promise<void>((resolve) => (arrive = resolve));
    const url = await serve((_request, response) => {
      waiting.push(response);
      arrive();
    });
    const transport = open({ maxSockets: 1 });
    const first = send(transport, url);
    await arrived;
    const abort = new AbortController();
    const second = transport(url, { signal: abort.signal });
    const third = send(transport, url);
    abort.abort(new RangeError("enough"));
    await expect(second).rejects.toBe(abort.signal.reason);
    await expect(transport(url, { signal: abort.signal })).rejects.toBe(abort.signal.reason);
    waiting[0]?.end("one");
    expect(await first).toMatchObject({ text: "one" });
    await expect.poll(() => waiting.length).toBe(2);
    waiting[1]?.end("three");
    expect(await third).toMatchObject({ text: "three" });
  });

  it("R-53 a change of protocol (101) is a connection that ended", async () => {
    const url = await serve((request) => {
      request.socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
    });
    const transport = open();
    expect(await outcomeOf(send(transport, url))).toMatchObject({ code: "network_error", ambiguous: true });
    await transport.close();
  });

  it("R-20 closed, it has sent nothing", async () => {
    const transport = open();
    await transport.close();
    const expected = { code: "network_error", ambiguous: false, retryable: false };
    expect(await outcomeOf(send(transport, "https://login.acme.example/token"))).toEqual(expected);
  });

  it("R-20 an error of TLS after the request was written: it may have been processed", async () => {
    const { key, cert } = selfSigned();
    let received = "";
    let wire: Socket | undefined;
    const tls = createTlsServer({ key, cert }, (socket) => {
      socket.on("error", () => undefined);
      socket.on("data", (data) => {
        received += String(data);
        wire?.write("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"); // something in between fails, in plain text
      });
    });
    const tcp = createTcpServer((socket) => {
      wire = socket.on("error", () => undefined);
      tls.emit("connection", socket);
    });
    const outcome = await outcomeOf(send(open({ ca: cert }), `https://${await listen(tcp)}/token`));
    expect(received).toContain("POST");
    expect(outcome).toEqual({ code: "network_error", ambiguous: true, retryable: true });
  });

  it("close lets a request end, takes no more, and lets go of connections", async () => {
    let answer = (): void => undefined;
    const arrived = new Promise<void>((resolve) => {
      void serve((request, response) => {
        request.socket.on("close", () => (gone = true));
        answer = () => response.end("late");
        resolve();
      }).then((url) => {
        sending = send(transport, url);
      });
    });
    let gone = false;
    let sending: Promise<Answer> | undefined;
    const transport = open();
    await arrived;
    const closed = transport.close();
    expect(transport.close()).toBe(closed);
    await expect(transport("https://login.acme.example/")).rejects.toThrow("closed");
    answer();
    expect(await sending).toMatchObject({ text: "late" });
    await closed;
    await expect.poll(() => gone).toBe(true);
  });

  it("R-55 close does not wait for somebody to read a large answer", async () => {
    const waiting: ServerResponse[] = [];
    const url = await serve((_request, response) => {
      waiting.push(response);
      if (waiting.length < 3) response.end(LARGE);
    });
    const transport = open();
    const stalled = await transport(url);
    await pause(50);
    const fresh = await transport(url);
    const late = transport(url);
    await expect.poll(() => waiting.length).toBe(3);
    const closed = transport.close();
    waiting[2]?.end(LARGE);
    const unread = [stalled, fresh, await late];
    await closed;
    for (const answer of unread) await expect(answer.text()).rejects.toThrow("nobody read it");
  });

  it("R-55 close does not wait for an answer that stalls while nobody reads it", async () => {
    const url = await serve(beginning);
    const transport = nodeTransport();
    const response = await transport(url);
    await transport.close();
    await expect(response.text()).rejects.toThrow("nobody read it");
  });

  it("R-20 TLS that does not come up is told as it is over the global fetch: nothing was sent, and trying again is no use", async () => {
    const url = (await serve((_request, response) => response.end("plain"))).replace("http:", "https:");
    for (const fetch of [globalThis.fetch, open()]) {
      const error = await send(fetch, url).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: "network_error", ambiguous: false, retryable: false });
    }
  });

  it.each([
    ["HEAD of what is encoded", { method: "HEAD" }, 200, { "content-encoding": "gzip" }],
    ["304 of what is encoded", {}, 304, { "content-encoding": "gzip" }],
    ["an encoding without a name", {}, 200, { "content-encoding": "" }],
    ["304 with a location, where redirects are errors", { redirect: "error" }, 304, { location: "/elsewhere" }],
  ] as const)("takes %s, as the global fetch does", async (_name, init, status, headers) => {
    const url = await serve((_request, response) => response.writeHead(status, headers).end());
    for (const fetch of [globalThis.fetch, open()]) expect((await fetch(url, init)).status).toBe(status);
  });

  it("close lets an answer that is read come to its end", async () => {
    const url = await serve((_request, response) => response.end(LARGE));
    const transport = open();
    const reading = (await transport(url)).text();
    await Promise.all([transport.close(), expect(reading).resolves.toHaveLength(LARGE.length)]);
  });
});

describe("its answers behave as a Response does", () => {
  const READERS: readonly (readonly [string, (response: Response) => Promise<unknown>])[] = [
    ["text", (response) => response.text()],
    ["json", (response) => response.json()],
    ["arrayBuffer", async (response) => new TextDecoder().decode(await response.arrayBuffer())],
    ["blob", async (response) => (await response.blob()).text()],
    ["formData", (response) => response.formData().catch((error: unknown) => (error as Error).name)],
    ["body", async (response) => new Response(response.body).text()],
    ["clone", async (response) => [await response.clone().text(), await response.text()]],
  ];

  it.each(READERS)("%s", async (_name, read) => {
    const url = await serve((_request, response) =>
      response.writeHead(201, { "content-type": "application/json" }).end('{"a":1}'),
    );
    const [own, global] = [await open()(url), await fetch(url)];
    expect(own.bodyUsed).toBe(false);
    expect(await read(own)).toEqual(await read(global));
    for (const member of ["ok", "status", "statusText", "type", "url", "redirected", "bodyUsed"] as const) {
      expect([member, own[member]]).toEqual([member, global[member]]);
    }
    await expect(own.text()).rejects.toThrow(TypeError);
  });

  it("takes a Request, a URL and every form of headers", async () => {
    const url = await serve((request, response) =>
      response.end(`${String(request.method)} ${String(request.headers["x-a"])}`),
    );
    const transport = open();
    const texts = [
      await (await transport(new Request(url, { headers: { "x-a": "1" } }))).text(),
      await (await transport(new URL(url), { method: "put", headers: [["X-A", "2"]], body: "text" })).text(),
      await (
        await transport(url, { headers: new Headers({ "x-a": "3" }), method: "POST", body: Uint8Array.of(1) })
      ).text(),
    ];
    expect(texts).toEqual(["GET 1", "PUT 2", "POST 3"]);
  });

  it("fails on a redirect if it is told to, and gives it otherwise", async () => {
    const url = await serve((_request, response) => response.writeHead(302, { location: "/a" }).end());
    await expect(open()(url, { redirect: "error" })).rejects.toThrow(TypeError);
    expect(await open()(url)).toMatchObject({ status: 302, redirected: false });
  });

  it("a large one comes whole, however slowly it is read", async () => {
    const url = await serve((_request, response) => response.end(LARGE));
    const answer = await open()(url);
    await pause(50); // it has stopped coming
    let bytes = 0;
    for await (const chunk of answer.body ?? []) {
      bytes += chunk.byteLength;
      if (bytes < 1_000_000) await pause(1);
    }
    expect(bytes).toBe(LARGE.length);
    const bounded = (await open()(url)) as BoundedResponse;
    await pause(50);
    expect((await bounded[READ_WITHIN]?.(LARGE.length))?.body.byteLength).toBe(LARGE.length);
  });

  it("what came before it is read comes in one piece, however small the pieces were", async () => {
    const size = 10_000;
    const url = await serve(({ socket }) => {
      const chunks = "1\r\nx\r\n".repeat(size);
      socket.write(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`);
    });
    const transport = nodeTransport();
    const response = await transport(`${url}#part`);
    expect(response.url).toBe(url);
    await transport.close(); // it has come whole
    const { value } = (await response.body?.getReader().read()) ?? {};
    expect(value).toHaveLength(size);
  });

  it("one that is cancelled while a reader waits for more takes no more", async () => {
    const url = await serve((_request, response) => response.end(LARGE));
    const uncaught: unknown[] = [];
    const listener = (error: unknown): void => void uncaught.push(error);
    const others = process.rawListeners("uncaughtException") as (() => void)[];
    process.removeAllListeners("uncaughtException");
    process.on("uncaughtException", listener);
    const reader = (await open()(url)).body?.getReader();
    await pause(100);
    // All that was read ahead comes at once; then a reading waits.
    let answered = 0;
    for (let asked = 0; answered === asked; asked += 1) {
      void reader?.read().then(() => (answered += 1));
      for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
    }
    await reader?.cancel();
    await pause(50);
    process.off("uncaughtException", listener);
    for (const other of others) process.on("uncaughtException", other);
    expect(uncaught).toEqual([]);
  });

  it("a cancelled one lets its connection go", async () => {
    let gone = (): void => undefined;
    const closed = new Promise<void>((resolve) => (gone = resolve));
    const url = await serve((request, response) => {
      request.socket.on("close", gone);
      response.end(LARGE);
    });
    await (await open()(url)).body?.cancel();
    await closed;
  });

  it("read within bounds, it is used", async () => {
    const url = await serve((request, response) => response.writeHead(request.url === "/token" ? 200 : 204).end());
    const answers = [await open()(url), await open()(`${url}/empty`)] as BoundedResponse[];
    for (const answer of answers) await answer[READ_WITHIN]?.(10);
    expect(answers.map(({ bodyUsed }) => bodyUsed)).toEqual([true, false]);
    expect(answers.map((answer) => answer[READ_WITHIN] === undefined)).toEqual([true, false]);
    await expect(answers[0]?.text()).rejects.toThrow(TypeError);
    expect(await answers[1]?.text()).toBe("");
    expect(await (await open()(url, { method: "HEAD" })).text()).toBe("");
  });

  it("R-56 one that broke off meanwhile rejects, and throws nothing", async () => {
    const reading = (await brokenAnswer(open())).text();
    await expect(reading).rejects.toThrow("broke off");
    const cancelling = (await brokenAnswer(open())).body?.cancel();
    await expect(cancelling).resolves.toBeUndefined();
  });

  it("R-56 one that broke off before a fetch around it hands it on is a broken connection, at once", async () => {
    const transport = open();
    const slow: Fetch = (_input, init) => brokenAnswer(transport, init);
    const expected = { code: "network_error", ambiguous: true, retryable: true };
    expect(await outcomeOf(send(slow, "http://127.0.0.1/token"))).toEqual(expected);
  });

  it("an abort while it is read gives the caller's reason", async () => {
    const url = await serve(beginning);
    const abort = new AbortController();
    const { signal } = abort;
    const answers = [await open()(url, { signal }), await open()(url, { signal })] as const;
    const readings = [answers[0].text(), (answers[1] as BoundedResponse)[READ_WITHIN]?.(10)];
    abort.abort(new RangeError("enough"));
    for (const reading of readings) await expect(reading).rejects.toBe(signal.reason);
  });

  it.each([
    ["999 x", 999, "x"],
    ["099 x", 99, "x"],
    ["200 a\u0001b", 200, "a\u0001b"],
  ])("one that says %j can be read, too", async (line, status, statusText) => {
    const url = await serve((request) => {
      request.socket.end(`HTTP/1.1 ${line}\r\ncontent-length: 1\r\n\r\nx`);
    });
    const answer = await open()(url);
    expect(answer).toMatchObject({ status, statusText });
    expect([await answer.clone().text(), await answer.text()]).toEqual(["x", "x"]);
  });
});
