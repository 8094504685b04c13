import { systemClock } from "../lib/clock.ts";
import type { Lease, TokenStore } from "../session/store.ts";
import { NO_OPTIONS, RACERS, caseFor, expect, put, sleep } from "./store-case.ts";
import type { StoreCase } from "./store-case.ts";

/** Long enough that no slow test machine loses it, and never waited for. */
const LONG_LEASE_MS = 60_000;

/** Waited for, by the system's clock: a store measures its leases by a clock of its own. */
const SHORT_LEASE_MS = 200;

/** A lease of so long that cannot be renewed at once is no matter of time. */
const LONGEST_SHORT_LEASE_MS = 64 * SHORT_LEASE_MS;

/** How long a lost lease may take to become free again before it counts as never. */
const LEASE_PATIENCE_MS = 10_000;

const LEASE_POLL_MS = 50;

/** Leases, for stores that have them. */
export const LEASE_CASES: readonly StoreCase[] = [
  caseFor("lease", "a lease has one holder, for its key only, until it is released", async ({ store, key }) => {
    const options = { ttlMs: LONG_LEASE_MS };
    const [lease, ...others] = await race(store, key());
    expect(lease !== undefined && others.length === 0, `${String(others.length + 1)} hold one lease`);
    const elsewhere = await store.lease(key("other"), options);
    expect(elsewhere !== undefined, "a lease of one key keeps another key");
    await elsewhere.release();
    expect(await lease.renew(LONG_LEASE_MS), "a lease that is held was not renewed");
    expect((await store.lease(key(), options)) === undefined, "a held lease was given away");
    await put(store, key(), { value: "written under a lease" });
    await lease.release();
    const next = await store.lease(key(), options);
    expect(next !== undefined, "a released lease cannot be got");
    await lease.release();
    expect(!(await lease.renew(LONG_LEASE_MS)), "a released lease was renewed");
    expect((await store.lease(key(), options)) === undefined, "an old holder released the new one's lease");
    await next.release();
  }),
  caseFor("lease", "a lease ends by time, and its old holder has no part in it any more", async ({ store, key }) => {
    const old = await store.lease(key(), { ttlMs: SHORT_LEASE_MS });
    expect(old !== undefined, "a free lease cannot be got");
    const until = systemClock.monotonic() + LEASE_PATIENCE_MS;
    let holders: Lease[] = [];
    while (holders.length === 0 && systemClock.monotonic() < until) {
      await sleep(LEASE_POLL_MS);
      holders = await race(store, key());
    }
    const [next, ...others] = holders;
    expect(next !== undefined, "a lease whose holder died never became free");
    expect(others.length === 0, `${String(holders.length)} took over one lease`);
    expect(!(await old.renew(LONG_LEASE_MS)), "a lost lease was renewed");
    await old.release();
    expect((await store.lease(key(), { ttlMs: LONG_LEASE_MS })) === undefined, "a lost lease released the new one");
    expect(await next.renew(LONG_LEASE_MS), "the new holder lost its lease to the old one");
    await next.release();
  }),
  caseFor("lease", "a lease that is renewed goes on from then", async ({ store, key }) => {
    const { lease, ttlMs } = await renewedInTime(store, key);
    await sleep(ttlMs + LEASE_POLL_MS);
    expect(
      (await store.lease(key(), { ttlMs: LONG_LEASE_MS })) === undefined,
      "a renewed lease ended as if it were not",
    );
    await lease.release();
  }),
  caseFor(
    "lease",
    "a lease does not hang on the record: it is kept when that is replaced or deleted",
    async ({ store, key }) => {
      const version = await put(store, key(), { value: "before" });
      const lease = await store.lease(key(), { ttlMs: LONG_LEASE_MS });
      expect(lease !== undefined, "a free lease cannot be got");
      await put(store, key(), { value: "after" }, version);
      await store.delete(key(), NO_OPTIONS);
      expect((await store.lease(key(), { ttlMs: LONG_LEASE_MS })) === undefined, "deleting a record ended its lease");
      expect(await lease.renew(LONG_LEASE_MS), "deleting a record took the lease from its holder");
      await lease.release();
    },
  ),
];

/** Takes a short lease and renews it for long; one that is longer where the machine was too slow for it. */
async function renewedInTime(
  store: TokenStore,
  key: (part?: string) => string,
): Promise<{ readonly lease: Lease; readonly ttlMs: number }> {
  for (let ttlMs = SHORT_LEASE_MS; ttlMs <= LONGEST_SHORT_LEASE_MS; ttlMs *= 2) {
    const lease = await store.lease?.(key(), { ttlMs });
    expect(lease !== undefined, "a free lease cannot be got");
    if (await lease.renew(LONG_LEASE_MS)) return { lease, ttlMs };
    await lease.release();
  }
  expect(false, "a lease that is held cannot be renewed");
}

/** Tries to get one lease several times at once, and gives what was got. */
async function race(store: TokenStore, key: string): Promise<Lease[]> {
  const tries = Array.from({ length: RACERS }, async () => store.lease?.(key, { ttlMs: LONG_LEASE_MS }));
  return (await Promise.all(tries)).flatMap((lease) => lease ?? []);
}
