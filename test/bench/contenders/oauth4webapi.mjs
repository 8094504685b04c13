import * as oauth from "oauth4webapi";
import { callbackUrl, clientId, redirectUri, scopes } from "../login-settings.mjs";

export function connect(origin, signalOf = () => undefined) {
  const server = {
    issuer: "https://acme-prod.snowflakecomputing.com",
    authorization_endpoint: "https://acme-prod.snowflakecomputing.com/oauth/authorize",
    token_endpoint: `${origin}/oauth/token-request`,
  };
  const client = { client_id: clientId };
  const authentication = oauth.None();
  const options = () => ({ [oauth.allowInsecureRequests]: true, signal: signalOf() });
  const pkce = async () => {
    const verifier = oauth.generateRandomCodeVerifier();
    return { verifier, challenge: await oauth.calculatePKCECodeChallenge(verifier) };
  };
  return {
    pkce,
    async beginLogin() {
      const { verifier, challenge } = await pkce();
      const state = oauth.generateRandomState();
      const url = new URL(server.authorization_endpoint);
      url.searchParams.set("client_id", clientId);
      url.searchParams.set("redirect_uri", redirectUri);
      url.searchParams.set("response_type", "code");
      url.searchParams.set("scope", scopes.join(" "));
      url.searchParams.set("state", state);
      url.searchParams.set("code_challenge", challenge);
      url.searchParams.set("code_challenge_method", "S256");
      return { url, verifier, state };
    },
    async finishLogin({ verifier, state }) {
      const callback = oauth.validateAuthResponse(server, client, callbackUrl(state), state);
      const response = await oauth.authorizationCodeGrantRequest(
        server,
        client,
        authentication,
        callback,
        redirectUri,
        verifier,
        options(),
      );
      return oauth.processAuthorizationCodeResponse(server, client, response);
    },
    async refresh({ refresh_token }) {
      const response = await oauth.refreshTokenGrantRequest(server, client, authentication, refresh_token, options());
      return oauth.processRefreshTokenResponse(server, client, response);
    },
  };
}
