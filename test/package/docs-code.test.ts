import { existsSync } from "node:fs";
import { join, posix } from "node:path";
import type ts from "typescript";
import { describe, expect, test } from "vitest";
import {
  compileTexts,
  diagnosticsOf,
  listFiles,
  listSources,
  readCompilerOptions,
  readText,
  root,
} from "./repository.ts";

/**
 * What an example may use without declaring it: the things its reader has in hand already. Everything else is imported
 * or declared in the example. A name that the example declares itself hides the one here.
 */
const PRELUDE = `
declare const client: import("warehouse-oauth").OAuthClient;
declare const warehouse: import("warehouse-oauth").Warehouse;
declare const tokens: import("warehouse-oauth").TokenSet;
declare const pending: import("warehouse-oauth").PendingAuthorization;
declare const callback: import("warehouse-oauth").ValidatedCallback;
declare const request: Request;
declare const response: Response;
declare const signal: AbortSignal;
`;

interface Block {
  /** A path from the root for the compiler, that says where the block stands. */
  readonly path: string;
  readonly code: string;
}

const FENCE = /^([ \t]*)```(?:ts|typescript)[^\n]*\n([\s\S]*?)^[ \t]*```/gm;

/** Takes the TypeScript blocks out of Markdown text. */
function blocksOf(path: string, text: string, lineOffset = 0): Block[] {
  return [...text.matchAll(FENCE)].map((match) => {
    const line = lineOffset + text.slice(0, match.index).split("\n").length;
    const indent = match[1] ?? "";
    const code = (match[2] ?? "").replaceAll(new RegExp(`^${indent}`, "gm"), "");
    return { path: `${path}.${String(line)}.ts`, code: `${code}\nexport {};\n` };
  });
}

/** Takes the TypeScript blocks out of the doc comments of a source file. */
function examplesOf(path: string, text: string): Block[] {
  return [...text.matchAll(/\/\*\*[\s\S]*?\*\//g)].flatMap((comment) => {
    const before = text.slice(0, comment.index).split("\n").length - 1;
    return blocksOf(path, comment[0].replaceAll(/^[ \t]*\* ?/gm, ""), before);
  });
}

const pages = listFiles("", (path) => path.endsWith(".md"));
const shown = pages.filter((path) => path === "README.md" || path.startsWith("docs/"));

function compile(blocks: readonly Block[]): string[] {
  const options: ts.CompilerOptions = {
    ...readCompilerOptions("tsconfig.json"),
    noUnusedLocals: false,
    noUnusedParameters: false,
  };
  const prelude = "docs/prelude.d.ts";
  const texts = new Map([[prelude, PRELUDE], ...blocks.map(({ path, code }) => [path, code] as const)]);
  return diagnosticsOf(
    compileTexts(texts, options),
    blocks.map(({ path }) => path),
  );
}

describe("code that readers copy compiles", () => {
  test("README.md and docs", () => {
    expect(compile(shown.flatMap((path) => blocksOf(path, readText(path))))).toEqual([]);
  });

  test("the examples in the comments of src", () => {
    expect(compile(listSources().flatMap((path) => examplesOf(path, readText(path))))).toEqual([]);
  });

  test("blocks are found where they stand, and a wrong one is refused", () => {
    const page = "# A\n\n```ts\nconst a: string = 1;\n```\n\n- b\n  ```ts\n  export const b: number = 1;\n  ```\n";
    const blocks = blocksOf("docs/x.md", page);
    expect(blocks.map(({ path }) => path)).toEqual(["docs/x.md.3.ts", "docs/x.md.8.ts"]);
    expect(compile(blocks)).toEqual([expect.stringMatching(/^docs\/x\.md\.3\.ts:1 TS2322/)]);
    const source = "/**\n * Does.\n *\n * @example\n *\n * ```ts\n * nothing();\n * ```\n */\nexport const a = 1;\n";
    expect(compile(examplesOf("src/x.ts", source))).toEqual([expect.stringMatching(/^src\/x\.ts\.6\.ts:1 TS2304/)]);
  });
});

describe("links in Markdown lead somewhere", () => {
  /** The anchor that a heading gets on the pages of common hosts. */
  const anchorOf = (heading: string): string =>
    heading
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1")
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
      .trim()
      .replaceAll(/\s/g, "-");

  const withoutCode = (text: string): string =>
    text.replaceAll(/^[ \t]*```[\s\S]*?^[ \t]*```/gm, "").replaceAll(/`[^`\n]*`/g, "");

  function anchorsOf(text: string): Set<string> {
    const headings = [...text.replaceAll(/^[ \t]*```[\s\S]*?^[ \t]*```/gm, "").matchAll(/^#{1,6}\s+(.+?)\s*$/gm)];
    return new Set(headings.map(([, heading]) => anchorOf(heading ?? "")));
  }

  /** Lists the links of a page that lead to no file, or to no heading of it. */
  function brokenLinks(path: string, text: string): string[] {
    const targets = [...withoutCode(text).matchAll(/\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)/gm)];
    return targets.flatMap((match) => {
      const link = match[1] ?? match[2] ?? "";
      if (/^[a-z][a-z+.-]*:/i.test(link)) return [];
      const [file = "", anchor] = link.split("#");
      const target = file === "" ? path : posix.join(posix.dirname(path), decodeURIComponent(file));
      if (target.startsWith("docs/api/")) return []; // made by `npm run docs`
      const isHere = target === path;
      if (!isHere && (target.startsWith("..") || !existsSync(join(root, target)))) return [`${path}: ${link}`];
      if (anchor === undefined || !target.endsWith(".md")) return [];
      return anchorsOf(isHere ? text : readText(target)).has(anchor) ? [] : [`${path}: ${link}`];
    });
  }

  test("in all pages", () => {
    expect(pages.flatMap((path) => brokenLinks(path, readText(path)))).toEqual([]);
  });

  test("a wrong one is found", () => {
    const text =
      "# One `two`: three\n[a](#one-two-three) [b](#four) [c](no.md) [d](https://e.test/) `[e](no.md)`\n\n[f]: gone.md\n";
    expect(brokenLinks("docs/x.md", text)).toEqual(["docs/x.md: #four", "docs/x.md: no.md", "docs/x.md: gone.md"]);
  });
});
