import { ConfigurationError } from "./errors.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";
import type { ScopeLevel, Warehouse } from "./warehouse.ts";

/** One scope: `1*( %x21 / %x23-5B / %x5D-7E )` (RFC 6749 §3.3). */
const SCOPE = /^[\x21\x23-\x5B\x5D-\x7E]+$/;

/** Whether text is one scope by the grammar of RFC 6749 §3.3. */
export function isScope(value: unknown): value is string {
  return typeof value === "string" && SCOPE.test(value);
}

/**
 * Checks scopes that a caller gave.
 *
 * @throws {@link ConfigurationError} `config_invalid`.
 */
export function assertScopes(scopes: unknown, option: string): asserts scopes is readonly string[] {
  if (!Array.isArray(scopes)) throw invalidArgument(`"${option}" must be an array of strings`);
  if (!scopes.every(isScope)) {
    throw new ConfigurationError(
      "config_invalid",
      `each of "${option}" must be one scope: no spaces, quotes or backslashes, at least one character (RFC 6749 §3.3)`,
      option,
    );
  }
}

/**
 * Reads a space-delimited list of scopes as a server sends it (RFC 6749 §3.3). Order is kept, repetitions are not.
 * What is no scope is left out: a server that sends one asks for nothing we could name.
 */
export function parseScopes(text: string): readonly string[] {
  return [...new Set(text.split(" ").filter(isScope))];
}

/** Writes scopes as the wire wants them: delimited by single spaces, each once. */
export function formatScopes(scopes: readonly string[]): string {
  return [...new Set(scopes)].join(" ");
}

/**
 * Asks for offline access and is spent once granted: servers often leave them out of later answers,
 * and their absence takes nothing from the access token (requirements S-041).
 */
const OFFLINE_SCOPES: ReadonlySet<string> = new Set(["offline_access", "refresh_token"]);

/** The scopes of `wanted` that `granted` lacks, as sets, case-sensitively. */
export function scopesBeyond(wanted: readonly string[], granted: readonly string[]): readonly string[] {
  const has = new Set(granted);
  return wanted.filter((scope) => !has.has(scope) && !OFFLINE_SCOPES.has(scope));
}

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
  if (!Array.isArray(scopes)) throw invalidArgument('"scopes" must be an array of strings');
  return scopes.map((scope: string) => {
    const fact = warehouse.scopeCatalogue.get(scope);
    return { scope, description: fact?.description, level: fact?.level };
  });
}
