// What a page carries that makes the address, takes the callback, exchanges the code and refreshes: each contender's
// program bundled for browsers and minified. Gzip counts what is loaded at the start; what is imported later stands apart.
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const source = fileURLToPath(new URL("../../src/", import.meta.url));
const PROTOCOL = "createAuthorizationRequest, createClient, exchangeCode, refreshTokens, validateCallback";

/** Ours stands for each adapter on its own; the others are what the speed of `npm run bench` is measured with. */
export const BUNDLES = {
  ...Object.fromEntries(
    ["snowflake", "databricks", "bigquery"].map((adapter) => [
      `warehouse-oauth, ${adapter}`,
      `export { ${PROTOCOL} } from "${source}index.ts"; export { ${adapter} } from "${source}adapters/${adapter}/index.ts";`,
    ]),
  ),
  oauth4webapi: 'export { connect } from "./contenders/oauth4webapi.mjs";',
  "openid-client": 'export { connect } from "./contenders/openid-client.mjs";',
  arctic: 'export { connect } from "./contenders/arctic.mjs";',
  "@badgateway/oauth2-client": 'export { connect } from "./contenders/badgateway.mjs";',
  "oidc-client-ts": 'export { OidcClient } from "oidc-client-ts";',
  "raw fetch, no checks": 'export { connect } from "./contenders/raw-fetch.mjs";',
};

/** Bundles a program; `transform` may change a TypeScript source before it is compiled. */
export async function measureBundle(contents, { transform, external = [] } = {}) {
  const { outputFiles, metafile } = await build({
    stdin: { contents, resolveDir: here, loader: "js" },
    bundle: true,
    splitting: true,
    minify: true,
    write: false,
    metafile: true,
    format: "esm",
    target: "es2022",
    platform: "browser",
    outdir: `${here}dist`,
    external,
    logLevel: "error",
    plugins: transform === undefined ? [] : [transform],
  });
  const file = (path) => outputFiles.find((output) => output.path.endsWith(path.slice(path.lastIndexOf("/"))));
  const entry = Object.keys(metafile.outputs).find((path) => metafile.outputs[path].entryPoint === "<stdin>");
  const start = new Set([entry]);
  for (const path of start) {
    for (const { kind, path: next, external: outside } of metafile.outputs[path].imports) {
      if (kind === "import-statement" && outside !== true) start.add(next);
    }
  }
  const gzip = (paths) => paths.reduce((sum, path) => sum + gzipSync(file(path).contents, { level: 9 }).length, 0);
  const later = Object.keys(metafile.outputs).filter((path) => !start.has(path));
  return {
    minified: [...start].reduce((sum, path) => sum + file(path).contents.length, 0),
    gzip: gzip([...start]),
    laterGzip: gzip(later),
  };
}
