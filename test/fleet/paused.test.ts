import { expect, test } from "vitest";
import { report } from "./counts.ts";
import type { Fleet, StoredSession } from "./harness.ts";
import type { Asked, Point } from "./messages.ts";
import { TEST_TIMEOUT_MS, onEachStore } from "./suite.ts";

const LEASE_MS = 1_000;
const LONG_AGO_MS = 7_200_000;
const GRACE_MS = 600_000;

/** What lay in the store while one process was stopped, and what came of it. */
interface Paused {
  readonly before: StoredSession;
  readonly whileStopped: StoredSession;
  readonly after: StoredSession;
  readonly other: Asked;
  readonly stopped: Asked;
  /** What the one that was stopped gives to whoever asks it next. */
  readonly again: Asked;
  readonly isLive: boolean;
  /** Who sent the token that lay there before, and what was answered. */
  readonly sent: readonly string[];
  /** What the one that was stopped said of it. */
  readonly events: readonly string[];
}

/** Stops the holder of the lease at a point until another process has taken over, and lets it go on. */
async function stopAt(fleet: Fleet, point: Point): Promise<Paused> {
  const subject = point;
  await fleet.logIn([subject], { agedMs: LONG_AGO_MS });
  const before = await fleet.stored(subject);
  const holder = await fleet.startWorker(`stopped ${point}`, { leaseTtlMs: LEASE_MS });
  const successor = await fleet.startWorker(`other ${point}`, { leaseTtlMs: LEASE_MS });
  await holder.call("arm", { point, action: "stop" });
  const asking = holder.call("ask", { subjects: [subject], callers: 3 });
  await holder.until("stopping");
  const other = await successor.call("ask", { subjects: [subject], callers: 3 });
  const whileStopped = await fleet.stored(subject);
  holder.signal("SIGCONT");
  const stopped = await asking;
  const again = await holder.call("ask", { subjects: [subject], callers: 1 });
  const after = await fleet.stored(subject);
  const isLive = await fleet.isStoredTokenLive(subject);
  const log = await fleet.log();
  const requests = log.filter(({ sent }) => sent === before.refreshToken);
  const sent = requests.map(({ by, status }) => `${by.split(" ")[0] ?? ""}: ${String(status)}`);
  const events = (await holder.call("events", null)).map(({ type }) => type);
  return { before, whileStopped, after, other, stopped, again, isLive, sent, events };
}

/** What the server issued for a token. */
async function issuedFor(fleet: Fleet, refreshToken: string | undefined): Promise<readonly (string | undefined)[]> {
  const log = await fleet.log();
  return log.filter(({ sent, status }) => sent === refreshToken && status === 200).map((found) => found.refreshToken);
}

const served = ({ tokens }: Asked): readonly string[] => Object.keys(tokens);

onEachStore(
  "stopped beyond its lease",
  (suite) => {
    test(
      "R-67 R-43 SIGSTOP of the holder before and after it sends: what it writes replaces nothing but what it spent",
      () =>
        suite.withFleet({ graceMs: GRACE_MS }, async (fleet) => {
          const startedAt = performance.now();
          const points = ["before-intent", "after-intent", "sending", "after-answer", "after-save"] as const;
          const [beforeIntent, afterIntent, sending, afterAnswer, afterSave] = await Promise.all([
            stopAt(fleet, "before-intent"),
            stopAt(fleet, "after-intent"),
            stopAt(fleet, "sending"),
            stopAt(fleet, "after-answer"),
            stopAt(fleet, "after-save"),
          ]);
          for (const { whileStopped, after, other, again, isLive } of [
            beforeIntent,
            afterIntent,
            sending,
            afterAnswer,
          ]) {
            // The other process refreshed meanwhile, and what it saved stays.
            expect(other).toEqual({ tokens: { [whileStopped.accessToken ?? ""]: 3 }, errors: {} });
            expect(after.refreshToken).toBe(whileStopped.refreshToken);
            expect(served(again)).toEqual(served(other));
            expect(isLive).toBe(true);
          }
          for (const { stopped, other } of [beforeIntent, afterIntent, sending, afterAnswer]) {
            expect(stopped).toEqual(other);
          }
          // It sees by the clock that its lease is over, sends nothing, and looks again.
          expect(beforeIntent.sent).toEqual(["other: 200"]);
          expect(afterIntent.sent).toEqual(["other: 200"]);
          // Stopped after its last look at the clock: the token goes out twice, and the one that is late adopts.
          expect(sending.sent).toEqual(["other: 200", "stopped: 200"]);
          expect(afterAnswer.sent).toEqual(["stopped: 200", "other: 200"]);
          for (const { events } of [sending, afterAnswer]) expect(events).toContain("refresh_conflict");
          // Saved before it stopped: there is nothing left to do for anybody.
          expect(afterSave.sent).toEqual(["stopped: 200"]);
          expect(served(afterSave.other)).toEqual(served(afterSave.stopped));
          report(`${suite.store}: stopped at ${points.join(", ")}`, startedAt);
        }),
      TEST_TIMEOUT_MS,
    );

    test(
      "R-67 R-44 SIGSTOP between send and save at a strict server: the other finds the token spent, and says so once",
      () =>
        suite.withFleet({}, async (fleet) => {
          const { before, whileStopped, after, other, stopped, sent, events } = await stopAt(fleet, "after-answer");
          expect(sent).toEqual(["stopped: 200", "other: 400"]);
          expect(other).toEqual({ tokens: {}, errors: { reauthorization_required: 3 } });
          expect(whileStopped).toMatchObject({ state: "reauthorization_required", cause: "rotation_lost" });
          expect(whileStopped.refreshToken).toBe(before.refreshToken);
          // What it saves replaces the token it spent, and nothing else: it may live, where a server kills no families.
          expect([after.refreshToken]).toEqual(await issuedFor(fleet, before.refreshToken));
          expect(Object.values(stopped.tokens)).toEqual([3]);
          expect(events).not.toContain("reauthorization_required");
          // Here it does not, and the next refresh finds out.
          const next = await fleet.startWorker("next", { leaseTtlMs: LEASE_MS });
          await next.call("ask", { subjects: ["after-answer"], callers: 1 });
          const refreshed = await next.call("ask", { subjects: ["after-answer"], callers: 1, rejected: true });
          expect(refreshed).toEqual({ tokens: {}, errors: { reauthorization_required: 1 } });
          expect(await fleet.stored("after-answer")).toMatchObject({
            state: "reauthorization_required",
            cause: "rotation_lost",
          });
        }),
      TEST_TIMEOUT_MS,
    );
  },
  "one store",
);
