import { createHash } from "node:crypto";

/** Text that is HTML already. Only {@link html} makes it, so nothing reaches a page unescaped. */
export class Html {
  readonly #text: string;

  private constructor(text: string) {
    this.#text = text;
  }

  /** Builds a piece of a page; used through {@link html}. */
  static join(literals: readonly string[], values: readonly HtmlValue[]): Html {
    return new Html(literals.map((literal, index) => literal + format(values[index])).join(""));
  }

  toString(): string {
    return this.#text;
  }
}

/** What a template takes. Text and numbers are escaped; `undefined` and `false` leave nothing. */
export type HtmlValue = Html | string | number | undefined | false | readonly HtmlValue[];

/** Every character that means something in HTML, in text and in quoted attributes. */
const MARKUP = /[&<>"'`]/g;

/** Makes text harmless in HTML. */
export function escapeHtml(text: string): string {
  return text.replace(MARKUP, (character) => `&#${String(character.charCodeAt(0))};`);
}

/** Makes HTML of a template; every value is escaped unless it is {@link Html}. Attributes must be quoted. */
export function html(literals: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  return Html.join(literals, values);
}

function format(value: HtmlValue): string {
  if (value === undefined || value === false) return "";
  if (value instanceof Html) return value.toString();
  if (typeof value === "string") return escapeHtml(value);
  if (typeof value === "number") return String(value);
  return value.map(format).join("");
}

/** How much of a secret a page may show. */
const SHOWN = 4;

/** Shortens a secret to what a page may show: `abcd…`. */
export function shorten(secret: string): string {
  return `${secret.slice(0, SHOWN)}…`;
}

/** Shortens a token. All of one warehouse's begin alike, so four digits of its hash tell two of them apart. */
export function shortenToken(token: string): string {
  return `${shorten(token)} #${createHash("sha256").update(token).digest("hex").slice(0, SHOWN)}`;
}
