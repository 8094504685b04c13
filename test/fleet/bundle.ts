import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { alias } from "../../.config/vitest.config.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Small, and needed by all: a bundle that has them starts sooner. */
const INSIDE = /^(?:jose|oauth4webapi)$/;

/** Programs for processes of their own. */
export interface Bundle {
  /** Gives where the program of a source file lies: `worker` for `…/worker.ts`. */
  pathOf(name: string): string;
  remove(): Promise<void>;
}

/** Bundles programs once for a test file: this Node does not run TypeScript. Packages stay outside, and are found. */
export async function bundlePrograms(sources: readonly string[]): Promise<Bundle> {
  const cache = join(root, "node_modules/.cache/warehouse-oauth");
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(cache, "programs-"));
  await build({
    entryPoints: sources.map((source) => join(root, source)),
    outdir: folder,
    entryNames: "[name]",
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    logLevel: "error",
    plugins: [
      {
        name: "public names",
        setup(bundle) {
          bundle.onResolve({ filter: /^[^./]/ }, ({ path, kind }) => {
            if (kind === "entry-point") return undefined;
            const own = alias.find(({ find }) => find.test(path));
            if (own !== undefined) return { path: path.replace(own.find, own.replacement) };
            return INSIDE.test(path) ? undefined : { path, external: true };
          });
        },
      },
    ],
  });
  return {
    pathOf: (name) => join(folder, `${name}.mjs`),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}
