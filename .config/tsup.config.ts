import { readFileSync } from "node:fs";
import { defineConfig } from "tsup";

/** What `package.json` says about the doors: a condition map, or a file that is not built. */
interface Manifest {
  readonly exports: Readonly<Record<string, string | { readonly default: string }>>;
  readonly bin?: Readonly<Record<string, string>>;
}

const root = new URL("../", import.meta.url);
const manifest = JSON.parse(readFileSync(new URL("package.json", root), "utf8")) as Manifest;

// The doors are written down once, in package.json: ./dist/a/b.js is made of src/a/b.ts.
const built = Object.values(manifest.exports).flatMap((door) => (typeof door === "string" ? [] : [door.default]));
const entry = [...built, ...Object.values(manifest.bin ?? {})].map((file) => /^\.\/dist\/(.+)\.js$/.exec(file)?.[1]);

export default defineConfig({
  entry: Object.fromEntries(entry.map((name) => [name ?? "", `src/${name ?? ""}.ts`])),
  tsconfig: ".config/tsconfig.build.json",
  format: ["esm"],
  target: "es2022",
  platform: "neutral",
  splitting: true, // shared chunks: without them each door has its own copy of the error classes
  removeNodeProtocol: false, // Deno and workerd need "node:"
  external: [/^node:/], // the neutral platform does not know them
  sourcemap: true,
  dts: false, // declarations come from tsc, with maps and in a quarter of the time
  clean: true, // so it runs before tsc
});
