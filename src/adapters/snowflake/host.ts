import { ConfigurationError } from "../../core/index.ts";
import { isBelowDomain, parseHostName } from "../../lib/host-name.ts";

/** All domains under which accounts live: the world, China, US military. */
const DOMAINS = ["snowflakecomputing.com", "snowflakecomputing.cn", "snowflakecomputing.mil"] as const;

/**
 * An account identifier in lower case: organization and account name joined by a hyphen, or a locator with region and
 * cloud, either with `privatelink` (docs.snowflake.com, "Account identifiers", checked 2026-11-21). A region has a
 * hyphen; that tells `xy12345.eu-central-1` from `org.account`, which is the form of SQL and no host.
 */
const ACCOUNT =
  /^([a-z0-9](?:[a-z0-9_-]*[a-z0-9])?)((?:\.(?:fhplus|dod))?\.[a-z]+(?:-[a-z0-9]+)+(?:\.(?:aws|azure|gcp))?)?(\.privatelink)?$/;

const ASCII_ACCOUNT = /^[A-Za-z0-9._-]{1,200}$/;

const SQL_FORM = /^[A-Za-z0-9]+\.[A-Za-z0-9_]+$/;

/** The one region whose locators stand without it (docs.snowflake.com, "Account identifiers", checked 2026-11-21). */
const HOME_REGION = /^\.us-west-2(?:\.aws)?$/;

/** What tells a Snowflake host, or one that wants to be taken for one. */
const TELLTALE = "snowflakecomputing";

/**
 * Builds the host of an account. Underscores become hyphens: Snowflake serves both, but some clients and all
 * certificate checks by the letter prefer the latter. A whole Snowflake address is taken too.
 *
 * @throws {@link ConfigurationError} `config_invalid`.
 */
export function hostOfAccount(account: string): string {
  if (WEB_PAGES.test(account)) throw webPages("account");
  const host = account.toLowerCase().includes(TELLTALE) ? parseHostName(account) : parseHostName(expand(account));
  if (host === undefined || !isSnowflakeHost(host)) throw badAccount();
  return host.replaceAll("_", "-");
}

/** Writes an account identifier out to a host name; what is no account identifier comes back as what is no host name. */
function expand(account: string): string {
  if (SQL_FORM.test(account)) {
    throw new ConfigurationError(
      "config_invalid",
      '"account" with a dot is what SQL uses; for a host write "org-account", with a hyphen',
      "account",
    );
  }
  const parts = ASCII_ACCOUNT.test(account) ? ACCOUNT.exec(account.toLowerCase()) : null;
  if (parts === null) return "";
  const [, name = "", place = "", privateLink = ""] = parts;
  const region = privateLink === "" && HOME_REGION.test(place) ? "" : place;
  // Before the check of labels: "xn__a" must not become an international name.
  return `${name.replaceAll("_", "-")}${region}${privateLink}.${place.startsWith(".cn-") ? DOMAINS[1] : DOMAINS[0]}`;
}

/**
 * Checks a whole host: an account's own, a private link, or a domain of the customer's. Underscores stay.
 *
 * @throws {@link ConfigurationError} `config_invalid`.
 */
export function checkHost(text: string): string {
  const host = parseHostName(text);
  if (host === undefined) {
    throw new ConfigurationError(
      "config_invalid",
      '"host" must be a host name such as "acme-prod.privatelink.snowflakecomputing.com": letters, digits, hyphens and dots, no port',
      "host",
    );
  }
  if (isBelowDomain(host, "snowflake.com")) throw webPages("host");
  if (host.includes(TELLTALE) && !isSnowflakeHost(host)) {
    throw new ConfigurationError(
      "config_invalid",
      `"host" looks like Snowflake's but is not below ${DOMAINS.join(", ")}`,
      "host",
    );
  }
  return host;
}

function isSnowflakeHost(host: string): boolean {
  return DOMAINS.some((domain) => isBelowDomain(host, domain));
}

/** What a browser shows today: `https://app.snowflake.com/org/account/…`. */
const WEB_PAGES = /^(?:https:\/\/)?(?:[a-z0-9-]+\.)*snowflake\.com(?:[/?#]|$)/i;

function webPages(option: "account" | "host"): ConfigurationError {
  return new ConfigurationError(
    "config_invalid",
    `"${option}" is the address of Snowflake's web pages; give "account" as "org-account": both names stand in that address`,
    option,
  );
}

function badAccount(): ConfigurationError {
  return new ConfigurationError(
    "config_invalid",
    '"account" must be an account identifier such as "org-account" or "xy12345.eu-central-1", without a port; any other address goes into "host"',
    "account",
  );
}
