import { createAuthorizationRequest } from "warehouse-oauth";
import { fakeBigQuery, fakeDatabricks, fakeSnowflake, type FakeWarehouse } from "warehouse-oauth/testing";
import { listen } from "warehouse-oauth/testing/http";
import { bigQueryJobs, databricksSql, snowflakeSql } from "./query.ts";
import { WAREHOUSE_NAMES, type DemoWarehouse, type FakeControls, type WarehouseId } from "./warehouses.ts";

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

/** Starts an embedded warehouse on a free loopback port, with a client registered for the demo's callback. */
export function startEmbedded(id: WarehouseId, redirectUri: string): Promise<Embedded> {
  switch (id) {
    case "snowflake":
      return startSnowflake(redirectUri);
    case "databricks":
      return startDatabricks(redirectUri);
    case "bigquery":
      return startBigQuery(redirectUri);
  }
}

async function startSnowflake(redirectUri: string): Promise<Embedded> {
  const fake = await listen(fakeSnowflake({ account: "acme-prod", roles: ["ANALYST"], rows: ROWS }));
  const client = fake.register({ clientId: "warehouse-oauth-demo", redirectUri, login: { role: "ANALYST" } });
  return {
    warehouse: {
      id: "snowflake",
      name: WAREHOUSE_NAMES.snowflake,
      client,
      begin: (returnTo) => createAuthorizationRequest(client, { returnTo }),
      code: CODE.snowflake,
      statement: STATEMENT,
      api: snowflakeSql("COMPUTE_WH"),
      fake: controlsOf(fake),
    },
    close: () => fake.close(),
  };
}

async function startDatabricks(redirectUri: string): Promise<Embedded> {
  const fake = await listen(fakeDatabricks({ rows: ROWS }));
  const login = { scopes: ["sql", "offline_access", "openid", "email"] };
  const client = fake.register({ clientId: "warehouse-oauth-demo", redirectUri, public: true, login });
  return {
    warehouse: {
      id: "databricks",
      name: WAREHOUSE_NAMES.databricks,
      client,
      begin: (returnTo) => createAuthorizationRequest(client, { returnTo }),
      code: CODE.databricks,
      statement: STATEMENT,
      api: databricksSql("0123456789abcdef"),
      fake: controlsOf(fake),
    },
    close: () => fake.close(),
  };
}

async function startBigQuery(redirectUri: string): Promise<Embedded> {
  const fake = await listen(fakeBigQuery({ projectId: "acme-analytics", rows: ROWS }));
  const login = {
    scopes: ["https://www.googleapis.com/auth/bigquery", "openid", "email"],
    // The demo stores nothing over a restart, so each login must bring a new refresh token.
    prompt: "consent",
  } as const;
  const clientId = "1234-demo.apps.googleusercontent.com";
  const client = fake.register({ clientId, redirectUri, login });
  return {
    warehouse: {
      id: "bigquery",
      name: WAREHOUSE_NAMES.bigquery,
      client,
      begin: (returnTo) => createAuthorizationRequest(client, { returnTo }),
      code: CODE.bigquery,
      statement: STATEMENT,
      api: bigQueryJobs("acme-analytics"),
      fake: controlsOf(fake),
    },
    close: () => fake.close(),
  };
}

function controlsOf(fake: Pick<FakeWarehouse<never>, "expireAccessTokens" | "revokeGrants" | "fail">): FakeControls {
  return {
    expireAccessTokens() {
      fake.expireAccessTokens();
    },
    revokeGrants() {
      fake.revokeGrants();
    },
    failNextRefresh() {
      fake.fail({ at: "token", grant: "refresh_token", kind: "status", status: 503, retryAfter: "2" });
    },
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
