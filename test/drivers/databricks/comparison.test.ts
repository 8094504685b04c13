import type { DBSQLClient } from "@databricks/sql";
import type OAuthTokenModule from "@databricks/sql/dist/connection/auth/DatabricksOAuth/OAuthToken.js";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { afterEach, describe, expect, test } from "vitest";
import { OAuthError, exchangeToken, type TokenSet } from "warehouse-oauth";
import { databricksAuth, withDatabricksRetry } from "warehouse-oauth/databricks/driver";
import type { FakeDatabricksOptions } from "warehouse-oauth/testing";
import { allAsked } from "../../all-asked.ts";
import { identityProvider } from "./identity-provider.ts";
import { HOUR, MINUTE, openScene, select, whilePassing, type Attempt, type Scene } from "./scene.ts";
import { connect } from "./workspace.ts";

// The same scenarios twice: tokens from a session of this library, and the driver's own OAuth. Same driver, same workspace,
// same time. The table that comes out is the one in docs/warehouses/databricks-driver.md.

/** Not exported by the driver, and nothing else makes what its `persistence` must give. */
const { default: OAuthToken } = createRequire(import.meta.url)(
  "@databricks/sql/dist/connection/auth/DatabricksOAuth/OAuthToken.js",
) as typeof OAuthTokenModule;

type Side = "session" | "driver";

/** Somebody who queries. */
interface User {
  readonly scene: Scene;
  readonly client: DBSQLClient;
  readonly attempt: Attempt;
}

/** What a scenario came to. */
interface Outcome {
  readonly queries: number;
  readonly failed: number;
  readonly tokenRequests: number;
  readonly said: readonly string[];
}

const opened: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.close();
});

const directly: Attempt = (operation) => operation();

async function openUser(side: Side, options: FakeDatabricksOptions = {}): Promise<User> {
  const scene = await openScene(options);
  const { workspace, session } = scene;
  const authentication =
    side === "session" ? databricksAuth(session) : ownOAuth(workspace.client.clientId, await workspace.signIn());
  return openWith(scene, authentication, side === "session" ? (run) => withDatabricksRetry(session, run) : directly);
}

async function openWith(scene: Scene, authentication: Parameters<typeof connect>[1], attempt: Attempt): Promise<User> {
  const client = await connect(scene.workspace, authentication);
  opened.push(scene, { close: () => client.close().catch(() => undefined) });
  return { scene, client, attempt };
}

/** The driver's own OAuth, after a sign-in: what it would have kept then is what it finds. */
function ownOAuth(
  oauthClientId: string,
  { accessToken, refreshToken, scopes }: TokenSet,
): Parameters<typeof connect>[1] {
  let token = new OAuthToken(accessToken, refreshToken, [...scopes]);
  const persistence = {
    read: () => Promise.resolve(token),
    persist: (_host: string, next: typeof token) => {
      token = next;
      return Promise.resolve();
    },
  };
  return { authType: "databricks-oauth", oauthClientId, persistence };
}

/** Queries in all sessions at once: whoever asks for a token in parallel has asked before anybody gets an answer. */
async function queryMeanwhile(user: User, sessions: readonly DriverSession[]): Promise<unknown[]> {
  const { fake, tokenRequests } = user.scene.workspace;
  const over = new AbortController();
  const until = allAsked(() => tokenRequests().length, over.signal);
  const hurry = fake.fail({ at: "token", kind: "hold", until, times: Infinity });
  const errors = await queryAll(user, sessions);
  hurry();
  over.abort();
  return errors;
}

type DriverSession = Awaited<ReturnType<DBSQLClient["openSession"]>>;

/** Runs a query in each session, and says what went wrong. */
async function queryAll({ attempt, scene }: User, sessions: readonly DriverSession[]): Promise<unknown[]> {
  const work = Promise.allSettled(sessions.map((sql) => select(sql, attempt)));
  const results = await whilePassing(scene, work, 0);
  return results.map((result) => (result.status === "rejected" ? (result.reason as unknown) : undefined));
}

function openSessions({ client }: User, count: number): Promise<DriverSession[]> {
  return Promise.all(Array.from({ length: count }, () => client.openSession()));
}

/** What a caller can tell an error by. */
function describeError(error: unknown): string {
  if (OAuthError.is(error)) return `\`${error.name}\` \`${error.code}\``;
  const { constructor, statusCode, error: oauth } = error as { statusCode?: number; error?: string } & Error;
  const { name } = constructor;
  if (statusCode !== undefined) return `\`${name}\` ${String(statusCode)}`;
  return oauth !== undefined && /^[a-z_]+$/.test(oauth) ? `\`${name}\` \`${oauth}\`` : `\`${name}\``;
}

function outcomeOf({ scene }: User, errors: readonly unknown[]): Outcome {
  const failed = errors.filter((error) => error !== undefined);
  return {
    queries: errors.length,
    failed: failed.length,
    tokenRequests: scene.workspace.tokenRequests().length,
    said: [...new Set(failed.map(describeError))].sort(),
  };
}

interface Scenario {
  readonly title: string;
  readonly run: (side: Side) => Promise<Outcome>;
  readonly session: Outcome;
  readonly driver: Outcome;
}

/** How often a query succeeded, and what the token endpoint was asked. */
const outcome = (queries: number, failed: number, tokenRequests: number, ...said: readonly string[]): Outcome => ({
  queries,
  failed,
  tokenRequests,
  said,
});

async function runEightAtTheEnd(side: Side, options: FakeDatabricksOptions): Promise<Outcome> {
  const user = await openUser(side, options);
  const sessions = await openSessions(user, 8);
  await user.scene.pass(2 * HOUR);
  return outcomeOf(user, await queryMeanwhile(user, sessions));
}

async function queryFiveTimes(user: User, sessions: readonly DriverSession[]): Promise<Outcome> {
  const errors: unknown[] = [];
  for (let query = 0; query < 5; query++) errors.push(...(await queryAll(user, sessions)));
  return outcomeOf(user, errors);
}

const SCENARIOS: readonly Scenario[] = [
  {
    title: "one query after the token's end",
    run: async (side) => {
      const user = await openUser(side);
      const sessions = await openSessions(user, 1);
      await user.scene.pass(2 * HOUR);
      return outcomeOf(user, await queryAll(user, sessions));
    },
    session: outcome(1, 0, 1),
    driver: outcome(1, 0, 1),
  },
  {
    title: "eight at once after it, single-use refresh tokens",
    run: (side) => runEightAtTheEnd(side, { refreshRotation: "single-use" }),
    session: outcome(8, 0, 1),
    driver: outcome(8, 8, 8, "`OPError` `invalid_request`", "`THTTPException` 403"),
  },
  {
    title: "the same, old refresh tokens stay good",
    run: (side) => runEightAtTheEnd(side, { refreshRotation: "rotates" }),
    session: outcome(8, 0, 1),
    driver: outcome(8, 0, 8),
  },
  {
    title: "the same, no new refresh token in the answer",
    run: (side) => runEightAtTheEnd(side, { refreshRotation: "none" }),
    session: outcome(8, 0, 1),
    driver: outcome(8, 8, 8, "`AuthenticationError`"),
  },
  {
    title: "five queries after the workspace stopped taking the token",
    run: async (side) => {
      const user = await openUser(side);
      const sessions = await openSessions(user, 1);
      user.scene.workspace.fake.expireAccessTokens();
      return queryFiveTimes(user, sessions);
    },
    session: outcome(5, 0, 1),
    driver: outcome(5, 5, 0, "`THTTPException` 403"),
  },
  {
    title: "a query each minute for two hours, token endpoint down at its end",
    run: async (side) => {
      const user = await openUser(side);
      const sessions = await openSessions(user, 1);
      const errors: unknown[] = [];
      let repair = (): void => undefined;
      for (let minute = 1; minute <= 120; minute++) {
        await user.scene.pass(MINUTE);
        if (minute === 58) repair = breakDown(user.scene);
        if (minute === 63) repair();
        errors.push(...(await queryAll(user, sessions)));
      }
      return outcomeOf(user, errors);
    },
    session: outcome(120, 0, 2),
    driver: outcome(120, 3, 4, "`OPError`"),
  },
  {
    title: "four at once each 1.25 s, over six lifetimes of a 5-second token",
    run: async (side) => {
      const user = await openUser(side, { accessTokenLifetimeMs: 5_000 });
      const sessions = await openSessions(user, 4);
      const errors: unknown[] = [];
      for (let round = 1; round <= 24; round++) {
        await user.scene.pass(1_250); // a divisor of the lifetime that misses the begin of its stale zone
        errors.push(...(await queryMeanwhile(user, sessions)));
      }
      return outcomeOf(user, errors);
    },
    session: outcome(96, 0, 6),
    driver: outcome(96, 84, 72, "`OPError` `invalid_request`", "`THTTPException` 403"),
  },
  {
    title: "five queries after the grant was withdrawn",
    run: async (side) => {
      const user = await openUser(side);
      const sessions = await openSessions(user, 1);
      user.scene.workspace.fake.revokeGrants();
      await user.scene.pass(2 * HOUR);
      return queryFiveTimes(user, sessions);
    },
    session: outcome(5, 5, 1, "`ReauthorizationRequiredError` `reauthorization_required`"),
    driver: outcome(5, 5, 5, "`OPError` `invalid_request`"),
  },
  {
    title: "token federation: ten queries of six requests",
    run: async (side) => {
      const user = await openFederated(side);
      const sessions = await openSessions(user, 1);
      const errors: unknown[] = [];
      for (let query = 0; query < 10; query++) errors.push(...(await queryAll(user, sessions)));
      return outcomeOf(user, errors);
    },
    session: outcome(10, 0, 1),
    driver: outcome(10, 0, 61),
  },
  {
    title: "token federation: the exchange is refused",
    run: async (side) => {
      const user = await openFederated(side);
      const sessions = await openSessions(user, 1);
      await user.scene.pass(11 * MINUTE);
      const refusal = { at: "token", kind: "oauth_error", error: "invalid_grant", times: Infinity } as const;
      user.scene.workspace.fake.fail(refusal);
      const errors = await queryAll(user, sessions);
      // Whose token the workspace saw last: the driver sends the provider's own when the exchange fails.
      const [, claims = ""] = user.scene.workspace.calls.at(-1)?.token.split(".") ?? [];
      const isForeign = Buffer.from(claims, "base64url").toString().includes("login.acme.example");
      expect(isForeign).toBe(side === "driver");
      return outcomeOf(user, errors);
    },
    session: outcome(1, 1, 2, "`TokenEndpointError` `token_http_error`"),
    driver: outcome(1, 1, 2, "`THTTPException` 403"),
  },
];

function breakDown({ workspace }: Scene): () => void {
  return workspace.fake.fail({ at: "token", kind: "status", status: 503, times: Infinity });
}

async function openFederated(side: Side): Promise<User> {
  const provider = await identityProvider();
  const scene = await openScene({ federation: [provider.trusted] });
  const { workspace, clock, manager } = scene;
  workspace.direct = false;
  const ownToken = (): Promise<string> => provider.issueToken(workspace.fake.warehouse.tokenEndpoint, clock.now());
  if (side === "driver") {
    const federation = { enableTokenFederation: true, federationClientId: workspace.client.clientId };
    return openWith(scene, { authType: "external-token", getToken: ownToken, ...federation }, directly);
  }
  const session = manager.session(
    workspace.client,
    { subject: "ci" },
    {
      obtain: (client, { signal }) =>
        exchangeToken(client, {
          subjectToken: ownToken,
          subjectTokenType: "urn:ietf:params:oauth:token-type:jwt",
          scopes: ["sql"],
          signal,
        }),
    },
  );
  return openWith(scene, databricksAuth(session), (run) => withDatabricksRetry(session, run));
}

describe("a session of this library, and the driver's own OAuth", () => {
  const measured: Pick<Scenario, "title" | "session" | "driver">[] = [];

  test.each(SCENARIOS.map((scenario) => [scenario.title, scenario] as const))("%s", async (title, scenario) => {
    const session = await scenario.run("session");
    const driver = await scenario.run("driver");
    measured.push({ title, session, driver });
    expect.soft(session).toEqual(scenario.session);
    expect(driver).toEqual(scenario.driver);
  });

  test("the table in the docs is that of this run", () => {
    const cell = ({ queries, failed, tokenRequests }: Outcome): string[] => [
      `${String(failed)} of ${String(queries)}`,
      String(tokenRequests),
    ];
    const rows = measured.map(({ title, session, driver }) => [title, ...cell(session), ...cell(driver)]);
    const said = measured.map(({ driver }) => (driver.said.length === 0 ? "" : driver.said.join(", ")));
    const head = ["", "session: failed", "token requests", "driver's own: failed", "token requests", "it said"];
    const table = tableOf(
      head,
      rows.map((row, index) => [...row, said[index] ?? ""]),
    );
    process.stdout.write(`\n${table}\n`);
    const page = readFileSync(new URL("../../../docs/warehouses/databricks-driver.md", import.meta.url), "utf8");
    expect(page).toContain(table);
  });
});

/** Markdown, laid out as Prettier does it. */
function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((_, column) => Math.max(3, ...[head, ...rows].map((row) => (row[column] ?? "").length)));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((text, column) => text.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}
