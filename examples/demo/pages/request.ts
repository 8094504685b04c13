import { html, shorten, type Html } from "../html.ts";
import type { Login } from "../visitors.ts";
import type { DemoWarehouse } from "../warehouses.ts";
import { formatDuration } from "./duration.ts";
import { codePanel, layout } from "./layout.ts";
import { explainParameters } from "./parameters.ts";
import { scopeList } from "./scopes.ts";

/** The authorization request, taken apart, before the browser is sent off with it. */
export function requestPage(warehouse: DemoWarehouse, login: Login, now: number): Html {
  const { name, id, client } = warehouse;
  const { url, pending } = login;
  return layout({
    title: `The request to ${name}`,
    step: "Request",
    accent: id,
    content: html`
      <h1>What your browser is about to ask ${name}</h1>
      <p class="lead">
        One GET request, and everything in it has a reason. You will sign in on the warehouse's own page; this
        application never sees your password.
      </p>
      <p class="endpoint"><span>GET</span><code>${url.origin}${url.pathname}</code></p>
      <div class="columns">
        <section aria-labelledby="parameters">
          <h2 id="parameters">Parameters</h2>
          <dl class="parameters">
            ${explainParameters(url).map(
              ({ name: parameter, value, secret, why, source }) =>
                html`<div>
                  <dt><code>${parameter}</code></dt>
                  <dd>
                    <code class="value">${secret ? shorten(value) : value}</code>
                    <p>${why} <span class="source">${source}</span></p>
                  </dd>
                </div>`,
            )}
          </dl>
        </section>
        <aside>
          <section class="panel">
            <h2>What it asks to be allowed</h2>
            ${scopeList(client.warehouse, pending.scopes)}
          </section>
          <section class="panel">
            <h2>What stays on this server</h2>
            <dl class="facts">
              <div>
                <dt>Verifier</dt>
                <dd><code>${shorten(pending.codeVerifier)}</code></dd>
              </div>
              <div>
                <dt>State</dt>
                <dd><code>${shorten(pending.state)}</code></dd>
              </div>
              ${
                pending.nonce !== undefined &&
                html`<div>
                  <dt>Nonce</dt>
                  <dd><code>${shorten(pending.nonce)}</code></dd>
                </div>`
              }
              <div>
                <dt>Issuer</dt>
                <dd><code>${pending.issuer}</code></dd>
              </div>
              <div>
                <dt>Good for</dt>
                <dd>${formatDuration(pending.expiresAt - now)}</dd>
              </div>
            </dl>
            <p class="small">Bound to this browser by a cookie that scripts cannot read, and taken out once.</p>
          </section>
          <a class="button primary wide" href="/login/${login.id}/continue">Continue to ${name}</a>
        </aside>
      </div>
      ${codePanel(
        "The code of this step",
        `${warehouse.code}

const { url, pending } = await createAuthorizationRequest(client, { returnTo: "/report" });
await remember(pending); // on the server, for this browser
redirect(url);`,
      )}
    `,
  });
}
