// A Snowflake on a loopback port, with somebody signed in, a session of this library, and the driver's options to get there.
import {
  TokenManager,
  type Clock,
  type SessionEvent,
  type TokenManagerOptions,
  type TokenSession,
} from "warehouse-oauth";
import type { SnowflakeLogin } from "warehouse-oauth/snowflake";
import { fakeSnowflake, type FakeSnowflakeOptions, type FakeWarehouse } from "warehouse-oauth/testing";
import { listen, type ListeningFake } from "warehouse-oauth/testing/http";
import type { ConnectionOptions } from "./sdk.ts";

export const MINUTE = 60_000;
export const HOUR = 3_600_000;

const LOGIN_PATH = "/session/v1/login-request";

/** A login as it arrived. */
export interface Login {
  readonly token: string;
  /** The server's code; `undefined` for a login that went well. */
  readonly refused: string | undefined;
}

export interface Scene {
  readonly fake: ListeningFake<SnowflakeLogin>;
  readonly manager: TokenManager;
  readonly session: TokenSession;
  readonly events: SessionEvent[];
  /** What the driver needs beside a token. */
  readonly options: ConnectionOptions;
  readonly logins: Login[];
  /** Refreshes that the token endpoint saw, whatever it answered. */
  refreshes(): number;
  /** Lets time pass for server and session. Nothing waits, and no timer fires. */
  pass(durationMs: number): void;
  /** Refuses the next logins, whatever their token. */
  refuse(code: string, message: string, times?: number): void;
  /** Answers logins only once the promise is settled. */
  holdLogins(until: Promise<unknown>): void;
  /** Paths the driver asked for, in order. */
  readonly paths: () => string[];
  close(): Promise<void>;
}

export interface SceneOptions extends FakeSnowflakeOptions {
  readonly manager?: Partial<TokenManagerOptions>;
  /** Time passes by `pass` only, however slow the machine is; nothing may wait then. By default it goes on by itself, too. */
  readonly clockStands?: boolean;
}

export async function openScene(sceneOptions: SceneOptions = {}): Promise<Scene> {
  const { manager: managerOptions, clockStands = false, ...options } = sceneOptions;
  const opened = { now: Date.now(), monotonic: performance.now() };
  let passed = 0;
  const clock: Clock = {
    now: () => (clockStands ? opened.now : Date.now()) + passed,
    monotonic: () => (clockStands ? opened.monotonic : performance.now()) + passed,
    setTimer(callback, delayMs, how) {
      const timer = setTimeout(callback, delayMs);
      if (how?.keepAlive !== true) timer.unref();
      return () => {
        clearTimeout(timer);
      };
    },
  };
  const logins: Login[] = [];
  const refusals: { code: string; message: string }[] = [];
  let held: Promise<unknown> = Promise.resolve();
  const inner = fakeSnowflake({ clock, rows: [{ "1": 1 }], ...options });
  const handle = async (request: Request): Promise<Response> => {
    if (new URL(request.url).pathname !== LOGIN_PATH) return inner.handle(request);
    const { data } = (await request.clone().json()) as { data: { TOKEN: string } };
    const refusal = refusals.shift();
    const response =
      refusal === undefined ? await inner.handle(request) : Response.json({ data: null, success: false, ...refusal });
    const { code } = (await response.clone().json()) as { code: string | null };
    logins.push({ token: data.TOKEN, refused: code ?? undefined });
    await held;
    return response;
  };
  const watched: FakeWarehouse<SnowflakeLogin> = { ...inner, handle };
  const fake = await listen(watched);
  const client = fake.register();
  const manager = new TokenManager({ clock, ...managerOptions });
  const events: SessionEvent[] = [];
  manager.on("*", (event) => events.push(event));
  const session = await manager.save(client, { subject: "ada" }, await fake.issueTokens({ client }));
  return {
    fake,
    manager,
    session,
    events,
    logins,
    options: { account: "fakeorg-fakeaccount", accessUrl: fake.origin, sfRetryMaxLoginRetries: 0 },
    refreshes: () => fake.requests.filter(({ grant }) => grant === "refresh_token").length,
    pass: (durationMs) => void (passed += durationMs),
    refuse(code, message, times = 1) {
      for (let left = times; left > 0; left--) refusals.push({ code, message });
    },
    holdLogins: (until) => void (held = until),
    paths: () => fake.requests.filter(({ at }) => at === "api").map(({ parameters }) => parameters["path"] ?? ""),
    async close() {
      await manager.close();
      await fake.close();
    },
  };
}
