import { readFileSync } from "node:fs";
import ts from "typescript";
import { describe, expect, test } from "vitest";
import { compileTexts, diagnosticsOf, parseSource, readCompilerOptions, walk } from "../../package/repository.ts";

// As an application has it: strict, and `skipLibCheck`, without which the driver's own types want three packages more.

const FOLDER = "test/drivers/databricks";

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), "utf8");

const STRICTEST = readCompilerOptions(`${FOLDER}/tsconfig.json`);
/** What TypeScript's own `strict` says, and no more. */
const STRICT = {
  ...STRICTEST,
  exactOptionalPropertyTypes: false,
  noUncheckedIndexedAccess: false,
  noPropertyAccessFromIndexSignature: false,
};

/** The programs of the docs page that use the driver; the others are compiled with all the pages. */
function programsOfThePage(): [string, string][] {
  const page = read("../../../docs/warehouses/databricks-driver.md");
  const programs = [...page.matchAll(/^```js\n([\s\S]*?)^```/gm)];
  return programs.map(([, program], index) => [`docs-${String(index)}.ts`, program ?? ""]);
}

/** What the compiler says against programs that stand beside this file. */
function compile(programs: readonly (readonly [string, string])[], options: ts.CompilerOptions): string[] {
  const texts = new Map(programs.map(([name, text]) => [`${FOLDER}/${name}`, text]));
  return diagnosticsOf(compileTexts(texts, options), texts.keys());
}

/** Where a program says more than the compiler knows. */
function castsOf(name: string, text: string): string[] {
  const casts: string[] = [];
  walk(parseSource(name, text), (node) => {
    if (ts.isAsExpression(node) || ts.isTypeAssertionExpression(node) || ts.isNonNullExpression(node)) {
      casts.push(`${name}: ${node.getText()}`);
    }
    if (node.kind === ts.SyntaxKind.AnyKeyword) casts.push(`${name}: any`);
  });
  return casts;
}

describe("with the driver's own types", () => {
  const programs = [
    ["usage.ts", read("usage.ts")] as const,
    ["example.ts", read("example.ts")] as const,
    ...programsOfThePage(),
  ];

  test("usage, example and docs need no cast", () => {
    expect(programs.length).toBeGreaterThan(2);
    expect(programs.flatMap(([name, text]) => castsOf(name, text))).toEqual([]);
    expect(castsOf("x.ts", "f(a as never, <any>b, c!);")).toHaveLength(4);
  });

  test("they compile with strict, and what they mark as refused is refused", () => {
    expect(compile(programs, STRICT)).toEqual([]);
  });

  test("and with everything that can be switched on", () => {
    expect(compile(programs, STRICTEST)).toEqual([]);
  });

  test("a wrong one is found", () => {
    const wrong = read("usage.ts").replace("...databricksAuth(session)", "...databricksAuth(session).provider");
    expect(compile([["wrong.ts", wrong]], STRICT)).toHaveLength(1);
  });
});
