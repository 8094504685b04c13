import type { ScopeDescription } from "../core/index.ts";

/** Every character that means something in HTML, text and attributes alike. */
const MARKUP = /[&<>"']/g;

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Makes text harmless in HTML. */
export function escapeHtml(text: string): string {
  return text.replace(MARKUP, (character) => ENTITIES[character] ?? "");
}

/** Gives back the text that {@link escapeHtml} made harmless. */
export function unescapeHtml(html: string): string {
  return html.replace(/&[#\w]+;/g, (entity) => CHARACTERS.get(entity) ?? entity);
}

const CHARACTERS: ReadonlyMap<string, string> = new Map(
  Object.entries(ENTITIES).map(([character, entity]) => [entity, character]),
);

/** No script, no frame, nothing from elsewhere. `form-action` is absent: it would also stop the redirect to the application. */
const PAGE_HEADERS: Readonly<Record<string, string>> = {
  "content-type": "text/html; charset=utf-8",
  "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
  "cache-control": "no-store",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};

const STYLE =
  "body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:4rem auto;padding:0 1rem;color:#1f2328}" +
  "h1{font-size:1.3rem}label{display:block;margin:.6rem 0}input[type=text]{font:inherit;padding:.3rem;width:100%;box-sizing:border-box}" +
  "button{font:inherit;padding:.4rem 1.2rem;margin-right:.6rem}code{font-size:.85em;color:#57606a}.note{color:#57606a}";

/**
 * Makes a page of the fake.
 *
 * @internal
 */
export function htmlPage(title: string, content: string, status = 200): Response {
  const page =
    `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">` +
    `<title>${escapeHtml(title)}</title><style>${STYLE}</style><h1>${escapeHtml(title)}</h1>${content}</html>`;
  return new Response(page, { status, headers: PAGE_HEADERS });
}

/**
 * Makes the page on which a person signs in and agrees or declines. Plain HTML: works without script.
 *
 * @internal
 */
export function signInPage(options: {
  readonly displayName: string;
  readonly clientId: string;
  readonly ticket: string;
  readonly user: string;
  readonly scopes: readonly ScopeDescription[];
}): Response {
  const scopes = options.scopes
    .map(
      ({ scope, description }) =>
        `<label><input type="checkbox" name="scope" value="${escapeHtml(scope)}" checked> ` +
        `${escapeHtml(description ?? "Something this page has no words for")} <code>${escapeHtml(scope)}</code></label>`,
    )
    .join("");
  return htmlPage(
    `Sign in to ${options.displayName}`,
    `<p class="note">This is a fake for tests. It takes any user name and asks for no password.</p>` +
      `<form method="post"><input type="hidden" name="ticket" value="${escapeHtml(options.ticket)}">` +
      `<label>User name <input type="text" name="user" value="${escapeHtml(options.user)}" required autocomplete="off"></label>` +
      `<p>The application <code>${escapeHtml(options.clientId)}</code> asks to:</p>${scopes}` +
      `<p><button name="decision" value="agree">Agree</button><button name="decision" value="decline">Decline</button></p></form>`,
  );
}

const TICKET = /name="ticket" value="([^"]+)"/;

/**
 * Finds the ticket in a sign-in page, as a browser would send it back.
 *
 * @internal
 */
export function findTicket(page: string): string | undefined {
  return TICKET.exec(page)?.[1];
}
