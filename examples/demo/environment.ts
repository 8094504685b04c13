import { createAuthorizationRequest, createClient } from "warehouse-oauth";
import { bigquery } from "warehouse-oauth/bigquery";
import { databricks } from "warehouse-oauth/databricks";
import { snowflake } from "warehouse-oauth/snowflake";
import { CODE } from "./embedded.ts";
import { bigQueryJobs, databricksSql, snowflakeSql, throughFetch } from "./query.ts";
import { WAREHOUSE_NAMES, type DemoWarehouse, type WarehouseId } from "./warehouses.ts";

/** Environment variables, as `process.env` has them. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** What must be set for a real account, and what may be. */
const VARIABLES: Readonly<
  Record<WarehouseId, { readonly needed: readonly string[]; readonly optional: readonly string[] }>
> = {
  snowflake: {
    needed: ["SNOWFLAKE_ACCOUNT", "SNOWFLAKE_CLIENT_ID"],
    optional: ["SNOWFLAKE_CLIENT_SECRET", "SNOWFLAKE_ROLE", "SNOWFLAKE_WAREHOUSE"],
  },
  databricks: {
    needed: ["DATABRICKS_HOST", "DATABRICKS_CLIENT_ID", "DATABRICKS_WAREHOUSE_ID"],
    optional: ["DATABRICKS_CLIENT_SECRET"],
  },
  bigquery: { needed: ["GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET", "BIGQUERY_PROJECT"], optional: [] },
};

/** Says whether the environment names a real account of a warehouse; half of one is an error, not a fake. */
export function hasRealAccount(id: WarehouseId, environment: Environment): boolean {
  const { needed, optional } = VARIABLES[id];
  if ([...needed, ...optional].every((name) => isUnset(environment[name]))) return false;
  const missing = needed.filter((name) => isUnset(environment[name]));
  if (missing.length === 0) return true;
  throw new Error(`for a real ${WAREHOUSE_NAMES[id]} account set ${missing.join(", ")} too, or unset the others`);
}

/** Makes the warehouse of a real account. Call {@link hasRealAccount} first. `reason` says why its queries take no driver. */
export function realWarehouse(
  id: WarehouseId,
  environment: Environment,
  redirectUri: string,
  reason?: string,
): DemoWarehouse {
  const read = (name: string): string => environment[name] ?? "";
  const optional = (name: string): string | undefined => (isUnset(environment[name]) ? undefined : environment[name]);
  const shared = { id, name: WAREHOUSE_NAMES[id], code: CODE[id], fake: undefined };
  // The callback is plain http on this machine, which a library must be told to accept.
  const here = { redirectUri, allowLoopbackHttp: true };
  switch (id) {
    case "snowflake": {
      const secret = optional("SNOWFLAKE_CLIENT_SECRET");
      const role = optional("SNOWFLAKE_ROLE");
      const client = createClient({
        warehouse: snowflake({ account: read("SNOWFLAKE_ACCOUNT") }),
        clientId: read("SNOWFLAKE_CLIENT_ID"),
        ...(secret !== undefined && { clientSecret: secret }),
        ...here,
        ...(role !== undefined && { login: { role } }),
      });
      const api = snowflakeSql(optional("SNOWFLAKE_WAREHOUSE"));
      return {
        ...shared,
        client,
        begin: (returnTo) => createAuthorizationRequest(client, { returnTo }),
        statement: "select current_user() as user_name, current_role() as role_name, current_version() as version",
        api,
        way: throughFetch(api, client.warehouse, reason),
      };
    }
    case "databricks": {
      const secret = optional("DATABRICKS_CLIENT_SECRET");
      const client = createClient({
        warehouse: databricks({ host: read("DATABRICKS_HOST") }),
        clientId: read("DATABRICKS_CLIENT_ID"),
        ...(secret !== undefined && { clientSecret: secret }),
        ...here,
        login: { scopes: ["sql", "offline_access", "openid", "email"] },
      });
      const api = databricksSql(read("DATABRICKS_WAREHOUSE_ID"));
      return {
        ...shared,
        client,
        begin: (returnTo) => createAuthorizationRequest(client, { returnTo }),
        statement: "select current_user() as user_name, current_catalog() as catalog_name",
        api,
        way: throughFetch(api, client.warehouse, reason),
      };
    }
    case "bigquery": {
      const client = createClient({
        warehouse: bigquery(),
        clientId: read("GOOGLE_CLIENT_ID"),
        clientSecret: read("GOOGLE_CLIENT_SECRET"),
        ...here,
        login: { scopes: ["https://www.googleapis.com/auth/bigquery", "openid", "email"], prompt: "consent" },
      });
      const api = bigQueryJobs(read("BIGQUERY_PROJECT"));
      return {
        ...shared,
        client,
        begin: (returnTo) => createAuthorizationRequest(client, { returnTo }),
        statement: "select session_user() as user_name, current_date() as today",
        api,
        way: throughFetch(api, client.warehouse, reason),
      };
    }
  }
}

function isUnset(value: string | undefined): boolean {
  return value === undefined || value === "";
}
