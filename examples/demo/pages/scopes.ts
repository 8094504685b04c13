import { describeScopes, type Warehouse } from "warehouse-oauth";
import { html, type Html } from "../html.ts";

/** Says scopes in words, each with the most that it allows. */
export function scopeList(warehouse: Warehouse, scopes: readonly string[]): Html {
  return html`<ul class="scopes">
    ${describeScopes(warehouse, scopes).map(
      ({ scope, description, level = "unknown" }) =>
        html`<li>
          <span class="level level-${level}">${level}</span>
          <span>${description ?? "The warehouse has no words for this one."} <code>${scope}</code></span>
        </li>`,
    )}
  </ul>`;
}
