import { revocationRequest } from "oauth4webapi";
import { internalsOf } from "./client.ts";
import type { OAuthClient } from "./client.ts";
import { ConfigurationError } from "./errors.ts";
import { readOAuthError } from "./token-failure.ts";
import { authenticationFor, sendBuilt } from "./token-request.ts";
import { parseJsonObject } from "./token-response.ts";
import { TokenSet } from "./token-set.ts";
import type { Answer, SignalOptions } from "./transport.ts";

/**
 * What became of one token: `absent` if there was none, `unsupported` if the server has no revocation,
 * `already_invalid` if it was dead before, `failed` if the server could not be reached or did not want to.
 */
export type RevocationOutcome = "revoked" | "already_invalid" | "unsupported" | "failed" | "absent";

/** What was and what could not be revoked. */
export interface RevocationResult {
  /** Revoked first: at many servers that ends the access token too. */
  readonly refreshToken: RevocationOutcome;
  /** Revoked second. */
  readonly accessToken: RevocationOutcome;
  /** What a person can do where the server cannot (Snowflake: the SQL statement). */
  readonly instructions: string | undefined;
}

/**
 * Revokes at the server, the refresh token first (RFC 7009). Does not throw for what the server could not do.
 *
 * @throws {@link ConfigurationError} `tokens_invalid` for tokens of another client, or what authentication finds;
 * the abort reason.
 *
 * @example
 *
 * ```ts
 * import { revokeTokens, type OAuthClient, type TokenSet } from "warehouse-oauth";
 *
 * declare const client: OAuthClient;
 * declare const tokens: TokenSet;
 *
 * const { refreshToken, instructions } = await revokeTokens(client, tokens);
 * if (refreshToken === "unsupported") process.stdout.write(`${instructions ?? "delete the tokens here"}\n`);
 * ```
 */
export async function revokeTokens(
  client: OAuthClient,
  tokens: TokenSet,
  options?: SignalOptions,
): Promise<RevocationResult> {
  internalsOf(client);
  if (TokenSet.connectionIdOf(tokens) !== client.connectionId) {
    throw new ConfigurationError("tokens_invalid", "these tokens belong to another client or warehouse", "tokens");
  }
  const revoke = (token: string | undefined, hint: TokenTypeHint): Promise<RevocationOutcome> =>
    revokeOne(client, token, hint, options?.signal);
  // One after the other: the second is often dead by the first.
  const refreshToken = await revoke(tokens.refreshToken, "refresh_token");
  const accessToken = await revoke(tokens.accessToken, "access_token");
  return { refreshToken, accessToken, instructions: client.warehouse.revocationInstructions };
}

type TokenTypeHint = "refresh_token" | "access_token";

async function revokeOne(
  client: OAuthClient,
  token: string | undefined,
  hint: TokenTypeHint,
  signal: AbortSignal | undefined,
): Promise<RevocationOutcome> {
  if (token === undefined) return "absent";
  const { revocationEndpoint } = client.warehouse;
  if (revocationEndpoint === undefined) return "unsupported";
  try {
    return outcomeOf(await sendRevocation(client, revocationEndpoint, token, hint, signal));
  } catch (error) {
    if (error instanceof ConfigurationError || signal?.aborted === true) throw error;
    return "failed";
  }
}

function sendRevocation(
  client: OAuthClient,
  endpoint: string,
  token: string,
  hint: TokenTypeHint,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  const { server, oauthClient } = internalsOf(client);
  const authenticate = authenticationFor(client, endpoint, undefined);
  const additionalParameters = { token_type_hint: hint };
  return sendBuilt(client, { signal }, (options) =>
    revocationRequest(server, oauthClient, authenticate, token, { ...options, additionalParameters }),
  );
}

/** RFC 7009 §2.2: 200 means that the token is of no use any more, whether it was known or not. */
function outcomeOf(answer: Answer): RevocationOutcome {
  if (answer.status === 200) return "revoked";
  switch (readOAuthError(parseJsonObject(answer.text))) {
    case "unsupported_token_type":
      return "unsupported";
    case "invalid_token":
    case "invalid_grant":
      return "already_invalid";
    case undefined:
    default:
      return "failed";
  }
}
