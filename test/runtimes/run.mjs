// `npm run test:nodes`: the tests of the code and the demo, once under each pinned Node. Last line: "N passed, N failed".
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { pinnedNodes, versionOf } from "./pinned-nodes.mjs";
import { runCommand } from "./run-command.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
const demo = "node_modules/.cache/warehouse-oauth/demo.mjs";
/** Rooms whose tests spend their time in servers and clients that others wrote, and in processes of their own. */
const OTHERS = ["fleet", "stores", "jobs", "services", "examples", "package", "runtimes", "drivers", "bench"];
/** With `SHORT=1` these are left out, too: they take half of the time, and no other part of the platform than the rest. */
const LONG = ["core/canary", "session/background", "session/due-sessions", "session/model", "session/token-manager"];

// What there is on this machine is used, nothing is demanded.
const { REQUIRE_SERVICES: _, ...withoutServices } = process.env;

const folders = pinnedNodes(process.argv.slice(2));
const built = run("npm", ["run", "-s", "demo:build"]);
if (built.status !== 0) console.error(`the demo cannot be built\n${built.output}`);

let passed = 0;
let failed = 0;
for (const folder of folders) {
  const node = `${folder}/node`;
  const version = versionOf(folder);

  const suite = run(node, [
    "node_modules/vitest/vitest.mjs",
    "run",
    "-c",
    ".config/vitest.config.ts",
    "--typecheck.enabled=false",
    "--project=unit", // the package is built and looked at once
    ...listTests(),
  ]);
  const [, good, bad] = /^(\d+) passed, (\d+) failed$/m.exec(suite.output) ?? [undefined, "0", "1"];
  const suiteFailed = suite.status === 0 ? Number(bad) : Math.max(1, Number(bad));
  passed += Number(good);
  failed += suiteFailed;
  console.log(`${version} tests: ${good} passed, ${suiteFailed} failed${suiteFailed > 0 ? `\n${suite.output}` : ""}`);

  const once = built.status === 0 ? run(node, [demo, "--once"]) : built;
  if (once.status === 0) passed += 1;
  else failed += 1;
  console.log(`${version} demo --once: ${once.status === 0 ? "ok" : `failed\n${once.output}`}`);
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;

/** By name: what a project of Vitest includes, `--exclude` does not take out. */
function listTests() {
  const long = process.env.SHORT === undefined ? [] : LONG.map((file) => `${file}.test.ts`);
  return readdirSync(`${root}test`, { recursive: true })
    .filter((path) => path.endsWith(".test.ts") && !OTHERS.includes(path.split("/")[0]) && !long.includes(path))
    .map((path) => `test/${path}`);
}

function run(command, args) {
  return runCommand(command, args, { cwd: root, env: withoutServices });
}
