import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TokenManager } from "warehouse-oauth";
import { fakeBigQuery, fakeDatabricks, manualClock, storeContract } from "warehouse-oauth/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { jsonFileStore } from "../../examples/json-file-store.ts";
import { runScript, visitByHand } from "../../examples/script.ts";
import { freePort } from "../services/service.ts";

let folder = "";
let file = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "warehouse-oauth-"));
  file = join(folder, "tokens.json");
});
afterEach(() => rm(folder, { recursive: true }));

test("a person signs in once; the next runs find the tokens, and renew them when they ended", async () => {
  const clock = manualClock();
  const fake = fakeBigQuery({ clock, projectId: "acme" });
  const redirectUri = `http://127.0.0.1:${String(await freePort())}/callback`;
  const client = fake.register({ redirectUri });
  let logins = 0;
  // A person with a browser: reads what was printed, signs in, and is sent back to the listener.
  const browse = async (line: string): Promise<void> => {
    logins += 1;
    const back = await fake.signIn(new URL(line), { user: "ada" });
    expect((await fetch(new URL("/favicon.ico", back))).status).toBe(404);
    expect(await (await fetch(back)).text()).toBe("You can close this page.");
  };
  const run = (): Promise<string> =>
    runScript({
      client,
      store: jsonFileStore(file),
      visit: visitByHand(redirectUri, (line) => void browse(line)),
      projectId: "acme",
      sql: "select session_user()",
      clock,
    });

  expect(await run()).toContain("ada");
  expect(logins).toBe(1);
  expect((await stat(file)).mode & 0o777).toBe(0o600);

  await clock.advance(3_600_000);
  expect(await run()).toContain("ada");
  expect(logins).toBe(1);
  expect(fake.requests.filter(({ grant }) => grant === "refresh_token")).toHaveLength(1);

  fake.revokeGrants("ada");
  await clock.advance(3_600_000);
  const again = run();
  const waiting = { over: false };
  void again.finally(() => (waiting.over = true));
  while (!waiting.over) {
    // The file and the port know nothing of this clock: it is no faster than theirs, or their deadlines would be short.
    await clock.advance(5);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  expect(await again).toContain("ada");
  expect(logins).toBe(2);
});

test("the file holds the tokens: it says of itself that it is no place for them", async () => {
  const fake = fakeBigQuery();
  const tokens = await fake.issueTokens();
  const manager = new TokenManager({ store: jsonFileStore(file) });
  await manager.save(fake.client, { subject: "ada" }, tokens);
  await manager.close();
  expect(await readFile(file, "utf8")).toContain(tokens.refreshToken);
});

test("a warehouse that replaces refresh tokens is refused", async () => {
  const fake = fakeDatabricks();
  const manager = new TokenManager({ store: jsonFileStore(file) });
  const saving = manager.save(fake.client, { subject: "ada" }, await fake.issueTokens());
  await expect(saving).rejects.toMatchObject({ code: "store_incapable" });
});

describe("the store of the script", () => {
  const lacks = ["lease", "due", "keys"] as const;
  for (const { name, run } of storeContract({ open: () => jsonFileStore(file), shared: true, lacks })) test(name, run);
});
