// What an application writes, without a cast. Compiled by types.test.ts, never run.
import { DBSQLClient } from "@databricks/sql";
import type { TokenSession, TokenSource } from "warehouse-oauth";
import { databricksAuth, withDatabricksRetry } from "warehouse-oauth/databricks/driver";

const WORKSPACE = { host: "acme.cloud.databricks.com", path: "/sql/1.0/warehouses/abc" };

export async function query(session: TokenSession): Promise<object[]> {
  const client = await new DBSQLClient().connect({ ...WORKSPACE, ...databricksAuth(session) });
  const sql = await client.openSession();
  const operation = await withDatabricksRetry(session, () => sql.executeStatement("select 1"));
  return operation.fetchAll();
}

/** Whatever hands out tokens will do, and the driver's other options stay as they are. */
export async function connectWith(source: TokenSource): Promise<number> {
  const client = new DBSQLClient();
  await client.connect({ ...WORKSPACE, ...databricksAuth(source), socketTimeout: 60_000, userAgentEntry: "acme" });
  const [first] = await Promise.all([withDatabricksRetry(source, () => Promise.resolve(1))]);
  return first;
}

// @ts-expect-error a token alone cannot be kept fresh
databricksAuth("dapi0123");
// @ts-expect-error the operation is begun by the retry
export const early = (session: TokenSession): Promise<number> => withDatabricksRetry(session, Promise.resolve(1));
