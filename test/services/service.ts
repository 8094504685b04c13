import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";

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

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}
