/**
 * A fake warehouse on a loopback port, for programs that need a real one.
 *
 * @module
 */

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { Readable } from "node:stream";
import type { ReadableStream } from "node:stream/web";
import { assertKnownOptions } from "../core/index.ts";
import { dropOf } from "./fake-server.ts";
import type { FakeWarehouse } from "./fake-warehouse.ts";

/** How a fake listens. */
export interface ListenOptions {
  /** Default is any free port. */
  readonly port?: number;
}

/** A fake behind a real port on this machine. */
export interface ListeningFake<in Login extends object> extends FakeWarehouse<Login> {
  /** Stops listening and breaks what is still connected. */
  close(): Promise<void>;
}

/** Only this machine: a fake signs in anybody. */
const HOST = "127.0.0.1";

/**
 * Puts a fake behind a real port on 127.0.0.1, for a browser, another process or another language. Gives the same fake
 * as it looks from there: its `warehouse`, `client` and `register` lead to the port, over the global `fetch`.
 * A `drop` fault really breaks the connection.
 *
 * @example
 *
 * ```ts
 * import { fakeSnowflake } from "warehouse-oauth/testing";
 * import { listen } from "warehouse-oauth/testing/http";
 *
 * const fake = await listen(fakeSnowflake(), { port: 4100 });
 * const client = fake.register({ redirectUri: "http://127.0.0.1:3000/callback" });
 * process.stdout.write(`${client.warehouse.authorizationEndpoint ?? ""}\n`); // http://127.0.0.1:4100/oauth/authorize
 * await fake.close();
 * ```
 */
export async function listen<Login extends object>(
  fake: FakeWarehouse<Login>,
  options: ListenOptions = {},
): Promise<ListeningFake<Login>> {
  assertKnownOptions(options, "listen", ["port"]);
  let origin = "";
  const server = createServer((incoming, outgoing) => {
    serve(fake, origin, incoming, outgoing).catch(() => {
      // The client is gone, or the fake is broken: either way there is nobody to tell but the other end.
      outgoing.destroy();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port ?? 0, HOST, () => {
      server.off("error", reject);
      resolve();
    });
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("a TCP server has a port");
  origin = `http://${HOST}:${String(address.port)}`;
  const view = fake.at(origin);
  // Own properties only, and two of them are getters: copied as they are, not as they stand now.
  return Object.freeze(
    Object.defineProperties(
      {
        close: () =>
          new Promise<void>((resolve) => {
            server.close(() => {
              resolve();
            });
            server.closeAllConnections();
          }),
      },
      Object.getOwnPropertyDescriptors(view),
    ),
  ) as ListeningFake<Login>;
}

async function serve(
  fake: Pick<FakeWarehouse<never>, "handle">,
  origin: string,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const gone = new AbortController();
  outgoing.once("close", () => {
    gone.abort();
  });
  const response = await fake.handle(toRequest(origin, incoming, gone.signal));
  // Whoever wraps a fake may break the connection too, in the way of the platform.
  const dropped = dropOf(response) ?? (response.type === "error" ? "after" : undefined);
  if (dropped !== undefined) {
    // "before" is a reset, "after" an orderly end without an answer.
    if (dropped === "before") incoming.socket.resetAndDestroy();
    else incoming.socket.destroy();
    return;
  }
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  if (response.body === null) {
    outgoing.end();
    return;
  }
  Readable.fromWeb(response.body as ReadableStream).pipe(outgoing);
}

function toRequest(origin: string, incoming: IncomingMessage, signal: AbortSignal): Request {
  const { method = "GET", url = "/", rawHeaders } = incoming;
  const headers = new Headers();
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) headers.append(rawHeaders[at] ?? "", rawHeaders[at + 1] ?? "");
  const hasBody = method !== "GET" && method !== "HEAD";
  // Joined as text: a request line of "//elsewhere/" must not become another host.
  return new Request(origin + url, {
    method,
    headers,
    signal,
    ...(hasBody && { body: Readable.toWeb(incoming) as BodyInit, duplex: "half" }),
  });
}
