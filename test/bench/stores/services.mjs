// The servers of the tests, for benches: they are TypeScript, which this Node does not run.
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** Gives `startPostgres` and `startRedis`, and the sentences that say why there is none. */
export async function loadServices() {
  await build({
    entryPoints: ["postgres", "redis"].map((name) => here(`../../services/${name}.ts`)),
    outdir: here("../dist/services"),
    bundle: true,
    format: "esm",
    platform: "node",
    packages: "external",
    logLevel: "warning",
  });
  return { ...(await import("../dist/services/postgres.js")), ...(await import("../dist/services/redis.js")) };
}
