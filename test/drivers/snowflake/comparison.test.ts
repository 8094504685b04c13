import { readFileSync } from "node:fs";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { OAuthError } from "warehouse-oauth";
import { snowflakeConnection, snowflakePool } from "warehouse-oauth/snowflake/driver";
import { freePort } from "../../services/service.ts";
import { allAsked } from "../../all-asked.ts";
import { connect, destroy, select, snowflake, type Connection, type ConnectionOptions, type Pool } from "./sdk.ts";
import { HOUR, MINUTE, openScene, type Scene, type SceneOptions } from "./scene.ts";

// The same scenarios three times: tokens from a session of this library; the driver's own OAuth (authorization code, with
// its token cache and its refresh); and a token as text, as people have it today. Same driver, same server, same time. The
// table that comes out is the one in docs/warehouses/snowflake-driver.md.

type Side = "session" | "driver" | "text";
const SIDES: readonly Side[] = ["session", "driver", "text"];

/** Somebody who signed in once, and is gone. */
interface User {
  readonly scene: Scene;
  connect(): Promise<Connection>;
  createPool(max: number): Promise<Pool>;
  /** Browser windows that the driver opened meanwhile. */
  readonly windows: () => number;
}

/** What a scenario came to, from the moment after the sign-in. */
interface Outcome {
  readonly calls: number;
  readonly failed: number;
  readonly refreshes: number;
  readonly logins: number;
  readonly refused: number;
  readonly windows: number;
  readonly said: readonly string[];
}

const opened: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

/** How long the driver waits for somebody to sign in in the window it opened. Its default is two minutes. */
const BROWSER_MS = 1_000;

async function openUser(side: Side, options: SceneOptions = {}): Promise<User> {
  const scene = await openScene(options);
  opened.push(() => scene.close());
  const keep = (connection: Connection): Connection => {
    opened.push(() => destroy(connection));
    return connection;
  };
  const keepPool = (pool: Pool): Pool => {
    opened.push(() => pool.drain().then(() => pool.clear()));
    return pool;
  };
  if (side === "session") {
    const { session } = scene;
    return {
      scene,
      connect: async () => keep(await snowflakeConnection(session, snowflake, scene.options)),
      createPool: async (max) => keepPool(await snowflakePool(session, snowflake, { ...scene.options, pool: { max } })),
      windows: () => 0,
    };
  }
  let windows = 0;
  let isThere = true;
  const own: ConnectionOptions =
    side === "text"
      ? { ...scene.options, authenticator: "OAUTH", token: await scene.session.getAccessToken() }
      : {
          ...scene.options,
          ...(await registerDriver(scene)),
          openExternalBrowserCallback: (url) => {
            windows++;
            if (isThere) void signIn(scene, url);
          },
        };
  if (side === "driver") await destroy(await connect(own));
  isThere = false;
  windows = 0;
  scene.logins.length = 0;
  return {
    scene,
    connect: async () => keep(await connect(own)),
    createPool: (max) => Promise.resolve(keepPool(snowflake.createPool(own, { max }))),
    windows: () => windows,
  };
}

/** The driver's own OAuth, at a client of its own. */
async function registerDriver({ fake }: Scene): Promise<ConnectionOptions> {
  const redirectUri = `http://127.0.0.1:${String(await freePort())}`;
  const clientSecret = "a secret of the driver's client";
  const { clientId, warehouse } = fake.register({ redirectUri, clientSecret });
  return {
    authenticator: "OAUTH_AUTHORIZATION_CODE",
    username: "ada", // without it, the driver does not find its tokens again
    clientStoreTemporaryCredential: true,
    oauthClientId: clientId,
    oauthClientSecret: clientSecret,
    oauthAuthorizationUrl: warehouse.authorizationEndpoint ?? "",
    oauthTokenRequestUrl: warehouse.tokenEndpoint,
    oauthRedirectUri: redirectUri,
    oauthScope: "refresh_token",
    oauthHttpAllowed: true,
    browserActionTimeout: BROWSER_MS,
  };
}

async function signIn({ fake }: Scene, url: string): Promise<void> {
  await fetch(await fake.signIn(new URL(url), { user: "ada" }));
}

/** Does it so often at once, and says what went wrong. */
async function all(count: number, run: () => Promise<unknown>): Promise<unknown[]> {
  const results = await Promise.allSettled(Array.from({ length: count }, run));
  return results.map((result) => (result.status === "rejected" ? (result.reason as unknown) : undefined));
}

const selectOnce = async (user: User): Promise<unknown> => select(await user.connect());

/** What a caller can tell an error by. */
function describeError(error: unknown): string {
  if (OAuthError.is(error)) return `\`${error.name}\` \`${error.code}\``;
  const { name, code } = error as { readonly name: string; readonly code?: string | number };
  return code === undefined ? `\`${name}\`, no code` : `\`${name}\` ${String(code)}`;
}

function outcomeOf({ scene, windows }: User, errors: readonly unknown[]): Outcome {
  const failed = errors.filter((error) => error !== undefined);
  const refused = scene.logins.filter((login) => login.refused !== undefined).length;
  return {
    calls: errors.length,
    failed: failed.length,
    refreshes: scene.refreshes(),
    logins: scene.logins.length,
    refused,
    windows: windows(),
    said: [...new Set(failed.map(describeError))].sort(),
  };
}

interface Scenario {
  readonly title: string;
  readonly run: (side: Side) => Promise<Outcome>;
  readonly outcomes: Readonly<Record<Side, Outcome>>;
}

const went = (calls: number, changes: Partial<Outcome> = {}): Outcome => ({
  calls,
  failed: 0,
  refreshes: 0,
  logins: calls,
  refused: 0,
  windows: 0,
  said: [],
  ...changes,
});

const EXPIRED = ["`OperationFailedError` 390318"];
const NOBODY_THERE = ["`NetworkError` 401001"];

/** How many connections find the cache emptied by another one is a matter of moments; that they do not share is not. */
const SEVERAL = { asymmetricMatch: (count: number) => count > 1 } as unknown as number;

/** Whoever asks for a token in parallel has asked before anybody gets an answer. */
async function eightAtOnce(side: Side, options?: SceneOptions): Promise<Outcome> {
  const user = await openUser(side, options);
  user.scene.pass(11 * MINUTE);
  const over = new AbortController();
  const until = allAsked(() => user.scene.refreshes(), over.signal);
  user.scene.fake.fail({ at: "token", kind: "hold", until, times: 8 });
  const errors = await all(8, () => selectOnce(user));
  over.abort();
  return outcomeOf(user, errors);
}

/** Tries often, without a test waiting for it. */
const QUICKLY: SceneOptions = { manager: { retry: { baseDelayMs: 10 } } };

const SCENARIOS: readonly Scenario[] = [
  {
    title: "connect and `select 1`",
    run: async (side) => {
      const user = await openUser(side);
      return outcomeOf(user, await all(1, () => selectOnce(user)));
    },
    outcomes: { session: went(1), driver: went(1), text: went(1) },
  },
  {
    title: "the token ends: a query in an open connection, one in a new one",
    run: async (side) => {
      const user = await openUser(side);
      const connection = await user.connect();
      user.scene.pass(11 * MINUTE);
      const errors = [...(await all(1, () => select(connection))), ...(await all(1, () => selectOnce(user)))];
      return outcomeOf(user, errors);
    },
    outcomes: {
      session: went(2, { refreshes: 1 }),
      driver: went(2, { refreshes: 1, logins: 3, refused: 1 }),
      text: went(2, { failed: 1, refused: 1, said: EXPIRED }),
    },
  },
  {
    title: "the server refuses a token whose time is not over",
    run: async (side) => {
      const user = await openUser(side);
      user.scene.refuse("390303", "Invalid OAuth access token. [5f0c]");
      return outcomeOf(user, await all(1, () => selectOnce(user)));
    },
    outcomes: {
      session: went(1, { refreshes: 1, logins: 2, refused: 1 }),
      driver: went(1, { refreshes: 1, logins: 2, refused: 1 }),
      text: went(1, { failed: 1, refused: 1, said: ["`OperationFailedError` 390303"] }),
    },
  },
  {
    title: "eight connections at once after the token's end",
    run: (side) => eightAtOnce(side),
    outcomes: {
      session: went(8, { refreshes: 1 }),
      driver: went(8, { refreshes: SEVERAL, logins: SEVERAL, refused: SEVERAL }),
      text: went(8, { failed: 8, refused: 8, said: EXPIRED }),
    },
  },
  {
    title: "the same, refresh tokens that work once",
    run: (side) => eightAtOnce(side, { refreshRotation: "single-use" }),
    outcomes: {
      session: went(8, { refreshes: 1 }),
      driver: went(8, {
        failed: SEVERAL,
        refreshes: SEVERAL,
        logins: SEVERAL,
        refused: SEVERAL,
        windows: 1,
        said: NOBODY_THERE,
      }),
      text: went(8, { failed: 8, refused: 8, said: EXPIRED }),
    },
  },
  {
    title: "the token endpoint is down, the token is good for another minute",
    run: async (side) => {
      const user = await openUser(side, QUICKLY);
      user.scene.fake.fail({ at: "token", kind: "status", status: 503, times: Infinity });
      user.scene.pass(9 * MINUTE);
      return outcomeOf(user, await all(1, () => selectOnce(user)));
    },
    outcomes: { session: went(1, { refreshes: 1 }), driver: went(1), text: went(1) },
  },
  {
    title: "it is down when the token has ended: one call then, one when it is back",
    run: async (side) => {
      const user = await openUser(side, QUICKLY);
      const restore = user.scene.fake.fail({ at: "token", kind: "status", status: 503, times: Infinity });
      user.scene.pass(11 * MINUTE);
      const during = await all(1, () => selectOnce(user));
      restore();
      user.scene.pass(MINUTE);
      return outcomeOf(user, [...during, ...(await all(1, () => selectOnce(user)))]);
    },
    outcomes: {
      session: went(2, {
        failed: 1,
        refreshes: 5,
        logins: 1,
        said: ["`TransportError` `server_unavailable`"],
      }),
      driver: went(2, {
        failed: 2,
        refreshes: 1,
        logins: 1,
        refused: 1,
        windows: 2,
        said: ["`Error`, no code", ...NOBODY_THERE],
      }),
      text: went(2, { failed: 2, refused: 2, said: EXPIRED }),
    },
  },
  {
    title: "the answer to a refresh is lost on its way",
    run: async (side) => {
      const user = await openUser(side, QUICKLY);
      user.scene.fake.fail({ at: "token", kind: "drop", when: "after" });
      user.scene.pass(11 * MINUTE);
      return outcomeOf(user, await all(1, () => selectOnce(user)));
    },
    outcomes: {
      session: went(1, { refreshes: 2 }),
      driver: went(1, { failed: 1, refreshes: 1, refused: 1, windows: 1, said: NOBODY_THERE }),
      text: went(1, { failed: 1, refused: 1, said: EXPIRED }),
    },
  },
  {
    title: "the grant was withdrawn",
    run: async (side) => {
      const user = await openUser(side);
      user.scene.fake.revokeGrants();
      user.scene.pass(11 * MINUTE);
      return outcomeOf(user, await all(1, () => selectOnce(user)));
    },
    outcomes: {
      session: went(1, {
        failed: 1,
        refreshes: 1,
        logins: 0,
        said: ["`ReauthorizationRequiredError` `reauthorization_required`"],
      }),
      driver: went(1, { failed: 1, refreshes: 1, refused: 1, windows: 1, said: NOBODY_THERE }),
      text: went(1, { failed: 1, refused: 1, said: ["`OperationFailedError` 390303"] }),
    },
  },
  {
    title: "the session ends after five idle hours: a query in it, one in a new connection",
    run: async (side) => {
      const user = await openUser(side);
      const connection = await user.connect();
      user.scene.pass(5 * HOUR);
      const errors = [...(await all(1, () => select(connection))), ...(await all(1, () => selectOnce(user)))];
      return outcomeOf(user, errors);
    },
    outcomes: {
      session: went(2, { failed: 1, refreshes: 1, said: ["`ClientError` 407002"] }),
      driver: went(2, { failed: 1, refreshes: 1, said: ["`ClientError` 407002"] }),
      text: went(2, { failed: 2, refused: 1, said: ["`ClientError` 407002", ...EXPIRED] }),
    },
  },
];

/** What everybody does: five seconds of life, six lives, ten logins every half of one. */
const POOL = { lifetimeMs: 5_000, lives: 6, max: 10 };

/** Ten connections at once, queried and ended, so that the next time has ten logins again. */
async function useUp(pool: Pool): Promise<unknown[]> {
  const lent: Connection[] = [];
  const errors = await all(POOL.max, async () => {
    const connection = await pool.acquire();
    lent.push(connection);
    await select(connection);
  });
  for (const connection of lent) await pool.destroy(connection);
  return errors;
}

async function liveInPool(side: Side): Promise<Outcome> {
  const user = await openUser(side, { accessTokenLifetimeMs: POOL.lifetimeMs, clockStands: true });
  const pool = await user.createPool(POOL.max);
  const errors: unknown[] = [];
  for (let half = 0; half < POOL.lives * 2; half++) {
    errors.push(...(await useUp(pool)));
    user.scene.pass(POOL.lifetimeMs / 2);
  }
  return outcomeOf(user, errors);
}

/** By scenario and side, what the table says. */
const cells = new Map<string, Partial<Record<Side, string>>>();

function note(title: string, side: Side, outcome: Outcome): void {
  const { calls, failed, refreshes, refused, windows, said } = outcome;
  const count = (number: number, one: string, more: string): string[] =>
    number === 0 ? [] : [`${String(number)} ${number === 1 ? one : more}`];
  const parts = [
    `${failed === 0 ? "none" : String(failed)} of ${String(calls)} failed`,
    ...count(refreshes, "refresh", "refreshes"),
    ...count(refused, "refused login", "refused logins"),
    ...count(windows, "browser window", "browser windows"),
  ];
  cells.set(title, { ...cells.get(title), [side]: [parts.join(", "), ...said].join("; ") });
}

const toLine = (row: readonly string[]): string => `| ${row.join(" | ")} |`;

function rowsOf(): string[] {
  return [...cells].map(([title, row]) => toLine([title, ...SIDES.map((side) => row[side] ?? "")]));
}

afterAll(() => {
  const heads = ["what happens", "`warehouse-oauth`", "the driver's own OAuth", "a token as text"];
  process.stdout.write(`\n${[toLine(heads), toLine(heads.map(() => "---")), ...rowsOf()].join("\n")}\n\n`);
});

describe.each(SCENARIOS)("$title", ({ title, run, outcomes }) => {
  test.each(SIDES)("%s", async (side) => {
    const outcome = await run(side);
    note(title, side, outcome);
    expect(outcome).toEqual(outcomes[side]);
  });
});

const POOL_TITLE = "a pool of ten over six lives of five seconds, ten logins twice in each";

test(POOL_TITLE, async () => {
  const outcomes = await Promise.all(SIDES.map((side) => liveInPool(side)));
  SIDES.forEach((side, index) => {
    const outcome = outcomes[index];
    if (outcome !== undefined) note(POOL_TITLE, side, outcome);
  });
  const [session, driver, text] = outcomes;
  expect(session).toMatchObject({
    calls: 120,
    failed: 0,
    refreshes: POOL.lives - 1,
    logins: 120,
    refused: 0,
    windows: 0,
  });
  expect(driver?.refused).toBeGreaterThan(0);
  expect(text?.failed).toBe(100);
});

test("docs/warehouses/snowflake-driver.md says what came out", () => {
  const page = readFileSync(new URL("../../../docs/warehouses/snowflake-driver.md", import.meta.url), "utf8");
  const told = page.replaceAll(/ +/g, " ").split("\n");
  // Counts of several are a matter of moments: there the page has those of one run.
  const several = SCENARIOS.filter(({ outcomes }) => typeof outcomes.driver.refreshes !== "number");
  const varies = new Set([POOL_TITLE, ...several.map(({ title }) => title)]);
  const rows = rowsOf().filter((row) => ![...varies].some((title) => row.startsWith(`| ${title} |`)));
  expect(rows.length).toBeGreaterThan(0);
  expect(told).toEqual(expect.arrayContaining(rows));
});
