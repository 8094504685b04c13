// What a login and a refresh cost beside the peers, as ratios to oauth4webapi.
import { compare, formatSpread, printTable, startContenders } from "./harness.mjs";

const REFERENCE = "oauth4webapi";
const CONTENDERS = [
  "warehouse-oauth",
  REFERENCE,
  "oauth4webapi-with-deadline",
  "openid-client",
  "arctic",
  "badgateway",
  "raw-fetch",
];

/** Without a request: in this process, one after the other. `count` keeps a turn far below what a scheduler's whim costs. */
const IN_PROCESS = { operation: { count: 1_000, concurrency: 1 }, limits: { budgetMs: 6_000, warmUp: 4_000 } };
/** With a request to the server on this machine. */
const OVER_HTTP = [
  { count: 100, concurrency: 1 },
  { count: 200, concurrency: 16 },
  { count: 512, concurrency: 256 },
].map((operation) => ({ operation, limits: { budgetMs: 12_000, warmUp: 1_000 } }));

const contenders = await startContenders(CONTENDERS);
try {
  for (const name of ["pkce", "authorization-url"]) await report(name, IN_PROCESS);
  for (const name of ["code-exchange", "refresh"]) {
    for (const load of OVER_HTTP) await report(name, load);
  }
} finally {
  contenders.close();
}

async function report(name, { operation, limits }) {
  const order = { operation: name, ...operation };
  const { rounds, results } = await compare(contenders, REFERENCE, order, limits);
  printTable(
    `${name}, ${operation.concurrency} at a time (${rounds} rounds of ${operation.count}; ratio: median (least–greatest))`,
    ["", "CPU µs", "least", "CPU ratio", "wall µs", "wall ratio"],
    results.map(({ name: contender, cpuMicros, cpuRatio, wallMicros, wallRatio }) => [
      contender,
      cpuMicros.median.toFixed(1),
      cpuMicros.least.toFixed(1),
      formatSpread(cpuRatio),
      wallMicros.median.toFixed(1),
      formatSpread(wallRatio),
    ]),
  );
}
