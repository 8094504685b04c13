import type { SessionRecord } from "../../../src/session/record.ts";
import { IDLE_MS } from "./instance.ts";
import type { Process } from "./world.ts";

/** One request with a refresh token, from the moment it left. */
export interface Sending {
  readonly by: Process;
  /** Of the session whose token it is. */
  readonly key: string;
  readonly at: number;
  readonly token: string;
  readonly lease: number | undefined;
  /** The refresh token that the server gave for it. */
  brought?: string;
  /** Whoever sent it got that token. */
  read?: true;
  /** That token is in the store. */
  saved?: true;
  /** It was not processed, and whoever sent it can tell. */
  refused?: true;
  /** Why whoever sent it may not know, or may not have been able to keep, what it brought. */
  excuse?: "answer lost" | "crashed" | "lease over";
}

/** What the model has to be told of the world. */
export interface Facts {
  isLeaseLive(lease: number): boolean;
  isTokenLive(token: string): boolean;
  isLoginToken(token: string): boolean;
}

/** Repeats of a request whose answer was lost, and how close together (DESIGN 6, requirements R-21). */
const MAX_RAPID_REPEATS = 2;
const RAPID_MS = 30_000;

/** Longest that a refresh goes on sending while a caller waits (requirements R-32). */
const FLIGHT_MS = 15_000;

/** What may happen to refresh tokens, said as shortly as possible; whatever else happens is a violation. */
export class ReferenceModel {
  readonly violations: string[] = [];
  readonly sendings: Sending[] = [];
  /** Tokens that logouts took out of the store, to be revoked. */
  readonly #tombstones: { readonly by: Process; readonly key: string; readonly token: string }[] = [];
  /** Sessions that were signed out here only, so that whatever comes late lives on. */
  readonly forgotten = new Set<string>();
  /** Logouts that failed, or whose callers left: nothing is known of what was revoked. */
  readonly #failedLogouts: { readonly by: Process; readonly key: string }[] = [];
  readonly #facts: Facts;
  readonly #everStored = new Set<string>();
  readonly #flights: { readonly by: Process; readonly key: string; readonly at: number }[] = [];
  /** Who announced each token, and when by its own clock. */
  readonly #announcements: { readonly by: Process; readonly token: string; readonly at: number }[] = [];
  /** What was bought with a token that others sent, too: at many servers it dies of that. */
  readonly #doubtful = new Set<string>();

  constructor(facts: Facts) {
    this.#facts = facts;
  }

  /** A refresh begins that nobody waited for so far: it may send once, whatever came before. */
  begin(by: Process, key: string, at: number): void {
    this.#flights.push({ by, key, at });
  }

  /** A token leaves: only under a lease, only after it was announced in the store, only so often. */
  send(sending: Sending, lastWritten: SessionRecord | undefined): void {
    const { token, by, key, at, lease } = sending;
    if (lease === undefined) this.violate(`${token} was sent by ${by.name} without a lease`);
    const announced = lastWritten?.intent !== undefined && lastWritten.tokens?.refreshToken === token;
    if (!announced) this.violate(`${token} was sent by ${by.name} without having been announced`);
    const rapid = this.sendings.filter(
      (other) => other.by === by && other.token === token && other.excuse === "answer lost" && at - other.at < RAPID_MS,
    );
    const flights = this.#flights.filter(
      (flight) => flight.by === by && flight.key === key && at - flight.at < RAPID_MS + FLIGHT_MS,
    );
    if (rapid.length > MAX_RAPID_REPEATS + Math.max(0, flights.length - 1))
      this.violate(`${token} was sent by ${by.name} too often without an answer`);
    const known = this.sendings.find((other) => other.by === by && other.token === token && other.read);
    if (known !== undefined)
      this.violate(`${by.name} sent ${token} again although it got ${String(known.brought)} for it`);
    this.sendings.push(sending);
  }

  /** The server saw a token that was spent before: only after a crash, a lost answer or a lost lease. */
  presentAgain(again: Sending): void {
    const first = this.sendings.find(({ token, brought }) => token === again.token && brought !== undefined);
    if (first === undefined || this.sendings.indexOf(again) < this.sendings.indexOf(first)) return;
    this.#noteLapse(first);
    if (first.brought !== undefined) this.#doubtful.add(first.brought);
    if (first.excuse === undefined) this.violate(`${again.token} was spent twice, by ${again.by.name} without need`);
  }

  /** Nobody will ever know what became of it. */
  lose(sending: Sending): void {
    if (sending.saved === undefined) sending.excuse ??= "answer lost";
  }

  /**
   * A lease is given back: not before what it was taken for is saved, unless a login or a logout came first. A process that
   * ends tells of what it could not save ({@link ReferenceModel.close}).
   */
  release(lease: number, stored: SessionRecord | undefined): void {
    for (const { by, lease: own, token, brought, saved, excuse } of this.sendings) {
      if (by.ending) continue;
      if (own !== lease || brought === undefined || saved === true || excuse !== undefined) continue;
      if (stored?.tokens?.refreshToken === token)
        this.violate(`${by.name} let go of its lease before it saved ${brought}`);
    }
  }

  crash(process: Process): void {
    for (const sending of this.sendings) {
      const settled = sending.saved ?? sending.refused;
      if (sending.by === process && settled === undefined) sending.excuse ??= "crashed";
    }
  }

  /** A record was written: never back, never over a logout, never dead while it lives. */
  store(by: Process, key: string, before: SessionRecord | undefined, after: SessionRecord): void {
    const token = after.tokens?.refreshToken;
    const old = before?.tokens?.refreshToken;
    if (old !== undefined && after.state === "revoked" && after.revokeLate)
      this.#tombstones.push({ by, key, token: old });
    if (after.state === "revoked" && !after.revokeLate) this.forgotten.add(key);
    if (token === undefined) return;
    if (after.intent !== undefined) this.#announcements.push({ by, token, at: by.clock.now() });
    const isLogin = this.#facts.isLoginToken(token) && !this.#everStored.has(token) && after.intent === undefined;
    if (isLogin) this.forgotten.delete(key);
    if (before?.state === "revoked" && !isLogin) this.violate(`${by.name} brought ${token} back after a logout`);
    if (
      old !== undefined &&
      old !== token &&
      !isLogin &&
      (this.#everStored.has(token) || this.#facts.isTokenLive(old))
    ) {
      this.violate(`${by.name} wrote ${token} over ${old}`);
    }
    if (after.state === "reauthorization_required" && before?.state === "active") this.#bury(by, token, after.cause);
    this.#everStored.add(token);
    for (const sending of this.sendings.filter(({ brought }) => brought === token)) {
      this.#noteLapse(sending);
      sending.saved = true;
    }
  }

  #bury(by: Process, token: string, cause: string | undefined): void {
    if (this.#facts.isTokenLive(token)) this.violate(`${by.name} gave up ${token}, which lives`);
    const lost = this.sendings.some((sending) => sending.token === token && sending.excuse !== undefined);
    if (lost && cause !== "rotation_lost") this.violate(`${by.name} says ${String(cause)} of ${token}, which got lost`);
    // What others announced may have left, for all that this one can know; its own, too, after it forgot the session.
    const isRiddle = this.#announcements.some(
      (other) => other.token === token && (other.by !== by || by.clock.now() - other.at > IDLE_MS || !by.isSteady),
    );
    const maybeLost = lost || isRiddle || this.#doubtful.has(token);
    if (!maybeLost && cause === "rotation_lost")
      this.violate(`${by.name} says that ${token} got lost, which never left`);
  }

  failLogout(by: Process, key: string): void {
    this.#failedLogouts.push({ by, key });
  }

  /** In the end: what a logout took away was revoked, or its caller was told. */
  checkLogouts(): void {
    for (const { by, key, token } of this.#tombstones) {
      const failed = this.#failedLogouts.some((logout) => logout.by === by && logout.key === key);
      if (!failed && !by.crashed && this.#facts.isTokenLive(token))
        this.violate(`${by.name} signed out and let ${token} live`);
    }
  }

  /** A process ended, and tells of what it got and nobody has, unless others wrote since; not of what it knows to be saved. */
  close(
    by: Process,
    key: string,
    told: boolean,
    { stored, known }: Readonly<Record<"stored" | "known", SessionRecord | undefined>>,
  ): void {
    const got = this.sendings.findLast((sending) => sending.by === by && sending.key === key && sending.read);
    const brought = String(got?.brought);
    const isLost = got !== undefined && got.saved === undefined && stored?.tokens?.refreshToken === got.token;
    if (isLost && !told) this.violate(`${by.name} ended and did not tell that it had not saved ${brought}`);
    if (told && (got === undefined || known?.tokens?.refreshToken === brought))
      this.violate(`${by.name} ended and told that it had not saved ${brought}, but it had`);
  }

  #noteLapse(sending: Sending): void {
    const { saved, lease } = sending;
    if (saved === undefined && (lease === undefined || !this.#facts.isLeaseLive(lease)))
      sending.excuse ??= "lease over";
  }

  violate(what: string): void {
    this.violations.push(what);
  }
}
