import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { LongestFirst } from "./longest-first.ts";
import SummaryReporter from "./summary-reporter.ts";

const root = fileURLToPath(new URL("../", import.meta.url));

/** The public names, served from the sources: no build is needed before a test. The same as `paths` in tsconfig.json. */
export const alias: { find: RegExp; replacement: string }[] = [
  { find: /^warehouse-oauth$/, replacement: `${root}src/index.ts` },
  { find: /^warehouse-oauth\/(testing|node|web)$/, replacement: `${root}src/$1/index.ts` },
  { find: /^warehouse-oauth\/((?:testing|stores|jobs)\/.+)$/, replacement: `${root}src/$1.ts` },
  { find: /^warehouse-oauth\/([^/]+\/driver)$/, replacement: `${root}src/adapters/$1.ts` },
  { find: /^warehouse-oauth\/(opentelemetry|audit|diagnostics-channel)$/, replacement: `${root}src/telemetry/$1.ts` },
  { find: /^warehouse-oauth\/([^/]+)$/, replacement: `${root}src/adapters/$1/index.ts` },
];

/** Only to end a test that hangs: no test says anything about speed, and machines are slow at times. */
export const HANG_MS = 600_000;

/** The same for what is looked at until it is so. */
const POLL_MS = 60_000;

export default defineConfig({
  root,
  resolve: { alias },
  test: {
    reporters: ["default", new SummaryReporter()],
    // Many tests wait: for Web Crypto's threads, for servers, for processes of their own.
    maxWorkers: Math.ceil(1.5 * availableParallelism()),
    sequence: { sequencer: LongestFirst },
    coverage: {
      provider: "v8",
      include: ["src/**/*.ts"],
      reporter: ["text", "json-summary", "lcov"],
      thresholds: {
        "src/core/**": { lines: 95, branches: 95 },
        "src/adapters/**": { lines: 95, branches: 95 },
        "src/session/**": { branches: 95 },
        "src/lib/**": { branches: 95 },
      },
    },
    expect: { poll: { timeout: POLL_MS } },
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/package/**", "test/runtimes/**", "test/drivers/**"],
          setupFiles: ["test/fast-check.setup.ts"],
          isolate: false, // modules here keep nothing that a test could leave behind, and loading them anew for each file takes long
          testTimeout: HANG_MS,
          hookTimeout: HANG_MS,
          typecheck: {
            enabled: true,
            include: ["test/**/*.test-d.ts"],
            tsconfig: ".config/tsconfig.type-tests.json",
            ignoreSourceErrors: true, // `npm run typecheck` reports those; here only the type tests count
          },
        },
      },
      {
        extends: true,
        test: {
          name: "package",
          include: ["test/package/**/*.test.ts"],
          globalSetup: ["test/package/build.setup.ts"],
          testTimeout: HANG_MS,
          hookTimeout: HANG_MS,
        },
      },
    ],
  },
});
