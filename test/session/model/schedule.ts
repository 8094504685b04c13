import fc from "fast-check";
import type { ServerFault, ServerMode } from "./rotating-server.ts";
import type { StoreFault, StoreOperation } from "./shared-store.ts";

/** Somebody calls into the library. `by` is the number of a process, `of` that of a session. */
export type Call = Ask | OtherCall;

interface Ask {
  readonly do: "ask";
  readonly by: number;
  readonly of: number;
  readonly how: "plain" | "much" | "rejected";
  /** The caller has a signal, and leaves after so long. */
  readonly leaveMs?: number;
}

interface OtherCall {
  readonly do: "refresh" | "login" | "logout" | "forget" | "status" | "job";
  readonly by: number;
  readonly of: number;
  readonly leaveMs?: number;
}

/** What one process, or the world around it, does next. */
export type Step =
  | Call
  | { readonly do: "crash" | "pause" | "resume"; readonly by: number }
  | { readonly do: "close" | "visit"; readonly by: number }
  | { readonly do: "wait"; readonly ms: number }
  /** The next thing happens, and only so many microtasks of what follows. */
  | { readonly do: "begin"; readonly microtasks: number }
  /** All processes ask at once, for all sessions. */
  | { readonly do: "rush" }
  /** The function that gives the client's secret takes so long, the next time. */
  | { readonly do: "secret"; readonly by: number; readonly ms: number }
  | { readonly do: "jump"; readonly by: number | "all"; readonly ms: number }
  | {
      readonly do: "store";
      readonly by: number;
      readonly operation: StoreOperation;
      readonly fault: StoreFault;
      readonly times?: number;
    }
  | { readonly do: "server"; readonly fault: ServerFault; readonly times?: number }
  /** Somebody ends the grant at the server. */
  | { readonly do: "end grant"; readonly of: number };

/** A whole run: data, so that it can be printed, replayed and shrunk. */
export interface Schedule {
  readonly server: ServerMode;
  readonly processes: number;
  readonly sessions: number;
  /** Requests at once that a process may have at the token endpoint. */
  readonly atOnce: number;
  readonly steps: readonly Step[];
}

/** From the gap between two operations of a store to the longest that one of them takes: most of what matters happens there. */
const SHORT_WAITS_MS = [1, 2, 4, 9, 15, 40, 300, 600, 1_500, 3_100];

/** From a deadline to the idle time of a session. */
const LONG_WAITS_MS = [6_000, 11_000, 25_000, 61_000, 200_000, 480_000, 600_000, 1_500_000];

const JUMPS_MS = [3_600_000, -3_600_000, 400_000, -120_000, 315_360_000_000];

const by = fc.nat({ max: 2 });
const of = fc.nat({ max: 1 });

/** Most callers stay. */
const leaving: { requiredKeys: ("do" | "by" | "of")[] } = { requiredKeys: ["do", "by", "of"] };
const leaveMs = fc.constantFrom(0, 1, 2, 12, 300, 11_000);

/** Some things go wrong for a while. */
const times = fc.constantFrom(1, 1, 1, 8);

const wait: fc.Arbitrary<Step> = fc.record({
  do: fc.constant("wait"),
  ms: fc.oneof(
    { weight: 2, arbitrary: fc.constantFrom(...SHORT_WAITS_MS) },
    { weight: 1, arbitrary: fc.constantFrom(...LONG_WAITS_MS) },
  ),
});

const ask: fc.Arbitrary<Step> = fc.record(
  { do: fc.constant("ask"), by, of, how: fc.constantFrom("plain", "plain", "plain", "much", "rejected"), leaveMs },
  { requiredKeys: ["do", "by", "of", "how"] },
);

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 10, arbitrary: wait },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("begin"), microtasks: fc.nat({ max: 12 }) }) },
  { weight: 8, arbitrary: ask },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("rush") }) },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constantFrom("refresh", "refresh", "job", "status"), by, of, leaveMs }, leaving),
  },
  {
    weight: 4,
    arbitrary: fc.record(
      { do: fc.constantFrom("login", "login", "logout", "logout", "forget"), by, of, leaveMs },
      leaving,
    ),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("crash", "crash", "close", "visit"), by }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("pause", "resume", "resume"), by }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("secret"), by, ms: fc.constantFrom(1, 20, 2_000) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("jump"),
      by: fc.oneof(by, fc.constant("all" as const)),
      ms: fc.constantFrom(...JUMPS_MS),
    }),
  },
  {
    weight: 7,
    arbitrary: fc.record({
      do: fc.constant("store"),
      by,
      operation: fc.constantFrom("read", "write", "announce", "save", "save", "lease", "renew", "release"),
      fault: fc.constantFrom("error", "lost", "lost-answer", "slow", "slow-answer", "too-slow", "stale"),
      times,
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("server"),
      fault: fc.constantFrom(
        "refused-connection",
        "reset-before",
        "reset-after",
        "no-answer",
        "late",
        "too-late",
        "garbled",
        "half",
        "server-error",
        "unavailable",
        "throttled",
        "throttled-long",
        "client-refused",
      ),
      times,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("end grant"), of }) },
);

/** Any schedule: what fast-check draws, and makes smaller when it fails. */
export const schedule: fc.Arbitrary<Schedule> = fc.record({
  server: fc.constantFrom("strict", "grace"),
  processes: fc.integer({ min: 1, max: 3 }),
  sessions: fc.integer({ min: 1, max: 2 }),
  atOnce: fc.constantFrom(1, 10),
  steps: fc.array(step, { minLength: 1, maxLength: 40, size: "max" }),
});
