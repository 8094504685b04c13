import { createClient, defineWarehouse, importTokens } from "warehouse-oauth";
import type {
  ClientOptions,
  Clock,
  ErrorCode,
  ExportedTokens,
  Fetch,
  LoginOptions,
  OAuthClient,
  TokenSet,
  Warehouse,
  WarehouseDefinition,
} from "warehouse-oauth";
import { expect } from "vitest";

/** 2026-11-21T12:00:00Z. */
export const NOON = Date.UTC(2026, 10, 21, 12);

/** A definition that every check passes. */
export const ACME: WarehouseDefinition<LoginOptions> = {
  id: "acme",
  issuer: "https://login.acme.example",
  authorizationEndpoint: "https://login.acme.example/authorize",
  tokenEndpoint: "https://login.acme.example/token",
  defaultScopes: ["sql", "offline_access"],
};

export const REDIRECT_URI = "https://app.example/oauth/callback?tenant=a%20b";

export function acmeWarehouse(changes: Partial<WarehouseDefinition<LoginOptions>> = {}): Warehouse<LoginOptions> {
  return defineWarehouse({ ...ACME, ...changes });
}

export function acmeClient(
  changes: Partial<ClientOptions<LoginOptions>> = {},
  definition: Partial<WarehouseDefinition<LoginOptions>> = {},
): OAuthClient<LoginOptions> {
  return createClient({
    warehouse: acmeWarehouse(definition),
    clientId: "client-1",
    redirectUri: REDIRECT_URI,
    clock: standingClock(),
    ...changes,
  });
}

export function acmeTokens(changes: Partial<ExportedTokens> = {}): TokenSet {
  return importTokens({
    accessToken: "access-token-1",
    tokenType: "Bearer",
    obtainedAt: NOON,
    scopes: ["sql"],
    scopesAssumed: false,
    connectionId: acmeClient().connectionId,
    ...changes,
  });
}

/** A clock whose hands are moved by assignment; its timers are fired by hand. */
export interface StandingClock extends Clock {
  time: number;
  readonly timers: Set<() => void>;
}

export function standingClock(time: number = NOON): StandingClock {
  const clock: StandingClock = {
    time,
    timers: new Set(),
    now: () => clock.time,
    monotonic: () => clock.time,
    setTimer(callback) {
      clock.timers.add(callback);
      return () => clock.timers.delete(callback);
    },
  };
  return clock;
}

/** Answers by address, and counts what was asked for. What it does not know is a 404. */
export function documentFetch(documents: Record<string, unknown>): Fetch & { readonly asked: string[] } {
  const asked: string[] = [];
  const fetch: Fetch = (input) => {
    const address = input instanceof Request ? input.url : String(input);
    asked.push(address);
    return Promise.resolve(
      Object.hasOwn(documents, address) ? Response.json(documents[address]) : new Response("", { status: 404 }),
    );
  };
  return Object.assign(fetch, { asked });
}

/** Runs, and gives what was thrown. */
export async function thrownBy(run: () => unknown): Promise<unknown> {
  try {
    await run();
  } catch (error) {
    return error;
  }
  throw new Error("expected it to throw");
}

/** Expects an error with this code, and says what was thrown if it is another. */
export async function expectCode(run: () => unknown, code: ErrorCode | "invalid_argument"): Promise<unknown> {
  const error = await thrownBy(run);
  expect(error).toMatchObject({ code });
  if (code === "invalid_argument") expect(error).toBeInstanceOf(TypeError);
  return error;
}
