import { inspect } from "node:util";
import { databricksAuth, withDatabricksRetry } from "warehouse-oauth/databricks/driver";
import { describe, expect, test } from "vitest";
import { HOUR, openScene, run, type Scene } from "../session/scene.ts";

// The driver itself runs in test/drivers/databricks. Here it is played by its shape.

/** What the driver throws when it meets a bad status. */
class THTTPException extends Error {
  readonly statusCode: number;
  readonly response: { readonly status: number; readonly headers: Headers };

  constructor(statusCode: number, headers: Record<string, string> = {}) {
    super(`Received a response with a bad HTTP status code: ${String(statusCode)}`);
    this.statusCode = statusCode;
    this.response = { status: statusCode, headers: new Headers(headers) };
  }
}

const refusal = (): THTTPException => new THTTPException(401);

/** A statement whose token is asked for as the driver does it, and refused if it is one of `refused`. */
function statementOf({ session }: Scene, refused: ReadonlySet<string>, error: () => Error = refusal) {
  const sent: string[] = [];
  const { provider } = databricksAuth(session);
  const execute = async (): Promise<number> => {
    const { Authorization } = await provider.authenticate();
    const token = Authorization.replace("Bearer ", "");
    sent.push(token);
    if (refused.has(token)) throw error();
    return 1;
  };
  return { sent, execute };
}

describe("databricksAuth", () => {
  test("gives a plain object: of a Headers the driver's spread would leave nothing", async () => {
    const { session, login } = await openScene();
    const { authType, provider } = databricksAuth(session);
    const headers = await provider.authenticate();
    expect(authType).toBe("custom");
    expect({ ...headers }).toEqual({ Authorization: `Bearer ${login.accessToken}` });
    expect(Object.getPrototypeOf(headers)).toBe(Object.prototype);
  });

  test("a thousand requests of the driver look into no store and send nothing", async () => {
    const { session, store, fake } = await openScene();
    const { provider } = databricksAuth(session);
    await provider.authenticate();
    const steps = store.steps.length;
    const requests = fake.requests.length;
    for (let call = 0; call < 1_000; call++) await provider.authenticate();
    expect(store.steps).toHaveLength(steps);
    expect(fake.requests).toHaveLength(requests);
  });

  test("R-01 the next request after the end of a token has the next one", async () => {
    const scene = await openScene();
    const { provider } = databricksAuth(scene.session);
    const before = await provider.authenticate();
    await scene.clock.advance(2 * HOUR);
    const after = await run(scene.clock, provider.authenticate());
    expect(after.value).not.toEqual(before);
    expect(scene.refreshes()).toHaveLength(1);
  });

  test("what the session throws goes through as it is", async () => {
    const scene = await openScene();
    scene.fake.revokeGrants();
    await scene.clock.advance(2 * HOUR);
    const { error } = await run(scene.clock, databricksAuth(scene.session).provider.authenticate());
    expect(error).toMatchObject({ name: "ReauthorizationRequiredError", code: "reauthorization_required" });
  });

  test("S-081 printed it shows no token", async () => {
    const { session, login } = await openScene();
    const auth = databricksAuth(session);
    await auth.provider.authenticate();
    expect(inspect(auth, { depth: 9, showHidden: true })).not.toContain(login.accessToken);
    expect(JSON.stringify(auth)).not.toContain(login.accessToken);
  });

  test.each([undefined, null, "a token", {}])("refuses %j as a source of tokens", (session) => {
    const expected = expect.objectContaining({ name: "TypeError", code: "invalid_argument" }) as Error;
    expect(() => databricksAuth(session as never)).toThrow(expected);
  });
});

describe("withDatabricksRetry", () => {
  test("runs once what succeeds", async () => {
    const scene = await openScene();
    const { sent, execute } = statementOf(scene, new Set());
    expect(await withDatabricksRetry(scene.session, execute)).toBe(1);
    expect(sent).toHaveLength(1);
    expect(scene.refreshes()).toHaveLength(0);
  });

  test.each([
    ["401", refusal],
    ["403 in REST's words", () => new THTTPException(403, { "x-databricks-reason-phrase": "Invalid access token." })],
    ["403 in Thrift's words", () => new THTTPException(403, { "X-Thriftserver-Error-Message": "Token is expired" })],
    ["400", () => new THTTPException(400, { "x-databricks-reason-phrase": "io.jsonwebtoken.ExpiredJwtException: x" })],
  ])("R-04 a refused token (%s) is replaced, and the operation runs once more", async (_, error) => {
    const scene = await openScene();
    const { sent, execute } = statementOf(scene, new Set([scene.login.accessToken]), error);
    expect((await run(scene.clock, withDatabricksRetry(scene.session, execute))).value).toBe(1);
    expect(new Set(sent).size).toBe(2);
    expect(scene.refreshes()).toHaveLength(1);
  });

  test.each([
    ["a missing right", new THTTPException(403, { "x-databricks-reason-phrase": "PERMISSION_DENIED: no SELECT" })],
    ["a server that is down", new THTTPException(503)],
    ["an SQL error", new Error("[PARSE_SYNTAX_ERROR] near 'selct'")],
    ["status 401 said in words only", new Error("status code: 401")],
    ["an exception without an answer", Object.assign(new Error("x"), { statusCode: 403, response: undefined })],
    ["an answer without headers", Object.assign(new Error("x"), { statusCode: 403, response: {} })],
    ["headers that are no text", { statusCode: 403, response: { headers: { get: () => 1 } } }],
    ["nothing", undefined],
    ["no object", "401"],
  ])("%s is not repeated", async (_, error) => {
    const scene = await openScene();
    let runs = 0;
    const failing = async (): Promise<never> => {
      runs += 1;
      await Promise.resolve();
      throw error as Error;
    };
    const outcome = await run(scene.clock, withDatabricksRetry(scene.session, failing));
    expect(outcome.error).toBe(error);
    expect(outcome.state).toBe("rejected");
    expect(runs).toBe(1);
    expect(scene.refreshes()).toHaveLength(0);
  });

  test("a token that is refused anew reaches the caller after the second try", async () => {
    const scene = await openScene();
    let runs = 0;
    const failing = (): Promise<never> => {
      runs += 1;
      return Promise.reject(refusal());
    };
    const { error } = await run(scene.clock, withDatabricksRetry(scene.session, failing));
    expect(error).toBeInstanceOf(THTTPException);
    expect(runs).toBe(2);
    expect(scene.refreshes()).toHaveLength(1);
  });

  test("R-04 eight refusals of one token make one refresh, also of those that come late", async () => {
    const scene = await openScene();
    const { sent, execute } = statementOf(scene, new Set([scene.login.accessToken]));
    let release = (): void => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    let first = true;
    const late = async (): Promise<number> => {
      const isFirst = first;
      first = false;
      try {
        return await execute();
      } catch (error) {
        if (isFirst) await gate; // the refusal arrives when the others have their new token already
        throw error;
      }
    };
    const slow = withDatabricksRetry(scene.session, late);
    const others = Array.from({ length: 7 }, () => withDatabricksRetry(scene.session, execute));
    expect((await run(scene.clock, Promise.all(others))).value).toEqual(Array(7).fill(1));
    release();
    expect((await run(scene.clock, slow)).value).toBe(1);
    expect(scene.refreshes()).toHaveLength(1);
    expect(new Set(sent).size).toBe(2);
  });

  test("no other token: the driver's refusal is what the caller gets", async () => {
    const error = refusal();
    const source = { getAccessToken: () => Promise.resolve("the only one"), peek: () => "the only one" };
    let runs = 0;
    const failing = (): Promise<never> => {
      runs += 1;
      return Promise.reject(error);
    };
    await expect(withDatabricksRetry(source, failing)).rejects.toBe(error);
    expect(runs).toBe(1);
  });

  test("a grant that has ended: our error with its code, not the driver's", async () => {
    const scene = await openScene();
    const { execute } = statementOf(scene, new Set([scene.login.accessToken]));
    scene.fake.revokeGrants();
    const { error } = await run(scene.clock, withDatabricksRetry(scene.session, execute));
    expect(error).toMatchObject({ name: "ReauthorizationRequiredError", code: "reauthorization_required" });
  });

  test("an operation that throws at once is treated as one that rejects", async () => {
    const scene = await openScene();
    let runs = 0;
    const throwing = (): Promise<number> => {
      runs += 1;
      if (runs === 1) throw refusal();
      return Promise.resolve(runs);
    };
    expect((await run(scene.clock, withDatabricksRetry(scene.session, throwing))).value).toBe(2);
  });

  test("refuses what is no source and what is no function", async () => {
    const { session } = await openScene();
    const expected = { name: "TypeError", code: "invalid_argument" };
    await expect(withDatabricksRetry({} as never, () => Promise.resolve(1))).rejects.toMatchObject(expected);
    await expect(withDatabricksRetry(session, "select 1" as never)).rejects.toMatchObject(expected);
  });
});
