import { createAuthorizationRequest } from "warehouse-oauth";
import { fakeBigQuery, fakeDatabricks, fakeSnowflake } from "warehouse-oauth/testing";
import { throughBigQueryDriver } from "./drivers/bigquery.ts";
import type { Drivers } from "./drivers/load.ts";
import { throughSnowflakeSdk } from "./drivers/snowflake.ts";
import { EmbeddedServer } from "./embedded-server.ts";
import { bigQueryJobs, databricksSql, snowflakeSql, throughFetch, type QueryWay } from "./query.ts";
import { WAREHOUSE_NAMES, type DemoWarehouse, type WarehouseId } from "./warehouses.ts";

/** An embedded warehouse, and the way to stop it. */
export interface Embedded {
  readonly warehouse: DemoWarehouse;
  close(): Promise<void>;
}

const ROWS = [
  { region: "Europe", orders: 1204, revenue: 88_120.5 },
  { region: "North America", orders: 2310, revenue: 171_904.25 },
  { region: "Asia Pacific", orders: 987, revenue: 64_310 },
];

const STATEMENT = "select region, count(*) as orders, sum(amount) as revenue from sales.orders group by region";

/** How the embedded warehouses behave. */
export interface EmbeddedOptions {
  /** Lives of their access tokens. Default is {@link LIFETIMES_MS}. */
  readonly lifetimesMs?: Partial<Readonly<Record<WarehouseId, number>>>;
  /** How long a killed server stays away. Default is 20 000. */
  readonly outageMs?: number;
  /** Snowflake's refresh tokens work once, as its integrations can be told. Default is `false`. */
  readonly singleUse?: boolean;
  /** What queries go through where the embedded warehouse speaks its protocol. Default is `session.fetch` for all. */
  readonly drivers?: Drivers | undefined;
}

/** Short, so that a person sees all zones of a life; three lengths, so that the three do not march in step. */
export const LIFETIMES_MS: Readonly<Record<WarehouseId, number>> = {
  snowflake: 60_000,
  databricks: 45_000,
  bigquery: 90_000,
};

/** Longer than all tries of a waiting caller, shorter than a reader's patience. */
const OUTAGE_MS = 20_000;

/** Starts an embedded warehouse on a free loopback port, with a client registered for the demo's callback. */
export function startEmbedded(
  id: WarehouseId,
  redirectUri: string,
  { lifetimesMs = {}, outageMs = OUTAGE_MS, singleUse = false, drivers }: EmbeddedOptions = {},
): Promise<Embedded> {
  const accessTokenLifetimeMs = lifetimesMs[id] ?? LIFETIMES_MS[id];
  switch (id) {
    case "snowflake":
      return startSnowflake(redirectUri, { accessTokenLifetimeMs, outageMs, singleUse, drivers });
    case "databricks":
      return startDatabricks(redirectUri, { accessTokenLifetimeMs, outageMs, drivers });
    case "bigquery":
      return startBigQuery(redirectUri, { accessTokenLifetimeMs, outageMs, drivers });
  }
}

interface Timing {
  readonly accessTokenLifetimeMs: number;
  readonly outageMs: number;
  readonly drivers: Drivers | undefined;
}

/** The driver connects with `https: true`, whatever host it is given (@databricks/sql 2.1.0, checked 2026-11-22). */
const NO_DATABRICKS_DRIVER = "@databricks/sql speaks https only, and this embedded warehouse is plain http.";

/** The driver closes its sessions, for which the server must still be there. */
async function closeBoth(way: QueryWay, server: { close(): Promise<void> }): Promise<void> {
  await way.close();
  await server.close();
}

async function startSnowflake(
  redirectUri: string,
  { accessTokenLifetimeMs, outageMs, singleUse, drivers }: Timing & { readonly singleUse: boolean },
): Promise<Embedded> {
  const rotation = singleUse ? ({ refreshRotation: "single-use" } as const) : {};
  const fake = fakeSnowflake({
    account: "acme-prod",
    roles: ["ANALYST"],
    rows: ROWS,
    accessTokenLifetimeMs,
    ...rotation,
  });
  const server = await EmbeddedServer.start(fake, { lifetimeMs: accessTokenLifetimeMs, outageMs, singleUse });
  const client = server.register({ clientId: "warehouse-oauth-demo", redirectUri, login: { role: "ANALYST" } });
  const api = snowflakeSql("COMPUTE_WH");
  const [accessUrl = ""] = client.warehouse.apiOrigins;
  const way =
    drivers === undefined
      ? throughFetch(api, client.warehouse)
      : throughSnowflakeSdk(drivers.snowflake, { account: "acme-prod", accessUrl, warehouse: "COMPUTE_WH" });
  return {
    warehouse: {
      id: "snowflake",
      name: WAREHOUSE_NAMES.snowflake,
      client,
      begin: (returnTo) => createAuthorizationRequest(client, { returnTo }),
      code: CODE.snowflake,
      statement: STATEMENT,
      api,
      way,
      fake: server,
    },
    close: () => closeBoth(way, server),
  };
}

async function startDatabricks(
  redirectUri: string,
  { accessTokenLifetimeMs, outageMs, drivers }: Timing,
): Promise<Embedded> {
  const fake = fakeDatabricks({ rows: ROWS, accessTokenLifetimeMs });
  const server = await EmbeddedServer.start(fake, { lifetimeMs: accessTokenLifetimeMs, outageMs, singleUse: true });
  const login = { scopes: ["sql", "offline_access", "openid", "email"] };
  const client = server.register({ clientId: "warehouse-oauth-demo", redirectUri, public: true, login });
  const api = databricksSql("0123456789abcdef");
  const way = throughFetch(api, client.warehouse, drivers && NO_DATABRICKS_DRIVER);
  return {
    warehouse: {
      id: "databricks",
      name: WAREHOUSE_NAMES.databricks,
      client,
      begin: (returnTo) => createAuthorizationRequest(client, { returnTo }),
      code: CODE.databricks,
      statement: STATEMENT,
      api,
      way,
      fake: server,
    },
    close: () => closeBoth(way, server),
  };
}

async function startBigQuery(
  redirectUri: string,
  { accessTokenLifetimeMs, outageMs, drivers }: Timing,
): Promise<Embedded> {
  const fake = fakeBigQuery({ projectId: "acme-analytics", rows: ROWS, accessTokenLifetimeMs });
  const server = await EmbeddedServer.start(fake, { lifetimeMs: accessTokenLifetimeMs, outageMs, singleUse: false });
  const login = {
    scopes: ["https://www.googleapis.com/auth/bigquery", "openid", "email"],
    // The demo stores nothing over a restart, so each login must bring a new refresh token.
    prompt: "consent",
  } as const;
  const clientId = "1234-demo.apps.googleusercontent.com";
  const client = server.register({ clientId, redirectUri, login });
  const api = bigQueryJobs("acme-analytics");
  const [apiEndpoint = ""] = client.warehouse.apiOrigins;
  const way =
    drivers === undefined
      ? throughFetch(api, client.warehouse)
      : throughBigQueryDriver(drivers.bigquery, { projectId: "acme-analytics", apiEndpoint });
  return {
    warehouse: {
      id: "bigquery",
      name: WAREHOUSE_NAMES.bigquery,
      client,
      begin: (returnTo) => createAuthorizationRequest(client, { returnTo }),
      code: CODE.bigquery,
      statement: STATEMENT,
      api,
      way,
      fake: server,
    },
    close: () => closeBoth(way, server),
  };
}

/** What a reader would write, for the page. */
export const CODE: Readonly<Record<WarehouseId, string>> = {
  snowflake: `const client = createClient({
  warehouse: snowflake({ account: "acme-prod" }),
  clientId,
  clientSecret,
  redirectUri: "https://app.example/callback",
  login: { role: "ANALYST" },
});`,
  databricks: `const client = createClient({
  warehouse: databricks({ host: "acme.cloud.databricks.com" }),
  clientId, // a public client: PKCE, no secret
  redirectUri: "https://app.example/callback",
  login: { scopes: ["sql", "offline_access", "openid", "email"] },
});`,
  bigquery: `const client = createClient({
  warehouse: bigquery(),
  clientId,
  clientSecret,
  redirectUri: "https://app.example/callback",
  login: {
    scopes: ["https://www.googleapis.com/auth/bigquery", "openid", "email"],
    prompt: "consent",
  },
});`,
};
