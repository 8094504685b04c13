/**
 * The one script of the demo. Pages are whole without it: it puts in place what the server renders again each second,
 * and sends the forms of the page without leaving it.
 */
export const LIVE_SCRIPT = /* js */ `"use strict";
(() => {
  const root = document.querySelector("[data-live]");
  const line = document.querySelector("[data-line]");
  if (root === null || line === null) return;

  const say = (state, text) => {
    if (line.textContent === text) return;
    line.textContent = text;
    line.dataset.line = state;
  };

  // Each message is { id: html } of the parts that changed. The HTML is the server's own, escaped there.
  const source = new EventSource(root.dataset.live);
  source.addEventListener("message", ({ data }) => {
    for (const [id, html] of Object.entries(JSON.parse(data))) {
      const part = document.getElementById(id);
      if (part !== null) part.innerHTML = html;
    }
    say("live", "Live");
  });
  source.addEventListener("error", () => {
    say("lost", "The demo does not answer; trying again");
  });
  addEventListener("pagehide", () => source.close());

  root.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-stay]")) return;
    event.preventDefault();
    const button = form.querySelector("button");
    button.setAttribute("aria-busy", "true");
    fetch(form.action, { method: "POST", redirect: "manual" })
      .catch(() => say("lost", "The demo does not answer"))
      .finally(() => button.removeAttribute("aria-busy"));
  });
})();
`;
