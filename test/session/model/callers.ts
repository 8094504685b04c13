import { OAuthError, SessionClosedError } from "warehouse-oauth";
import type { SignalOptions } from "warehouse-oauth";
import type { Instance, Seat, Surroundings } from "./instance.ts";
import type { Call } from "./schedule.ts";
import type { Process } from "./world.ts";

/** The hard margin of the warehouse, and a second: with more left a token is good for every caller. */
const GOOD_MS = 31_000;

/** Longest a caller waits: 30 s for a refresh, and what reading the store takes first. */
export const LONGEST_WAIT_MS = 40_000;

/** Who signs in or out waits for a few operations of the store, and for two requests that revoke. */
const LONGEST_LOGIN_MS = 60_000;

/** A call that was not answered yet. */
interface OpenCall {
  readonly process: Process;
  readonly name: string;
}

/** All who call into the library, and what each of them may expect. */
export class Callers {
  readonly #surroundings: Surroundings;
  readonly #open = new Set<OpenCall>();
  /** Since when all clocks have agreed. */
  #calmSince = 0;

  constructor(surroundings: Surroundings) {
    this.#surroundings = surroundings;
  }

  /** From here on nobody knows what time it is. */
  loseTime(): void {
    this.#calmSince = Infinity;
  }

  /** Whoever called into a process that is gone waits no more. */
  leave(process: Process): void {
    for (const call of this.#open) if (call.process === process) this.#open.delete(call);
  }

  get waiting(): readonly string[] {
    return [...this.#open].map(({ name }) => name);
  }

  call(instance: Instance, seat: Seat, step: Call): void {
    const { session } = seat;
    const options = this.#optionsOf(instance, step.leaveMs);
    switch (step.do) {
      case "ask":
        this.#ask(instance, seat, step.how, options);
        return;
      case "refresh":
        void this.#watch(instance, step.do, session.refresh(options), options);
        return;
      case "status":
        void this.#watch(instance, step.do, session.status(options), options);
        return;
      case "job":
        void this.#watch(instance, step.do, instance.manager.refresh(session.key, options), options);
        return;
      case "login":
        this.login(instance, seat, options);
        return;
      case "forget":
        void this.#replaceTokens(instance, seat, step.do, session.forget(options), options);
        return;
      case "logout":
        void this.#logOut(instance, seat, options);
    }
  }

  login(instance: Instance, { person, session }: Seat, options?: SignalOptions): void {
    const { client, manager, process } = instance;
    const tokens = this.#surroundings.server.login(process, client.connectionId, session.key);
    person.lastLogin = tokens.refreshToken;
    const work = manager.save(client, { subject: person.subject }, tokens, options);
    void this.#replaceTokens(instance, { person }, "login", work, options);
  }

  /** A caller without wishes: gets a good token, or an error if there is none. */
  askPlainly(instance: Instance, seat: Seat, options?: SignalOptions): void {
    const { server, store, model } = this.#surroundings;
    const { process } = instance;
    const { session, person } = seat;
    const asked = session.getAccessToken(options);
    const { logins } = person;
    const known = seat.last?.logins === logins ? seat.last.token : undefined;
    const { pauses } = process;
    asked.then(
      (token) => {
        if (logins === person.logins && person.replacing === 0) seat.last = { token, logins };
        const calm = server.issuedAt(token) >= this.#calmSince && process.pauses === pauses;
        if (calm && server.remainingMs(token) <= 0)
          model.violate(`${process.name} handed out ${token}, which had ended`);
      },
      (error: unknown) => {
        if (known === undefined || error instanceof SessionClosedError || options?.signal?.aborted === true) return;
        const signedIn = store.peek(session.key)?.state !== "revoked";
        const calm = signedIn && server.issuedAt(known) >= this.#calmSince;
        if (calm && logins === person.logins && server.remainingMs(known) > GOOD_MS)
          model.violate(`${process.name} failed with ${String(error)} although ${known} was good`);
      },
    );
    void this.#watch(instance, "ask", asked, options);
  }

  #ask(instance: Instance, seat: Seat, how: "plain" | "much" | "rejected", options: SignalOptions | undefined): void {
    const { session, last, person } = seat;
    const rejected = last?.logins === person.logins ? last.token : undefined;
    if (how === "much")
      void this.#watch(instance, "ask", session.getAccessToken({ minRemainingMs: 240_000, ...options }), options);
    else if (how === "rejected" && rejected !== undefined)
      void this.#watch(instance, "ask", session.getAccessToken({ rejected, ...options }), options);
    else this.askPlainly(instance, seat, options);
  }

  async #logOut(instance: Instance, seat: Seat, options: SignalOptions | undefined): Promise<void> {
    const done = await this.#replaceTokens(instance, seat, "logout", seat.session.revoke(options), options);
    if (done === undefined) this.#surroundings.model.failLogout(instance.process, seat.session.key);
  }

  /** Until it is done, callers may still get what was there before; they have no right to keep that. */
  async #replaceTokens<T>(
    instance: Instance,
    { person }: Pick<Seat, "person">,
    what: "login" | "logout" | "forget",
    work: Promise<T>,
    options: SignalOptions | undefined,
  ): Promise<T | undefined> {
    person.logins += 1;
    person.replacing += 1;
    const result = await this.#watch(instance, what, work, options, LONGEST_LOGIN_MS);
    person.logins += 1;
    person.replacing -= 1;
    return result;
  }

  /** Sees to it that a caller is told in time, and nothing but what it may be told. */
  async #watch<T>(
    { process }: Instance,
    what: string,
    work: Promise<T>,
    options: SignalOptions | undefined,
    limitMs = LONGEST_WAIT_MS,
  ): Promise<T | undefined> {
    const { world, model } = this.#surroundings;
    const { pauses } = process;
    const since = world.elapsed;
    const call: OpenCall = { process, name: `${what} by ${process.name} at ${String(since)} ms` };
    this.#open.add(call);
    const signal = options?.signal;
    signal?.addEventListener("abort", () => {
      world.after(1, process, () => {
        if (this.#open.has(call)) model.violate(`${call.name} did not hear that its caller left`);
      });
    });
    try {
      return await work;
    } catch (error) {
      if (!OAuthError.is(error) && (signal?.aborted !== true || error !== signal.reason))
        model.violate(`${call.name}: ${String(error)} is no error of ours`);
      return undefined;
    } finally {
      this.#open.delete(call);
      if (process.pauses === pauses && world.elapsed - since > limitMs)
        model.violate(`${call.name} was answered at ${String(world.elapsed)} ms, too late`);
    }
  }

  /** The options of a caller that leaves, or of one that stays. */
  #optionsOf({ process }: Instance, leaveMs: number | undefined): SignalOptions | undefined {
    if (leaveMs === undefined) return undefined;
    const controller = new AbortController();
    this.#surroundings.world.after(leaveMs, process, () => {
      controller.abort(new Error("the caller left"));
    });
    return { signal: controller.signal };
  }
}
