// What harness, workers and authorization server say to each other.
import type { ExportedTokens } from "warehouse-oauth";

/** Where a program finds the store. */
export type StoreAddress = (
  | { readonly kind: "file"; readonly folder: string }
  | { readonly kind: "postgres"; readonly url: string }
  | { readonly kind: "redis"; readonly url: string }
) & {
  /** A key in base64: everything is sealed with it. Absent: nothing is. */
  readonly sealedWith?: string;
};

/** What a worker says of a lease, with the machine's time: when it asked for what it got, or began to give it back. */
export interface LeaseWord {
  /** The session's. */
  readonly key: string;
  readonly at: number;
  readonly what: "held" | "released";
}

/** One request at the token endpoint, as the server itself wrote it down. Tokens are fingerprints, times the machine's. */
export interface TokenRequest {
  /** The worker that sent it. */
  readonly by: string;
  /** By the worker's own word. */
  readonly sentAt: number;
  /** What it had of the session's lease when it sent. */
  readonly lease: LeaseWord | undefined;
  readonly arrivedAt: number;
  readonly answeredAt: number;
  /** The refresh token that came. */
  readonly sent: string;
  /** The login it belongs to. */
  readonly family: string | undefined;
  /** 0: never processed. */
  readonly status: number;
  /** Why it was refused. */
  readonly detail: string | undefined;
  /** `false` if the connection was broken on purpose before the answer left. */
  readonly isDelivered: boolean;
  /** What was issued for it. */
  readonly refreshToken: string | undefined;
  readonly accessToken: string | undefined;
}

/** A login, as the server gives it. */
export interface Login {
  readonly accessToken: string;
  readonly refreshToken: string;
}

/** What happens to token requests that arrive from now on; `times` of them. */
export interface ServerFault {
  readonly kind:
    | "hold-before" // not processed until released; never, if its sender dies meanwhile
    | "hold-after" // processed, and not answered until released
    | "drop-before" // connection reset, nothing processed
    | "drop-after" // processed, connection reset
    | "unavailable" // 503, nothing processed
    | "too-many"; // 429 with Retry-After: 1, nothing processed
  readonly times: number;
}

export interface ServerSetup {
  /** How long a spent refresh token still works; 0 is strict. */
  readonly graceMs: number;
  readonly accessTokenSeconds: number;
}

export interface ServerOperations {
  address(argument: null): string;
  login(argument: { readonly count: number }): Promise<readonly Login[]>;
  /** The log from an index on. */
  log(argument: { readonly from: number }): readonly TokenRequest[];
  fault(argument: ServerFault): void;
  /** Lets all go that is held, and ends all faults. */
  release(argument: null): void;
  /** Whether a refresh token would be taken now, by fingerprint. */
  isLive(argument: { readonly fingerprint: string }): boolean;
}

export interface WorkerSetup {
  readonly name: string;
  readonly store: StoreAddress;
  readonly issuer: string;
  readonly tokenEndpoint: string;
  readonly leaseTtlMs: number;
  readonly perSecond: number;
  /** Of the spread that due sessions get, and of all jitter. 1 is all of it. */
  readonly jitter: number;
  /** Own logs of a tenant's subjects: names what `resolveClient` knows. */
  readonly resolves: boolean;
  /** How many it has, each with connections and an identity of its own, as if it were as many processes. */
  readonly managers: number;
}

/** Where a worker kills or stops itself. */
export type Point = "before-intent" | "after-intent" | "sending" | "after-answer" | "in-save" | "after-save";

/** What callers got: how many got which token (by fingerprint), and how many failed how. */
export interface Asked {
  readonly tokens: Readonly<Record<string, number>>;
  readonly errors: Readonly<Record<string, number>>;
}

export interface HeardEvent {
  readonly type: string;
  /** Absent for events of a connection. */
  readonly subject: string | undefined;
  readonly code: string | undefined;
}

export interface WorkerOperations {
  save(argument: { readonly subject: string; readonly tokens: ExportedTokens }): Promise<void>;
  /** Moves the wall clock, as a sleep of the machine does. */
  passTime(argument: { readonly ms: number }): void;
  /** All callers of all subjects ask in the same turn of the event loop. `rejected`: a server refused what they have. */
  ask(argument: {
    readonly subjects: readonly string[];
    readonly callers: number;
    readonly rejected?: boolean;
  }): Promise<Asked>;
  /** Refreshes over and over until told to stop. */
  rotate(argument: { readonly subject: string; readonly seed: number }): void;
  /** Stops refreshing; gives what failed meanwhile, and how often. */
  rest(argument: null): Promise<Readonly<Record<string, number>>>;
  /** How many token requests are under way. */
  sending(argument: null): number;
  /** Looks at sessions, so that they are known here, and starts proactive refresh, in all managers. */
  start(argument: { readonly subjects: readonly string[] }): Promise<void>;
  states(argument: { readonly subjects: readonly string[] }): Promise<readonly string[]>;
  arm(argument: { readonly point: Point; readonly action: "kill" | "stop"; readonly afterMs?: number }): void;
  /** Events since the last time, in order. */
  events(argument: null): readonly HeardEvent[];
  /** What keeps the process busy, by kind, and what Node warned of. */
  resources(argument: null): {
    readonly handles: Readonly<Record<string, number>>;
    readonly warnings: readonly string[];
  };
  close(argument: null): Promise<readonly string[]>;
}

export interface JobWorkerSetup {
  readonly name: string;
  /** The queue is where the store is. */
  readonly store: StoreAddress;
  readonly issuer: string;
  readonly tokenEndpoint: string;
  readonly leaseTtlMs: number;
}

export interface JobWorkerOperations {
  /** Puts in the job of a session. */
  schedule(argument: { readonly subject: string }): Promise<boolean>;
  /** Begins to take jobs. */
  start(argument: null): Promise<void>;
  /** Takes no more, and gives what went wrong. */
  close(argument: null): Promise<readonly string[]>;
}
