import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, test } from "vitest";
import { root } from "./repository.ts";

// Run by `npm run docs`, after typedoc has written the pages.
const site = join(root, "docs/api");

/** Lists the links of a page to files of the site, or to places in them, that do not exist. */
function brokenLinks(page: string, html: string, readPage: (path: string) => string | undefined): string[] {
  const links = [...html.matchAll(/\s(?:href|src)="([^"]+)"/g)].map((match) =>
    (match[1] ?? "").replaceAll("&amp;", "&"),
  );
  return links.flatMap((link) => {
    if (/^(?:[a-z][a-z+.-]*:|\/\/)/i.test(link)) return [];
    const [file = "", anchor] = link.split("#");
    const target = file === "" ? page : join(dirname(page), decodeURIComponent(file.replace(/\?.*$/, "")));
    const text = target === page ? html : readPage(target);
    if (text === undefined) return [`${page}: ${link}`];
    if (anchor === undefined || anchor === "" || !target.endsWith(".html")) return [];
    return text.includes(`id="${decodeURIComponent(anchor)}"`) ? [] : [`${page}: ${link}`];
  });
}

describe("the generated pages", () => {
  const pages = existsSync(site)
    ? readdirSync(site, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".html"))
    : [];
  const readPage = (path: string): string | undefined =>
    existsSync(join(site, path)) ? readFileSync(join(site, path), "utf8") : undefined;

  test("are there", () => {
    expect(pages).toContain("index.html");
    expect(pages.length).toBeGreaterThan(10);
  });

  test("have no link that leads nowhere", () => {
    expect(pages.flatMap((page) => brokenLinks(relative(".", page), readPage(page) ?? "", readPage))).toEqual([]);
  });

  test("a wrong link is found", () => {
    const html = '<a href="b.html#there"></a><a href="b.html#gone"></a><a href="c.html"></a><a href="https://e.test/">';
    const read = (path: string): string | undefined => (path === "b.html" ? '<h2 id="there">' : undefined);
    expect(brokenLinks("a.html", html, read)).toEqual(["a.html: b.html#gone", "a.html: c.html"]);
  });
});
