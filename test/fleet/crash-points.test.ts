import { expect, test } from "vitest";
import { report } from "./counts.ts";
import type { Fleet } from "./harness.ts";
import type { Point } from "./messages.ts";
import { TEST_TIMEOUT_MS, onEachStore } from "./suite.ts";

const LEASE_MS = 1_000;
const LONG_AGO_MS = 7_200_000;
const GRACE_MS = 600_000;

/** Where the first process is killed, and what must be true then. */
type Place = Point | "sent, not processed" | "sent, processed";

/** Nothing spent: the next process refreshes as if nothing had been. */
const UNTOUCHED: readonly Place[] = ["before-intent", "after-intent", "sending", "sent, not processed"];

/** The server rotated and nobody knows to what. */
const LOST: readonly Place[] = ["sent, processed", "after-answer"];

/** Somewhere in the middle of a write: once at its begin, and later. */
const IN_SAVE_AFTER_MS = [0, 2];

/** One session whose process is killed, and what that process had to spend. */
interface Killed {
  readonly subject: string;
  readonly place: Place;
  readonly refreshToken: string | undefined;
}

async function killAt(fleet: Fleet, place: Place, afterMs?: number): Promise<Killed> {
  const subject = afterMs === undefined ? place : `${place}, ${String(afterMs)} ms`;
  await fleet.logIn([subject], { agedMs: LONG_AGO_MS });
  const { refreshToken } = await fleet.stored(subject);
  const worker = await fleet.startWorker(subject, { leaseTtlMs: LEASE_MS });
  const ask = (): Promise<unknown> =>
    worker.call("ask", { subjects: [subject], callers: 1 }).catch((error: unknown) => error);
  if (place === "sent, not processed" || place === "sent, processed") {
    const kind = place === "sent, processed" ? "hold-after" : "hold-before";
    await fleet.server.call("fault", { kind, times: 1 });
    const asking = ask();
    await fleet.server.until("held");
    await worker.kill();
    await asking;
    await fleet.server.until("sender gone");
  } else {
    await worker.call("arm", { point: place, action: "kill", ...(afterMs !== undefined && { afterMs }) });
    const answer = await ask();
    // A quick store may be done before the kill.
    if (place !== "in-save") expect(answer).toMatchObject({ message: "gone" });
    await worker.ended();
  }
  return { subject, place, refreshToken };
}

onEachStore(
  "kill -9 at each point of a refresh",
  (suite) => {
    for (const graceMs of [0, GRACE_MS]) {
      const kind = graceMs === 0 ? "a strict server" : "a server with a grace time";
      test(
        `R-25 R-45 ${kind}`,
        () =>
          suite.withFleet({ graceMs }, async (fleet) => {
            const startedAt = performance.now();
            const killed: Killed[] = [];
            for (const place of [...UNTOUCHED, ...LOST, "after-save"] as const) killed.push(await killAt(fleet, place));
            for (const afterMs of IN_SAVE_AFTER_MS) killed.push(await killAt(fleet, "in-save", afterMs));
            const next = await fleet.startWorker("next", { leaseTtlMs: LEASE_MS });
            const ends = await Promise.all(
              killed.map(async ({ subject, place, refreshToken }) => {
                const { tokens, errors } = await next.call("ask", { subjects: [subject], callers: 1 });
                const { state, cause } = await fleet.stored(subject);
                const isLive = await fleet.isStoredTokenLive(subject);
                return {
                  subject,
                  place,
                  refreshToken,
                  served: { tokens: Object.values(tokens), errors, isLive, state, cause },
                };
              }),
            );
            const log = await fleet.log();
            for (const { subject, place, refreshToken, served } of ends) {
              const requests = log.filter(({ sent }) => sent === refreshToken);
              const sent = requests.map(({ by, status }) => `${by === "next" ? "next" : "killed"}: ${String(status)}`);
              expect(expectedEnds(place, graceMs > 0), subject).toContainEqual({ ...served, sent });
            }
            // Nothing else was sent: what a refresh brought was not refreshed again.
            expect(
              log.filter(({ sent }) => sent !== "" && !killed.some(({ refreshToken }) => refreshToken === sent)),
            ).toEqual([]);
            const states = ends.map(({ subject, served }) => `${subject}: ${served.cause ?? served.state}`);
            report(`${suite.store}, ${kind}: ${states.join("; ")}`, startedAt);
          }),
        TEST_TIMEOUT_MS,
      );
    }
  },
  "one store",
);

/** What may be the end; more than one only where the kill meets a write. */
function expectedEnds(place: Place, hasGrace: boolean): readonly object[] {
  const active = { tokens: [1], errors: {}, isLive: true, state: "active", cause: undefined };
  const lost = {
    tokens: [],
    errors: { reauthorization_required: 1 },
    isLive: false,
    state: "reauthorization_required",
    cause: "rotation_lost",
  };
  const untouched = { ...active, sent: ["next: 200"] };
  const saved = { ...active, sent: ["killed: 200"] };
  // At a strict server tried once, and no more.
  const unsaved = hasGrace
    ? { ...active, sent: ["killed: 200", "next: 200"] }
    : { ...lost, sent: ["killed: 200", "next: 400"] };
  if (UNTOUCHED.includes(place)) return [untouched];
  if (LOST.includes(place)) return [unsaved];
  return place === "after-save" ? [saved] : [saved, unsaved];
}
