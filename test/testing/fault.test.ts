import { describe, expect, it } from "vitest";
import { fakeBigQuery, fakeDatabricks, fakeSnowflake, manualClock, type Fault } from "warehouse-oauth/testing";
import { query, queryRequest } from "./data-api.ts";
import { bodyOf, Wire } from "./wire.ts";

describe("fault", () => {
  it("delay: the work is done at once, the answer comes by the fake's clock", async () => {
    const clock = manualClock();
    const wire = new Wire(fakeSnowflake({ clock }));
    const tokens = await wire.tokens();
    wire.fake.fail({ at: "token", kind: "delay", delayMs: 2_000_000 });
    let answered = false;
    const waiting = wire.refresh(tokens["refresh_token"]).then((response) => {
      answered = true;
      return response;
    });
    await clock.advance(1_999_999);
    expect(answered).toBe(false);
    expect(wire.fake.grants).toMatchObject([{ refreshes: 1 }]);
    await clock.advance(1);
    expect((await waiting).status).toBe(200);
  });

  it.each(["resolve", "reject"] as const)("hold: answers only when the promise is settled: %s", async (how) => {
    const wire = new Wire(fakeSnowflake());
    const tokens = await wire.tokens();
    let open = (): void => undefined;
    const until = new Promise<void>((resolve, reject) => {
      open = () => {
        if (how === "resolve") resolve();
        else reject(new Error("settled too"));
      };
    });
    wire.fake.fail({ at: "token", kind: "hold", until });
    let answered = false;
    const waiting = wire.refresh(tokens["refresh_token"]).then((response) => {
      answered = true;
      return response;
    });
    // The log knows the outcome while the answer is held.
    await expect.poll(() => wire.fake.requests.at(-1)).toMatchObject({ grant: "refresh_token", status: 200 });
    expect((await query(wire.fake, tokens["access_token"])).status).toBe(200);
    expect(answered).toBe(false);
    open();
    expect((await waiting).status).toBe(200);
  });

  it.each([
    ["before", 0, "ECONNRESET"],
    ["after", 1, "UND_ERR_SOCKET"],
  ] as const)("drop %s: the connection breaks with the work done %i times", async (when, refreshes, code) => {
    const wire = new Wire(fakeSnowflake());
    const tokens = await wire.tokens();
    wire.fake.fail({ at: "token", kind: "drop", when, times: 2 });
    expect((await wire.refresh(tokens["refresh_token"])).type).toBe("error");
    const form = new URLSearchParams({ grant_type: "refresh_token" });
    const broken = wire.fake.fetch(wire.fake.warehouse.tokenEndpoint, { method: "POST", body: form });
    await expect(broken).rejects.toMatchObject({ name: "TypeError", message: "fetch failed", cause: { code } });
    expect(wire.fake.grants).toMatchObject([{ refreshes }]);
    expect(wire.fake.requests.slice(-2).map(({ status }) => status)).toEqual(["dropped", "dropped"]);
  });

  it("status: answers it without any work, with Retry-After", async () => {
    const wire = new Wire(fakeSnowflake());
    const tokens = await wire.tokens();
    wire.fake.fail({ at: "token", kind: "status", status: 503, retryAfter: "7" });
    const response = await wire.refresh(tokens["refresh_token"]);
    expect([response.status, response.headers.get("retry-after")]).toEqual([503, "7"]);
    wire.fake.fail({ at: "token", kind: "status", status: 204 });
    expect((await wire.refresh(tokens["refresh_token"])).status).toBe(204);
    expect(wire.fake.grants).toMatchObject([{ refreshes: 0 }]);
  });

  it("oauth_error: in the warehouse's own envelope, without any work", async () => {
    const fault = { at: "token", kind: "oauth_error", error: "server_error", description: "later" } as const;
    const snowflake = new Wire(fakeSnowflake());
    snowflake.fake.fail(fault);
    expect(await bodyOf(await snowflake.refresh("x"))).toEqual({
      data: null,
      message: "later",
      code: null,
      success: false,
      error: "server_error",
    });
    const databricks = new Wire(fakeDatabricks());
    databricks.fake.fail({ ...fault, status: 500 });
    const response = await databricks.refresh("x");
    expect([response.status, await bodyOf(response)]).toEqual([
      500,
      { error: "server_error", error_description: "later" },
    ]);
  });

  it("oauth_error at authorize: sends the person back with it", async () => {
    const wire = new Wire(fakeBigQuery());
    wire.fake.fail({ at: "authorize", kind: "oauth_error", error: "temporarily_unavailable", description: "later" });
    const callback = await wire.fake.signIn(wire.authorizationUrl());
    expect(Object.fromEntries(callback.searchParams)).toEqual({
      error: "temporarily_unavailable",
      error_description: "later",
      state: "a-state",
      iss: "https://accounts.google.com",
    });
  });

  it("html: a page with status 200, as from a captive portal", async () => {
    const wire = new Wire(fakeSnowflake());
    wire.fake.fail({ at: "token", kind: "html" });
    const response = await wire.refresh("x");
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/html; charset=utf-8"]);
    wire.fake.fail({ at: "authorize", kind: "html" });
    await expect(wire.fake.signIn(wire.authorizationUrl())).rejects.toThrow("refused the authorization request");
  });

  it("truncated_json: the work is done, half of the answer arrives", async () => {
    const wire = new Wire(fakeSnowflake());
    const tokens = await wire.tokens();
    wire.fake.fail({ at: "token", kind: "truncated_json" });
    const response = await wire.refresh(tokens["refresh_token"]);
    expect(response.headers.get("content-type")).toBe("application/json");
    const text = await response.text();
    expect(text).not.toBe("");
    expect(() => JSON.parse(text) as unknown).toThrow(SyntaxError);
    expect(wire.fake.grants).toMatchObject([{ refreshes: 1 }]);
  });

  it("omit_refresh_token: the server leaves it out and does not rotate", async () => {
    const wire = new Wire(fakeDatabricks());
    const tokens = await wire.tokens();
    wire.fake.fail({ at: "token", kind: "omit_refresh_token" });
    expect(await bodyOf(await wire.refresh(tokens["refresh_token"]))).not.toHaveProperty("refresh_token");
    expect(await bodyOf(await wire.refresh(tokens["refresh_token"]))).toHaveProperty("refresh_token");
    wire.fake.fail({ at: "token", kind: "omit_refresh_token" });
    expect(await wire.tokens()).not.toHaveProperty("refresh_token");
  });

  it("omit_expires_in: the server does not say how long", async () => {
    const wire = new Wire(fakeDatabricks());
    wire.fake.fail({ at: "token", kind: "omit_expires_in" });
    expect(await wire.tokens()).not.toHaveProperty("expires_in");
    expect(await wire.tokens()).toHaveProperty("expires_in");
  });

  it("rotate_twice: tells the second successor, and rotates even where the warehouse does not", async () => {
    for (const fake of [fakeSnowflake(), fakeDatabricks()]) {
      const wire = new Wire(fake);
      fake.fail({ at: "token", kind: "rotate_twice" });
      const tokens = await wire.tokens(); // a login has nothing to rotate: the fault waits
      const next = String((await bodyOf(await wire.refresh(tokens["refresh_token"])))["refresh_token"]);
      expect(next).not.toBe(tokens["refresh_token"]);
      expect((await wire.refresh(next)).status).toBe(200);
      expect((await wire.refresh(tokens["refresh_token"])).status).not.toBe(200);
      expect(fake.grants).toMatchObject([{ revoked: "reuse" }]);
    }
  });

  it("clock_skew: the server's clock is off for one request", async () => {
    const clock = manualClock(1_000_000_000_000);
    const wire = new Wire(fakeDatabricks({ clock }));
    const tokens = await wire.tokens();
    wire.fake.fail({ at: "token", kind: "clock_skew", skewMs: -3_000_000 });
    const response = await wire.refresh(tokens["refresh_token"]);
    expect(Date.parse(response.headers.get("date") ?? "")).toBe(clock.now() - 3_000_000);
    const skewed = (await bodyOf(response)) as { access_token: string; expires_in: number };
    expect(skewed.expires_in).toBe(3_600);
    await clock.advance(600_000); // an hour was promised, ten minutes it lives
    expect((await query(wire.fake, skewed.access_token)).status).toBe(403);
    expect((await query(wire.fake, tokens["access_token"])).status).toBe(200);
  });

  it("strikes in the order armed, so often as told, and only where told", async () => {
    const wire = new Wire(fakeSnowflake());
    const tokens = await wire.tokens();
    wire.fake.fail({ at: "api", kind: "status", status: 418 });
    wire.fake.fail({ at: "token", grant: "authorization_code", kind: "status", status: 500 });
    wire.fake.fail({ at: "token", grant: "refresh_token", kind: "status", status: 502, times: 2 });
    wire.fake.fail({ at: "token", kind: "status", status: 503 });
    const statuses: number[] = [];
    for (let time = 0; time < 4; time += 1) statuses.push((await wire.refresh(tokens["refresh_token"])).status);
    expect(statuses).toEqual([502, 502, 503, 200]);
    expect((await wire.exchange(await wire.code())).status).toBe(500);
    expect((await query(wire.fake, tokens["access_token"])).status).toBe(418);
  });

  it("goes on for ever with Infinity, until disarmed", async () => {
    const wire = new Wire(fakeSnowflake());
    const tokens = await wire.tokens();
    const disarm = wire.fake.fail({ at: "token", kind: "status", status: 503, times: Infinity });
    for (let time = 0; time < 20; time += 1) expect((await wire.refresh(tokens["refresh_token"])).status).toBe(503);
    disarm();
    disarm();
    expect((await wire.refresh(tokens["refresh_token"])).status).toBe(200);
  });

  it("strikes metadata and revocation too", async () => {
    const { fake } = new Wire(fakeBigQuery());
    fake.fail({ at: "metadata", kind: "html" });
    const metadata = await fake.handle(new Request("https://accounts.google.com/.well-known/openid-configuration"));
    expect(metadata.headers.get("content-type")).toContain("text/html");
    fake.fail({ at: "revoke", kind: "status", status: 503 });
    const revoked = await fake.handle(
      new Request(fake.warehouse.revocationEndpoint ?? "", { method: "POST", body: "" }),
    );
    expect(revoked.status).toBe(503);
  });

  it("lets go of a caller that gives up, with its own reason", async () => {
    const clock = manualClock();
    const wire = new Wire(fakeSnowflake({ clock }));
    const tokens = await wire.tokens();
    for (const fault of [
      { at: "api", kind: "delay", delayMs: 1_000 },
      { at: "api", kind: "hold", until: new Promise(() => undefined) },
    ] as const) {
      wire.fake.fail(fault);
      const caller = new AbortController();
      const request = queryRequest(wire.fake, tokens["access_token"]);
      const waiting = wire.fake.fetch(request, { signal: caller.signal });
      const reason = new Error("enough");
      caller.abort(reason);
      await expect(waiting).rejects.toBe(reason);
      await expect(wire.fake.fetch(request.url, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    }
  });

  it.each<[string, unknown]>([
    ["at", { at: "elsewhere", kind: "html" }],
    ["kind", { at: "token", kind: "earthquake" }],
    ["times", { at: "token", kind: "html", times: 0 }],
    ["times", { at: "token", kind: "html", times: 1.5 }],
    ["grant", { at: "api", grant: "refresh_token", kind: "html" }],
    ["grant", { at: "token", grant: "password", kind: "html" }],
    ["delayMs", { at: "token", kind: "delay", delayMs: -1 }],
    ["until", { at: "token", kind: "hold", until: 5 }],
    ["when", { at: "token", kind: "drop", when: "later" }],
    ["status", { at: "token", kind: "status", status: 99 }],
    ["status", { at: "token", kind: "oauth_error", error: "e", status: 600 }],
    ["error", { at: "token", kind: "oauth_error", error: "" }],
    ["skewMs", { at: "token", kind: "clock_skew", skewMs: Number.NaN }],
    ["at", { at: "api", kind: "omit_refresh_token" }],
  ])("refuses one that could never strike: %s of %j", (option, fault) => {
    expect(() => fakeSnowflake().fail(fault as Fault)).toThrow(`"${option}" of a fault`);
    expect(() => fakeSnowflake().fail("503" as never)).toThrow(TypeError);
  });
});
