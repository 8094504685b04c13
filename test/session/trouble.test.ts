// What a failed refresh leaves behind: requirements.
import { RateLimitError, ReauthorizationRequiredError, TransportError } from "warehouse-oauth";
import type { WarehouseDefinition } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import { describe, expect, test } from "vitest";
import { Postponed } from "../../src/session/postponed.ts";
import { DEFAULT_RETRY } from "../../src/session/retry.ts";
import type { SessionEntry } from "../../src/session/session-entry.ts";
import { troubleAfter } from "../../src/session/trouble.ts";
import type { Trouble } from "../../src/session/trouble.ts";
import { acmeServer, entryOf } from "./acme-room.ts";

const UPTIME_MS = 7_000;

interface Room {
  readonly entry: SessionEntry;
  /** What the error leaves behind, and when the next try comes, counted from now. */
  readonly after: (error: unknown) => Trouble & { readonly inMs: number };
}

/** A session that announced a refresh so often, the first time so long ago. */
async function room(
  intent?: { readonly attempts: number; readonly agoMs: number },
  definition: Partial<WarehouseDefinition<object>> = { refreshRotation: "single-use" },
): Promise<Room> {
  const clock = manualClock();
  const server = acmeServer(clock, definition);
  await clock.advance(UPTIME_MS);
  const entry = entryOf(server.client, server.tokens());
  if (entry.record !== undefined && intent !== undefined) {
    const { attempts, agoMs } = intent;
    const announced = { attemptId: "a", owner: "o", startedAt: clock.now() - agoMs, attempts, fingerprint: "f" };
    entry.record = { ...entry.record, intent: announced };
  }
  return {
    entry,
    after(error) {
      const trouble = troubleAfter(error, entry, { clock, retry: DEFAULT_RETRY, random: () => 0.5 });
      entry.trouble = trouble;
      return { ...trouble, inMs: trouble.retryAt - clock.monotonic() };
    },
  };
}

const lost = (): TransportError => new TransportError("timeout", "no answer", { ambiguous: true });
const down = (): TransportError => new TransportError("network_error", "not reached");

/** Half of the five minutes' upper half: a hurry would do no good. */
const UNHURRIED_MS = 225_000;

describe("trouble", () => {
  test("R-30 each failure in a row doubles the wait, and the last error is the one that is told", async () => {
    const { after } = await room();
    expect(after(down())).toMatchObject({ error: { code: "network_error" }, failures: 1, inMs: 250 });
    expect(after(lost())).toMatchObject({ error: { code: "timeout" }, failures: 2, inMs: 500 });
    expect(after(new RateLimitError("rate_limited", "too many", 0))).toMatchObject({ failures: 3, inMs: 4_000 });
  });

  test("R-12 what is no error of ours is tried again as soon; status and events have a code for it", async () => {
    const { after } = await room();
    const cause = new TypeError("obtain broke");
    const error = { code: "config_invalid", action: "fix_config" };
    expect(after(cause)).toMatchObject({ error, failures: 1, inMs: 250 });
    expect(after(cause)).toMatchObject({ error, failures: 2, inMs: 500 });
  });

  test("R-12 put off is no failure: the time is the one that was said, and what was wrong before stays", async () => {
    const { after } = await room();
    expect(after(new Postponed(7_000, false))).toMatchObject({ error: undefined, failures: 0, inMs: 7_000 });
    expect(after(down())).toMatchObject({ error: { code: "network_error" }, failures: 1 });
    expect(after(new Postponed(20_000, true))).toMatchObject({
      error: { code: "network_error" },
      failures: 1,
      inMs: 20_000,
    });
  });

  test("R-62 put off by nothing is put off all the same: no hot loop", async () => {
    const { after } = await room();
    expect(after(new Postponed(0, true)).inMs).toBe(1);
  });

  test("R-13 answered dead: never by itself", async () => {
    const { after } = await room();
    const dead = new ReauthorizationRequiredError("refresh_token_dead", "dead");
    expect(after(dead)).toMatchObject({ error: { code: "reauthorization_required" }, retryAt: Infinity });
  });

  for (const [attempts, agoMs, inMs] of [
    [2, 29_999, 250],
    [3, 29_999, UNHURRIED_MS],
    [2, 30_000, UNHURRIED_MS],
  ] as const) {
    test(`R-21 lost ${String(attempts)}×, the first one ${String(agoMs)} ms ago: again in ${String(inMs)} ms`, async () => {
      const { after } = await room({ attempts, agoMs });
      expect(after(lost()).inMs).toBe(inMs);
    });
  }

  test("R-21 nothing was announced: nothing was lost before", async () => {
    const { after } = await room();
    expect(after(lost()).inMs).toBe(250);
  });

  test("R-21 what was not processed, or cannot be spent, is tried again soon however often it was announced", async () => {
    const announced = { attempts: 9, agoMs: 60_000 };
    expect((await room(announced)).after(down()).inMs).toBe(250);
    expect((await room(announced, { refreshRotation: "none" })).after(lost()).inMs).toBe(250);
  });
});
