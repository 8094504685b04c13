// @node-oauth/oauth2-server on loopback, with a model in memory. It compares Basic credentials as they come, undecoded.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import OAuth2Server from "@node-oauth/oauth2-server";

export interface NodeOauthServer {
  readonly origin: string;
  /** Paths of the requests that arrived, in order. */
  readonly requests: readonly string[];
  close(): Promise<void>;
}

export async function startNodeOauthServer(
  clientId: string,
  clientSecret: string,
  { rotate = true }: { readonly rotate?: boolean } = {},
): Promise<NodeOauthServer> {
  const client: OAuth2Server.Client = {
    id: clientId,
    grants: ["authorization_code", "refresh_token", "client_credentials"],
    redirectUris: ["http://127.0.0.1/callback"],
  };
  const codes = new Map<string, OAuth2Server.AuthorizationCode>();
  const refreshTokens = new Map<string, OAuth2Server.RefreshToken>();
  const model: OAuth2Server.AuthorizationCodeModel &
    OAuth2Server.RefreshTokenModel &
    OAuth2Server.ClientCredentialsModel = {
    getClient: (id: string, secret: string | null) =>
      Promise.resolve(id === clientId && (secret === null || secret === clientSecret) ? client : undefined),
    validateScope: (_user, _client, scope) => Promise.resolve(scope ?? ["all"]),
    generateAccessToken: () => Promise.resolve(`access-${randomUUID()}`),
    getAccessToken: () => Promise.resolve(undefined),
    saveAuthorizationCode(code, of, user) {
      const saved = { ...code, client: of, user };
      codes.set(code.authorizationCode, saved);
      return Promise.resolve(saved);
    },
    getAuthorizationCode: (code) => Promise.resolve(codes.get(code)),
    revokeAuthorizationCode: (code) => Promise.resolve(codes.delete(code.authorizationCode)),
    saveToken(token, of, user) {
      const saved = { ...token, client: of, user };
      const { refreshToken } = token;
      if (refreshToken !== undefined) refreshTokens.set(refreshToken, { ...saved, refreshToken });
      return Promise.resolve(saved);
    },
    getRefreshToken: (token) => Promise.resolve(refreshTokens.get(token)),
    revokeToken: (token) => Promise.resolve(refreshTokens.delete(token.refreshToken)),
    getUserFromClient: () => Promise.resolve({ id: "machine" }),
  };
  const oauth = new OAuth2Server({ model, alwaysIssueNewRefreshToken: rotate });
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(new URL(request.url ?? "/", "http://127.0.0.1").pathname);
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (chunk: string) => (body += chunk));
    request.on("end", () => {
      const url = new URL(request.url ?? "/", "http://127.0.0.1");
      const incoming = new OAuth2Server.Request({
        headers: Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)])),
        method: request.method ?? "GET",
        query: Object.fromEntries(url.searchParams),
        body: Object.fromEntries(new URLSearchParams(body)),
      });
      const outgoing = new OAuth2Server.Response();
      const run =
        url.pathname === "/authorize"
          ? oauth.authorize(incoming, outgoing, { authenticateHandler: { handle: () => ({ id: "user-1" }) } })
          : oauth.token(incoming, outgoing);
      const answer = (): void => {
        response.writeHead(outgoing.status ?? 500, { "content-type": "application/json", ...outgoing.headers });
        response.end(JSON.stringify(outgoing.body));
      };
      run.then(answer, answer);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}
