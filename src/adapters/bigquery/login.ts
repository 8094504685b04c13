import { ConfigurationError, assertKnownOptions, invalidArgument } from "../../core/index.ts";
import type { LoginOptions, LoginRequest } from "../../core/index.ts";
import { type BigQueryScope, assertKnownScopes } from "./scopes.ts";

/** What a login at Google may choose. */
export interface BigQueryLogin extends LoginOptions<BigQueryScope> {
  /** Address or `sub` that Google should offer. A hint, not a check. Default is none. */
  readonly loginHint?: string;
  /** Workspace domain to offer, `"*"` for any. A hint, not a check. Default is none. */
  readonly hostedDomain?: string;
  /** `consent` brings a new refresh token; use it when none is stored. Default is Google's own choice. */
  readonly prompt?: "none" | "consent" | "select_account";
  /** Also tokens for what the user granted your project earlier. Default is `false`. */
  readonly includeGrantedScopes?: boolean;
}

const LOGIN_OPTIONS: ReadonlySet<string> = new Set<keyof BigQueryLogin>([
  "scopes",
  "loginHint",
  "hostedDomain",
  "prompt",
  "includeGrantedScopes",
]);

const PROMPTS: ReadonlySet<unknown> = new Set(["none", "consent", "select_account"]);

/**
 * Makes the parameters of one login (developers.google.com, "Using OAuth 2.0 for Web Server Applications", checked 2026-11-21).
 *
 * @throws {@link ConfigurationError} `config_invalid`; `TypeError` for an option of the wrong type.
 */
export function authorizationParameters(
  login: BigQueryLogin,
  { scopes }: Pick<LoginRequest, "scopes">,
): Readonly<Record<string, string>> {
  assertKnownScopes(scopes);
  assertKnownOptions(login, "a login at Google", LOGIN_OPTIONS);
  const { loginHint, hostedDomain, prompt, includeGrantedScopes = false } = login;
  if (prompt !== undefined && !PROMPTS.has(prompt)) {
    if (typeof prompt !== "string") throw invalidArgument('"prompt" must be a string');
    throw new ConfigurationError(
      "config_invalid",
      '"prompt" must be "none", "consent" or "select_account" at Google',
      "prompt",
    );
  }
  if (typeof includeGrantedScopes !== "boolean") throw invalidArgument('"includeGrantedScopes" must be a boolean');
  return {
    access_type: "offline",
    ...(prompt !== undefined && { prompt }),
    ...hint("login_hint", "loginHint", loginHint),
    ...hint("hd", "hostedDomain", hostedDomain),
    ...(includeGrantedScopes && { include_granted_scopes: "true" }),
  };
}

function hint(parameter: string, option: string, value: unknown): Readonly<Record<string, string>> {
  if (value === undefined) return {};
  if (typeof value !== "string") throw invalidArgument(`"${option}" must be a string`);
  if (value === "") throw new ConfigurationError("config_invalid", `"${option}" must not be empty`, option);
  return { [parameter]: value };
}
