import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { TestProject } from "vitest/node";
import { manifest, root } from "./repository.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** A folder with the package as it would be published, just built from the sources; or why there is none. */
    readonly build: { readonly folder: string; readonly failure: string | undefined };
  }
}

const run = promisify(execFile);

/** Builds the package once for all checks that look at it. A build that fails is reported by the tests that need it. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), "warehouse-oauth-build-"));
  project.provide("build", { folder, failure: await build(folder) });
  return () => rm(folder, { recursive: true, force: true });
}

/** What a build reads besides the published files. */
const BUILT_WITH = ["tsconfig.json", ".config"];

async function build(folder: string): Promise<string | undefined> {
  try {
    // A document that is missing fails the check of the published files, not the build.
    const published = manifest.files.filter((name) => name !== "dist" && existsSync(join(root, name)));
    const needed = ["package.json", ...published, ...BUILT_WITH];
    for (const name of needed) await cp(join(root, name), join(folder, name), { recursive: true });
    await symlink(join(root, "node_modules"), join(folder, "node_modules"), "dir");
    await tool(folder, "tsup/dist/cli-default.js", ["--config", ".config/tsup.config.ts", "--silent"]);
    await tool(folder, "typescript/bin/tsc", ["-p", ".config/tsconfig.build.json"]);
    return undefined;
  } catch (error) {
    const { message, stdout, stderr } = error as Error & { stdout?: string; stderr?: string };
    return `the package could not be built: ${message}\n${stdout ?? ""}${stderr ?? ""}`;
  }
}

async function tool(folder: string, script: string, parameters: readonly string[]): Promise<void> {
  await run(process.execPath, [join(folder, "node_modules", script), ...parameters], { cwd: folder });
}
