import { ConfigurationError } from "./errors.ts";

/** The hosts that are this machine, exactly as a parsed URL spells them. `127.1` and `0x7f.1` parse to the first. */
const LOOPBACK_HOSTS: ReadonlySet<string> = new Set(["127.0.0.1", "[::1]", "localhost"]);

/**
 * Visible ASCII without a backslash (RFC 3986 §2). A URL parser leaves line ends out and takes backslashes for slashes:
 * the text that is compared and sent would be another address than the one that was checked.
 */
const PLAIN_URL = /^[\x21-\x5B\x5D-\x7E]+$/;

/** Whether text is an absolute URL that means the same to everybody who reads it. */
export function isPlainUrl(text: unknown): text is string {
  return typeof text === "string" && PLAIN_URL.test(text) && URL.canParse(text);
}

/** What an authority looks like when written plainly: scheme, two slashes, a host without tricks. */
const PLAIN_LOOPBACK = /^http:\/\/(?:127\.0\.0\.1|\[::1\]|localhost)(?=[:/?#]|$)/;

/**
 * Whether text is `http` to this machine, spelled literally (RFC 8252 §8.3): `http://0x7f.1` and `http://localhost.`
 * reach the same place but are refused, because nobody writes them in good faith.
 */
export function isLoopbackHttp(text: string): boolean {
  return PLAIN_LOOPBACK.test(text) && LOOPBACK_HOSTS.has(new URL(text).hostname);
}

/**
 * Checks an address that we will send something to, and gives it parsed. The text itself stays what is compared and sent.
 *
 * @param option What the error message calls it.
 *
 * @throws {@link ConfigurationError} `config_invalid` for what is no plain absolute URL, `insecure_url` for `http`
 * other than to this machine. That `http` to this machine is allowed at all is the client's to decide.
 */
export function parseEndpoint(text: unknown, option: string): URL {
  if (!isPlainUrl(text)) {
    throw new ConfigurationError("config_invalid", `"${option}" must be an absolute URL in ASCII`, option);
  }
  const url = new URL(text);
  if (url.username !== "" || url.password !== "") {
    throw new ConfigurationError("config_invalid", `"${option}" must not hold a user name or password`, option);
  }
  if (text.includes("#")) {
    throw new ConfigurationError("config_invalid", `"${option}" must not have a fragment (RFC 6749 §3.1)`, option);
  }
  if (url.protocol !== "https:" && !isLoopbackHttp(text)) {
    throw new ConfigurationError(
      "insecure_url",
      `"${option}" must be https; http passes only for 127.0.0.1, [::1] and localhost, with "allowLoopbackHttp"`,
      option,
    );
  }
  return url;
}

/**
 * Refuses `http` where the caller did not switch it on.
 *
 * @throws {@link ConfigurationError} `insecure_url`.
 */
export function assertSecure(text: string, option: string, allowLoopbackHttp: boolean): void {
  if (!allowLoopbackHttp && !text.startsWith("https:") && new URL(text).protocol !== "https:") {
    throw new ConfigurationError(
      "insecure_url",
      `"${option}" is http; set "allowLoopbackHttp: true" for a server on this machine, or use https`,
      option,
    );
  }
}
