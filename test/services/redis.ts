import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { access, mkdtemp, rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { tmpdir } from "node:os";
import type { Readable } from "node:stream";
import { ended, freePort, reasonToSkip } from "./service.ts";
import type { Service } from "./service.ts";

const program = await findProgram("redis-server");

/** Why there is no Redis here; `undefined` if there is one. */
export const noRedis: string | undefined = reasonToSkip(
  program,
  "left out: no Redis here; install redis-server (Debian)",
);

/** Starts a Redis that keeps what it has across a crash. */
export async function startRedis(): Promise<Service> {
  const port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), "warehouse-oauth-redis-"));
  let server = await launch(port, folder);
  return {
    url: `redis://127.0.0.1:${String(port)}`,
    port,
    async crash() {
      server.kill("SIGKILL");
      await ended(server);
    },
    async restart() {
      server = await launch(port, folder);
    },
    async stop() {
      server.kill("SIGKILL");
      await ended(server);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function launch(port: number, folder: string): Promise<ChildProcess> {
  const options = ["--port", String(port), "--bind", "127.0.0.1", "--dir", folder];
  const log = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
  const server = spawn(program ?? "", [...options, ...log], { stdio: ["ignore", "pipe", "inherit"] });
  await untilRedisIsReady(server.stdout);
  return server;
}

/** Reads what a Redis says at its start. */
export async function untilRedisIsReady(output: Readable): Promise<void> {
  let said = "";
  for await (const chunk of output) {
    said += String(chunk);
    if (said.includes("Ready to accept connections")) return;
  }
  throw new Error(`Redis did not start: ${said}`);
}

async function findProgram(name: string): Promise<string | undefined> {
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    const path = join(folder, name);
    const found = await access(path).then(
      () => true,
      () => false,
    );
    if (found) return path;
  }
  return undefined;
}
