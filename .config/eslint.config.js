import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig, globalIgnores } from "eslint/config";
import tseslint from "typescript-eslint";

const root = fileURLToPath(new URL("../", import.meta.url));

/** Rooms that may use Node; the table is in test/package/boundaries.test.ts. */
const nodeRooms = [
  "src/node/**",
  "src/cli/**",
  "src/stores/file.ts",
  "src/stores/keychain.ts",
  "src/telemetry/diagnostics-channel.ts",
  "src/testing/http.ts",
];
const notPortable = ["Buffer", "process", "global", "window", "document", "localStorage", "sessionStorage"];

/** Without the drivers' types everything about them would be unsafe: looked at once `npm run test:drivers` installed them. */
const notInstalled = readdirSync(`${root}test/drivers`, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !existsSync(`${root}test/drivers/${entry.name}/node_modules`))
  .map(({ name }) => `test/drivers/${name}/`);

export default defineConfig(
  globalIgnores([
    "dist/",
    "coverage/",
    "docs/",
    "reports/",
    ".stryker-tmp/",
    "test/drivers/*/node_modules/",
    ...notInstalled,
    "test/runtimes/",
    "test/types/usage/", // programs of strangers: compiled by test/package/usage.test.ts as they stand
    "**/*.{js,mjs}",
  ]),
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: root } },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/consistent-type-exports": "error",
      "@typescript-eslint/switch-exhaustiveness-check": "error",
      eqeqeq: "error",
      "no-restricted-syntax": [
        "error",
        { selector: "ExportDefaultDeclaration", message: "Name what is exported; no default exports." },
      ],
    },
  },
  {
    files: ["src/**/*.ts"],
    linterOptions: { noInlineConfig: true }, // nothing is relaxed in what ships
    rules: { "no-console": "error" },
  },
  { files: ["src/cli/**"], rules: { "no-console": "off" } },
  // The way a dangerous switch is exported: deprecated from birth, so that it stands out where it is used.
  { files: ["src/index.ts", "src/session/index.ts"], rules: { "@typescript-eslint/no-deprecated": "off" } },
  {
    files: ["src/**/*.ts"],
    ignores: nodeRooms,
    rules: {
      "no-restricted-globals": ["error", ...notPortable],
      "no-restricted-imports": ["error", { patterns: [{ regex: "^node:", message: "This room runs everywhere." }] }],
    },
  },
  // oauth4webapi marks its opt-in for http:// as deprecated, on purpose; fakes on loopback need it.
  { files: ["test/**"], rules: { "@typescript-eslint/no-deprecated": "off" } },
  // Takes its type from the place where it is written: no argument of it could say which.
  {
    files: ["src/adapters/bigquery/driver.ts"],
    rules: { "@typescript-eslint/no-unnecessary-type-parameters": "off" },
  },
  // Tools ask for a default export.
  { files: [".config/**", "test/package/build.setup.ts"], rules: { "no-restricted-syntax": "off" } },
);
