import { ConfigurationError } from "../../core/index.ts";
import { isBelowDomain, parseHostName } from "../../lib/host-name.ts";

/** Workspaces on Azure: public, US government, China (Databricks Go SDK, `environments.go`, checked 2026-11-21). */
const AZURE_DOMAINS = ["azuredatabricks.net", "databricks.azure.us", "databricks.azure.cn"] as const;

/** Workspaces everywhere (same source). Customers' own domains lie outside. */
const DOMAINS = ["cloud.databricks.com", "cloud.databricks.us", "gcp.databricks.com", ...AZURE_DOMAINS] as const;

/** Stands before one of the domains in the host of an account console. */
const ACCOUNT_CONSOLES: ReadonlySet<string> = new Set(["accounts", "accounts-dod"]);

/** One path segment. Account ids are UUIDs; that they are is not documented. */
const ACCOUNT_ID = /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?$/;

/** A host of Databricks, and whether Azure's rules hold there. */
export interface DatabricksHost {
  /** Lower-case host name. */
  readonly host: string;
  /** Whether it is below one of Azure's domains. */
  readonly azure: boolean;
}

/**
 * Checks a host and that it fits the account id. Customers' own domains serve workspaces and accounts alike;
 * Databricks' domains serve one of them.
 *
 * @throws {@link ConfigurationError} `config_invalid`.
 */
export function checkHost(text: string, accountId: string | undefined): DatabricksHost {
  const host = parseHostName(text);
  if (host === undefined) {
    throw new ConfigurationError(
      "config_invalid",
      '"host" must be a host name such as "acme.cloud.databricks.com": letters, digits, hyphens and dots, no port',
      "host",
    );
  }
  if (accountId !== undefined && !ACCOUNT_ID.test(accountId)) {
    throw new ConfigurationError(
      "config_invalid",
      '"accountId" must be the account\'s id: letters, digits and hyphens',
      "accountId",
    );
  }
  const domain = DOMAINS.find((known) => isBelowDomain(host, known));
  if (domain === undefined) assertOwnDomain(host);
  else assertLevel(ACCOUNT_CONSOLES.has(host.slice(0, -domain.length - 1)), accountId);
  return { host, azure: AZURE_DOMAINS.some((known) => isBelowDomain(host, known)) };
}

/** Own domains may lie below databricks.com too; what only starts like one of ours is somebody else's. */
function assertOwnDomain(host: string): void {
  if (DOMAINS.some((known) => host === known || host.includes(`${known}.`))) {
    throw new ConfigurationError(
      "config_invalid",
      `"host" looks like Databricks' but is not below ${DOMAINS.join(", ")}`,
      "host",
    );
  }
}

function assertLevel(isAccountConsole: boolean, accountId: string | undefined): void {
  if (isAccountConsole && accountId === undefined) {
    throw new ConfigurationError("config_invalid", '"host" is an account console: it needs "accountId"', "accountId");
  }
  if (!isAccountConsole && accountId !== undefined) {
    throw new ConfigurationError(
      "config_invalid",
      '"host" is a workspace, which signs in nobody to an account: leave "accountId" out, or give the host of the account console',
      "accountId",
    );
  }
}
