/** The look of all pages. Colours are named once and answer to light and dark. */
export const STYLE = /* css */ `
:root {
  color-scheme: light dark;
  --ground: light-dark(#f6f7f9, #101418);
  --surface: light-dark(#ffffff, #181d23);
  --sunken: light-dark(#eef1f4, #0c0f13);
  --line: light-dark(#dde2e8, #2a323b);
  --ink: light-dark(#17202a, #e7ecf1);
  --soft: light-dark(#56626f, #9aa7b4);
  --accent: light-dark(#3450c8, #8ea4ff);
  --on-accent: light-dark(#ffffff, #0d1220);
  --good: light-dark(#12754a, #58c794);
  --warn: light-dark(#8a5a00, #e6b450);
  --bad: light-dark(#b3261e, #ff8f85);
  --shadow: light-dark(0 1px 2px #1b2b3b14, 0 1px 2px #0006);
  --radius: 14px;
  --mono: ui-monospace, "SF Mono", "Cascadia Code", "DejaVu Sans Mono", Menlo, Consolas, monospace;
}
.accent-snowflake { --accent: light-dark(#0b6fa4, #56c3f5); --on-accent: light-dark(#ffffff, #06202e); }
.accent-databricks { --accent: light-dark(#c2361f, #ff8f78); --on-accent: light-dark(#ffffff, #2b0b05); }
.accent-bigquery { --accent: light-dark(#2a5fd0, #8fb4ff); --on-accent: light-dark(#ffffff, #071633); }

*, *::before, *::after { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; min-height: 100vh; display: grid; grid-template-rows: auto 1fr auto;
  background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
}
h1, h2, p, dl, dd, ul, ol, pre { margin: 0; }
ul, ol { padding: 0; list-style: none; }
h1 { font-size: clamp(1.6rem, 1.2rem + 1.8vw, 2.3rem); line-height: 1.2; letter-spacing: -0.02em; text-wrap: balance; }
h1 em { font-style: normal; color: var(--accent); overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; line-height: 1.3; letter-spacing: -0.005em; }
code, pre { font-family: var(--mono); font-size: 0.86em; overflow-wrap: anywhere; }
a { color: var(--accent); text-underline-offset: 0.2em; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 3px; border-radius: 6px; }
.skip { position: absolute; left: -999px; }
.skip:focus { left: 1rem; top: 1rem; z-index: 1; padding: 0.5rem 1rem; background: var(--surface); }

.top {
  display: flex; flex-wrap: wrap; align-items: center; justify-content: space-between; gap: 0.75rem 2rem;
  padding: 0.9rem clamp(1rem, 4vw, 3rem); background: var(--surface); border-bottom: 1px solid var(--line);
}
.brand { display: flex; align-items: center; gap: 0.6rem; color: inherit; font-weight: 650; text-decoration: none; }
.steps { display: flex; flex-wrap: wrap; gap: 0.3rem 1.15rem; font-size: 0.88rem; color: var(--soft); }
.steps li { display: flex; align-items: center; gap: 0.45rem; }
.steps span {
  display: grid; place-items: center; width: 1.55rem; height: 1.55rem; border-radius: 50%;
  border: 1.5px solid var(--line); font-size: 0.76rem; font-weight: 600;
}
.steps .now { color: var(--ink); font-weight: 600; }
.steps .now span { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
.steps .done span { border-color: var(--good); color: var(--good); }

main {
  width: 100%; max-width: 74rem; margin: 0 auto; padding: clamp(1.5rem, 4vw, 3rem) clamp(1rem, 4vw, 3rem);
  display: grid; gap: 1.4rem; align-content: start;
}
main > *, .columns > *, .cards > *, .panel > * { min-width: 0; }
.hero { display: grid; gap: 0.8rem; padding-bottom: 0.6rem; }
.hero p, .lead { max-width: 46rem; color: var(--soft); font-size: 1.06rem; text-wrap: pretty; }
.foot { padding: 1.2rem clamp(1rem, 4vw, 3rem); color: var(--soft); font-size: 0.86rem; text-align: center; }
.small { color: var(--soft); font-size: 0.88rem; }
.notice {
  padding: 0.75rem 1rem; border: 1px solid var(--line); border-left: 4px solid var(--accent); border-radius: 8px;
  background: var(--surface); white-space: pre-line;
}

.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr)); gap: 1.2rem; }
.card, .panel {
  display: grid; gap: 0.95rem; align-content: start; padding: 1.3rem 1.4rem;
  background: var(--surface); border: 1px solid var(--line); border-radius: var(--radius); box-shadow: var(--shadow);
}
.card { grid-template-rows: auto 1fr auto; border-top: 4px solid var(--accent); }
.card:has(.who) { grid-template-rows: auto 1fr auto auto; }
.card header { display: flex; align-items: center; gap: 0.7rem; }
.card h2 { font-size: 1.25rem; }
.mark { width: 1.5rem; height: 1.5rem; border-radius: 7px; background: var(--accent); }
.accent-snowflake .mark { border-radius: 50%; box-shadow: inset 0 0 0 0.42rem var(--accent), inset 0 0 0 1rem var(--surface); }
.accent-databricks .mark { transform: rotate(45deg) scale(0.82); border-radius: 4px; }
.accent-bigquery .mark { border-radius: 7px 7px 50% 50%; }
.tag {
  margin-left: auto; padding: 0.12rem 0.6rem; border-radius: 99px; background: var(--sunken);
  color: var(--soft); font-size: 0.78rem; white-space: nowrap;
}
.who { font-size: 0.94rem; overflow-wrap: anywhere; }

.facts { display: grid; gap: 0.4rem; align-content: start; font-size: 0.94rem; }
.facts > div { display: grid; grid-template-columns: 7.4rem minmax(0, 1fr); gap: 0.8rem; align-items: baseline; }
.facts dt { color: var(--soft); }
.facts dd { overflow-wrap: anywhere; }

button, .button {
  display: inline-block; padding: 0.6rem 1.15rem; border: 1px solid transparent; border-radius: 10px;
  font: inherit; font-weight: 600; line-height: 1.35; text-align: center; text-decoration: none; cursor: pointer;
  transition: filter 0.12s, background 0.12s;
}
.primary { background: var(--accent); color: var(--on-accent); }
.primary:hover { filter: brightness(1.1); }
.quiet { background: transparent; border-color: var(--line); color: var(--ink); }
.quiet:hover { background: var(--sunken); }
.card button, .card .button, .wide { width: 100%; }
.actions { display: flex; flex-wrap: wrap; gap: 0.7rem; }

.columns { display: grid; grid-template-columns: minmax(0, 1.65fr) minmax(0, 1fr); gap: 1.4rem; align-items: start; }
.columns > section:not(.panel) { display: grid; gap: 0.8rem; }
.columns aside, .stack { display: grid; gap: 1.2rem; }
.endpoint {
  display: flex; gap: 0.8rem; align-items: baseline; padding: 0.8rem 1.1rem; border-radius: 10px;
  background: var(--sunken); border: 1px solid var(--line);
}
.endpoint span { font: 600 0.8rem var(--mono); color: var(--accent); }
.endpoint code { font-size: 1rem; }
.parameters { border: 1px solid var(--line); border-radius: var(--radius); background: var(--surface); overflow: hidden; }
.parameters > div {
  display: grid; grid-template-columns: 12.6rem minmax(0, 1fr); gap: 0.2rem 1rem; padding: 0.72rem 1.2rem;
  border-top: 1px solid var(--line);
}
.parameters > div:first-child { border-top: 0; }
.parameters dt code { color: var(--accent); font-weight: 600; }
.parameters .value { font-weight: 600; }
.parameters p { color: var(--soft); font-size: 0.92rem; }
.source { display: inline-block; padding: 0 0.5rem; border-radius: 99px; background: var(--sunken); font-size: 0.78rem; white-space: nowrap; }

.scopes { display: grid; gap: 0.7rem; font-size: 0.94rem; }
.scopes li { display: grid; grid-template-columns: 3.6rem minmax(0, 1fr); gap: 0.7rem; align-items: baseline; }
.scopes code { display: block; color: var(--soft); }
.level {
  padding: 0.08rem 0; border-radius: 6px; border: 1px solid currentColor; font-size: 0.76rem; font-weight: 600;
  text-align: center;
}
.level-read { color: var(--good); }
.level-write { color: var(--warn); }
.level-admin { color: var(--bad); }
.level-plain, .level-unknown { color: var(--soft); }

.attack { grid-template-columns: minmax(0, 1fr) auto; align-items: center; gap: 1rem 2rem; border-style: dashed; box-shadow: none; background: transparent; }
.attack > div:first-child { display: grid; gap: 0.3rem; }
.attack p { color: var(--soft); max-width: 46rem; text-wrap: pretty; }
.problem { border-left: 4px solid var(--bad); overflow-wrap: anywhere; }
.warning { display: grid; gap: 0.7rem; justify-items: start; padding: 0.75rem 1rem; border: 1px solid var(--line); border-left: 4px solid var(--warn); border-radius: 8px; }
.warning p { font-size: 0.94rem; }
.trouble { display: grid; gap: 0.6rem; }

.sql { padding: 0.8rem 1rem; border-radius: 10px; background: var(--sunken); white-space: pre-wrap; }
.table { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: 0.94rem; }
caption { padding-bottom: 0.4rem; color: var(--soft); font-size: 0.86rem; text-align: left; }
th, td { padding: 0.5rem 0.7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; font-size: 0.86rem; }
th.number, td.number { font-variant-numeric: tabular-nums; text-align: right; }
.lifetime { display: grid; gap: 0.35rem; }
.lifetime label { display: flex; justify-content: space-between; font-weight: 600; }
.lifetime label span { color: var(--soft); font-weight: 400; font-size: 0.88rem; }
progress { width: 100%; height: 0.55rem; border: 0; border-radius: 99px; background: var(--sunken); accent-color: var(--accent); overflow: hidden; }
progress::-webkit-progress-bar { background: var(--sunken); border-radius: 99px; }
progress::-webkit-progress-value { background: var(--accent); border-radius: 99px; }
progress::-moz-progress-bar { background: var(--accent); border-radius: 99px; }
.log { display: grid; gap: 0.3rem; padding-top: 0.6rem; border-top: 1px solid var(--line); font-size: 0.88rem; color: var(--soft); }

.code { border: 1px solid var(--line); border-radius: 10px; background: var(--surface); }
.code summary { padding: 0.65rem 1.1rem; cursor: pointer; color: var(--soft); font-size: 0.92rem; }
.code pre { padding: 0.4rem 1.1rem 1.1rem; overflow-x: auto; line-height: 1.5; }

@media (max-width: 56rem) {
  .columns, .attack { grid-template-columns: minmax(0, 1fr); }
  .parameters > div { grid-template-columns: minmax(0, 1fr); }
}
@media (prefers-reduced-motion: reduce) { * { transition: none; } }
`;

/** A key whose bow is a turning arrow. */
export const FAVICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#3450c8"/><g fill="none" stroke="#fff" stroke-width="2.6" stroke-linecap="round" stroke-linejoin="round"><path d="M17.5 12.2a5.2 5.2 0 1 0 .3 4.6"/><path d="M18.6 8.6l-.8 3.9-3.8-.9"/><path d="M17.8 16.8H26v3.4M22 16.8v2.6"/></g></svg>`;
