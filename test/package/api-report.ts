import { join } from "node:path";
import ts from "typescript";
import { formatDiagnostics } from "./repository.ts";

/** The public API of one door as text: every exported name with its declarations, sorted, without comments. */
export type ApiReport = ReadonlyMap<string, string>;

/** Reads the API of built declaration files, by their path. They are compiled the way a user without Node's types does. */
export function readApi(files: readonly string[]): ReadonlyMap<string, ApiReport> {
  const program = ts.createProgram(files, {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    lib: ["lib.es2023.d.ts", "lib.dom.d.ts"],
    types: [],
    strict: true,
    noEmit: true,
    skipLibCheck: true,
  });
  const checker = program.getTypeChecker();
  const printer = ts.createPrinter({ removeComments: true, newLine: ts.NewLineKind.LineFeed });
  return new Map(
    files.map((path) => {
      const file = program.getSourceFile(path);
      const module = file && checker.getSymbolAtLocation(file);
      if (module === undefined) {
        const problems =
          file === undefined ? ["no such file"] : formatDiagnostics(program.getSyntacticDiagnostics(file));
        throw new Error(`"${path}" is not a module: ${problems.join("; ")}`);
      }
      const entries = checker.getExportsOfModule(module).map((exported): [string, string] => {
        const isAlias = (exported.flags & ts.SymbolFlags.Alias) !== 0;
        const symbol = isAlias ? checker.getAliasedSymbol(exported) : exported;
        const texts = (symbol.declarations ?? []).map((declaration) => {
          const node = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration;
          const text = printer.printNode(ts.EmitHint.Unspecified, node, node.getSourceFile());
          return text.replace(/^(?:export |declare )+/, "");
        });
        return [exported.name, texts.join("\n")];
      });
      return [path, new Map(entries.sort(([a], [b]) => (a < b ? -1 : 1)))] as const;
    }),
  );
}

/** Writes a report as the text of a snapshot. */
export function formatReport(report: ApiReport): string {
  return [...report].map(([name, text]) => `// ${name}\n${text}\n`).join("\n");
}

/** Reads the text of a snapshot back. */
export function parseReport(text: string): ApiReport {
  const blocks = text.split(/^\/\/ (?=\S+$)/m).slice(1);
  return new Map(
    blocks.map((block) => {
      const end = block.indexOf("\n");
      return [block.slice(0, end), block.slice(end + 1).trim()] as const;
    }),
  );
}

/** Says in what two reports differ, and what that means for the version. */
export function compareReports(was: ApiReport, is: ApiReport): string[] {
  const removed = [...was.keys()].filter((name) => !is.has(name)).map((name) => `removed ${name} (major)`);
  const added = [...is.keys()].filter((name) => !was.has(name)).map((name) => `added ${name} (minor)`);
  const changed = [...is]
    .filter(([name, text]) => was.has(name) && was.get(name)?.trim() !== text.trim())
    .map(([name]) => `changed ${name} (major, unless it only takes more or gives less)`);
  return [...removed, ...added, ...changed];
}

/** The file that holds the snapshot of a door. */
export function snapshotPath(folder: string, subpath: string): string {
  return join(folder, `${subpath === "." ? "index" : subpath.slice(2).replaceAll("/", "-")}.txt`);
}
