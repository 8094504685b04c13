/** What the checks of this folder know about the repository: its files, its doors, and what a source file imports. */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

/** The repository's folder, with a slash at its end. */
export const root: string = fileURLToPath(new URL("../../", import.meta.url));

/** Folders that hold what tools wrote, by path from the root or by name anywhere. */
const WRITTEN_BY_TOOLS = new Set(["node_modules", ".git", "dist", "coverage", "reports", ".stryker-tmp", "docs/api"]);

/** Lists the files below a folder, as sorted paths from the root with forward slashes. */
export function listFiles(folder = "", matches: (path: string) => boolean = () => true): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { withFileTypes: true })
    .flatMap((entry) => {
      const path = posix.join(folder, entry.name);
      if (WRITTEN_BY_TOOLS.has(path) || WRITTEN_BY_TOOLS.has(entry.name)) return [];
      if (entry.isDirectory()) return listFiles(path, matches);
      return matches(path) ? [path] : [];
    })
    .sort();
}

/** Lists the TypeScript files of `src`. */
export function listSources(): string[] {
  return listFiles("src", (path) => path.endsWith(".ts"));
}

/** Reads a file of the repository as text. */
export function readText(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/** Parses a TypeScript file without resolving anything. */
export function parseSource(path: string, text: string = readText(path)): ts.SourceFile {
  return ts.createSourceFile(path, text, ts.ScriptTarget.ESNext, true, ts.ScriptKind.TS);
}

/** Says where a node stands, for a message. */
export function placeOf(file: ts.SourceFile, node: ts.Node): string {
  return `${file.fileName}:${String(file.getLineAndCharacterOfPosition(node.getStart(file)).line + 1)}`;
}

/** Calls back for a node and everything below it. */
export function walk(node: ts.Node, visit: (node: ts.Node) => void): void {
  visit(node);
  node.forEachChild((child) => {
    walk(child, visit);
  });
}

/** One import, export-from, or dynamic import of a file. */
export interface ImportEdge {
  /** What stands between the quotes; `undefined` for an `import()` of something that is not a literal. */
  readonly specifier: string | undefined;
  /** Only types come in: erased by the compiler. */
  readonly typeOnly: boolean;
  readonly dynamic: boolean;
  readonly place: string;
}

/** Lists what a source file imports, in every form the language has. */
export function listImports(file: ts.SourceFile): ImportEdge[] {
  const edges: ImportEdge[] = [];
  const add = (node: ts.Node, target: ts.Node | undefined, typeOnly: boolean, dynamic: boolean): void => {
    const specifier = target !== undefined && ts.isStringLiteralLike(target) ? target.text : undefined;
    edges.push({ specifier, typeOnly, dynamic, place: placeOf(file, node) });
  };
  walk(file, (node) => {
    if (ts.isImportDeclaration(node)) add(node, node.moduleSpecifier, isTypeOnlyImport(node), false);
    else if (ts.isExportDeclaration(node) && node.moduleSpecifier) {
      add(node, node.moduleSpecifier, isTypeOnlyExport(node), false);
    } else if (ts.isImportTypeNode(node)) {
      add(node, ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined, true, false);
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      add(node, node.arguments[0], false, true);
    } else if (ts.isCallExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === "require") {
      add(node, node.arguments[0], false, true);
    }
  });
  return edges;
}

function isTypeOnlyImport({ importClause: clause }: ts.ImportDeclaration): boolean {
  if (clause === undefined) return false;
  if (clause.phaseModifier === ts.SyntaxKind.TypeKeyword) return true;
  const named = clause.namedBindings;
  if (clause.name !== undefined || named === undefined || ts.isNamespaceImport(named)) return false;
  return named.elements.length > 0 && named.elements.every((element) => element.isTypeOnly);
}

function isTypeOnlyExport(node: ts.ExportDeclaration): boolean {
  if (node.isTypeOnly) return true;
  if (node.exportClause === undefined || !ts.isNamedExports(node.exportClause)) return false;
  const { elements } = node.exportClause;
  return elements.length > 0 && elements.every((element) => element.isTypeOnly);
}

/** The path from the root that a relative import names. */
export function resolveRelative(from: string, specifier: string): string {
  return posix.normalize(posix.join(dirname(from), specifier));
}

/** A public entry of the package. */
export interface Door {
  /** As in `exports`: `"."`, `"./snowflake"`. */
  readonly subpath: string;
  /** What a user imports: `"warehouse-oauth/snowflake"`. */
  readonly specifier: string;
  /** `"src/adapters/snowflake/index.ts"`. */
  readonly source: string;
  /** `"dist/adapters/snowflake/index.js"`. */
  readonly built: string;
  /** `"dist/adapters/snowflake/index.d.ts"`. */
  readonly types: string;
}

/** The parts of `package.json` that the checks read. */
export interface Manifest {
  readonly name: string;
  readonly type: string;
  readonly sideEffects: boolean;
  readonly files: readonly string[];
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly bin?: Readonly<Record<string, string>>;
  readonly scripts?: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly bundledDependencies?: readonly string[];
}

/** What `package.json` says. */
export const manifest: Manifest = JSON.parse(readText("package.json")) as Manifest;

/** The doors that hold code, as `exports` lists them. */
export const doors: readonly Door[] = Object.entries(manifest.exports).flatMap(([subpath, target]) => {
  if (typeof target === "string") return [];
  const built = (target["default"] ?? "").replace(/^\.\//, "");
  return [
    {
      subpath,
      specifier: posix.join(manifest.name, subpath),
      source: built.replace(/^dist\//, "src/").replace(/\.js$/, ".ts"),
      built,
      types: (target["types"] ?? "").replace(/^\.\//, ""),
    },
  ];
});

/** The warehouses: the folders of `src/adapters`. */
export const warehouses: readonly string[] = [
  ...new Set(listFiles("src/adapters").map((path) => path.split("/")[2] ?? "")),
].filter((name) => !name.includes("."));

/** Reads the compiler options of a tsconfig file of this repository. */
export function readCompilerOptions(path: string): ts.CompilerOptions {
  const read: { config?: unknown; error?: ts.Diagnostic } = ts.readConfigFile(join(root, path), (file) =>
    ts.sys.readFile(file),
  );
  if (read.error !== undefined) throw new Error(formatDiagnostics([read.error]).join("\n"));
  return ts.parseJsonConfigFileContent(read.config, ts.sys, dirname(join(root, path))).options;
}

/** Formats compiler messages, one line each, with paths from the root. */
export function formatDiagnostics(diagnostics: readonly ts.Diagnostic[]): string[] {
  return diagnostics.map((diagnostic) => {
    const text = ts.flattenDiagnosticMessageText(diagnostic.messageText, " ");
    if (diagnostic.file === undefined) return `TS${String(diagnostic.code)} ${text}`;
    const { line } = diagnostic.file.getLineAndCharacterOfPosition(diagnostic.start ?? 0);
    const name = diagnostic.file.fileName.replace(root, "");
    return `${name}:${String(line + 1)} TS${String(diagnostic.code)} ${text}`;
  });
}

/** Makes a compiler program of files that exist only here (paths from the root), beside those on disk. */
export function compileTexts(texts: ReadonlyMap<string, string>, options: ts.CompilerOptions): ts.Program {
  const absolute = new Map([...texts].map(([path, text]) => [join(root, path), text]));
  const host = ts.createCompilerHost(options, true);
  const onDisk = { ...host };
  host.fileExists = (path) => absolute.has(path) || onDisk.fileExists(path);
  host.readFile = (path) => absolute.get(path) ?? onDisk.readFile(path);
  host.getSourceFile = (path, languageVersion, ...rest) => {
    const text = absolute.get(path);
    return text === undefined
      ? onDisk.getSourceFile(path, languageVersion, ...rest)
      : ts.createSourceFile(path, text, languageVersion, true);
  };
  return ts.createProgram([...absolute.keys()], options, host);
}

/** The compiler's messages about the given files (paths from the root) and about the options; those about other files are theirs. */
export function diagnosticsOf(program: ts.Program, paths: Iterable<string>): string[] {
  const own = [...paths].flatMap((path) => {
    const file = program.getSourceFile(join(root, path));
    if (file === undefined) throw new Error(`"${path}" is not part of the program`);
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)];
  });
  return formatDiagnostics([...program.getOptionsDiagnostics(), ...own]);
}
