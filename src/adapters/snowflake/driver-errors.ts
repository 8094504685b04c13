/**
 * What a login says to a token that is none, and to one that has ended; and how, because a pool of the driver keeps the
 * message only. The driver itself tries no other token (snowflake-sdk 3.3.0, checked 2026-11-22).
 */
const TOKEN_REFUSED: ReadonlyMap<string, RegExp> = new Map([
  ["390303", /invalid OAuth access token|OAuth access token is invalid/i],
  ["390318", /OAuth access token expired/i],
]);

/** The session has ended, as the server says it (39…) and as the driver does (snowflake-sdk 3.3.0, checked 2026-11-22). */
const SESSION_DEAD: ReadonlySet<string> = new Set([
  "390104",
  "390111",
  "390112",
  "390113",
  "390114",
  "390115",
  "405503",
  "407002",
]);

/** Says whether a login failed because of its token: another one may do. Gives an error of a pool its code back. */
export function isTokenRefused(error: unknown): boolean {
  const code = codeOf(error);
  if (code !== "" || !(error instanceof Error)) return TOKEN_REFUSED.has(code);
  for (const [lost, message] of TOKEN_REFUSED) {
    if (message.test(error.message)) return Object.assign(error, { code: lost }) === error;
  }
  return false;
}

/** Says whether it is the session that ended: another connection may do. */
export function isSessionDead(error: unknown): boolean {
  return SESSION_DEAD.has(codeOf(error));
}

/** The server's codes are text, those of the driver numbers. */
function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}
