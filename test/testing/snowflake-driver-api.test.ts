import { describe, expect, test } from "vitest";
import { fakeSnowflake, manualClock, type FakeWarehouse } from "warehouse-oauth/testing";

// The wire protocol of Snowflake's drivers, without a driver. That snowflake-sdk itself takes it is shown in test/drivers.

const HOUR = 3_600_000;

interface Answer {
  readonly success: boolean;
  readonly code: string | null;
  readonly message: string | null;
  readonly data: Readonly<Record<string, unknown>> | null;
}

async function post(fake: FakeWarehouse<never>, path: string, body: unknown, token = ""): Promise<Answer> {
  const request = new Request(fake.origin + path, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Snowflake Token="${token}"` },
    body: JSON.stringify(body),
  });
  const response = await fake.handle(request);
  expect(response.status).toBe(200);
  return (await response.json()) as Answer;
}

function logIn(fake: FakeWarehouse<never>, data: object, query = ""): Promise<Answer> {
  return post(fake, `/session/v1/login-request${query}`, { data: { AUTHENTICATOR: "OAUTH", ...data } });
}

const query = (fake: FakeWarehouse<never>, token: string): Promise<Answer> =>
  post(fake, "/queries/v1/query-request?requestId=1", { sqlText: "select 1" }, token);

async function open() {
  const clock = manualClock();
  const fake = fakeSnowflake({
    clock,
    rows: [
      { N: 1, T: "a", B: true },
      { N: null, T: null, B: null },
    ],
  });
  const { accessToken } = await fake.issueTokens({ subject: "ada" });
  const { data } = await logIn(fake, { TOKEN: accessToken });
  return { clock, fake, accessToken, session: String(data?.["token"]), master: String(data?.["masterToken"]) };
}

describe("a login", () => {
  test("gives a session with tokens of its own, and how long they last", async () => {
    const { fake, accessToken } = await open();
    const { success, data } = await logIn(fake, { TOKEN: accessToken });
    expect(success).toBe(true);
    expect(data).toMatchObject({
      validityInSeconds: 3_600,
      masterValidityInSeconds: 14_400,
      sessionId: 2,
      displayUserName: "ADA",
      parameters: [],
    });
    expect(data?.["token"]).not.toBe(data?.["masterToken"]);
  });

  test("says 390318 to a token that ended, and 390303 to one that is none, in a body with status 200", async () => {
    const { clock, fake, accessToken } = await open();
    await clock.advance(HOUR);
    const expired = await logIn(fake, { TOKEN: accessToken });
    expect(expired).toMatchObject({ success: false, code: "390318", data: { nextAction: "RETRY_LOGIN" } });
    expect(expired.message).toMatch(/^OAuth access token expired\. \[[\da-f-]{36}\]$/);
    const invalid = await logIn(fake, { TOKEN: "other" });
    expect(invalid.message).toMatch(/^Invalid OAuth access token\. \[[\da-f-]{36}\]$/);
    expect(invalid.code).toBe("390303");
  });

  test.each([
    ["another user", { LOGIN_NAME: "grace" }, "", "390309"],
    ["another role", {}, "?roleName=OTHER", "390317"],
    ["another way to sign in", { AUTHENTICATOR: "SNOWFLAKE" }, "", "390100"],
    ["no token", { TOKEN: undefined }, "", "390100"],
  ])("refuses %s", async (_what, changes, search, code) => {
    const { fake, accessToken } = await open();
    expect(await logIn(fake, { TOKEN: accessToken, ...changes }, search)).toMatchObject({ success: false, code });
  });

  test("takes the user's name in any case, and the token's role", async () => {
    const { fake } = await open();
    const client = fake.register({ login: { role: "ANALYST" } });
    const { accessToken } = await fake.issueTokens({ client });
    const data = { TOKEN: accessToken, LOGIN_NAME: "Ada" };
    expect(await logIn(fake, data, "?roleName=ANALYST")).toMatchObject({ success: true });
  });

  test("without a body is refused", async () => {
    const { fake } = await open();
    expect(await post(fake, "/session/v1/login-request", "text")).toMatchObject({ code: "390100" });
  });
});

describe("a session", () => {
  test("answers rows as text with their types, and says how many there are", async () => {
    const { fake, session } = await open();
    expect((await query(fake, session)).data).toMatchObject({
      rowtype: [
        { name: "N", type: "real" },
        { name: "T", type: "text" },
        { name: "B", type: "boolean" },
      ],
      rowset: [
        ["1", "a", "true"],
        [null, null, null],
      ],
      total: 2,
      returned: 2,
      queryResultFormat: "json",
    });
  });

  test("outlives the OAuth token that opened it", async () => {
    const { clock, fake, session } = await open();
    await clock.advance(HOUR / 2);
    expect(await query(fake, session)).toMatchObject({ success: true });
  });

  test("says 390112 after an hour, and has other tokens for the master token", async () => {
    const { clock, fake, session, master } = await open();
    await clock.advance(HOUR);
    expect(await query(fake, session)).toMatchObject({ success: false, code: "390112" });
    const { data } = await post(fake, "/session/token-request", { requestType: "RENEW" }, master);
    expect(data).toMatchObject({ validityInSecondsST: 3_600, validityInSecondsMT: 14_400 });
    expect(await query(fake, String(data?.["sessionToken"]))).toMatchObject({ success: true });
    // One that was sent before: it is told to renew, not that all is over.
    expect(await query(fake, session)).toMatchObject({ code: "390112" });
    expect(await post(fake, "/session/token-request", {}, master)).toMatchObject({ code: "390113" });
  });

  test("says 390114 four hours after its last use", async () => {
    const { clock, fake, session, master } = await open();
    await clock.advance(HOUR / 2);
    expect(await post(fake, "/session/heartbeat", {}, session)).toMatchObject({ success: true });
    await clock.advance(4 * HOUR - 1);
    const { data } = await post(fake, "/session/token-request", {}, master);
    await clock.advance(4 * HOUR);
    const last = String(data?.["masterToken"]);
    expect(await post(fake, "/session/token-request", {}, last)).toMatchObject({ code: "390114" });
  });

  test("says 390111 once it is closed, and 390104 if it never was", async () => {
    const { fake, session, master } = await open();
    expect(await post(fake, "/session?delete=true", {}, session)).toMatchObject({ success: true });
    expect(await query(fake, session)).toMatchObject({ code: "390111" });
    expect(await post(fake, "/session/token-request", {}, master)).toMatchObject({ code: "390113" });
    expect(await query(fake, "other")).toMatchObject({ code: "390104" });
    const bearer = new Request(`${fake.origin}/session/heartbeat`, {
      method: "POST",
      headers: { authorization: session },
    });
    expect(await (await fake.handle(bearer)).json()).toMatchObject({ code: "390104" });
  });

  test("takes telemetry, and faults of the data API strike it", async () => {
    const { fake, session } = await open();
    expect(await post(fake, "/telemetry/send", { logs: [] }, session)).toMatchObject({ success: true });
    fake.fail({ at: "api", kind: "status", status: 503 });
    const request = new Request(`${fake.origin}/queries/v1/query-request`, { method: "POST", body: "{}" });
    expect((await fake.handle(request)).status).toBe(503);
    expect(fake.requests.at(-1)).toMatchObject({ at: "api", status: 503 });
  });
});
