import { describe, expect, test } from "vitest";
import type { GetAccessTokenOptions, TokenSource } from "warehouse-oauth";
import { snowflakeConnection, snowflakePool, type SnowflakeConnectionShape } from "warehouse-oauth/snowflake/driver";

// The glue alone, against objects of the driver's shape that fail on command. With the driver itself: test/drivers/snowflake.

type Call = GetAccessTokenOptions | undefined;

/** Hands out `t1`, and `t2` once `t1` was refused, and so on. */
class Source implements TokenSource {
  readonly calls: Call[] = [];
  number = 1;
  expired = false;
  failure: Error | undefined;

  get current(): string {
    return `t${String(this.number)}`;
  }

  getAccessToken(options?: GetAccessTokenOptions): Promise<string> {
    this.calls.push(options);
    if (this.failure !== undefined) return Promise.reject(this.failure);
    if (this.expired || options?.rejected === this.current) this.number++;
    this.expired = false;
    return Promise.resolve(this.current);
  }

  peek(): string | undefined {
    return this.expired ? undefined : this.current;
  }
}

/** What becomes of a login: an error, a dead session, no answer for now, or success. */
type Fate = Error | "dead" | "open" | "well";

interface Options {
  readonly account?: string;
  readonly token?: string;
  readonly authenticator?: string;
}

class Connection implements SnowflakeConnectionShape {
  readonly token: string | undefined;
  up = true;
  destroyed = false;
  answer: (error?: Error) => void = () => undefined;
  readonly #fate: Fate;

  constructor(token: string | undefined, fate: Fate) {
    this.token = token;
    this.#fate = fate;
  }

  connect(callback: (error: Error | null | undefined) => void): this {
    const fate = this.#fate;
    this.up = fate !== "dead";
    this.answer = callback;
    if (fate !== "open")
      queueMicrotask(() => {
        callback(fate instanceof Error ? fate : null);
      });
    return this;
  }

  destroy(callback: () => void): void {
    this.destroyed = true;
    callback();
  }

  isUp(): boolean {
    return this.up;
  }
}

class Sdk {
  readonly made: Connection[] = [];
  readonly options: (Options | undefined)[] = [];
  readonly fates: Fate[];

  constructor(...fates: Fate[]) {
    this.fates = fates;
  }

  createConnection(options?: Options): Connection {
    this.options.push(options);
    const connection = new Connection(options?.token, this.fates.shift() ?? "well");
    this.made.push(connection);
    return connection;
  }

  readonly tokens = (): (string | undefined)[] => this.made.map(({ token }) => token);
}

const refusal = (code: string | number, message = "no"): Error => Object.assign(new Error(message), { code });

async function caught(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("expected it to be rejected");
}

describe("snowflakeConnection", () => {
  test("gives the driver its options, the token and how to send it, and nothing else", async () => {
    const source = new Source();
    const sdk = new Sdk();
    const { signal } = new AbortController();
    const connection = await snowflakeConnection(source, sdk, { account: "acme-prod", signal });
    expect(connection).toBe(sdk.made[0]);
    expect(sdk.options).toEqual([{ account: "acme-prod", authenticator: "OAUTH", token: "t1" }]);
    expect(source.calls).toEqual([{ signal }]);
  });

  test.each(["390303", "390318", 390318])("R-04 replaces a token refused with %s, once", async (code) => {
    const source = new Source();
    const sdk = new Sdk(refusal(code));
    expect(await snowflakeConnection(source, sdk, {})).toBe(sdk.made[1]);
    expect(sdk.tokens()).toEqual(["t1", "t2"]);
    expect(source.calls).toEqual([{}, { rejected: "t1" }]);
  });

  test("R-04 gives the driver's error if the new token is refused, too", async () => {
    const second = refusal("390303");
    const sdk = new Sdk(refusal("390318"), second);
    expect(await caught(snowflakeConnection(new Source(), sdk, {}))).toBe(second);
    expect(sdk.made).toHaveLength(2);
  });

  test.each(["390104", "390111", "390112", "390113", "390114", "390115", 405503, 407002])(
    "takes a new connection when the session is dead on arrival (%s), with the token that is good",
    async (code) => {
      const source = new Source();
      const sdk = new Sdk(refusal(code));
      expect(await snowflakeConnection(source, sdk, {})).toBe(sdk.made[1]);
      expect(sdk.tokens()).toEqual(["t1", "t1"]);
      expect(source.calls).toEqual([{}, {}]);
    },
  );

  test("takes a new connection when the login went well and the session is down", async () => {
    const sdk = new Sdk("dead");
    expect(await snowflakeConnection(new Source(), sdk, {})).toBe(sdk.made[1]);
  });

  test.each([refusal("390317"), refusal(401001), new Error("390303")])(
    "gives any other error as it is",
    async (error) => {
      const sdk = new Sdk(error);
      expect(await caught(snowflakeConnection(new Source(), sdk, {}))).toBe(error);
      expect(sdk.made).toHaveLength(1);
    },
  );

  test("gives what the driver throws for a wrong option", async () => {
    const error = new TypeError("account");
    const sdk = {
      createConnection(): Connection {
        throw error;
      },
    };
    expect(await caught(snowflakeConnection(new Source(), sdk, {}))).toBe(error);
  });

  test("gives the session's error as it is, before and after a refusal", async () => {
    const source = new Source();
    source.failure = new Error("ours");
    const sdk = new Sdk(refusal("390318"));
    expect(await caught(snowflakeConnection(source, sdk, {}))).toBe(source.failure);
    expect(sdk.made).toHaveLength(0);

    const { failure } = source;
    source.failure = undefined;
    const login = snowflakeConnection(source, sdk, {});
    source.failure = failure;
    expect(await caught(login)).toBe(failure);
    expect(sdk.made).toHaveLength(1);
  });

  test("a wait that is given up ends with the signal's reason, and the session that begins after all is ended", async () => {
    const sdk = new Sdk("open");
    const controller = new AbortController();
    const waiting = caught(snowflakeConnection(new Source(), sdk, { signal: controller.signal }));
    await Promise.resolve();
    await Promise.resolve();
    const [connection] = sdk.made;
    const reason = new Error("enough");
    controller.abort(reason);
    expect(await waiting).toBe(reason);
    expect(connection?.destroyed).toBe(false);
    connection?.answer();
    await new Promise((resolve) => setImmediate(resolve));
    expect(connection?.destroyed).toBe(true);
  });

  test("a login that fails after it was given up on disturbs nobody", async () => {
    const sdk = new Sdk("open");
    const controller = new AbortController();
    const waiting = caught(snowflakeConnection(new Source(), sdk, { signal: controller.signal }));
    await Promise.resolve();
    await Promise.resolve();
    controller.abort(new Error("enough"));
    await waiting;
    sdk.made[0]?.answer(refusal("390318"));
    await new Promise((resolve) => setImmediate(resolve));
    expect(sdk.made[0]?.destroyed).toBe(false);
    expect(sdk.made).toHaveLength(1);
  });
});

/** Lends as the driver's pool does: whoever waits is told of any login that fails, by a new error with the message alone. */
class Pool {
  readonly sdk: Sdk;
  readonly options: Options;
  readonly poolOptions: { readonly max?: number } | undefined;
  readonly idle: Connection[] = [];
  readonly lent = new Set<Connection>();
  readonly destroyed: Connection[] = [];
  /** Logins under way; each is ended by hand if `byHand` says so. */
  readonly pending: Connection[] = [];
  byHand = false;
  #waiting: { resolve: (connection: Connection) => void; reject: (error: Error) => void }[] = [];

  constructor(sdk: Sdk, options: Options, poolOptions?: { readonly max?: number }) {
    this.sdk = sdk;
    this.options = options;
    this.poolOptions = poolOptions;
  }

  get size(): number {
    return this.idle.length + this.lent.size + this.pending.length;
  }
  get available(): number {
    return this.idle.length;
  }
  get borrowed(): number {
    return this.lent.size;
  }
  get spareResourceCapacity(): number {
    return (this.poolOptions?.max ?? 1) - this.size;
  }

  acquire(): Promise<Connection> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#dispense();
    });
  }

  async use<T>(run: (connection: Connection) => Promise<T>): Promise<T> {
    const connection = await this.acquire();
    try {
      return await run(connection);
    } finally {
      await this.release(connection);
    }
  }

  release(connection: Connection): Promise<void> {
    this.lent.delete(connection);
    this.idle.push(connection);
    this.#dispense();
    return Promise.resolve();
  }

  destroy(connection: Connection): Promise<void> {
    this.lent.delete(connection);
    this.destroyed.push(connection);
    return Promise.resolve();
  }

  /** A login under way fails with this message. */
  fail(message: string): void {
    this.pending.shift();
    const waiting = this.#waiting;
    this.#waiting = [];
    // Last come, first told: the driver's pools go by priority.
    for (const { reject } of waiting.reverse()) reject(new Error(message));
  }

  /** A login under way succeeds. */
  succeed(): void {
    const connection = this.pending.shift();
    if (connection !== undefined) this.idle.push(connection);
    this.#dispense();
  }

  #dispense(): void {
    while (this.#waiting.length > 0 && this.idle.length > 0) {
      const connection = this.idle.shift();
      if (connection === undefined) return;
      this.lent.add(connection);
      this.#waiting.shift()?.resolve(connection);
    }
    while (this.#waiting.length > this.pending.length && this.spareResourceCapacity > 0) this.#logIn();
  }

  #logIn(): void {
    const connection = this.sdk.createConnection(this.options);
    this.pending.push(connection);
    if (this.byHand) return;
    connection.connect((error) => {
      if (error !== undefined && error !== null) {
        this.fail(error.message);
        return;
      }
      this.pending.splice(this.pending.indexOf(connection), 1);
      this.idle.push(connection);
      this.#dispense();
    });
  }
}

class PoolSdk extends Sdk {
  readonly pools: Pool[] = [];

  createPool(options?: Options, poolOptions?: { readonly max?: number }): Pool {
    const pool = new Pool(this, options ?? {}, poolOptions);
    this.pools.push(pool);
    return pool;
  }
}

const EXPIRED = "OAuth access token expired. [5b]";
const INVALID = "Invalid OAuth access token. [5b]";

describe("snowflakePool", () => {
  test("reads the first token beforehand, and gives the driver a getter over the current one", async () => {
    const source = new Source();
    const sdk = new PoolSdk();
    const { signal } = new AbortController();
    const pool = await snowflakePool(source, sdk, { account: "acme-prod", signal, pool: { max: 3 } });
    expect(source.calls).toEqual([{ signal }]);
    expect(pool).toBe(sdk.pools[0]);
    expect(pool.poolOptions).toEqual({ max: 3 });
    expect({ ...pool.options }).toEqual({ account: "acme-prod", authenticator: "OAUTH", token: "t1" });
    source.number = 5;
    expect(pool.options.token).toBe("t5");
  });

  test("makes no pool without a first token", async () => {
    const source = new Source();
    source.failure = new Error("ours");
    const sdk = new PoolSdk();
    expect(await caught(snowflakePool(source, sdk, {}))).toBe(source.failure);
    expect(sdk.pools).toEqual([]);
  });

  test("the getter never throws: without a good token it gives the last one, for the server to refuse", async () => {
    const source = new Source();
    const { options } = await snowflakePool(source, new PoolSdk(), {});
    source.number = 2;
    expect(options.token).toBe("t2");
    source.expired = true;
    expect(options.token).toBe("t2");
  });

  test("waits for a good token before a login", async () => {
    const source = new Source();
    const sdk = new PoolSdk();
    const pool = await snowflakePool(source, sdk, { pool: { max: 2 } });
    source.expired = true;
    await Promise.all([pool.acquire(), pool.acquire()]);
    expect(sdk.tokens()).toEqual(["t2", "t2"]);
  });

  test("an open connection is lent without a token, and the session is used all the same", async () => {
    const source = new Source();
    const sdk = new PoolSdk();
    const pool = await snowflakePool(source, sdk, { pool: { max: 2 } });
    await pool.use(() => Promise.resolve());
    source.failure = new Error("ours");
    const before = source.calls.length;
    await pool.use(() => Promise.resolve());
    expect(source.calls).toHaveLength(before + 1);
    expect(sdk.made).toHaveLength(1);
  });

  test("who waits for a connection that is lent waits for no token", async () => {
    const source = new Source();
    const pool = await snowflakePool(source, new PoolSdk(), { pool: { max: 1 } });
    const lent = await pool.acquire();
    source.failure = new Error("ours");
    const waiting = pool.acquire();
    await pool.release(lent);
    expect(await waiting).toBe(lent);
  });

  test("what the session throws comes out of acquire and use as it is", async () => {
    const source = new Source();
    const sdk = new PoolSdk();
    const pool = await snowflakePool(source, sdk, { pool: { max: 1 } });
    source.failure = new Error("ours");
    expect(await caught(pool.acquire())).toBe(source.failure);
    expect(await caught(pool.use(() => Promise.resolve()))).toBe(source.failure);
    expect(sdk.made).toHaveLength(0);
  });

  test.each([
    EXPIRED,
    INVALID,
    "invalid oauth access token.",
    "The OAuth access token is invalid.",
    "OAUTH ACCESS TOKEN EXPIRED",
  ])("R-04 a login refused with %j is tried again with a new token", async (message) => {
    const source = new Source();
    const sdk = new PoolSdk(new Error(message));
    const pool = await snowflakePool(source, sdk, { pool: { max: 1 } });
    expect((await pool.acquire()).token).toBe("t2");
    expect(source.calls.filter((call) => call?.rejected !== undefined)).toEqual([{ rejected: "t1" }]);
  });

  test("R-04 four refused at once make one refresh and one login more before the others go on", async () => {
    const source = new Source();
    const sdk = new PoolSdk(...Array.from({ length: 4 }, () => new Error(EXPIRED)));
    const pool = await snowflakePool(source, sdk, { pool: { max: 4 } });
    const lent = await Promise.all(Array.from({ length: 4 }, () => pool.acquire()));
    expect(new Set(lent).size).toBe(4);
    expect(source.number).toBe(2);
    expect(sdk.tokens()).toEqual(["t1", "t1", "t1", "t1", "t2", "t2", "t2", "t2"]);
  });

  test("R-04 logins that were under way with the old token do not make the new one look refused", async () => {
    const source = new Source();
    const sdk = new PoolSdk();
    const pool = await snowflakePool(source, sdk, { pool: { max: 3 } });
    pool.byHand = true;
    const lent = Promise.all([pool.acquire(), pool.acquire(), pool.acquire()]);
    const settle = (): Promise<unknown> => new Promise((resolve) => setImmediate(resolve));
    await settle();
    for (let old = 0; old < 3; old++) {
      if (old === 2) pool.byHand = false;
      pool.fail(EXPIRED);
      await settle();
    }
    expect(new Set(await lent).size).toBe(3);
    expect(source.number).toBe(2);
    expect(source.calls.filter((call) => call?.rejected !== undefined)).toEqual([{ rejected: "t1" }]);
    expect(sdk.tokens().slice(3)).toEqual(["t2", "t2", "t2"]);
  });

  test("R-04 an old login that fails after the new token was tried does not make that look refused", async () => {
    const source = new Source();
    const pool = await snowflakePool(source, new PoolSdk(), { pool: { max: 3 } });
    const settle = (): Promise<unknown> => new Promise((resolve) => setImmediate(resolve));
    const first = await pool.acquire();
    pool.byHand = true;
    const lent = Promise.all([pool.acquire(), pool.acquire(), pool.acquire()]);
    await settle();
    expect(pool.pending.map(({ token }) => token)).toEqual(["t1", "t1"]);
    pool.fail(EXPIRED);
    await settle();
    await pool.release(first);
    await settle();
    expect(pool.pending.map(({ token }) => token)).toEqual(["t1", "t2"]);
    pool.fail(EXPIRED);
    await settle();
    pool.byHand = false;
    pool.succeed();
    expect(new Set(await lent).size).toBe(3);
    expect(source.number).toBe(2);
  });

  test("a refused token that others replaced meanwhile is not refused again", async () => {
    const source = new Source();
    const sdk = new PoolSdk();
    const pool = await snowflakePool(source, sdk, { pool: { max: 1 } });
    pool.byHand = true;
    const lent = pool.acquire();
    await new Promise((resolve) => setImmediate(resolve));
    source.number = 7;
    pool.byHand = false;
    pool.fail(INVALID);
    expect((await lent).token).toBe("t7");
    expect(source.number).toBe(7);
  });

  test.each([
    [EXPIRED, "390318"],
    [INVALID, "390303"],
  ])("%j that stays has its code back", async (message, code) => {
    const sdk = new PoolSdk(...Array.from({ length: 9 }, () => new Error(message)));
    const pool = await snowflakePool(new Source(), sdk, { pool: { max: 1 } });
    expect(await caught(pool.acquire())).toMatchObject({ name: "Error", message, code });
    expect(sdk.made).toHaveLength(2);
  });

  test.each(["Network error. Could not reach Snowflake.", "max waitingClients count exceeded"])(
    "%j is the driver's own error, at once",
    async (message) => {
      const sdk = new PoolSdk(new Error(message));
      const pool = await snowflakePool(new Source(), sdk, { pool: { max: 1 } });
      const error = await caught(pool.acquire());
      expect(error).toMatchObject({ message });
      expect(error).not.toHaveProperty("code");
      expect(sdk.made).toHaveLength(1);
    },
  );

  test("what is final arrives as ours when a login found out", async () => {
    const source = new Source();
    const sdk = new PoolSdk();
    const pool = await snowflakePool(source, sdk, { pool: { max: 1 } });
    pool.byHand = true;
    const lent = caught(pool.acquire());
    await new Promise((resolve) => setImmediate(resolve));
    source.failure = new Error("ours");
    pool.fail(INVALID);
    expect(await lent).toBe(source.failure);
  });

  test("lends no connection whose session is dead", async () => {
    const sdk = new PoolSdk();
    const pool = await snowflakePool(new Source(), sdk, { pool: { max: 2 } });
    const first = await pool.acquire();
    const second = await pool.acquire();
    await pool.release(first);
    await pool.release(second);
    first.up = false;
    second.up = false;
    const third = await pool.acquire();
    expect(third).toBe(sdk.made[2]);
    expect(pool.destroyed).toEqual([first, second]);
  });
});
