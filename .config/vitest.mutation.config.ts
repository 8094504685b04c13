import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { SmallestFirst } from "./smallest-first.ts";
import { alias } from "./vitest.config.ts";

/** A test that a mutant leaves waiting has failed; each takes less than a second where nothing is changed. */
const HANG_MS = 20_000;

const { ROOM: room = "core", TESTS: tests } = process.env;

// For Stryker: one plain project with the tests that drive one room. Anything that reads the source files would
// fail on the mutated copy and count as a kill.
export default defineConfig({
  root: fileURLToPath(new URL("../", import.meta.url)),
  resolve: { alias },
  test: {
    include:
      tests === undefined
        ? [`test/${room}/*.test.ts`, "test/lib/*.test.ts"]
        : tests.split(",").map((name) => `test/${room}/${name}.test.ts`),
    // They drive every flow, and so would run for every mutant: the canary, the model, and real sockets and processes.
    exclude: ["canary", "model", "faults-on-a-socket", "exiting-programs"].map((name) => `test/*/${name}.test.ts`),
    testTimeout: HANG_MS,
    sequence: { sequencer: SmallestFirst },
    isolate: false, // loading the same modules for each file takes longer than most tests
    setupFiles: ["test/fast-check.setup.ts", ".config/mutation.setup.ts"],
  },
});
