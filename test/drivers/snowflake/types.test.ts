import { readFileSync } from "node:fs";
import ts from "typescript";
import { expect, test } from "vitest";
import { compileTexts, diagnosticsOf, parseSource, readCompilerOptions, walk } from "../../package/repository.ts";

// `tsc --strict` over what applications write, against the driver's own types. These need `skipLibCheck`.

const FOLDER = "test/drivers/snowflake";
const STRICTEST = readCompilerOptions(`${FOLDER}/tsconfig.json`);
/** `strict` alone, as most applications have it. */
const STRICT: ts.CompilerOptions = {
  ...STRICTEST,
  exactOptionalPropertyTypes: false,
  noUncheckedIndexedAccess: false,
  noPropertyAccessFromIndexSignature: false,
};

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), "utf8");

/** The usage, the example, and the blocks of the docs page that need the driver: the page's others need none. */
const programs: ReadonlyMap<string, string> = new Map([
  ["usage.ts", read("usage.ts")],
  ["example.ts", read("example.ts")],
  ...[...read("../../../docs/warehouses/snowflake-driver.md").matchAll(/^```js\n([\s\S]*?)^```/gm)].map(
    ([, code = ""], index) => [`page-${String(index)}.ts`, code] as const,
  ),
]);

/** What the compiler says about programs in this folder. */
function compile(texts: ReadonlyMap<string, string>, options: ts.CompilerOptions): string[] {
  const placed = new Map([...texts].map(([name, text]) => [`${FOLDER}/${name}`, text]));
  return diagnosticsOf(compileTexts(placed, options), placed.keys());
}

/** Where a program knows better than the compiler. */
function castsOf(text: string): string[] {
  const found: string[] = [];
  walk(parseSource("program.ts", text), (node) => {
    const isCast = ts.isAsExpression(node) || ts.isTypeAssertionExpression(node) || ts.isNonNullExpression(node);
    if (isCast || node.kind === ts.SyntaxKind.AnyKeyword) found.push(node.getText());
  });
  return found;
}

test("the glue fits the driver's types with strict, and refuses what it should", () => {
  expect(programs.size).toBeGreaterThan(2);
  expect(compile(programs, STRICT)).toEqual([]);
});

test("the same with every check that TypeScript has", () => {
  expect(compile(programs, STRICTEST)).toEqual([]);
});

test("no program casts", () => {
  expect([...programs.values()].flatMap(castsOf)).toEqual([]);
  expect(castsOf("a(b as never, <any>c, d!);")).toHaveLength(4);
});

test("an option that is not the driver's is found", () => {
  const wrong = read("usage.ts").replace('warehouse: "WH"', 'wharehouse: "WH"');
  expect(compile(new Map([["wrong.ts", wrong]]), STRICT)).toEqual([expect.stringMatching(/wharehouse/)]);
});
