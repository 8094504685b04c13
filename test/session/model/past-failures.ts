import type { Schedule } from "./schedule.ts";

/** Schedules that were found wrong once, as the search shrank them. They are run before the drawn ones. */
export const PAST_FAILURES: readonly Schedule[] = [
  // A process slept while two logins were being saved: the flight adopted one ended token, and handed out the other.
  {
    server: "strict",
    processes: 1,
    sessions: 1,
    atOnce: 10,
    steps: [
      { do: "login", by: 0, of: 0 },
      { do: "login", by: 0, of: 0 },
      { do: "pause", by: 0 },
      { do: "wait", ms: 1_500_000 },
      { do: "resume", by: 0 },
      { do: "rush" },
    ],
  },
  // The same between two processes: one sleeps with a save and a login on their way, the other one is asked.
  {
    server: "strict",
    processes: 2,
    sessions: 1,
    atOnce: 10,
    steps: [
      { do: "store", by: 1, operation: "write", fault: "slow" },
      { do: "refresh", by: 1, of: 0 },
      { do: "login", by: 1, of: 0 },
      { do: "wait", ms: 10 },
      { do: "pause", by: 1 },
      { do: "crash", by: 0 },
      { do: "wait", ms: 680_000 },
      { do: "ask", by: 0, of: 0, how: "plain" },
      { do: "wait", ms: 1 },
    ],
  },
  // The model was wrong: a copy handed out while a logout was under way is nothing that a caller may count on.
  {
    server: "strict",
    processes: 2,
    sessions: 1,
    atOnce: 10,
    steps: [
      { do: "logout", by: 0, of: 0 },
      { do: "login", by: 1, of: 0 },
      { do: "ask", by: 0, of: 0, how: "plain" },
      { do: "store", by: 0, operation: "read", fault: "error" },
      { do: "wait", ms: 1_500 },
      { do: "ask", by: 0, of: 0, how: "plain" },
      { do: "refresh", by: 0, of: 0 },
    ],
  },
  // Paused while the answer was on its way, for longer than its tokens live: nobody gets those.
  {
    server: "strict",
    processes: 1,
    sessions: 1,
    atOnce: 10,
    steps: [
      { do: "refresh", by: 0, of: 0 },
      { do: "wait", ms: 15 },
      { do: "pause", by: 0 },
      { do: "wait", ms: 1_500_000 },
      { do: "resume", by: 0 },
      { do: "ask", by: 0, of: 0, how: "plain" },
      { do: "store", by: 0, operation: "read", fault: "error" },
    ],
  },
  // Two announcements that nobody was told of: the first one was written after all, and counted as sent.
  {
    server: "strict",
    processes: 1,
    sessions: 1,
    atOnce: 10,
    steps: [
      { do: "store", by: 0, operation: "write", fault: "lost-answer" },
      { do: "end grant", of: 0 },
      { do: "store", by: 0, operation: "write", fault: "lost" },
      { do: "wait", ms: 600_000 },
    ],
  },
  // Found by review: a late try to save took what was bought with its own tokens for a conflict, and sent those again.
  {
    server: "strict",
    processes: 1,
    sessions: 1,
    atOnce: 10,
    steps: [
      { do: "store", by: 0, operation: "save", fault: "error" },
      { do: "store", by: 0, operation: "save", fault: "slow" },
      { do: "refresh", by: 0, of: 0 },
      { do: "wait", ms: 600 },
      { do: "refresh", by: 0, of: 0 },
      { do: "wait", ms: 3_100 },
      { do: "end grant", of: 0 },
      { do: "refresh", by: 0, of: 0 },
      { do: "wait", ms: 1_500 },
    ],
  },
  // Found by review: a logout revoked what waited to be saved, and let the tokens of a later login elsewhere live.
  {
    server: "strict",
    processes: 2,
    sessions: 1,
    atOnce: 10,
    steps: [
      { do: "store", by: 0, operation: "save", fault: "error", times: 8 },
      { do: "refresh", by: 0, of: 0 },
      { do: "wait", ms: 300 },
      { do: "login", by: 1, of: 0 },
      { do: "wait", ms: 4 },
      { do: "logout", by: 0, of: 0 },
      { do: "wait", ms: 1_500 },
    ],
  },
  // Found by review: the circuit opened while a secret was on its way, and the request left all the same.
  {
    server: "strict",
    processes: 1,
    sessions: 2,
    atOnce: 10,
    steps: [
      { do: "server", fault: "client-refused", times: 3 },
      { do: "refresh", by: 0, of: 0 },
      { do: "wait", ms: 40 },
      { do: "refresh", by: 0, of: 0 },
      { do: "wait", ms: 40 },
      { do: "secret", by: 0, ms: 2_000 },
      { do: "refresh", by: 0, of: 1 },
      { do: "wait", ms: 40 },
      { do: "refresh", by: 0, of: 0 },
      { do: "wait", ms: 3_100 },
    ],
  },
];
