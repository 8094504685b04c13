import {
  createAuthorizationRequest,
  createClient,
  createPkce,
  exchangeCode,
  refreshTokens,
  validateCallback,
} from "../dist/index.js";
import { snowflake } from "../dist/adapters/snowflake/index.js";
import { callbackUrl, clientId, redirectUri } from "../login-settings.mjs";

export function connect(origin) {
  const client = createClient({
    warehouse: snowflake({ account: "acme-prod", tokenEndpoint: `${origin}/oauth/token-request` }),
    clientId,
    redirectUri,
    allowLoopbackHttp: true,
  });
  const login = { role: "ANALYST" };
  return {
    pkce: () => createPkce(),
    beginLogin: () => createAuthorizationRequest(client, login),
    finishLogin: ({ pending }) => exchangeCode(client, validateCallback(client, callbackUrl(pending.state), pending)),
    refresh: (tokens) => refreshTokens(client, tokens),
  };
}
