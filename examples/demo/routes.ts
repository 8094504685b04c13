import { OAuthError } from "warehouse-oauth";
import { beginLogin, finishLogin, queryWarehouse, refreshNow, signOut } from "./flow.ts";
import type { Html } from "./html.ts";
import { failurePage, plainPage } from "./pages/failure.ts";
import { homePage } from "./pages/home.ts";
import { requestPage } from "./pages/request.ts";
import { warehousePage } from "./pages/warehouse.ts";
import type { SessionKeeper } from "./sessions/keeper.ts";
import { Visitor, type SignedIn, type Visitors } from "./visitors.ts";
import type { DemoWarehouse } from "./warehouses.ts";

/** A request, with what the server knows of the browser it came from. */
export interface Visit {
  readonly url: URL;
  /** The parts of the path that the route leaves open. */
  readonly parts: readonly string[];
  readonly warehouses: readonly DemoWarehouse[];
  readonly visitors: Visitors;
  readonly sessions: SessionKeeper;
  /** `undefined` for a browser that began nothing yet. */
  readonly visitorId: string | undefined;
  readonly visitor: Visitor | undefined;
  readonly now: number;
}

/**
 * What goes back: a page, another address, or text that goes on until the browser leaves. `visitorId` becomes the
 * browser's cookie.
 */
export type Reply = (
  | {
      readonly page: Html;
      readonly status?: number;
      /** The page may run our one script. Default is `false`. */
      readonly live?: boolean;
    }
  | { readonly location: string }
  | {
      /** Begins to send, and gives the way to stop. */
      readonly stream: (send: (data: string) => void) => () => void;
    }
) & {
  readonly visitorId?: string;
};

/** One address. More modules of pages are added by adding their routes to the server's list. */
export interface Route {
  readonly method: "GET" | "POST";
  readonly path: RegExp;
  handle(visit: Visit): Reply | Promise<Reply>;
}

const WAREHOUSE = "(snowflake|databricks|bigquery)";
const LOGIN = "([0-9a-f]{32})";

/** The pages of a login, from the choice to the query. */
export const loginRoutes: readonly Route[] = [
  { method: "GET", path: /^\/$/, handle: showHome },
  { method: "POST", path: new RegExp(`^/login/${WAREHOUSE}$`), handle: startLogin },
  { method: "GET", path: new RegExp(`^/login/${LOGIN}$`), handle: showRequest },
  { method: "GET", path: new RegExp(`^/login/${LOGIN}/continue$`), handle: goToWarehouse },
  { method: "GET", path: new RegExp(`^/callback/${WAREHOUSE}$`), handle: takeCallback },
  { method: "GET", path: new RegExp(`^/warehouses/${WAREHOUSE}$`), handle: showWarehouse },
  { method: "POST", path: new RegExp(`^/warehouses/${WAREHOUSE}/query$`), handle: act(queryWarehouse, "#query") },
  { method: "POST", path: new RegExp(`^/warehouses/${WAREHOUSE}/refresh$`), handle: act(refreshNow) },
  { method: "POST", path: new RegExp(`^/warehouses/${WAREHOUSE}/sign-out$`), handle: endLogin },
];

/** The page for an address that is none. */
export function notFound(): Reply {
  return { page: plainPage("There is nothing here", "This address is not part of the demo."), status: 404 };
}

function showHome({ warehouses, visitor }: Visit): Reply {
  const page = homePage(warehouses, visitor);
  if (visitor !== undefined) visitor.notice = undefined;
  return { page };
}

async function startLogin(visit: Visit): Promise<Reply> {
  const warehouse = warehouseOf(visit);
  const visitor = visit.visitor ?? new Visitor();
  const login = await beginLogin(warehouse, visitor);
  const location = `/login/${login.id}`;
  return visit.visitor === undefined ? { location, visitorId: visit.visitors.keep(visitor) } : { location };
}

function showRequest(visit: Visit): Reply {
  const login = visit.visitor?.findLogin(visit.parts[0] ?? "");
  if (login === undefined) return noLogin();
  return { page: requestPage(findWarehouse(visit, login.warehouseId), login, visit.now) };
}

function goToWarehouse({ visitor, parts }: Visit): Reply {
  const login = visitor?.findLogin(parts[0] ?? "");
  return login === undefined ? noLogin() : { location: login.url.href };
}

function noLogin(): Reply {
  const text = "It belongs to another browser, was finished, or is too old.";
  return { page: plainPage("This login is not under way", text), status: 404 };
}

async function takeCallback(visit: Visit): Promise<Reply> {
  const warehouse = warehouseOf(visit);
  const visitor = visit.visitor ?? new Visitor();
  try {
    const location = await finishLogin({ warehouse, visitor, sessions: visit.sessions, callback: visit.url });
    return { location, visitorId: visit.visitors.keep(visitor, visit.visitorId) };
  } catch (error) {
    const answered = OAuthError.is(error) && error.name !== "CallbackError";
    return { page: failurePage(error, warehouse), status: answered ? 502 : 400 };
  }
}

async function showWarehouse(visit: Visit): Promise<Reply> {
  const warehouse = warehouseOf(visit);
  const signedIn = visit.visitor?.signedIn.get(warehouse.id);
  if (visit.visitor === undefined || signedIn === undefined) return { location: "/" };
  const { notice } = visit.visitor;
  visit.visitor.notice = undefined;
  const view = await signedIn.watch.look();
  const page = warehousePage({ warehouse, signedIn, view, notice });
  signedIn.problem = undefined;
  return { page };
}

/** Makes the handler of an action that changes the session and leaves its outcome on the page. */
function act(
  work: (warehouse: DemoWarehouse, signedIn: SignedIn) => Promise<void>,
  fragment = "",
): (visit: Visit) => Promise<Reply> {
  return async (visit) => {
    const warehouse = warehouseOf(visit);
    const signedIn = visit.visitor?.signedIn.get(warehouse.id);
    if (signedIn === undefined) return { location: "/" };
    await work(warehouse, signedIn);
    return { location: `/warehouses/${warehouse.id}${signedIn.problem === undefined ? fragment : ""}` };
  };
}

async function endLogin(visit: Visit): Promise<Reply> {
  const warehouse = warehouseOf(visit);
  if (visit.visitor === undefined) return { location: "/" };
  const result = await signOut(warehouse, visit.visitor);
  if (result !== undefined) visit.visitor.notice = describeSignOut(warehouse.name, result);
  return { location: visit.url.searchParams.get("to") === "sessions" ? "/sessions" : "/" };
}

function describeSignOut(
  name: string,
  { refreshToken, instructions }: NonNullable<Awaited<ReturnType<typeof signOut>>>,
): string {
  const gone = `Signed out of ${name}: the tokens are deleted here.`;
  if (refreshToken === "revoked") return `${gone} The warehouse revoked them too (RFC 7009).`;
  if (refreshToken === "already_invalid") return `${gone} The warehouse had ended them before.`;
  if (refreshToken === "failed") return `${gone} The warehouse could not be told; the grant there lives on.`;
  return `${gone} ${name} cannot revoke over OAuth. ${instructions ?? "The refresh token there dies of age."}`;
}

function warehouseOf(visit: Visit): DemoWarehouse {
  return findWarehouse(visit, visit.parts[0] ?? "");
}

function findWarehouse({ warehouses }: Visit, id: string): DemoWarehouse {
  const warehouse = warehouses.find((candidate) => candidate.id === id);
  if (warehouse === undefined) throw new TypeError("a route named a warehouse that the demo does not have");
  return warehouse;
}
