import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { describe, expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
const page = readFileSync(join(root, "docs/events.md"), "utf8");

/** The entries of the page: what stands under each heading of the third level. */
const entries = page
  .split(/^#{1,2} .*$/m)
  .flatMap((section) => section.split(/^### /m).slice(1))
  .map((text) => {
    const end = text.indexOf("\n");
    return { heading: text.slice(0, end), body: text.slice(end) };
  });

/** Fields that all events have, or all of one session; the page names them once. */
const COMMON = new Set(["type", "at", "warehouse", "connectionId", "session", "tenant", "generation"]);

/** The events as the compiler sees them: the fields of each type. */
function readEvents(): Map<string, string[]> {
  const file = join(root, "src/session/events.ts");
  const { config } = ts.readConfigFile(join(root, "tsconfig.json"), (path) => ts.sys.readFile(path)) as {
    config: unknown;
  };
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
  const program = ts.createProgram([file], { ...options, noEmit: true });
  const checker = program.getTypeChecker();
  const source = program.getSourceFile(file);
  const declaration = source?.statements.find(
    (statement): statement is ts.TypeAliasDeclaration =>
      ts.isTypeAliasDeclaration(statement) && statement.name.text === "SessionEvent",
  );
  if (declaration === undefined) throw new Error("src/session/events.ts declares no SessionEvent");
  const union = checker.getTypeAtLocation(declaration);
  const members = union.isUnion() ? union.types : [union];
  const events = new Map<string, string[]>();
  for (const member of members) {
    const fields = member.getProperties().map(({ name }) => name);
    const type = checker.getTypeOfSymbolAtLocation(member.getProperty("type") ?? fail(), declaration);
    const names = type.isUnion() ? type.types : [type];
    for (const name of names) {
      if (!name.isStringLiteral()) fail();
      events.set(
        name.value,
        fields.filter((field) => !COMMON.has(field)),
      );
    }
  }
  return events;
}

function fail(): never {
  throw new Error('each member of SessionEvent has a "type" that is text');
}

const events = readEvents();

describe("docs/events.md", () => {
  test("has a heading for each type of event, and no other", () => {
    expect(events.size).toBeGreaterThan(0);
    const headings = entries.map(({ heading }) => heading);
    expect(headings.toSorted()).toEqual([...events.keys()].map((type) => `\`${type}\``).toSorted());
  });

  test.each(entries.map(({ heading, body }) => [heading, body] as const))(
    "%s says when, which fields, and what to do",
    (heading, body) => {
      expect(body).toMatch(/^\*\*When\.\*\* \S[\s\S]+^\*\*Fields\.\*\* \S[\s\S]+^\*\*What to do\.\*\* \S/m);
      const said = /^\*\*Fields\.\*\*([\s\S]+)^\*\*What to do\.\*\*/m.exec(body)?.[1] ?? "";
      for (const field of events.get(heading.replaceAll("`", "")) ?? []) expect(said).toContain(`\`${field}\``);
    },
  );
});
