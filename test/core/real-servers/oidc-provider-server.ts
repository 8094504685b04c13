// oidc-provider on loopback: PKCE forced, rotation with revocation of the family, ID tokens, no pages to click through.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair } from "jose";
import Provider, { type Adapter, type AdapterPayload, type ClientMetadata } from "oidc-provider";

export const SCOPE = "openid offline_access session:role:ANALYST";

/** One store for each server: the built-in one is shared by all servers of a process. */
function mapAdapter(): (model: string) => Adapter {
  const items = new Map<string, AdapterPayload>();
  const find = (model: string, field: "uid" | "userCode", value: string): AdapterPayload | undefined =>
    [...items].find(([key, payload]) => key.startsWith(`${model}:`) && payload[field] === value)?.[1];
  return (model) => ({
    upsert(id, payload): Promise<void> {
      items.set(`${model}:${id}`, payload);
      return Promise.resolve();
    },
    find: (id) => Promise.resolve(items.get(`${model}:${id}`)),
    findByUid: (uid) => Promise.resolve(find(model, "uid", uid)),
    findByUserCode: (code) => Promise.resolve(find(model, "userCode", code)),
    consume(id): Promise<void> {
      const payload = items.get(`${model}:${id}`);
      if (payload !== undefined) payload.consumed = Math.floor(Date.now() / 1000);
      return Promise.resolve();
    },
    destroy(id): Promise<void> {
      items.delete(`${model}:${id}`);
      return Promise.resolve();
    },
    revokeByGrantId(grantId): Promise<void> {
      for (const [key, payload] of items) if (payload.grantId === grantId) items.delete(key);
      return Promise.resolve();
    },
  });
}

export interface OidcProviderServer {
  readonly origin: string;
  /** Paths of the requests that arrived, in order. */
  readonly requests: readonly string[];
  close(): Promise<void>;
}

/** Clients beside what all have in common: redirect URI, grants and scopes. */
export async function startOidcProvider(
  clients: readonly ClientMetadata[],
  { rotate = true }: { readonly rotate?: boolean } = {},
): Promise<OidcProviderServer> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`; // the issuer, so listen first
  const { privateKey } = await generateKeyPair("ES256", { extractable: true });
  const provider = new Provider(origin, {
    clients: clients.map((client) => ({
      application_type: "native", // 127.0.0.1 matches on any port (RFC 8252)
      redirect_uris: ["http://127.0.0.1/callback"],
      grant_types: ["authorization_code", "refresh_token", "client_credentials"],
      response_types: ["code"],
      scope: SCOPE,
      ...client,
    })),
    clientDefaults: { id_token_signed_response_alg: "ES256" },
    scopes: SCOPE.split(" "),
    pkce: { required: () => true },
    features: {
      devInteractions: { enabled: false },
      revocation: { enabled: true },
      clientCredentials: { enabled: true },
    },
    issueRefreshToken: (_context, client, code) =>
      Promise.resolve(client.grantTypeAllowed("refresh_token") && code.scopes.has("offline_access")),
    rotateRefreshToken: rotate,
    ttl: {
      AccessToken: 600,
      RefreshToken: 3600,
      AuthorizationCode: 60,
      IdToken: 600,
      ClientCredentials: 600,
      Grant: 86_400,
      Session: 86_400,
      Interaction: 600,
    },
    findAccount: (_context, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
    cookies: { keys: ["test only"] },
    interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
    adapter: mapAdapter(),
    jwks: { keys: [{ ...(await exportJWK(privateKey)), alg: "ES256", use: "sig", kid: "test" }] },
  });
  const handle = provider.callback();
  const interact = async (...[request, response]: Parameters<typeof handle>): Promise<void> => {
    const { prompt, params, grantId } = await provider.interactionDetails(request, response);
    if (prompt.name === "login") {
      await provider.interactionFinished(request, response, { login: { accountId: "user-1" } });
      return;
    }
    const known = grantId === undefined ? undefined : await provider.Grant.find(grantId);
    const grant = known ?? new provider.Grant({ accountId: "user-1", clientId: String(params["client_id"]) });
    const { missingOIDCScope } = prompt.details as { missingOIDCScope?: string[] };
    if (missingOIDCScope) grant.addOIDCScope(missingOIDCScope.join(" "));
    const result = { consent: { grantId: await grant.save() } };
    await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
  };
  const requests: string[] = [];
  server.on("request", (request, response) => {
    const path = new URL(request.url ?? "/", origin).pathname;
    requests.push(path);
    if (path.startsWith("/interaction/")) {
      interact(request, response).catch((error: unknown) => response.writeHead(500).end(String(error)));
    } else {
      void handle(request, response);
    }
  });
  return {
    origin,
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
