import type { SessionEvent } from "warehouse-oauth";
import { formatDuration } from "../pages/duration.ts";

/** Whether something is well, still bearable, or bad. */
export type Tone = "good" | "warn" | "bad" | "plain";

/** Says an event's own fields in words. Events hold codes and references only, so nothing here needs to be hidden. */
export function describeEvent(event: SessionEvent): { readonly text: string; readonly tone: Tone } {
  switch (event.type) {
    case "tokens_issued":
      return { text: `generation ${String(event.generation)}, ${expiry(event)}`, tone: "good" };
    case "refresh_started":
      return { text: `because: ${event.reason}`, tone: "plain" };
    case "refresh_succeeded": {
      const kept = event.rotated ? "refresh token replaced" : "refresh token kept";
      return { text: `generation ${String(event.generation)}, ${kept}, ${ms(event.durationMs)}`, tone: "good" };
    }
    case "refresh_adopted":
      return { text: `generation ${String(event.generation)} came from another process`, tone: "good" };
    case "refresh_retried":
      return {
        text: `${event.code}, attempt ${String(event.attempt)}, again in ${ms(event.delayMs)}`,
        tone: "warn",
      };
    case "refresh_failed":
      return { text: `${event.code}, after ${ms(event.durationMs)}; tries go on`, tone: "warn" };
    case "refresh_conflict":
      return { text: "another process wrote first", tone: "warn" };
    case "token_rejected":
      return { text: "the API refused the access token", tone: "warn" };
    case "rotation_lost":
      return { text: "a successor of the refresh token got lost", tone: "bad" };
    case "revoked":
      return { text: "signed out", tone: "plain" };
    case "save_failed":
      return { text: `${event.code}, attempt ${String(event.attempt)}`, tone: "bad" };
    case "reauthorization_required":
      return { text: event.cause, tone: "bad" };
    case "scopes_changed":
      return { text: `+${String(event.added.length)} −${String(event.removed.length)}`, tone: "warn" };
    case "expiring":
      return { text: event.what, tone: "warn" };
    case "circuit_opened":
      return { text: `${event.code}; a probe in ${ms(event.retryAfterMs)}`, tone: "bad" };
    case "circuit_closed":
      return { text: "the endpoint is back", tone: "good" };
    case "rate_limited":
      return { text: `again in ${ms(event.retryAfterMs)}`, tone: "warn" };
    case "authorization_started":
    case "authorization_completed":
      return { text: "", tone: "plain" };
    case "authorization_failed":
      return { text: event.code, tone: "bad" };
  }
}

function expiry({ at, expiresAt }: { readonly at: number; readonly expiresAt: number | undefined }): string {
  return expiresAt === undefined
    ? "for a time nobody said"
    : `good for ${formatDuration(Math.ceil((expiresAt - at) / 1_000) * 1_000)}`;
}

function ms(durationMs: number): string {
  return durationMs < 1_000 ? `${String(Math.round(durationMs))} ms` : `${(durationMs / 1_000).toFixed(1)} s`;
}
