import { html, shortenToken, type Html, type HtmlValue } from "../html.ts";
import type { QueryResult } from "../query.ts";
import type { SignedIn } from "../visitors.ts";
import type { DemoWarehouse } from "../warehouses.ts";
import { formatDuration, formatTime } from "./duration.ts";
import { explain } from "./explanations.ts";
import { explanationPanel } from "./failure.ts";
import { actionButton, codePanel, layout } from "./layout.ts";
import { scopeList } from "./scopes.ts";

/** What a signed-in person sees: who they are, what was granted, and rows. */
export function warehousePage(options: {
  readonly warehouse: DemoWarehouse;
  readonly signedIn: SignedIn;
  readonly notice: string | undefined;
  readonly now: number;
}): Html {
  const { warehouse, signedIn, notice, now } = options;
  const { id, name, client, statement, fake } = warehouse;
  const { tokens, result, problem } = signedIn;
  const problemInWords = problem === undefined ? undefined : explain(problem);
  return layout({
    title: `Signed in to ${name}`,
    step: "Query",
    accent: id,
    notice,
    content: html`
      <h1>
        Signed in to ${name}${tokens.user !== undefined && html` as <em>${tokens.user.email ?? tokens.user.id}</em>`}
      </h1>
      <p class="lead">
        The callback passed its checks, and the code was exchanged for tokens: once, with the verifier that never left
        this server.
      </p>
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
            ${actionButton(`/warehouses/${id}/query`, "Run with this access token", "primary")}
            ${result === undefined ? html`<p class="small">Rows appear here.</p>` : rows(result)}
          </section>
          <section class="panel" aria-labelledby="granted-title">
            <h2 id="granted-title">Granted</h2>
            ${scopeList(client.warehouse, tokens.scopes)} ${missing(signedIn)}
          </section>
        </div>
        <aside>
          <section class="panel" aria-labelledby="tokens-title">
            <h2 id="tokens-title">Tokens</h2>
            ${lifetime(signedIn, now)}
            <dl class="facts">
              <div>
                <dt>Access token</dt>
                <dd><code>${shortenToken(tokens.accessToken)}</code></dd>
              </div>
              <div>
                <dt>Refresh token</dt>
                <dd>
                  ${tokens.refreshToken === undefined ? "none" : html`<code>${shortenToken(tokens.refreshToken)}</code>`}
                </dd>
              </div>
              <div>
                <dt>ID token</dt>
                <dd>
                  ${tokens.idToken === undefined ? "none" : html`<code>${shortenToken(tokens.idToken)}</code>, signature checked`}
                </dd>
              </div>
              ${
                tokens.refreshExpiresAt !== undefined &&
                html`<div>
                  <dt>Refresh until</dt>
                  <dd>in ${formatDuration(tokens.refreshExpiresAt - now)}</dd>
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
      ${fake !== undefined && breakPanel(id)}
      ${codePanel(
        "The code of this step",
        `const callback = validateCallback(client, request, await takePending(request));
const tokens = await exchangeCode(client, callback);

// later, before it expires
const next = await refreshTokens(client, tokens);`,
      )}
    `,
  });
}

const NUMBER = /^-?[\d.]+$/;

function rows({ columns, rows: lines }: QueryResult): Html {
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
  </div>`;
}

function lifetime({ tokens }: SignedIn, now: number): Html {
  const { obtainedAt, expiresAt } = tokens;
  if (expiresAt === undefined) return html`<p>The warehouse did not say how long the access token lives.</p>`;
  const left = Math.max(0, expiresAt - now);
  const whole = expiresAt - obtainedAt;
  return html`<p class="lifetime">
    <label for="left"
      >${left === 0 ? "Expired" : `Expires in ${formatDuration(left)}`}<span>of ${formatDuration(whole)}</span></label
    >
    <progress id="left" max="${whole}" value="${left}">${formatDuration(left)}</progress>
  </p>`;
}

function user({ tokens }: SignedIn): HtmlValue {
  if (tokens.user === undefined) return undefined;
  const { id, issuer } = tokens.user;
  return html`<div>
      <dt>User</dt>
      <dd><code>${id}</code></dd>
    </div>
    <div>
      <dt>Issuer</dt>
      <dd><code>${new URL(issuer).host}</code></dd>
    </div>`;
}

function refreshes(signedIn: SignedIn): HtmlValue {
  if (signedIn.refreshes.length === 0) return undefined;
  return html`<ul class="log">
    ${signedIn.refreshes.map(
      ({ at, accessToken, rotated }) =>
        html`<li>
          <time>${formatTime(at)}</time> refreshed to <code>${accessToken}</code>, refresh token
          ${rotated ? "replaced" : "kept"}
        </li>`,
    )}
  </ul>`;
}

/** Scopes that were asked for and not granted. Those for offline access are spent at the login. */
function missing({ tokens, requestedScopes }: SignedIn): HtmlValue {
  const granted = new Set([...tokens.scopes, "offline_access", "refresh_token"]);
  const lacking = requestedScopes.filter((scope) => !granted.has(scope));
  if (lacking.length > 0)
    return html`<p class="small">Asked for and not granted: <code>${lacking.join(" ")}</code></p>`;
  if (tokens.scopesAssumed)
    return html`<p class="small">The server did not name them: these are the ones asked for.</p>`;
  return html`<p class="small">Everything that was asked for.</p>`;
}

function breakPanel(id: string): Html {
  return html`<section class="panel attack" aria-labelledby="break-title">
    <div>
      <h2 id="break-title">Break it on purpose</h2>
      <p>The embedded warehouse does as it is told. Then run the query or refresh, and read what the library says.</p>
    </div>
    <div class="actions">
      ${actionButton(`/warehouses/${id}/expire`, "End the access token")}
      ${actionButton(`/warehouses/${id}/outage`, "Answer 503 once")}
      ${actionButton(`/warehouses/${id}/revoke`, "Withdraw the grant")}
    </div>
  </section>`;
}
