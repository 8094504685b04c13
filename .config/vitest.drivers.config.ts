import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import SummaryReporter from "./summary-reporter.ts";
import { alias } from "./vitest.config.ts";

/** Only to end a test that hangs: drivers are large, and a pool lives through several lifetimes of real tokens. */
const TIMEOUT_MS = 900_000;

// The drivers themselves are installed in the folders below, each with a lock file: see `npm run test:drivers`.
export default defineConfig({
  root: fileURLToPath(new URL("../", import.meta.url)),
  resolve: { alias },
  test: {
    reporters: ["default", new SummaryReporter()],
    include: ["test/drivers/*/*.test.ts"],
    testTimeout: TIMEOUT_MS,
    hookTimeout: TIMEOUT_MS,
    // Most of the time they wait for tokens of five seconds to end.
    maxWorkers: 2 * availableParallelism(),
  },
});
