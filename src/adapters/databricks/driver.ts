/**
 * Fresh tokens for `@databricks/sql`, the Databricks SQL driver for Node.
 *
 * @module
 */

import { invalidArgument } from "../../lib/invalid-argument.ts";
import type { TokenSource } from "../../session/index.ts";
import { isTokenRejected } from "./rejected-token.ts";

/**
 * Makes the authentication options of `DBSQLClient.connect`: the driver then asks the session before every request that it
 * sends, and gets what is at hand, without a look at a store.
 *
 * Connecting sends nothing. What the session throws arrives unchanged from the call that needed a token. The driver's own
 * token exchange is not used: a session with `obtain: exchangeToken` does it once for each token.
 *
 * @throws TypeError `invalid_argument` for something that hands out no tokens.
 *
 * @example
 *
 * ```ts
 * import type { TokenSession } from "warehouse-oauth";
 * import { databricksAuth } from "warehouse-oauth/databricks/driver";
 *
 * declare const session: TokenSession;
 * declare const driver: { connect(options: object): Promise<unknown> }; // new DBSQLClient()
 *
 * await driver.connect({
 *   host: "acme.cloud.databricks.com",
 *   path: "/sql/1.0/warehouses/abc",
 *   ...databricksAuth(session),
 * });
 * ```
 */
export function databricksAuth(session: TokenSource): {
  authType: "custom";
  provider: {
    /** Gives the header of one request. */
    authenticate(): Promise<{ Authorization: string }>;
  };
} {
  assertSource(session);
  return {
    authType: "custom",
    provider: {
      // A plain object: the driver spreads it, and of a `Headers` nothing would be left (2.1.0, checked 2026-11-21).
      authenticate: async () => ({ Authorization: `Bearer ${await session.getAccessToken()}` }),
    },
  };
}

/**
 * Runs an operation of the driver, and once more with a new token if the token was refused: status 401, or the 400 and 403
 * with which Databricks answers ended tokens. However many refusals of one token there are, it is refreshed once.
 *
 * A refused request did nothing, so one request may be repeated: `executeStatement`, `openSession`, `finished`. So may a
 * query that only reads, from its statement to its last row. The operation must open nothing that it leaves open, and do
 * nothing before a refusal that must not be done twice. `fetchAll` and `fetchChunk` alone are not for it: rows that the
 * driver had read before the refusal would be missing, without an error.
 *
 * @throws What the operation throws; what the session throws if it has no other token to give.
 *
 * @example
 *
 * ```ts
 * import type { TokenSession } from "warehouse-oauth";
 * import { withDatabricksRetry } from "warehouse-oauth/databricks/driver";
 *
 * declare const session: TokenSession;
 * declare const sql: { executeStatement(statement: string): Promise<{ fetchAll(): Promise<object[]> }> };
 *
 * const operation = await withDatabricksRetry(session, () => sql.executeStatement("select 1"));
 * const rows = await operation.fetchAll();
 * ```
 */
export async function withDatabricksRetry<Result>(session: TokenSource, run: () => Promise<Result>): Promise<Result> {
  assertSource(session);
  if (typeof run !== "function") throw invalidArgument('"run" must be a function that runs an operation of the driver');
  const token = await session.getAccessToken();
  try {
    return await run();
  } catch (error) {
    if (!isRefusal(error)) throw error;
    // A token that was replaced meanwhile is not refreshed again: then this gives its successor.
    if ((await session.getAccessToken({ rejected: token })) === token) throw error;
  }
  return run();
}

/** The part of the driver's `THTTPException` that is looked at (2.1.0, checked 2026-11-21). Its body was not read. */
interface HttpFailure {
  readonly statusCode?: unknown;
  readonly response?: { readonly headers?: { get?(name: string): unknown } };
}

function isRefusal(error: unknown): boolean {
  if (typeof error !== "object" || error === null) return false;
  const { statusCode, response } = error as HttpFailure;
  if (typeof statusCode !== "number") return false;
  const get = (name: string): string => {
    const value = response?.headers?.get?.(name);
    return typeof value === "string" ? value : "";
  };
  return isTokenRejected({ status: statusCode, headers: { get }, bodyStart: "" });
}

function assertSource(session: unknown): asserts session is TokenSource {
  const source = session as Partial<TokenSource> | null | undefined;
  if (typeof source?.getAccessToken !== "function") {
    throw invalidArgument('"session" must hand out tokens: a TokenSession, or anything with "getAccessToken"');
  }
}
