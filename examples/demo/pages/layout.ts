import { html, type Html, type HtmlValue } from "../html.ts";

/** The steps of a login, as the top of each page shows them. */
const STEPS = ["Choose", "Request", "Sign in", "Callback", "Query"] as const;

/** A step of a login. */
export type Step = (typeof STEPS)[number];

/** Puts content into the page that all pages share. */
export function layout(options: {
  readonly title: string;
  readonly step?: Step;
  /** Colours the page for one warehouse. */
  readonly accent?: string;
  readonly notice?: string | undefined;
  /** Moves by itself: with our one script. Default is `false`. */
  readonly live?: boolean;
  readonly content: Html;
}): Html {
  const { title, step, accent = "none", notice, live = false, content } = options;
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>${title} · warehouse-oauth</title>
        <link rel="stylesheet" href="/style.css" />
        <link rel="icon" href="/favicon.svg" type="image/svg+xml" />
        ${live && html`<script src="/live.js" defer></script>`}
      </head>
      <body class="accent-${accent}">
        <a class="skip" href="#main">Skip to content</a>
        <header class="top">
          <a class="brand" href="/"><img src="/favicon.svg" alt="" width="28" height="28" />warehouse-oauth</a>
          ${steps(step)}
        </header>
        <main id="main">${notice !== undefined && html`<p class="notice" role="status">${notice}</p>`} ${content}</main>
        <footer class="foot">
          <p>
            ${live ? "One small script keeps this page moving, and it works without." : "Nothing on this page is a script."}
            Tokens, codes and states stay on the server${live ? "." : "; you see their first four characters."}
          </p>
        </footer>
      </body>
    </html>`;
}

function steps(current: Step | undefined): HtmlValue {
  if (current === undefined) return undefined;
  const at = STEPS.indexOf(current);
  return html`<nav aria-label="Steps of the login">
    <ol class="steps">
      ${STEPS.map((step, index) =>
        index === at
          ? html`<li class="now" aria-current="step"><span>${index + 1}</span>${step}</li>`
          : html`<li class="${index < at ? "done" : "next"}"><span>${index < at ? "✓" : index + 1}</span>${step}</li>`,
      )}
    </ol>
  </nav>`;
}

/** Code to read, folded away. */
export function codePanel(summary: string, code: string): Html {
  return html`<details class="code">
    <summary>${summary}</summary>
    <pre><code>${code}</code></pre>
  </details>`;
}

/** A button that sends a form: everything that changes something is a POST. */
export function actionButton(action: string, label: string, kind: "primary" | "quiet" = "quiet"): Html {
  return html`<form method="post" action="${action}"><button class="${kind}">${label}</button></form>`;
}
