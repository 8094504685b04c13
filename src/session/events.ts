import type { ErrorCode, ReauthorizationCause } from "../core/index.ts";
import { callIsolated } from "../lib/call-isolated.ts";

/** What every event of a connection says. */
export interface ConnectionEvent {
  /** Wall clock, epoch milliseconds. */
  readonly at: number;
  /** `Warehouse.id`. */
  readonly warehouse: string;
  /** Which client at which warehouse. */
  readonly connectionId: string;
}

/** What every event of one session says. */
export interface OneSessionEvent extends ConnectionEvent {
  /** `TokenSession.reference`. */
  readonly session: string;
  /** The customer of the application. */
  readonly tenant: string | undefined;
  /** How often the session's tokens were replaced. */
  readonly generation: number;
}

/** What happened. Carries no secret. `authorization_*` are for a door that is not built yet; free functions are silent. */
export type SessionEvent =
  | (ConnectionEvent & { readonly type: "authorization_started" | "authorization_completed" })
  | (ConnectionEvent & { readonly type: "authorization_failed"; readonly code: ErrorCode })
  | (ConnectionEvent & { readonly type: "circuit_opened"; readonly code: ErrorCode; readonly retryAfterMs: number })
  | (ConnectionEvent & { readonly type: "circuit_closed" })
  | (ConnectionEvent & { readonly type: "rate_limited"; readonly retryAfterMs: number })
  | (OneSessionEvent & {
      readonly type: "tokens_issued";
      readonly expiresAt: number | undefined;
      readonly scopes: readonly string[];
    })
  | (OneSessionEvent & { readonly type: "refresh_started"; readonly reason: RefreshReason })
  | (OneSessionEvent & {
      readonly type: "refresh_succeeded";
      readonly durationMs: number;
      readonly expiresAt: number | undefined;
      readonly rotated: boolean;
      /** What was wrong with an answer that was taken all the same: a lifetime that is none. */
      readonly warning: ErrorCode | undefined;
    })
  | (OneSessionEvent & {
      readonly type: "refresh_adopted" | "refresh_conflict" | "rotation_lost" | "token_rejected" | "revoked";
    })
  | (OneSessionEvent & {
      readonly type: "refresh_retried";
      readonly attempt: number;
      readonly code: ErrorCode;
      readonly delayMs: number;
    })
  | (OneSessionEvent & { readonly type: "refresh_failed"; readonly code: ErrorCode; readonly durationMs: number })
  | (OneSessionEvent & { readonly type: "save_failed"; readonly code: ErrorCode; readonly attempt: number })
  | (OneSessionEvent & { readonly type: "reauthorization_required"; readonly cause: ReauthorizationCause })
  | (OneSessionEvent & {
      readonly type: "scopes_changed";
      readonly added: readonly string[];
      readonly removed: readonly string[];
    })
  | (OneSessionEvent & {
      readonly type: "expiring";
      readonly what: "refresh_token" | "absolute_session";
      readonly endsAt: number;
    });

/** Every type, so that a misspelt one is found: a listener that never hears anything is a bug nobody sees. */
const EVENT_TYPES: Readonly<Record<SessionEvent["type"], true>> = {
  authorization_started: true,
  authorization_completed: true,
  authorization_failed: true,
  circuit_opened: true,
  circuit_closed: true,
  rate_limited: true,
  tokens_issued: true,
  refresh_started: true,
  refresh_succeeded: true,
  refresh_adopted: true,
  refresh_conflict: true,
  rotation_lost: true,
  token_rejected: true,
  revoked: true,
  refresh_retried: true,
  refresh_failed: true,
  save_failed: true,
  reauthorization_required: true,
  scopes_changed: true,
  expiring: true,
};

/** Whether there is such an event. */
export function isEventType(type: string): boolean {
  return Object.hasOwn(EVENT_TYPES, type);
}

/** Why a refresh began: it was time, the token had ended, a server refused it, or somebody asked. */
export type RefreshReason = "due" | "expired" | "rejected" | "asked";

/** Omit for each member of a union. */
type Without<Union, Key extends PropertyKey> = Union extends unknown ? Omit<Union, Key> : never;

/** An event of one session before the session adds what all of them say. */
export type OwnSessionEvent = Without<Extract<SessionEvent, OneSessionEvent>, keyof OneSessionEvent>;

/** An event of a connection before the connection adds what all of them say. */
export type OwnConnectionEvent = Without<Exclude<SessionEvent, OneSessionEvent>, keyof ConnectionEvent>;

type Listener = (event: SessionEvent) => unknown;

/** Hands events to listeners, later and one by one: none can break, delay or re-enter what reports. */
export class EventHub {
  readonly #listeners = new Map<string, Set<Listener>>();

  /** Whether anybody listens: an event that nobody hears need not be made. */
  get silent(): boolean {
    return this.#listeners.size === 0;
  }

  /** Adds a listener and gives the way to stop. */
  on(type: string, listener: Listener): () => void {
    let listeners = this.#listeners.get(type);
    if (listeners === undefined) this.#listeners.set(type, (listeners = new Set()));
    // Wrapped, so that the same function twice is two listeners.
    const own: Listener = (event) => listener(event);
    listeners.add(own);
    return () => {
      listeners.delete(own);
      if (listeners.size === 0 && this.#listeners.get(type) === listeners) this.#listeners.delete(type);
    };
  }

  emit(event: SessionEvent): void {
    Object.freeze(event);
    for (const type of [event.type, "*"]) {
      for (const listener of this.#listeners.get(type) ?? []) {
        queueMicrotask(() => {
          callIsolated(listener, event);
        });
      }
    }
  }
}
