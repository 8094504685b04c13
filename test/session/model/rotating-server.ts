import { importTokens } from "warehouse-oauth";
import type { Fetch, TokenSet } from "warehouse-oauth";
import type { EndpointRules } from "./endpoint-rules.ts";
import type { ReferenceModel, Sending } from "./reference-model.ts";
import type { SharedStore } from "./shared-store.ts";
import type { Process, World } from "./world.ts";

/** What a spent refresh token does: it kills its family, or brings the same answer again for a while. */
export type ServerMode = "strict" | "grace";

/** What happens to a request for tokens. */
export type ServerFault =
  | "refused-connection" // not sent
  | "reset-before" // sent, never processed
  | "reset-after" // processed, the answer gets lost
  | "no-answer" // processed, the connection stays open
  | "late" // answered just before the deadline
  | "too-late" // processed long after the sender gave up
  | "garbled" // processed, the answer cannot be read
  | "half" // processed, the answer has the new refresh token and no access token
  | "server-error" // 500: processed or not, nobody knows
  | "unavailable" // 503: not processed
  | "throttled" // 429 with Retry-After
  | "throttled-long" // the same, for longer than a lease is kept for it
  | "client-refused"; // 401: the secret is wrong

/** Ten minutes, as at Snowflake. */
export const LIFETIME_MS = 600_000;

/** How long a spent token brings its answer again, where it does. */
const GRACE_MS = 60_000;

/** Time there and back when all is well. */
const LATENCY_MS = 10;

const LATE_MS = 9_000;
const TOO_LATE_MS = 20_000;

/** What is answered where nothing is processed. */
const REFUSALS: Readonly<Partial<Record<ServerFault, () => Response>>> = {
  unavailable: () => new Response("", { status: 503 }),
  throttled: () => new Response("", { status: 429, headers: { "retry-after": "3" } }),
  "throttled-long": () => new Response("", { status: 429, headers: { "retry-after": "20" } }),
  "client-refused": () => Response.json({ error: "invalid_client" }, { status: 401 }),
};

/** How a connection breaks before anything is processed. */
const BREAKS: Readonly<Partial<Record<ServerFault, string>>> = {
  "refused-connection": "ECONNREFUSED",
  "reset-before": "ECONNRESET",
};

interface Family {
  /** Of the session that it was a login of. */
  readonly key: string;
  /** The token of the login that it began with. */
  readonly first: string;
  live: string;
  dead: boolean;
  /** The token that the live one came for, and when. */
  previous?: { readonly token: string; readonly at: number };
}

/** An authorization server with single-use refresh tokens that believes nobody. Writes down what it sees. */
export class RotatingServer {
  /** In the words of people, for the report of a run that failed. */
  readonly log: string[] = [];
  readonly #world: World;
  readonly #mode: ServerMode;
  readonly #familyOf = new Map<string, Family>();
  readonly #loginTokens = new Set<string>();
  /** End of each access token, true time. */
  readonly #ends = new Map<string, number>();
  #faults: ServerFault[] = [];
  #count = 0;

  constructor(world: World, mode: ServerMode) {
    this.#world = world;
    this.#mode = mode;
  }

  /** The next requests go wrong. */
  fail(fault: ServerFault, times: number): void {
    for (let left = times; left > 0; left--) this.#faults.push(fault);
  }

  heal(): void {
    this.#faults = [];
  }

  /** Somebody signs in: tokens of a new family, as `process` dates them. */
  login(process: Process, connectionId: string, key: string): TokenSet {
    const first = this.#nextToken();
    const family: Family = { key, first, live: first, dead: false };
    this.#familyOf.set(family.live, family);
    this.#loginTokens.add(family.live);
    const obtainedAt = process.clock.now();
    return importTokens({
      accessToken: this.#nextAccessToken(),
      refreshToken: family.live,
      tokenType: "Bearer",
      obtainedAt,
      expiresAt: obtainedAt + LIFETIME_MS,
      scopes: ["sql"],
      scopesAssumed: false,
      connectionId,
    });
  }

  /** Somebody ends what a login gave, and tells nobody. */
  endGrant(loginToken: string): void {
    const family = this.#familyOf.get(loginToken);
    if (family !== undefined) family.dead = true;
    this.#note(`somebody ends the grant that began with ${loginToken}`);
  }

  isLoginToken(token: string): boolean {
    return this.#loginTokens.has(token);
  }

  /** Whether one login led to both. */
  isSameLogin(token: string, loginToken: string | undefined): boolean {
    return this.#familyOf.get(token)?.first === loginToken;
  }

  isTokenLive(token: string): boolean {
    const family = this.#familyOf.get(token);
    return family?.dead === false && family.live === token;
  }

  /** How long an access token is still good, true time. */
  remainingMs(accessToken: string): number {
    return (this.#ends.get(accessToken) ?? 0) - this.#world.elapsed;
  }

  /** When an access token was issued, true time. */
  issuedAt(accessToken: string): number {
    return (this.#ends.get(accessToken) ?? 0) - LIFETIME_MS;
  }

  /** The way of one process to this server. */
  openFor(process: Process, store: SharedStore, model: ReferenceModel, rules: EndpointRules): Fetch {
    return (_input, init) => {
      const form = init?.body instanceof URLSearchParams ? init.body : new URLSearchParams();
      const token = form.get("refresh_token");
      if (token === null) return this.#revoke(process, form.get("token") ?? "");
      const fault = this.#faults.shift();
      const key = this.#familyOf.get(token)?.key ?? "";
      const sending: Sending = { by: process, key, at: this.#world.elapsed, token, lease: store.leaseOf(process, key) };
      this.#note(`${process.name} sends ${token}${fault === undefined ? "" : ` (${fault})`}`);
      model.send(sending, store.lastWrittenBy(process, key));
      rules.send(sending);
      let told = false;
      // Whoever gives up waiting will never know.
      init?.signal?.addEventListener("abort", () => {
        if (told) return;
        told = true;
        model.lose(sending);
        rules.end(sending, undefined);
      });
      return this.#exchange(process, sending, fault, model).finally(() => {
        if (told) return;
        told = true;
        if (sending.brought !== undefined && sending.excuse !== "answer lost") sending.read = true;
        rules.end(sending, fault === undefined ? undefined : REFUSALS[fault]?.().headers.get("retry-after"));
      });
    };
  }

  #exchange(
    process: Process,
    sending: Sending,
    fault: ServerFault | undefined,
    model: ReferenceModel,
  ): Promise<Response> {
    const latency = { thereMs: LATENCY_MS, backMs: LATENCY_MS };
    if (fault === "late") latency.backMs = LATE_MS;
    if (fault === "too-late") latency.thereMs = TOO_LATE_MS;
    if (fault === "no-answer") latency.backMs = Infinity;
    return process.call(latency, () => {
      if (fault !== undefined) this.#refuse(sending, fault, model);
      const refusal = fault === undefined ? undefined : REFUSALS[fault]?.();
      if (refusal !== undefined) return refusal;
      if (fault === "server-error" && this.#count % 2 === 0) {
        model.lose(sending);
        return new Response("", { status: 500 });
      }
      const body = this.#spend(sending, model);
      const answered = body["error"] === undefined;
      if (!answered) return Response.json(body, { status: 400 });
      if (fault === "reset-after" || fault === "garbled" || fault === "server-error" || fault === "no-answer") {
        model.lose(sending);
      }
      if (fault === "reset-after") throw brokenConnection("ECONNRESET");
      if (fault === "server-error") return new Response("", { status: 500 });
      if (fault === "garbled") return new Response(JSON.stringify(body).slice(0, 20));
      if (fault === "half") delete body["access_token"];
      return Response.json(body);
    });
  }

  /** Whoever sent it can tell that it was not processed, unless the connection broke after that. */
  #refuse(sending: Sending, fault: ServerFault, model: ReferenceModel): void {
    if (fault === "reset-before") model.lose(sending);
    if (fault in REFUSALS || fault === "refused-connection") sending.refused = true;
    const code = BREAKS[fault];
    if (code !== undefined) throw brokenConnection(code);
  }

  /** Every refresh token is good for one use; a second one is theft. */
  #spend(sending: Sending, model: ReferenceModel): Record<string, unknown> {
    const { token } = sending;
    const family = this.#familyOf.get(token);
    if (family === undefined || family.dead) {
      this.#note(`${token} is of no use any more`);
      return { error: "invalid_grant" };
    }
    if (family.live !== token) {
      model.presentAgain(sending);
      const { previous } = family;
      const graceful = this.#mode === "grace" && previous?.token === token;
      if (!graceful || this.#world.elapsed - previous.at > GRACE_MS) {
        family.dead = true;
        this.#note(`${token} was spent before: its family is dead`);
        return { error: "invalid_grant" };
      }
    } else {
      family.previous = { token, at: this.#world.elapsed };
      family.live = this.#nextToken();
      this.#familyOf.set(family.live, family);
    }
    sending.brought = family.live;
    this.#note(`${token} brings ${family.live}`);
    return {
      access_token: this.#nextAccessToken(),
      refresh_token: family.live,
      token_type: "bearer",
      expires_in: LIFETIME_MS / 1000,
    };
  }

  #revoke(process: Process, token: string): Promise<Response> {
    return process.call({ thereMs: LATENCY_MS, backMs: LATENCY_MS }, () => {
      // One that was spent before ends nothing.
      const family = this.#familyOf.get(token);
      if (family?.live === token) family.dead = true;
      this.#note(`${process.name} revokes ${token}`);
      return new Response("");
    });
  }

  #note(what: string): void {
    this.log.push(`${String(this.#world.elapsed).padStart(8)} ms  ${what}`);
  }

  #nextToken(): string {
    return `refresh-${String(++this.#count)}`;
  }

  #nextAccessToken(): string {
    const token = `access-${String(++this.#count)}`;
    this.#ends.set(token, this.#world.elapsed + LIFETIME_MS);
    return token;
  }
}

function brokenConnection(code: string): Error {
  return new TypeError("fetch failed", { cause: Object.assign(new Error(code), { code }) });
}
