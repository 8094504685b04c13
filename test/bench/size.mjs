// `npm run size`: what a page loads, how long an import takes and how many packages come along. Reported, never gated.
import { formatSpread, printTable } from "./harness.mjs";
import { prepare } from "./prepare.mjs";

/** Each starts eight processes, so they take about a second. */
const IMPORT_ROUNDS = 15;
const kilobytes = (bytes) => (bytes / 1000).toFixed(1);

await prepare();
const { BUNDLES, measureBundle } = await import("./bundles.mjs");
const { measureParts } = await import("./bundle-parts.mjs");
const { measureImports } = await import("./import-time.mjs");
const { countPackages } = await import("./installed-packages.mjs");

const bundles = [];
for (const [name, program] of Object.entries(BUNDLES)) {
  const { minified, gzip, laterGzip } = await measureBundle(program);
  bundles.push([name, kilobytes(minified), kilobytes(gzip), laterGzip === 0 ? "" : kilobytes(laterGzip)]);
}
printTable(
  "browser bundle: address, callback, exchange, refresh (kB)",
  ["", "minified", "gzip", "later, gzip"],
  bundles,
);

const parts = await measureParts("snowflake");
printTable(
  "what leaving out a part would save in ours, with snowflake (kB gzip)",
  ["", "gzip"],
  parts.map(([part, bytes]) => [part, (bytes / 1000).toFixed(2)]),
);

const imports = measureImports(IMPORT_ROUNDS);
printTable(
  `import, ms over an empty module (${IMPORT_ROUNDS} rounds; median (least–greatest))`,
  ["", "wall", "CPU"],
  imports.map(({ name, wallMs, cpuMs }) => [name, formatSpread(wallMs, 1), formatSpread(cpuMs, 1)]),
);

printTable("installed packages", ["", "packages"], Object.entries(countPackages()));
