import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { alias } from "./vitest.config.ts";

// For Stryker: one plain project with the tests that drive src/core. Anything that reads the source files would
// fail on the mutated copy and count as a kill.
export default defineConfig({
  root: fileURLToPath(new URL("../", import.meta.url)),
  resolve: { alias },
  test: {
    include: ["test/core/*.test.ts", "test/lib/*.test.ts"],
    // The canary drives every flow, and so would run for every mutant.
    exclude: ["test/core/canary.test.ts"],
    setupFiles: ["test/fast-check.setup.ts"],
  },
});
