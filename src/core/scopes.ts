import { ConfigurationError } from "./errors.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";
import type { Warehouse } from "./warehouse.ts";

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

/** Gives each scope the one name that the warehouse's tokens have, each once, so that sets can be compared. */
export function canonicalScopes(
  { scopeAliases }: Pick<Warehouse<never>, "scopeAliases">,
  scopes: readonly string[],
): readonly string[] {
  return [...new Set(scopes.map((scope) => scopeAliases?.get(scope) ?? scope))];
}

/**
 * Asks for offline access and is spent once granted: servers often leave them out of later answers,
 * and their absence takes nothing from the access token (requirements S-041).
 */
const OFFLINE_SCOPES: ReadonlySet<string> = new Set(["offline_access", "refresh_token"]);

/** The scopes of `wanted` that `granted` lacks, as sets, case-sensitively; asking for offline access is never missed. */
export function scopesBeyond(
  warehouse: Pick<Warehouse<never>, "scopeAliases">,
  wanted: readonly string[],
  granted: readonly string[],
): readonly string[] {
  const has = new Set(canonicalScopes(warehouse, granted));
  return canonicalScopes(warehouse, wanted).filter((scope) => !has.has(scope) && !OFFLINE_SCOPES.has(scope));
}
