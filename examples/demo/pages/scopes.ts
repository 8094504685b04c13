import { describeScopes, type Warehouse } from "warehouse-oauth";
import { html, type Html } from "../html.ts";

/** Says scopes in words, each with the most that it allows. */
export function scopeList(warehouse: Warehouse, scopes: readonly string[]): Html {
  return html`<ul class="scopes">
    ${describeScopes(warehouse, scopes).map(
      ({ scope, description, level }) =>
        html`<li>
          <span class="level level-${level ?? "unknown"}">${level ?? "role"}</span>
          <span>${description ?? describeRole(scope)} <code>${scope}</code></span>
        </li>`,
    )}
  </ul>`;
}

/** A role is a name of the customer's: only they know what it may do. */
function describeRole(scope: string): string {
  const role = /^session:role:(.+)$/.exec(scope)?.[1];
  return role === undefined
    ? "The warehouse has no words for this one."
    : `Do whatever the role ${role} may do, and no more.`;
}
