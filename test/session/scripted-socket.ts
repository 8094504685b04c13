import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";

/** What one connection does once a whole request is there. */
export type Behaviour = (socket: Socket, request: number) => void;

/** A server that plays a script on real sockets. */
export interface ScriptedSocket {
  readonly origin: string;
  /** Refresh tokens that arrived, one for each whole request. */
  readonly received: string[];
  /** Sockets that are still open. */
  open(): number;
  close(): Promise<void>;
}

/** Listens on loopback. The first request is answered by the first behaviour, and so on; the last one stays. */
export async function scriptSocket(...behaviours: readonly Behaviour[]): Promise<ScriptedSocket> {
  const received: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => undefined);
    let text = "";
    socket.on("data", (data) => {
      text += data.toString("latin1");
      const body = wholeBody(text);
      if (body === undefined) return;
      text = "";
      received.push(new URLSearchParams(body).get("refresh_token") ?? "");
      behaviours[Math.min(received.length, behaviours.length) - 1]?.(socket, received.length);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${String(port)}`,
    received,
    open: () => sockets.size,
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => {
          resolve();
        });
      }),
  };
}

/** The body of a request once all of it is there: by its length, or by its last chunk. */
function wholeBody(text: string): string | undefined {
  const end = text.indexOf("\r\n\r\n");
  if (end === -1) return undefined;
  const body = text.slice(end + 4);
  const length = /content-length: (\d+)/i.exec(text)?.[1];
  if (length !== undefined) return body.length >= Number(length) ? body : undefined;
  if (!body.endsWith("0\r\n\r\n")) return undefined;
  return body
    .split("\r\n")
    .filter((_, index) => index % 2 === 1)
    .join("");
}

export const TOKENS = JSON.stringify({
  access_token: "second-token",
  refresh_token: "second-refresh",
  token_type: "Bearer",
  expires_in: 3600,
});

const head = (length: number | string): string =>
  `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n${typeof length === "number" ? `content-length: ${String(length)}` : length}\r\n\r\n`;

/** Answers as it should be, and keeps the connection. */
export const answer: Behaviour = (socket) => void socket.write(head(TOKENS.length) + TOKENS);

/** Everything that can go wrong under an answer. */
export const BROKEN: Readonly<Record<string, Behaviour>> = {
  "RST after the request": (socket) => void socket.resetAndDestroy(),
  "FIN after the request": (socket) => void socket.end(),
  "headers, then RST": (socket) => void socket.write(head(TOKENS.length), () => socket.resetAndDestroy()),
  "headers, then FIN": (socket) => void socket.end(head(TOKENS.length)),
  "half of the body, then FIN": (socket) => void socket.end(head(TOKENS.length) + TOKENS.slice(0, 40)),
  "chunks cut off": (socket) =>
    void socket.end(`${head("transfer-encoding: chunked")}20\r\n${TOKENS.slice(0, 32)}\r\n`),
  "a chunk that lies": (socket) => void socket.end(`${head("transfer-encoding: chunked")}zz\r\n${TOKENS}\r\n0\r\n\r\n`),
  "no HTTP": (socket) => void socket.end("SSH-2.0-OpenSSH_9.2\r\n"),
  "headers without end": (socket) => void socket.end(`HTTP/1.1 200 OK\r\nx: ${"y".repeat(40_000)}`),
  "no answer": () => undefined,
  "headers only": (socket) => void socket.write(head(TOKENS.length)),
  "a byte every 20 ms": (socket) => {
    socket.write(head(TOKENS.length));
    let at = 0;
    const timer = setInterval(() => {
      if (socket.destroyed || at >= TOKENS.length) clearInterval(timer);
      else socket.write(TOKENS.charAt(at++));
    }, 20);
    socket.on("close", () => {
      clearInterval(timer);
    });
  },
};
