// Two processes of the example on one PostgreSQL: one signs people in, the other does the jobs.
import type { OAuthClient } from "warehouse-oauth";
import { fakeDatabricks } from "warehouse-oauth/testing";
import { expect, test } from "vitest";
import { joinFleet } from "../../examples/refresh-jobs-pg-boss.ts";
import { until } from "../jobs/fleet.ts";
import { noPostgres, startPostgres } from "../services/postgres.ts";

test.skipIf(noPostgres !== undefined)(
  `a web server and a worker: tokens are fresh although nobody asks ${noPostgres ?? ""}`,
  async () => {
    const service = await startPostgres();
    const fake = fakeDatabricks({ accessTokenLifetimeMs: 3_000, refreshRotation: "single-use" });
    const client = fake.client as OAuthClient;
    const lines: string[] = [];
    const log = (line: string): void => void lines.push(line);
    const common = { client, databaseUrl: service.url, refresh: { leadTimeMs: 2_500 }, log };
    try {
      const web = await joinFleet({ ...common, worker: false });
      const worker = await joinFleet({ ...common, worker: true });
      for (const subject of ["ada", "bob"]) await web.signedIn({ subject }, await fake.issueTokens({ subject }));
      const refreshes = (): number =>
        fake.requests.filter(({ grant, status }) => grant === "refresh_token" && status === 200).length;
      await until(() => refreshes() >= 4);
      const seen = worker.manager.session(client, { subject: "ada" });
      expect(await seen.status()).toMatchObject({ state: expect.stringMatching(/^(?:active|refreshing)$/) as string });
      await web.close();
      await worker.close();
      expect(fake.requests.filter(({ status }) => status !== 200 && status !== 302)).toEqual([]);
      expect(lines).toEqual([]);
    } finally {
      await service.stop();
    }
  },
  60_000,
);
