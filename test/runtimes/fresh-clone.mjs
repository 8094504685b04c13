// `npm run test:clones`: what the README tells a stranger to type, in a fresh clone of the last commit, once under each
// pinned Node: `npm ci`, `npm run demo -- --once`, `npm test`. Last line: "N passed, N failed". Six minutes each.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { pinnedNodes, versionOf } from "./pinned-nodes.mjs";
import { runCommand } from "./run-command.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
const steps = [
  ["npm", "ci"],
  ["npm", "run", "demo", "--", "--once"],
  ["npm", "test"],
];

/** What the suite says of itself at its end. */
const COUNTED = /^(?:\d+ skipped|\d+ passed, \d+ failed)$/gm;

// Of this script's own npm nothing is handed on.
const strangers = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(?:npm_|INIT_CWD$)/.test(name)));

let passed = 0;
let failed = 0;
for (const folder of pinnedNodes(process.argv.slice(2))) {
  const clone = mkdtempSync(join(tmpdir(), "warehouse-oauth-"));
  const env = { ...strangers, PATH: `${folder}${delimiter}${process.env.PATH ?? ""}` };
  for (const [command, ...args] of [["git", "clone", "--quiet", root, "."], ...steps]) {
    const { status, output } = runCommand(command, args, { cwd: clone, env });
    if (status === 0) passed += 1;
    else failed += 1;
    const summary = status === 0 ? ["ok", ...(output.match(COUNTED) ?? [])].join(", ") : `failed\n${output}`;
    console.log(`${versionOf(folder)} ${command} ${args.join(" ")}: ${summary}`);
  }
  rmSync(clone, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
