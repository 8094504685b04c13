import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { manifest, readText, root, type Manifest } from "./repository.ts";

/** What a lock file says about one package. */
interface LockedPackage {
  readonly link?: boolean;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly bundled?: boolean;
  readonly inBundle?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly hasInstallScript?: boolean;
}
type Lock = Readonly<Record<string, LockedPackage>>;

const INSTALL_SCRIPTS = ["preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare"];
const RUNTIME = ["jose", "oauth4webapi"];

function readLock(path: string): Lock {
  return (JSON.parse(readText(path)) as { packages: Lock }).packages;
}

/** Finds, as Node would, the locked package that `name` means for the package at `from`. */
function isLocked(lock: Lock, from: string, name: string): boolean {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf("node_modules/") - 1))) {
    if (Object.hasOwn(lock, `${at === "" ? "" : `${at}/`}node_modules/${name}`)) return true;
    if (at === "") return false;
  }
}

function problemsOf(lock: Lock): string[] {
  return Object.entries(lock).flatMap(([path, locked]) => {
    if (locked.link === true) return [];
    const missing = Object.keys(locked.optionalDependencies ?? {}).filter((name) => !isLocked(lock, path, name));
    const found = missing.map((name) => `${path || "(root)"}: ${name} is not in the lock file; npm ci will refuse it`);
    const hasSum = locked.integrity !== undefined || locked.bundled === true || locked.inBundle === true;
    if (path !== "" && !hasSum) found.push(`${path}: has no integrity`);
    if (locked.resolved !== undefined)
      found.push(`${path}: names a registry (omit-lockfile-registry-resolved is not set)`);
    return found;
  });
}

describe("dependencies", () => {
  test("S-106 at run time there are exactly two", () => {
    expect(Object.keys(manifest.dependencies ?? {}).sort()).toEqual(RUNTIME);
    expect(manifest.optionalDependencies ?? {}).toEqual({});
    expect(manifest.bundledDependencies ?? []).toEqual([]);
    expect(Object.keys(manifest.peerDependencies ?? {}).filter((name) => name !== "@napi-rs/keyring")).toEqual([]);
  });

  test.each(RUNTIME)("S-107 %s brings no dependency, no install script and no binary", (name) => {
    const installed = JSON.parse(readFileSync(join(root, "node_modules", name, "package.json"), "utf8")) as Manifest;
    expect(installed.dependencies ?? {}).toEqual({});
    expect(installed.optionalDependencies ?? {}).toEqual({});
    expect(Object.keys(installed.bin ?? {})).toEqual([]);
    expect(
      Object.keys(installed.scripts ?? {}).filter((script) => INSTALL_SCRIPTS.slice(0, 3).includes(script)),
    ).toEqual([]);
    expect(readLock("package-lock.json")[`node_modules/${name}`]?.hasInstallScript).toBeUndefined();
  });

  test("S-107 installing this package runs nothing", () => {
    expect(Object.keys(manifest.scripts ?? {}).filter((script) => INSTALL_SCRIPTS.includes(script))).toEqual([]);
  });

  test.each([
    "package-lock.json",
    "test/runtimes/package-lock.json",
    "test/bench/package-lock.json",
    "test/drivers/snowflake/package-lock.json",
    "test/drivers/databricks/package-lock.json",
    "test/drivers/bigquery/package-lock.json",
  ])("S-109 %s is complete, with sums and without hosts", (path) => {
    expect(problemsOf(readLock(path))).toEqual([]);
  });

  test("S-109 package.json and the lock file agree", () => {
    const { devDependencies, dependencies } = JSON.parse(readText("package.json")) as Record<
      string,
      Record<string, string>
    >;
    const locked = readLock("package-lock.json")[""] as unknown as Record<string, Record<string, string>>;
    expect(locked["dependencies"]).toEqual(dependencies);
    expect(locked["devDependencies"]).toEqual(devDependencies);
  });

  test("tools are pinned to one version", () => {
    const { devDependencies } = JSON.parse(readText("package.json")) as { devDependencies: Record<string, string> };
    const loose = Object.entries(devDependencies).filter(
      ([name, range]) => name !== "@types/node" && !/^\d/.test(range),
    );
    expect(loose).toEqual([]);
  });

  test("a lock file that is not complete is refused", () => {
    const lock: Lock = {
      "": {},
      "node_modules/a": { integrity: "sha512-x", optionalDependencies: { "a-linux": "1.0.0", b: "1.0.0" } },
      "node_modules/b": { resolved: "https://example.test/b.tgz" },
      "node_modules/a/node_modules/b": { integrity: "sha512-x", optionalDependencies: { a: "1.0.0" } },
    };
    expect(problemsOf(lock)).toHaveLength(3);
  });
});
