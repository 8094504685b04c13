/**
 * A web app that keeps nothing on the server: people sign in with Google, and their tokens travel in sealed cookies. For
 * BigQuery only, since Google's refresh tokens do not rotate: two tabs send the same cookie, and a token that is good once
 * would be spent twice. Snowflake and Databricks are refused with `store_incapable`; see examples/server.ts for those.
 *
 * Any runtime that knows `Request` and `Response` runs it: `export default { fetch: createApp({ client, project, keys }) }`.
 */
import {
  OAuthError,
  TokenManager,
  createAuthorizationRequest,
  exchangeCode,
  validateCallback,
  type Clock,
  type OAuthClient,
  type PendingAuthorization,
  type TokenSession,
} from "warehouse-oauth";
import type { BigQueryLogin } from "warehouse-oauth/bigquery";
import { cookieStore, type CookieStore } from "warehouse-oauth/stores/cookie";
import type { KeyRing } from "warehouse-oauth/stores/encrypted";

/** What the app is made of. */
export interface AppOptions {
  readonly client: OAuthClient<BigQueryLogin>;
  /** Who pays for the queries. */
  readonly project: string;
  /** The same on all servers: `keyRing([{ id: "2026-11", key: process.env.COOKIE_KEY }])`. */
  readonly keys: KeyRing;
  /** Default is the system's. The client must have the same. */
  readonly clock?: Clock;
}

/** One cookie, one person: nobody else can be in it. */
const PERSON = { subject: "me" };

/** As long as a login may take. */
const LOGIN_MS = 600_000;

/** What belongs to one request. */
interface Visit {
  readonly request: Request;
  readonly project: string;
  /** The session. */
  readonly store: CookieStore;
  readonly manager: TokenManager;
  readonly session: TokenSession;
  /** A login under way, in a cookie of its own that ends sooner and is never taken for a session. */
  readonly login: CookieStore;
}

/** Makes the app: a function from requests to responses. */
export function createApp({ client, project, keys, clock }: AppOptions): (request: Request) => Promise<Response> {
  const timed = clock === undefined ? {} : { clock };
  return async (request) => {
    const store = cookieStore({ keys, request, ...timed });
    // "none": a refresh is awaited. One that came after the response would have no cookie to go into.
    const manager = new TokenManager({ store, background: "none", ...timed });
    const session = manager.session(client, PERSON);
    const login = cookieStore({ keys, request, name: "__Host-login", maxAgeMs: LOGIN_MS, ...timed });
    const response = await answer(client, { request, project, store, manager, session, login });
    // On every response, also on errors: what was refreshed is kept, and no cache hands it to somebody else.
    await store.applyTo(response.headers);
    for (const cookie of await login.setCookieHeaders()) response.headers.append("set-cookie", cookie);
    return response;
  };
}

async function answer(client: OAuthClient<BigQueryLogin>, visit: Visit): Promise<Response> {
  const { request, store, session, login } = visit;
  switch (`${request.method} ${new URL(request.url).pathname}`) {
    case "GET /":
      return new Response((await store.presented()) === "valid" ? "Go to /report." : "Go to /login.");
    case "GET /login": {
      const { url, pending } = await createAuthorizationRequest(client, {
        scopes: ["https://www.googleapis.com/auth/bigquery"],
        prompt: "consent", // or Google gives no refresh token
        returnTo: "/report",
      });
      login.clear();
      await login.write(pending.state, { value: JSON.stringify(pending) }, { ifVersion: undefined });
      return redirect(url.href);
    }
    case "GET /callback":
      return finishLogin(client, visit);
    case "GET /report":
      return report(visit);
    case "GET /status":
      return Response.json(await session.status());
    case "POST /logout": {
      // A copy of the cookie would work until it ends; revoked tokens do not.
      const { instructions } = await session.revoke();
      store.clear();
      return new Response(`Signed out.\n${instructions ?? ""}`);
    }
    default:
      return new Response("not found", { status: 404 });
  }
}

async function finishLogin(
  client: OAuthClient<BigQueryLogin>,
  { request, store, manager, login }: Visit,
): Promise<Response> {
  const state = new URL(request.url).searchParams.get("state") ?? "";
  const found = await login.read(state, {});
  const pending = found && (JSON.parse(found.record.value) as PendingAuthorization);
  login.clear();
  try {
    const callback = validateCallback(client, request, pending);
    const tokens = await exchangeCode(client, callback);
    store.clear(); // the hour begins anew
    await manager.save(client, PERSON, tokens);
    return redirect(callback.returnTo ?? "/");
  } catch (error) {
    if (!OAuthError.is(error)) throw error;
    return new Response(`The login failed (${error.code}). Begin again at /login.`, { status: 400 });
  }
}

async function report({ session, project }: Visit): Promise<Response> {
  try {
    const found = await session.fetch(`/bigquery/v2/projects/${project}/queries`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ query: "select session_user()", useLegacySql: false }),
    });
    return new Response(await found.text(), { status: found.status });
  } catch (error) {
    if (!OAuthError.is(error)) throw error;
    if (error.action === "reauthorize") return redirect("/login");
    return new Response(`BigQuery cannot be asked now (${error.code}).`, { status: 503 });
  }
}

function redirect(location: string): Response {
  return new Response(null, { status: 303, headers: { location, "referrer-policy": "same-origin" } });
}
