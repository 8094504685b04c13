/** One label (RFC 1123 §2.1), with the inner underscores that some warehouses serve; at most 63 characters. */
const LABEL = /^[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?$/;

/** There is a top-level domain, and it is letters: what ends in a number is an IP address to a URL parser (`0x7f.1`). */
const TOP_LEVEL = /\.[a-z]{2,63}$/;

/** The whole of it, dots included (RFC 1035 §2.3.4). */
const MAX_HOST_NAME = 253;

/** What people copy out of a browser: the authority, which must be a name and nothing else, then anything. */
const PASTED = /^https:\/\/([^/?#]+)(?:[/?#].*)?$/i;

/** Checked before lower-casing, because `toLowerCase` turns some other letters into ASCII ones. */
const ASCII_NAME = /^[A-Za-z0-9._-]+$/;

/**
 * Reads a host name with at least two labels, bare or as the `https` address copied from a browser, and gives it in
 * lower case. Of an address only the host is kept, and a final dot of it is dropped; a bare name must be exact.
 * `undefined` for everything else: ports, users, IP addresses, international names, escapes.
 */
export function parseHostName(text: string): string | undefined {
  const pasted = PASTED.exec(text)?.[1]?.replace(/\.$/, "");
  const name = pasted ?? text;
  if (name.length > MAX_HOST_NAME || !ASCII_NAME.test(name)) return undefined;
  const host = name.toLowerCase();
  if (!TOP_LEVEL.test(host)) return undefined;
  return host.split(".").every((label) => LABEL.test(label) && !label.startsWith("xn--")) ? host : undefined;
}

/** Whether a host lies below a domain; compared from the end, so that `domain.evil.example` does not. */
export function isBelowDomain(host: string, domain: string): boolean {
  return host.endsWith(`.${domain}`);
}
