import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** What the programs are called that we know how to drive. */
const NAMES = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

/** Without a sandbox of its own: it runs as root in containers. */
export const CHROMIUM_FLAGS: readonly string[] = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"];

/**
 * Finds the browser to test with: `CHROMIUM_PATH`, else the first one on `PATH`.
 *
 * @throws `Error` when `REQUIRE_BROWSER` is set and there is none.
 */
export function findChromium(): string | undefined {
  const { CHROMIUM_PATH, PATH = "", REQUIRE_BROWSER } = process.env;
  const onPath = PATH.split(delimiter).flatMap((folder) => NAMES.map((name) => join(folder, name)));
  const candidates = CHROMIUM_PATH === undefined ? onPath : [CHROMIUM_PATH, ...onPath];
  const found = candidates.find(isExecutable);
  if (found === undefined && REQUIRE_BROWSER !== undefined && REQUIRE_BROWSER !== "") {
    throw new Error("REQUIRE_BROWSER is set but there is no Chromium: install it or set CHROMIUM_PATH");
  }
  return found;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
