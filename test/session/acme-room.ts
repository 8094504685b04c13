// What the unit tests of this room share: a warehouse of our own, a token endpoint that counts, stores that can fail.
import { createClient, defineWarehouse, importTokens, memoryStore } from "warehouse-oauth";
import type {
  Clock,
  ExportedTokens,
  OAuthClient,
  SessionEvent,
  TokenManager,
  TokenSet,
  TokenStore,
  Warehouse,
  WarehouseDefinition,
} from "warehouse-oauth";
import { DueQueue } from "../../src/lib/due-queue.ts";
import { Connection } from "../../src/session/connection.ts";
import { SessionEntry } from "../../src/session/session-entry.ts";

export const SECOND = 1_000;
export const MINUTE = 60_000;
export const HOUR = 3_600_000;
export const DAY = 86_400_000;

export function acme(changes: Partial<WarehouseDefinition<object>> = {}): Warehouse {
  return defineWarehouse<object>({
    id: "acme",
    issuer: "https://login.acme.example",
    authorizationEndpoint: "https://login.acme.example/authorize",
    tokenEndpoint: "https://login.acme.example/token",
    grants: ["authorization_code", "refresh_token", "client_credentials"],
    refreshRotation: "none",
    ...changes,
  });
}

/** One token request as it arrived. */
export interface Call {
  /** Wall clock. */
  readonly at: number;
  /** Monotonic milliseconds. */
  readonly elapsedMs: number;
  readonly refreshToken: string;
}

type Answer = (call: Call, index: number) => Response | Promise<Response>;

/** A token endpoint in memory. What it answers is set by hand. */
export interface AcmeServer {
  readonly client: OAuthClient;
  readonly calls: readonly Call[];
  answer: Answer;
  /** What the next answers say; `undefined` leaves it out. */
  expiresIn: unknown;
  /** Tokens of a login that happened now, or as changed. */
  tokens(changes?: Partial<ExportedTokens>): TokenSet;
  /** Another registration at the same server. */
  register(clientId: string, options?: { readonly clientSecret?: () => string | Promise<string> }): OAuthClient;
}

export function acmeServer(
  clock: Clock,
  definition: Partial<WarehouseDefinition<object>> = {},
  expiresIn: unknown = 600,
): AcmeServer {
  const warehouse = acme(definition);
  const calls: Call[] = [];
  const fetch = async (_input: unknown, init?: RequestInit): Promise<Response> => {
    const form = new URLSearchParams(init?.body instanceof URLSearchParams ? init.body.toString() : "");
    const call = { at: clock.now(), elapsedMs: clock.monotonic(), refreshToken: form.get("refresh_token") ?? "" };
    calls.push(call);
    return server.answer(call, calls.length);
  };
  const register: AcmeServer["register"] = (clientId, options) =>
    createClient({ warehouse, clientId, clientSecret: "secret", fetch, clock, ...options });
  const client = register("acme-client");
  const server: AcmeServer = {
    client,
    calls,
    expiresIn,
    answer: (_call, index) => success(`access-${String(index)}`, { expires_in: server.expiresIn }),
    tokens: (changes = {}) => {
      const obtainedAt = changes.obtainedAt ?? clock.now();
      const seconds = typeof server.expiresIn === "number" ? server.expiresIn : 600;
      return importTokens({
        accessToken: "access-0",
        refreshToken: "refresh-0",
        tokenType: "Bearer",
        obtainedAt,
        expiresAt: obtainedAt + seconds * SECOND,
        scopes: ["sql"],
        scopesAssumed: false,
        connectionId: client.connectionId,
        ...changes,
      });
    },
    register,
  };
  return server;
}

export function success(accessToken: string, members: Readonly<Record<string, unknown>> = {}): Response {
  return Response.json({ access_token: accessToken, token_type: "Bearer", expires_in: 600, ...members });
}

export function refused(error: string, status = 400): Response {
  return Response.json({ error }, { status });
}

/** Everything a manager says, in order. */
export function eventsOf(manager: TokenManager): SessionEvent[] {
  const events: SessionEvent[] = [];
  manager.on("*", (event) => events.push(event));
  return events;
}

/** A store whose methods can be replaced one by one; says of itself that it survives the process. */
export function storeWith(clock: Clock, changes: Partial<TokenStore> = {}, inner = memoryStore({ clock })): TokenStore {
  return {
    capabilities: { compareAndSet: true, durable: true },
    read: (key, options) => inner.read(key, options),
    write: (key, record, options) => inner.write(key, record, options),
    delete: (key, options) => inner.delete(key, options),
    lease: async (key, options) => inner.lease?.(key, options),
    due: async (options) => (await inner.due?.(options)) ?? [],
    keys: async (options) => (await inner.keys?.(options)) ?? [],
    ...changes,
  };
}

/** The same store without some of its methods: one that cannot. */
export function storeWithout(clock: Clock, names: readonly ("lease" | "due")[], inner?: TokenStore): TokenStore {
  const entries = Object.entries(storeWith(clock, {}, inner)).filter(([name]) => !names.includes(name as "lease"));
  return Object.fromEntries(entries) as unknown as TokenStore;
}

/** An entry with tokens, for tests of one file. */
export function entryOf(client: OAuthClient, tokens?: TokenSet, subject = "ada"): SessionEntry {
  const entry = new SessionEntry(new Connection(client), `/${subject}/`, 0);
  if (tokens !== undefined) {
    entry.record = {
      generation: 1,
      state: "active",
      cause: undefined,
      tokens,
      rotates: false,
      loginAt: tokens.obtainedAt,
      intent: undefined,
      revokeLate: false,
    };
  }
  return entry;
}

/** What was thrown; fails if nothing was. */
export async function thrownBy(run: () => unknown): Promise<unknown> {
  try {
    await run();
  } catch (error) {
    return error;
  }
  throw new Error("expected it to throw");
}

/** A clock for ten thousand timers: it waits a few turns of the event loop for each, and for no Web Crypto. */
export function quickClock(): Clock & { advance(durationMs: number): Promise<void>; skip(durationMs: number): void } {
  let elapsedMs = 0;
  const timers = new DueQueue<{ callback: () => void }>();
  const settle = async (): Promise<void> => {
    for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
  };
  const nextAt = (): number => timers.peekDueAt() ?? Infinity;
  return {
    now: () => Date.UTC(2026, 0, 1) + elapsedMs,
    monotonic: () => elapsedMs,
    setTimer: (callback, delayMs) => {
      let isSet = true;
      const fire = (): void => {
        isSet = false;
        callback();
      };
      const slot = timers.add(elapsedMs + Math.max(1, Math.ceil(delayMs)), { callback: fire });
      return () => {
        if (isSet) timers.remove(slot);
        isSet = false;
      };
    },
    skip: (durationMs) => void (elapsedMs += durationMs),
    async advance(durationMs) {
      const end = elapsedMs + durationMs;
      await settle();
      for (let at = nextAt(); at <= end; at = nextAt()) {
        elapsedMs = Math.max(elapsedMs, at);
        for (let due = timers.popDue(elapsedMs); due !== undefined; due = timers.popDue(elapsedMs)) due.callback();
        await settle();
      }
      elapsedMs = end;
    },
  };
}
