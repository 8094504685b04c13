import { sessionPage, sessionParts, sessionsPage } from "../pages/sessions.ts";
import type { Reply, Route, Visit } from "../routes.ts";
import { SESSION_ACTIONS } from "./actions.ts";
import type { SessionWatch } from "./watch.ts";

const WAREHOUSE = "(snowflake|databricks|bigquery)";
const ACTION = `(${SESSION_ACTIONS.map(({ id }) => id).join("|")})`;

/** The pages on which a person watches sessions, and breaks things. */
export const sessionRoutes: readonly Route[] = [
  { method: "GET", path: /^\/sessions$/, handle: showAll },
  { method: "GET", path: /^\/sessions\/live$/, handle: (visit) => follow(watchesOf(visit), false) },
  { method: "GET", path: new RegExp(`^/sessions/${WAREHOUSE}$`), handle: showOne },
  { method: "GET", path: new RegExp(`^/sessions/${WAREHOUSE}/live$`), handle: followOne },
  { method: "POST", path: new RegExp(`^/sessions/${WAREHOUSE}/${ACTION}$`), handle: act },
];

/** How often the pages move. */
const TICK_MS = 1_000;

/** Events that come in one breath are shown in one. */
const BREATH_MS = 60;

/** A form is answered after this, whether its work is done or not: the log tells the rest. */
const ANSWER_MS = 1_500;

async function showAll(visit: Visit): Promise<Reply> {
  const views = await Promise.all(watchesOf(visit).map((watch) => watch.look()));
  const page = sessionsPage(visit.warehouses, views, visit.visitor?.notice);
  if (visit.visitor !== undefined) visit.visitor.notice = undefined;
  return { page, live: true };
}

async function showOne(visit: Visit): Promise<Reply> {
  const watch = watchOf(visit);
  if (watch === undefined) return { location: "/sessions" };
  return { page: sessionPage(await watch.look()), live: true };
}

function followOne(visit: Visit): Reply {
  const watch = watchOf(visit);
  return follow(watch === undefined ? [] : [watch], true);
}

/** Sends the parts of a page whenever they look different. */
function follow(watches: readonly SessionWatch[], whole: boolean): Reply {
  return {
    stream(send) {
      const sent = new Map<string, string>();
      let breath: NodeJS.Timeout | undefined;
      const push = async (): Promise<void> => {
        const changed: [string, string][] = [];
        for (const view of await Promise.all(watches.map((watch) => watch.look()))) {
          for (const [id, part] of Object.entries(sessionParts(view, { whole, moves: false }))) {
            const text = part.toString();
            if (sent.get(id) !== text) changed.push([id, text]);
            sent.set(id, text);
          }
        }
        send(JSON.stringify(Object.fromEntries(changed)));
      };
      const pushQuietly = (): void => {
        // What could not be looked at now is looked at with the next tick.
        push().catch(() => undefined);
      };
      const pushSoon = (): void => {
        breath ??= setTimeout(() => {
          breath = undefined;
          pushQuietly();
        }, BREATH_MS);
      };
      const stops = watches.map((watch) => watch.onChange(pushSoon));
      const tick = setInterval(pushQuietly, TICK_MS);
      pushQuietly();
      return () => {
        clearInterval(tick);
        clearTimeout(breath);
        for (const stop of stops) stop();
      };
    },
  };
}

async function act(visit: Visit): Promise<Reply> {
  const watch = watchOf(visit);
  const action = SESSION_ACTIONS.find(({ id }) => id === visit.parts[1]);
  if (watch === undefined || action === undefined) return { location: "/sessions" };
  if (action.needsFake && watch.warehouse.fake === undefined) return { location: `/sessions/${watch.warehouse.id}` };
  const work = action.run({ keeper: visit.sessions, watch }).catch(() => {
    watch.note("that did not work", "bad");
  });
  await Promise.race([work, new Promise((resolve) => setTimeout(resolve, ANSWER_MS))]);
  return {
    location:
      visit.url.searchParams.get("all") === "1" ? `/sessions#${watch.warehouse.id}` : `/sessions/${watch.warehouse.id}`,
  };
}

function watchesOf({ visitor, warehouses }: Visit): readonly SessionWatch[] {
  return warehouses.flatMap(({ id }) => visitor?.signedIn.get(id)?.watch ?? []);
}

function watchOf(visit: Visit): SessionWatch | undefined {
  return watchesOf(visit).find(({ warehouse }) => warehouse.id === visit.parts[0]);
}
