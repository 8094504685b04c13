import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { describeDriver } from "./scenarios.ts";

/** What version 9 asks for (engines of its package.json). */
const NODE_MAJOR = 22;

/** A run that hangs ends here, before the test does. */
const LIMIT_MS = 600_000;

const running = Number(process.versions.node.split(".")[0]);
const root = fileURLToPath(new URL("../../../", import.meta.url));
const newer = `${root}test/runtimes/node_modules/node-22/bin/node`;

if (running >= NODE_MAJOR) {
  describeDriver("@google-cloud/bigquery 9", async () => {
    const { BigQuery } = await import("bigquery-9");
    return { name: "bigquery-9", BigQuery };
  });
} else if (existsSync(newer)) {
  test(`@google-cloud/bigquery 9 needs Node 22, this is ${process.version}: runs this file with the one of test/runtimes`, async () => {
    const args = ["node_modules/vitest/vitest.mjs", "run", "-c", ".config/vitest.drivers.config.ts"];
    const file = "test/drivers/bigquery/bigquery-9.test.ts";
    const env = { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0" };
    const outcome = promisify(execFile)(newer, [...args, file], {
      cwd: root,
      env,
      maxBuffer: 1 << 28,
      timeout: LIMIT_MS,
    });
    const { stdout } = await outcome.catch((error: unknown) => error as { readonly stdout: string });
    console.log(stdout);
    const [, passed, failed] = /^(\d+) passed, (\d+) failed$/m.exec(stdout) ?? [];
    expect({ failed, some: Number(passed) > 10 }).toEqual({ failed: "0", some: true });
  });
} else {
  test.skip(`left out: @google-cloud/bigquery 9 needs Node 22, this is ${process.version}; npm ci in test/runtimes, or run with Node 22`, () =>
    undefined);
}
