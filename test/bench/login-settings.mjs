// What every contender is given: the same client, scope and callback.
export const clientId = "client-id";
export const redirectUri = "https://app.example/callback";
export const scopes = ["refresh_token", "session:role:ANALYST"];
export const code = "c".repeat(64);

/** The address the browser comes back to. */
export const callbackUrl = (state) => new URL(`${redirectUri}?code=${code}&state=${state}`);
