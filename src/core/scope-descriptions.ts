import { invalidArgument } from "../lib/invalid-argument.ts";
import { isWarehouse } from "./warehouse.ts";
import type { ScopeLevel, Warehouse } from "./warehouse.ts";

/** A scope and what it lets the application do. Both facts are absent for scopes the warehouse does not know. */
export interface ScopeDescription {
  /** The scope as it is sent. */
  readonly scope: string;
  /** What it lets an application do, as a sentence for people. */
  readonly description: string | undefined;
  /** The most it allows. */
  readonly level: ScopeLevel | undefined;
}

/**
 * Says in sentences what the scopes allow, for a consent page of one's own.
 *
 * @example
 *
 * ```ts
 * import { describeScopes } from "warehouse-oauth";
 * import { databricks } from "warehouse-oauth/databricks";
 *
 * const warehouse = databricks({ host: "acme.cloud.databricks.com" });
 * for (const { scope, description, level } of describeScopes(warehouse, ["sql"])) {
 *   process.stdout.write(`${scope} (${level ?? "?"}): ${description ?? "unknown"}\n`);
 * }
 * ```
 */
export function describeScopes(warehouse: Warehouse, scopes: readonly string[]): readonly ScopeDescription[] {
  if (!isWarehouse(warehouse)) {
    throw invalidArgument('"warehouse" must come from defineWarehouse, discover or an adapter');
  }
  if (!Array.isArray(scopes)) throw invalidArgument('"scopes" must be an array of strings');
  return scopes.map((scope: string) => {
    const name = warehouse.scopeAliases?.get(scope) ?? scope;
    const fact = warehouse.scopeCatalogue.get(name) ?? warehouse.describeScope?.(name);
    return { scope, description: fact?.description, level: fact?.level };
  });
}
