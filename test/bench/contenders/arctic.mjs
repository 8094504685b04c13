import { CodeChallengeMethod, OAuth2Client, generateCodeVerifier, generateState } from "arctic";
import { callbackUrl, clientId, redirectUri, scopes } from "../login-settings.mjs";

export function connect(origin) {
  const authorizationEndpoint = "https://acme-prod.snowflakecomputing.com/oauth/authorize";
  const tokenEndpoint = `${origin}/oauth/token-request`;
  const client = new OAuth2Client(clientId, null, redirectUri);
  return {
    pkce: undefined, // it makes the challenge only as part of the address
    async beginLogin() {
      const verifier = generateCodeVerifier();
      const state = generateState();
      const method = CodeChallengeMethod.S256;
      const url = client.createAuthorizationURLWithPKCE(authorizationEndpoint, state, method, verifier, scopes);
      return { url, verifier, state };
    },
    async finishLogin({ verifier, state }) {
      // It leaves the callback to its user; this is the least its guide says to do.
      const parameters = callbackUrl(state).searchParams;
      if (parameters.get("state") !== state) throw new Error("state");
      return client.validateAuthorizationCode(tokenEndpoint, parameters.get("code"), verifier);
    },
    refresh: (tokens) => client.refreshAccessToken(tokenEndpoint, tokens.refreshToken(), []),
  };
}
