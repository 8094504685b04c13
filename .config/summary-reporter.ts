import type { Reporter } from "vitest/node";

/** Why a test is skipped, as its name or that of its suite says. */
const REASON = /left out: .*?(?= > |$)/;

/** Vitest reporter that ends a run with `N passed, N failed`, alone on its line; before it, how many were skipped, and why. */
export default class SummaryReporter implements Reporter {
  /** Whoever runs some tests by name knows what is left out. */
  #byName = false;

  onInit: NonNullable<Reporter["onInit"]> = ({ config }) => {
    this.#byName = config.testNamePattern !== undefined;
  };

  onTestRunEnd: NonNullable<Reporter["onTestRunEnd"]> = (modules, unhandledErrors) => {
    let passed = 0;
    let failed = 0;
    let skipped = 0;
    const reasons = new Set<string>();
    for (const module of modules) {
      let failedHere = 0;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === "passed") passed += 1;
        else if (state === "failed") failedHere += 1;
        else {
          skipped += 1;
          if (!this.#byName) reasons.add(REASON.exec(test.fullName)?.[0] ?? `left out: ${test.fullName}`);
        }
      }
      // A file that could not be loaded has no tests to count, but it has failed.
      if (failedHere === 0 && module.state() === "failed") failedHere = 1;
      failed += failedHere;
    }
    // Type errors are counted by their test already; what is left is an error that belongs to none.
    if (failed === 0) failed = unhandledErrors.length;
    // Vitest's own summary and the coverage table come later; this line is the last one.
    process.once("exit", () => {
      const lines = [...reasons, ...(skipped > 0 ? [`${String(skipped)} skipped`] : [])];
      for (const line of [...lines, `${String(passed)} passed, ${String(failed)} failed`])
        process.stdout.write(`${line}\n`);
    });
  };
}
