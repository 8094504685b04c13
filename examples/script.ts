/**
 * A script on BigQuery that asks a person to sign in once, and then remembers: tokens are kept in a file, through a
 * `TokenStore` of its own.
 *
 * `npm run build`, then with Node 22.18 or later `node examples/script.ts "select 1"`, with `GOOGLE_CLIENT_ID` and
 * `GOOGLE_CLIENT_SECRET` of a Desktop client (docs/warehouses/bigquery.md) and `BIGQUERY_PROJECT`.
 */
import { createServer } from "node:http";
import { homedir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import {
  OAuthError,
  TokenManager,
  createAuthorizationRequest,
  createClient,
  exchangeCode,
  validateCallback,
  type Clock,
  type OAuthClient,
  type TokenStore,
} from "warehouse-oauth";
import { bigquery, type BigQueryLogin } from "warehouse-oauth/bigquery";
import { jsonFileStore } from "./json-file-store.ts";

/** What the script needs. */
export interface Script {
  readonly client: OAuthClient<BigQueryLogin>;
  readonly store: TokenStore;
  /** Shows a person the address, and gives the one that the browser came back to. */
  readonly visit: (url: URL) => Promise<URL>;
  readonly projectId: string;
  readonly sql: string;
  /** Default is the system's. The client must have the same. */
  readonly clock?: Clock;
}

/** Runs a query, and signs in first if nobody has, or if the login has come to its end. */
export async function runScript({ client, store, visit, projectId, sql, clock }: Script): Promise<string> {
  const manager = new TokenManager({ store, ...(clock !== undefined && { clock }) });
  const me = { subject: "default" };
  const session = manager.session(client, me);
  const signIn = async (): Promise<void> => {
    // Google gives a refresh token only with a consent that was shown. We come here only when there is none that works.
    const { url, pending } = await createAuthorizationRequest(client, { prompt: "consent" });
    await manager.save(client, me, await exchangeCode(client, validateCallback(client, await visit(url), pending)));
  };
  const query = async (): Promise<string> => {
    const path = `/bigquery/v2/projects/${encodeURIComponent(projectId)}/queries`;
    const response = await session.fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ query: sql, useLegacySql: false }),
    });
    return response.text();
  };
  try {
    return await query();
  } catch (error) {
    if (!OAuthError.is(error) || error.action !== "reauthorize") throw error;
    await signIn();
    return await query();
  } finally {
    await manager.close();
  }
}

/** Time for a person to sign in. Some mistakes end on a page of Google's own, from which nobody comes back. */
const PATIENCE_MS = 300_000;

/** Prints the address, and waits on the redirect URI for the browser to come back. */
export function visitByHand(redirectUri: string, print: (line: string) => void): (url: URL) => Promise<URL> {
  const { hostname, port, pathname, origin } = new URL(redirectUri);
  return (url) =>
    new Promise((resolve, reject) => {
      const server = createServer((request, response) => {
        const came = new URL(origin + (request.url ?? "/"));
        if (came.pathname !== pathname) {
          response.writeHead(404).end();
          return;
        }
        response.setHeader("connection", "close").end("You can close this page.");
        finish(() => {
          resolve(came);
        });
      });
      const timer = setTimeout(() => {
        finish(() => {
          reject(new Error("nobody came back; read what the browser shows"));
        });
      }, PATIENCE_MS);
      const finish = (end: () => void): void => {
        clearTimeout(timer);
        server.close();
        end();
      };
      server.once("error", (error) => {
        finish(() => {
          reject(error);
        });
      });
      server.listen(Number(port), hostname, () => {
        print(url.href);
      });
    });
}

async function main(environment: Readonly<Record<string, string | undefined>>, sql = "select 1"): Promise<void> {
  const { GOOGLE_CLIENT_ID, GOOGLE_CLIENT_SECRET, BIGQUERY_PROJECT } = environment;
  if (GOOGLE_CLIENT_ID === undefined || GOOGLE_CLIENT_SECRET === undefined || BIGQUERY_PROJECT === undefined) {
    throw new Error("set GOOGLE_CLIENT_ID, GOOGLE_CLIENT_SECRET and BIGQUERY_PROJECT");
  }
  const redirectUri = "http://127.0.0.1:53682/callback"; // Desktop clients: any port of this address, registered nowhere
  const print = (line: string): void => void process.stdout.write(`${line}\n`);
  const result = await runScript({
    client: createClient({
      warehouse: bigquery(),
      clientId: GOOGLE_CLIENT_ID,
      clientSecret: GOOGLE_CLIENT_SECRET,
      redirectUri,
      allowLoopbackHttp: true,
    }),
    store: jsonFileStore(join(homedir(), ".warehouse-oauth-example.json")),
    visit: visitByHand(redirectUri, print),
    projectId: BIGQUERY_PROJECT,
    sql,
  });
  print(result);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main(process.env, process.argv[2]);
