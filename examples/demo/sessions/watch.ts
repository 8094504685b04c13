import type { SessionEvent, SessionStatus, TokenSession, TokenStore } from "warehouse-oauth";
import type { DemoWarehouse } from "../warehouses.ts";
import { describeEvent, type Tone } from "./event-words.ts";

/** One line of a session's log: what happened to it, or what a person did. */
export interface LogLine {
  /** Epoch milliseconds. */
  readonly at: number;
  /** The event's type; `undefined` for what a person did. */
  readonly type: SessionEvent["type"] | undefined;
  /** Begins with "you" when it is read: `asked for a refresh`. Otherwise it is what came of it. */
  readonly byYou: boolean;
  readonly text: string;
  readonly tone: Tone;
}

/** One access token's life, epoch milliseconds: fresh before `staleAt`, expired from `expiredAt`. */
export interface TokenLife {
  readonly from: number;
  readonly staleAt: number;
  readonly expiredAt: number;
  readonly endsAt: number;
  /** When it is refreshed without being asked; `undefined` for never. */
  readonly dueAt: number | undefined;
}

/** How a session stands at one moment. Holds no token. */
export interface SessionView {
  readonly now: number;
  readonly warehouse: DemoWarehouse;
  readonly reference: string;
  readonly person: string;
  readonly status: SessionStatus;
  readonly life: TokenLife | undefined;
  /** Newest first. */
  readonly lines: readonly LogLine[];
  readonly counts: SessionCounts;
  /** What the other process holds, once there was one. */
  readonly otherGeneration: number | undefined;
}

/** What was counted since the login. */
export interface SessionCounts {
  readonly refreshes: number;
  readonly retries: number;
  readonly failures: number;
  /** Refreshes that the embedded warehouse saw, from anybody; `undefined` at a real account. */
  readonly requests: number | undefined;
}

/** Says whether only a person can bring the session back. */
export function needsSignIn({ state }: SessionStatus): boolean {
  return state === "reauthorization_required" || state === "revoked" || state === "absent";
}

/** What is shown and kept of a log. */
const MAX_LINES = 80;

const SECOND_MS = 1_000;

/** Follows one session: its events, and what a person did to it. */
export class SessionWatch {
  readonly session: TokenSession;
  readonly warehouse: DemoWarehouse;
  readonly person: string;
  readonly #store: TokenStore;
  readonly #listeners = new Set<() => void>();
  readonly #requestsBefore: number;
  #lines: readonly LogLine[] = [];
  #lifetimeMs: number | undefined;
  #dueAt: number | undefined;
  #refreshes = 0;
  #retries = 0;
  #failures = 0;
  otherGeneration: number | undefined;

  constructor(session: TokenSession, warehouse: DemoWarehouse, person: string, store: TokenStore) {
    this.session = session;
    this.warehouse = warehouse;
    this.person = person;
    this.#store = store;
    this.#lifetimeMs = warehouse.fake?.lifetimeMs;
    this.#requestsBefore = warehouse.fake?.refreshRequests ?? 0;
  }

  /** Refreshes so far that succeeded, newest first. */
  get refreshes(): readonly LogLine[] {
    return this.#lines.filter(({ type }) => type === "refresh_succeeded");
  }

  /** Tells whoever looks that something changed. Gives the way to stop. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Writes down what a person did, as what follows "you". */
  noteDone(text: string): void {
    this.#add({ at: Date.now(), type: undefined, byYou: true, text, tone: "plain" });
  }

  /** Writes down what came of it. */
  note(text: string, tone: Tone = "plain"): void {
    this.#add({ at: Date.now(), type: undefined, byYou: false, text, tone });
  }

  /** Takes an event of this session, or of its client. */
  take(event: SessionEvent): void {
    const { fake } = this.warehouse;
    if (event.type === "refresh_succeeded") this.#refreshes += 1;
    if (event.type === "refresh_retried") this.#retries += 1;
    if (event.type === "refresh_failed") this.#failures += 1;
    // A real account's life is seen in its events; an embedded one's is known, however slow the machine is.
    if (
      fake === undefined &&
      (event.type === "tokens_issued" || event.type === "refresh_succeeded") &&
      event.expiresAt !== undefined
    ) {
      this.#lifetimeMs = Math.round((event.expiresAt - event.at) / SECOND_MS) * SECOND_MS;
    }
    if (event.type === "tokens_issued" || event.type === "refresh_succeeded" || event.type === "refresh_adopted") {
      void this.#readDue();
    }
    this.#add({ at: event.at, type: event.type, byYou: false, ...describeEvent(event) });
  }

  /** Looks at the session. Refreshes nothing, and does not count as use. */
  async look(): Promise<SessionView> {
    const { session, warehouse, person, otherGeneration } = this;
    const status = await session.status();
    const { fake } = warehouse;
    return {
      now: Date.now(),
      warehouse,
      reference: session.reference,
      person,
      status,
      life: this.#lifeOf(status),
      lines: this.#lines,
      counts: {
        refreshes: this.#refreshes,
        retries: this.#retries,
        failures: this.#failures,
        requests: fake === undefined ? undefined : fake.refreshRequests - this.#requestsBefore,
      },
      otherGeneration,
    };
  }

  #lifeOf(status: SessionStatus): TokenLife | undefined {
    if (!("expiresAt" in status) || status.expiresAt === undefined || this.#lifetimeMs === undefined) return undefined;
    const { expiresAt: endsAt } = status;
    const { hardMarginMs, refusedBelowMs } = this.warehouse.client.warehouse;
    // As docs say of the manager: a tenth of the life, at most the warehouse's own margin.
    const marginMs = Math.max(refusedBelowMs, Math.min(hardMarginMs, this.#lifetimeMs / 10));
    const expiredAt = endsAt - marginMs;
    const from = endsAt - this.#lifetimeMs;
    const dueAt = this.#dueAt !== undefined && this.#dueAt > from && this.#dueAt < endsAt ? this.#dueAt : undefined;
    return { from, staleAt: Math.min(dueAt ?? expiredAt, expiredAt), expiredAt, endsAt, dueAt };
  }

  /** The manager tells its store when a session is due; that is the one place where everybody can read it. */
  async #readDue(): Promise<void> {
    const found = await this.#store.read(this.session.key, {});
    this.#dueAt = found?.record.dueAt;
    this.#changed();
  }

  #add(line: LogLine): void {
    this.#lines = [line, ...this.#lines].slice(0, MAX_LINES);
    this.#changed();
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}
