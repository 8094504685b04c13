import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, test } from "vitest";
import { compareReports, formatReport, parseReport, readApi, snapshotPath } from "./api-report.ts";
import { builtPackage } from "./built-package.ts";
import { doors, root } from "./repository.ts";

const folder = join(root, "test/package/api");

// `npm run api:update` sets it: the snapshots are rewritten and the change is looked at in the diff.
const isUpdate = process.env["UPDATE_API"] === "1";

/** Types that say the same of every queue; a program has one queue, and so imports one of the doors. */
const SHARED_BY_JOBS: ReadonlySet<string> = new Set([
  "RefreshJobData",
  "RefreshJobProblem",
  "RefreshJobs",
  "RefreshJobsOptions",
]);

describe("the public API is that of test/package/api; after a change on purpose, run `npm run api:update`", () => {
  test("each door", () => {
    const built = builtPackage();
    const reports = readApi(doors.map(({ types }) => join(built, types)));
    const differences = doors.flatMap(({ subpath, types }) => {
      const report = reports.get(join(built, types)) ?? new Map<string, string>();
      const file = snapshotPath(folder, subpath);
      const was = existsSync(file) ? readFileSync(file, "utf8") : "";
      const found = compareReports(parseReport(was), report).map((text) => `${subpath}: ${text}`);
      if (isUpdate && found.length > 0) {
        mkdirSync(folder, { recursive: true });
        writeFileSync(file, formatReport(report));
        console.log(found.join("\n"));
      }
      return isUpdate ? [] : found;
    });
    expect(differences).toEqual([]);
  });

  test("no snapshot is left of a door that is gone", () => {
    const wanted = doors.map(({ subpath }) => basename(snapshotPath(folder, subpath)));
    const strange = (existsSync(folder) ? readdirSync(folder) : []).filter((name) => !wanted.includes(name));
    expect(strange).toEqual([]);
  });

  test("one name, one door: what a door exports no other door exports, but for the jobs of all queues", () => {
    const built = builtPackage();
    const reports = readApi(doors.map(({ types }) => join(built, types)));
    const seen = new Map<string, string>();
    const twice = doors.flatMap(({ subpath, types }) =>
      [...(reports.get(join(built, types))?.keys() ?? [])].flatMap((name) => {
        const other = seen.get(name);
        seen.set(name, subpath);
        return other === undefined || SHARED_BY_JOBS.has(name) ? [] : [`${name}: ${other} and ${subpath}`];
      }),
    );
    expect(twice).toEqual([]);
  });

  test("a report survives writing and reading, and a comparison names what it finds", () => {
    const was = new Map([
      ["gone", "function gone(): void;"],
      ["kept", "interface Kept {\n    a: string;\n}"],
      ["turned", "function turned(): string;"],
    ]);
    expect(parseReport(formatReport(was))).toEqual(was);
    const is = new Map([
      ["kept", "interface Kept {\n    a: string;\n}"],
      ["new", "const x: 1;"],
      ["turned", "function turned(): number;"],
    ]);
    const found = compareReports(was, is);
    expect(found.map((text) => text.replace(/ \(.*/, ""))).toEqual(["removed gone", "added new", "changed turned"]);
  });
});
