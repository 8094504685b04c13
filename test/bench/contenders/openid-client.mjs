import * as client from "openid-client";
import { callbackUrl, clientId, redirectUri, scopes } from "../login-settings.mjs";

export function connect(origin) {
  const server = {
    issuer: "https://acme-prod.snowflakecomputing.com",
    authorization_endpoint: "https://acme-prod.snowflakecomputing.com/oauth/authorize",
    token_endpoint: `${origin}/oauth/token-request`,
  };
  const config = new client.Configuration(server, clientId, undefined, client.None());
  client.allowInsecureRequests(config);
  const pkce = async () => {
    const verifier = client.randomPKCECodeVerifier();
    return { verifier, challenge: await client.calculatePKCECodeChallenge(verifier) };
  };
  return {
    pkce,
    async beginLogin() {
      const { verifier, challenge } = await pkce();
      const state = client.randomState();
      const url = client.buildAuthorizationUrl(config, {
        redirect_uri: redirectUri,
        scope: scopes.join(" "),
        state,
        code_challenge: challenge,
        code_challenge_method: "S256",
      });
      return { url, verifier, state };
    },
    finishLogin: ({ verifier, state }) =>
      client.authorizationCodeGrant(config, callbackUrl(state), { pkceCodeVerifier: verifier, expectedState: state }),
    refresh: ({ refresh_token }) => client.refreshTokenGrant(config, refresh_token),
  };
}
