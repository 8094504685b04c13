// What the tests of this room share: a warehouse of our own, a fetch that plays a script, a clock that stands still.
import {
  type Clock,
  type ClientOptions,
  type Fetch,
  type OAuthClient,
  type TokenSet,
  type ValidatedCallback,
  type Warehouse,
  type WarehouseDefinition,
  createAuthorizationRequest,
  createClient,
  defineWarehouse,
  importTokens,
  validateCallback,
} from "warehouse-oauth";

export const NOW: number = Date.UTC(2026, 10, 21, 12);
export const REDIRECT_URI = "https://client.example.com/cb";

const ALL_GRANTS = [
  "authorization_code",
  "refresh_token",
  "client_credentials",
  "jwt_bearer",
  "token_exchange",
] as const;

/** A warehouse that speaks everything; the tests change one thing at a time. */
export function acme(changes: Partial<WarehouseDefinition<object>> = {}): Warehouse {
  return defineWarehouse<object>({
    id: "acme",
    issuer: "https://login.acme.example",
    authorizationEndpoint: "https://login.acme.example/authorize",
    tokenEndpoint: "https://login.acme.example/token",
    revocationEndpoint: "https://login.acme.example/revoke",
    grants: ALL_GRANTS,
    ...changes,
  });
}

/** One request as it left. */
export interface Sent {
  readonly url: string;
  readonly method: string | undefined;
  readonly headers: Headers;
  readonly body: string;
  readonly form: URLSearchParams;
  readonly redirect: string | undefined;
  readonly signal: AbortSignal;
}

export type Step = ((sent: Sent) => Response | Promise<Response>) | Error;

export interface Script {
  readonly fetch: Fetch;
  readonly sent: readonly Sent[];
}

/** Plays one step for each request; a request beyond the last one fails by name. */
export function script(...steps: readonly Step[]): Script {
  const sent: Sent[] = [];
  const fetch: Fetch = async (input, init) => {
    const body = init?.body instanceof URLSearchParams ? init.body.toString() : "";
    const signal = init?.signal;
    if (!(signal instanceof AbortSignal)) throw new Error("every request has a signal");
    const step = steps[sent.length];
    const request: Sent = {
      url: input instanceof Request ? input.url : String(input),
      method: init?.method,
      headers: new Headers(init?.headers),
      body,
      form: new URLSearchParams(body),
      redirect: init?.redirect,
      signal,
    };
    sent.push(request);
    if (step === undefined) throw Object.assign(new Error("not in the script"), { code: "NOT_IN_SCRIPT" });
    if (step instanceof Error) throw step;
    return step(request);
  };
  return { fetch, sent };
}

export const json =
  (body: unknown, init: ResponseInit = {}): Step =>
  () =>
    Response.json(body, init);

export const text =
  (
    body: string | Uint8Array<ArrayBuffer> | null,
    init: ResponseInit = {},
    type: string | null = "application/json",
  ): Step =>
  () => {
    const headers = new Headers(init.headers);
    if (type !== null) headers.set("content-type", type);
    return new Response(body, { ...init, headers });
  };

export const TOKENS = { access_token: "access-1", token_type: "Bearer", expires_in: 3600 };

/** Time moves only when told to. */
export interface StillClock extends Clock {
  advance(byMs: number): void;
  /** Timers that wait, with what they were told. */
  readonly timers: readonly {
    readonly at: number;
    readonly delayMs: number;
    readonly keepAlive: boolean | undefined;
  }[];
}

export function stillClock(start: number = NOW): StillClock {
  let now = start;
  let timers: { callback: () => void; at: number; delayMs: number; keepAlive: boolean | undefined }[] = [];
  return {
    get timers() {
      return timers;
    },
    now: () => now,
    monotonic: () => now - start,
    setTimer(callback, delayMs, options) {
      const timer = { callback, at: now + delayMs, delayMs, keepAlive: options?.keepAlive };
      timers.push(timer);
      return () => {
        timers = timers.filter((other) => other !== timer);
      };
    },
    advance(byMs) {
      const until = now + byMs;
      for (;;) {
        const [next] = timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at);
        if (next === undefined) break;
        timers = timers.filter((other) => other !== next);
        now = Math.max(now, next.at);
        next.callback();
      }
      now = until;
    },
  };
}

export function acmeClient(
  fetch: Fetch,
  changes: Partial<ClientOptions> = {},
  warehouse: Warehouse = acme(),
): OAuthClient {
  const options = {
    warehouse,
    clientId: "s6BhdRkqt3",
    redirectUri: REDIRECT_URI,
    fetch,
    clock: stillClock(),
    ...changes,
  };
  return createClient(options as ClientOptions);
}

/** A login up to the point where the code is there. */
export async function loggedIn(
  client: OAuthClient,
  options: { readonly scopes?: readonly string[]; readonly code?: string; readonly returnTo?: string } = {},
): Promise<{
  readonly callback: ValidatedCallback;
  readonly codeVerifier: string;
  readonly nonce: string | undefined;
}> {
  const { code = "SplxlOBeZQQYbYS6WxSbIA", ...others } = options;
  const { pending } = await createAuthorizationRequest(client, others);
  const parameters = new URLSearchParams({ code, state: pending.state });
  const callback = validateCallback(client, parameters, pending);
  return { callback, codeVerifier: pending.codeVerifier, nonce: pending.nonce };
}

/** Tokens of this client, as if saved earlier. */
export function savedTokens(client: OAuthClient, changes: Record<string, unknown> = {}): TokenSet {
  return importTokens({
    accessToken: "access-0",
    refreshToken: "refresh-0",
    tokenType: "Bearer",
    obtainedAt: NOW - 3_600_000,
    expiresAt: NOW,
    scopes: ["read", "write"],
    scopesAssumed: false,
    connectionId: client.connectionId,
    ...changes,
  });
}

/** What a call was refused with. Fails if it was not. */
export async function refusal(run: Promise<unknown>): Promise<Error & Record<string, unknown>> {
  let result: unknown;
  try {
    result = await run;
  } catch (error) {
    if (error instanceof Error) return error as Error & Record<string, unknown>;
    throw error;
  }
  throw new Error(`nothing was refused: ${String(result)}`);
}
