import { existsSync, readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

// The tests with the real drivers are in test/drivers, where each driver is installed from a lock file of its own. A bare
// `npm test` has none of them and says so here.
const folder = fileURLToPath(new URL("../drivers/", import.meta.url));

const packages = readdirSync(folder, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && existsSync(`${folder}${entry.name}/package.json`))
  .map(({ name }) => name);

interface Manifest {
  readonly version?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

const read = (path: string): Manifest => JSON.parse(readFileSync(`${folder}${path}/package.json`, "utf8")) as Manifest;

describe.each(packages)("the real driver of %s", (name) => {
  const isMissing = !existsSync(`${folder}${name}/node_modules`);
  const reason = isMissing ? ", left out: no driver is installed; `npm run test:drivers` installs and tests it" : "";
  test.skipIf(isMissing)(`is installed in the versions that are tested${reason}`, () => {
    const { dependencies, devDependencies } = read(name);
    const wanted = Object.entries({ ...dependencies, ...devDependencies });
    expect(wanted.length).toBeGreaterThan(0);
    for (const [dependency, range] of wanted) {
      expect(range.endsWith(read(`${name}/node_modules/${dependency}`).version ?? "none"), dependency).toBe(true);
    }
  });
});
