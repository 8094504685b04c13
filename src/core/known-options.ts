import { invalidArgument } from "../lib/invalid-argument.ts";
import { ConfigurationError } from "./errors.ts";

/**
 * Refuses what is no object, and members that nobody reads: a misspelt limit would be no limit.
 *
 * @param owner What takes the options, as a sentence names it: `createClient`, `a login at Google`.
 *
 * @throws {@link ConfigurationError} `config_invalid`, with the member's name; TypeError `invalid_argument`.
 */
export function assertKnownOptions(options: unknown, owner: string, names: Iterable<string>): void {
  if (typeof options !== "object" || options === null) throw invalidArgument(`${owner} takes an object`);
  const known = new Set(names);
  for (const name of Object.keys(options)) {
    if (!known.has(name)) throw new ConfigurationError("config_invalid", `"${name}" is no option of ${owner}`, name);
  }
}
