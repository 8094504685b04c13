import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import SummaryReporter from "./summary-reporter.ts";

// The second half of `npm run docs`: looks at the pages that typedoc has just written.
export default defineConfig({
  root: fileURLToPath(new URL("../", import.meta.url)),
  test: { include: ["test/package/site-links.check.ts"], reporters: ["default", new SummaryReporter()] },
});
