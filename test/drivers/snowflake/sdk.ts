// The driver, kept off the network and out of the file system. It reads these while it loads.
import type * as Sdk from "snowflake-sdk";

Object.assign(process.env, {
  SNOWFLAKE_DISABLE_PLATFORM_DETECTION: "true",
  SNOWFLAKE_DISABLE_MINICORE: "true",
  SF_TELEMETRY_DISABLE_CONNECTION_SHAPE: "1",
});

export type Connection = Sdk.Connection;
export type ConnectionOptions = Sdk.ConnectionOptions;
export type Pool = ReturnType<typeof Sdk.createPool>;
export type PoolOptions = NonNullable<Parameters<typeof Sdk.createPool>[1]>;

export const { default: snowflake } = await import("snowflake-sdk");

/** Where the driver's own OAuth keeps its tokens: in memory, for all connections of the process. */
export const credentials = new Map<string, string>();

snowflake.configure({
  logLevel: "OFF",
  customCredentialManager: {
    read: (key: string) => Promise.resolve(credentials.get(key) ?? null),
    write: (key: string, value: string) => Promise.resolve(void credentials.set(key, value)),
    remove: (key: string) => Promise.resolve(void credentials.delete(key)),
  },
});

/** Connects by the driver's own means. */
export function connect(options: ConnectionOptions): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const connection = snowflake.createConnection(options);
    connection.connect((error: Error | null | undefined) => {
      if (error === undefined || error === null) resolve(connection);
      else reject(error);
    });
  });
}

/** Runs a statement and gives its rows. */
export function select(connection: Connection, sqlText = "select 1"): Promise<unknown[] | undefined> {
  return new Promise((resolve, reject) => {
    connection.execute({
      sqlText,
      complete: (error: Error | null | undefined, _statement, rows) => {
        if (error === undefined || error === null) resolve(rows);
        else reject(error);
      },
    });
  });
}

/** Ends a connection, if it is still there to be ended. */
export function destroy(connection: Connection): Promise<void> {
  return new Promise((resolve) => {
    connection.destroy(() => {
      resolve();
    });
  });
}
