// `npm run test:drivers`: the tests with the real drivers, which are installed here from lock files of their own: they are
// large, and users have one of them at most. Last line: "N passed, N failed". Names as arguments run those only.
import { spawn } from "node:child_process";
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

const names = wanted.length > 0 ? wanted : all;
// One after the other: npm keeps one cache. The newest driver of BigQuery wants a newer Node than this may be.
for (const folder of [`${root}test/runtimes`, ...names.map((name) => `${here}${name}`)]) {
  if (!existsSync(`${folder}/node_modules`)) process.stdout.write(await run("npm", ["ci", "--prefix", folder]));
}

// One after the other: tokens live for five seconds here, and two suites would take time from each other.
const results = [];
for (const name of names) results.push(await test(name));
if (names.length === all.length) results.push(await compileUsage());
const sum = (counts) => counts.reduce((total, count) => total + count, 0);
const failed = sum(results.map((result) => result.failed));
console.log(`${sum(results.map((result) => result.passed))} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;

async function test(name) {
  const vitest = ["node_modules/vitest/vitest.mjs", "run", "-c", ".config/vitest.drivers.config.ts"];
  const output = await run(process.execPath, [...vitest, `test/drivers/${name}/`]);
  process.stdout.write(`\n== ${name}\n${output}`);
  // The last one: a test may have run others in a process of its own.
  const [, passed = "0", failed = "1"] = [...output.matchAll(/^(\d+) passed, (\d+) failed$/gm)].at(-1) ?? [];
  return { passed: Number(passed), failed: Number(failed) };
}

/** The program that uses all three at once; `npm test` compiles what is left of it without the drivers. */
async function compileUsage() {
  const output = await run(process.execPath, [
    "node_modules/typescript/bin/tsc",
    "-p",
    "test/drivers/tsconfig.usage.json",
  ]);
  process.stdout.write(
    `\n== test/types/usage/05-drivers.ts compiles with all drivers: ${output === "" ? "ok" : output}\n`,
  );
  return output === "" ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (output += String(data)));
    child.once("error", reject);
    child.once("close", () => resolve(output));
  });
}
