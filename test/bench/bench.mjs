// `npm run bench`: all parts but the last; `npm run bench -- sessions due`: those named. Reported, never gated.
import { runProgram } from "./harness.mjs";
import { prepare } from "./prepare.mjs";

/** Room for a million sessions, and the means to measure them when nothing else is left in memory. */
const LARGE = { execArgv: ["--expose-gc", "--max-old-space-size=12288", "--max-semi-space-size=128"] };

const PARTS = {
  login: () => runProgram("login.mjs"),
  "hot-path": () => runProgram("sessions/hot-path.mjs"),
  memory: async () => {
    // One process each: what the smaller ones leave behind is not counted with the larger.
    for (const sessions of process.env.SESSIONS?.split(",") ?? ["10000", "100000", "1000000"]) {
      await runProgram("sessions/held-sessions.mjs", { ...LARGE, settings: { SESSIONS: sessions } });
    }
  },
  due: () => runProgram("sessions/falling-due.mjs", LARGE),
  refresh: () => runProgram("sessions/refresh-throughput.mjs", LARGE),
  sealing: () => runProgram("stores/sealing.mjs"),
  transactions: () => runProgram("stores/transactions.mjs", LARGE),
  jobs: () => runProgram("stores/jobs.mjs"),
  million: () => runProgram("sessions/million.mjs", LARGE),
};
const SESSIONS = ["hot-path", "memory", "due", "refresh"];
const STORES = ["sealing", "transactions", "jobs"];
const GROUPS = { sessions: SESSIONS, stores: STORES, all: ["login", ...SESSIONS, ...STORES] };

const named = process.argv.slice(2);
const parts = (named.length === 0 ? ["all"] : named).flatMap((name) => GROUPS[name] ?? [name]);
const unknown = parts.find((part) => !Object.hasOwn(PARTS, part));
if (unknown === undefined) {
  await prepare();
  for (const part of parts) await PARTS[part]();
} else {
  console.error(`"${unknown}" is no part; there are ${[...Object.keys(PARTS), ...Object.keys(GROUPS)].join(", ")}`);
  process.exitCode = 1;
}
