// What weighs in our bundle: the same bundle once more with one thing left out.
import { readFile } from "node:fs/promises";
import ts from "typescript";
import { BUNDLES, measureBundle } from "./bundles.mjs";

/** Sources as they are, but for those that `filter` names. */
const changing = (filter, change) => ({
  name: "leave-out",
  setup({ onLoad }) {
    onLoad({ filter }, async ({ path }) => ({ contents: change(await readFile(path, "utf8")), loader: "ts" }));
  },
});

/** Empties text with a space in it: that is for people. */
function emptyMessages(text) {
  const source = ts.createSourceFile("source.ts", text, ts.ScriptTarget.ESNext, true);
  let emptied = text;
  const visit = (node) => {
    const isText =
      ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node) || ts.isTemplateExpression(node);
    if (!isText) return [...node.getChildren(source)].reverse().forEach(visit);
    if (node.getText(source).includes(" "))
      emptied = emptied.slice(0, node.getStart(source)) + '""' + emptied.slice(node.end);
  };
  visit(source);
  return emptied;
}

const STUB = "export async function checkIdToken() {}\nexport async function prepareIdTokenCheck() {}";

const PARTS = [
  ["oauth4webapi", { external: ["oauth4webapi"] }],
  ["check of ID tokens, without jose", { transform: changing(/core\/id-token\.ts$/, () => STUB) }],
  ["messages and other text for people", { transform: changing(/src\/(?:core|adapters|lib)\/.*\.ts$/, emptyMessages) }],
  [
    "sentences about scopes, of these",
    {
      transform: changing(/adapters\/.*\.ts$/, (text) => text.replaceAll(/description:\s*"[^"]*"/g, 'description: ""')),
    },
  ],
];

/** Gives what leaving each part out saves, in bytes of gzip, for one adapter. */
export async function measureParts(adapter) {
  const program = BUNDLES[`warehouse-oauth, ${adapter}`];
  const whole = await measureBundle(program);
  const rows = [];
  for (const [part, options] of PARTS) {
    const without = await measureBundle(program, options);
    rows.push([part, whole.gzip - without.gzip]);
  }
  return rows;
}
