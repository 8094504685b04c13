import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));

/** The folder to put first in `PATH` for each of the given major versions; without any, for all that are pinned here. */
export function pinnedNodes(majors) {
  if (process.platform !== "linux" || process.arch !== "x64") {
    console.error("the pinned binaries are for Linux on x64; elsewhere run `npm test` under each Node by hand");
    process.exit(1);
  }
  const folders = (majors.length > 0 ? majors : ["22", "24", "26"]).map(
    (major) => `${here}node_modules/node-${major}/bin`,
  );
  if (!folders.every((folder) => existsSync(`${folder}/node`)))
    execFileSync("npm", ["ci"], { cwd: here, stdio: "inherit" });
  return folders;
}

/** Such as `v22.23.3`. */
export const versionOf = (folder) => execFileSync(`${folder}/node`, ["--version"], { encoding: "utf8" }).trim();
