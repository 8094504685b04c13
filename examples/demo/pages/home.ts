import { html, type Html } from "../html.ts";
import type { Visitor } from "../visitors.ts";
import type { DemoWarehouse } from "../warehouses.ts";
import { formatDuration } from "./duration.ts";
import { actionButton, layout } from "./layout.ts";

const ROTATION = {
  none: "stays the same",
  rotates: "new at each refresh",
  "single-use": "single use",
  unknown: "set by the account",
} as const;

/** The first page: three warehouses to choose from. */
export function homePage(warehouses: readonly DemoWarehouse[], visitor: Visitor | undefined): Html {
  const notice = visitor?.notice;
  return layout({
    title: "Sign in to a warehouse",
    step: "Choose",
    notice,
    content: html`
      <section class="hero">
        <h1>Sign in to your data warehouse,<br />and see every step of it.</h1>
        <p>
          OAuth 2.0 with PKCE, taken apart: what is sent, why it is sent, what comes back, and what stays on the server.
          ${
            warehouses.every(({ fake }) => fake !== undefined)
              ? "The three warehouses below run inside this program. No account is needed and nothing leaves your machine."
              : "What is marked as a real account is one."
          }
        </p>
      </section>
      <section class="cards" aria-label="Warehouses">
        ${warehouses.map((warehouse) => card(warehouse, visitor))}
      </section>
      <section class="panel attack">
        <div>
          <h2>And then? The tokens live on.</h2>
          <p>
            Watch sessions side by side as their tokens grow old and are replaced: a time line, every event, and buttons
            that break things. ${visitor === undefined || visitor.signedIn.size === 0 ? "Sign in to one first." : ""}
          </p>
        </div>
        <a class="button quiet" href="/sessions">Watch sessions live</a>
      </section>
      <section class="panel attack">
        <div>
          <h2>What if the callback is forged?</h2>
          <p>
            Any web page can send your browser to an application's callback with a code of its own. Try it: the library
            finds that no login of this browser belongs to it, and asks nobody for tokens.
          </p>
        </div>
        <a class="button quiet" href="/callback/snowflake?code=forged&state=${"A".repeat(43)}"
          >Send a forged callback</a
        >
      </section>
    `,
  });
}

function card(warehouse: DemoWarehouse, visitor: Visitor | undefined): Html {
  const { id, name, client, fake } = warehouse;
  const { issuer, accessTokenLifetimeMs, refreshRotation, revocationEndpoint } = client.warehouse;
  const signedIn = visitor?.signedIn.get(id);
  return html`<article class="card accent-${id}">
    <header>
      <span class="mark" aria-hidden="true"></span>
      <h2>${name}</h2>
      <span class="tag">${fake === undefined ? "real account" : "embedded"}</span>
    </header>
    <dl class="facts">
      <div>
        <dt>Server</dt>
        <dd><code>${new URL(issuer).host}</code></dd>
      </div>
      <div>
        <dt>Access token</dt>
        <dd>
          ${accessTokenLifetimeMs === undefined ? "unknown" : formatDuration(accessTokenLifetimeMs)}${fake !== undefined && html`; here ${formatDuration(fake.lifetimeMs)}`}
        </dd>
      </div>
      <div>
        <dt>Refresh token</dt>
        <dd>${ROTATION[refreshRotation]}</dd>
      </div>
      <div>
        <dt>Revocation</dt>
        <dd>${revocationEndpoint === undefined ? "not over OAuth" : "yes (RFC 7009)"}</dd>
      </div>
    </dl>
    ${
      signedIn === undefined
        ? actionButton(`/login/${id}`, `Sign in to ${name}`, "primary")
        : html`<p class="who">Signed in as <strong>${signedIn.watch.person}</strong></p>
            <a class="button primary" href="/warehouses/${id}">Open ${name}</a>`
    }
  </article>`;
}
