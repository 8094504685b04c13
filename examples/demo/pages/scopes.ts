import { describeScopes, type Warehouse } from "warehouse-oauth";
import { html, type Html } from "../html.ts";
import type { SignedIn } from "../visitors.ts";

/** Spent at the login: no server lists them as granted. */
const OFFLINE: ReadonlySet<string> = new Set(["offline_access", "refresh_token"]);

/** They say who somebody is, and let nobody query. */
const IDENTITY: ReadonlySet<string> = new Set(["openid", "email", "profile"]);

/** Scopes that were asked for and not granted. */
export function lackingScopes({ login, requestedScopes }: SignedIn): readonly string[] {
  const granted = new Set(login.scopes);
  return requestedScopes.filter((scope) => !granted.has(scope) && !OFFLINE.has(scope));
}

/** Those of them that a query may need. */
export function lackingForQueries(signedIn: SignedIn): readonly string[] {
  return lackingScopes(signedIn).filter((scope) => !IDENTITY.has(scope));
}

/** A scope's level in a word for a reader: a library's "read" is not what a token for offline access does. */
function tagOf(scope: string, level: string): readonly [kind: string, word: string] {
  if (OFFLINE.has(scope)) return ["plain", "offline"];
  if (scope.startsWith("session:role")) return ["plain", "role"];
  return [level, level];
}

/** Says scopes in words, each with the most that it allows. */
export function scopeList(warehouse: Warehouse, scopes: readonly string[]): Html {
  return html`<ul class="scopes">
    ${describeScopes(warehouse, scopes).map(({ scope, description, level = "unknown" }) => {
      const [kind, word] = tagOf(scope, level);
      return html`<li>
        <span class="level level-${kind}">${word}</span>
        <span>${description ?? "The warehouse has no words for this one."} <code>${scope}</code></span>
      </li>`;
    })}
  </ul>`;
}
