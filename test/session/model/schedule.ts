import fc from "fast-check";
import type { ServerFault, ServerMode } from "./rotating-server.ts";
import type { StoreFault, StoreOperation } from "./shared-store.ts";

/** Somebody calls into the library. `by` is the number of a process. */
export type Call =
  | { readonly do: "ask"; readonly by: number; readonly how: "plain" | "much" | "rejected" }
  | { readonly do: "refresh" | "close" | "logout" | "login"; readonly by: number };

/** What one process, or the world around it, does next. */
export type Step =
  | Call
  | { readonly do: "crash" | "pause" | "resume"; readonly by: number }
  | { readonly do: "wait"; readonly ms: number }
  /** All processes ask at once. */
  | { readonly do: "rush" }
  | { readonly do: "jump"; readonly by: number | "all"; readonly ms: number }
  | { readonly do: "store"; readonly by: number; readonly operation: StoreOperation; readonly fault: StoreFault }
  | { readonly do: "server"; readonly fault: ServerFault };

/** A whole run: data, so that it can be printed, replayed and shrunk. */
export interface Schedule {
  readonly server: ServerMode;
  readonly processes: number;
  readonly steps: readonly Step[];
}

/** From the gap between two operations of a store to the idle time of a session. */
const WAITS_MS = [1, 2, 4, 9, 15, 40, 300, 1_500, 6_000, 11_000, 25_000, 61_000, 200_000, 480_000, 600_000, 1_500_000];

const JUMPS_MS = [3_600_000, -3_600_000, 400_000, -120_000, 315_360_000_000];

const by = fc.nat({ max: 2 });

const wait: fc.Arbitrary<Step> = fc.record({ do: fc.constant("wait"), ms: fc.constantFrom(...WAITS_MS) });

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 10, arbitrary: wait },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("ask"),
      by,
      how: fc.constantFrom("plain", "plain", "plain", "much", "rejected"),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("rush") }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("refresh"), by }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom("crash", "crash", "close"), by }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("pause", "resume", "resume"), by }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("jump"),
      by: fc.oneof(by, fc.constant("all" as const)),
      ms: fc.constantFrom(...JUMPS_MS),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("store"),
      by,
      operation: fc.constantFrom("read", "write", "write", "write", "lease", "renew", "release"),
      fault: fc.constantFrom("error", "lost", "lost-answer", "slow", "too-slow", "stale"),
    }),
  },
  {
    weight: 5,
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
      ),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom("logout", "login"), by }) },
);

/** Any schedule: what fast-check draws, and makes smaller when it fails. */
export const schedule: fc.Arbitrary<Schedule> = fc.record({
  server: fc.constantFrom("strict", "grace"),
  processes: fc.integer({ min: 1, max: 3 }),
  steps: fc.array(step, { minLength: 1, maxLength: 40, size: "max" }),
});
