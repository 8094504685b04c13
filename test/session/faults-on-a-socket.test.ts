import { generateKeyPairSync, sign } from "node:crypto";
import dns from "node:dns";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import { TokenManager, createClient, defineWarehouse, importTokens } from "warehouse-oauth";
import { nodeTransport } from "warehouse-oauth/node";
import type { Clock, Fetch, SessionEvent, TokenSession } from "warehouse-oauth";
import { afterEach, describe, expect, test, vi } from "vitest";
import { systemClock } from "../../src/lib/clock.ts";
import { freePort } from "../services/service.ts";
import { gateStore } from "./gate-store.ts";
import type { GateStore } from "./gate-store.ts";
import { BROKEN, TOKENS, answer, scriptSocket } from "./scripted-socket.ts";
import type { Behaviour, ScriptedSocket } from "./scripted-socket.ts";

/** Every way in which a request can leave. A transport of our own is one more line. */
const TRANSPORTS: readonly (readonly [string, Fetch])[] = [
  ["global fetch", fetch],
  ["the Node transport", nodeTransport()],
];

/** Longer than any machine is slow, and like no other wait of client or manager. */
const TIMEOUT_MS = 50_000;

/** What is left of it when the request is built: no other wait is as long. */
const isDeadline = (delayMs: number): boolean => delayMs > 40_000 && delayMs <= TIMEOUT_MS;

/** Ends the requests that are under way as their deadline would. */
const deadlines = new Set<() => void>();
const clock: Clock = {
  ...systemClock,
  setTimer(callback, delayMs, options) {
    const cancel = systemClock.setTimer(callback, delayMs, options);
    if (isDeadline(delayMs)) deadlines.add(callback);
    return () => {
      deadlines.delete(callback);
      cancel();
    };
  },
};

/** What of an answer comes at all is there after this. */
const SILENCE_MS = 50;

/** Those of the broken answers that only a deadline ends; it comes once the request is there, however slow the machine. */
const SILENT = new Set(["no answer", "headers only", "a byte every 20 ms"]);

function broken(name: string): Behaviour {
  const behaviour = BROKEN[name] ?? answer;
  if (!SILENT.has(name)) return behaviour;
  return (socket, request) => {
    behaviour(socket, request);
    setTimeout(() => {
      for (const end of deadlines) end();
    }, SILENCE_MS);
  };
}

const opened: { close(): unknown }[] = [];

afterEach(async () => {
  vi.restoreAllMocks();
  deadlines.clear();
  for (const one of opened.splice(0)) await one.close();
});

interface Program {
  readonly session: TokenSession;
  readonly store: GateStore;
  readonly events: SessionEvent[];
  readonly manager: TokenManager;
}

/** A session whose access token has ended an hour ago, at a token endpoint on this machine. */
async function openSession(tokenEndpoint: string, transport: Fetch): Promise<Program> {
  const warehouse = defineWarehouse({
    id: "acme",
    issuer: new URL(tokenEndpoint).origin,
    tokenEndpoint,
    grants: ["refresh_token"],
    refreshRotation: "single-use",
  });
  const client = createClient({
    warehouse,
    clientId: "client-1",
    clientSecret: "secret",
    allowLoopbackHttp: true,
    timeoutMs: TIMEOUT_MS,
    clock,
    fetch: transport,
  });
  const store = gateStore(clock, { durable: false });
  const manager = new TokenManager({ store, clock, retry: { baseDelayMs: 1, maxDelayMs: 50 } });
  opened.push(manager);
  const events: SessionEvent[] = [];
  manager.on("*", (event) => events.push(event));
  const now = Date.now();
  const tokens = importTokens({
    accessToken: "first-token",
    refreshToken: "first-refresh",
    tokenType: "Bearer",
    obtainedAt: now - 7_200_000,
    expiresAt: now - 3_600_000,
    scopes: [],
    scopesAssumed: false,
    connectionId: client.connectionId,
  });
  return { session: await manager.save(client, { subject: "ada" }, tokens), store, events, manager };
}

async function openScript(...behaviours: readonly Behaviour[]): Promise<ScriptedSocket> {
  const server = await scriptSocket(...behaviours);
  opened.push(server);
  return server;
}

describe.each(TRANSPORTS)("through %s", (_name, transport) => {
  for (const name of Object.keys(BROKEN)) {
    test(`R-53 R-55 R-56 ${name}: ambiguous; the same token again, and it succeeds`, async () => {
      const server = await openScript(broken(name), answer);
      const { session, store, events } = await openSession(`${server.origin}/token`, transport);
      expect(await session.getAccessToken()).toBe("second-token");
      expect(server.received).toEqual(["first-refresh", "first-refresh"]);
      expect(store.stored()?.tokens?.refreshToken).toBe("second-refresh");
      expect(events.filter(({ type }) => type === "refresh_retried")).toHaveLength(1);
    });
  }

  for (const name of ["RST after the request", "half of the body, then FIN", "no answer"]) {
    test(`R-21 R-22 ${name}, for ever: three sends, the token is kept, the announcement is the trace`, async () => {
      const server = await openScript(broken(name));
      const { session, store } = await openSession(`${server.origin}/token`, transport);
      await expect(session.getAccessToken()).rejects.toMatchObject({ ambiguous: true, retryable: true });
      expect(server.received).toEqual(["first-refresh", "first-refresh", "first-refresh"]);
      expect(store.stored()).toMatchObject({ state: "active", intent: { attempts: 3 } });
      expect(store.stored()?.tokens?.refreshToken).toBe("first-refresh");
      expect(await session.status()).toMatchObject({ state: "degraded" });
    });
  }

  test("R-55 after a deadline the socket is let go", async () => {
    const server = await openScript(broken("no answer"), broken("headers only"), answer);
    const { session } = await openSession(`${server.origin}/token`, transport);
    expect(await session.getAccessToken()).toBe("second-token");
    await expect.poll(() => server.open()).toBeLessThanOrEqual(1);
  });

  test("R-53 a kept connection that is closed under the second POST: repeated on a new one", async () => {
    const server = await openScript(answer, (socket) => void socket.resetAndDestroy(), answer);
    const { session, store } = await openSession(`${server.origin}/token`, transport);
    await session.refresh();
    await session.refresh();
    expect(server.received).toEqual(["first-refresh", "second-refresh", "second-refresh"]);
    expect(store.stored()).toMatchObject({ state: "active" });
  });

  test("R-53 a kept connection that was closed while idle costs nothing", async () => {
    const server = await openScript((socket) => {
      socket.write(
        `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${String(TOKENS.length)}\r\n\r\n${TOKENS}`,
      );
      setTimeout(() => socket.destroy(), 20);
    }, answer);
    const { session } = await openSession(`${server.origin}/token`, transport);
    await session.refresh();
    await expect.poll(() => server.open()).toBe(0);
    await session.refresh();
    expect(server.received.at(-1)).toBe("second-refresh");
  });

  for (const [name, encode] of [
    ["a byte order mark", () => Buffer.from(`\uFEFF${TOKENS}`)],
    ["one chunk for each byte", undefined],
  ] as const) {
    test(`R-56 ${name} is no fault`, async () => {
      const server = await openScript((socket) => {
        const start = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        const body = encode?.();
        if (body === undefined) {
          const chunks = TOKENS.replaceAll(/./g, "1\r\n$&\r\n");
          socket.write(`${start}transfer-encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`);
        } else {
          socket.write(`${start}content-length: ${String(body.length)}\r\n\r\n`);
          socket.write(body);
        }
      });
      const { session } = await openSession(`${server.origin}/token`, transport);
      expect(await session.getAccessToken()).toBe("second-token");
      expect(server.received).toHaveLength(1);
    });
  }

  for (const [name, body] of [
    ["NUL behind the answer", Buffer.from(`${TOKENS}\0`)],
    ["UTF-16", Buffer.from(TOKENS, "utf16le")],
    ["two answers", Buffer.from(TOKENS + TOKENS)],
  ] as const) {
    test(`R-56 ${name}: refused, repeated, nothing lost`, async () => {
      const server = await openScript((socket) => {
        socket.write(
          `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${String(body.length)}\r\n\r\n`,
        );
        socket.write(body);
      }, answer);
      const { session } = await openSession(`${server.origin}/token`, transport);
      expect(await session.getAccessToken()).toBe("second-token");
      expect(server.received).toHaveLength(2);
    });
  }

  test("R-58 a proxy that wants a password: one request, fix_config", async () => {
    const server = await openScript(
      (socket) => void socket.end("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"),
    );
    const { session, store } = await openSession(`${server.origin}/token`, transport);
    // Some platforms keep a 407 to themselves, and then it looks like a broken connection.
    await expect(session.getAccessToken()).rejects.toMatchObject({
      code: expect.stringMatching(/^(?:token_http_error|network_error)$/) as string,
    });
    expect(server.received.length).toBeLessThanOrEqual(3);
    expect(store.stored()?.tokens?.refreshToken).toBe("first-refresh");
  });

  test("R-20 R-57 nobody listens: not sent, repeated, no announcement is left", async () => {
    const { session, store } = await openSession(`http://127.0.0.1:${String(await freePort())}/token`, transport);
    await expect(session.getAccessToken()).rejects.toMatchObject({ code: "network_error", ambiguous: false });
    expect(store.stored()?.intent).toBeUndefined();
    expect(store.stored()?.tokens?.refreshToken).toBe("first-refresh");
  });

  test("R-57 a name that does not exist: not sent", async () => {
    const lookup = vi.spyOn(dns, "lookup").mockImplementation(findNobody);
    const { session, store, events } = await openSession("https://login.acme.invalid/token", transport);
    await expect(session.getAccessToken()).rejects.toMatchObject({ code: "network_error", ambiguous: false });
    expect(store.stored()?.intent).toBeUndefined();
    // One for each attempt: what a resolver once said is not kept.
    expect(lookup.mock.calls.map(([hostname]) => hostname)).toEqual(Array<string>(4).fill("login.acme.invalid"));
    expect(events.filter(({ type }) => type === "refresh_retried")).toHaveLength(3);
  });

  test("R-57 a resolver that is slow and fails, then names a dead host: asked for each attempt, sent once", async () => {
    const server = await openScript(answerAndClose);
    const lookup = vi.spyOn(dns, "lookup").mockImplementation(resolveAs("fails", "dead", "alive", "dead", "alive"));
    const { port } = new URL(server.origin);
    const { session, store, manager } = await openSession(`http://localhost:${port}/token`, transport);
    const retried: unknown[] = [];
    manager.on("refresh_retried", ({ code }) => retried.push([code, store.stored()?.intent]));
    expect(await session.getAccessToken()).toBe("second-token");
    expect(lookup).toHaveBeenCalledTimes(3);
    // Nothing was sent, and so nothing is announced any more.
    expect(retried).toEqual([
      ["network_error", undefined],
      ["network_error", undefined],
    ]);
    expect(server.received).toEqual(["first-refresh"]);

    // A name that had an address a moment ago has a dead one now.
    await expect.poll(() => server.open()).toBe(0);
    await session.refresh();
    expect(lookup).toHaveBeenCalledTimes(5);
    expect(retried).toHaveLength(3);
    expect(server.received).toEqual(["first-refresh", "second-refresh"]);
    expect(store.stored()).toMatchObject({ state: "active", generation: 3 });
  });

  test("R-57 a resolver that never answers: the deadline ends it, and the next attempt asks anew", async () => {
    const server = await openScript(answer);
    const lookup = vi.spyOn(dns, "lookup").mockImplementation(resolveAs("never", "alive"));
    const { port } = new URL(server.origin);
    const { session, events } = await openSession(`http://localhost:${port}/token`, transport);
    const token = session.getAccessToken();
    await expect.poll(() => lookup.mock.calls.length).toBe(1);
    for (const end of deadlines) end();
    expect(await token).toBe("second-token");
    expect(lookup).toHaveBeenCalledTimes(2);
    expect(events.flatMap((event) => (event.type === "refresh_retried" ? [event.code] : []))).toEqual(["timeout"]);
    expect(server.received).toEqual(["first-refresh"]);
  });

  test("R-58 a certificate that nobody vouches for: one try, nothing sent, fix_config", async () => {
    const server = await openSecureServer();
    opened.push(server);
    const { session, store } = await openSession(`https://127.0.0.1:${String(server.port)}/token`, transport);
    await expect(session.getAccessToken()).rejects.toMatchObject({
      code: "network_error",
      action: "fix_config",
      ambiguous: false,
      retryable: false,
    });
    expect(server.connections()).toBe(1);
    expect(store.stored()?.intent).toBeUndefined();
  });
});

/** Answers as the system's resolver does for a name that nobody has, and asks no network. */
const findNobody = ((hostname: string, _options: unknown, callback: (error: Error) => void) => {
  const details = { code: "ENOTFOUND", syscall: "getaddrinfo", hostname };
  setImmediate(callback, Object.assign(new Error(`getaddrinfo ENOTFOUND ${hostname}`), details));
}) as typeof dns.lookup;

/** A resolver that plays a script. Only the host it calls alive is one on which our servers listen. */
function resolveAs(...script: readonly ("fails" | "never" | "dead" | "alive")[]): typeof dns.lookup {
  let asked = 0;
  return ((hostname: string, options: { all?: boolean }, callback: (...result: readonly unknown[]) => void) => {
    const step = script[asked++];
    if (step === "never") return;
    const details = { code: "EAI_AGAIN", syscall: "getaddrinfo", hostname };
    const address = step === "alive" ? "127.0.0.1" : "127.0.0.2";
    setTimeout(() => {
      if (step === "fails") callback(Object.assign(new Error(`getaddrinfo EAI_AGAIN ${hostname}`), details));
      else if (options.all === true) callback(null, [{ address, family: 4 }]);
      else callback(null, address, 4);
    }, 50);
  }) as typeof dns.lookup;
}

/** Answers as it should be, on a connection that it does not keep. */
const answerAndClose: Behaviour = (socket) => {
  const head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
  socket.end(`${head}content-length: ${String(TOKENS.length)}\r\n\r\n${TOKENS}`);
};

/** A server with a certificate of its own making; what it would answer is never asked for. */
async function openSecureServer(): Promise<{ port: number; connections(): number; close(): Promise<void> }> {
  const { key, cert } = selfSigned();
  let connections = 0;
  const server = createSecureServer({ key, cert }, (_request, response) => response.end());
  server.on("connection", () => (connections += 1));
  server.on("tlsClientError", () => undefined);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => connections,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}

/** The smallest X.509 certificate: this key says that it is this key (RFC 5280 §4.1). */
function selfSigned(): { readonly key: string; readonly cert: string } {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const der = (tag: number, ...parts: readonly Uint8Array[]): Buffer => {
    const body = Buffer.concat(parts);
    const length = body.length < 128 ? [body.length] : [0x82, body.length >> 8, body.length & 255];
    return Buffer.concat([Buffer.from([tag, ...length]), body]);
  };
  const ecdsaWithSha256 = der(0x30, der(0x06, Buffer.from("2a8648ce3d040302", "hex")));
  const commonName = der(0x30, der(0x06, Buffer.from("550403", "hex")), der(0x0c, Buffer.from("self")));
  const name = der(0x30, der(0x31, commonName));
  const validity = der(0x30, der(0x17, Buffer.from("200101000000Z")), der(0x17, Buffer.from("490101000000Z")));
  const serial = der(0x02, Buffer.from([1]));
  const key = publicKey.export({ type: "spki", format: "der" });
  const body = der(0x30, serial, ecdsaWithSha256, name, validity, name, key);
  const signature = sign("sha256", body, privateKey);
  const certificate = der(0x30, body, ecdsaWithSha256, der(0x03, Buffer.from([0]), signature));
  const pem = certificate.toString("base64").replace(/.{64}/g, "$&\n");
  return {
    key: String(privateKey.export({ type: "pkcs8", format: "pem" })),
    cert: `-----BEGIN CERTIFICATE-----\n${pem}\n-----END CERTIFICATE-----\n`,
  };
}
