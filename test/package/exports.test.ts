import { existsSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { describe, expect, test } from "vitest";
import { doors, listFiles, listSources, manifest, parseSource, readText, root, warehouses } from "./repository.ts";

const exists = (path: string): boolean => existsSync(join(root, path));

/** The public name of a source file that is a door, by the layout of the house; everything else is private. */
function subpathOf(source: string): string | undefined {
  const path = source.replace(/^src\//, "").replace(/\.ts$/, "");
  if (path === "index") return ".";
  const room = /^(web|node|testing)\/index$/.exec(path) ?? /^adapters\/([^/]+)\/index$/.exec(path);
  if (room?.[1] !== undefined) return `./${room[1]}`;
  const driver = /^adapters\/([^/]+)\/driver$/.exec(path);
  if (driver?.[1] !== undefined) return `./${driver[1]}/driver`;
  if (/^(?:stores|jobs)\/[^/]+$/.test(path) || /^testing\/(?:msw|http)$/.test(path)) return `./${path}`;
  return /^telemetry\/([^/]+)$/.exec(path)?.[1]?.replace(/^/, "./");
}

describe("doors", () => {
  test("each source file that is a door is in exports, under the name its place gives it, and nothing else is", () => {
    const wanted = listSources().flatMap((source) => {
      const subpath = subpathOf(source);
      return subpath === undefined ? [] : [[subpath, source]];
    });
    expect(doors.map(({ subpath, source }) => [subpath, source]).sort()).toEqual(wanted.sort());
  });

  test.each(doors.map((door) => [door.subpath, door] as const))(
    "%s has types first, then default, and no wildcard",
    (_, door) => {
      const target = manifest.exports[door.subpath];
      expect(typeof target === "string" ? target : Object.keys(target ?? {})).toEqual(["types", "default"]);
      expect(door.types).toBe(door.built.replace(/\.js$/, ".d.ts"));
      expect(door.built).toMatch(/^dist\/[\w/-]+\.js$/);
    },
  );

  test.each(doors.map((door) => [door.subpath, door] as const))(
    "%s begins with a comment that says what it is for",
    (_, door) => {
      const text = readText(door.source);
      const [first] = ts.getLeadingCommentRanges(text, 0) ?? [];
      const comment = text.slice(first?.pos ?? 0, first?.end ?? 0);
      expect(comment.startsWith("/**"), "the file does not begin with a /** … */ comment").toBe(true);
      expect(comment).toMatch(/@module|@packageDocumentation/);
    },
  );

  test("the compiler and the test runner know each door by its public name", () => {
    const paths = ts.parseConfigFileTextToJson("tsconfig.json", readText("tsconfig.json")).config as {
      compilerOptions: { paths: Record<string, string[]> };
    };
    const unknown = doors.filter(({ specifier, source }) => {
      const { resolvedModule } = ts.resolveModuleName(
        specifier,
        join(root, "test/x.ts"),
        {
          module: ts.ModuleKind.NodeNext,
          moduleResolution: ts.ModuleResolutionKind.NodeNext,
          paths: absolutePaths(paths.compilerOptions.paths),
        },
        ts.sys,
      );
      return resolvedModule?.resolvedFileName !== join(root, source);
    });
    expect(unknown.map(({ specifier }) => specifier)).toEqual([]);
  });

  test("S-109 the package is ESM with an explicit map, free of side effects", () => {
    expect(manifest.type).toBe("module");
    expect(manifest.sideEffects).toBe(false);
    expect(Object.keys(manifest.exports).filter((subpath) => subpath.includes("*"))).toEqual([]);
    expect(manifest.exports["./package.json"]).toBe("./package.json");
  });

  test("each command has a source file", () => {
    const missing = Object.values(manifest.bin ?? {}).filter(
      (file) => !exists(file.replace(/^\.\/dist\//, "src/").replace(/\.js$/, ".ts")),
    );
    expect(missing).toEqual([]);
  });
});

describe("each warehouse comes with all that belongs to it", () => {
  test("there are warehouses", () => {
    expect(warehouses.length).toBeGreaterThan(0);
  });

  test.each(warehouses)("%s", (warehouse) => {
    const wanted = [
      `src/adapters/${warehouse}/index.ts`,
      `test/adapters/${warehouse}.test.ts`,
      `docs/warehouses/${warehouse}.md`,
      `examples/${warehouse}.ts`,
      `test/examples/${warehouse}.test.ts`,
    ];
    const missing = wanted.filter((path) => !exists(path));
    if (!fakes().includes(`fake${warehouse}`))
      missing.push(`a fake: src/testing exports no fake${warehouse} in any spelling`);
    expect(missing).toEqual([]);
  });
});

/** Names of functions that `src/testing` declares and exports, in lower case: `fakeBigQuery` is the fake of `bigquery`. */
function fakes(): string[] {
  return listFiles("src/testing", (path) => path.endsWith(".ts")).flatMap((path) =>
    parseSource(path).statements.flatMap((statement) =>
      ts.isFunctionDeclaration(statement) &&
      statement.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)
        ? [(statement.name?.text ?? "").toLowerCase()]
        : [],
    ),
  );
}

function absolutePaths(paths: Record<string, string[]>): Record<string, string[]> {
  return Object.fromEntries(
    Object.entries(paths).map(([name, targets]) => [name, targets.map((target) => join(root, target))]),
  );
}
