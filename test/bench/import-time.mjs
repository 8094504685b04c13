// How long a process waits for a library: the import alone, in a process of its own each time, beside an empty module.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { spread } from "./harness.mjs";

const cwd = fileURLToPath(new URL(".", import.meta.url));
const EMPTY = "an empty module";
const IMPORTS = {
  [EMPTY]: ["data:text/javascript,"],
  "warehouse-oauth and snowflake": ["./dist/index.js", "./dist/adapters/snowflake/index.js"],
  oauth4webapi: ["oauth4webapi"],
  "openid-client": ["openid-client"],
  arctic: ["arctic"],
  "@badgateway/oauth2-client": ["@badgateway/oauth2-client"],
  "google-auth-library": ["google-auth-library"],
  "@azure/msal-node": ["@azure/msal-node"],
};

/** Milliseconds over the empty module of the same round, by library: on the wall and of the processor. */
export function measureImports(rounds) {
  const names = Object.keys(IMPORTS);
  const series = new Map(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (let at = 0; at < names.length; at += 1) {
      const name = names[(round + at) % names.length];
      series.get(name).push(timeImport(IMPORTS[name]));
    }
  }
  const empty = series.get(EMPTY);
  const over = (name, figure) => spread(series.get(name).map((times, round) => times[figure] - empty[round][figure]));
  return names
    .filter((name) => name !== EMPTY)
    .map((name) => ({ name, wallMs: over(name, "wallMs"), cpuMs: over(name, "cpuMs") }));
}

function timeImport(specifiers) {
  const program = `
    const cpu = process.cpuUsage();
    const begin = performance.now();
    ${specifiers.map((specifier) => `await import(${JSON.stringify(specifier)});`).join("")}
    const wallMs = performance.now() - begin;
    const { user, system } = process.cpuUsage(cpu);
    console.log(JSON.stringify({ wallMs, cpuMs: (user + system) / 1000 }));`;
  return JSON.parse(execFileSync(process.execPath, ["--input-type=module", "-e", program], { cwd, encoding: "utf8" }));
}
