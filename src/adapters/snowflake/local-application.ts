import { ConfigurationError } from "../../core/index.ts";

/** The client id of the integration that every account has. */
const LOCAL_APPLICATION = "LOCAL_APPLICATION";

/**
 * Snowflake shows a page of its own where the local application names another place (docs.snowflake.com, "Snowflake OAuth for
 * local applications", checked 2026-11-21).
 *
 * @throws `ConfigurationError` `config_invalid`.
 */
export function assertLocalRedirect(clientId: string, redirectUri: string | undefined): void {
  if (clientId !== LOCAL_APPLICATION || redirectUri === undefined) return;
  if (/^http:\/\/127\.0\.0\.1(?:[:/]|$)/.test(redirectUri)) return;
  throw new ConfigurationError(
    "config_invalid",
    '"redirectUri" of the client LOCAL_APPLICATION must be http://127.0.0.1, with any port and path; Snowflake takes no "localhost" there',
    "redirectUri",
  );
}
