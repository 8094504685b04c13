import { html, type Html } from "../html.ts";
import type { DemoWarehouse } from "../warehouses.ts";
import { explain, type Explanation } from "./explanations.ts";
import { actionButton, layout } from "./layout.ts";

/** The page for a login that did not succeed. */
export function failurePage(error: unknown, warehouse: DemoWarehouse | undefined): Html {
  const explanation = explain(error);
  return layout({
    title: explanation.title,
    step: "Callback",
    ...(warehouse !== undefined && { accent: warehouse.id }),
    content: html`
      <h1>${explanation.title}</h1>
      ${explanationPanel(explanation)}
      <div class="actions">
        ${warehouse !== undefined && actionButton(`/login/${warehouse.id}`, `Sign in to ${warehouse.name}`, "primary")}
        <a class="button quiet" href="/">Back to the start</a>
      </div>
    `,
  });
}

/** An error in words, as a panel. */
export function explanationPanel({ code, kind, message, what, todo }: Explanation): Html {
  return html`<section class="panel problem" role="alert">
    ${what !== "" && html`<p>${what}</p>`}
    <dl class="facts">
      <div>
        <dt>Error</dt>
        <dd><code>${kind}</code></dd>
      </div>
      ${
        code !== undefined &&
        html`<div>
          <dt>Code</dt>
          <dd><code>${code}</code></dd>
        </div>`
      }
      <div>
        <dt>Message</dt>
        <dd>${message}</dd>
      </div>
      <div>
        <dt>What to do</dt>
        <dd><strong>${todo}</strong></dd>
      </div>
    </dl>
  </section>`;
}

/** The page for an address that is none, or a request that is not taken. */
export function plainPage(title: string, text: string): Html {
  return layout({
    title,
    content: html`<h1>${title}</h1>
      <p class="lead">${text}</p>
      <p><a class="button quiet" href="/">Back to the start</a></p>`,
  });
}
