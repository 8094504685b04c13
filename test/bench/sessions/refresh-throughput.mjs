// How many refreshes a second a process gets through, bare and as whole transactions, beside bare fetch.
import { existsSync } from "node:fs";
import { TokenManager, refreshTokens } from "../dist/index.js";
import { formatSpread, printTable, spread, startTokenServer } from "../harness.mjs";
import { connectWarehouse, createTokens, fetchBare, forEach, identityOf, requestBare, setting } from "./fixture.mjs";

const ROUNDS = setting("ROUNDS", 9);
const COUNT = setting("COUNT", 2_000);
const CONCURRENCY = [64, 256];

const server = await startTokenServer();
const transport = await createNodeTransport();
const contenders = new Map([
  ["bare fetch", () => fetchBare(server.origin)],
  ["bare node:http", () => requestBare(server.origin)],
]);
for (const [suffix, options] of [
  ["", {}],
  ...(transport === undefined ? [] : [[", Node transport", { fetch: transport }]]),
]) {
  const client = connectWarehouse(server.origin, options);
  const tokens = createTokens(client);
  contenders.set(`refreshTokens${suffix}`, () => refreshTokens(client, tokens));
  for (const refreshRotation of ["none", "single-use"]) {
    contenders.set(
      `session.refresh, rotation ${refreshRotation}${suffix}`,
      await holdSessions(refreshRotation, options),
    );
  }
}
for (const concurrency of CONCURRENCY) await report(concurrency);
await transport?.close();
server.close();
if (transport === undefined) console.log("\nThe door ./node is not in this version: no rows for its transport.");

/** Gives what refreshes the next of many sessions: a session's refreshes are limited, and come one by one. */
async function holdSessions(refreshRotation, options) {
  const client = connectWarehouse(server.origin, { refreshRotation, ...options });
  const manager = new TokenManager({
    concurrency: { atOnce: Math.max(...CONCURRENCY), perSecond: 1e6 },
    refresh: { maxPerHour: 1e6 },
  });
  const sessions = [];
  await forEach(COUNT, 64, async (at) => {
    sessions.push(await manager.save(client, identityOf(at), createTokens(client)));
  });
  let next = 0;
  return () => sessions[next++ % COUNT].refresh();
}

async function report(concurrency) {
  const names = [...contenders.keys()];
  const series = new Map(names.map((name) => [name, []]));
  for (const name of names) await perSecond(name, concurrency);
  for (let round = 0; round < ROUNDS; round += 1) {
    for (let at = 0; at < names.length; at += 1) {
      const name = names[(round + at) % names.length];
      series.get(name).push(await perSecond(name, concurrency));
    }
  }
  const base = series.get("bare fetch");
  printTable(
    `refreshes, ${concurrency} at a time (${ROUNDS} rounds of ${COUNT}; median (least–greatest))`,
    ["", "a second", "to bare fetch", "CPU µs"],
    names.map((name) => [
      name,
      formatSpread(spread(series.get(name).map((result) => result.rate)), 0),
      formatSpread(spread(series.get(name).map(({ rate }, round) => rate / base[round].rate))),
      spread(series.get(name).map((result) => result.cpuMicros)).median.toFixed(0),
    ]),
  );
}

async function perSecond(name, concurrency) {
  const run = contenders.get(name);
  const cpu = process.cpuUsage();
  const start = performance.now();
  await forEach(COUNT, concurrency, run);
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return { rate: COUNT / seconds, cpuMicros: (user + system) / COUNT };
}

/** The transport of the Node door, where this version has one. */
async function createNodeTransport() {
  if (!existsSync(new URL("../dist/node/index.js", import.meta.url))) return undefined;
  const { nodeTransport } = await import("../dist/node/index.js");
  return nodeTransport();
}
