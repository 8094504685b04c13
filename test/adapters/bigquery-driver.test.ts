import { inspect } from "node:util";
import { bigQueryAuthClient, withBigQueryRetry, type BigQueryAuth } from "warehouse-oauth/bigquery/driver";
import { describe, expect, test } from "vitest";
import { HOUR, issuedAt, openScene, run } from "../session/scene.ts";
import type { Scene } from "../session/scene.ts";

// Drivers by their shape: how each makes headers of an auth client, and how it calls back. The real ones are in test/drivers.

const merge = {
  7: (given: object) => ({ ...given }) as Readonly<Record<string, string>>,
  8: (given: object) => Object.fromEntries(new Headers(given as Headers)),
  gRPC: (given: object) => {
    const plain: Record<string, string> = {};
    (given as Headers).forEach((value, name) => (plain[name] = value));
    return plain;
  },
};

class ApiError extends Error {
  readonly code: unknown;
  constructor(code: unknown) {
    super("refused");
    this.code = code;
  }
}

type Callback = (error: unknown, body?: unknown, response?: unknown) => void;

/** Like `Service` of `@google-cloud/common`: one method, that calls back. */
class Driver {
  /** Authorization of what was sent, in order. */
  readonly sent: (string | undefined)[] = [];
  readonly #auth: BigQueryAuth;
  readonly #fetch: typeof globalThis.fetch;

  constructor(auth: BigQueryAuth, fetch: typeof globalThis.fetch) {
    this.#auth = auth;
    this.#fetch = fetch;
  }

  request(options: { readonly query: string; readonly [name: string]: unknown }, callback: Callback): void {
    void this.#send(options.query).then(
      ({ error, body }) => {
        callback(error, body, "response");
      },
      (error: unknown) => {
        callback(error);
      },
    );
  }

  async #send(query: string): Promise<{ readonly error: unknown; readonly body: unknown }> {
    const headers = merge[7](await this.#auth.getRequestHeaders());
    this.sent.push(headers["Authorization"]);
    const url = "https://bigquery.googleapis.com/bigquery/v2/projects/fake-project/queries";
    const response = await this.#fetch(url, { method: "POST", headers, body: JSON.stringify({ query }) });
    return { error: response.ok ? null : new ApiError(response.status), body: await response.json() };
  }
}

/** What the callback got. */
function ask(driver: Pick<Driver, "request">, query = "select 1"): Promise<readonly unknown[]> {
  return new Promise((resolve) => {
    driver.request({ query }, (...outcome) => {
      resolve(outcome);
    });
  });
}

async function open(): Promise<Scene & { readonly plain: Driver; readonly driver: Driver }> {
  const scene = await openScene({ warehouse: "bigquery" });
  const make = (): Driver => new Driver(bigQueryAuthClient(scene.session), scene.fake.fetch);
  return { ...scene, plain: make(), driver: withBigQueryRetry(scene.session, make()) };
}

/** A driver that answers what it is told to, and what it was asked. */
function scripted(...codes: readonly unknown[]): {
  readonly driver: AnyDriver;
  readonly calls: (readonly unknown[])[];
} {
  const left = [...codes];
  const calls: (readonly unknown[])[] = [];
  const request = (...parameters: readonly unknown[]): unknown => {
    calls.push(parameters);
    const callback = parameters.at(-1);
    const code = left.shift();
    if (typeof callback === "function") (callback as Callback)(code === undefined ? null : new ApiError(code), "rows");
    return "returned";
  };
  return { driver: { request }, calls };
}

interface AnyDriver {
  request: (...parameters: readonly unknown[]) => unknown;
}

function call(driver: { request(...parameters: never[]): unknown }, options: object = {}): Promise<readonly unknown[]> {
  return new Promise((resolve) => {
    Reflect.apply((driver as AnyDriver).request, driver, [
      options,
      (...outcome: readonly unknown[]) => {
        resolve(outcome);
      },
    ]);
  });
}

describe("bigQueryAuthClient", () => {
  test.each(["7", "8", "gRPC"] as const)(
    "as version %s reads it: the session's token, asked for each time",
    async (version) => {
      const scene = await openScene({ warehouse: "bigquery" });
      const auth = bigQueryAuthClient(scene.session);
      const read = async (): Promise<string | undefined> => {
        const headers = merge[version](await auth.getRequestHeaders());
        expect(Object.keys(headers)).toHaveLength(1);
        return headers["Authorization"] ?? headers["authorization"];
      };
      expect(await read()).toBe(`Bearer ${issuedAt(scene, 0).access_token}`);
      await scene.session.refresh();
      expect(await read()).toBe(`Bearer ${issuedAt(scene, 1).access_token}`);
      expect(await auth.getAccessToken()).toEqual({ token: issuedAt(scene, 1).access_token });
    },
  );

  test("eight requests at expiry: one refresh", async () => {
    const scene = await openScene({ warehouse: "bigquery" });
    const { clock, session } = scene;
    const auth = bigQueryAuthClient(session);
    await clock.advance(2 * HOUR);
    const all = await run(clock, Promise.all(Array.from({ length: 8 }, () => auth.getAccessToken())));
    expect(new Set(all.value?.map(({ token }) => token))).toEqual(new Set([issuedAt(scene, 1).access_token]));
    expect(scene.refreshes()).toHaveLength(1);
  });

  test("what the session throws passes through, in words at which no driver sends without a token", async () => {
    const { fake, clock, driver } = await open();
    fake.revokeGrants();
    await clock.advance(2 * HOUR);
    const outcome = await run(clock, ask(driver));
    expect(outcome.value).toHaveLength(1);
    expect(outcome.value?.[0]).toMatchObject({
      code: "reauthorization_required",
      name: "ReauthorizationRequiredError",
    });
    // At this sentence @google-cloud/common tries without credentials (util.js, checked 2026-11-22).
    expect(String(outcome.value?.[0])).not.toContain("Could not load the default credentials");
    expect(driver.sent).toEqual([]);
  });

  test("S-080 shows no token when printed", async () => {
    const scene = await openScene({ warehouse: "bigquery" });
    const auth = bigQueryAuthClient(scene.session);
    await auth.getRequestHeaders();
    expect(inspect(auth, { depth: 9, showHidden: true }) + JSON.stringify(auth)).not.toContain(
      issuedAt(scene, 0).access_token,
    );
  });

  test.each([undefined, null, "token", {}, { getAccessToken: "token" }])("takes no %j for a session", (wrong) => {
    expect(() => bigQueryAuthClient(wrong as never)).toThrow(expect.objectContaining({ code: "invalid_argument" }));
    expect(() => withBigQueryRetry(wrong as never, scripted().driver)).toThrow(
      expect.objectContaining({ code: "invalid_argument" }),
    );
  });
});

describe("withBigQueryRetry", () => {
  test("a refused token is replaced and the call repeated; without it the refusal arrives", async () => {
    const scene = await open();
    const { fake, driver, plain } = scene;
    expect(await ask(driver)).toEqual([null, expect.objectContaining({ jobComplete: true }), "response"]);
    fake.expireAccessTokens();
    expect((await ask(plain))[0]).toMatchObject({ code: 401 });
    expect(scene.refreshes()).toHaveLength(0);
    expect(await ask(driver)).toEqual([null, expect.objectContaining({ jobComplete: true }), "response"]);
    const [first, second] = [issuedAt(scene, 0), issuedAt(scene, 1)];
    expect(driver.sent).toEqual([first, first, second].map((issued) => `Bearer ${issued.access_token}`));
    expect(scene.refreshes()).toHaveLength(1);
  });

  test("R-04 eight calls refused at once: one refresh, each repeated once", async () => {
    const scene = await open();
    const { fake, driver } = scene;
    fake.expireAccessTokens();
    const all = await Promise.all(Array.from({ length: 8 }, () => ask(driver)));
    expect(all.map(([error]) => error)).toEqual(Array.from({ length: 8 }, () => null));
    expect(driver.sent).toHaveLength(16);
    expect(scene.refreshes()).toHaveLength(1);
  });

  test("a token that was replaced in the meantime costs no second refresh", async () => {
    const scene = await open();
    const { session } = scene;
    let used = "";
    const driver = withBigQueryRetry(session, {
      request(_options: object, callback: Callback) {
        const token = session.peek() ?? "";
        const refuse = used === "";
        used = token;
        // The session moves on while the refusal is under way.
        void (refuse ? session.refresh() : Promise.resolve()).then(() => {
          callback(refuse ? new ApiError(401) : null);
        });
      },
    });
    expect(await call(driver)).toEqual([null]);
    expect(used).toBe(issuedAt(scene, 1).access_token);
    expect(scene.refreshes()).toHaveLength(1);
  });

  test("a second refusal is the driver's own error", async () => {
    const scene = await open();
    const { session } = scene;
    const { driver, calls } = scripted(401, 401, 401);
    const [error] = await call(withBigQueryRetry(session, driver));
    expect(error).toBeInstanceOf(ApiError);
    expect(calls).toHaveLength(2);
    expect(scene.refreshes()).toHaveLength(1);
  });

  test.each([undefined, 400, 403, 404, 429, 500, 503, "401", "reauthorization_required"])(
    "code %j is no refused token",
    async (code) => {
      const scene = await open();
      const { session } = scene;
      const { driver, calls } = scripted(code);
      const [error, rows] = await call(withBigQueryRetry(session, driver));
      expect(rows).toBe("rows");
      expect((error as ApiError | null)?.code).toBe(code);
      expect(calls).toHaveLength(1);
      expect(scene.refreshes()).toHaveLength(0);
    },
  );

  test("if no new token comes the caller learns why", async () => {
    const { fake, clock, driver } = await open();
    fake.expireAccessTokens();
    fake.revokeGrants();
    const { value } = await run(clock, ask(driver));
    expect(value).toEqual([expect.objectContaining({ code: "reauthorization_required" })]);
    expect(driver.sent).toHaveLength(1);
  });

  test("a source that knows no other token gets the refusal as it is", async () => {
    const { driver, calls } = scripted(401, undefined);
    const source = { getAccessToken: () => Promise.resolve("constant"), peek: () => "constant" };
    expect(await call(withBigQueryRetry(source, driver))).toEqual([expect.any(ApiError), "rows"]);
    expect(calls).toHaveLength(1);
  });

  test.each([
    ["a stream as body", { body: { pipe: () => undefined } }],
    ["a web stream as body", { body: new ReadableStream() }],
    ["a stream in a part", { multipart: [{ body: "{}" }, { body: { pipe: () => undefined } }] }],
    ["an answer as stream", { shouldReturnStream: true }],
  ])("never repeats what can be read once: %s", async (_name, options) => {
    const scene = await open();
    const { session } = scene;
    const { driver, calls } = scripted(401, undefined);
    const [error] = await call(withBigQueryRetry(session, driver), options);
    expect(error).toBeInstanceOf(ApiError);
    expect(calls).toHaveLength(1);
    expect(calls[0]?.[0]).toBe(options);
    expect(scene.refreshes()).toHaveLength(0);
  });

  test.each([
    ["text", { body: "text", multipart: [{ body: "text" }, null] }],
    ["JSON", { json: { rows: [] }, body: null }],
  ])("repeats what can be sent again: %s", async (_name, options) => {
    const { session } = await open();
    const { driver, calls } = scripted(401, undefined);
    expect(await call(withBigQueryRetry(session, driver), options)).toEqual([null, "rows"]);
    expect(calls.map(([given]) => given)).toEqual([options, options]);
  });

  test("without a callback nothing changes", async () => {
    const { session } = await open();
    const { driver, calls } = scripted();
    const wrapped = withBigQueryRetry(session, driver);
    expect(wrapped.request({ uri: "/jobs" })).toBe("returned");
    expect(calls).toEqual([[{ uri: "/jobs" }]]);
  });

  test("twice is once; two sessions are a mistake", async () => {
    const scene = await open();
    const { session } = scene;
    const { driver, calls } = scripted(401, 401, undefined);
    const wrapped = withBigQueryRetry(session, withBigQueryRetry(session, driver));
    expect(wrapped).toBe(driver);
    expect(Object.keys(wrapped)).toEqual(["request"]);
    expect((await call(wrapped))[0]).toBeInstanceOf(ApiError);
    expect(calls).toHaveLength(2);
    expect(() => withBigQueryRetry(scene.process().session, driver)).toThrow(
      expect.objectContaining({ code: "config_invalid", message: '"client" repeats with another session already' }),
    );
  });

  test.each([undefined, null, "bq", {}, { request: "select 1" }])("takes no %j for a client", async (wrong) => {
    const { session } = await open();
    expect(() => withBigQueryRetry(session, wrong as never)).toThrow(
      expect.objectContaining({ code: "invalid_argument" }),
    );
  });
});
