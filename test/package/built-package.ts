import { readFileSync } from "node:fs";
import { join } from "node:path";
import { inject } from "vitest";
import { listImports, parseSource, resolveRelative } from "./repository.ts";

/** The folder of the freshly built package. Throws when it could not be built; build.test.ts shows why. */
export function builtPackage(): string {
  const { folder, failure } = inject("build");
  if (failure !== undefined) throw new Error("the package could not be built: see build.test.ts");
  return folder;
}

/** What a built file reaches: files of ours (paths from the package) with their text, and the modules of others. */
export interface Reach {
  readonly files: ReadonlyMap<string, string>;
  /** Modules of others that are imported by statement, so as soon as the door is. */
  readonly eager: ReadonlySet<string>;
  /** Modules of others that are imported by `import()`, when they are needed. */
  readonly lazy: ReadonlySet<string>;
}

/** Follows the imports of a built file through everything that ships with it. */
export function reachOf(built: string, folder: string = builtPackage()): Reach {
  const files = new Map<string, string>();
  const eager = new Set<string>();
  const lazy = new Set<string>();
  const waiting = [built];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (files.has(path)) continue;
    const text = readFileSync(join(folder, path), "utf8");
    files.set(path, text);
    for (const { specifier, dynamic } of listImports(parseSource(path, text))) {
      if (specifier === undefined) continue;
      if (specifier.startsWith(".")) waiting.push(resolveRelative(path, specifier));
      else (dynamic ? lazy : eager).add(specifier);
    }
  }
  return { files, eager, lazy };
}
