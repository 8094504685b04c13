import {
  OAuthError,
  ReauthorizationRequiredError,
  SessionClosedError,
  TokenManager,
  createClient,
  defineWarehouse,
} from "warehouse-oauth";
import type { OAuthClient, TokenSession } from "warehouse-oauth";
import { ReferenceModel } from "./reference-model.ts";
import { seededRandom } from "./repeatable-crypto.ts";
import { RotatingServer } from "./rotating-server.ts";
import type { Call, Schedule, Step } from "./schedule.ts";
import { SharedStore } from "./shared-store.ts";
import { Process, World } from "./world.ts";

/** What became of a run. */
export interface Report {
  /** What must not happen and did. */
  readonly violations: readonly string[];
  /** What the server saw, and what callers got. */
  readonly log: readonly string[];
  /** Final state of the session. */
  readonly state: string;
}

/** The hard margin of the warehouse below, and a second: with more left a token is good for every caller. */
const GOOD_MS = 31_000;

/** Longest a caller waits: 30 s for a refresh, and what reading the store takes first. */
const LONGEST_WAIT_MS = 40_000;

/** Rounds of five minutes after the last fault in which everything must have come right: past every backoff. */
const RECOVERY_ROUNDS = 4;
const RECOVERY_MS = 300_000;

/** One process of the application, with the library in it. */
interface Instance {
  readonly process: Process;
  readonly client: OAuthClient;
  readonly manager: TokenManager;
  readonly session: TokenSession;
  /** The last token that callers here got. */
  lastToken: string | undefined;
}

/** Runs a schedule, lets everything recover, and says what was wrong. */
export async function runSchedule(schedule: Schedule): Promise<Report> {
  const run = new Run(schedule);
  const onUnhandled = (reason: unknown): void => {
    run.violate(`unhandled rejection: ${String(reason)}`);
  };
  process.on("unhandledRejection", onUnhandled);
  try {
    await run.begin();
    for (const step of schedule.steps) await run.take(step);
    await run.end();
  } finally {
    process.off("unhandledRejection", onUnhandled);
  }
  return run.report();
}

class Run {
  readonly #world = new World();
  readonly #server: RotatingServer;
  readonly #store: SharedStore;
  readonly #model: ReferenceModel;
  readonly #instances: Instance[] = [];
  /** Calls of callers that were not answered yet, and whose. */
  readonly #open = new Map<symbol, { readonly process: Process; readonly what: string }>();
  #count = 0;
  /** Since when all clocks have agreed. */
  #calmSince = 0;
  /** Logins and logouts begun or ended so far: what was known before one of them counts no more. */
  #logins = 0;
  /** The refresh token that the last one got. */
  #lastLogin: string | undefined;

  constructor({ server, processes }: Schedule) {
    this.#server = new RotatingServer(this.#world, server);
    this.#store = new SharedStore({
      onWrite: (by, before, after) => {
        this.#model.store(by, before, after);
      },
      onRelease: (lease, stored) => {
        this.#model.release(lease, stored);
      },
    });
    this.#model = new ReferenceModel({
      isLeaseLive: (lease) => this.#store.isLeaseLive(lease),
      isTokenLive: (token) => this.#server.isTokenLive(token),
      isLoginToken: (token) => this.#server.isLoginToken(token),
    });
    for (let index = 0; index < processes; index++) this.#instances.push(this.#start(0));
  }

  violate(what: string): void {
    this.#model.violations.push(what);
  }

  report(): Report {
    const { violations } = this.#model;
    return { violations, log: this.#server.log, state: this.#store.peek(this.#key)?.state ?? "absent" };
  }

  async begin(): Promise<void> {
    this.#login(this.#at(0));
    await this.#world.advance(10);
  }

  async take(step: Step): Promise<void> {
    switch (step.do) {
      case "wait":
        return this.#world.advance(step.ms);
      case "rush":
        for (const instance of this.#instances) if (!instance.process.paused) this.#askPlainly(instance);
        return;
      case "server":
        this.#server.fail(step.fault);
        return;
      case "jump":
        for (const { process } of step.by === "all" ? this.#instances : [this.#at(step.by)]) process.skewMs += step.ms;
        this.#calmSince = Infinity;
        return;
      case "store":
        this.#store.fail(this.#at(step.by).process, step.operation, step.fault);
        return;
      case "pause":
      case "resume":
        this.#at(step.by).process.paused = step.do === "pause";
        return;
      case "crash":
        this.#crash(step.by);
        return;
      case "ask":
      case "refresh":
      case "login":
      case "logout":
      case "close":
        // Nobody can call into a process that stands still.
        if (!this.#at(step.by).process.paused) this.#call(step);
    }
  }

  #call(step: Call): void {
    const instance = this.#at(step.by);
    switch (step.do) {
      case "ask":
        this.#ask(instance, step.how);
        return;
      case "refresh":
        void this.#watch(instance, "refresh", instance.session.refresh());
        return;
      case "login":
        this.#login(instance);
        return;
      case "logout":
        this.#replaceTokens(instance, "logout", instance.session.revoke());
        return;
      case "close":
        this.#close(step.by);
    }
  }

  /** All faults stop; after a while nobody may be left waiting, and the session must be well or say why not. */
  async end(): Promise<void> {
    this.#server.heal();
    this.#store.heal();
    for (const { process } of this.#instances) process.paused = false;
    await this.#world.advance(2 * LONGEST_WAIT_MS);
    for (const { what } of this.#open.values()) this.violate(`${what} was never answered`);
    for (let round = 1; round <= RECOVERY_ROUNDS; round++) {
      await this.#world.advance(RECOVERY_MS);
      const last = round === RECOVERY_ROUNDS;
      for (const instance of this.#instances) await this.#askAtEnd(instance, last);
    }
    this.#checkStore();
    this.#checkLogout();
  }

  // ---------------------------------------------------------------- processes

  #at(number: number): Instance {
    const instance = this.#instances[number % this.#instances.length];
    if (instance === undefined) throw new TypeError("unreachable: there is at least one process");
    return instance;
  }

  #start(skewMs: number): Instance {
    const number = ++this.#count;
    const process = new Process(`process ${String(number)}`, this.#world, skewMs);
    const { clock } = process;
    const fetch = this.#server.openFor(process, this.#store, this.#model);
    const client = createClient({ warehouse: WAREHOUSE, clientId: "app", fetch, clock });
    const manager = new TokenManager({
      store: this.#store.openFor(process),
      clock,
      random: seededRandom(number),
      // The guard against too many refreshes has its own tests; here it would only hide what comes after.
      refresh: { maxPerHour: 1_000 },
    });
    manager.on("refresh_started", () => {
      this.#model.begin(process, this.#world.elapsed);
    });
    manager.start();
    const session = manager.session(client, { subject: "ada" });
    return { process, client, manager, session, lastToken: undefined };
  }

  /** The process is gone in the middle of whatever it did; another one takes its place. */
  #crash(number: number): void {
    const { process } = this.#at(number);
    process.crashed = true;
    this.#model.crash(process);
    for (const [call, open] of this.#open) if (open.process === process) this.#open.delete(call);
    this.#instances[number % this.#instances.length] = this.#start(process.skewMs);
  }

  /** The process ends in good order while another one takes its place. */
  #close(number: number): void {
    const { process, manager } = this.#at(number);
    this.#instances[number % this.#instances.length] = this.#start(process.skewMs);
    const exit = (): void => {
      process.crashed = true;
      this.#model.crash(process);
      for (const [call, open] of this.#open) if (open.process === process) this.#open.delete(call);
    };
    manager.close().then(exit, exit);
  }

  // ---------------------------------------------------------------- callers

  /** Remembers that somebody waits. */
  #watch<T>(instance: Instance, what: string, work: Promise<T>): Promise<T | undefined> {
    const call = Symbol(what);
    const { process } = instance;
    const name = `${what} by ${process.name} at ${String(this.#world.elapsed)} ms`;
    this.#open.set(call, { process, what: name });
    return work.then(
      (value) => {
        this.#open.delete(call);
        return value;
      },
      (error: unknown) => {
        this.#open.delete(call);
        if (!OAuthError.is(error)) this.violate(`${name}: ${String(error)} is no error of ours`);
        return undefined;
      },
    );
  }

  #login(instance: Instance): void {
    const { client, manager, process } = instance;
    const tokens = this.#server.login(process, client.connectionId);
    this.#lastLogin = tokens.refreshToken;
    this.#replaceTokens(instance, "login", manager.save(client, { subject: "ada" }, tokens));
  }

  /** Until it is done, callers here may still get what was there before; they have no right to keep that. */
  #replaceTokens(instance: Instance, what: "login" | "logout", work: Promise<unknown>): void {
    const forget = (): void => {
      this.#forgetTokens();
    };
    forget();
    this.#watch(instance, what, work).then(forget, forget);
  }

  #forgetTokens(): void {
    this.#logins += 1;
    for (const instance of this.#instances) instance.lastToken = undefined;
  }

  #ask(instance: Instance, how: "plain" | "much" | "rejected"): void {
    const { session, lastToken } = instance;
    if (how === "much") void this.#watch(instance, "ask", session.getAccessToken({ minRemainingMs: 240_000 }));
    else if (how === "rejected" && lastToken !== undefined)
      void this.#watch(instance, "ask", session.getAccessToken({ rejected: lastToken }));
    else this.#askPlainly(instance);
  }

  /** A caller without wishes: gets a good token, or an error if there is none. */
  #askPlainly(instance: Instance): void {
    const { session, process } = instance;
    const asked = session.getAccessToken();
    const known = instance.lastToken;
    const { pauses } = process;
    const logins = this.#logins;
    asked.then(
      (token) => {
        if (logins === this.#logins) instance.lastToken = token;
        const remainingMs = this.#server.remainingMs(token);
        const calm = this.#server.issuedAt(token) >= this.#calmSince && process.pauses === pauses;
        if (calm && remainingMs <= 0) this.violate(`${process.name} handed out ${token}, which had ended`);
      },
      (error: unknown) => {
        if (known === undefined || error instanceof SessionClosedError) return;
        const signedIn = this.#store.peek(this.#key)?.state !== "revoked";
        const calm = signedIn && this.#server.issuedAt(known) >= this.#calmSince;
        if (calm && logins === this.#logins && this.#server.remainingMs(known) > GOOD_MS) {
          this.violate(`${process.name} failed with ${String(error)} although ${known} was good`);
        }
      },
    );
    void this.#watch(instance, "ask", asked);
  }

  // ---------------------------------------------------------------- the end

  async #askAtEnd(instance: Instance, last: boolean): Promise<void> {
    const { session, process } = instance;
    let answer: unknown = "nothing";
    session.getAccessToken().then(
      (token) => (answer = token),
      (error: unknown) => (answer = error),
    );
    await this.#world.advance(LONGEST_WAIT_MS);
    const stored = this.#store.peek(session.key);
    if (answer === "nothing") this.violate(`${process.name} got no answer in the end`);
    if (!last) return;
    if (answer instanceof ReauthorizationRequiredError) {
      if (stored?.state === "active") this.violate(`${process.name} says ${answer.reason}, the store says active`);
    } else if (typeof answer !== "string") {
      this.violate(`${process.name} did not recover: ${String(answer)}`);
    }
    const status = await this.#statusOf(instance);
    if (status === "degraded" && stored?.state === "active") this.violate(`${process.name} stays degraded`);
  }

  async #statusOf({ session }: Instance): Promise<string> {
    let state = "unknown";
    session.status().then(
      (status) => (state = status.state),
      () => undefined,
    );
    await this.#world.advance(1_000);
    return state;
  }

  /** The store holds the live refresh token, or says that there is none. */
  #checkStore(): void {
    const record = this.#store.peek(this.#key);
    const token = record?.tokens?.refreshToken;
    if (record?.state === "active" && (token === undefined || !this.#server.isTokenLive(token))) {
      this.violate(`the store holds ${String(token)}, which is dead`);
    }
  }

  /** What a refresh brought after a logout is revoked by whoever got it. */
  #checkLogout(): void {
    if (this.#store.peek(this.#key)?.state !== "revoked") return;
    for (const { by, brought, saved, excuse } of this.#model.sendings) {
      if (brought === undefined || saved === true || excuse !== undefined) continue;
      // A login that came between has its own tokens; nobody knows of those before any more.
      if (!this.#server.isSameLogin(brought, this.#lastLogin)) continue;
      if (this.#server.isTokenLive(brought)) this.violate(`${by.name} let ${brought} live on after a logout`);
    }
  }

  get #key(): string {
    return this.#at(0).session.key;
  }
}

const WAREHOUSE = defineWarehouse({
  id: "acme",
  issuer: "https://login.acme.example",
  authorizationEndpoint: "https://login.acme.example/authorize",
  tokenEndpoint: "https://login.acme.example/token",
  revocationEndpoint: "https://login.acme.example/revoke",
  defaultScopes: ["sql"],
  refreshRotation: "single-use",
});
