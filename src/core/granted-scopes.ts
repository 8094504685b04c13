import { requestedScopes } from "./authorization-request.ts";
import { internalsOf } from "./client.ts";
import type { OAuthClient } from "./client.ts";
import { TokenEndpointError } from "./errors.ts";
import { assertScopes, scopesBeyond } from "./scopes.ts";
import { TokenSet } from "./token-set.ts";

/**
 * Gives the scopes this client asks for that the tokens do not have. Empty if all is well. Asking for offline access
 * is not compared: servers leave it out of what they grant.
 *
 * @example
 *
 * ```ts
 * import { missingScopes, type OAuthClient, type TokenSet } from "warehouse-oauth";
 *
 * function mayQuery(client: OAuthClient, tokens: TokenSet): boolean {
 *   return missingScopes(client, tokens).length === 0;
 * }
 * ```
 */
export function missingScopes(client: OAuthClient, tokens: TokenSet): readonly string[] {
  internalsOf(client);
  TokenSet.connectionIdOf(tokens);
  return scopesBeyond(client.warehouse, requestedScopes(client), tokens.scopes);
}

/**
 * Refuses tokens that lack a scope the application cannot do without. The tokens themselves stay as they are. Scopes are
 * named as `tokens.scopes` has them: where one has several names, by the warehouse's own (at Google `email`).
 *
 * @throws {@link TokenEndpointError} `scope_not_granted`, naming what is missing.
 *
 * @example
 *
 * ```ts
 * import { requireScopes, type TokenSet } from "warehouse-oauth";
 *
 * function assertCanQuery(tokens: TokenSet): void {
 *   requireScopes(tokens, ["sql"]);
 * }
 * ```
 */
export function requireScopes(tokens: TokenSet, scopes: readonly string[]): void {
  TokenSet.connectionIdOf(tokens);
  assertScopes(scopes, "scopes");
  const has = new Set(tokens.scopes);
  const missing = scopes.filter((scope) => !has.has(scope));
  if (missing.length > 0) {
    throw new TokenEndpointError(
      "scope_not_granted",
      `the warehouse did not grant ${missing.join(", ")}; ask the person to sign in again and to agree to it`,
    );
  }
}
