// A program of its own, for tests of the keychain store with the keychain of the system: bundled and run by keychain.test.ts.
// It says what became of each case of the contract, as lines of JSON.
import { keychainStore } from "warehouse-oauth/stores/keychain";
import { fileStore } from "warehouse-oauth/stores/file";
import { storeContract } from "warehouse-oauth/testing";

const [, , mode = "", directory = "", cases = ""] = process.argv;
const service = `warehouse-oauth-test-${crypto.randomUUID()}`;
const say = (line: unknown): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

if (mode === "absent") {
  const store = keychainStore({ service });
  for (const work of [
    () => store.read("key", {}),
    () => store.write("key", { value: "v" }, { ifVersion: undefined }),
  ]) {
    await work().then(say, (error: unknown) => {
      say((error as { code: string }).code);
    });
  }
} else {
  const index = mode === "index" ? { index: fileStore({ directory }) } : {};
  const lacks = mode === "index" ? [] : (["lease", "due", "keys"] as const);
  for (const { name, run } of storeContract({
    open: () => keychainStore({ service, ...index }),
    shared: true,
    lacks,
  })) {
    if (!new RegExp(cases).test(name)) continue;
    await run().then(
      () => {
        say([name, "passed"]);
      },
      (error: unknown) => {
        say([name, String(error)]);
      },
    );
  }
}
