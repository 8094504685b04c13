import { ConfigurationError, invalidArgument } from "../core/index.ts";
import type { Grant } from "../core/index.ts";

/** Where a fault strikes. */
export type FakeEndpoint = "authorize" | "token" | "revoke" | "metadata" | "api";

/**
 * What goes wrong, at which endpoint, how often. One request is struck by one fault: the first armed one that fits.
 *
 * - `delay`, `hold`: the work is done at once, the answer comes late.
 * - `drop`: the connection breaks `before` or `after` the work is done.
 * - `status`, `oauth_error`, `html`: answered instead of doing any work.
 * - `truncated_json`: the work is done, half of the answer arrives.
 * - `omit_refresh_token`, `omit_expires_in`: the server leaves it out; a refresh then does not rotate.
 * - `rotate_twice`: the server makes two successors of the refresh token and tells the second, whatever its rotation.
 * - `clock_skew`: the server's clock is off by `skewMs` for this request: `Date` header, ID token, checks of
 *   assertions, and the end of the token it issues.
 */
export type Fault = {
  /** The endpoint. At `authorize` the client's request is struck, never the person's form. */
  readonly at: FakeEndpoint;
  /** Only this grant, at `token`. */
  readonly grant?: Grant;
  /** Requests it strikes. Default is 1; `Infinity` until disarmed. */
  readonly times?: number;
} & (
  | { readonly kind: "delay"; readonly delayMs: number }
  | {
      readonly kind: "hold";
      /** Answers only once the promise is settled. */
      readonly until: Promise<unknown>;
    }
  | {
      readonly kind: "drop";
      /** The connection breaks before or after the server did its work. */
      readonly when: "before" | "after";
    }
  | { readonly kind: "status"; readonly status: number; readonly retryAfter?: string }
  | { readonly kind: "oauth_error"; readonly error: string; readonly description?: string; readonly status?: number }
  | { readonly kind: "html" | "truncated_json" | "omit_refresh_token" | "omit_expires_in" | "rotate_twice" }
  | { readonly kind: "clock_skew"; readonly skewMs: number }
);

const ENDPOINTS: ReadonlySet<unknown> = new Set<FakeEndpoint>(["authorize", "token", "revoke", "metadata", "api"]);

const GRANTS: ReadonlySet<unknown> = new Set<Grant>([
  "authorization_code",
  "refresh_token",
  "client_credentials",
  "jwt_bearer",
  "token_exchange",
]);

/** Grants whose answer may bring a refresh token. */
const OFFLINE_GRANTS: ReadonlySet<Grant | undefined> = new Set<Grant>(["authorization_code", "refresh_token"]);

/** Faults that change a token answer, by the grants they can change. */
const TOKEN_ANSWER_FAULTS: ReadonlyMap<Fault["kind"], ReadonlySet<Grant | undefined> | undefined> = new Map<
  Fault["kind"],
  ReadonlySet<Grant | undefined> | undefined
>([
  ["omit_refresh_token", OFFLINE_GRANTS],
  ["omit_expires_in", undefined],
  ["rotate_twice", new Set<Grant | undefined>(["refresh_token"])],
]);

/** HTTP statuses with which a `Response` can be made and that say what went wrong. */
const MIN_STATUS = 200;
const MAX_STATUS = 599;

interface Armed {
  readonly fault: Fault;
  left: number;
}

/**
 * Holds armed faults, in order.
 *
 * @internal
 */
export class FaultQueue {
  #armed: readonly Armed[] = [];

  /** Arms a fault and gives the way to disarm it. */
  arm(fault: Fault): () => void {
    assertFault(fault);
    const armed: Armed = { fault, left: fault.times ?? 1 };
    // A gate may break before any request waits for it; that is no reason for the process to end.
    if (fault.kind === "hold") fault.until.catch(() => undefined);
    this.#armed = [...this.#armed, armed];
    return () => {
      this.#armed = this.#armed.filter((other) => other !== armed);
    };
  }

  /** Takes the fault that strikes this request, if any. */
  take(at: FakeEndpoint, grant: Grant | undefined): Fault | undefined {
    const armed = this.#armed.find(({ fault }) => strikes(fault, at, grant));
    if (armed === undefined) return undefined;
    armed.left -= 1;
    if (armed.left < 1) this.#armed = this.#armed.filter((other) => other !== armed);
    return armed.fault;
  }
}

function strikes(fault: Fault, at: FakeEndpoint, grant: Grant | undefined): boolean {
  if (fault.at !== at) return false;
  if (fault.grant !== undefined && fault.grant !== grant) return false;
  const grants = TOKEN_ANSWER_FAULTS.get(fault.kind);
  return grants === undefined || grants.has(grant);
}

/** Refuses a fault that would never strike: a test that arms one believes in something that does not happen. */
function assertFault(fault: unknown): asserts fault is Fault {
  if (typeof fault !== "object" || fault === null) throw invalidArgument("a fault must be an object");
  const given = fault as Readonly<Record<string, unknown>>;
  if (!ENDPOINTS.has(given["at"])) throw refuse("at", `must be one of ${[...ENDPOINTS].join(", ")}`);
  if (given["grant"] !== undefined && (given["at"] !== "token" || !GRANTS.has(given["grant"]))) {
    throw refuse("grant", `goes with "at: 'token'" and is one of ${[...GRANTS].join(", ")}`);
  }
  const times = given["times"] ?? 1;
  if (!(times === Infinity || (Number.isInteger(times) && (times as number) >= 1))) {
    throw refuse("times", "must be a whole number, 1 or more, or Infinity");
  }
  assertKind(given);
}

function assertKind(given: Readonly<Record<string, unknown>>): void {
  switch (given["kind"]) {
    case "delay":
      if (!isFiniteNumber(given["delayMs"]) || given["delayMs"] < 0) throw refuse("delayMs", "must be 0 or more");
      return;
    case "clock_skew":
      if (!isFiniteNumber(given["skewMs"])) throw refuse("skewMs", "must be a number of milliseconds");
      return;
    case "hold":
      if (!(given["until"] instanceof Promise)) throw refuse("until", "must be a promise");
      return;
    case "drop":
      if (given["when"] !== "before" && given["when"] !== "after") throw refuse("when", 'must be "before" or "after"');
      return;
    case "status":
      assertStatus(given["status"]);
      return;
    case "oauth_error":
      if (typeof given["error"] !== "string" || given["error"] === "") throw refuse("error", "must be an error code");
      if (given["status"] !== undefined) assertStatus(given["status"]);
      return;
    case "html":
    case "truncated_json":
      return;
    case "omit_refresh_token":
    case "omit_expires_in":
    case "rotate_twice":
      if (given["at"] !== "token") throw refuse("at", `must be "token" for ${given["kind"]}`);
      return;
    default:
      throw refuse("kind", "names no fault");
  }
}

function assertStatus(status: unknown): void {
  if (!Number.isInteger(status) || (status as number) < MIN_STATUS || (status as number) > MAX_STATUS) {
    throw refuse("status", `must be a whole number from ${String(MIN_STATUS)} to ${String(MAX_STATUS)}`);
  }
}

function isFiniteNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

function refuse(option: string, rule: string): ConfigurationError {
  return new ConfigurationError("config_invalid", `"${option}" of a fault ${rule}`, option);
}
