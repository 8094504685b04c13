import { html, type Html, type HtmlValue } from "../html.ts";
import { SESSION_ACTIONS, type SessionAction } from "../sessions/actions.ts";
import { needsSignIn, type SessionView } from "../sessions/watch.ts";
import type { DemoWarehouse } from "../warehouses.ts";
import { formatDuration, formatTime } from "./duration.ts";
import { actionButton, codePanel, layout } from "./layout.ts";
import { eventStrip, timeLine, timeLineKey } from "./time-line.ts";

/** Lines of the log where sessions stand side by side. */
const FEW_LINES = 9;

/** All sessions of one browser, side by side. */
export function sessionsPage(
  warehouses: readonly DemoWarehouse[],
  views: readonly SessionView[],
  notice: string | undefined,
): Html {
  return layout({
    title: "Sessions, live",
    notice,
    live: true,
    content: html`
      ${head(
        html`Sessions, live`,
        html`One <code>TokenManager</code> keeps these tokens fresh. The embedded warehouses give out
          ${lifetimes(warehouses)}, so that you can watch a life in a minute; a real one lasts ten minutes or an hour.
          Break something and watch it survive.`,
        "/sessions",
      )}
      <div class="sessions" data-live="/sessions/live">
        ${warehouses.map((warehouse) => {
          const view = views.find((candidate) => candidate.warehouse.id === warehouse.id);
          return view === undefined ? signInCard(warehouse) : sessionCard(view);
        })}
      </div>
      ${explanation()}
    `,
  });
}

/** One session, with its whole log. */
export function sessionPage(view: SessionView): Html {
  const { warehouse, person, reference } = view;
  const { id, name } = warehouse;
  const parts = sessionParts(view, { whole: true, moves: true });
  return layout({
    title: `The session at ${name}`,
    accent: id,
    live: true,
    content: html`
      ${head(
        html`${person} at ${name}`,
        html`What the manager knows of this session, and what happened to it. Events call it
          <code>${reference.slice(0, 8)}…</code>: a hash that leads back to nobody.
          <a href="/sessions">All sessions</a>`,
        `/sessions/${id}`,
      )}
      <div class="columns" data-live="/sessions/${id}/live">
        <div class="stack">
          <section class="panel" aria-labelledby="life-title">
            <h2 id="life-title" class="sr">The token's life</h2>
            ${part(parts, `${id}-state`, "status")} ${part(parts, `${id}-line`)} ${part(parts, `${id}-facts`)}
          </section>
          <section class="panel" aria-labelledby="log-title">
            <h2 id="log-title">What happened</h2>
            ${part(parts, `${id}-log`)}
          </section>
        </div>
        <aside>${controls(view, false)} ${exits(view)}</aside>
      </div>
      ${explanation()}
    `,
  });
}

/**
 * The parts of a page that move, by the ids of their places.
 *
 * @param options.whole With the whole log.
 * @param options.moves Whether the parts move by themselves, because nobody replaces them.
 */
export function sessionParts(
  view: SessionView,
  { whole, moves }: { readonly whole: boolean; readonly moves: boolean },
): Readonly<Record<string, Html>> {
  const { id } = view.warehouse;
  return {
    [`${id}-state`]: state(view),
    [`${id}-line`]: line(view, moves),
    [`${id}-facts`]: facts(view),
    [`${id}-log`]: log(view, whole ? Infinity : FEW_LINES),
  };
}

function part(parts: Readonly<Record<string, Html>>, id: string, role?: "status"): Html {
  return role === undefined
    ? html`<div class="part" id="${id}">${parts[id]}</div>`
    : html`<div class="part" id="${id}" role="status">${parts[id]}</div>`;
}

function head(title: Html, lead: Html, self: string): Html {
  return html`<section class="live-head">
    <div>
      <h1>${title}</h1>
      <p class="lead">${lead}</p>
    </div>
    <p class="pulse">
      <span data-line="still">As of ${formatTime(Date.now())}</span>
      <a class="button quiet" href="${self}">Reload</a>
    </p>
  </section>`;
}

function lifetimes(warehouses: readonly DemoWarehouse[]): string {
  const lives = warehouses.flatMap(({ fake, name }) =>
    fake === undefined ? [] : [`${formatDuration(fake.lifetimeMs)} at ${name}`],
  );
  return lives.length === 0 ? "nothing: these are real accounts" : `short-lived tokens (${lives.join(", ")})`;
}

function signInCard({ id, name }: DemoWarehouse): Html {
  return html`<article class="card accent-${id}" id="${id}">
    <header>
      <span class="mark" aria-hidden="true"></span>
      <h2>${name}</h2>
    </header>
    <p class="small">Nobody is signed in here. A login takes three clicks, and any name will do.</p>
    ${actionButton(`/login/${id}`, `Sign in to ${name}`, "primary")}
  </article>`;
}

function sessionCard(view: SessionView): Html {
  const { warehouse, person } = view;
  const { id, name, fake } = warehouse;
  const parts = sessionParts(view, { whole: false, moves: true });
  return html`<article class="card session accent-${id}" id="${id}">
    <header>
      <span class="mark" aria-hidden="true"></span>
      <h2><a href="/sessions/${id}">${name}</a></h2>
      <span class="tag">${fake === undefined ? "real account" : `${formatDuration(fake.lifetimeMs)} tokens`}</span>
    </header>
    <p class="small who">${person}</p>
    ${part(parts, `${id}-state`, "status")} ${part(parts, `${id}-line`)} ${part(parts, `${id}-facts`)}
    ${controls(view, true)} ${part(parts, `${id}-log`)} ${exits(view)}
  </article>`;
}

// ---------------------------------------------------------------- parts

interface StateInWords {
  readonly label: string;
  readonly tone: "good" | "warn" | "bad" | "plain";
  readonly text: HtmlValue;
}

function state(view: SessionView): Html {
  const { label, tone, text } = stateInWords(view);
  return html`<p class="state state-${tone}"><strong>${label}</strong></p>
    <p class="small state-text">${text}</p>
    ${needsSignIn(view.status) && actionButton(`/login/${view.warehouse.id}`, "Sign in again", "primary")}`;
}

function stateInWords({ status, life, now, warehouse }: SessionView): StateInWords {
  switch (status.state) {
    case "absent":
      return { label: "absent", tone: "plain", text: "Nobody is signed in." };
    case "revoked":
      return { label: "signed out", tone: "plain", text: "The tokens are deleted here." };
    case "reauthorization_required":
      return {
        label: "sign in again",
        tone: "bad",
        text: html`The grant is dead: <code>${status.cause}</code>. No retry would change that, so nothing is sent any
          more. A person must sign in.`,
      };
    case "refreshing":
      return { label: "refreshing", tone: "warn", text: "One refresh is under way, for all who ask." };
    case "degraded":
      return {
        label: "degraded",
        tone: "warn",
        text: html`The last refresh failed: <code>${status.cause}</code>. ${stillGood(life?.endsAt, now)} Tries go on by
          themselves.`,
      };
    case "active":
      return { label: "active", tone: "good", text: zoneInWords(life, now, warehouse) };
  }
}

function stillGood(endsAt: number | undefined, now: number): string {
  if (endsAt === undefined) return "";
  return endsAt > now
    ? `The token at hand is good for another ${formatDuration(endsAt - now)}, and callers get it.`
    : "The token has ended, so callers wait for a try and get its error.";
}

function zoneInWords(life: SessionView["life"], now: number, { fake }: DemoWarehouse): string {
  if (life === undefined) return "The token is good.";
  if (now < life.staleAt) return "Fresh: callers get the token from memory, at once.";
  if (now < life.expiredAt) return "Stale: still handed out, while one refresh goes on behind it.";
  return fake?.singleUse === true && life.dueAt === undefined
    ? "Ended, and not refreshed ahead: here a refresh kills the token in use. The next caller waits for one."
    : "Ended: the next caller waits for one refresh.";
}

function line(view: SessionView, moves: boolean): Html {
  const { life, now, status } = view;
  return html`${
      life !== undefined &&
      status.state !== "reauthorization_required" &&
      html`${timeLine(life, now, moves)} ${timeLineKey(life)}`
    }
    ${eventStrip(view)}
    <p class="strip-key"><span>3 min ago</span><span>events, and ▴ what you did</span><span>now</span></p>`;
}

function facts(view: SessionView): Html {
  const { status, life, now, counts, otherGeneration, warehouse } = view;
  const generation = "generation" in status ? status.generation : undefined;
  const { fake } = warehouse;
  return html`<dl class="numbers">
      ${number("Generation", generation)}
      ${number("Expires in", life === undefined ? undefined : left(life.endsAt, now))}
      ${number("Next refresh", nextRefresh(view))} ${number("Refreshes", counts.refreshes)}
      ${number("Retries", counts.retries)} ${number("Requests", counts.requests)}
    </dl>
    <ul class="chips">
      ${
        otherGeneration !== undefined &&
        otherGeneration > (generation ?? otherGeneration) &&
        html`<li class="chip-warn">another process holds generation ${otherGeneration}</li>`
      }
      ${
        fake?.downUntil !== undefined &&
        html`<li class="chip-bad">server down, back in ${formatDuration(Math.max(0, fake.downUntil - now))}</li>`
      }
      ${(fake?.planned.length ?? 0) > 0 && html`<li class="chip-warn">next refreshes meet: ${fake?.planned.join(", ") ?? ""}</li>`}
    </ul>`;
}

function number(name: string, value: string | number | undefined): Html {
  return html`<div>
    <dt>${name}</dt>
    <dd>${value ?? "–"}</dd>
  </div>`;
}

function nextRefresh({ status, life, now }: SessionView): string | undefined {
  if (status.state === "refreshing") return "now";
  if (status.state === "degraded") return "soon";
  if (status.state !== "active" || life === undefined) return undefined;
  if (life.dueAt === undefined) return "when asked";
  return left(life.dueAt, now);
}

/** Up to this, a number of seconds is easier to follow than minutes. */
const COUNTED_MS = 120_000;

function left(at: number, now: number): string {
  const leftMs = Math.max(0, at - now);
  return leftMs < COUNTED_MS ? `${String(Math.floor(leftMs / 1_000))} s` : formatDuration(leftMs);
}

function log({ lines }: SessionView, most: number): Html {
  return html`<ol class="events">
    ${lines.slice(0, most).map(
      ({ at, type, byYou, text, tone }) =>
        html`<li class="event-${tone}${type === undefined ? " event-you" : ""}">
          <time>${formatTime(at)}</time>
          <span
            >${byYou && html`<strong>you</strong>`} ${type !== undefined && html`<code>${type}</code>`} ${text}</span
          >
        </li>`,
    )}
  </ol>`;
}

// ---------------------------------------------------------------- buttons

function controls({ warehouse }: SessionView, together: boolean): Html {
  const available = SESSION_ACTIONS.filter(({ needsFake }) => !needsFake || warehouse.fake !== undefined);
  const buttons = (breaks: boolean): HtmlValue =>
    available.filter((action) => action.breaks === breaks).map((action) => button(action, warehouse.id, together));
  if (together) return html`<div class="keys">${buttons(false)}${buttons(true)}</div>`;
  return html`<section class="panel" aria-labelledby="use-title">
      <h2 id="use-title">Use it</h2>
      <div class="keys-explained">${buttons(false)}</div>
    </section>
    <section class="panel" aria-labelledby="break-title">
      <h2 id="break-title">Break it</h2>
      <div class="keys-explained">${buttons(true)}</div>
    </section>`;
}

/** To the page with rows, and out. */
function exits({ warehouse: { id, name } }: SessionView): Html {
  return html`<div class="exits">
    <a href="/warehouses/${id}">Query page of ${name}</a>
    ${actionButton(`/warehouses/${id}/sign-out?to=sessions`, "Sign out")}
  </div>`;
}

function button({ id, label, hint, breaks }: SessionAction, warehouse: string, together: boolean): Html {
  const action = `/sessions/${warehouse}/${id}${together ? "?all=1" : ""}`;
  return html`<form method="post" action="${action}" data-stay="">
    <button class="${breaks ? "breaks" : "quiet"}" title="${hint}">${label}</button>
    ${!together && html`<p class="small">${hint}</p>`}
  </form>`;
}

function explanation(): Html {
  return codePanel(
    "The code of this page",
    `const manager = new TokenManager({ store: memoryStore() });
manager.start(); // refreshes before anybody has to wait
manager.on("*", (event) => log(event)); // codes and references, never a token

// after the callback
const session = await manager.save(client, { subject: user.id }, tokens);

// anywhere, any number of callers
const response = await session.fetch("/api/v2/statements", { method: "POST", body });`,
  );
}
