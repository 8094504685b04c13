import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import type { StoreRacePlan, StoreRaceReport } from "warehouse-oauth/testing";
import { alias } from "../../.config/vitest.config.ts";
import type { StoreAddress } from "../fleet/messages.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Small, and needed by all: a bundle that has them starts sooner. */
const INSIDE = /^(?:jose|oauth4webapi)$/;

/** Other processes for the races of a store contract. */
export interface Elsewhere {
  /** Races in a process of its own, on the store of an address. */
  race(address: StoreAddress, plan: StoreRacePlan): Promise<StoreRaceReport>;
  remove(): Promise<void>;
}

/** Bundles the racer once for a test file: this Node does not run TypeScript. */
export async function buildRacer(): Promise<Elsewhere> {
  const cache = join(root, "node_modules/.cache/warehouse-oauth");
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(cache, "racer-"));
  const program = join(folder, "racer.mjs");
  await build({
    entryPoints: [join(root, "test/stores/racer.ts")],
    outfile: program,
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
    async race(address, plan) {
      const child = fork(program, { execArgv: [] });
      try {
        child.send({ address, plan });
        const ended = once(child, "exit").then(() => {
          throw new Error("the racer ended without a report");
        });
        const [report] = (await Promise.race([once(child, "message"), ended])) as [StoreRaceReport];
        return report;
      } finally {
        if (child.exitCode === null) child.disconnect();
      }
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}
