import type { OAuthClient, PendingAuthorization } from "warehouse-oauth";
import type { QueryApi, QueryWay } from "./query.ts";

/** The warehouses of the demo. */
export const WAREHOUSE_IDS = ["snowflake", "databricks", "bigquery"] as const;

/** Which warehouse, as paths and pages name it. */
export type WarehouseId = (typeof WAREHOUSE_IDS)[number];

/** What people call them. */
export const WAREHOUSE_NAMES: Readonly<Record<WarehouseId, string>> = {
  snowflake: "Snowflake",
  databricks: "Databricks",
  bigquery: "BigQuery",
};

/** What an embedded fake can be made to do. A real account has none of it. */
export interface FakeControls {
  /** How long its access tokens live: short, so that a person can watch one grow old. */
  readonly lifetimeMs: number;
  /** A refresh token works once. */
  readonly singleUse: boolean;
  /** Refreshes that reached it so far. */
  readonly refreshRequests: number;
  /** What its API was asked so far: method and path. */
  readonly apiRequests: readonly string[];
  /** What the next refreshes will meet, the next one first. */
  readonly planned: readonly string[];
  /** When the server comes back, epoch milliseconds; `undefined` while it listens. */
  readonly downUntil: number | undefined;
  /** How long it stays away when killed. */
  readonly outageMs: number;
  /** Access tokens stop working now, and nobody is told. */
  expireAccessTokens(): void;
  /** An administrator withdraws every grant. */
  revokeGrants(): void;
  /** The token endpoint answers the next refreshes with status 503. */
  failRefreshes(times: number): void;
  /** The next refresh is done, and its answer never arrives. */
  dropNextAnswer(): void;
  /** Closes the port, and opens it again after a while. */
  kill(): Promise<void>;
}

/** One warehouse as the demo uses it: a client of the library, and the statement it runs. */
export interface DemoWarehouse {
  readonly id: WarehouseId;
  readonly name: string;
  readonly client: OAuthClient;
  /** Starts a login with the client's own login options. */
  begin(returnTo: string): Promise<{ readonly url: URL; readonly pending: PendingAuthorization }>;
  /** The code a reader would write for the client. */
  readonly code: string;
  readonly statement: string;
  readonly api: QueryApi;
  /** How the statement gets there. */
  readonly way: QueryWay;
  /** Absent at a real account. */
  readonly fake: FakeControls | undefined;
}
