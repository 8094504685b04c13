/**
 * Hands the tokens of a session to Google's own clients: `@google-cloud/bigquery` 7 to 9 and
 * `@google-cloud/bigquery-storage`. By shape only; nothing of Google's is imported.
 *
 * @module
 */
import { ConfigurationError } from "../../core/errors.ts";
import { invalidArgument } from "../../lib/invalid-argument.ts";
import type { TokenSource } from "../../session/index.ts";

/** What `@google-cloud/bigquery` calls of an auth client. 8 and 9 want `Headers`, 7 an object with `Authorization`: ours is both. */
export interface BigQueryAuth {
  /** Gives the headers of one request; asked before each. */
  getRequestHeaders(url?: string): Promise<object>;
  /** Gives the token itself. */
  getAccessToken(): Promise<{ token?: string | null }>;
}

/**
 * Makes an auth client of a session, for the `authClient` option of versions 7 to 9 and of the storage clients over
 * gRPC. Takes the type of the place it is written in. Always pass `projectId` to the driver too.
 *
 * The driver asks before each request, so tokens are refreshed before they end, once for all that ask. What the session
 * throws arrives at the caller of the driver as it is.
 *
 * @throws `TypeError` with the code `invalid_argument` for what is no session.
 *
 * @example
 *
 * ```ts
 * import type { TokenSession } from "warehouse-oauth";
 * import { bigQueryAuthClient, type BigQueryAuth } from "warehouse-oauth/bigquery/driver";
 *
 * declare const session: TokenSession;
 * declare class BigQuery {
 *   // stands for: import { BigQuery } from "@google-cloud/bigquery";
 *   constructor(options: { projectId: string; authClient: BigQueryAuth });
 * }
 *
 * const bq = new BigQuery({ projectId: "acme", authClient: bigQueryAuthClient(session) });
 * ```
 */
export function bigQueryAuthClient<AuthClient extends BigQueryAuth = BigQueryAuth>(session: TokenSource): AuthClient {
  assertSource(session);
  const auth: BigQueryAuth = {
    async getRequestHeaders() {
      const value = `Bearer ${await session.getAccessToken()}`;
      // Version 7 copies own properties, the others and gRPC read the entries (measured 2026-11-21).
      return Object.defineProperty(new Headers({ authorization: value }), "Authorization", { value, enumerable: true });
    },
    getAccessToken: async () => ({ token: await session.getAccessToken() }),
  };
  return auth as AuthClient;
}

/** What was made to repeat, and with whose tokens: twice would repeat twice. */
const repeating = new WeakMap<object, TokenSource>();

/**
 * Makes this instance repeat a call once with a new token after status 401, which the driver itself never does. Calls of
 * datasets, tables, jobs and query streams go through the instance and are repeated too; uploads from a stream never
 * are: their bytes are gone. Returns the instance.
 *
 * A 401 ran nothing, so repeating is safe. The second refusal is the driver's own error, as it is.
 *
 * @throws `TypeError` with the code `invalid_argument`; `ConfigurationError` `config_invalid` for an instance that
 * repeats with another session already.
 *
 * @example
 *
 * ```ts
 * import type { TokenSession } from "warehouse-oauth";
 * import { withBigQueryRetry } from "warehouse-oauth/bigquery/driver";
 *
 * declare const session: TokenSession;
 * declare const driver: { request(): void; query(sql: string): Promise<[unknown[]]> }; // new BigQuery({ … })
 *
 * const [rows] = await withBigQueryRetry(session, driver).query("select 1");
 * ```
 */
export function withBigQueryRetry<
  Client extends {
    /** What every call of the instance goes through. */
    request(...parameters: never[]): unknown;
  },
>(session: TokenSource, client: Client): Client {
  assertSource(session);
  const send: unknown = Object(client) === client ? Reflect.get(client, "request") : undefined;
  if (typeof send !== "function") throw invalidArgument('"client" must be an instance of BigQuery');
  const before = repeating.get(client);
  if (before === session) return client;
  if (before !== undefined) {
    throw new ConfigurationError("config_invalid", '"client" repeats with another session already', "client");
  }
  const call = (parameters: Outcome): unknown => Reflect.apply(send, client, parameters);
  const value = (...parameters: Outcome): unknown => {
    const callback = parameters.at(-1);
    // All three versions call back; promises and streams are built on that.
    if (typeof callback !== "function" || parameters.some(isOneWay)) return call(parameters);
    const options = parameters.slice(0, -1);
    const run = (): Promise<Outcome> =>
      new Promise((resolve) => {
        call([
          ...options,
          (...outcome: Outcome) => {
            resolve(outcome);
          },
        ]);
      });
    const answer = (outcome: Outcome): unknown => Reflect.apply(callback, undefined, outcome);
    return void repeatOnce(session, run).then(answer, (error: unknown) => answer([error]));
  };
  Object.defineProperty(client, "request", { value, configurable: true, writable: true });
  repeating.set(client, session);
  return client;
}

/** What a callback gets: the error or nothing, then the results. */
type Outcome = readonly unknown[];

/** Asks for the token first: the driver then sends the same one, and does not tell which it sent. */
async function repeatOnce(session: TokenSource, run: () => Promise<Outcome>): Promise<Outcome> {
  const token = await session.getAccessToken();
  const outcome = await run();
  if (readOwn(outcome[0], "code") !== 401) return outcome;
  const next = await session.getAccessToken({ rejected: token });
  return next === token ? outcome : run();
}

/** Whether request options hold something that can be read only once, or ask for a stream as the answer. */
function isOneWay(options: unknown): boolean {
  if (readOwn(options, "shouldReturnStream") === true) return true;
  const parts = readOwn(options, "multipart");
  const bodies = [options, ...(Array.isArray(parts) ? (parts as unknown[]) : [])].map((part) => readOwn(part, "body"));
  return bodies.some((body) => typeof body === "object" && body !== null && ("pipe" in body || "getReader" in body));
}

function readOwn(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined;
}

function assertSource(session: unknown): void {
  const isObject = typeof session === "object" && session !== null;
  if (isObject && "getAccessToken" in session && typeof session.getAccessToken === "function") return;
  throw invalidArgument('"session" must have getAccessToken, as a TokenSession has');
}
