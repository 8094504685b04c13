// What a page of code does without a library and without a check: the floor under everybody.
import { callbackUrl, clientId, redirectUri, scopes } from "../login-settings.mjs";

const randomText = () => Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64url");

export function connect(origin) {
  const pkce = async () => {
    const verifier = randomText();
    const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
    return { verifier, challenge: Buffer.from(hash).toString("base64url") };
  };
  const request = async (form) => {
    const response = await fetch(`${origin}/oauth/token-request`, {
      method: "POST",
      headers: { accept: "application/json", "content-type": "application/x-www-form-urlencoded" },
      body: new URLSearchParams({ client_id: clientId, ...form }).toString(),
    });
    return response.json();
  };
  return {
    pkce,
    async beginLogin() {
      const { verifier, challenge } = await pkce();
      const state = randomText();
      const url = new URL("https://acme-prod.snowflakecomputing.com/oauth/authorize");
      url.search = new URLSearchParams({
        client_id: clientId,
        redirect_uri: redirectUri,
        response_type: "code",
        scope: scopes.join(" "),
        state,
        code_challenge: challenge,
        code_challenge_method: "S256",
      }).toString();
      return { url, verifier, state };
    },
    finishLogin: ({ verifier, state }) =>
      request({
        grant_type: "authorization_code",
        code: callbackUrl(state).searchParams.get("code"),
        redirect_uri: redirectUri,
        code_verifier: verifier,
      }),
    refresh: ({ refresh_token }) => request({ grant_type: "refresh_token", refresh_token }),
  };
}
