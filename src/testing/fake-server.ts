import type { Grant, Warehouse } from "../core/index.ts";
import { MAX_TIMER_MS, type Clock } from "../lib/clock.ts";
import { AuthorizationEndpoint } from "./authorization-endpoint.ts";
import { ClientRegistry } from "./client-registry.ts";
import { FaultQueue, type FakeEndpoint, type Fault } from "./fault.ts";
import { trackWork } from "./manual-clock.ts";
import { Refused, type Refusal } from "./refusal.ts";
import { RequestLog, describeParameters, splitOnce } from "./request-log.ts";
import { htmlPage } from "./sign-in-page.ts";
import { SigningKeys } from "./signing-keys.ts";
import { TokenEndpoint, parseGrantType, type TokenPolicy } from "./token-endpoint.ts";
import { TokenLedger } from "./token-ledger.ts";
import { TrustedAssertions, type TrustedIssuer } from "./trusted-assertions.ts";
import { jsonResponse, type WarehouseProfile } from "./warehouse-profile.ts";

/** What a fake server is made of. */
export interface FakeServerOptions {
  readonly profile: WarehouseProfile;
  readonly policy: TokenPolicy;
  readonly clock: Clock;
  readonly warehouse: Warehouse;
  readonly trusted: readonly TrustedIssuer[];
  /** What error messages call the option `trusted` came from. */
  readonly trustedOption: string;
}

/** Where a request goes. `form` is the person's answer to the sign-in page. */
interface Route {
  readonly at: FakeEndpoint;
  readonly part: "endpoint" | "form" | "keys";
}

/** A request with its body read and its fault taken. */
interface Call {
  readonly request: Request;
  readonly url: URL;
  readonly route: Route;
  readonly warehouse: Warehouse;
  readonly body: string;
  readonly form: URLSearchParams;
  readonly grant: Grant | undefined;
  readonly fault: Fault | undefined;
  readonly now: number;
}

/**
 * Which part of a broken connection the client saw: what Node's `fetch` gives as `cause.code`. `before` is a reset,
 * `after` a socket closed without an answer. Both leave the client in doubt.
 */
const DROP_CODES = { before: "ECONNRESET", after: "UND_ERR_SOCKET" } as const;

const droppedWhen = new WeakMap<Response, "before" | "after">();

/**
 * Says whether, and where, a fault broke the connection that this answer stands for.
 *
 * @internal
 */
export function dropOf(response: Response): "before" | "after" | undefined {
  return droppedWhen.get(response);
}

/**
 * Makes the error that a `fetch` rejects with when the connection broke.
 *
 * @internal
 */
export function connectionError(when: "before" | "after"): TypeError {
  const cause = Object.assign(new Error("the fake broke the connection"), { code: DROP_CODES[when] });
  return new TypeError("fetch failed", { cause });
}

/**
 * A warehouse in memory: authorization server, data API, faults and a log behind one function.
 *
 * @internal
 */
export class FakeServer {
  readonly clients = new ClientRegistry();
  readonly ledger: TokenLedger;
  readonly faults = new FaultQueue();
  readonly log = new RequestLog();
  readonly authorization: AuthorizationEndpoint;
  readonly #token: TokenEndpoint;
  readonly #keys = new SigningKeys();
  readonly #profile: WarehouseProfile;
  readonly #clock: Clock;
  readonly #home: Warehouse;
  /** The addresses besides its own, by origin. */
  readonly #addresses = new Map<string, Warehouse>();

  constructor({ profile, policy, clock, warehouse, trusted, trustedOption }: FakeServerOptions) {
    this.#profile = profile;
    this.#clock = clock;
    this.#home = warehouse;
    this.ledger = new TokenLedger(profile.prefixes);
    const parts = { profile, clients: this.clients, ledger: this.ledger };
    this.authorization = new AuthorizationEndpoint(parts);
    const issuers = new TrustedAssertions(trusted, trustedOption);
    this.#token = new TokenEndpoint({ ...parts, policy, keys: this.#keys, trusted: issuers });
  }

  get clock(): Clock {
    return this.#clock;
  }

  /** Lets the server be reached under another origin, where it calls itself what `warehouse` says. */
  addAddress(origin: string, warehouse: Warehouse): void {
    this.#addresses.set(origin, warehouse);
  }

  /** Answers. A broken connection is `Response.error()`, which every mocking library understands. */
  async handle(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const warehouse = this.#addresses.get(url.origin) ?? this.#home;
    const route = this.#route(request.method, url.pathname, warehouse);
    const arrivedAt = this.#clock.now();
    const work = this.#work(request, { url, warehouse, route, arrivedAt });
    trackWork(this.#clock, work);
    const { response, fault } = await work;
    // The log knows the outcome already: whoever holds an answer back wants to look at it meanwhile.
    if (fault?.kind === "hold") await untilSettled(fault.until, request.signal);
    if (fault?.kind === "delay") await this.#sleep(fault.delayMs, request.signal);
    return response;
  }

  async #work(
    request: Request,
    { url, warehouse, route, arrivedAt }: { url: URL; warehouse: Warehouse; route: Route; arrivedAt: number },
  ): Promise<{ readonly response: Response; readonly fault: Fault | undefined }> {
    const isForm = route.part === "form";
    const close = isForm ? undefined : this.log.open(route.at, arrivedAt);
    const body = request.body === null ? "" : await request.text();
    const form = new URLSearchParams(body);
    const grant = route.at === "token" ? parseGrantType(form.get("grant_type")) : undefined;
    const fault = isForm ? undefined : this.faults.take(route.at, grant);
    const now = arrivedAt + (fault?.kind === "clock_skew" ? fault.skewMs : 0);
    const call: Call = { request, url, route, warehouse, body, form, grant, fault, now };
    const response = await this.#answer(call);
    response.headers.set("date", new Date(now).toUTCString());
    const dropped = fault?.kind === "drop" ? fault.when : undefined;
    close?.({
      grant,
      status: dropped === undefined ? response.status : "dropped",
      parameters: await this.#parameters(call),
    });
    if (dropped === undefined) return { response, fault };
    const broken = Response.error();
    droppedWhen.set(broken, dropped);
    return { response: broken, fault };
  }

  #parameters({ request, url, route, form }: Call): Promise<Readonly<Record<string, string>>> {
    const authorization = request.headers.get("authorization");
    if (route.at !== "api")
      return describeParameters(new URLSearchParams([...url.searchParams, ...form]), authorization);
    return describeParameters(new URLSearchParams(), authorization).then((shown) =>
      Object.freeze({ method: request.method, path: url.pathname, ...shown }),
    );
  }

  async #answer(call: Call): Promise<Response> {
    const { fault, route } = call;
    switch (fault?.kind) {
      case "drop":
        // What never arrives may be anything; what matters is whether the work is done.
        return fault.when === "before" ? new Response(null) : this.#serve(call);
      case "status": {
        const headers = fault.retryAfter === undefined ? undefined : { "retry-after": fault.retryAfter };
        const empty = [204, 205, 304].includes(fault.status);
        return new Response(empty ? null : "the fake was told to answer so", {
          status: fault.status,
          ...(headers && { headers }),
        });
      }
      case "oauth_error":
        return this.#oauthError(call, fault);
      case "html":
        return htmlPage("Welcome to this network", "<p>Please sign in to use it.</p>");
      case "truncated_json": {
        const whole = await this.#serve(call);
        const text = await whole.text();
        const headers = new Headers(whole.headers);
        headers.delete("content-length");
        return new Response(text.slice(0, Math.floor(text.length / 2)), { status: whole.status, headers });
      }
      case "delay":
      case "hold":
      case "omit_refresh_token":
      case "omit_expires_in":
      case "rotate_twice":
      case "clock_skew":
      case undefined:
        return this.#serve(call, route);
    }
  }

  #oauthError(call: Call, fault: Extract<Fault, { kind: "oauth_error" }>): Response {
    const { error, description = "" } = fault;
    if (call.route.at === "authorize") {
      const refusal: Refusal = { reason: "declined", error, text: description };
      return this.authorization.request(call.url.searchParams, call, refusal);
    }
    const { body } = this.#profile.tokenError({ reason: "malformed", error, text: description });
    const status = fault.status ?? (error === "invalid_client" ? 401 : 400);
    return jsonResponse(replaceError(body, error, description), status, NO_STORE);
  }

  async #serve(call: Call, route: Route = call.route): Promise<Response> {
    switch (route.at) {
      case "authorize":
        if (route.part === "form") return this.authorization.decide(call.form, call);
        if (call.request.method !== "GET") return new Response(null, { status: 405, headers: { allow: "GET, POST" } });
        return this.authorization.request(call.url.searchParams, call);
      case "token":
        return this.#refusable(call, () =>
          this.#token.answer({
            form: call.form,
            authorization: call.request.headers.get("authorization"),
            warehouse: call.warehouse,
            now: call.now,
            strike: call.fault?.kind,
          }),
        );
      case "revoke":
        return this.#refusable(call, () => this.#revoke(call));
      case "metadata":
        if (call.request.method !== "GET") return new Response(null, { status: 405, headers: { allow: "GET" } });
        return jsonResponse(route.part === "keys" ? await this.#keys.jwks() : this.#profile.metadata(call.warehouse));
      case "api":
        return this.#profile.answer({
          method: call.request.method,
          url: call.url,
          headers: call.request.headers,
          body: call.body,
          token: this.ledger.check(readBearer(call.request.headers.get("authorization")), call.now),
          checkToken: (value) => this.ledger.check(value, call.now),
          now: call.now,
        });
    }
  }

  /** Runs a back-channel endpoint and turns its refusals into the warehouse's own answers. */
  async #refusable(call: Call, run: () => Promise<unknown>): Promise<Response> {
    try {
      assertFormPost(call);
      return jsonResponse(await run(), 200, NO_STORE);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const { status, body } = this.#profile.tokenError(error.refusal);
      const headers: Record<string, string> = { ...NO_STORE };
      if (error.refusal.reason === "wrong_method") headers["allow"] = "POST";
      // RFC 6749 §5.2: who tried the header learns the scheme.
      if (status === 401 && call.request.headers.has("authorization")) headers["www-authenticate"] = "Basic";
      return jsonResponse(body, status, headers);
    }
  }

  /** RFC 7009, as Google does it: no client authentication, and the person's grants to the whole project end. */
  #revoke({ form, now }: Call): Promise<unknown> {
    const value = form.get("token") ?? "";
    const refresh = this.ledger.findRefreshToken(value);
    const isDead = (grant: { readonly revoked: unknown }, expiresAt: number): boolean =>
      grant.revoked !== false || expiresAt <= now;
    const access = this.ledger.findAccessToken(value);
    const found = refresh ?? access;
    if (found === undefined || isDead(found.grant, found.expiresAt)) {
      throw new Refused("token_unknown", "invalid_token", "this token is unknown here, or dead already");
    }
    this.ledger.revokeWhere(found.grant.user, "revoked");
    this.authorization.forgetConsents(found.grant.user);
    return Promise.resolve({});
  }

  #route(method: string, path: string, warehouse: Warehouse): Route {
    const { authorizationEndpoint, tokenEndpoint, revocationEndpoint } = warehouse;
    if (authorizationEndpoint !== undefined && path === new URL(authorizationEndpoint).pathname) {
      return { at: "authorize", part: method === "POST" ? "form" : "endpoint" };
    }
    if (path === new URL(tokenEndpoint).pathname) return { at: "token", part: "endpoint" };
    if (revocationEndpoint !== undefined && path === new URL(revocationEndpoint).pathname) {
      return { at: "revoke", part: "endpoint" };
    }
    if (path === this.#profile.jwksPath) return { at: "metadata", part: "keys" };
    if (this.#profile.metadataPaths.includes(path)) return { at: "metadata", part: "endpoint" };
    return { at: "api", part: "endpoint" };
  }

  /** Waits by the fake's clock. A timer keeps at most 15 minutes, so long waits are several. */
  async #sleep(delayMs: number, signal: AbortSignal): Promise<void> {
    for (let left = delayMs; left > 0 && !signal.aborted; left -= MAX_TIMER_MS) {
      await new Promise<void>((resolve) => {
        const stop = (): void => {
          cancel();
          resolve();
        };
        const cancel = this.#clock.setTimer(
          () => {
            signal.removeEventListener("abort", stop);
            resolve();
          },
          Math.min(left, MAX_TIMER_MS),
          { keepAlive: true },
        );
        signal.addEventListener("abort", stop, { once: true });
      });
    }
  }
}

/** RFC 6749 §5.1. */
const NO_STORE: Readonly<Record<string, string>> = { "cache-control": "no-store", pragma: "no-cache" };

function assertFormPost({ request, url }: Call): void {
  if (request.method !== "POST") throw new Refused("wrong_method", "invalid_request", "this endpoint takes POST only");
  const [type] = splitOnce(request.headers.get("content-type") ?? "", ";");
  if (type.trim().toLowerCase() !== "application/x-www-form-urlencoded") {
    throw new Refused("malformed", "invalid_request", "the body must be application/x-www-form-urlencoded");
  }
  if (url.search !== "")
    throw new Refused("malformed", "invalid_request", "parameters belong in the body (RFC 6749 §3.2)");
}

function readBearer(authorization: string | null): string | undefined {
  const [scheme, token] = splitOnce(authorization ?? "", " ");
  return scheme.toLowerCase() === "bearer" && token !== undefined && token !== "" ? token : undefined;
}

/** Puts the fault's own words into the warehouse's envelope, whichever members it has. */
function replaceError(
  body: Readonly<Record<string, unknown>>,
  error: string,
  description: string,
): Readonly<Record<string, unknown>> {
  const text = "message" in body ? { message: description } : { error_description: description };
  return { ...body, ...text, error };
}

/** Waits for a promise, whatever becomes of it, or until nobody waits for the answer any more. */
async function untilSettled(promise: Promise<unknown>, signal: AbortSignal): Promise<void> {
  const settled = promise.then(
    () => undefined,
    () => undefined,
  );
  const aborted = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener(
      "abort",
      () => {
        resolve();
      },
      { once: true },
    );
  });
  await Promise.race([settled, aborted]);
}
