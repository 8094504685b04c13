// What the server's log says, in the words of the requirements.
import type { Asked, LeaseWord, TokenRequest } from "./messages.ts";

/** Adds up what the callers of all workers got. */
export function merge(asked: readonly Asked[]): Asked {
  const tokens: Record<string, number> = {};
  const errors: Record<string, number> = {};
  for (const one of asked) {
    for (const [name, count] of Object.entries(one.tokens)) tokens[name] = (tokens[name] ?? 0) + count;
    for (const [name, count] of Object.entries(one.errors)) errors[name] = (errors[name] ?? 0) + count;
  }
  return { tokens, errors };
}

/** A refresh token that was sent again after it had brought another. */
export interface Reuse {
  /** What spent it. */
  readonly first: TokenRequest;
  readonly again: TokenRequest;
  /** What the first spender sent next, for the same login. */
  readonly next: TokenRequest | undefined;
  /** Whether anybody ever sent what the first had brought: then it had been saved. */
  readonly successorUsed: boolean;
}

/** Every request that brought a spent refresh token, in order. */
export function reusesIn(log: readonly TokenRequest[]): readonly Reuse[] {
  const spentBy = new Map<string, number>();
  const sent = new Set(log.map((request) => request.sent));
  const reuses: Reuse[] = [];
  for (const [index, again] of log.entries()) {
    const firstIndex = spentBy.get(again.sent);
    const first = firstIndex === undefined ? undefined : log[firstIndex];
    if (first !== undefined && firstIndex !== undefined) {
      const next = log.slice(firstIndex + 1).find(({ by, family }) => by === first.by && family === first.family);
      reuses.push({ first, again, next, successorUsed: sent.has(first.refreshToken ?? "none") });
    } else if (again.status === 200) spentBy.set(again.sent, index);
  }
  return reuses;
}

/**
 * Whether the machine gave who spent the token, or who sent it again, no time (requirements R-67): a request that arrived
 * when the lease was over that it was sent under, or a spender that held a lease by its own words, did not give it back, and
 * did not renew it in time.
 */
export function isStarved(
  { first, again }: Reuse,
  leaseMs: number,
  words: readonly LeaseWord[],
  killedAt = Infinity,
): boolean {
  const isLate = ({ lease, arrivedAt }: TokenRequest): boolean => lease !== undefined && arrivedAt - lease.at > leaseMs;
  if (isLate(first) || isLate(again)) return true;
  // Who was killed in time could not renew: that explains itself.
  const until = Math.min(again.arrivedAt, killedAt);
  const last = words.filter(({ key, at }) => key === first.lease?.key && at <= until).at(-1);
  return last?.what === "held" && until - last.at > leaseMs;
}

/** Requests that brought neither the newest token of their login nor, by exception, a spent one: from nowhere. */
export function strayIn(log: readonly TokenRequest[]): readonly TokenRequest[] {
  const newest = new Map<string, string | undefined>();
  const spent = new Set<string>();
  return log.filter(({ sent, family, status, refreshToken }) => {
    if (family === undefined) return status === 400;
    const expected = newest.get(family);
    const isStray = !spent.has(sent) && expected !== undefined && expected !== sent;
    if (status === 200) {
      spent.add(sent);
      newest.set(family, refreshToken);
    }
    return isStray;
  });
}

/** The most of these moments within any one second. */
export function busiestSecond(moments: readonly number[]): number {
  const times = moments.toSorted((a, b) => a - b);
  let most = 0;
  let from = 0;
  for (const [index, at] of times.entries()) {
    while (at - (times[from] ?? at) >= 1_000) from += 1;
    most = Math.max(most, index - from + 1);
  }
  return most;
}
