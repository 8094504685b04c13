import { afterEach, describe, expect, test } from "vitest";
import { snowflakeConnection, snowflakePool } from "warehouse-oauth/snowflake/driver";
import { destroy, select, snowflake, type Connection, type Pool, type PoolOptions } from "./sdk.ts";
import { HOUR, MINUTE, openScene, type Scene, type SceneOptions } from "./scene.ts";

// snowflake-sdk itself, over a socket, against the fake's sessions: what the glue is for.

const INVALID = "Invalid OAuth access token. [0b6a3c1e]";
const EXPIRED = "OAuth access token expired. [0b6a3c1e]";

const opened: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

async function open(options?: SceneOptions): Promise<Scene> {
  const scene = await openScene(options);
  opened.push(() => scene.close());
  return scene;
}

async function connectTo({ session, options }: Scene): Promise<Connection> {
  const connection = await snowflakeConnection(session, snowflake, options);
  opened.push(() => destroy(connection));
  return connection;
}

async function poolOf({ session, options }: Scene, pool: PoolOptions = {}): Promise<Pool> {
  const made = await snowflakePool(session, snowflake, { ...options, pool });
  opened.push(async () => {
    await made.drain();
    await made.clear();
  });
  return made;
}

async function caught(promise: Promise<unknown>): Promise<Error & { code?: unknown; reason?: unknown }> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("expected it to be rejected");
}

const codesOf = ({ logins }: Scene): (string | undefined)[] => logins.map(({ refused }) => refused);
const tokensOf = ({ logins }: Scene): number => new Set(logins.map(({ token }) => token)).size;
const times = <T>(count: number, run: () => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, run));

describe("a connection", () => {
  test("connects, runs a query, and is closed", async () => {
    const scene = await open();
    const connection = await snowflakeConnection(scene.session, snowflake, scene.options);
    expect(await select(connection)).toEqual([{ "1": 1 }]);
    await destroy(connection);
    expect(scene.paths()).toEqual(["/session/v1/login-request", "/queries/v1/query-request", "/session"]);
    expect(scene.refreshes()).toBe(0);
  });

  test("outlives its token, and the next one logs in with a new token", async () => {
    const scene = await open();
    const first = await connectTo(scene);
    scene.pass(11 * MINUTE);
    expect(await select(first)).toEqual([{ "1": 1 }]);
    expect(scene.refreshes()).toBe(0);
    expect(await select(await connectTo(scene))).toEqual([{ "1": 1 }]);
    expect(scene.refreshes()).toBe(1);
    expect(codesOf(scene)).toEqual([undefined, undefined]);
    expect(tokensOf(scene)).toBe(2);
  });

  test.each([
    ["390303", INVALID],
    ["390318", EXPIRED],
  ])("R-04 a token refused with %s is replaced once, with a new Connection", async (code, message) => {
    const scene = await open();
    scene.refuse(code, message);
    const made: Connection[] = [];
    const sdk = {
      createConnection(options?: Parameters<typeof snowflake.createConnection>[0]): Connection {
        const connection = snowflake.createConnection(options);
        made.push(connection);
        return connection;
      },
    };
    const connection = await snowflakeConnection(scene.session, sdk, scene.options);
    opened.push(() => destroy(connection));
    expect(await select(connection)).toEqual([{ "1": 1 }]);
    expect(new Set(made).size).toBe(2);
    expect(connection).toBe(made[1]);
    expect(codesOf(scene)).toEqual([code, undefined]);
    expect(tokensOf(scene)).toBe(2);
    expect(scene.refreshes()).toBe(1);
  });

  test("a server that refuses the new token, too, is not asked a third time", async () => {
    const scene = await open();
    scene.refuse("390303", INVALID, 5);
    const error = await caught(connectTo(scene));
    expect(error).toMatchObject({ name: "OperationFailedError", code: "390303", message: INVALID });
    expect(codesOf(scene)).toEqual(["390303", "390303"]);
    expect(scene.refreshes()).toBe(1);
  });

  test("the driver's own promise is fulfilled for a refused login, too, which is why the glue takes the callback", async () => {
    const scene = await open();
    scene.refuse("390318", EXPIRED);
    const connection = snowflake.createConnection({ ...scene.options, authenticator: "OAUTH", token: "any" });
    expect(await connection.connectAsync()).toBe(connection);
    expect(connection.isUp()).toBe(false);
  });

  test("any other refusal of a login is the driver's own error, at once", async () => {
    const scene = await open();
    const options = { ...scene.options, role: "OTHER" };
    expect(await caught(snowflakeConnection(scene.session, snowflake, options))).toMatchObject({ code: "390317" });
    expect(scene.logins).toHaveLength(1);
    expect(scene.refreshes()).toBe(0);
  });

  test("eight at once after the token's end make one refresh", async () => {
    const scene = await open();
    scene.pass(11 * MINUTE);
    const rows = await times(8, async () => select(await connectTo(scene)));
    expect(rows).toEqual(Array.from({ length: 8 }, () => [{ "1": 1 }]));
    expect(scene.refreshes()).toBe(1);
    expect(codesOf(scene)).toEqual(Array.from({ length: 8 }, () => undefined));
  });

  test("R-04 eight at once whose token is refused make one refresh", async () => {
    const scene = await open();
    scene.fake.expireAccessTokens();
    const rows = await times(8, async () => select(await connectTo(scene)));
    expect(rows).toEqual(Array.from({ length: 8 }, () => [{ "1": 1 }]));
    expect(scene.refreshes()).toBe(1);
    expect(tokensOf(scene)).toBe(2);
    expect(codesOf(scene).filter((code) => code === undefined)).toHaveLength(8);
  });

  test("a refresh that fails while the old token is good is nobody's trouble", async () => {
    const scene = await open();
    scene.fake.fail({ at: "token", kind: "status", status: 503, times: Infinity });
    scene.pass(9 * MINUTE);
    expect(await select(await connectTo(scene))).toEqual([{ "1": 1 }]);
    expect(await select(await connectTo(scene))).toEqual([{ "1": 1 }]);
    expect(scene.refreshes()).toBeGreaterThan(0);
    expect(codesOf(scene)).toEqual([undefined, undefined]);
  });

  test("an outage at the token's end is a retryable error of ours, and over when it is over", async () => {
    const scene = await open({ manager: { retry: { maxAttempts: 2, baseDelayMs: 10 } } });
    const restore = scene.fake.fail({ at: "token", kind: "status", status: 503, times: Infinity });
    scene.pass(11 * MINUTE);
    expect(await caught(connectTo(scene))).toMatchObject({ code: "server_unavailable", retryable: true });
    expect(scene.logins).toHaveLength(0);
    restore();
    scene.pass(MINUTE);
    expect(await select(await connectTo(scene))).toEqual([{ "1": 1 }]);
  });

  test("what is final arrives as our error, and nothing is sent to the login", async () => {
    const scene = await open();
    scene.fake.revokeGrants();
    scene.pass(11 * MINUTE);
    const error = await caught(connectTo(scene));
    expect(error).toMatchObject({ name: "ReauthorizationRequiredError", code: "reauthorization_required" });
    expect(scene.logins).toHaveLength(0);
  });

  test("what is final arrives as our error even if a login found out", async () => {
    const scene = await open();
    scene.fake.revokeGrants();
    const error = await caught(connectTo(scene));
    expect(error).toMatchObject({ code: "reauthorization_required", reason: "refresh_token_dead" });
    expect(codesOf(scene)).toEqual(["390303"]);
  });

  test("the driver renews its session tokens itself, without a token of ours", async () => {
    const scene = await open();
    const connection = await connectTo(scene);
    scene.pass(HOUR + MINUTE);
    expect(await select(connection)).toEqual([{ "1": 1 }]);
    expect(scene.paths()).toContain("/session/token-request");
    expect(scene.refreshes()).toBe(0);
    expect(scene.logins).toHaveLength(1);
  });

  test("a session that ended says so, and the next connection is there for the asking", async () => {
    const scene = await open();
    const connection = await connectTo(scene);
    scene.pass(5 * HOUR);
    expect(await caught(select(connection))).toMatchObject({ code: 407002, isFatal: true });
    expect(connection.isUp()).toBe(false);
    const next = await connectTo(scene);
    expect(await select(next)).toEqual([{ "1": 1 }]);
    expect(scene.refreshes()).toBe(1);
  });

  test("a wait that is given up leaves no session behind", async () => {
    const scene = await open();
    let answer = (): void => undefined;
    scene.holdLogins(new Promise<void>((resolve) => (answer = resolve)));
    const { signal, abort } = abortable();
    const waiting = caught(snowflakeConnection(scene.session, snowflake, { ...scene.options, signal }));
    await until(() => scene.logins.length === 1);
    abort(new Error("enough"));
    expect((await waiting).message).toBe("enough");
    expect(scene.paths()).not.toContain("/session");
    answer();
    await until(() => scene.paths().includes("/session"));
  });
});

describe("a pool", () => {
  test("lends connections that log in with the current token, without a wait", async () => {
    const scene = await open();
    const pool = await poolOf(scene, { max: 4 });
    const rows = await times(8, () => pool.use((connection) => select(connection)));
    expect(rows).toEqual(Array.from({ length: 8 }, () => [{ "1": 1 }]));
    expect(scene.logins).toHaveLength(4);
    expect(scene.refreshes()).toBe(0);
  });

  test("opens what it must hold by itself, and reads the current token for it", async () => {
    const scene = await open();
    const pool = await poolOf(scene, { min: 2, max: 4 });
    await until(() => pool.available === 2);
    await scene.session.refresh();
    const lent = await pool.acquire();
    await pool.destroy(lent);
    await until(() => pool.available === 2);
    expect(scene.logins).toHaveLength(3);
    expect(tokensOf(scene)).toBe(2);
    expect(codesOf(scene)).toEqual([undefined, undefined, undefined]);
  });

  test("after the token's end one refresh comes before ten logins, and none is refused", async () => {
    const scene = await open();
    const pool = await poolOf(scene, { max: 10 });
    scene.pass(11 * MINUTE);
    await times(10, () => pool.use((connection) => select(connection)));
    expect(scene.refreshes()).toBe(1);
    expect(codesOf(scene)).toEqual(Array.from({ length: 10 }, () => undefined));
  });

  test("needs no token to lend what is open, nor when none can be had", async () => {
    const scene = await open({ manager: { retry: { maxAttempts: 1 } } });
    const pool = await poolOf(scene, { max: 1 });
    await pool.use((connection) => select(connection));
    scene.fake.revokeGrants();
    scene.pass(11 * MINUTE);
    expect(await pool.use((connection) => select(connection))).toEqual([{ "1": 1 }]);
    expect(scene.logins).toHaveLength(1);
  });

  test("R-04 ten logins whose token is refused make one refresh, and all get a connection", async () => {
    const scene = await open();
    const pool = await poolOf(scene, { max: 10 });
    scene.fake.expireAccessTokens();
    const rows = await times(10, () => pool.use((connection) => select(connection)));
    expect(rows).toEqual(Array.from({ length: 10 }, () => [{ "1": 1 }]));
    expect(scene.refreshes()).toBe(1);
    expect(tokensOf(scene)).toBe(2);
  });

  test("an error keeps the driver's words and has its code back", async () => {
    const scene = await open();
    scene.refuse("390318", EXPIRED, 9);
    const pool = await poolOf(scene, { max: 1 });
    expect(await caught(pool.acquire())).toMatchObject({ name: "Error", code: "390318", message: EXPIRED });
    expect(scene.logins).toHaveLength(2);
    expect(scene.refreshes()).toBe(1);
  });

  test("a server that refuses the new token, too, is asked once more and not by everybody", async () => {
    const scene = await open();
    scene.refuse("390303", INVALID, 99);
    const pool = await poolOf(scene, { max: 10 });
    const errors = await times(10, () => caught(pool.acquire()));
    expect(errors.map(({ code }) => code)).toEqual(Array.from({ length: 10 }, () => "390303"));
    expect(scene.logins).toHaveLength(11);
    expect(scene.refreshes()).toBe(1);
  });

  test("any other refusal is the driver's own error, at once", async () => {
    const scene = await open();
    scene.refuse("390317", "no such role", 9);
    const pool = await poolOf(scene, { max: 1 });
    const error = await caught(pool.acquire());
    expect(error.message).toBe("no such role");
    expect(error).not.toHaveProperty("code");
    expect(scene.logins).toHaveLength(1);
  });

  test("what is final arrives as our error from acquire and use", async () => {
    const scene = await open();
    const pool = await poolOf(scene, { max: 2 });
    scene.fake.revokeGrants();
    scene.pass(11 * MINUTE);
    expect(await caught(pool.acquire())).toMatchObject({ code: "reauthorization_required" });
    expect(await caught(pool.use((connection) => select(connection)))).toMatchObject({
      name: "ReauthorizationRequiredError",
    });
    expect(scene.logins).toHaveLength(0);
  });

  test("does not lend a connection again whose session has ended", async () => {
    const scene = await open();
    const pool = await poolOf(scene, { max: 1 });
    const first = await pool.acquire();
    scene.pass(5 * HOUR);
    await caught(select(first));
    await pool.release(first);
    const second = await pool.acquire();
    expect(second).not.toBe(first);
    expect(await select(second)).toEqual([{ "1": 1 }]);
    await pool.release(second);
    expect(pool.size).toBe(1);
  });

  test("with testOnBorrow, a heartbeat finds sessions that ended unseen", async () => {
    const scene = await open();
    const pool = await poolOf(scene, { max: 1, testOnBorrow: true });
    await pool.use((connection) => select(connection));
    await pool.use((connection) => select(connection));
    expect(scene.paths().filter((path) => path === "/session/heartbeat")).toHaveLength(2);
    scene.pass(5 * HOUR);
    expect(await pool.use((connection) => select(connection))).toEqual([{ "1": 1 }]);
    expect(codesOf(scene)).toEqual([undefined, undefined]);
  });
});

/** A signal and its end, with a reason. */
function abortable(): { readonly signal: AbortSignal; readonly abort: (reason: Error) => void } {
  const controller = new AbortController();
  return {
    signal: controller.signal,
    abort: (reason) => {
      controller.abort(reason);
    },
  };
}

/** Waits for what happens on its own. */
async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 5));
}
