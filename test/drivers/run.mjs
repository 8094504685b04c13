// `npm run test:drivers`: the tests with the real drivers, which are installed here from lock files of their own: they are
// large, and users have one of them at most. Last line: "N passed, N failed". Names as arguments run those only.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const root = fileURLToPath(new URL("../../", import.meta.url));

const all = readdirSync(here).filter((name) => existsSync(`${here}${name}/package-lock.json`));
const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !all.includes(name));
if (unknown.length > 0) {
  console.error(`no drivers of ${unknown.join(", ")} here; there are ${all.join(", ")}`);
  process.exit(1);
}

// The newest driver of BigQuery wants a newer Node than this may be.
install(`${root}test/runtimes`);

let passed = 0;
let failed = 0;
for (const name of wanted.length > 0 ? wanted : all) {
  install(`${here}${name}`);
  const output = run(process.execPath, [
    "node_modules/vitest/vitest.mjs",
    "run",
    "-c",
    ".config/vitest.drivers.config.ts",
    `test/drivers/${name}/`,
  ]);
  const [, good = "0", bad = "1"] = /^(\d+) passed, (\d+) failed$/m.exec(output) ?? [];
  passed += Number(good);
  failed += Number(bad);
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;

function install(folder) {
  if (!existsSync(`${folder}/node_modules`)) run("npm", ["ci", "--prefix", folder]);
}

function run(command, args) {
  const { stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: "utf8", maxBuffer: 1 << 28 });
  const output = `${stdout ?? ""}${stderr ?? ""}${error ? String(error) : ""}`;
  process.stdout.write(output);
  return output;
}
