/** The look of the session pages, after the style that all pages share. */
export const SESSION_STYLE = /* css */ `
:root { --you: light-dark(#5b3cc4, #b3a1ff); }
.live-head { display: flex; flex-wrap: wrap; gap: 0.8rem 2rem; align-items: end; justify-content: space-between; }
.live-head > div { display: grid; gap: 0.5rem; flex: 1 1 30rem; min-width: 0; }
.pulse { display: flex; align-items: center; gap: 0.9rem; font-size: 0.88rem; color: var(--soft); }
.pulse span { display: flex; align-items: center; gap: 0.45rem; }
.pulse span::before { content: ""; width: 0.6rem; height: 0.6rem; border-radius: 50%; background: var(--line); }
.pulse [data-line="live"]::before { background: var(--good); animation: pulse 2s ease-in-out infinite; }
.pulse [data-line="lost"]::before { background: var(--bad); }
@keyframes pulse { 50% { opacity: 0.35; } }
.sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

.sessions { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 1.2rem; align-items: start; }
.sessions > * { min-width: 0; }
.card.session, .card.session:has(.who) { grid-template-rows: none; gap: 0.8rem; }
.session h2 a { color: inherit; text-decoration: none; }
.session h2 a:hover { text-decoration: underline; }
.session .who { margin-top: -0.7rem; }
.part { display: grid; gap: 0.45rem; min-width: 0; }
.part:empty { display: none; }

.state { justify-self: start; display: flex; align-items: center; gap: 0.5rem; padding: 0.16rem 0.75rem; border-radius: 99px; font-size: 0.92rem; color: var(--tone); background: color-mix(in srgb, var(--tone) 13%, transparent); }
.state::before { content: ""; width: 0.55rem; height: 0.55rem; border-radius: 50%; background: currentColor; }
.state-good { --tone: var(--good); }
.state-warn { --tone: var(--warn); }
.state-bad { --tone: var(--bad); }
.state-plain { --tone: var(--soft); }
.state-text { min-height: 2.9em; text-wrap: pretty; }

.life, .strip { display: block; overflow: visible; }
.zone-fresh { fill: var(--good); }
.zone-stale { fill: light-dark(#e0a83a, #d9a441); }
.zone-expired { fill: light-dark(#d4594f, #d8665c); }
.zone-fresh, .zone-stale, .zone-expired { opacity: 0.85; }
.now-head { fill: var(--ink); }
.now-line { stroke: var(--ink); stroke-width: 2.5; }
.due { fill: var(--accent); }
.key { display: grid; grid-template-columns: repeat(3, auto); justify-content: start; gap: 0.2rem clamp(0.4rem, 2%, 1.4rem); color: var(--soft); font-size: 0.76rem; font-variant-numeric: tabular-nums; }
.key li { padding-left: 0.5rem; border-left: 0.28rem solid var(--swatch); line-height: 1.35; }
.key strong { display: block; color: var(--ink); }
.key-fresh { --swatch: var(--good); }
.key-stale { --swatch: light-dark(#e0a83a, #d9a441); }
.key-expired { --swatch: light-dark(#d4594f, #d8665c); }
.strip-line, .strip-tick { stroke: var(--line); stroke-width: 2; }
.dot-good { fill: var(--good); }
.dot-warn { fill: light-dark(#d08f1c, #e6b450); }
.dot-bad { fill: var(--bad); }
.dot-plain { fill: var(--soft); }
.dot-you { fill: var(--you); }
.strip-key { display: flex; justify-content: space-between; margin-top: -0.3rem; color: var(--soft); font-size: 0.76rem; }

.numbers { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 0.5rem; }
.numbers > div { display: flex; flex-direction: column-reverse; justify-content: flex-end; padding: 0.45rem 0.65rem; border-radius: 9px; background: var(--sunken); }
.numbers dt { color: var(--soft); font-size: 0.74rem; white-space: nowrap; }
.numbers dd { font-weight: 650; font-size: 0.98rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
.chips { display: flex; flex-wrap: wrap; gap: 0.4rem; min-height: 1.5rem; font-size: 0.8rem; }
.chips li { padding: 0.05rem 0.6rem; border: 1px solid currentColor; border-radius: 99px; }
.chip-warn { color: var(--warn); }
.chip-bad { color: var(--bad); }

.keys { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 0.45rem; }
.keys form { display: grid; }
.keys button { padding: 0.4rem 0.3rem; border-radius: 8px; font-size: 0.8rem; line-height: 1.25; }
.keys-explained { display: grid; gap: 0.85rem; }
.keys-explained form { display: grid; gap: 0.3rem; }
.keys-explained button { width: 100%; padding: 0.5rem 0.9rem; }
.exits { display: flex; flex-wrap: wrap; gap: 0.5rem 1rem; align-items: center; justify-content: space-between; font-size: 0.88rem; }
.exits button { width: auto; padding: 0.4rem 0.9rem; border-radius: 8px; font-size: 0.85rem; }
.breaks { background: color-mix(in srgb, var(--bad) 7%, transparent); border-color: color-mix(in srgb, var(--bad) 38%, transparent); color: var(--bad); }
.breaks:hover { background: color-mix(in srgb, var(--bad) 15%, transparent); }
button[aria-busy] { opacity: 0.55; }

.events { display: grid; gap: 0.32rem; align-content: start; font-size: 0.84rem; }
.events li { display: grid; grid-template-columns: 4.3rem minmax(0, 1fr); gap: 0.5rem; padding-left: 0.6rem; border-left: 3px solid var(--tone, var(--line)); overflow-wrap: anywhere; }
.events time { color: var(--soft); font-variant-numeric: tabular-nums; }
.events code { font-weight: 600; }
.event-good { --tone: var(--good); }
.event-warn { --tone: light-dark(#d08f1c, #e6b450); }
.event-bad { --tone: var(--bad); }
.event-you { --tone: var(--you); }
.event-you strong { color: var(--you); }
.session .events { min-height: 18rem; padding-top: 0.8rem; border-top: 1px solid var(--line); }
@media (prefers-reduced-motion: reduce) { * { animation: none; } }
`;
