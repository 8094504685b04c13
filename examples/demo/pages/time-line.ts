import { html, type Html, type HtmlValue } from "../html.ts";
import type { LogLine, SessionView, TokenLife } from "../sessions/watch.ts";
import { formatDuration, formatTime } from "./duration.ts";

/** How far back the strip of events goes. */
const STRIP_MS = 180_000;

/** A place on a line, for SVG. */
function percent(share: number): string {
  return `${(100 * Math.min(1, Math.max(0, share))).toFixed(2)}%`;
}

/**
 * Draws a token's life: its zones, the next refresh, and a mark for now.
 *
 * @param moves Whether the mark moves by itself until the end. Not for a part that a script puts in place each second:
 * there, Chromium does not start the animation and leaves the mark at the beginning.
 */
export function timeLine(life: TokenLife, now: number, moves: boolean): Html {
  const { from, staleAt, expiredAt, endsAt, dueAt } = life;
  const whole = endsAt - from;
  const at = (moment: number): string => percent((moment - from) / whole);
  const zone = (name: string, begin: number, end: number): HtmlValue =>
    end > begin &&
    html`<rect class="zone-${name}" x="${at(begin)}" y="16" width="${percent((end - begin) / whole)}" height="20" />`;
  const left = Math.max(0, endsAt - now);
  // Declarative, so the mark moves where scripts do not run.
  const movement =
    moves &&
    left > 0 &&
    html`<animate attributeName="x" from="${at(now)}" to="100%" dur="${(left / 1_000).toFixed(2)}s" fill="freeze" />`;
  return html`<svg class="life" role="img" aria-label="${describeLife(life, now)}" height="50" width="100%">
    ${zone("fresh", from, staleAt)} ${zone("stale", staleAt, expiredAt)} ${zone("expired", expiredAt, endsAt)}
    ${
      dueAt !== undefined &&
      html`<svg x="${at(dueAt)}" overflow="visible"><path class="due" d="M0 40l5 8h-10z" /></svg>`
    }
    <svg x="${at(now)}" overflow="visible">
      ${movement}
      <path class="now-line" d="M0 12v28" />
      <path class="now-head" d="M-6 3h12l-6 9z" />
    </svg>
  </svg>`;
}

function describeLife({ from, staleAt, expiredAt, endsAt }: TokenLife, now: number): string {
  const zone = now < staleAt ? "fresh" : now < expiredAt ? "stale" : "expired";
  return `The access token is ${zone}: ${formatDuration(Math.max(0, now - from))} old, ends at ${formatTime(endsAt)}`;
}

/** Says in words what the colours of a time line mean, with their times. */
export function timeLineKey({ staleAt, expiredAt, endsAt }: TokenLife): Html {
  return html`<ul class="key">
    <li class="key-fresh"><strong>fresh</strong> until ${formatTime(staleAt)}</li>
    ${staleAt < expiredAt && html`<li class="key-stale"><strong>stale</strong> until ${formatTime(expiredAt)}</li>`}
    <li class="key-expired"><strong>expired</strong> ends ${formatTime(endsAt)}</li>
  </ul>`;
}

/** Draws what happened lately: a dot for each event, now at the right. */
export function eventStrip({ lines, now }: SessionView): Html {
  const recent = lines.filter(({ at }) => now - at < STRIP_MS);
  return html`<svg class="strip" role="img" aria-label="${describeStrip(recent)}" height="30" width="100%">
    <line class="strip-line" x1="0" x2="100%" y1="15" y2="15" />
    ${[1, 2, 3].map((minute) => {
      const x = percent(1 - (minute * 60_000) / STRIP_MS);
      return html`<line class="strip-tick" x1="${x}" x2="${x}" y1="9" y2="21" />`;
    })}
    ${[...recent].reverse().map(({ at, type, tone }) => {
      const x = percent(0.985 * (1 - (now - at) / STRIP_MS));
      return type === undefined
        ? html`<svg x="${x}" overflow="visible"><path class="dot-you" d="M0 2l5 6h-10z" /></svg>`
        : html`<circle class="dot-${tone}" cx="${x}" cy="15" r="${tone === "plain" ? 3 : 5}" />`;
    })}
  </svg>`;
}

function describeStrip(lines: readonly LogLine[]): string {
  const count = (wanted: string): string => String(lines.filter(({ type }) => type === wanted).length);
  return `The last three minutes: ${count("refresh_succeeded")} refreshes, ${count("refresh_failed")} that failed`;
}
