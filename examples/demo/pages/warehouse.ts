import { html, shortenToken, type Html, type HtmlValue } from "../html.ts";
import { needsSignIn, type SessionView } from "../sessions/watch.ts";
import type { ShownResult, SignedIn } from "../visitors.ts";
import type { DemoWarehouse } from "../warehouses.ts";
import { formatDuration, formatTime } from "./duration.ts";
import { explain } from "./explanations.ts";
import { explanationPanel } from "./failure.ts";
import { actionButton, codePanel, layout } from "./layout.ts";
import { lackingForQueries, lackingScopes, scopeList } from "./scopes.ts";

/** What a signed-in person sees: who they are, what was granted, and rows. */
export function warehousePage(options: {
  readonly warehouse: DemoWarehouse;
  readonly signedIn: SignedIn;
  readonly view: SessionView;
  readonly notice: string | undefined;
}): Html {
  const { warehouse, signedIn, view, notice } = options;
  const { id, name, client, statement, way } = warehouse;
  const { login, result, problem, watch } = signedIn;
  const accessToken = watch.session.peek();
  const refreshExpiresAt = "refreshExpiresAt" in view.status ? view.status.refreshExpiresAt : undefined;
  const problemInWords = problem === undefined ? undefined : explain(problem, lackingForQueries(signedIn));
  return layout({
    title: needsSignIn(view.status) ? `The session at ${name} is over` : `Signed in to ${name}`,
    step: "Query",
    accent: id,
    notice,
    content: html`
      ${needsSignIn(view.status) ? sessionOver(view) : welcome(warehouse, signedIn)}
      ${
        problemInWords !== undefined &&
        html`<div class="trouble">
          <h2>${problemInWords.title}</h2>
          ${explanationPanel(problemInWords)}
        </div>`
      }
      <div class="columns">
        <div class="stack">
          <section class="panel" id="query" aria-labelledby="query-title">
            <h2 id="query-title">Run a query</h2>
            <pre class="sql"><code>${statement}</code></pre>
            ${actionButton(`/warehouses/${id}/query`, "Run in this session", needsSignIn(view.status) ? "quiet" : "primary")}
            <p class="small">It goes through ${way.name}.${way.reason !== undefined && html` ${way.reason}`}</p>
            ${result !== undefined && rows(result)}
          </section>
          <section class="panel" aria-labelledby="granted-title">
            <h2 id="granted-title">Granted</h2>
            ${scopeList(client.warehouse, login.scopes)} ${missing(signedIn, id)}
          </section>
        </div>
        <aside>
          <section class="panel" aria-labelledby="tokens-title">
            <h2 id="tokens-title">Tokens</h2>
            ${lifetime(view)}
            <dl class="facts">
              <div>
                <dt>Access token</dt>
                <dd>${accessToken === undefined ? "ended" : html`<code>${shortenToken(accessToken)}</code>`}</dd>
              </div>
              <div>
                <dt>Refresh token</dt>
                <dd>${login.refreshToken === undefined ? "none" : "in the store; only the manager reads it"}</dd>
              </div>
              <div>
                <dt>ID token</dt>
                <dd>
                  ${login.idToken === undefined ? "none" : html`<code>${shortenToken(login.idToken)}</code>, signature checked`}
                </dd>
              </div>
              ${
                refreshExpiresAt !== undefined &&
                html`<div>
                  <dt>Refresh until</dt>
                  <dd>in ${formatDuration(refreshExpiresAt - view.now)}</dd>
                </div>`
              }
              ${user(signedIn)}
            </dl>
            <div class="actions">
              ${actionButton(`/warehouses/${id}/refresh`, "Refresh now")}
              ${actionButton(`/warehouses/${id}/sign-out`, "Sign out")}
            </div>
            ${refreshes(signedIn)}
          </section>
        </aside>
      </div>
      ${livePanel(id)}
      ${codePanel(
        "The code of this step",
        `const callback = validateCallback(client, request, await takePending(request));
const tokens = await exchangeCode(client, callback);
const session = await manager.save(client, { subject: user.id }, tokens);

// later, anywhere; refreshed before it expires
${way.code}`,
      )}
    `,
  });
}

function welcome({ name }: DemoWarehouse, { login, watch }: SignedIn): Html {
  return html`<h1>Signed in to ${name}${login.user !== undefined && html` as <em>${watch.person}</em>`}</h1>
    <p class="lead">
      The callback passed its checks, and the code was exchanged for tokens: once, with the verifier that never left
      this server. A <code>TokenManager</code> keeps them fresh from here on.
    </p>`;
}

function sessionOver({ status, warehouse, person }: SessionView): Html {
  const cause = status.state === "reauthorization_required" ? status.cause : undefined;
  return html`<h1>The session of <em>${person}</em> at ${warehouse.name} is over</h1>
    <p class="lead">
      ${cause === undefined ? "The tokens are deleted here." : html`The grant is dead: <code>${cause}</code>.`} No retry
      would change that. A person must sign in.
    </p>
    ${actionButton(`/login/${warehouse.id}`, "Sign in again", "primary")}`;
}

const NUMBER = /^-?[\d.]+$/;

function rows({ columns, rows: lines, way, requests }: ShownResult): Html {
  const kind = (cell: string | undefined): string => (NUMBER.test(cell ?? "") ? "number" : "text");
  return html`<div class="table">
      <table>
        <caption>
          ${lines.length} ${lines.length === 1 ? "row" : "rows"}
        </caption>
        <thead>
          <tr>
            ${columns.map((column, index) => html`<th scope="col" class="${kind(lines[0]?.[index])}">${column}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${lines.map(
            (line) =>
              html`<tr>
                ${line.map((cell) => html`<td class="${kind(cell)}">${cell}</td>`)}
              </tr>`,
          )}
        </tbody>
      </table>
    </div>
    <p class="small">
      These came through ${way}.
      ${requests.length > 0 && html`The warehouse was asked: ${requests.map((request) => html`<code>${request}</code> `)}`}
    </p>`;
}

function lifetime({ life, now, status }: SessionView): Html {
  if (status.state === "reauthorization_required") return html`<p><strong>A person must sign in again.</strong></p>`;
  if (life === undefined) return html`<p>The warehouse did not say how long the access token lives.</p>`;
  const left = Math.max(0, life.endsAt - now);
  const whole = life.endsAt - life.from;
  return html`<p class="lifetime">
    <label for="left"
      >${left === 0 ? "Expired" : `Expires in ${formatDuration(left)}`}<span>of ${formatDuration(whole)}</span></label
    >
    <progress id="left" max="${whole}" value="${left}">${formatDuration(left)}</progress>
  </p>`;
}

function user({ login }: SignedIn): HtmlValue {
  if (login.user === undefined) return undefined;
  const { id, issuer } = login.user;
  return html`<div>
      <dt>User</dt>
      <dd><code>${id}</code></dd>
    </div>
    <div>
      <dt>Issuer</dt>
      <dd><code>${new URL(issuer).host}</code></dd>
    </div>`;
}

/** Refreshes that the page lists. */
const MAX_REFRESHES = 5;

function refreshes({ watch }: SignedIn): HtmlValue {
  const done = watch.refreshes.slice(0, MAX_REFRESHES);
  if (done.length === 0) return undefined;
  return html`<ul class="log">
    ${done.map(({ at, text }) => html`<li><time>${formatTime(at)}</time> refreshed: ${text}</li>`)}
  </ul>`;
}

/** What was asked for and not granted, with the way to get it. */
function missing(signedIn: SignedIn, id: string): HtmlValue {
  const { login } = signedIn;
  const lacking = lackingScopes(signedIn);
  if (lacking.length > 0) {
    const queries = lackingForQueries(signedIn).length > 0;
    return html`<div class="warning">
      <p>
        <strong>Asked for and not granted:</strong> <code>${lacking.join(" ")}</code>
        ${queries && "Queries will be refused without it."}
      </p>
      ${actionButton(`/login/${id}`, "Sign in and grant it")}
    </div>`;
  }
  if (login.scopesAssumed)
    return html`<p class="small">The server did not name them: these are the ones asked for.</p>`;
  return html`<p class="small">Everything that was asked for.</p>`;
}

function livePanel(id: string): Html {
  return html`<section class="panel attack" aria-labelledby="live-title">
    <div>
      <h2 id="live-title">Watch it live, and break it on purpose</h2>
      <p>
        A time line of this token's life, every event of the session, and buttons: answer 503, lose an answer, kill the
        server, withdraw the grant.
      </p>
    </div>
    <a class="button quiet" href="/sessions/${id}">Watch this session</a>
  </section>`;
}
