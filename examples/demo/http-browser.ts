/** A page as the little browser sees it. */
export interface BrowserPage {
  readonly url: URL;
  readonly status: number;
  readonly headers: Headers;
  readonly html: string;
  /** Addresses on the way here, the first one first. */
  readonly redirects: readonly URL[];
}

/** A redirect chain longer than this is a loop. */
const MAX_REDIRECTS = 10;

/**
 * A browser without a screen: cookies, redirects, links and forms over real HTTP. Cookies are kept by host name, as
 * browsers do, whatever the port.
 */
export class HttpBrowser {
  readonly #cookies = new Map<string, Map<string, string>>();

  /** Opens an address and follows redirects. `follow: false` stops at the first answer. */
  async open(url: URL | string, options: { readonly follow?: boolean } = {}): Promise<BrowserPage> {
    return this.#go(new URL(url), undefined, undefined, options.follow ?? true);
  }

  /** Follows the link with this text. */
  async click(page: BrowserPage, text: string): Promise<BrowserPage> {
    const href = findLink(page.html, text);
    if (href === undefined) throw new Error(`there is no link "${text}" on ${page.url.pathname}`);
    return this.open(new URL(href, page.url));
  }

  /** Presses the button with this text: sends its form as filled in, with what `fill` changes. */
  async press(page: BrowserPage, text: string, fill: Readonly<Record<string, string>> = {}): Promise<BrowserPage> {
    const form = findForm(page.html, text);
    if (form === undefined) throw new Error(`there is no button "${text}" on ${page.url.pathname}`);
    for (const [name, value] of Object.entries(fill)) form.fields.set(name, value);
    return this.#go(new URL(form.action, page.url), form.fields, page.url.origin, true);
  }

  /** The value of a cookie that it would send to an address. */
  cookie(url: URL | string, name: string): string | undefined {
    return this.#cookies.get(new URL(url).hostname)?.get(name);
  }

  async #go(
    start: URL,
    body: URLSearchParams | undefined,
    origin: string | undefined,
    follow: boolean,
  ): Promise<BrowserPage> {
    const redirects: URL[] = [];
    let url = start;
    let form = body;
    for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
      const response = await fetch(url, {
        method: form === undefined ? "GET" : "POST",
        redirect: "manual",
        headers: {
          ...this.#cookieHeader(url),
          ...(form !== undefined && origin !== undefined && { origin }),
        },
        ...(form !== undefined && { body: form }),
      });
      this.#keepCookies(url, response.headers);
      const location = response.headers.get("location");
      if (location === null || !follow) {
        const { status, headers } = response;
        return { url, status, headers, html: await response.text(), redirects };
      }
      response.body?.cancel().catch(() => undefined);
      redirects.push(url);
      url = new URL(location, url);
      form = undefined;
    }
    throw new Error(`${start.pathname} redirects in a circle`);
  }

  #cookieHeader(url: URL): { readonly cookie?: string } {
    const cookies = this.#cookies.get(url.hostname);
    if (cookies === undefined) return {};
    return { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join("; ") };
  }

  #keepCookies(url: URL, headers: Headers): void {
    for (const line of headers.getSetCookie()) {
      const [pair = ""] = line.split(";");
      const at = pair.indexOf("=");
      const cookies = this.#cookies.get(url.hostname) ?? new Map<string, string>();
      cookies.set(pair.slice(0, at), pair.slice(at + 1));
      this.#cookies.set(url.hostname, cookies);
    }
  }
}

/** Text of a page as a reader sees it. */
export function textOf(html: string): string {
  return decode(html.replace(/<(?:style|title)[\s\S]*?<\/(?:style|title)>/g, " ").replace(/<[^>]*>/g, " "))
    .replace(/\s+/g, " ")
    .trim();
}

function findLink(html: string, text: string): string | undefined {
  for (const [, attributes = "", content = ""] of html.matchAll(/<a\b([^>]*)>([\s\S]*?)<\/a>/g)) {
    if (textOf(content) === text) return attribute(attributes, "href");
  }
  return undefined;
}

function findForm(html: string, button: string): { action: string; fields: URLSearchParams } | undefined {
  for (const [, attributes = "", content = ""] of html.matchAll(/<form\b([^>]*)>([\s\S]*?)<\/form>/g)) {
    const pressed = [...content.matchAll(/<button\b([^>]*)>([\s\S]*?)<\/button>/g)].find(
      ([, , label = ""]) => textOf(label) === button,
    );
    if (pressed === undefined) continue;
    const fields = new URLSearchParams();
    for (const [, input = ""] of content.matchAll(/<input\b([^>]*)>/g)) {
      const name = attribute(input, "name");
      if (name === undefined || (attribute(input, "type") === "checkbox" && !/\bchecked\b/.test(input))) continue;
      fields.append(name, attribute(input, "value") ?? "");
    }
    const name = attribute(pressed[1] ?? "", "name");
    if (name !== undefined) fields.append(name, attribute(pressed[1] ?? "", "value") ?? "");
    return { action: attribute(attributes, "action") ?? "", fields };
  }
  return undefined;
}

function attribute(attributes: string, name: string): string | undefined {
  const value = new RegExp(`\\b${name}="([^"]*)"`).exec(attributes)?.[1];
  return value === undefined ? undefined : decode(value);
}

const NAMED: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

function decode(text: string): string {
  return text.replace(/&(?:#(\d+)|([a-z]+));/g, (whole, code: string | undefined, name: string | undefined) =>
    code === undefined ? (NAMED[name ?? ""] ?? whole) : String.fromCharCode(Number(code)),
  );
}
