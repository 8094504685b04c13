import { PGlite } from "@electric-sql/pglite";
import { expect, test } from "vitest";
import { postgresStore } from "warehouse-oauth/stores/postgres";
import { fakeDatabricks, manualClock } from "warehouse-oauth/testing";
import { openSessions } from "../../examples/postgres-store.ts";

const DAY = 86_400_000;

test("a session outlives its process, is refreshed once by those who share it, and is tidied up", async () => {
  const clock = manualClock();
  const fake = fakeDatabricks({ clock, refreshRotation: "single-use" });
  const db = new PGlite();
  await postgresStore({ client: db }).migrate();
  const key = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64");
  const open = (): ReturnType<typeof openSessions> => openSessions({ db, key, client: fake.client, clock });

  const first = open();
  const login = await fake.issueTokens({ client: fake.client });
  await first.manager.save(fake.client, { subject: "ada" }, login);
  await first.close();

  const { rows } = await db.query<{ value: string }>("SELECT value FROM warehouse_oauth_sessions");
  expect(rows).toHaveLength(1);
  expect(rows[0]?.value).not.toContain(login.accessToken);

  const processes = [open(), open(), open()];
  await clock.advance(3_700_000);
  const tokens =
    (await untilDone(
      clock,
      Promise.all(processes.map(({ manager }) => manager.session(fake.client, { subject: "ada" }).getAccessToken())),
    )) ?? [];
  expect(tokens).toHaveLength(3);
  expect(new Set(tokens).size).toBe(1);
  expect(fake.requests.filter(({ grant }) => grant === "refresh_token")).toHaveLength(1);

  await untilDone(clock, processes.map(({ manager }) => manager.session(fake.client, { subject: "ada" }))[0]?.revoke());
  await db.query("UPDATE warehouse_oauth_sessions SET delete_after = $1", [Date.now() - DAY]);
  expect(await processes[1]?.tidyUp()).toBe(1);
  for (const sessions of processes) await sessions.close();
  await db.close();
});

/** Lets time pass until a promise is settled: processes that wait for each other look again after a while. */
async function untilDone<T>(clock: ReturnType<typeof manualClock>, promise?: Promise<T>): Promise<T | undefined> {
  const state = { isOver: false };
  const over = promise?.finally(() => (state.isOver = true));
  for (let step = 0; !state.isOver && step < 600; step += 1) await clock.advance(100);
  return over;
}
