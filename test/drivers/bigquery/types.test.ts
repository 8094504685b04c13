import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";

const here = fileURLToPath(new URL(".", import.meta.url));
const root = fileURLToPath(new URL("../../../", import.meta.url));

/** What tsc says of a project; nothing if it is content. */
async function compile(project: string): Promise<string> {
  const args = [`${root}node_modules/typescript/bin/tsc`, "-p", `${here}tsconfig.${project}.json`];
  const run = promisify(execFile)(process.execPath, args, { cwd: root });
  const { stdout } = await run.catch((error: unknown) => error as { readonly stdout: string });
  return stdout;
}

describe("tsc --strict, no cast", () => {
  test.each(["version-7", "version-8", "version-9", "storage"])("%s", async (project) => {
    expect(await compile(project)).toBe("");
  });

  test("the same code in every version, and the code of the documentation", () => {
    const read = (path: string): string => readFileSync(path, "utf8").replaceAll(/bigquery-\d/g, "bigquery-N");
    const [seven, eight, nine] = [7, 8, 9].map((major) =>
      read(`${here}types/version-${String(major)}.ts`).replaceAll(/version \d/g, ""),
    );
    expect([eight, nine]).toEqual([seven, seven]);
    expect(read(`${root}docs/warehouses/bigquery-driver.md`)).toContain(
      'withBigQueryRetry(session, new BigQuery({ projectId: "acme", authClient: bigQueryAuthClient(session) }))',
    );
  });
});
