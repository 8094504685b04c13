import { OAuth2Client, generateCodeVerifier } from "@badgateway/oauth2-client";
import { callbackUrl, clientId, redirectUri, scopes } from "../login-settings.mjs";

export function connect(origin) {
  const client = new OAuth2Client({
    clientId,
    authorizationEndpoint: "https://acme-prod.snowflakecomputing.com/oauth/authorize",
    tokenEndpoint: `${origin}/oauth/token-request`,
  });
  return {
    pkce: undefined, // it makes the challenge only as part of the address
    async beginLogin() {
      const verifier = await generateCodeVerifier();
      const state = await generateCodeVerifier(); // it makes no state of its own
      const scope = scopes;
      const href = await client.authorizationCode.getAuthorizeUri({
        redirectUri,
        codeVerifier: verifier,
        state,
        scope,
      });
      return { url: { href }, verifier, state };
    },
    finishLogin: ({ verifier, state }) =>
      client.authorizationCode.getTokenFromCodeRedirect(callbackUrl(state), {
        redirectUri,
        state,
        codeVerifier: verifier,
      }),
    refresh: (tokens) => client.refreshToken(tokens),
  };
}
