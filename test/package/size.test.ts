import { brotliCompressSync } from "node:zlib";
import { build } from "esbuild";
import { describe, expect, test } from "vitest";
import { root } from "./repository.ts";

/** What a page or a worker pays: minified, with the dependencies, brotli. */
interface Budget {
  readonly what: string;
  readonly code: string;
  /** The most it may be. Raised on purpose only. */
  readonly bytes: number;
  /** Packages that are loaded when they are needed, and so are not counted. */
  readonly later?: string[];
}

const everything = 'export * from "warehouse-oauth"';
const BUDGETS: readonly Budget[] = [
  { what: "everything of the main door", code: everything, bytes: 56_000 },
  {
    what: "everything of the main door, without what is loaded later",
    code: everything,
    bytes: 39_100,
    later: ["jose"],
  },
  { what: "createPkce alone", code: 'export { createPkce } from "warehouse-oauth"', bytes: 2_500 },
  { what: "the Snowflake adapter", code: 'export { snowflake } from "warehouse-oauth/snowflake"', bytes: 5_200 },
  { what: "the Databricks adapter", code: 'export { databricks } from "warehouse-oauth/databricks"', bytes: 4_500 },
  { what: "the BigQuery adapter", code: 'export { bigquery } from "warehouse-oauth/bigquery"', bytes: 4_200 },
];

describe("size", () => {
  test.each(BUDGETS)("$what", async ({ what, code, bytes, later = [] }) => {
    const { outputFiles } = await build({
      stdin: { contents: code, resolveDir: `${root}test`, loader: "ts" },
      tsconfig: `${root}tsconfig.json`,
      bundle: true,
      external: later,
      minify: true,
      write: false,
      format: "esm",
      platform: "browser",
      target: "es2022",
      logLevel: "silent",
    });
    const size = brotliCompressSync(outputFiles[0]?.contents ?? new Uint8Array()).length;
    console.log(`${what}: ${String(size)} bytes of ${String(bytes)}`);
    expect(size).toBeGreaterThan(0);
    expect(size).toBeLessThanOrEqual(bytes);
  });
});
