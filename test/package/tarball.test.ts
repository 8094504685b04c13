import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, posix } from "node:path";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { builtPackage, reachOf } from "./built-package.ts";
import { doors, formatDiagnostics, listFiles, listSources, manifest, root } from "./repository.ts";

/** Doors whose types need Node's. */
const NODE_TYPES = /^\.\/(?:node|stores\/(?:file|keychain)|testing\/http)$/;

/** Doors that run on Node only; the others must come up on a platform without it. */
const portable = doors.filter(({ subpath }) => !NODE_TYPES.test(subpath));

let packed: string[] = [];
let app = "";

function run(command: string, parameters: readonly string[], cwd: string): string {
  return execFileSync(command, parameters, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

// The package, packed by npm and unpacked beside its two dependencies: what a user has, without a network.
beforeAll(() => {
  const built = builtPackage();
  app = mkdtempSync(join(tmpdir(), "warehouse-oauth-app-"));
  const report = JSON.parse(
    run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", app], built),
  ) as unknown;
  const [{ filename, files }] = Object.values(report as Record<string, unknown>) as [
    { filename: string; files: { path: string }[] },
  ];
  packed = files.map(({ path }) => path).sort();
  const home = join(app, "node_modules", manifest.name);
  mkdirSync(home, { recursive: true });
  run("tar", ["-xzf", join(app, filename), "-C", home, "--strip-components=1"], app);
  for (const name of Object.keys(manifest.dependencies ?? {})) {
    cpSync(join(root, "node_modules", name), join(app, "node_modules", name), { recursive: true });
  }
  writeFileSync(join(app, "package.json"), '{ "private": true, "type": "module" }');
});

afterAll(() => {
  if (app !== "") rmSync(app, { recursive: true, force: true });
});

describe("what is published", () => {
  test("S-107 the files are these and no others", () => {
    const documents = manifest.files.filter((name) => name !== "dist" && name !== "src");
    const declarations = listSources().flatMap((path) => {
      const name = path.replace(/^src\//, "dist/").replace(/\.ts$/, ".d.ts");
      return [name, `${name}.map`];
    });
    const code = new Set(doors.flatMap(({ built }) => [...reachOf(built).files.keys()]));
    const wanted = [
      "package.json",
      ...documents,
      ...listSources(),
      ...declarations,
      ...[...code].flatMap((path) => [path, `${path}.map`]),
    ];
    expect(packed).toEqual(wanted.sort());
  });

  test("S-107 source maps lead to published sources only", () => {
    const home = join(app, "node_modules", manifest.name);
    const strange = packed
      .filter((path) => path.endsWith(".map"))
      .flatMap((path) => {
        const { sources } = JSON.parse(readFileSync(join(home, path), "utf8")) as { sources: string[] };
        return sources.map((source) => posix.normalize(posix.join(dirname(path), source)));
      })
      .filter((source) => !packed.includes(source)); // one of node_modules: a package that was bundled unseen
    expect(strange).toEqual([]);
  });

  test("the manifest that is published names only files that are in it", () => {
    const targets = doors.flatMap(({ built, types }) => [built, types]);
    expect(targets.filter((path) => !packed.includes(path))).toEqual([]);
    expect(listFiles("", (path) => /^\.npmignore$/.test(path))).toEqual([]);
  });
});

describe("installed alone", () => {
  test.each(doors.map(({ specifier }) => specifier))(
    "%s can be imported and required, and exports the same",
    (specifier) => {
      writeFileSync(
        join(app, "load.mjs"),
        `import { createRequire } from "node:module";
       const imported = Object.keys(await import(${JSON.stringify(specifier)})).sort();
       const required = Object.keys(createRequire(import.meta.url)(${JSON.stringify(specifier)})).sort();
       console.log(JSON.stringify({ imported, required: required.filter((name) => name !== "__esModule") }));`,
      );
      const { imported, required } = JSON.parse(run(process.execPath, ["load.mjs"], app)) as Record<string, string[]>;
      expect(imported?.length).toBeGreaterThan(0);
      expect(required).toEqual(imported);
    },
  );

  test("S-105 importing does nothing: no request, no timer, no change of globals, no setting read", () => {
    cpSync(join(root, "test/package/quiet-imports.mjs"), join(app, "quiet-imports.mjs"));
    const specifiers = doors.map(({ specifier }) => specifier);
    expect(JSON.parse(run(process.execPath, ["quiet-imports.mjs", ...specifiers], app))).toEqual([]);
  });

  test("S-105 every door comes up with frozen intrinsics and without code generation", () => {
    const imports = doors.map(({ specifier }) => `import ${JSON.stringify(specifier)};`);
    writeFileSync(join(app, "frozen.mjs"), `${imports.join("\n")}\nconsole.log("up");`);
    const flags = ["--frozen-intrinsics", "--disallow-code-generation-from-strings", "--no-warnings"];
    expect(run(process.execPath, [...flags, "frozen.mjs"], app).trim()).toBe("up");
  });

  test("a file behind the doors cannot be imported", () => {
    expect(() =>
      run(process.execPath, ["--input-type=module", "-e", `await import("${manifest.name}/dist/index.js")`], app),
    ).toThrow(/ERR_PACKAGE_PATH_NOT_EXPORTED/);
  });
});

describe("types, as a strict user without Node's types sees them", () => {
  const modes: readonly (readonly [string, ts.CompilerOptions])[] = [
    ["bundler", { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler }],
    ["node16", { module: ts.ModuleKind.Node16, moduleResolution: ts.ModuleResolutionKind.Node16 }],
    ["nodenext", { module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext }],
  ];

  /** Type-checks a program that imports the given doors and uses all they export. */
  function check(specifiers: readonly string[], options: ts.CompilerOptions): string[] {
    const lines = specifiers.map((specifier, index) => {
      const name = `door${String(index)}`;
      return `import * as ${name} from "${specifier}";\nexport const uses${name}: typeof ${name} = ${name};`;
    });
    const file = join(app, "use.ts");
    writeFileSync(file, lines.join("\n"));
    const program = ts.createProgram([file], {
      target: ts.ScriptTarget.ES2022,
      lib: ["lib.es2023.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
      types: [],
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      skipLibCheck: false,
      skipDefaultLibCheck: true, // the compiler's own files are not ours to check, and cost most of the time
      noEmit: true,
      ...options,
    });
    return formatDiagnostics(ts.getPreEmitDiagnostics(program));
  }

  test.each(modes)("%s, the doors for every platform", (_, options) => {
    expect(
      check(
        portable.map(({ specifier }) => specifier),
        options,
      ),
    ).toEqual([]);
  });

  test.each(modes)("%s, the doors for Node, with Node's types", (_, options) => {
    const onNode = doors.filter((door) => !portable.includes(door)).map(({ specifier }) => specifier);
    const withNode = { ...options, types: ["node"], typeRoots: [join(root, "node_modules/@types")] };
    expect(onNode).toHaveLength(4);
    expect(check(onNode, withNode)).toEqual([]);
  });

  test("a mistake of the user is found: the doors do not come in as any", () => {
    expect(check([`${manifest.name}/no-such-door`], modes[2]?.[1] ?? {})).toHaveLength(1);
  });
});
