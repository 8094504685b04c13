const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** Says a duration in the largest two units that fit: `9 min 58 s`. */
export function formatDuration(durationMs: number): string {
  if (durationMs < SECOND_MS) return "0 s";
  if (durationMs < MINUTE_MS) return `${String(Math.floor(durationMs / SECOND_MS))} s`;
  const [large, small, names] =
    durationMs < HOUR_MS
      ? [MINUTE_MS, SECOND_MS, ["min", "s"]]
      : durationMs < DAY_MS
        ? [HOUR_MS, MINUTE_MS, ["h", "min"]]
        : [DAY_MS, HOUR_MS, ["days", "h"]];
  const whole = Math.floor(durationMs / large);
  const rest = Math.floor((durationMs % large) / small);
  const [first = "", second = ""] = names;
  return rest === 0 ? `${String(whole)} ${first}` : `${String(whole)} ${first} ${String(rest)} ${second}`;
}

/** Says a moment as a time of day. */
export function formatTime(at: number): string {
  return new Date(at).toTimeString().slice(0, 8);
}
