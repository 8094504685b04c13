import type { Reporter } from "vitest/node";

/** Vitest reporter that ends a run with `N passed, N failed`, alone on its line; skipped tests get a line before it. */
export default class SummaryReporter implements Reporter {
  onTestRunEnd: NonNullable<Reporter["onTestRunEnd"]> = (modules, unhandledErrors) => {
    let passed = 0;
    let failed = 0;
    let skipped = 0;
    for (const module of modules) {
      let failedHere = 0;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === "passed") passed += 1;
        else if (state === "failed") failedHere += 1;
        else skipped += 1;
      }
      // A file that could not be loaded has no tests to count, but it has failed.
      if (failedHere === 0 && module.state() === "failed") failedHere = 1;
      failed += failedHere;
    }
    // Type errors are counted by their test already; what is left is an error that belongs to none.
    if (failed === 0) failed = unhandledErrors.length;
    // Vitest's own summary and the coverage table come later; this line is the last one.
    process.once("exit", () => {
      process.stdout.write(
        `${skipped > 0 ? `${String(skipped)} skipped\n` : ""}${String(passed)} passed, ${String(failed)} failed\n`,
      );
    });
  };
}
