// Makes what the commands need: the peers (locked, from this folder's own lock file), and the package as it is built.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const source = fileURLToPath(new URL("../../src/", import.meta.url));

/** What is measured: doors, one of them not in every version, and two parts that are measured alone as well. */
const DOORS = [
  "index",
  "adapters/snowflake/index",
  "adapters/databricks/index",
  "adapters/bigquery/index",
  "node/index",
  "lib/due-queue",
  "session/refresh-scheduler",
  "stores/encrypted",
  "stores/postgres",
  "stores/redis",
  "jobs/bullmq",
  "jobs/pg-boss",
].filter((door) => existsSync(`${source}${door}.ts`));

/** Installs the peers where they are missing, and builds the doors into `dist` as .config/tsup.config.ts does. */
export async function prepare() {
  if (!existsSync(`${here}node_modules`)) {
    console.log("installing the peers…");
    execFileSync("npm", ["ci", "--prefix", here], { stdio: "inherit" });
  }
  await build({
    entryPoints: DOORS.map((door) => `${source}${door}.ts`),
    outbase: source,
    outdir: `${here}dist`,
    bundle: true,
    splitting: true,
    format: "esm",
    target: "es2022",
    platform: "neutral",
    packages: "external",
    logLevel: "warning",
  });
}
