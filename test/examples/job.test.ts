import { fakeDatabricks, manualClock } from "warehouse-oauth/testing";
import { expect, test } from "vitest";
import { runJob } from "../../examples/job.ts";

const STATEMENTS = ["select 1", "select 2", "select 3", "select 4", "select 5"];

test("a job of many statements asks for one token", async () => {
  const fake = fakeDatabricks();
  const result = await runJob({ client: fake.client, warehouseId: "w1", statements: STATEMENTS });
  expect(result).toEqual({ done: 5, failed: new Map(), worthRepeating: false });
  expect(fake.requests.filter(({ at }) => at === "token")).toHaveLength(1);
});

test("a token that ends in the middle is replaced, and no statement fails", async () => {
  const clock = manualClock();
  const fake = fakeDatabricks({ clock });
  let answer: () => void = () => undefined;
  const slow = new Promise<void>((resolve) => (answer = resolve));
  fake.fail({ at: "api", kind: "hold", until: slow });
  const job = runJob({ client: fake.client, warehouseId: "w1", statements: STATEMENTS, atOnce: 1, clock });
  await clock.advance(4_000_000);
  answer();
  expect(await job).toMatchObject({ done: 5 });
  expect(fake.requests.filter(({ at }) => at === "token")).toHaveLength(2);
});

test("a secret that is refused is no reason to repeat the job, an outage is", async () => {
  const clock = manualClock();
  const fake = fakeDatabricks({ clock });
  const job = { client: fake.client, warehouseId: "w1", statements: ["select 1"], clock };
  const disarm = fake.fail({ at: "token", kind: "oauth_error", error: "invalid_client", times: Infinity });
  expect(await runJob(job)).toEqual({
    done: 0,
    failed: new Map([["select 1", "client_auth_failed"]]),
    worthRepeating: false,
  });
  disarm();

  fake.fail({ at: "token", kind: "status", status: 503, times: Infinity });
  let result: Awaited<ReturnType<typeof runJob>> | undefined;
  void runJob(job).then((value) => (result = value));
  for (let seconds = 0; seconds < 60 && result === undefined; seconds++) await clock.advance(1_000);
  expect(result).toEqual({ done: 0, failed: new Map([["select 1", "server_unavailable"]]), worthRepeating: true });
});
