import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { Redis } from "ioredis";
import { untilRedisIsReady } from "../services/redis.ts";
import { ended, freePort } from "../services/service.ts";
import type { Service } from "../services/service.ts";

const SLOTS = 16_384;

/** Starts a cluster of one node, which has all slots: it is as strict about keys of different slots as a large one. */
export async function startRedisCluster(): Promise<Service> {
  const [port, clusterPort] = [await freePort(), await freePort()];
  const folder = await mkdtemp(join(tmpdir(), "warehouse-oauth-cluster-"));
  const options = ["--port", String(port), "--cluster-port", String(clusterPort), "--bind", "127.0.0.1"];
  const cluster = [
    "--cluster-enabled",
    "yes",
    "--cluster-announce-ip",
    "127.0.0.1",
    "--dir",
    folder,
    "--save",
    "",
    "--appendonly",
    "no",
  ];
  const server = spawn("redis-server", [...options, ...cluster], { stdio: ["ignore", "pipe", "inherit"] });
  await untilRedisIsReady(server.stdout);
  const client = new Redis(port);
  await client.call("CLUSTER", "ADDSLOTSRANGE", "0", String(SLOTS - 1));
  while (!String(await client.call("CLUSTER", "INFO")).includes("cluster_state:ok")) await wait(20);
  client.disconnect();
  const gone = (): Promise<never> => Promise.reject(new Error("a cluster is started once"));
  return {
    url: `redis://127.0.0.1:${String(port)}`,
    port,
    crash: gone,
    restart: gone,
    async stop() {
      server.kill("SIGKILL");
      await ended(server);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
