// What an application writes, without a cast. Compiled by types.test.ts against the driver's own types, never run.
import snowflake from "snowflake-sdk";
import type { TokenSession, TokenSource } from "warehouse-oauth";
import { snowflakeConnection, snowflakePool } from "warehouse-oauth/snowflake/driver";

export async function useConnection(session: TokenSession, signal: AbortSignal): Promise<string> {
  const connection = await snowflakeConnection(session, snowflake, {
    account: "acme-prod",
    warehouse: "WH",
    role: "ANALYST",
    signal,
  });
  connection.execute({ sqlText: "select 1", complete: (error, _statement, rows) => rows?.length ?? error });
  return connection.getId();
}

export async function usePool(source: TokenSource): Promise<boolean> {
  const pool = await snowflakePool(source, snowflake, { account: "acme-prod", pool: { max: 4, testOnBorrow: true } });
  const borrowed = await pool.acquire();
  borrowed.execute({ sqlText: "select 1" });
  await pool.release(borrowed);
  return pool.use((connection) => Promise.resolve(connection.isUp()));
}

export async function isRefused(session: TokenSession): Promise<void> {
  // @ts-expect-error the token comes from the session
  await snowflakeConnection(session, snowflake, { account: "acme-prod", token: "x" });
  // @ts-expect-error so does how it is sent
  await snowflakeConnection(session, snowflake, { account: "acme-prod", authenticator: "OAUTH" });
  // @ts-expect-error no such option of the driver
  await snowflakeConnection(session, snowflake, { account: "acme-prod", wharehouse: "WH" });
  // @ts-expect-error the token comes from the session
  await snowflakePool(session, snowflake, { account: "acme-prod", token: "x" });
  // @ts-expect-error no such option of the driver's pool
  await snowflakePool(session, snowflake, { account: "acme-prod", pool: { maximum: 4 } });
  // @ts-expect-error a string is not a source of tokens
  await snowflakeConnection("token", snowflake, { account: "acme-prod" });
}
