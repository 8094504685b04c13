import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { postgresStore } from "warehouse-oauth/stores/postgres";
import { noPostgres, startPostgres } from "../services/postgres.ts";
import { noRedis, startRedis } from "../services/redis.ts";
import type { Service } from "../services/service.ts";
import type { StoreAddress } from "./messages.ts";

/** A store that a fleet shares, started for one test file. */
export interface RunningStore {
  readonly address: StoreAddress;
  /** The server behind it; a file has none. */
  readonly service: Service | undefined;
  stop(): Promise<void>;
}

/** A kind of store, and why it is left out here. */
export interface FleetStore {
  readonly name: string;
  /** `undefined` if it is not. */
  readonly missing: string | undefined;
  /** A store that is here already, with `encryptedStore` around it: for what is run on every store, and no more. */
  readonly isSealed?: boolean;
  start(): Promise<RunningStore>;
}

const only = process.env["FLEET_STORES"]?.split(",");

async function runPostgres(sealedWith?: string): Promise<RunningStore> {
  const service = await startPostgres();
  await createTables(service.url);
  const address = { kind: "postgres", url: service.url, ...(sealedWith !== undefined && { sealedWith }) } as const;
  return { address, service, stop: () => service.stop() };
}

const all: readonly FleetStore[] = [
  {
    name: "file",
    missing: undefined,
    async start() {
      const folder = await mkdtemp(join(tmpdir(), "warehouse-oauth-fleet-"));
      return {
        address: { kind: "file", folder },
        service: undefined,
        stop: () => rm(folder, { recursive: true, force: true }),
      };
    },
  },
  {
    name: "postgres",
    missing: noPostgres,
    start: () => runPostgres(),
  },
  {
    name: "postgres sealed",
    missing: noPostgres,
    isSealed: true,
    start: () => runPostgres(randomBytes(32).toString("base64")),
  },
  {
    name: "redis",
    missing: noRedis,
    async start() {
      const service = await startRedis();
      return { address: { kind: "redis", url: service.url }, service, stop: () => service.stop() };
    },
  },
];

/** All stores, or those that `FLEET_STORES` names. */
export const fleetStores: readonly FleetStore[] = all.filter(({ name }) => only?.includes(name) ?? true);

/** The same store behind another port. */
export function throughPort(address: StoreAddress, port: number): StoreAddress {
  if (address.kind === "file") return address;
  const url = new URL(address.url);
  url.port = String(port);
  return { ...address, url: url.href };
}

async function createTables(url: string): Promise<void> {
  const client = new pg.Client(url);
  await client.connect();
  await postgresStore({ client }).migrate();
  await client.end();
}
