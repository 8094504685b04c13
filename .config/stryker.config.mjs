// `npm run mutate`: mutants of src/core; `ROOM=session npm run mutate -- -m src/session/retry.ts`: of another room, or of some files.
// `TESTS=retry,trouble` before it: with these tests only, which is quicker and never gives a better score.
const room = process.env.ROOM ?? "core";

export default {
  testRunner: "vitest",
  plugins: ["@stryker-mutator/vitest-runner"],
  vitest: { configFile: ".config/vitest.mutation.config.ts" },
  mutate: [`src/${room}/**/*.ts`],
  mutator: { excludedMutations: ["StringLiteral"] },
  ignorePatterns: ["dist", "docs", "coverage", "reports", "test/*/node_modules", "test/drivers/*/node_modules"],
  reporters: ["clear-text", "progress-append-only", "json"],
  jsonReporter: { fileName: `reports/mutation-${room}.json` },
  coverageAnalysis: "perTest",
  incremental: true,
  incrementalFile: `reports/stryker-incremental-${room}.json`,
  // Only what never comes back counts as a time-out: a test that waits fails by its own limit. Shorter, and survivors that are
  // slow on a busy machine would count as killed.
  timeoutMS: 120_000,
  thresholds: { high: 90, low: 85, break: 80 },
  ignoreStatic: true,
};
