import {
  exchangeCode,
  refreshTokens,
  revokeTokens,
  validateCallback,
  type RevocationResult,
  type TokenSet,
} from "warehouse-oauth";
import { shortenToken } from "./html.ts";
import { runQuery } from "./query.ts";
import { createId, type Login, type SignedIn, type Visitor } from "./visitors.ts";
import type { DemoWarehouse } from "./warehouses.ts";

/** Begins a login and remembers it for this browser. */
export async function beginLogin(warehouse: DemoWarehouse, visitor: Visitor): Promise<Login> {
  const { url, pending } = await warehouse.begin(`/warehouses/${warehouse.id}`);
  const login: Login = { id: createId(), warehouseId: warehouse.id, url, pending };
  visitor.remember(login);
  return login;
}

/**
 * Finishes a login: takes what was remembered out of its place, checks the callback, exchanges the code.
 * Gives the path to go to.
 */
export async function finishLogin(warehouse: DemoWarehouse, visitor: Visitor, callback: URL): Promise<string> {
  const { pending } = visitor.takeLogin(callback.searchParams.get("state") ?? "") ?? {};
  const validated = validateCallback(warehouse.client, callback, pending);
  const tokens = await exchangeCode(warehouse.client, validated);
  visitor.signedIn.set(warehouse.id, {
    tokens,
    requestedScopes: pending?.scopes ?? [],
    refreshes: [],
    refreshing: undefined,
    result: undefined,
    problem: undefined,
  });
  return validated.returnTo ?? "/";
}

/** Runs the demo's statement; what goes wrong is kept for the page. */
export async function queryWarehouse(warehouse: DemoWarehouse, signedIn: SignedIn): Promise<void> {
  await attempt(signedIn, async () => {
    const { accessToken } = signedIn.tokens;
    const { api, statement, client } = warehouse;
    signedIn.result = undefined;
    signedIn.result = await runQuery({ api, statement, accessToken, warehouse: client.warehouse });
  });
}

/** Refreshes the tokens, once for any number of clicks; what goes wrong is kept for the page. */
export async function refreshNow(warehouse: DemoWarehouse, signedIn: SignedIn): Promise<void> {
  await attempt(signedIn, async () => {
    signedIn.refreshing ??= replaceTokens(warehouse, signedIn).finally(() => {
      signedIn.refreshing = undefined;
    });
    await signedIn.refreshing;
  });
}

async function replaceTokens({ client }: DemoWarehouse, signedIn: SignedIn): Promise<TokenSet> {
  const before = signedIn.tokens;
  const tokens = await refreshTokens(client, before);
  signedIn.tokens = tokens;
  const note = {
    at: tokens.obtainedAt,
    accessToken: shortenToken(tokens.accessToken),
    rotated: tokens.refreshToken !== before.refreshToken,
  };
  signedIn.refreshes = [note, ...signedIn.refreshes].slice(0, MAX_NOTES);
  return tokens;
}

/** Refreshes that the page lists. */
const MAX_NOTES = 5;

/** Signs out: revokes at the warehouse what it can revoke, and forgets the tokens here in any case. */
export async function signOut(warehouse: DemoWarehouse, visitor: Visitor): Promise<RevocationResult | undefined> {
  const signedIn = visitor.signedIn.get(warehouse.id);
  if (signedIn === undefined) return undefined;
  visitor.signedIn.delete(warehouse.id);
  return revokeTokens(warehouse.client, signedIn.tokens);
}

async function attempt(signedIn: SignedIn, work: () => Promise<void>): Promise<void> {
  try {
    await work();
    signedIn.problem = undefined;
  } catch (error) {
    signedIn.problem = error;
  }
}
