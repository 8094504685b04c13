import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { isBigQueryModule, type BigQueryModule } from "./bigquery.ts";
import { isSnowflakeSdk, prepareForSnowflakeSdk, type SnowflakeSdk } from "./snowflake.ts";

/** A driver as it was found, with the name and version of its package. */
export interface Loaded<Driver> {
  readonly driver: Driver;
  readonly name: string;
}

/** The drivers that the demo's queries can go through. */
export interface Drivers {
  readonly snowflake: Loaded<SnowflakeSdk>;
  readonly bigquery: Loaded<BigQueryModule>;
}

/** Where drivers come from. */
export interface DriverSource {
  /** The folder with a folder of each driver's lock file. Default is that of this repository. */
  readonly folder?: string;
  /** Installs what a folder's lock file says. Default is `npm ci`. */
  readonly install?: (folder: string) => Promise<void>;
}

/** Nobody who uses one of our adapters needs a driver, so they are installed apart from the package, where its tests want them. */
const DRIVERS = "test/drivers";

/** The newest one that runs on all the versions of Node that the demo runs on. */
const BIGQUERY = "bigquery-8";

/**
 * Finds the drivers, and installs those that are missing.
 *
 * @throws `Error` in words for a person, if one cannot be installed or is not what it should be.
 */
export async function loadDrivers(print: (line: string) => void, source: DriverSource = {}): Promise<Drivers> {
  const { folder = findFolder(), install = installByNpm } = source;
  for (const name of ["snowflake", "bigquery"]) {
    const own = join(folder, name);
    if (existsSync(join(own, "node_modules"))) continue;
    print(`${DRIVERS}/${name} has no node_modules: npm ci --prefix ${DRIVERS}/${name} …`);
    await install(own);
  }
  prepareForSnowflakeSdk();
  return {
    snowflake: load(join(folder, "snowflake"), "snowflake-sdk", isSnowflakeSdk),
    bigquery: load(join(folder, "bigquery"), BIGQUERY, isBigQueryModule),
  };
}

/** The demo runs from its sources and as a bundle; the repository is above both. */
function findFolder(): string {
  let above = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(above, DRIVERS))) {
    const next = dirname(above);
    if (next === above) throw new Error(`--drivers needs ${DRIVERS} of the repository, which is not here`);
    above = next;
  }
  return join(above, DRIVERS);
}

/** Only what is called is asked for: the drivers' own types are installed with them, and so perhaps not there. */
function load<Driver>(folder: string, alias: string, isDriver: (value: unknown) => value is Driver): Loaded<Driver> {
  const driver: unknown = createRequire(join(folder, "package.json"))(alias);
  const { name, version } = readPackage(join(folder, "node_modules", alias, "package.json"));
  if (!isDriver(driver)) throw new Error(`${name} ${version} lacks what the demo calls of it`);
  return { driver, name: `${name} ${version}` };
}

function readPackage(path: string): { readonly name: string; readonly version: string } {
  const found: unknown = JSON.parse(readFileSync(path, "utf8"));
  const isNamed = typeof found === "object" && found !== null && "name" in found && "version" in found;
  return isNamed ? { name: String(found.name), version: String(found.version) } : { name: path, version: "?" };
}

function installByNpm(folder: string): Promise<void> {
  return new Promise((resolve, reject) => {
    // npm is a script of the shell on Windows. What it says is for the reader, and no line of ours.
    const npm = spawn(
      "npm",
      ["ci", "--ignore-scripts", "--loglevel=error", "--no-audit", "--no-fund", "--prefix", folder],
      {
        stdio: ["ignore", "ignore", "inherit"],
        shell: process.platform === "win32",
      },
    );
    npm.once("error", reject);
    npm.once("exit", (code) => {
      if (code === 0) resolve();
      else reject(new Error(`npm ci failed in ${folder}; without --drivers the demo needs nothing more`));
    });
  });
}
