import { TokenManager, createClient } from "warehouse-oauth";
import type {
  Clock,
  Fetch,
  OAuthClient,
  SessionEvent,
  TokenManagerOptions,
  TokenSession,
  TokenSet,
} from "warehouse-oauth";
import { fakeBigQuery, fakeDatabricks, fakeSnowflake, manualClock } from "warehouse-oauth/testing";
import type { FakeOptions, FakeRequest, FakeWarehouse, ManualClock } from "warehouse-oauth/testing";
import { gateStore } from "./gate-store.ts";
import type { GateStore } from "./gate-store.ts";

const SECRET = "a secret with +/= in it";
const REDIRECT_URI = "https://app.example.com/callback";

/** A token endpoint's answer as the client saw it. */
export interface Issued {
  readonly access_token: string;
  readonly refresh_token?: string;
}

/** A warehouse, a client, a store, a manager and one session: what nearly every test of this room begins with. */
export interface Scene {
  readonly clock: ManualClock;
  readonly fake: FakeWarehouse<never>;
  readonly client: OAuthClient;
  readonly store: GateStore;
  readonly manager: TokenManager;
  readonly session: TokenSession;
  readonly login: TokenSet;
  readonly events: SessionEvent[];
  /** Every success of the token endpoint, in order; the login is the first. */
  readonly issued: Issued[];
  /** Answers the next token requests instead of the fake. `undefined` lets the fake answer. */
  readonly answers: ((request: Request) => Response | undefined | Promise<Response | undefined>)[];
  /** The refreshes that the server saw, whatever it answered. */
  refreshes(): readonly FakeRequest[];
  /** Kinds of events so far. */
  heard(): readonly SessionEvent["type"][];
  /** Another process: a manager of its own on the same store. */
  process(options?: Partial<TokenManagerOptions>): { readonly manager: TokenManager; readonly session: TokenSession };
}

export interface SceneOptions extends FakeOptions {
  readonly warehouse?: "snowflake" | "databricks" | "bigquery";
  readonly manager?: Partial<TokenManagerOptions>;
  readonly durable?: boolean;
  /** What client and manager take the time from. Default is the manual clock itself. */
  readonly watch?: (clock: ManualClock) => Clock;
}

const FAKES = { snowflake: fakeSnowflake, databricks: fakeDatabricks, bigquery: fakeBigQuery } as const;

/** Signs Ada in. Databricks by default: refresh tokens are single-use, access tokens live an hour. */
export async function openScene(options: SceneOptions = {}): Promise<Scene> {
  const { warehouse = "databricks", manager: managerOptions, durable = true, watch, ...fakeOptions } = options;
  const clock = manualClock();
  const watched = watch?.(clock) ?? clock;
  const rotation = warehouse === "databricks" ? { refreshRotation: "single-use" as const } : {};
  const fake = FAKES[warehouse]({ clock, ...rotation, ...fakeOptions }) as unknown as FakeWarehouse<never>;
  const { clientId } = fake.register({ clientSecret: SECRET, redirectUri: REDIRECT_URI });
  const issued: Issued[] = [];
  const answers: Scene["answers"] = [];
  const fetch: Fetch = async (input, init) => {
    const request = new Request(input, init);
    const isToken = request.url === fake.warehouse.tokenEndpoint;
    const own = isToken ? await answers.shift()?.(request.clone()) : undefined;
    const response = own ?? (await fake.fetch(request));
    if (isToken && response.status === 200) await record(response.clone(), issued);
    return response;
  };
  const client = createClient({
    warehouse: fake.warehouse,
    clientId,
    clientSecret: SECRET,
    redirectUri: REDIRECT_URI,
    clock: watched,
    fetch,
  }) as OAuthClient;
  const store = gateStore(watched, { durable });
  const shared = { store, clock: watched, random: () => 0.5 };
  const manager = new TokenManager({ ...shared, ...managerOptions });
  const events: SessionEvent[] = [];
  manager.on("*", (event) => events.push(event));
  const login = await fake.issueTokens({ client });
  const session = await manager.save(client, { subject: "ada" }, login);
  return {
    clock,
    fake,
    client,
    store,
    manager,
    session,
    login,
    events,
    issued,
    answers,
    refreshes: () => fake.requests.filter(({ grant }) => grant === "refresh_token"),
    heard: () => events.map(({ type }) => type),
    process(more) {
      const other = new TokenManager({ ...shared, ...more });
      return { manager: other, session: other.session(client, { subject: "ada" }) };
    },
  };
}

async function record(response: Response, issued: Issued[]): Promise<void> {
  try {
    issued.push((await response.json()) as Issued);
  } catch {
    // Not one whole JSON object: nothing was issued that anybody could read.
  }
}

/** What became of a promise so far. */
export interface Outcome<T> {
  readonly promise: Promise<void>;
  state: "pending" | "fulfilled" | "rejected";
  value: T | undefined;
  error: (Error & { readonly code?: string; readonly reason?: string; readonly retryAfterMs?: number }) | undefined;
}

/** Follows a promise without waiting for it. */
export function follow<T>(promise: Promise<T>): Outcome<T> {
  const outcome: Outcome<T> = {
    state: "pending",
    value: undefined,
    error: undefined,
    promise: promise.then(
      (value) => {
        outcome.state = "fulfilled";
        outcome.value = value;
      },
      (error: unknown) => {
        outcome.state = "rejected";
        outcome.error = error as Error;
      },
    ),
  };
  return outcome;
}

/** Lets time pass until a promise is settled, and gives what became of it. */
export async function run<T>(
  clock: ManualClock,
  promise: Promise<T>,
  stepMs = 100,
  limitMs = 120_000,
): Promise<Outcome<T>> {
  const outcome = follow(promise);
  await clock.advance(0);
  for (let passed = 0; outcome.state === "pending" && passed < limitMs; passed += stepMs) await clock.advance(stepMs);
  return outcome;
}

export const HOUR = 3_600_000;

/** Another session of the same client. */
export async function signInGrace({ fake, client, manager }: Scene): Promise<TokenSession> {
  const tokens = await fake.issueTokens({ client, subject: "grace" });
  return manager.save(client, { subject: "grace" }, tokens);
}

/** What `fetch` says where nobody listens: nothing was sent. */
export function refuseConnection(): never {
  const cause = Object.assign(new Error("nobody listens"), { code: "ECONNREFUSED" });
  throw Object.assign(new TypeError("fetch failed"), { cause });
}

/** A promise that is settled from outside. */
export function gate(): { readonly until: Promise<void>; readonly open: () => void } {
  let open = (): void => undefined;
  const until = new Promise<void>((resolve) => (open = resolve));
  return {
    until,
    open: () => {
      open();
    },
  };
}

/** Counts the timers that keep a program from ending. */
export interface HoldingTimers {
  readonly watch: (clock: ManualClock) => Clock;
  readonly pending: () => number;
}

export function holdingTimers(): HoldingTimers {
  const pending = new Set<object>();
  const watch = (clock: ManualClock): Clock => ({
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    setTimer(callback, delayMs, options) {
      const timer = {};
      if (options?.keepAlive === true) pending.add(timer);
      const cancel = clock.setTimer(
        () => {
          pending.delete(timer);
          callback();
        },
        delayMs,
        options,
      );
      return () => {
        pending.delete(timer);
        cancel();
      };
    },
  });
  return { watch, pending: () => pending.size };
}

/** Another process refreshes and saves, without our server or the lease knowing of it. */
export async function saveElsewhere({ store, clock }: Scene): Promise<void> {
  const { generation = 0, tokens } = store.stored() ?? {};
  const times = { obtainedAt: clock.now(), expiresAt: clock.now() + HOUR };
  const theirs = { ...tokens, ...times, accessToken: "theirs", refreshToken: "theirs-too" };
  await store.put({ generation: generation + 1, intent: undefined, tokens: theirs });
}

/** What the server issued, by number; the login is 0. Fails where there is none, lest nothing equal nothing. */
export function issuedAt({ issued }: Scene, index: number): Issued {
  const found = issued[index];
  if (found === undefined) throw new Error(`only ${String(issued.length)} answers had tokens`);
  return found;
}
