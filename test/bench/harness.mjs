// Runs contenders in turn, round by round, and compares each with the reference of the same round: what disturbs the
// machine for a while disturbs both.
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const here = (file) => fileURLToPath(new URL(file, import.meta.url));

/** Starts the token server; `takeCounts` gives the requests it got in each second since the last time. */
export async function startTokenServer() {
  const server = fork(here("token-server.mjs"), { execArgv: [] });
  const [origin] = await once(server, "message");
  return {
    origin,
    async takeCounts() {
      const answered = once(server, "message");
      server.send("counts");
      return (await answered)[0];
    },
    close: () => server.disconnect(),
  };
}

/** Runs a program of this folder to its end, in a process of its own. */
export async function runProgram(file, { settings = {}, execArgv = [] } = {}) {
  const child = fork(here(file), { execArgv, env: { ...process.env, ...settings } });
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`${file} ended with ${String(code)}`);
}

/** Starts the token server and one process for each contender; `close` ends them. */
export async function startContenders(names) {
  const server = await startTokenServer();
  const { origin } = server;
  const processes = new Map();
  for (const name of names) {
    const child = fork(here("contender-process.mjs"), [name, origin]);
    const [message] = await once(child, "message");
    if (message !== "ready") throw new Error(`${name} did not start`);
    processes.set(name, child);
  }
  return {
    names,
    async ask(name, order) {
      const child = processes.get(name);
      const answered = once(child, "message");
      child.send(order);
      const [{ figures }] = await answered;
      return figures;
    },
    close() {
      for (const child of processes.values()) child.disconnect();
      server.close();
    },
  };
}

/** Fewest rounds that say anything, and most that say more. */
const MIN_ROUNDS = 7;
const MAX_ROUNDS = 61;

/**
 * Warms up, then goes round for `budgetMs`; a busy machine gets the fewest rounds. The order rotates, so that nobody
 * always follows the same neighbour.
 */
export async function compare(contenders, reference, order, { budgetMs, warmUp }) {
  const series = new Map();
  for (const name of contenders.names) {
    if ((await contenders.ask(name, { ...order, count: warmUp })) !== undefined) series.set(name, []);
  }
  const names = [...series.keys()];
  const end = performance.now() + budgetMs;
  let round = 0;
  for (; round < MIN_ROUNDS || (round < MAX_ROUNDS && performance.now() < end); round += 1) {
    for (let at = 0; at < names.length; at += 1) {
      const name = names[(round + at) % names.length];
      series.get(name).push(await contenders.ask(name, order));
    }
  }
  const results = names.map((name) => {
    const own = series.get(name);
    const base = series.get(reference);
    const ratios = (figure) => spread(own.map((result, round) => result[figure] / base[round][figure]));
    return {
      name,
      cpuMicros: spread(own.map((result) => result.cpuMicros)),
      wallMicros: spread(own.map((result) => result.wallMicros)),
      cpuRatio: ratios("cpuMicros"),
      wallRatio: ratios("wallMicros"),
    };
  });
  return { rounds: round, results };
}

/** Median, least and greatest. */
export function spread(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, least: sorted[0], greatest: sorted.at(-1) };
}

/** Writes `1.03 (0.98–1.10)`. */
export const formatSpread = ({ median, least, greatest }, digits = 2) =>
  `${median.toFixed(digits)} (${least.toFixed(digits)}–${greatest.toFixed(digits)})`;

/** Prints rows as a table that is Markdown as well. */
export function printTable(title, header, rows) {
  const cells = [header, ...rows].map((row) => row.map(String));
  const widths = header.map((_, column) => Math.max(...cells.map((row) => row[column].length)));
  const line = (row) =>
    `| ${row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]) : cell.padStart(widths[at]))).join(" | ")} |`;
  const rule = `| ${widths.map((width, at) => (at === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`)).join(" | ")} |`;
  console.log([`\n${title}\n`, line(cells[0]), rule, ...cells.slice(1).map(line)].join("\n"));
}
