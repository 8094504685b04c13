import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../../../", import.meta.url));

test("npm run demo -- --once --drivers goes all the way, and asks through both drivers", async () => {
  const { stdout, stderr } = await promisify(execFile)("npm", ["run", "-s", "demo", "--", "--once", "--drivers"], {
    cwd: root,
  });
  expect(stdout).not.toContain("✗");
  const ways = [...stdout.matchAll(/^ {2}✓ query with .+? \d+ ms {2}through (.+)$/gm)].map(([, way]) => way);
  expect(ways).toEqual([
    "snowflake-sdk 3.3.0",
    "snowflake-sdk 3.3.0",
    "session.fetch",
    "session.fetch",
    "@google-cloud/bigquery 8.3.1",
    "@google-cloud/bigquery 8.3.1",
  ]);
  expect(stderr).not.toContain("Warning");
});
