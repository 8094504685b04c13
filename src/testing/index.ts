/**
 * Fake warehouses that are stricter than the real ones, a clock that stands still, and contracts, for tests.
 *
 * @module
 */

export { fakeBigQuery } from "./warehouses/bigquery.ts";
export type { FakeBigQueryOptions } from "./warehouses/bigquery.ts";
export { fakeDatabricks } from "./warehouses/databricks.ts";
export type { FakeDatabricksOptions } from "./warehouses/databricks.ts";
export { fakeSnowflake } from "./warehouses/snowflake.ts";
export type { FakeSnowflakeOptions } from "./warehouses/snowflake.ts";
export { manualClock } from "./manual-clock.ts";
export type { ManualClock } from "./manual-clock.ts";
export { warehouseContract } from "./warehouse-contract.ts";
export type { ContractCase } from "./warehouse-contract.ts";
export type { FakeEndpoint, Fault } from "./fault.ts";
export type { FakeOptions, FakeWarehouse, RegisterOptions } from "./fake-warehouse.ts";
export type { FakeRequest } from "./request-log.ts";
export type { FakeGrant } from "./token-ledger.ts";
export type { TrustedIssuer } from "./trusted-assertions.ts";
export { storeContract } from "./store-contract.ts";
export type { StoreContractOptions } from "./store-contract.ts";
export { raceStore } from "./store-race.ts";
export type { StoreRacePlan, StoreRaceReport } from "./store-race.ts";
