import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { SingleFlight } from "../../src/lib/single-flight.ts";

/** Work that is done when the test says so. */
class Work {
  starts = 0;
  #settle: { resolve: (value: string) => void; reject: (error: unknown) => void }[] = [];

  readonly start = (): Promise<string> => {
    this.starts += 1;
    return new Promise((resolve, reject) => {
      this.#settle.push({ resolve, reject });
    });
  };

  succeed(value: string, which = 0): void {
    this.#settle[which]?.resolve(value);
  }

  fail(error: unknown, which = 0): void {
    this.#settle[which]?.reject(error);
  }
}

/** Lets everything that waits for a microtask run, and unhandled rejections be noticed. */
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

describe("SingleFlight", () => {
  const unhandled = vi.fn();
  // Not every runtime of these tests is Node.
  const host = globalThis as {
    process?: { on(name: string, listener: unknown): void; off(name: string, listener: unknown): void };
  };

  beforeEach(() => {
    unhandled.mockClear();
    host.process?.on("unhandledRejection", unhandled);
  });
  afterEach(async () => {
    await settle();
    host.process?.off("unhandledRejection", unhandled);
    expect(unhandled).not.toHaveBeenCalled();
  });

  it("R-40 makes one flight for all who join at the same time", async () => {
    const flights = new SingleFlight<string, string>();
    const work = new Work();
    const waiters = Array.from({ length: 50 }, () => flights.join("a", work.start));
    await settle();
    expect([work.starts, flights.size, flights.has("a")]).toEqual([1, 1, true]);
    work.succeed("token");
    expect(new Set(await Promise.all(waiters))).toEqual(new Set(["token"]));
    expect([flights.size, flights.has("a")]).toEqual([0, false]);
  });

  it("keeps keys apart", async () => {
    const flights = new SingleFlight<string, string>();
    const results = Promise.all([
      flights.join("a", () => Promise.resolve("1")),
      flights.join("b", () => Promise.resolve("2")),
    ]);
    expect(flights.size).toBe(2);
    expect(await results).toEqual(["1", "2"]);
  });

  it("starts another flight after the first", async () => {
    const flights = new SingleFlight<string, number>();
    let count = 0;
    const start = (): Promise<number> => Promise.resolve(++count);
    expect([await flights.join("a", start), await flights.join("a", start)]).toEqual([1, 2]);
  });

  it("R-40 removes a flight that failed before its waiters run", async () => {
    const flights = new SingleFlight<string, string>();
    const failure = new Error("refused");
    const seen: boolean[] = [];
    const waiters = [0, 1].map(() =>
      flights
        .join("a", () => Promise.reject(failure))
        .catch((error: unknown) => {
          expect(error).toBe(failure);
          seen.push(flights.has("a"));
          return "none";
        }),
    );
    const aborter = new AbortController();
    const withSignal = flights.join("a", () => Promise.resolve("never"), { signal: aborter.signal });
    await expect(withSignal).rejects.toBe(failure);
    await Promise.all(waiters);
    expect(seen).toEqual([false, false]);
    expect(await flights.join("a", () => Promise.resolve("second"))).toBe("second");
  });

  it("R-40 does not let an earlier flight clear the slot of a later one", async () => {
    const flights = new SingleFlight<string, string>();
    const work = new Work();
    const first = flights.join("a", work.start);
    await settle();
    expect(flights.forget("a")).toBe(true);
    const second = flights.join("a", work.start);
    await settle();
    work.succeed("first", 0);
    expect(await first).toBe("first");
    expect(flights.has("a")).toBe(true);
    const joined = flights.join("a", work.start);
    work.succeed("second", 1);
    expect(await Promise.all([second, joined])).toEqual(["second", "second"]);
    expect([work.starts, flights.size, flights.forget("a")]).toEqual([2, 0, false]);
  });

  it.each([[new Error("gone")], ["a reason that is no error"]])(
    "R-40 detaches only the waiter whose signal aborts, with its reason untouched (%s)",
    async (reason) => {
      const flights = new SingleFlight<string, string>();
      const work = new Work();
      const aborter = new AbortController();
      const leaving = flights.join("a", work.start, { signal: aborter.signal });
      const staying = flights.join("a", work.start, { signal: new AbortController().signal });
      const plain = flights.join("a", work.start);
      await settle();
      aborter.abort(reason);
      await expect(leaving).rejects.toBe(reason);
      expect(flights.has("a")).toBe(true);
      work.succeed("token");
      expect(await Promise.all([staying, plain])).toEqual(["token", "token"]);
      expect(work.starts).toBe(1);
    },
  );

  it("R-40 goes on when everybody has left", async () => {
    const flights = new SingleFlight<string, string>();
    const work = new Work();
    const aborter = new AbortController();
    const leaving = flights.join("a", work.start, { signal: aborter.signal });
    await settle();
    aborter.abort("left");
    await expect(leaving).rejects.toBe("left");
    expect(flights.has("a")).toBe(true);
    const late = flights.join("a", work.start);
    work.succeed("token");
    expect([await late, work.starts]).toEqual(["token", 1]);
  });

  it("starts nothing for a signal that is already aborted", async () => {
    const flights = new SingleFlight<string, string>();
    const work = new Work();
    await expect(flights.join("a", work.start, { signal: AbortSignal.abort("before") })).rejects.toBe("before");
    await settle();
    expect([work.starts, flights.size]).toEqual([0, 0]);
  });

  it("leaves no listener on a signal that outlives the flight", async () => {
    const flights = new SingleFlight<string, string>();
    const { signal } = new AbortController();
    const add = vi.spyOn(signal, "addEventListener");
    const remove = vi.spyOn(signal, "removeEventListener");
    await flights.join("a", () => Promise.resolve("token"), { signal });
    await flights.join("a", () => Promise.reject(new Error("refused")), { signal }).catch(() => undefined);
    await settle();
    expect([add.mock.calls.length, remove.mock.calls.length]).toEqual([2, 2]);
  });

  it("R-40 reports no unhandled rejection when nobody waits", async () => {
    const flights = new SingleFlight<string, string>();
    const aborter = new AbortController();
    void flights.join("a", () => Promise.reject(new Error("refused")));
    void flights.join("b", () => Promise.reject(new Error("refused")), { signal: aborter.signal });
    void flights.join("c", () => Promise.resolve("never"), { signal: AbortSignal.abort() });
    await settle();
    expect([flights.size, unhandled.mock.calls.length]).toEqual([0, 0]);
  });

  it("treats work that throws at once as a flight that failed", async () => {
    const flights = new SingleFlight<string, string>();
    const failure = new Error("at once");
    const joined = flights.join("a", () => {
      throw failure;
    });
    expect(flights.has("a")).toBe(true);
    await expect(joined).rejects.toBe(failure);
    expect(flights.size).toBe(0);
  });

  it("R-40 never has two flights of one key, in any order of joining, leaving and ending", async () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("join" as const), key: fc.nat(2), withSignal: fc.boolean() }),
      fc.record({ kind: fc.constant("abort" as const), which: fc.nat() }),
      fc.record({ kind: fc.constant("end" as const), which: fc.nat(), well: fc.boolean() }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const flights = new SingleFlight<number, number>();
        const running: { key: number; id: number; end: (well: boolean) => void }[] = [];
        const waiters: { outcome: Promise<unknown>; expected: () => unknown; aborter: AbortController | undefined }[] =
          [];
        const ended = new Map<number, boolean>();
        const current = new Map<number, number>();
        const aborted = new Map<AbortController, boolean>();
        let nextId = 0;
        for (const each of steps) {
          if (each.kind === "join") {
            const { key } = each;
            const aborter = each.withSignal ? new AbortController() : undefined;
            const joined = flights.join(
              key,
              () => {
                const id = nextId++;
                expect(current.has(key)).toBe(false);
                current.set(key, id);
                return new Promise<number>((resolve, reject) => {
                  const end = (well: boolean): void => {
                    ended.set(id, well);
                    current.delete(key);
                    if (well) resolve(id);
                    else reject(new Error(String(id)));
                  };
                  running.push({ key, id, end });
                });
              },
              { signal: aborter?.signal },
            );
            await settleMicrotasks();
            const id = current.get(key);
            waiters.push({
              aborter,
              outcome: joined.then(
                (value) => value,
                (error: unknown) => (error instanceof Error ? `failed ${error.message}` : error),
              ),
              expected: () => {
                if (aborter !== undefined && aborted.get(aborter) === true) return "left";
                return ended.get(id ?? -1) === true ? id : `failed ${String(id)}`;
              },
            });
          } else if (each.kind === "abort") {
            const waiter = waiters[each.which % Math.max(1, waiters.length)];
            if (waiter?.aborter === undefined) continue;
            // Too late for one whose flight has ended.
            const open =
              running.length > 0 && (await Promise.race([waiter.outcome, Promise.resolve("open")])) === "open";
            if (open) aborted.set(waiter.aborter, true);
            waiter.aborter.abort("left");
          } else {
            const [flight] = running.splice(each.which % Math.max(1, running.length), 1);
            flight?.end(each.well);
          }
          await settleMicrotasks();
          expect(flights.size).toBe(running.length);
        }
        for (const flight of running.splice(0)) flight.end(true);
        for (const waiter of waiters) expect(await waiter.outcome).toBe(waiter.expected());
        await settleMicrotasks();
        expect(flights.size).toBe(0);
      }),
      { numRuns: 100 },
    );
  });
});

/** Lets chains of a few promises run to their end. */
async function settleMicrotasks(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
}
