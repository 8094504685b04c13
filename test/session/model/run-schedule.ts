import { ReauthorizationRequiredError } from "warehouse-oauth";
import { Callers, LONGEST_WAIT_MS } from "./callers.ts";
import { Instance } from "./instance.ts";
import type { Person, Seat, Surroundings } from "./instance.ts";
import { ReferenceModel } from "./reference-model.ts";
import { RotatingServer } from "./rotating-server.ts";
import type { Call, Schedule, Step } from "./schedule.ts";
import { SharedStore } from "./shared-store.ts";
import { World } from "./world.ts";
import type { Process } from "./world.ts";

/** What became of a run. */
export interface Report {
  /** What must not happen and did. */
  readonly violations: readonly string[];
  /** What the server saw, and what callers got. */
  readonly log: readonly string[];
  /** Final states of the sessions. */
  readonly states: readonly string[];
}

/** Rounds of five minutes after the last fault in which everything must have come right: past every backoff. */
const RECOVERY_ROUNDS = 4;
const RECOVERY_MS = 300_000;

/** After this much of it, a lease taken before the last fault has ended. */
const OLD_LEASE_MS = 120_000;

/** The last refreshes end in this time, and what they had taken is given back. */
const QUIET_MS = 50_000;

/** Longest that an ending takes: waiting for what was sent, a few operations of the store, giving back leases. */
const LONGEST_CLOSE_MS = 60_000;

const SUBJECTS = ["ada", "bea"];

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
  readonly #surroundings: Surroundings;
  readonly #atOnce: number;
  readonly #people: readonly Person[];
  readonly #callers: Callers;
  readonly #instances: Instance[] = [];
  #count = 0;

  constructor({ server: mode, processes, sessions, atOnce }: Schedule) {
    const world = new World();
    const server = new RotatingServer(world, mode);
    const store = new SharedStore({
      onWrite: (by, key, before, after) => {
        model.store(by, key, before, after);
      },
      onRelease: (lease, stored) => {
        model.release(lease, stored);
      },
    });
    const model = new ReferenceModel({
      isLeaseLive: (lease) => store.isLeaseLive(lease),
      isTokenLive: (token) => server.isTokenLive(token),
      isLoginToken: (token) => server.isLoginToken(token),
    });
    this.#surroundings = { world, server, store, model };
    this.#atOnce = atOnce;
    this.#people = SUBJECTS.slice(0, sessions).map((subject) => ({
      subject,
      logins: 0,
      replacing: 0,
      lastLogin: undefined,
    }));
    this.#callers = new Callers(this.#surroundings);
    for (let index = 0; index < processes; index++) this.#instances.push(this.#start(0));
  }

  violate(what: string): void {
    this.#surroundings.model.violate(what);
  }

  report(): Report {
    const { model, server, store } = this.#surroundings;
    const states = this.#at(0).seats.map(({ session }) => store.peek(session.key)?.state ?? "absent");
    return { violations: model.violations, log: server.log, states };
  }

  async begin(): Promise<void> {
    const instance = this.#at(0);
    for (const seat of instance.seats) this.#callers.login(instance, seat);
    await this.#surroundings.world.advance(10);
  }

  async take(step: Step): Promise<void> {
    const { world, server, store } = this.#surroundings;
    switch (step.do) {
      case "wait":
        return world.advance(step.ms);
      case "begin":
        return world.begin(step.microtasks);
      case "rush":
        for (const instance of this.#instances.filter(({ process }) => !process.paused))
          for (const seat of instance.seats) this.#callers.askPlainly(instance, seat);
        return;
      case "server":
        server.fail(step.fault, step.times ?? 1);
        return;
      case "end grant":
        server.endGrant(this.#people[step.of % this.#people.length]?.lastLogin ?? "");
        return;
      case "jump":
        for (const { process } of step.by === "all" ? this.#instances : [this.#at(step.by)]) process.jump(step.ms);
        this.#callers.loseTime();
        return;
      case "store":
        store.fail(this.#at(step.by).process, step.operation, step.fault, step.times ?? 1);
        return;
      case "secret":
        this.#at(step.by).delaySecret(step.ms);
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
      case "status":
      case "job":
      case "login":
      case "logout":
      case "forget":
      case "close":
      case "visit":
        // Nobody can call into a process that stands still.
        if (!this.#at(step.by).process.paused) this.#call(step);
    }
  }

  #call(step: Extract<Step, { readonly do: "close" | "visit" }> | Call): void {
    const instance = this.#at(step.by);
    if ("of" in step) this.#callers.call(instance, seatOf(instance, step.of), step);
    else if (step.do === "visit") instance.receiveGuests();
    else this.#close(step.by);
  }

  /** All faults stop; after a while nobody may be left waiting, and each session must be well or say why not. */
  async end(): Promise<void> {
    const { world, server, store, model } = this.#surroundings;
    server.heal();
    store.heal();
    const healedAt = world.elapsed;
    for (const { process } of this.#instances) process.paused = false;
    await world.advance(2 * LONGEST_WAIT_MS);
    for (const name of this.#callers.waiting) this.violate(`${name} was never answered`);
    for (let round = 1; round <= RECOVERY_ROUNDS; round++) {
      await world.advance(RECOVERY_MS);
      await this.#askAtEnd(round === RECOVERY_ROUNDS);
    }
    for (const { manager } of this.#instances) manager.stop();
    await world.advance(QUIET_MS);
    for (const person of this.#people) this.#checkStore(person);
    model.checkLogouts();
    this.#checkQuiet(healedAt + OLD_LEASE_MS);
  }

  // ---------------------------------------------------------------- processes

  #at(number: number): Instance {
    const instance = this.#instances[number % this.#instances.length];
    if (instance === undefined) throw new TypeError("unreachable: there is at least one process");
    return instance;
  }

  #start(skewMs: number): Instance {
    return new Instance(this.#surroundings, this.#people, { number: ++this.#count, skewMs, atOnce: this.#atOnce });
  }

  /** The process is gone in the middle of whatever it did; another one takes its place. */
  #crash(number: number): void {
    const { process } = this.#at(number);
    this.#exit(process);
    this.#instances[number % this.#instances.length] = this.#start(process.skewMs);
  }

  #exit(process: Process): void {
    process.crashed = true;
    this.#surroundings.model.crash(process);
    this.#callers.leave(process);
  }

  /** The process ends in good order while another one takes its place. */
  #close(number: number): void {
    const { world, store, model } = this.#surroundings;
    const { process, manager, seats } = this.#at(number);
    this.#instances[number % this.#instances.length] = this.#start(process.skewMs);
    const since = world.elapsed;
    const { pauses } = process;
    process.ending = true;
    void manager.close().then(({ unsaved }) => {
      for (const { session } of seats) {
        const { key } = session;
        const told = unsaved.includes(key);
        model.close(process, key, told, { stored: store.peek(key), known: store.lastWrittenBy(process, key) });
      }
      if (process.pauses === pauses && world.elapsed - since > LONGEST_CLOSE_MS)
        this.violate(`${process.name} took until ${String(world.elapsed)} ms to end`);
      this.#exit(process);
    });
  }

  // ---------------------------------------------------------------- the end

  async #askAtEnd(last: boolean): Promise<void> {
    const asked = this.#instances.flatMap((instance) =>
      instance.seats.map((seat): { readonly instance: Instance; readonly seat: Seat; answer?: unknown } => ({
        instance,
        seat,
      })),
    );
    for (const question of asked) {
      question.seat.session.getAccessToken().then(
        (token) => (question.answer = token),
        (error: unknown) => (question.answer = error),
      );
    }
    await this.#surroundings.world.advance(LONGEST_WAIT_MS);
    for (const { instance, seat, answer } of asked) {
      if (answer === undefined) this.violate(`${instance.process.name} got no answer in the end`);
      if (last) await this.#checkRecovery(instance, seat, answer);
    }
  }

  async #checkRecovery({ process }: Instance, { session }: Seat, answer: unknown): Promise<void> {
    const stored = this.#surroundings.store.peek(session.key);
    if (answer instanceof ReauthorizationRequiredError) {
      if (stored?.state === "active") this.violate(`${process.name} says ${answer.reason}, the store says active`);
    } else if (typeof answer !== "string") {
      this.violate(`${process.name} did not recover: ${String(answer)}`);
    }
    const status = await this.#statusOf(session);
    if (status === "degraded" && stored?.state === "active") this.violate(`${process.name} stays degraded`);
  }

  async #statusOf(session: Seat["session"]): Promise<string> {
    let state = "unknown";
    session.status().then(
      (status) => (state = status.state),
      () => undefined,
    );
    await this.#surroundings.world.advance(1_000);
    return state;
  }

  /** The store holds the live refresh token, or says that there is none, and then there is none. */
  #checkStore(person: Person): void {
    const { server, store, model } = this.#surroundings;
    const key = this.#keyOf(person);
    const record = store.peek(key);
    const token = record?.tokens?.refreshToken;
    if (record?.state === "active" && (token === undefined || !server.isTokenLive(token))) {
      this.violate(`the store holds ${String(token)}, which is dead`);
    }
    if (record?.state !== "revoked" || model.forgotten.has(key)) return;
    for (const { by, brought, saved, excuse } of model.sendings) {
      if (brought === undefined || saved === true || excuse !== undefined) continue;
      // A login that came between has its own tokens; nobody knows of those before any more.
      if (!server.isSameLogin(brought, person.lastLogin)) continue;
      if (server.isTokenLive(brought)) this.violate(`${by.name} let ${brought} live on after a logout`);
    }
  }

  /** When nothing is begun any more, nothing is left: no lease, no announcement, no timer that holds a program. */
  #checkQuiet(calmAt: number): void {
    const { world, store } = this.#surroundings;
    for (const owner of store.forgetfulSince(calmAt))
      if (!owner.crashed) this.violate(`${owner.name} did not give back a lease`);
    for (const person of this.#people) {
      const intent = store.peek(this.#keyOf(person))?.intent;
      if (intent !== undefined) this.violate(`an announcement of ${person.subject} is left`);
    }
    for (const { process } of this.#instances) if (world.isHeld(process)) this.violate(`a timer holds ${process.name}`);
  }

  #keyOf(person: Person): string {
    return this.#at(0).seats.find((seat) => seat.person === person)?.session.key ?? "";
  }
}

function seatOf({ seats }: Instance, number: number): Seat {
  const seat = seats[number % seats.length];
  if (seat === undefined) throw new TypeError("unreachable: there is at least one session");
  return seat;
}
