import { DBSQLClient } from "@databricks/sql";
import { afterEach, expect, test, vi } from "vitest";
import { runReport } from "./example.ts";
import { HOUR, openScene } from "./scene.ts";

afterEach(() => {
  vi.unstubAllEnvs();
});

test("a report of three statements over three hours: three tokens, no failure, and everything is closed", async () => {
  vi.stubEnv("DATABRICKS_TELEMETRY_DISABLED", "1");
  const { clock, workspace, pass, close } = await openScene();
  const { fake } = workspace;
  const rows: object[] = [];
  await runReport({
    client: fake.client,
    clock,
    host: workspace.host,
    path: workspace.path,
    driver: new DBSQLClient({ logger: { log: () => undefined } }),
    statements: ["select 1", "select 2", "select 3"],
    onRows: async (_statement, found) => {
      rows.push(...found);
      await pass(HOUR);
    },
  });
  expect(rows).toEqual([{ one: 1 }, { one: 1 }, { one: 1 }]);
  expect(workspace.calls.filter(({ status }) => status !== 200)).toEqual([]);
  expect(workspace.calls.at(-1)?.method).toBe("CloseSession");
  // The fourth is for closing: the third token has ended by then.
  expect(workspace.tokenRequests().map(({ grant }) => grant)).toEqual(Array(4).fill("client_credentials"));
  await close();
});
