import { join } from "node:path";
import ts from "typescript";
import { describe, expect, test } from "vitest";
import {
  compileTexts,
  diagnosticsOf,
  formatDiagnostics,
  listFiles,
  parseSource,
  readText,
  root,
  walk,
} from "./repository.ts";

// The programs of test/types/usage are the API's first readers. They must compile as they stand, and what they mark as
// refused (an expected error above the line) must be refused. What is not built yet is left out, statement by statement,
// and only if it is listed here.

/** Exports and modules that the programs use and that are not there yet, each with the reason. */
const NOT_YET: ReadonlyMap<string, string> = new Map([
  ...["@databricks/sql", "@google-cloud/bigquery", "snowflake-sdk"].map(
    (name) => [name, "drivers are installed in test/drivers, and compiled with there"] as const,
  ),
]);

const OPTIONS: ts.CompilerOptions = {
  noEmit: true,
  target: ts.ScriptTarget.ES2023,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  lib: ["lib.es2023.d.ts", "lib.dom.d.ts"],
  types: ["node"],
  typeRoots: [join(root, "node_modules/@types")],
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  noImplicitOverride: true,
  noImplicitReturns: true,
  noFallthroughCasesInSwitch: true,
  noPropertyAccessFromIndexSignature: true,
  verbatimModuleSyntax: true,
  erasableSyntaxOnly: true,
  isolatedModules: true,
  rewriteRelativeImportExtensions: true,
  skipLibCheck: true,
  paths: absolutePaths(),
};

function absolutePaths(): Record<string, string[]> {
  const { config } = ts.parseConfigFileTextToJson("tsconfig.json", readText("tsconfig.json")) as {
    config: { compilerOptions: { paths: Record<string, string[]> } };
  };
  const { paths } = config.compilerOptions;
  return Object.fromEntries(
    Object.entries(paths).map(([name, targets]) => [name, targets.map((target) => join(root, target))]),
  );
}

/** TS2305, TS2724: the module has no such export. TS2307: there is no such module. */
const NO_SUCH_EXPORT = new Set([2305, 2724]);
const NO_SUCH_MODULE = 2307;

/** The exports and modules that a program imports and that are not there. */
function missingOf(program: ts.Program, path: string): string[] {
  const file = program.getSourceFile(join(root, path));
  return program.getSemanticDiagnostics(file).flatMap((diagnostic) => {
    const text = ts.flattenDiagnosticMessageText(diagnostic.messageText, " ");
    if (NO_SUCH_EXPORT.has(diagnostic.code)) return [/exported member (?:named )?'([^']+)'/.exec(text)?.[1] ?? text];
    return diagnostic.code === NO_SUCH_MODULE ? [/module '([^']+)'/.exec(text)?.[1] ?? text] : [];
  });
}

/** A program without the statements that need, directly or through another statement, something that is missing. */
interface Reduced {
  readonly text: string;
  readonly kept: number;
  readonly all: number;
}

/** Blanks out what cannot compile yet, so that lines keep their numbers. */
function reduce(path: string, missing: ReadonlySet<string>): Reduced {
  const file = parseSource(path);
  const gone = new Set<string>();
  const dropped = new Set<ts.Node>();
  for (const statement of file.statements) {
    if (!ts.isImportDeclaration(statement)) continue;
    const named = statement.importClause?.namedBindings;
    const module = ts.isStringLiteral(statement.moduleSpecifier) ? statement.moduleSpecifier.text : "";
    const names = named !== undefined && ts.isNamedImports(named) ? [...named.elements] : [];
    if (missing.has(module)) {
      dropped.add(statement);
      const whole = statement.importClause?.name?.text;
      for (const name of [...names.map((element) => element.name.text), ...(whole === undefined ? [] : [whole])])
        gone.add(name);
    } else {
      for (const element of names) {
        if (missing.has(element.name.text)) {
          gone.add(element.name.text);
          dropped.add(element);
        }
      }
    }
  }
  const statements = file.statements.filter((statement) => !ts.isImportDeclaration(statement));
  for (let before = -1; before !== dropped.size;) {
    before = dropped.size;
    for (const statement of statements) {
      if (dropped.has(statement) || !uses(statement, gone)) continue;
      dropped.add(statement);
      for (const name of declaredBy(statement)) gone.add(name);
    }
  }
  let text = file.text;
  for (const node of dropped) {
    // With the comments before it: an @ts-expect-error goes with its line. An import's comma goes with its name.
    const end = text[node.end] === "," ? node.end + 1 : node.end;
    text = text.slice(0, node.pos) + text.slice(node.pos, end).replaceAll(/[^\n]/g, " ") + text.slice(end);
  }
  return { text, kept: statements.filter((statement) => !dropped.has(statement)).length, all: statements.length };
}

function uses(statement: ts.Statement, names: ReadonlySet<string>): boolean {
  let found = false;
  walk(statement, (node) => {
    if (ts.isIdentifier(node) && names.has(node.text) && !isMemberName(node)) found = true;
  });
  return found;
}

function isMemberName(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.name === node;
  return ts.isPropertyAssignment(parent) && parent.name === node;
}

function declaredBy(statement: ts.Statement): string[] {
  if (ts.isVariableStatement(statement)) {
    return statement.declarationList.declarations.flatMap(({ name }) => bindingNames(name));
  }
  const { name } = statement as { name?: ts.Node };
  return name !== undefined && ts.isIdentifier(name) ? [name.text] : [];
}

function bindingNames(name: ts.BindingName): string[] {
  if (ts.isIdentifier(name)) return [name.text];
  return name.elements.flatMap((element) => (ts.isOmittedExpression(element) ? [] : bindingNames(element.name)));
}

describe("the programs of test/types/usage compile against the sources", () => {
  const paths = listFiles("test/types/usage", (path) => path.endsWith(".ts"));
  const program = ts.createProgram(
    paths.map((path) => join(root, path)),
    OPTIONS,
  );
  const missing = new Map(paths.map((path) => [path, new Set(missingOf(program, path))]));

  test("all eight are here", () => {
    expect(paths).toHaveLength(8);
  });

  test("what they miss is listed, and what is listed is missed", () => {
    const found = new Set([...missing.values()].flatMap((names) => [...names]));
    expect([...found].filter((name) => !NOT_YET.has(name))).toEqual([]);
    expect([...NOT_YET.keys()].filter((name) => !found.has(name))).toEqual([]);
  });

  test("what is left of them compiles, and what must not compile does not", () => {
    const reduced = new Map(paths.map((path) => [path, reduce(path, missing.get(path) ?? new Set())]));
    for (const [path, { kept, all }] of reduced) {
      const reasons = [...(missing.get(path) ?? [])].map((name) => `${name} (${NOT_YET.get(name) ?? "not listed"})`);
      const left = reasons.length > 0 ? `; left out for want of ${reasons.join(", ")}` : "";
      console.log(`${path}: ${String(kept)} of ${String(all)} statements${left}`);
    }
    const texts = new Map([...reduced].map(([path, { text }]) => [path, `${text}\nexport {};\n`]));
    expect(diagnosticsOf(compileTexts(texts, OPTIONS), paths)).toEqual([]);
  });

  test("leaving out takes what depends on it and nothing else", () => {
    const path = "test/types/usage/01-web-app.ts";
    const none = reduce(path, new Set());
    expect(none.kept).toBe(none.all);
    const without = reduce(path, new Set(["TokenManager"]));
    expect(without.kept).toBeLessThan(none.kept);
    expect(without.text).not.toContain("manager");
    expect(without.text.split("\n")).toHaveLength(none.text.split("\n").length);
    const { diagnostics = [] } = ts.transpileModule(without.text, {
      compilerOptions: OPTIONS,
      reportDiagnostics: true,
    });
    expect(formatDiagnostics(diagnostics)).toEqual([]);
  });
});
