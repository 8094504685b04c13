import { basename, join } from "node:path";
import ts from "typescript";
import { describe, expect, test } from "vitest";
import {
  doors,
  listFiles,
  listSources,
  parseSource,
  placeOf,
  readCompilerOptions,
  readText,
  root,
  walk,
} from "./repository.ts";

/** A file with more has more than one reason to change. */
const MAX_LINES = 450;

/** An adapter is data and pure hooks: what does not fit widens the definition, or moves to a file beside it. */
const ADAPTER_LINES = 200;
const ADAPTER = /^src\/adapters\/[^/]+\/index\.ts$/;

/** The only places that may look at the time, wait, or print. */
const CLOCK_AND_COMMAND_LINE = /^src\/(?:lib\/clock\.ts$|cli\/)/;

/** Names that say nothing about what is inside. */
const EMPTY_NAMES = /^(?:utils?|helpers?|common|misc|shared|stuff|index2)$/;

/** What may be compared in constant time only (S-102). */
const SECRET_NAMES = /state|secret|csrf|hash|verifier|nonce/i;

/** Asynchronous functions that need no `signal`, each with its reason. */
const WITHOUT_SIGNAL: ReadonlyMap<string, string> = new Map([
  ["createPkce", "hashes 43 bytes, waits for nobody"],
  ["createAuthorizationRequest", "hashes 43 bytes, waits for nobody"],
  ["TokenSession.fetch", "takes the one of RequestInit"],
  ["TokenManager.close", "has a deadline of its own"],
  ["KeyRing.sealing", "derives a key, waits for nobody"],
  ["KeyRing.opening", "derives a key, waits for nobody"],
  ["withDatabricksRetry", "the driver's calls take none"],
]);

/** Doors whose functions answer in the process and wait for nobody. */
const IN_PROCESS_DOORS = /^\.\/testing(?:\/|$)/;

type Check = (file: ts.SourceFile) => string[];

/** Lists each node that `matches` says something about, with its place. */
function report(file: ts.SourceFile, matches: (node: ts.Node) => string | undefined): string[] {
  const found: string[] = [];
  walk(file, (node) => {
    const text = matches(node);
    if (text !== undefined) found.push(`${placeOf(file, node)} ${text}`);
  });
  return found;
}

const hasExport = (node: ts.Node): boolean =>
  ts.canHaveModifiers(node) && (ts.getModifiers(node) ?? []).some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword);

const uncommentedExports: Check = (file) =>
  report(file, (node) => {
    if (!hasExport(node) || ts.getJSDocCommentsAndTags(node).length > 0) return undefined;
    // The signatures of an overload share the comment of the first.
    if (ts.isFunctionDeclaration(node) && isLaterOverload(file, node)) return undefined;
    return `exports ${nameOf(node)} without a comment`;
  });

function isLaterOverload(file: ts.SourceFile, node: ts.FunctionDeclaration): boolean {
  const before = file.statements[file.statements.indexOf(node) - 1];
  return before !== undefined && ts.isFunctionDeclaration(before) && before.name?.text === node.name?.text;
}

function nameOf(node: ts.Node): string {
  if (ts.isVariableStatement(node))
    return node.declarationList.declarations.map(({ name }) => name.getText()).join(", ");
  const name = (node as { name?: ts.Node }).name;
  return name === undefined ? "something" : `"${name.getText()}"`;
}

const tooLong: Check = (file) => {
  const lines = file.getLineStarts().length - 1;
  return lines > MAX_LINES ? [`${file.fileName} has ${String(lines)} lines; ${String(MAX_LINES)} is the most`] : [];
};

const longAdapter: Check = (file) => {
  const lines = file.getLineStarts().length - 1;
  if (!ADAPTER.test(file.fileName) || lines < ADAPTER_LINES) return [];
  return [`${file.fileName} has ${String(lines)} lines; an adapter has less than ${String(ADAPTER_LINES)}`];
};

/** Members of global objects that read the time, wait, or are random. */
const AMBIENT_MEMBERS = new Set(["Date.now", "Math.random", "performance.now", "AbortSignal.timeout"]);
const AMBIENT_NAMES = new Set(["setTimeout", "setInterval", "setImmediate", "console"]);

const ambientTime: Check = (file) => {
  if (CLOCK_AND_COMMAND_LINE.test(file.fileName)) return [];
  return report(file, (node) => {
    if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
      const text = `${node.expression.text}.${node.name.text}`;
      if (AMBIENT_MEMBERS.has(text)) return `uses ${text}`;
      if (node.expression.text === "globalThis" && AMBIENT_NAMES.has(node.name.text)) return `uses ${text}`;
    }
    if (ts.isNewExpression(node) && node.expression.getText() === "Date" && !node.arguments?.length)
      return "uses new Date()";
    if (ts.isIdentifier(node) && AMBIENT_NAMES.has(node.text) && isReference(node)) return `uses ${node.text}`;
    return undefined;
  });
};

function isReference(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  if (ts.isPropertyAssignment(parent)) return parent.initializer === node;
  return !ts.isPropertySignature(parent) && !ts.isMethodDeclaration(parent) && !ts.isMethodSignature(parent);
}

const EQUALITY = new Set([
  ts.SyntaxKind.EqualsEqualsToken,
  ts.SyntaxKind.EqualsEqualsEqualsToken,
  ts.SyntaxKind.ExclamationEqualsToken,
  ts.SyntaxKind.ExclamationEqualsEqualsToken,
]);

const secretEquality: Check = (file) =>
  report(file, (node) => {
    if (!ts.isBinaryExpression(node) || !EQUALITY.has(node.operatorToken.kind)) return undefined;
    const sides = [node.left, node.right];
    if (sides.some(isPlainlyPublic)) return undefined;
    const secret = sides.map(lastName).find((name) => SECRET_NAMES.test(name));
    return secret === undefined ? undefined : `compares "${secret}" with ${node.operatorToken.getText()}`;
  });

/** A literal or `undefined` is known to everybody: whether a secret is there is not secret. */
function isPlainlyPublic(node: ts.Expression): boolean {
  if (ts.isTypeOfExpression(node) || ts.isLiteralExpression(node)) return true;
  if (ts.isIdentifier(node) && /^[A-Z][A-Z0-9_]*$/.test(node.text)) return true; // a constant of the source
  if (ts.isPropertyAccessExpression(node) && node.name.text === "length") return true;
  return (ts.isIdentifier(node) && node.text === "undefined") || node.kind === ts.SyntaxKind.NullKeyword;
}

function lastName(node: ts.Expression): string {
  if (ts.isStringLiteralLike(node)) return node.text;
  if (ts.isIdentifier(node)) return node.text;
  if (ts.isPropertyAccessExpression(node)) return node.name.text;
  if (ts.isElementAccessExpression(node)) return node.argumentExpression.getText();
  if (ts.isCallExpression(node)) return [...node.arguments].map((part) => lastName(part)).join(" ");
  if (ts.isNonNullExpression(node) || ts.isParenthesizedExpression(node) || ts.isAsExpression(node)) {
    return lastName(node.expression);
  }
  return "";
}

const codeFromText: Check = (file) =>
  report(file, (node) => {
    if (!ts.isCallExpression(node) && !ts.isNewExpression(node)) return undefined;
    const name = node.expression.getText();
    if (name === "eval" || name === "Function" || name === "globalThis.eval") return `calls ${name}`;
    if (node.expression.kind !== ts.SyntaxKind.ImportKeyword) return undefined;
    const [target] = node.arguments ?? [];
    return target !== undefined && ts.isStringLiteral(target) ? undefined : "imports what is not a literal";
  });

const typeEscapes: Check = (file) => {
  const comments = /@ts-(?:ignore|nocheck|expect-error)|eslint-disable/.exec(file.text);
  const found = report(file, (node) => (node.kind === ts.SyntaxKind.AnyKeyword ? "says any" : undefined));
  return comments === null ? found : [...found, `${file.fileName} silences a tool with ${comments[0]}`];
};

const mergesParsedData: Check = (file) =>
  report(file, (node) => {
    if (!ts.isCallExpression(node) || node.expression.getText() !== "Object.assign") return undefined;
    // What is written out on the spot has the keys that one sees.
    const isWrittenOut = node.arguments.slice(1).every((part) => ts.isObjectLiteralExpression(part));
    return isWrittenOut ? undefined : "merges an object with Object.assign";
  });

describe("what every source file keeps to", () => {
  const sources = listSources().map((path) => parseSource(path));
  const checks: readonly (readonly [string, Check])[] = [
    ["every export has a comment", uncommentedExports],
    [`no file is over ${String(MAX_LINES)} lines`, tooLong],
    [`an adapter has less than ${String(ADAPTER_LINES)} lines`, longAdapter],
    [
      "time, timers, randomness and output come from outside; only the clock and the command line touch them",
      ambientTime,
    ],
    ["S-102 what is secret is not compared with ===", secretEquality],
    ["S-103 no code is made of text, no module name is computed", codeFromText],
    ["S-100 objects from elsewhere are not merged", mergesParsedData],
    ["no type check and no lint rule is switched off", typeEscapes],
  ];

  test.each(checks)("%s", (_, check) => {
    expect(sources.flatMap((file) => check(file))).toEqual([]);
  });

  test("names say what is inside", () => {
    const named = listFiles("", (path) => /^(?:src|test|examples)\//.test(path));
    const bad = named.filter(
      (path) =>
        !path.includes("/usage/") &&
        path.split("/").some((part) => EMPTY_NAMES.test(basename(part).replace(/\..*$/, ""))),
    );
    expect(bad).toEqual([]);
    const notKebab = listSources().filter((path) => !/^[a-z0-9]+(?:-[a-z0-9]+)*\.ts$/.test(basename(path)));
    expect(notKebab).toEqual([]);
  });

  test.each(
    (
      [
        [uncommentedExports, "export const a: number = 1;"],
        [uncommentedExports, "export interface A { readonly a: string }"],
        [tooLong, "\n".repeat(MAX_LINES + 1)],
        [ambientTime, "const now: number = Date.now();"],
        [ambientTime, "const now: Date = new Date();"],
        [ambientTime, "globalThis.setTimeout(f, 1);"],
        [ambientTime, "setTimeout(f, 1);"],
        [ambientTime, "const f: unknown = { wait: setTimeout };"],
        [ambientTime, "console.log(1);"],
        [ambientTime, "const signal: AbortSignal = AbortSignal.timeout(5);"],
        [secretEquality, "if (pending.state === received) f();"],
        [secretEquality, 'if (parameters.get("state") !== expected) f();'],
        [secretEquality, "if (a == clientSecret!) f();"],
        [secretEquality, "if (claims.nonce !== expected) f();"],
        [codeFromText, "eval(text);"],
        [codeFromText, "const f: unknown = new Function(text);"],
        [codeFromText, "await import(name);"],
        [mergesParsedData, "Object.assign({}, parsed);"],
        [typeEscapes, "const a: any = 1;"],
        [typeEscapes, "// @ts-ignore"],
      ] as [Check, string][]
    ).map(([check, text]) => [check.name, text.trim(), check, text] as const),
  )("%s finds: %s", (_name, _shown, check, text) => {
    expect(check(parseSource("src/x.ts", text))).toHaveLength(1);
  });

  test.each(
    (
      [
        [mergesParsedData, 'Object.assign(new TypeError(text), { code: "invalid_argument" });'],
        [uncommentedExports, "/** Says it. */\nexport const a: number = 1;"],
        [ambientTime, "const options: unknown = { setTimeout: clock.setTimer, now: new Date(0) };"],
        [secretEquality, 'if (circuit.state === "open" || secret === undefined || hash.length !== 43) f();'],
      ] as [Check, string][]
    ).map(([check, text]) => [check.name, text, check] as const),
  )("%s leaves alone: %s", (_name, text, check) => {
    expect(check(parseSource("src/x.ts", text))).toEqual([]);
  });

  test.each([
    ["src/adapters/acme/index.ts", ADAPTER_LINES, 1],
    ["src/adapters/acme/index.ts", ADAPTER_LINES - 1, 0],
    ["src/adapters/acme/driver.ts", ADAPTER_LINES, 0],
    ["src/index.ts", ADAPTER_LINES, 0],
  ])("longAdapter: %s with %i lines", (path, lines, found) => {
    expect(longAdapter(parseSource(path, "\n".repeat(lines)))).toHaveLength(found);
  });
});

describe("what every asynchronous function of a door takes", () => {
  test("a signal", () => {
    const options = readCompilerOptions("tsconfig.json");
    const program = ts.createProgram(
      doors.map(({ source }) => join(root, source)),
      options,
    );
    const checker = program.getTypeChecker();
    const missing = doors
      .filter(({ subpath }) => !IN_PROCESS_DOORS.test(subpath))
      .flatMap(({ subpath, source }) => {
        const file = program.getSourceFile(join(root, source));
        const module = file && checker.getSymbolAtLocation(file);
        if (module === undefined) return [`${subpath}: ${source} exports nothing`];
        return checker.getExportsOfModule(module).flatMap((exported) => {
          const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
          return callables(checker, symbol)
            .filter(({ name }) => !name.includes("#") && !WITHOUT_SIGNAL.has(name))
            .filter(({ signature }) => isUnstoppable(checker, signature))
            .map(({ name }) => `${subpath}: ${name} gives a promise and takes no signal`);
        });
      });
    expect(missing).toEqual([]);
  });
});

interface Callable {
  readonly name: string;
  readonly signature: ts.Signature;
}

/** The signatures of an exported function, or of the public methods of an exported class. */
function callables(checker: ts.TypeChecker, symbol: ts.Symbol): Callable[] {
  if (symbol.flags & ts.SymbolFlags.Function) {
    const signatures = checker.getTypeOfSymbol(symbol).getCallSignatures();
    return signatures.map((signature) => ({ name: symbol.name, signature }));
  }
  if ((symbol.flags & ts.SymbolFlags.Class) === 0) return [];
  return checker
    .getDeclaredTypeOfSymbol(symbol)
    .getProperties()
    .flatMap((member) => {
      const declaration = member.valueDeclaration;
      if (declaration === undefined || !ts.isMethodDeclaration(declaration)) return [];
      const signatures = checker.getTypeOfSymbol(member).getCallSignatures();
      return signatures.map((signature) => ({ name: `${symbol.name}.${member.name}`, signature }));
    });
}

function isUnstoppable(checker: ts.TypeChecker, signature: ts.Signature): boolean {
  if (checker.getReturnTypeOfSignature(signature).getSymbol()?.name !== "Promise") return false;
  return !signature.getParameters().some((parameter) => {
    const type = checker.getNonNullableType(checker.getTypeOfSymbol(parameter));
    const parts = type.isUnion() ? type.types : [type];
    return parts.some((part) => part.getSymbol()?.name === "AbortSignal" || part.getProperty("signal") !== undefined);
  });
}

describe("what every committed file keeps to", () => {
  /** A path on somebody's machine, or a package registry that is not the public one. */
  const PRIVATE = [
    /(?<![\w.<>~-])\/(?:root|work|Users|home\/(?!me\b|you\b|user\b))[/][\w.-]+/,
    /\b[A-Z]:\\Users\\/,
    /https?:\/\/(?!registry\.npmjs\.org\b)[\w.-]*(?:registry|artifactory|nexus|verdaccio|proget)[\w.-]*[/:]/i,
  ];

  test("no path of a machine and no private registry stands in it", () => {
    const found = listFiles().flatMap((path) =>
      readText(path)
        .split("\n")
        .flatMap((line, index) => {
          const bad = PRIVATE.map((pattern) => pattern.exec(line)?.[0]).find((text) => text !== undefined);
          return bad === undefined ? [] : [`${path}:${String(index + 1)} ${bad}`];
        }),
    );
    expect(found).toEqual([]);
  });

  test.each(["see /" + "root/.npm/x", "in /" + "work/main", "https://npm-" + "registry.example.internal/x"])(
    "finds what it looks for: %s",
    (text) => {
      expect(PRIVATE.some((pattern) => pattern.test(text))).toBe(true);
    },
  );
});
