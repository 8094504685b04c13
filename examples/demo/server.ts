import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { startEmbedded, type EmbeddedOptions } from "./embedded.ts";
import { hasRealAccount, realWarehouse, type Environment } from "./environment.ts";
import { plainPage } from "./pages/failure.ts";
import { loginRoutes, notFound, type Reply, type Route } from "./routes.ts";
import { SessionKeeper } from "./sessions/keeper.ts";
import { LIVE_SCRIPT } from "./sessions/live-script.ts";
import { sessionRoutes } from "./sessions/routes.ts";
import { SESSION_STYLE } from "./sessions/style.ts";
import { FAVICON, STYLE } from "./style.ts";
import { Visitors } from "./visitors.ts";
import { WAREHOUSE_IDS, type DemoWarehouse } from "./warehouses.ts";

/** How the demo starts. */
export interface DemoOptions extends EmbeddedOptions {
  /** Default is any free port. */
  readonly port?: number;
  /** Names real accounts. Default is none: three embedded warehouses. */
  readonly environment?: Environment;
  /** Jitter of the sessions' retries. Default is the library's own. */
  readonly random?: () => number;
  /** Pages beside those of the login. */
  readonly routes?: readonly Route[];
}

/** A running demo. */
export interface Demo {
  /** Where its page is. */
  readonly origin: string;
  /** The names of the warehouses that are real accounts. */
  readonly realAccounts: readonly string[];
  /** Stops the page and the embedded warehouses. */
  close(): Promise<void>;
}

/** Only this machine. As a literal address: it is what the callback is registered with. */
const HOST = "127.0.0.1";

/** Holds a random id and nothing else. */
const COOKIE = "demo_visitor";

/** Nothing of ours posts anything larger. */
const MAX_BODY_BYTES = 16 * 1024;

/** Said of a real account when somebody asked for drivers. */
const NO_DRIVER_THERE = "--drivers is for embedded warehouses.";

/** No script, no frame, nothing from elsewhere. */
const POLICY =
  "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/** Our own script file, and what it asks us for; nothing inline. */
const LIVE_POLICY = `${POLICY}; script-src 'self'; connect-src 'self'`;

/** Addresses stay here, for a callback's holds a code. */
const HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy": POLICY,
  "cache-control": "no-store",
  "cross-origin-opener-policy": "same-origin",
  "referrer-policy": "same-origin",
  "x-content-type-options": "nosniff",
};

const FILES: ReadonlyMap<string, readonly [type: string, content: string]> = new Map([
  ["/style.css", ["text/css; charset=utf-8", STYLE + SESSION_STYLE]],
  ["/live.js", ["text/javascript; charset=utf-8", LIVE_SCRIPT]],
  ["/favicon.svg", ["image/svg+xml", FAVICON]],
]);

/** Starts the demo: the page, and an embedded warehouse wherever the environment names no real account. */
export async function startDemo(options: DemoOptions = {}): Promise<Demo> {
  const { port = 0, environment = {}, routes = [] } = options;
  const real = new Set(WAREHOUSE_IDS.filter((id) => hasRealAccount(id, environment)));
  const warehouses: DemoWarehouse[] = [];
  const closers: (() => Promise<void>)[] = [];
  const visitors = new Visitors();
  const sessions = new SessionKeeper(options.random);
  const allRoutes = [...loginRoutes, ...sessionRoutes, ...routes];
  let origin = "";
  const server = createServer((request, response) => {
    answer({ request, response, origin, warehouses, visitors, sessions, routes: allRoutes }).catch(() => {
      response.destroy();
    });
  });
  closers.push(() => sessions.close());
  try {
    // Redirect URIs hold the port, so it must be known before there is a client.
    origin = `http://${HOST}:${String(await listenOn(server, port))}`;
    closers.push(() => closeServer(server));
    for (const id of WAREHOUSE_IDS) {
      const redirectUri = `${origin}/callback/${id}`;
      if (real.has(id)) {
        warehouses.push(realWarehouse(id, environment, redirectUri, options.drivers && NO_DRIVER_THERE));
        continue;
      }
      const embedded = await startEmbedded(id, redirectUri, options);
      closers.push(() => embedded.close());
      warehouses.push(embedded.warehouse);
    }
  } catch (error) {
    await closeAll(closers);
    throw error;
  }
  const realAccounts = warehouses.filter(({ fake }) => fake === undefined).map(({ name }) => name);
  return { origin, realAccounts, close: () => closeAll(closers) };
}

async function closeAll(closers: readonly (() => Promise<void>)[]): Promise<void> {
  await Promise.all(closers.map((close) => close()));
}

function listenOn(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, HOST, () => {
      server.off("error", reject);
      const address = server.address();
      if (address === null || typeof address === "string") reject(new TypeError("a TCP server has a port"));
      else resolve(address.port);
    });
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => {
      resolve();
    });
    server.closeAllConnections();
  });
}

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly origin: string;
  readonly warehouses: readonly DemoWarehouse[];
  readonly visitors: Visitors;
  readonly sessions: SessionKeeper;
  readonly routes: readonly Route[];
}

async function answer(exchange: Exchange): Promise<void> {
  const { request, response, origin } = exchange;
  const { method = "GET", headers } = request;
  const { host } = new URL(origin);
  if (headers.host === `localhost:${new URL(origin).port}` && method === "GET") {
    // One name for one origin: the cookie and the redirect URI know only the address.
    send(response, { location: origin + (request.url ?? "/") });
    return;
  }
  // Another name that leads here is DNS rebinding.
  if (headers.host !== host) {
    send(response, { page: plainPage("Not here", "This server answers under its own address only."), status: 421 });
    return;
  }
  if (method === "POST" && !isFromHere(headers, origin)) {
    send(response, { page: plainPage("Not from there", "This form was sent by another page."), status: 403 });
    return;
  }
  if (!(await drain(request))) {
    send(response, { page: plainPage("Too much", "Nothing here takes that much data."), status: 413 });
    return;
  }
  const url = new URL(origin + (request.url ?? "/"));
  const file = FILES.get(url.pathname);
  if (file !== undefined) {
    sendFile(response, ...file);
    return;
  }
  send(response, await route(exchange, method, url));
}

async function route(exchange: Exchange, method: string, url: URL): Promise<Reply> {
  const { request, warehouses, visitors, sessions, routes } = exchange;
  for (const candidate of routes) {
    const match = candidate.path.exec(url.pathname);
    if (match === null || candidate.method !== (method === "HEAD" ? "GET" : method)) continue;
    const visitorId = readCookie(request.headers.cookie);
    const visitor = visitorId === undefined ? undefined : visitors.find(visitorId);
    const parts = match.slice(1);
    return candidate.handle({ url, parts, warehouses, visitors, sessions, visitorId, visitor, now: Date.now() });
  }
  return notFound();
}

/** Every browser of today says where a POST comes from; the cookie's SameSite is the second lock. */
function isFromHere(headers: IncomingMessage["headers"], origin: string): boolean {
  return headers.origin === origin && (headers["sec-fetch-site"] ?? "same-origin") === "same-origin";
}

/** Reads a body to its end without looking at it: all that a form here says is in its address. */
async function drain(request: IncomingMessage): Promise<boolean> {
  let size = 0;
  for await (const chunk of request) {
    size += (chunk as Buffer).length;
    if (size > MAX_BODY_BYTES) return false;
  }
  return true;
}

function readCookie(header: string | undefined): string | undefined {
  return new RegExp(`(?:^|; )${COOKIE}=([0-9a-f]{32})(?:;|$)`).exec(header ?? "")?.[1];
}

function send(response: ServerResponse, reply: Reply): void {
  const { visitorId } = reply;
  for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
  if (visitorId !== undefined) {
    // Not "Secure": this is plain http on loopback, and some browsers would drop it.
    response.setHeader("set-cookie", `${COOKIE}=${visitorId}; Path=/; HttpOnly; SameSite=Lax`);
  }
  if ("location" in reply) {
    response.writeHead(303, { location: reply.location }).end();
    return;
  }
  if ("stream" in reply) {
    sendStream(response, reply.stream);
    return;
  }
  if (reply.live === true) response.setHeader("content-security-policy", LIVE_POLICY);
  response.writeHead(reply.status ?? 200, { "content-type": "text/html; charset=utf-8" }).end(reply.page.toString());
}

/** Server-sent events, for as long as the browser stays. */
function sendStream(response: ServerResponse, begin: (send: (data: string) => void) => () => void): void {
  response.writeHead(200, { "content-type": "text/event-stream" });
  const stop = begin((data) => {
    // JSON has no line breaks, which would end the message.
    if (!response.destroyed) response.write(`data: ${data}\n\n`);
  });
  response.on("close", stop);
}

function sendFile(response: ServerResponse, type: string, content: string): void {
  response.writeHead(200, { ...HEADERS, "content-type": type, "cache-control": "max-age=3600" }).end(content);
}
