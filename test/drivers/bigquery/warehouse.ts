// A BigQuery on loopback, a person's tokens, and the two ways to hand them to the driver.
import { createRequire } from "node:module";
import type { Writable } from "node:stream";
import { TokenManager } from "warehouse-oauth";
import type { TokenSession, TokenSet } from "warehouse-oauth";
import { bigQueryAuthClient, withBigQueryRetry } from "warehouse-oauth/bigquery/driver";
import { fakeBigQuery } from "warehouse-oauth/testing";
import type { FakeWarehouse } from "warehouse-oauth/testing";
import { listen } from "warehouse-oauth/testing/http";

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const PROJECT = "acme-analytics";

const ROWS = Array.from({ length: 8 }, (_, n) => ({ n }));

/** What the scenarios use of the driver, in all three versions. */
export interface BigQuery {
  query(sql: string): Promise<readonly unknown[]>;
  createQueryJob(sql: string): Promise<readonly unknown[]>;
  createQueryStream(sql: string): AsyncIterable<unknown>;
  dataset(id: string): { table(id: string): { createWriteStream(metadata: object): Writable } };
  request(...parameters: never[]): unknown;
}

/** One version of the driver. */
export interface Driver {
  /** As package.json names it. */
  readonly name: string;
  readonly BigQuery: new (options: object) => object;
}

/** What reached the server after the login. */
export interface Requests {
  readonly token: number;
  readonly api: number;
  /** Of the requests to the API those that were refused with 401. */
  readonly refused: number;
}

/** A fake BigQuery with a port, and Ada's login there. */
export interface World {
  readonly fake: FakeWarehouse<never>;
  readonly origin: string;
  readonly session: TokenSession;
  readonly manager: TokenManager;
  readonly login: TokenSet;
  readonly credentials: { readonly clientId: string; readonly clientSecret: string; readonly tokenUrl: string };
  /** Uploads from streams that arrived: the status each was answered with. */
  readonly uploads: readonly number[];
  requests(): Requests;
  close(): Promise<void>;
}

export async function openWorld(accessTokenLifetimeMs = HOUR): Promise<World> {
  const fake = fakeBigQuery({ projectId: PROJECT, accessTokenLifetimeMs, rows: ROWS });
  const uploads: number[] = [];
  // Uploads are no business of the published fake: they are answered here, by a job of its own.
  const handle = async (request: Request): Promise<Response> => {
    const { pathname, origin } = new URL(request.url);
    if (!pathname.startsWith("/upload/")) return fake.handle(request);
    await request.arrayBuffer();
    const job = await fake.handle(
      new Request(`${origin}/bigquery/v2/projects/${PROJECT}/jobs`, {
        method: "POST",
        headers: { authorization: request.headers.get("authorization") ?? "" },
        body: JSON.stringify({ configuration: { query: { query: "select 1" } } }),
      }),
    );
    uploads.push(job.status);
    return job;
  };
  const server = await listen({ ...fake, handle });
  const clientSecret = "a secret with +/= in it";
  const client = server.register({ clientSecret, login: { prompt: "consent" } });
  const login = await server.issueTokens({ client });
  const manager = new TokenManager();
  const session = await manager.save(client, { subject: "ada" }, login);
  const before = fake.requests.length;
  return {
    fake,
    origin: server.origin,
    session,
    manager,
    login,
    credentials: { clientId: client.clientId, clientSecret, tokenUrl: server.warehouse.tokenEndpoint },
    uploads,
    requests() {
      const fresh = fake.requests.slice(before);
      const api = fresh.filter(({ at }) => at === "api");
      return {
        token: fresh.filter(({ at }) => at === "token").length,
        api: api.length,
        refused: api.filter(({ status }) => status === 401).length,
      };
    },
    async close() {
      await manager.close();
      await server.close();
    },
  };
}

/** A way to hand tokens to the driver. */
export interface Contender {
  readonly name: string;
  readonly ours: boolean;
  open(driver: Driver, world: World): BigQuery;
}

export const OURS: Contender = {
  name: "warehouse-oauth",
  ours: true,
  open(driver, world) {
    return withBigQueryRetry(world.session, connect(driver, world, bigQueryAuthClient(world.session)));
  },
};

/** The driver's own way: it refreshes with the refresh token. */
export const OWN: Contender = {
  name: "OAuth2Client, refresh_token",
  ours: false,
  open(driver, world) {
    const client = ownClient(driver, world);
    client.setCredentials({
      refresh_token: world.login.refreshToken ?? "",
      access_token: world.login.accessToken,
      expiry_date: world.login.expiresAt ?? 0,
    });
    return connect(driver, world, client);
  },
};

/** The same, told that 5 minutes before the end is too early for tokens this short. */
export const OWN_LATE: Contender = {
  name: "OAuth2Client, refresh_token, eagerRefreshThresholdMillis 1000",
  ours: false,
  open(driver, world) {
    const client = ownClient(driver, world, { eagerRefreshThresholdMillis: 1_000 });
    client.setCredentials({ refresh_token: world.login.refreshToken ?? "" });
    return connect(driver, world, client);
  },
};

/** The driver's hook for tokens from elsewhere. */
export const OWN_HANDLER: Contender = {
  name: "OAuth2Client, refreshHandler",
  ours: false,
  open(driver, world) {
    const client = ownClient(driver, world);
    client.refreshHandler = async () => {
      const { clientId, clientSecret, tokenUrl } = world.credentials;
      const form = { grant_type: "refresh_token", refresh_token: world.login.refreshToken ?? "" };
      const body = new URLSearchParams({ ...form, client_id: clientId, client_secret: clientSecret });
      const response = await fetch(tokenUrl, { method: "POST", body });
      const answer = (await response.json()) as { access_token: string; expires_in: number; error?: string };
      if (!response.ok) throw new Error(answer.error);
      return { access_token: answer.access_token, expiry_date: Date.now() + answer.expires_in * 1_000 };
    };
    client.setCredentials({ access_token: world.login.accessToken, expiry_date: world.login.expiresAt ?? 0 });
    return connect(driver, world, client);
  },
};

function connect({ BigQuery }: Driver, { origin }: World, authClient: object): BigQuery {
  return new BigQuery({ projectId: PROJECT, apiEndpoint: origin, authClient }) as BigQuery;
}

interface OAuth2Client {
  refreshHandler?: () => Promise<{ readonly access_token: string; readonly expiry_date: number }>;
  setCredentials(credentials: object): void;
}

/** The class of the copy that this version of the driver brings. */
function ownClient({ name }: Pick<Driver, "name">, { credentials }: World, options: object = {}): OAuth2Client {
  const fromHere = createRequire(import.meta.url);
  const fromDriver = createRequire(createRequire(fromHere.resolve(name)).resolve("@google-cloud/common"));
  const library = fromDriver("google-auth-library") as { OAuth2Client: new (options: object) => OAuth2Client };
  const { clientId, clientSecret, tokenUrl } = credentials;
  return new library.OAuth2Client({ clientId, clientSecret, endpoints: { oauth2TokenUrl: tokenUrl }, ...options });
}
