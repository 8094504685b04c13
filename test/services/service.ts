import type { ChildProcess } from "node:child_process";
import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:net";

/** A server that a test started for itself, on loopback and on data that nobody else sees. */
export interface Service {
  readonly url: string;
  readonly port: number;
  /** Kills it without a word, as a crash would; what it kept stays. */
  crash(): Promise<void>;
  /** Starts it again on the same port and the same data. */
  restart(): Promise<void>;
  /** Ends it and deletes its data. */
  stop(): Promise<void>;
}

/** Why a service cannot be started here; `undefined` if it can. Where `REQUIRE_SERVICES` is set, that is an error. */
export function reasonToSkip(program: string | undefined, advice: string): string | undefined {
  if (program !== undefined) return undefined;
  if (process.env["REQUIRE_SERVICES"] !== undefined) throw new Error(advice);
  return advice;
}

/** Below the ports that systems give by themselves, to `listen(0)` and to connections. */
const PORTS = { from: 10_000, to: 30_000 };

/** Finds a port on loopback that nobody listens on, and that no other process is given while this one lives. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(PORTS.from, PORTS.to);
    if ((await isReserved(port)) && (await isFree(port))) return port;
  }
}

/** Takes the UDP port of that number, which stands for the other one and is kept. */
function isReserved(port: number): Promise<boolean> {
  const socket = createSocket("udp4");
  return new Promise((resolve) => {
    socket.once("error", () => {
      socket.close();
      resolve(false);
    });
    socket.bind({ port, address: "127.0.0.1", exclusive: true }, () => {
      socket.unref();
      resolve(true);
    });
  });
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    await once(server.listen({ port, host: "127.0.0.1", exclusive: true }), "listening");
  } catch {
    return false;
  }
  server.close();
  await once(server, "close");
  return true;
}

export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}
