import { isTokenRefused } from "./driver-errors.ts";

/** What is used of the driver's pools. */
export interface SnowflakePoolShape {
  /** Lends a connection. */
  acquire(priority?: number): Promise<{
    /** Whether its session lives. */
    isUp(): boolean;
  }>;
  /** Takes a connection back. */
  release(connection: never): Promise<unknown>;
  /** Ends a connection that was lent. */
  destroy(connection: never): Promise<unknown>;
  /** Connections, with those that are about to be. */
  readonly size: number;
  /** Open connections that nobody uses. */
  readonly available: number;
  /** Connections that are lent. */
  readonly borrowed: number;
  /** How many more it may open. */
  readonly spareResourceCapacity: number;
}

/** What a pool's connections log in with. */
export interface PoolTokens {
  /** Gives a token that is good now; refreshes first if the refused one is still the current one. */
  getAccessToken(options?: { readonly rejected?: string }): Promise<string>;
  /** The token that the latest login was given. */
  sent(): string;
}

/** Loans for one caller whose logins were refused: the token's, the new token's, and one that an older login spoilt. */
const MAX_LOANS = 3;

/**
 * Makes the `acquire` of a pool that lends no dead connection, waits for a good token before a login, and tries a refused
 * login again with a new one. The driver tells everybody who waits of any login that fails, by the message alone.
 */
export function lendWith(pool: SnowflakePoolShape, tokens: PoolTokens): (priority?: number) => Promise<unknown> {
  const lend = pool.acquire.bind(pool);
  const lendLive = async (priority?: number): ReturnType<SnowflakePoolShape["acquire"]> => {
    for (;;) {
      const connection = await lend(priority);
      if (connection.isUp()) return connection;
      await pool.destroy(connection as never);
    }
  };

  /** Takes a new token, and sees one login through with it while everybody else waits. */
  const replace = async (refused: string | undefined): Promise<void> => {
    await tokens.getAccessToken(refused === undefined ? {} : { rejected: refused });
    // Logins under way may carry the old token, and each that fails spoils a loan.
    for (let older = pool.size - pool.available - pool.borrowed; ; older--) {
      try {
        await pool.release((await lendLive()) as never);
        return;
      } catch (error) {
        if (!isTokenRefused(error) || older <= 0) throw error;
      }
    }
  };
  let replacing: Promise<void> | undefined;

  return async (priority) => {
    // Counts as use, and starts a refresh that is due: a pool may live for long without a login.
    const good = tokens.getAccessToken();
    if (pool.available === 0 && pool.spareResourceCapacity > 0) await good;
    else good.catch(() => undefined); // an open connection needs no token
    for (let loan = 1; ; loan++) {
      const lent = lendLive(priority);
      const sent = tokens.sent();
      try {
        return await lent;
      } catch (error) {
        if (!isTokenRefused(error) || loan === MAX_LOANS) throw error;
        // Only once: what is refused after that may be an older token than the last that was sent.
        replacing ??= replace(loan === 1 ? sent : undefined).finally(() => (replacing = undefined));
        await replacing;
      }
    }
  };
}
