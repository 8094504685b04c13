import { exchangeCode, validateCallback, type RevocationResult } from "warehouse-oauth";
import { runStatement } from "./query.ts";
import type { SessionKeeper } from "./sessions/keeper.ts";
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
 * Finishes a login: takes what was remembered out of its place, checks the callback, exchanges the code, and gives the
 * tokens to the manager. Gives the path to go to.
 */
export async function finishLogin(options: {
  readonly warehouse: DemoWarehouse;
  readonly visitor: Visitor;
  readonly sessions: SessionKeeper;
  readonly callback: URL;
}): Promise<string> {
  const { warehouse, visitor, sessions, callback } = options;
  const { pending } = visitor.takeLogin(callback.searchParams.get("state") ?? "") ?? {};
  const validated = validateCallback(warehouse.client, callback, pending);
  const tokens = await exchangeCode(warehouse.client, validated);
  const watch = await sessions.save(warehouse, visitor.subject, tokens);
  visitor.signedIn.set(warehouse.id, {
    login: tokens,
    watch,
    requestedScopes: pending?.scopes ?? [],
    result: undefined,
    problem: undefined,
  });
  return validated.returnTo ?? "/";
}

/** Runs the demo's statement; what goes wrong is kept for the page. */
export async function queryWarehouse(warehouse: DemoWarehouse, signedIn: SignedIn): Promise<void> {
  await attempt(signedIn, async () => {
    const { way, fake } = warehouse;
    const before = fake?.apiRequests.length ?? 0;
    signedIn.result = undefined;
    const result = await runStatement(warehouse, signedIn.watch.session);
    signedIn.result = { ...result, way: way.name, requests: fake?.apiRequests.slice(before) ?? [] };
  });
}

/** Refreshes the tokens, once for any number of clicks; what goes wrong is kept for the page. */
export async function refreshNow(_warehouse: DemoWarehouse, signedIn: SignedIn): Promise<void> {
  await attempt(signedIn, () => signedIn.watch.session.refresh());
}

/** Signs out: revokes at the warehouse what it can revoke, and forgets the tokens here in any case. */
export async function signOut(warehouse: DemoWarehouse, visitor: Visitor): Promise<RevocationResult | undefined> {
  const signedIn = visitor.signedIn.get(warehouse.id);
  if (signedIn === undefined) return undefined;
  visitor.signedIn.delete(warehouse.id);
  return signedIn.watch.session.revoke();
}

async function attempt(signedIn: SignedIn, work: () => Promise<void>): Promise<void> {
  try {
    await work();
    signedIn.problem = undefined;
  } catch (error) {
    signedIn.problem = error;
  }
}
