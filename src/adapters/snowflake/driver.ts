/**
 * Connections and pools of `snowflake-sdk` that log in with a session's token. By shape: the driver is no dependency.
 *
 * @module
 */

import type { SignalOptions } from "../../core/index.ts";
import { abortable } from "../../lib/abortable.ts";
import type { TokenSource } from "../../session/index.ts";
import { isSessionDead, isTokenRefused } from "./driver-errors.ts";
import { lendWith, type PoolTokens, type SnowflakePoolShape } from "./pool-lending.ts";

export type { SnowflakePoolShape } from "./pool-lending.ts";

/** What is used of the driver's connections. */
export interface SnowflakeConnectionShape {
  /** Logs in, once in its life. */
  connect(callback: (error: Error | null | undefined) => void): unknown;
  /** Ends the session. */
  destroy(callback: () => void): unknown;
  /** Whether the session is not known to be dead. Asks nobody. */
  isUp(): boolean;
}

/**
 * Opens a connected `snowflake-sdk` connection. If the login refuses the token (390303, 390318), takes a new token and a
 * new connection, once; a new connection also if the session is dead on arrival. A token is needed to log in only: an
 * open connection outlives it. When its `isUp()` gives `false`, call this again.
 *
 * @throws what the session throws, and the driver's own error as it is.
 *
 * @example
 *
 * ```ts
 * import type { TokenSession } from "warehouse-oauth";
 * import { snowflakeConnection, type SnowflakeConnectionShape } from "warehouse-oauth/snowflake/driver";
 *
 * declare const session: TokenSession; // and: import snowflake from "snowflake-sdk";
 * declare const snowflake: { createConnection(options?: { account?: string }): SnowflakeConnectionShape };
 *
 * const connection = await snowflakeConnection(session, snowflake, { account: "acme-prod" });
 * ```
 */
export async function snowflakeConnection<Options extends object, Connection extends SnowflakeConnectionShape>(
  session: TokenSource,
  sdk: { createConnection(options?: Options): Connection },
  options: Omit<NoInfer<Options>, "token" | "authenticator"> & SignalOptions,
): Promise<Connection> {
  const { signal, ...rest } = options;
  const waiting: SignalOptions = signal === undefined ? {} : { signal };
  const open = (token: string): Promise<Connection> =>
    logIn(sdk.createConnection({ ...rest, authenticator: "OAUTH", token } as unknown as Options), signal);
  const token = await session.getAccessToken(waiting);
  try {
    const connection = await open(token);
    if (connection.isUp()) return connection;
  } catch (error) {
    if (isTokenRefused(error)) return open(await session.getAccessToken({ ...waiting, rejected: token }));
    if (!isSessionDead(error)) throw error;
  }
  return open(await session.getAccessToken(waiting));
}

/**
 * Makes a `snowflake-sdk` pool; each new connection logs in with the session's current token. Waits for the first token.
 * The driver reads the token without waiting, so keep the manager started for as long as the pool lives. `acquire`, and
 * so `use`, wait for a token that is good before a login, try a refused login again with a new token, and lend nobody a
 * connection that is dead.
 *
 * @throws what the session throws. So do `acquire` and `use` of the pool, which give the driver's error its code back.
 *
 * @example
 *
 * ```ts
 * import type { TokenSession } from "warehouse-oauth";
 * import { snowflakePool, type SnowflakePoolShape } from "warehouse-oauth/snowflake/driver";
 *
 * declare const session: TokenSession; // and: import snowflake from "snowflake-sdk";
 * declare const snowflake: { createPool(a?: { account?: string }, b?: { max?: number }): SnowflakePoolShape };
 *
 * const pool = await snowflakePool(session, snowflake, { account: "acme-prod", pool: { max: 4 } });
 * ```
 */
export async function snowflakePool<Options extends object, PoolOptions, Pool extends SnowflakePoolShape>(
  session: TokenSource,
  sdk: { createPool(options?: Options, poolOptions?: PoolOptions): Pool },
  options: Omit<NoInfer<Options>, "token" | "authenticator"> & SignalOptions & { readonly pool?: NoInfer<PoolOptions> },
): Promise<Pool> {
  const { signal, pool: poolOptions, ...rest } = options;
  let sent = await session.getAccessToken(signal === undefined ? {} : { signal });
  const connecting = { ...rest, authenticator: "OAUTH" };
  // Never throws, not even without a good token: the driver opens connections in timers, too, where nobody could catch it.
  Object.defineProperty(connecting, "token", { enumerable: true, get: () => (sent = session.peek() ?? sent) });
  const pool = sdk.createPool(connecting as unknown as Options, poolOptions);
  const tokens: PoolTokens = { getAccessToken: (how) => session.getAccessToken(how), sent: () => sent };
  return Object.assign(pool, { acquire: lendWith(pool, tokens) });
}

/** Waits for the callback: the promise of `connectAsync` is fulfilled even if the login is refused. */
async function logIn<T extends SnowflakeConnectionShape>(connection: T, signal: AbortSignal | undefined): Promise<T> {
  const connected = new Promise<T>((resolve, reject) => {
    connection.connect((error) => {
      if (error === undefined || error === null) resolve(connection);
      else reject(error);
    });
  });
  // Nobody else could end a session that begins after all.
  const end = (): unknown => connection.destroy(() => undefined);
  return abortable(connected, signal).catch((error: unknown) => {
    connected.then(end, () => undefined);
    throw error;
  });
}
