/**
 * A web app on `node:http`: people sign in at Snowflake, their tokens stay on the server, and a `TokenManager` keeps them
 * fresh. No route of it asks whether a token has ended.
 *
 * `npm run build`, then with Node 22.18 or later `node examples/server.ts`: against a fake Snowflake, or against your
 * account if `SNOWFLAKE_ACCOUNT`, `SNOWFLAKE_CLIENT_ID` and `SNOWFLAKE_CLIENT_SECRET` name one (docs/warehouses/snowflake.md).
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
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
  type PendingAuthorization,
  type TokenSession,
  type TokenStore,
} from "warehouse-oauth";
import { snowflake, type SnowflakeLogin } from "warehouse-oauth/snowflake";

/** What the app is made of. */
export interface AppOptions {
  /** Its redirect URI ends in `/callback`; the rest of it is where the app is. */
  readonly client: OAuthClient<SnowflakeLogin>;
  /** Default is this process's memory: enough for one process, and nothing survives a restart. */
  readonly store?: TokenStore;
  /** Default is the system's. The client must have the same. */
  readonly clock?: Clock;
  /** What is written to the log: no secret. */
  readonly log?: (line: string) => void;
}

/** The app, not listening yet. */
export interface App {
  readonly server: Server;
  /** Stops taking requests, then lets refreshes that were sent be answered and saved. */
  close(): Promise<void>;
}

/** Makes the app. What one browser is, and who signed in with it, is in memory here; an application has a session store. */
export function createApp({ client, store, clock, log = () => undefined }: AppOptions): App {
  const manager = new TokenManager({
    ...(store !== undefined && { store }),
    ...(clock !== undefined && { clock }),
    // After a restart with a durable store: whose sessions these are. All of them belong to the one client.
    resolveClient: ({ connectionId }) => (connectionId === client.connectionId ? client : undefined),
  });
  manager.start();
  manager.on("reauthorization_required", ({ session, cause }) => {
    log(`${session} must sign in again: ${cause}`);
  });
  manager.on("save_failed", ({ code, attempt }) => {
    log(`tokens could not be saved (${code}, try ${String(attempt)})`);
  });

  const routes = new Routes(client, manager);
  const server = createServer((incoming, outgoing) => {
    routes.answer(toRequest(incoming, routes.origin)).then(
      (response) => send(outgoing, response),
      (error: unknown) => {
        log(OAuthError.is(error) ? error.code : "a route failed");
        outgoing.writeHead(500).end("something went wrong");
      },
    );
  });
  return {
    server,
    async close() {
      server.close();
      const { unsaved } = await manager.close({ drainMs: 5_000 });
      for (const key of unsaved) log(`the tokens of ${key} are lost: the store did not take them`);
    },
  };
}

class Routes {
  readonly origin: string;
  readonly #client: OAuthClient<SnowflakeLogin>;
  readonly #manager: TokenManager;
  /** By browser and state: two tabs do not disturb each other, and a forged callback ends no login. */
  readonly #logins = new Map<string, PendingAuthorization>();
  /** Who signed in with which browser. */
  readonly #people = new Map<string, string>();

  constructor(client: OAuthClient<SnowflakeLogin>, manager: TokenManager) {
    this.origin = new URL(client.redirectUri ?? "").origin;
    this.#client = client;
    this.#manager = manager;
  }

  async answer(request: Request): Promise<Response> {
    const browser = this.#browserOf(request);
    const person = this.#people.get(browser);
    // One session for a person, whatever the browser. Costs nothing: nothing is read until it is asked for something.
    const session = person === undefined ? undefined : this.#manager.session(this.#client, { subject: person });
    switch (`${request.method} ${new URL(request.url).pathname}`) {
      case "GET /":
        return new Response(session === undefined ? "Go to /login." : `Hello ${person ?? ""}. Go to /report.`);
      case "GET /login":
        return this.#login(browser);
      case "GET /callback":
        return this.#callback(request, browser);
      case "GET /report":
        return session === undefined ? this.#redirect("/login", browser) : this.#report(session, browser);
      case "GET /status":
        return Response.json(session === undefined ? { state: "absent" } : await session.status());
      case "POST /logout": {
        this.#people.delete(browser);
        // For all browsers of this person, and for refreshes in the air: what they bring is revoked, too.
        const { instructions } = (await session?.revoke()) ?? {};
        return new Response(`Signed out here.\n${instructions ?? ""}`);
      }
      default:
        return new Response("not found", { status: 404 });
    }
  }

  async #login(browser: string): Promise<Response> {
    const { url, pending } = await createAuthorizationRequest(this.#client, { returnTo: "/report" });
    this.#logins.set(`${browser} ${pending.state}`, pending);
    return this.#redirect(url.href, browser);
  }

  async #callback(request: Request, browser: string): Promise<Response> {
    const login = `${browser} ${new URL(request.url).searchParams.get("state") ?? ""}`;
    const pending = this.#logins.get(login);
    this.#logins.delete(login); // taken out before it is used: a callback is good once
    try {
      const callback = validateCallback(this.#client, request, pending);
      const tokens = await exchangeCode(this.#client, callback);
      const person = tokens.user?.id ?? "";
      await this.#manager.save(this.#client, { subject: person }, tokens);
      const renewed = crypto.randomUUID(); // an id that was planted before the login is worth nothing after it
      this.#people.set(renewed, person);
      return this.#redirect(callback.returnTo ?? "/", renewed);
    } catch (error) {
      if (!OAuthError.is(error)) throw error;
      return new Response(`The login failed (${error.code}). Begin again at /login.`, { status: 400 });
    }
  }

  async #report(session: TokenSession, browser: string): Promise<Response> {
    try {
      const answer = await session.fetch("/api/v2/statements", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ statement: "select current_user(), current_role()", warehouse: "COMPUTE_WH" }),
      });
      return new Response(await answer.text(), { status: answer.status });
    } catch (error) {
      if (!OAuthError.is(error)) throw error;
      if (error.action === "reauthorize") return this.#redirect("/login", browser);
      // The warehouse is away, and the token has ended meanwhile. Nobody has to sign in for that.
      const seconds = Math.ceil((error.retryAfterMs ?? 5_000) / 1000);
      const headers = { "retry-after": String(seconds) };
      return new Response(`Snowflake cannot be asked now (${error.code}).`, { status: 503, headers });
    }
  }

  #browserOf(request: Request): string {
    const cookies = request.headers.get("cookie") ?? "";
    return /(?:^|; )(?:__Host-)?browser=([0-9a-f-]{36})(?:;|$)/.exec(cookies)?.[1] ?? crypto.randomUUID();
  }

  /** `Lax`, because the way back from the warehouse begins at another site. */
  #redirect(location: string, browser: string): Response {
    const name = this.origin.startsWith("https:") ? "__Host-browser" : "browser";
    const cookie = `${name}=${browser}; Path=/; HttpOnly; SameSite=Lax${name === "browser" ? "" : "; Secure"}`;
    const headers = { location, "set-cookie": cookie, "referrer-policy": "same-origin" };
    return new Response(null, { status: 303, headers });
  }
}

/** Bodies are left where they are: no route here reads one. */
function toRequest({ method = "GET", url = "/", headers }: IncomingMessage, origin: string): Request {
  return new Request(origin + url, { method, headers: { cookie: headers.cookie ?? "" } });
}

async function send(outgoing: ServerResponse, response: Response): Promise<void> {
  outgoing.writeHead(response.status, Object.fromEntries(response.headers)).end(await response.text());
}

/** Starts the app at a real account, or at a fake one on a port of its own. */
async function main(environment: Readonly<Record<string, string | undefined>>): Promise<void> {
  const { SNOWFLAKE_ACCOUNT, SNOWFLAKE_CLIENT_ID, SNOWFLAKE_CLIENT_SECRET, PORT = "8640" } = environment;
  const redirectUri = `http://127.0.0.1:${PORT}/callback`;
  let client: OAuthClient<SnowflakeLogin>;
  if (SNOWFLAKE_ACCOUNT !== undefined && SNOWFLAKE_CLIENT_ID !== undefined && SNOWFLAKE_CLIENT_SECRET !== undefined) {
    client = createClient({
      warehouse: snowflake({ account: SNOWFLAKE_ACCOUNT }),
      clientId: SNOWFLAKE_CLIENT_ID,
      clientSecret: SNOWFLAKE_CLIENT_SECRET,
      redirectUri,
      allowLoopbackHttp: true,
    });
  } else {
    const { fakeSnowflake } = await import("warehouse-oauth/testing");
    const { listen } = await import("warehouse-oauth/testing/http");
    client = (await listen(fakeSnowflake())).register({ redirectUri });
  }
  const print = (line: string): void => void process.stdout.write(`${line}\n`);
  const app = createApp({ client, log: print });
  app.server.listen(Number(PORT), "127.0.0.1", () => {
    print(`http://127.0.0.1:${PORT}/login`);
  });
  process.once("SIGTERM", () => void app.close().then(() => process.exit()));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main(process.env);
