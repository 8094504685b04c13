import type { DBSQLClient } from "@databricks/sql";
import { OAuthError, TokenManager, exchangeToken, type TokenSession } from "warehouse-oauth";
import { databricksAuth, withDatabricksRetry } from "warehouse-oauth/databricks/driver";
import { afterEach, describe, expect, test } from "vitest";
import { identityProvider } from "./identity-provider.ts";
import { HOUR, MINUTE, openScene, select, thrownBy, whilePassing, type Attempt, type Scene } from "./scene.ts";
import { connect, startWorkspace, type Workspace } from "./workspace.ts";

// The real driver with this library's glue, against a workspace on loopback.

const ROWS = [{ one: 1 }];

/** How often the token of a driver's request is asked for when a result does not come with its statement. */
const CALLS_OF_A_QUERY = [
  "OpenSession",
  "ExecuteStatement",
  "GetOperationStatus",
  "GetResultSetMetadata",
  "FetchResults",
  "FetchResults",
  "CloseOperation",
  "CloseSession",
];

const opened: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.close();
});

async function open(
  ...options: Parameters<typeof openScene>
): Promise<
  Scene & { readonly client: DBSQLClient; readonly attempt: Attempt; readonly tokens: () => readonly string[] }
> {
  const scene = await openScene(...options);
  const client = await connect(scene.workspace, databricksAuth(scene.session));
  opened.push(scene, { close: () => client.close().catch(() => undefined) });
  return {
    ...scene,
    client,
    attempt: (operation) => withDatabricksRetry(scene.session, operation),
    tokens: () => [...new Set(scene.workspace.calls.map(({ token }) => token))],
  };
}

const failures = ({ calls }: Workspace): number => calls.filter(({ status }) => status !== 200).length;

describe("a token that is good", () => {
  test("connect sends nothing; select 1, with and without direct results, is asked for its token each time", async () => {
    const { client, workspace, tokens } = await open();
    expect(workspace.calls).toEqual([]);
    for (const direct of [true, false]) {
      workspace.direct = direct;
      const sql = await client.openSession();
      expect(await select(sql)).toEqual(ROWS);
      await sql.close();
    }
    expect(workspace.calls.slice(0, 3).map(({ method }) => method)).toEqual([
      "OpenSession",
      "ExecuteStatement",
      "CloseSession",
    ]);
    expect(workspace.calls.slice(3).map(({ method }) => method)).toEqual(CALLS_OF_A_QUERY);
    expect(tokens()).toHaveLength(1);
    expect(workspace.tokenRequests()).toHaveLength(0);
  });
});

describe("a token that ends", () => {
  test("R-01 between two statements of one session: the next one brings the next token", async () => {
    const { client, workspace, pass, attempt, tokens } = await open();
    const sql = await client.openSession();
    expect(await select(sql, attempt)).toEqual(ROWS);
    await pass(2 * HOUR);
    expect(await select(sql, attempt)).toEqual(ROWS);
    expect(workspace.tokenRequests()).toHaveLength(1);
    expect(tokens()).toHaveLength(2);
    expect(failures(workspace)).toBe(0);
  });

  test("R-01 between a statement and its rows: the same operation goes on with the next token", async () => {
    const { client, workspace, pass, tokens } = await open();
    workspace.direct = false;
    const sql = await client.openSession();
    const operation = await sql.executeStatement("select 1");
    await pass(2 * HOUR);
    expect(await operation.fetchAll()).toEqual(ROWS);
    expect(workspace.tokenRequests()).toHaveLength(1);
    expect(tokens()).toHaveLength(2);
  });

  test("R-04 for eight queries at once: one refresh, and all have their rows", async () => {
    const { client, workspace, pass, attempt } = await open();
    const sessions = await Promise.all(Array.from({ length: 8 }, () => client.openSession()));
    await pass(2 * HOUR);
    const results = await Promise.all(sessions.map((sql) => select(sql, attempt)));
    expect(results).toEqual(Array(8).fill(ROWS));
    expect(workspace.tokenRequests()).toHaveLength(1);
    expect(failures(workspace)).toBe(0);
  });
});

describe("a token that is refused", () => {
  test.each([
    [403, "in Databricks' words", undefined],
    [401, "without a word", 401],
  ])("R-04 with %i, %s: replaced, and the statement runs once more in the same session", async (status, _, refusal) => {
    const { client, workspace, attempt } = await open();
    workspace.refusal = refusal;
    const sql = await client.openSession();
    workspace.fake.expireAccessTokens();
    expect(await select(sql, attempt)).toEqual(ROWS);
    expect(workspace.calls.map((call) => call.status)).toEqual([200, status, 200]);
    expect(workspace.tokenRequests()).toHaveLength(1);
  });

  test("without the retry it reaches the caller as the driver's error, and the driver's session lives on", async () => {
    const { client, workspace, attempt } = await open();
    workspace.refusal = 401;
    const sql = await client.openSession();
    workspace.fake.expireAccessTokens();
    expect(await thrownBy(select(sql))).toMatchObject({ statusCode: 401, response: { status: 401 } });
    expect(await select(sql, attempt)).toEqual(ROWS);
  });

  test("R-04 for eight queries at once: one refresh, and all have their rows", async () => {
    const { client, workspace, attempt } = await open();
    const sessions = await Promise.all(Array.from({ length: 8 }, () => client.openSession()));
    workspace.fake.expireAccessTokens();
    const results = await Promise.all(sessions.map((sql) => select(sql, attempt)));
    expect(results).toEqual(Array(8).fill(ROWS));
    expect(failures(workspace)).toBe(8);
    expect(workspace.tokenRequests()).toHaveLength(1);
  });

  test("a workspace that refuses every token gets two requests and one refresh", async () => {
    const { client, workspace, attempt } = await open();
    const sql = await client.openSession();
    workspace.fake.fail({ at: "api", kind: "status", status: 401, times: Infinity });
    expect(await thrownBy(select(sql, attempt))).toMatchObject({ statusCode: 401 });
    expect(failures(workspace)).toBe(2);
    expect(workspace.tokenRequests()).toHaveLength(1);
  });

  test("a missing right is no reason for another token", async () => {
    const { client, workspace, attempt } = await open();
    const sql = await client.openSession();
    workspace.fake.fail({ at: "api", kind: "status", status: 403 });
    expect(await thrownBy(select(sql, attempt))).toMatchObject({ statusCode: 403 });
    expect(failures(workspace)).toBe(1);
    expect(workspace.tokenRequests()).toHaveLength(0);
  });
});

describe("a token that is refused while rows are read", () => {
  const SECOND_CHUNK = { method: "FetchResults", call: 2 };

  test("R-04 a whole query that only reads is begun anew", async () => {
    const { client, workspace, attempt } = await open();
    workspace.direct = false;
    const sql = await client.openSession();
    workspace.refuseAt = SECOND_CHUNK;
    expect(await attempt(() => select(sql))).toEqual(ROWS);
    expect(workspace.calls.filter(({ method }) => method === "ExecuteStatement")).toHaveLength(2);
    expect(workspace.tokenRequests()).toHaveLength(1);
  });

  test.each(["fetchAll", "fetchChunk"] as const)(
    "%s alone is not for the retry: what it had read before the refusal is gone",
    async (method) => {
      const { client, workspace, attempt } = await open();
      workspace.direct = false;
      const sql = await client.openSession();
      const operation = await sql.executeStatement("select 1");
      workspace.refuseAt = SECOND_CHUNK;
      expect(await attempt(() => operation[method]())).toEqual([]);
    },
  );

  test("waiting for a statement may be repeated", async () => {
    const { client, workspace, attempt } = await open();
    workspace.direct = false;
    const sql = await client.openSession();
    const operation = await sql.executeStatement("select 1");
    workspace.refuseAt = { method: "GetOperationStatus", call: 1 };
    await attempt(() => operation.finished());
    expect(await operation.fetchAll()).toEqual(ROWS);
  });
});

describe("a refresh that fails", () => {
  test("R-03 nobody notices while the old token is good; afterwards the caller gets our error", async () => {
    const scene = await open();
    const { client, workspace, pass, attempt } = scene;
    const sql = await client.openSession();
    await pass(55 * MINUTE);
    const repair = workspace.fake.fail({ at: "token", kind: "status", status: 503, times: Infinity });
    expect(await select(sql, attempt)).toEqual(ROWS);
    await pass(2 * MINUTE);
    expect(await select(sql, attempt)).toEqual(ROWS);
    expect(workspace.tokenRequests().length).toBeGreaterThan(0);
    expect(failures(workspace)).toBe(0);

    await pass(10 * MINUTE);
    const error = await thrownBy(whilePassing(scene, select(sql, attempt)));
    expect(OAuthError.is(error)).toBe(true);
    expect(error).toMatchObject({ retryable: true });

    repair();
    await pass(10 * MINUTE);
    expect(await whilePassing(scene, select(sql, attempt))).toEqual(ROWS);
  });

  test("R-13 a grant that has ended: ReauthorizationRequiredError from every call, after one request", async () => {
    const { client, workspace, pass, attempt } = await open();
    const sql = await client.openSession();
    workspace.fake.revokeGrants();
    await pass(2 * HOUR);
    const expected = { name: "ReauthorizationRequiredError", code: "reauthorization_required" };
    expect(await thrownBy(select(sql, attempt))).toMatchObject(expected);
    expect(await thrownBy(select(sql))).toMatchObject(expected);
    expect(await thrownBy(client.openSession())).toMatchObject(expected);
    expect(workspace.tokenRequests()).toHaveLength(1);
  });
});

describe("federation", () => {
  /** A job that brings tokens of its identity provider, exchanged by this library. */
  async function openFederated(): Promise<{
    workspace: Workspace;
    session: TokenSession;
    client: DBSQLClient;
    readonly refuse: () => void;
  }> {
    const provider = await identityProvider();
    const scene = await openScene({ federation: [provider.trusted] });
    const session = scene.manager.session(
      scene.workspace.client,
      { subject: "ci" },
      {
        obtain: (self, { signal }) =>
          exchangeToken(self, {
            subjectToken: () => provider.issueToken(scene.workspace.fake.warehouse.tokenEndpoint, scene.clock.now()),
            subjectTokenType: "urn:ietf:params:oauth:token-type:jwt",
            scopes: ["sql"],
            signal,
          }),
      },
    );
    const client = await connect(scene.workspace, databricksAuth(session));
    opened.push(scene, { close: () => client.close().catch(() => undefined) });
    const { workspace } = scene;
    return {
      workspace,
      session,
      client,
      refuse: () => void workspace.fake.fail({ at: "token", kind: "oauth_error", error: "invalid_grant" }),
    };
  }

  test("a query of eight requests is one exchange", async () => {
    const { workspace, client } = await openFederated();
    workspace.direct = false;
    const sql = await client.openSession();
    expect(await select(sql)).toEqual(ROWS);
    await sql.close();
    expect(workspace.calls.map(({ method }) => method)).toEqual(CALLS_OF_A_QUERY);
    expect(workspace.tokenRequests().map(({ grant }) => grant)).toEqual(["token_exchange"]);
  });

  test("an exchange that is refused is our error, and the provider's token never reaches the workspace", async () => {
    const { workspace, client, refuse } = await openFederated();
    refuse();
    const error = await thrownBy(client.openSession());
    expect(OAuthError.is(error)).toBe(true);
    expect(workspace.calls).toEqual([]);
  });
});

describe("long use", () => {
  /** As short as a token can be that is still refreshed ahead of its end, on the system's clock. */
  const LIFETIME_MS = 5_000;
  const LIFETIMES = 6;

  test(`R-02 four at once, on the real clock, over ${String(LIFETIMES)} lifetimes of a 5-second token: no failure`, async () => {
    const clock = {
      now: () => Date.now(),
      monotonic: () => performance.now(),
      setTimer: (callback: () => void, delayMs: number) => {
        const timer = setTimeout(callback, delayMs);
        return () => {
          clearTimeout(timer);
        };
      },
    };
    const workspace = await startWorkspace({ clock, accessTokenLifetimeMs: LIFETIME_MS });
    const manager = new TokenManager({ clock });
    manager.start();
    const session = await manager.save(workspace.client, { subject: "ada" }, await workspace.signIn());
    const client = await connect(workspace, databricksAuth(session));
    opened.push(workspace, manager, { close: () => client.close().catch(() => undefined) });

    const end = Date.now() + LIFETIMES * LIFETIME_MS;
    const work = async (): Promise<number> => {
      const sql = await client.openSession();
      let queries = 0;
      for (; Date.now() < end; queries++) {
        expect(await select(sql, (operation) => withDatabricksRetry(session, operation))).toEqual(ROWS);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      return queries;
    };
    const queries = await Promise.all([work(), work(), work(), work()]);
    const refreshes = workspace.tokenRequests();
    process.stdout.write(
      `${String(queries.reduce((sum, count) => sum + count))} queries, ${String(refreshes.length)} refreshes, ` +
        `${String(failures(workspace))} refused requests\n`,
    );
    expect(refreshes.length).toBeGreaterThanOrEqual(LIFETIMES - 1);
    expect(refreshes.every(({ status }) => status === 200)).toBe(true);
    // A slow machine may need a few more, each after the last; two at once would have ended the grant.
    expect(new Set(workspace.calls.map(({ token }) => token)).size).toBeLessThanOrEqual(refreshes.length + 1);
  });
});
