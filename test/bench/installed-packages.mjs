// How many packages a user gets with one: itself and what it depends on, from the lock files.
import { readFileSync } from "node:fs";

const readJson = (path) => JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8"));
const peers = readJson("package-lock.json").packages;
const own = readJson("../../package-lock.json").packages;
const manifest = readJson("../../package.json");

/** Finds what `name` means for the package at `from`, as Node would. */
function find(lock, from, name) {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf("node_modules/") - 1))) {
    const path = `${at === "" ? "" : `${at}/`}node_modules/${name}`;
    if (lock[path] !== undefined || at === "") return path;
  }
}

function closure(lock, paths) {
  const found = new Set(paths);
  for (const path of found) {
    const { dependencies = {}, optionalDependencies = {} } = lock[path] ?? {};
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const next = find(lock, path, name);
      if (lock[next] !== undefined) found.add(next);
    }
  }
  return found.size;
}

/** Number of packages by library, itself counted. */
export function countPackages() {
  const dependencies = Object.keys(manifest.dependencies).map((name) => `node_modules/${name}`);
  return {
    "warehouse-oauth": 1 + closure(own, dependencies),
    ...Object.fromEntries(
      Object.keys(peers[""].dependencies).map((name) => [name, closure(peers, [`node_modules/${name}`])]),
    ),
  };
}
