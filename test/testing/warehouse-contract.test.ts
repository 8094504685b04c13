import { describe, expect, it } from "vitest";
import { defineWarehouse, type Warehouse, type WarehouseDefinition } from "warehouse-oauth";
import { bigquery } from "warehouse-oauth/bigquery";
import { databricks } from "warehouse-oauth/databricks";
import { snowflake } from "warehouse-oauth/snowflake";
import { fakeBigQuery, fakeDatabricks, fakeSnowflake, warehouseContract } from "warehouse-oauth/testing";

const warehouses: Readonly<Record<string, Warehouse>> = {
  snowflake: snowflake({ account: "acme-prod" }),
  "snowflake, single-use": snowflake({ account: "acme-prod", singleUseRefreshTokens: true }),
  databricks: databricks({ host: "acme.cloud.databricks.com" }),
  "databricks on Azure": databricks({ host: "adb-1.2.azuredatabricks.net" }),
  bigquery: bigquery(),
  "fake snowflake, moved": fakeSnowflake().at("http://127.0.0.1:4100").warehouse,
  "fake databricks, moved": fakeDatabricks().at("http://127.0.0.1:4100").warehouse,
  "fake bigquery, moved": fakeBigQuery().at("http://127.0.0.1:4100").warehouse,
};

describe.each(Object.entries(warehouses))("%s", (_name, warehouse) => {
  it.each(warehouseContract(warehouse).map(({ name, run }) => [name, run] as const))("%s", (_case, run) => run());
});

const good: WarehouseDefinition<object> = {
  id: "acme",
  issuer: "https://login.acme.example",
  authorizationEndpoint: "https://login.acme.example/authorize",
  tokenEndpoint: "https://login.acme.example/token",
};

let calls = 0;

const broken: readonly [string, Partial<WarehouseDefinition<object>>][] = [
  ["default scope", { defaultScopes: ["a"], scopeCatalogue: new Map([["b", { description: "B", level: "read" }]]) }],
  ["single scopes", { defaultScopes: ["a", "a"] }],
  ["margins", { refusedBelowMs: 60_000 }],
  ["margins", { hardMarginMs: 600_000, accessTokenLifetimeMs: 600_000 }],
  ["grants and endpoints", { grants: [] }],
  ["grants and endpoints", { refreshRotation: "none", rotationVoidsAccessTokens: true }],
  ["the same way twice", { authorizationParameters: () => ({ call: String((calls += 1)) }) }],
  ["token parameters", { tokenParameters: () => ({ grant_type: "password" }) }],
  ["token parameters", { tokenParameters: () => ({ call: String((calls += 1)) }) }],
  ["token parameters", { tokenParameters: () => ({ flag: true }) as never }],
  ["unharmed", { normalizeTokenResponse: (body) => ({ ...body, refresh_token: undefined }) }],
  ["unharmed", { normalizeTokenResponse: (body) => ({ ...body, scope: (body["scope"] as string).trim() }) }],
  ["any shape are classified", { classifyTokenError: ({ body }) => (body as { error: string }).error as never }],
  ["any shape are classified", { classifyTokenError: () => "odd" as never }],
  ["ends no session", { classifyTokenError: () => "dead_grant" }],
  ["any shape are judged", { isTokenRejected: () => true }],
  ["any shape are judged", { isTokenRejected: () => false }],
  ["any shape are judged", { isTokenRejected: ({ bodyStart }) => JSON.parse(bodyStart) as boolean }],
];

/** What `defineWarehouse` never gives: warehouses that somebody made by hand. */
const handMade: readonly [string, Partial<Warehouse>][] = [
  ["addresses are https", { issuer: "http://login.acme.example" }],
  ["addresses are https", { authorizationEndpoint: "http://login.acme.example/authorize" }],
  ["addresses are https", { tokenEndpoint: "http://login.acme.example/token" }],
  ["addresses are https", { revocationEndpoint: "ftp://127.0.0.1/revoke" }],
  ["addresses are https", { jwksUri: "http://127.0.0.1.evil.example/keys" }],
  ["addresses are https", { apiOrigins: ["https://api.acme.example", "http://api.acme.example"] }],
];

describe("warehouseContract", () => {
  it("has a case for each promise, with a name of its own", () => {
    const names = warehouseContract(defineWarehouse(good)).map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names.length).toBeGreaterThan(10);
  });

  it.each(broken)("finds a definition that breaks: %s %o", async (part, change) => {
    const failed = await failedCases(defineWarehouse({ ...good, ...change }));
    expect(failed).toContainEqual(expect.stringContaining(part));
  });

  /** For machines only: `createClient`, which the case of a login needs, takes nothing made by hand. */
  const machines = defineWarehouse({ ...good, grants: ["refresh_token"] });

  it.each(handMade)("finds a warehouse made by hand that breaks: %s %o", async (part, change) => {
    const copy: Warehouse = Object.freeze({ ...machines, ...change });
    expect(await failedCases(copy)).toEqual([expect.stringContaining(part)]);
  });

  it("finds a copy that can be changed", async () => {
    expect(await failedCases({ ...machines })).toEqual(["the definition is frozen"]);
  });
});

async function failedCases(warehouse: Warehouse): Promise<readonly string[]> {
  const failed: string[] = [];
  for (const { name, run } of warehouseContract(warehouse)) {
    await run().catch(() => failed.push(name));
  }
  return failed;
}
