/**
 * A web app on plain `Request` and `Response`: sign in at Snowflake in one role, run a query, sign out.
 *
 * Serve it with anything that speaks `Request`, behind https. Register the redirect URI `https://your.app/callback` in
 * the security integration (docs/warehouses/snowflake.md).
 */
import {
  OAuthError,
  createAuthorizationRequest,
  createClient,
  exchangeCode,
  refreshTokens,
  revokeTokens,
  validateCallback,
  type Fetch,
  type OAuthClient,
  type PendingAuthorization,
  type TokenSet,
} from "warehouse-oauth";
import { snowflake, type SnowflakeLogin } from "warehouse-oauth/snowflake";
import { readVisitor, redirectVisitor } from "./visitor-cookie.ts";

/** Makes the client of a security integration. */
export function createSnowflakeClient(settings: {
  readonly account: string;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly redirectUri: string;
}): OAuthClient<SnowflakeLogin> {
  const { account, ...registration } = settings;
  return createClient({ warehouse: snowflake({ account }), ...registration, login: { role: "ANALYST" } });
}

/** Makes the app. In memory for the example: an application keeps both maps in a store. */
export function createSnowflakeApp(
  client: OAuthClient<SnowflakeLogin>,
  options: { readonly fetch?: Fetch } = {},
): (request: Request) => Promise<Response> {
  const { fetch = globalThis.fetch } = options;
  const logins = new Map<string, PendingAuthorization>();
  const signedIn = new Map<string, TokenSet>();
  const [apiOrigin] = client.warehouse.apiOrigins;

  return async (request) => {
    const visitor = readVisitor(request);
    const tokens = signedIn.get(visitor);
    switch (`${request.method} ${new URL(request.url).pathname}`) {
      case "GET /login": {
        const { url, pending } = await createAuthorizationRequest(client, { returnTo: "/report" });
        logins.set(visitor, pending);
        return redirectVisitor(url, visitor);
      }
      case "GET /callback": {
        const pending = logins.get(visitor);
        logins.delete(visitor); // taken out before it is used: a callback is good once
        try {
          const callback = validateCallback(client, request, pending);
          const renewed = crypto.randomUUID(); // an id that was planted before the login is worth nothing after it
          signedIn.set(renewed, await exchangeCode(client, callback));
          return redirectVisitor(callback.returnTo ?? "/", renewed);
        } catch (error) {
          if (OAuthError.is(error)) return new Response(`login failed: ${error.code}`, { status: 400 });
          throw error;
        }
      }
      case "GET /report": {
        if (tokens === undefined) return redirectVisitor("/login", visitor);
        const answer = await fetch(new URL("/api/v2/statements", apiOrigin), {
          method: "POST",
          headers: { authorization: `Bearer ${tokens.accessToken}`, "content-type": "application/json" },
          body: JSON.stringify({ statement: "select current_user(), current_role()", warehouse: "COMPUTE_WH" }),
        });
        return new Response(await answer.text(), { status: answer.status });
      }
      case "POST /refresh": {
        if (tokens === undefined) return redirectVisitor("/login", visitor);
        signedIn.set(visitor, await refreshTokens(client, tokens));
        return redirectVisitor("/report", visitor);
      }
      case "POST /logout": {
        signedIn.delete(visitor);
        if (tokens === undefined) return new Response("signed out");
        // Snowflake revokes in SQL only; the library says which statement.
        const { instructions } = await revokeTokens(client, tokens);
        return new Response(`signed out here\n${instructions ?? ""}`);
      }
      default:
        return new Response("not found", { status: 404 });
    }
  };
}
