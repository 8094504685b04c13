import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileStore } from "warehouse-oauth/stores/file";
import { fakeDatabricks, manualClock, type ManualClock } from "warehouse-oauth/testing";
import { afterEach, beforeEach, expect, test } from "vitest";
import { explain, runCommand, type Tool } from "../../examples/terminal-tool.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "warehouse-oauth-tool-"));
});
afterEach(() => rm(folder, { recursive: true }));

/** The file system knows nothing of this clock: time passes until the work is done, no faster than the real one. */
async function run<T>(clock: ManualClock, work: Promise<T>): Promise<T> {
  const state = { over: false };
  const done = (): void => void (state.over = true);
  work.then(done, done);
  while (!state.over) {
    await clock.advance(2);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  return work;
}

test("a person signs in once; four terminals at the end of the token make one refresh; logout ends it for all", async () => {
  const clock = manualClock();
  const fake = fakeDatabricks({ clock, refreshRotation: "single-use" });
  let logins = 0;
  const terminal = (): Tool => ({
    client: fake.client,
    store: fileStore({ directory: join(folder, "tokens") }),
    warehouseId: "w1",
    visit: async (url) => {
      logins += 1;
      return new URL(await fake.signIn(url, { user: "ada" }));
    },
    clock,
  });
  const refreshes = (): number => fake.requests.filter(({ grant }) => grant === "refresh_token").length;

  expect(await run(clock, runCommand(terminal(), "status"))).toBe("absent");
  expect(await run(clock, runCommand(terminal(), "query"))).toContain("SUCCEEDED");
  expect(await run(clock, runCommand(terminal(), "status"))).toBe("active");
  expect([logins, refreshes()]).toEqual([1, 0]);

  await clock.advance(3_600_000);
  const terminals = Promise.all(Array.from({ length: 4 }, () => runCommand(terminal(), "query")));
  for (const output of await run(clock, terminals)) expect(output).toContain("SUCCEEDED");
  expect([logins, refreshes()]).toEqual([1, 1]);

  expect(await run(clock, runCommand(terminal(), "logout"))).toBe("signed out");
  expect(await run(clock, runCommand(terminal(), "status"))).toBe("revoked");
  expect(await run(clock, runCommand(terminal(), "query"))).toContain("SUCCEEDED");
  expect(logins).toBe(2);
  expect(await run(clock, runCommand(terminal(), "help"))).toContain("expected");
});

test("a folder that others can read is not used, and the person is told", async () => {
  const fake = fakeDatabricks();
  const store = fileStore({ directory: folder });
  await chmod(folder, 0o755);
  const visit = (): Promise<URL> => Promise.reject(new Error("nobody is asked to sign in"));
  const work = runCommand({ client: fake.client, store, warehouseId: "w1", visit }, "query");
  const error: unknown = await work.catch((reason: unknown) => reason);
  expect(explain(error)).toMatch(/^the token files cannot be used: .*0700/);
  expect(() => explain(new Error("a bug"))).toThrow("a bug");
});
