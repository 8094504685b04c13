import { ConfigurationError, invalidArgument } from "../../core/index.ts";
import type { ScopeFact } from "../../core/index.ts";
import { percentEncode } from "../../lib/percent-encode.ts";

/** What Snowflake OAuth knows. Roles are asked for with `role`, one at most; anything else is refused by the server. */
export type SnowflakeScope = "refresh_token" | "session:role-any";

/** What the scopes let an application do (docs.snowflake.com, "Configure Snowflake OAuth for custom clients", checked 2026-11-21). */
export const SCOPE_CATALOGUE: ReadonlyMap<string, ScopeFact> = new Map<SnowflakeScope, ScopeFact>([
  [
    "refresh_token",
    { description: "Stay signed in to Snowflake for you while you are away, until you withdraw it.", level: "read" },
  ],
  [
    "session:role-any",
    { description: "Act in Snowflake in any role that you have, and change between them.", level: "admin" },
  ],
]);

/** Role names that `session:role:` takes as they are; others go percent-encoded into `session:role-encoded:`. */
const PLAIN_ROLE = /^[-_A-Za-z0-9]+$/;

/** An identifier that SQL reads without quotes, in any case. */
const UNQUOTED_IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_$]*$/;

/** Longest identifier of Snowflake. */
const MAX_IDENTIFIER = 255;

/** Half of a surrogate pair: no text, and `encodeURIComponent` throws on it. */
const LONE_SURROGATE = /\p{Surrogate}/u;

/**
 * Writes the scope that binds a session to one role. As in SQL, a bare name means upper case and `{ quoted }` keeps the case.
 *
 * @throws {@link ConfigurationError} `config_invalid`; `TypeError` for what is neither text nor `{ quoted }`.
 */
export function formatRoleScope(role: string | { readonly quoted: string }): string {
  const name = readRole(role);
  if (name === "" || name.length > MAX_IDENTIFIER || LONE_SURROGATE.test(name)) {
    throw new ConfigurationError(
      "config_invalid",
      `"role" must be text of 1 to ${String(MAX_IDENTIFIER)} characters`,
      "role",
    );
  }
  return PLAIN_ROLE.test(name) ? `session:role:${name}` : `session:role-encoded:${percentEncode(name)}`;
}

function readRole(role: unknown): string {
  if (typeof role === "string") {
    if (!UNQUOTED_IDENTIFIER.test(role)) {
      throw new ConfigurationError(
        "config_invalid",
        '"role" must be a name that SQL takes without quotes; for any other, as "SHOW ROLES" writes it, use { quoted: "…" }',
        "role",
      );
    }
    return role.toUpperCase();
  }
  const quoted: unknown = typeof role === "object" && role !== null && "quoted" in role ? role.quoted : undefined;
  if (typeof quoted !== "string") throw invalidArgument('"role" must be a string or { quoted: string }');
  return quoted;
}

/** Says what a scope of one role allows. What the role itself may do is the customer's to say, and may be everything. */
export function describeRoleScope(scope: string): ScopeFact | undefined {
  const [, encoded, name = ""] = /^session:role(-encoded)?:(.+)$/.exec(scope) ?? [];
  const role = encoded === undefined ? name : decodeRole(name);
  return role === "" ? undefined : { description: `Act in Snowflake in your role ${role}.`, level: "admin" };
}

/** Reads what {@link percentEncode} wrote; empty for what it did not. */
function decodeRole(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

/**
 * Refuses scopes that Snowflake would answer with an error page of its own, from which nobody comes back.
 *
 * @throws {@link ConfigurationError} `config_invalid`, with the right way.
 */
export function assertKnownScopes(scopes: readonly string[]): void {
  for (const scope of scopes) {
    if (SCOPE_CATALOGUE.has(scope)) continue;
    throw new ConfigurationError("config_invalid", explainRefusal(scope), "scopes");
  }
}

function explainRefusal(scope: string): string {
  if (/^session:role(?:-encoded)?:/.test(scope)) {
    return 'a role is not asked for in "scopes": use the "role" option, one role for each login';
  }
  if (scope.startsWith("session:scope:")) {
    return 'Snowflake OAuth has no "session:scope:…" scopes, and none for warehouses: use the "role" option, and name the warehouse in the connection or statement';
  }
  if (scope === "offline_access") {
    return 'Snowflake has no scope "offline_access": its name there is "refresh_token"';
  }
  return '"scopes" may hold "refresh_token" and "session:role-any" at Snowflake, which has no OpenID Connect and refuses all others';
}
