import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DueQueue } from "../../src/lib/due-queue.ts";
import type { DueSlot } from "../../src/lib/due-queue.ts";

/** A session as far as the queue is concerned: it keeps its own slot. */
interface Entry {
  readonly name: number;
  slot: DueSlot | undefined;
}

/** What the queue must be indistinguishable from: a list that is sorted before each look. */
class SortedList {
  readonly entries: { readonly entry: Entry; dueAt: number; order: number }[] = [];
  #nextOrder = 0;

  put(entry: Entry, dueAt: number): void {
    this.entries.push({ entry, dueAt, order: this.#nextOrder++ });
  }

  move(entry: Entry, dueAt: number): void {
    this.take(entry);
    this.put(entry, dueAt);
  }

  take(entry: Entry): void {
    this.entries.splice(
      this.entries.findIndex((each) => each.entry === entry),
      1,
    );
  }

  first(): { readonly entry: Entry; readonly dueAt: number } | undefined {
    return this.entries.sort((a, b) => a.dueAt - b.dueAt || a.order - b.order)[0];
  }
}

/** Takes everything out, in order. */
function drain(queue: DueQueue<Entry>): number[] {
  const names: number[] = [];
  for (let entry = queue.popDue(Infinity); entry !== undefined; entry = queue.popDue(Infinity)) names.push(entry.name);
  return names;
}

/** Few different times, so that equal ones are common, and some that are fractions, negative or far away. */
const someTime = fc.oneof(fc.integer({ min: -3, max: 12 }), fc.double({ noNaN: true, noDefaultInfinity: true }));

const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("add" as const), dueAt: someTime }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("reschedule" as const), which: fc.nat(), dueAt: someTime }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("remove" as const), which: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("pop" as const), now: someTime }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("jump" as const), by: fc.integer({ min: -5, max: 5 }) }) },
);

describe("DueQueue", () => {
  it("does what a sorted list does, whatever is done to it", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400, size: "max" }), (steps) => {
        const queue = new DueQueue<Entry>();
        const model = new SortedList();
        let nextName = 0;
        for (const each of steps) {
          const target =
            "which" in each ? model.entries[each.which % Math.max(1, model.entries.length)]?.entry : undefined;
          if (each.kind === "add") {
            const entry: Entry = { name: nextName++, slot: undefined };
            entry.slot = queue.add(each.dueAt, entry);
            model.put(entry, each.dueAt);
          } else if (each.kind === "pop") {
            const first = model.first();
            const expected = first !== undefined && first.dueAt <= each.now ? first.entry : undefined;
            expect(queue.popDue(each.now)).toBe(expected);
            if (expected !== undefined) model.take(expected);
          } else if (each.kind === "jump") {
            queue.rescheduleAll((_, dueAt) => dueAt + each.by);
            for (const listed of model.entries) listed.dueAt += each.by;
          } else if (target?.slot === undefined) {
            continue;
          } else if (each.kind === "reschedule") {
            queue.reschedule(target.slot, each.dueAt);
            expect(queue.dueAtOf(target.slot)).toBe(each.dueAt);
            model.move(target, each.dueAt);
          } else {
            expect(queue.remove(target.slot)).toBe(true);
            model.take(target);
          }
          expect(queue.size).toBe(model.entries.length);
          expect(queue.peekDueAt()).toBe(model.first()?.dueAt);
        }
        const rest = model.entries.map(({ entry }) => entry.name);
        expect(drain(queue)).toEqual(rest);
      }),
      { numRuns: 150 },
    );
  });

  it("keeps order through thousands of entries, removals from the middle and shrinking", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2 ** 31 - 1 }),
        fc.integer({ min: 1500, max: 5000 }),
        fc.integer({ min: 0, max: 100 }),
        (seed, count, keptPercent) => {
          // A small generator of our own: fast-check would spend its time on shrinking thousands of numbers.
          let state = seed;
          const draw = (below: number): number => {
            state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
            return (state >>> 8) % below;
          };
          const queue = new DueQueue<Entry>();
          const kept: { entry: Entry; dueAt: number; order: number }[] = [];
          let order = 0;
          const entries = Array.from({ length: count }, (_, name): Entry => ({ name, slot: undefined }));
          for (const entry of entries) entry.slot = queue.add(draw(1000), entry);
          for (const entry of entries) {
            if (entry.slot === undefined) throw new Error("no slot");
            if (draw(100) >= keptPercent) expect(queue.remove(entry.slot)).toBe(true);
            else {
              const dueAt = draw(1000);
              queue.reschedule(entry.slot, dueAt);
              kept.push({ entry, dueAt, order: order++ });
            }
          }
          expect(queue.size).toBe(kept.length);
          kept.sort((a, b) => a.dueAt - b.dueAt || a.order - b.order);
          expect(drain(queue)).toEqual(kept.map(({ entry }) => entry.name));
          expect(queue.capacity).toBe(16);
        },
      ),
      { numRuns: 30 },
    );
  });

  it("moves the entry that fills a gap up where it belongs above it", () => {
    const queue = new DueQueue<Entry>();
    const add = (dueAt: number): DueSlot => queue.add(dueAt, { name: dueAt, slot: undefined });
    // Node 1 has late children (5 to 8), node 2 early ones: the last entry, 3, fills the gap of 101 under 100.
    for (const dueAt of [0, 100, 2, 50, 60]) add(dueAt);
    const gap = add(101);
    for (const dueAt of [102, 103, 104, 3]) add(dueAt);
    queue.remove(gap);
    expect(drain(queue)).toEqual([0, 2, 3, 50, 60, 100, 102, 103, 104]);
  });

  it("gives entries with the same time in the order in which they were put there", () => {
    const queue = new DueQueue<Entry>();
    const slots = [0, 1, 2, 3, 4, 5, 6].map((name) => queue.add(10, { name, slot: undefined }));
    queue.reschedule(slots[2] as never, 10);
    expect(drain(queue)).toEqual([0, 1, 3, 4, 5, 6, 2]);
  });

  it("gives nothing before it is due, and at a time that is no number", () => {
    const queue = new DueQueue<Entry>();
    const entry: Entry = { name: 1, slot: undefined };
    queue.add(10, entry);
    expect(queue.popDue(9.999)).toBeUndefined();
    expect(queue.popDue(NaN)).toBeUndefined();
    expect(queue.popDue(10)).toBe(entry);
    expect(queue.popDue(Infinity)).toBeUndefined();
    expect(queue.peekDueAt()).toBeUndefined();
  });

  it.each([NaN, Infinity, -Infinity])("R-05 refuses %s as a time, and stays as it was", (dueAt) => {
    const queue = new DueQueue<Entry>();
    const entry: Entry = { name: 1, slot: undefined };
    const slot = queue.add(10, entry);
    const refused = expect.objectContaining({ name: "TypeError", code: "invalid_argument" }) as Error;
    expect(() => queue.add(dueAt, entry)).toThrow(refused);
    expect(() => {
      queue.reschedule(slot, dueAt);
    }).toThrow(refused);
    expect(() => {
      queue.rescheduleAll(() => dueAt);
    }).toThrow(refused);
    expect([queue.size, queue.peekDueAt()]).toEqual([1, 10]);
  });

  it("stays in order when a callback throws half way through a jump", () => {
    const queue = new DueQueue<Entry>();
    for (let name = 0; name < 40; name += 1) queue.add(name, { name, slot: undefined });
    const failure = new Error("half way");
    expect(() => {
      queue.rescheduleAll(({ name }) => {
        if (name === 20) throw failure;
        return 1000 - name;
      });
    }).toThrow(failure);
    const late = Array.from({ length: 20 }, (_, index) => 19 - index);
    expect(drain(queue)).toEqual([...Array.from({ length: 20 }, (_, index) => 20 + index), ...late]);
  });

  it("knows a slot that holds nothing", () => {
    const queue = new DueQueue<Entry>();
    const slot = queue.add(10, { name: 1, slot: undefined });
    expect(queue.dueAtOf(slot)).toBe(10);
    expect(queue.remove(slot)).toBe(true);
    for (const unknown of [slot, 7, 99, -1, 0.5, NaN] as DueSlot[]) {
      expect(queue.remove(unknown)).toBe(false);
      expect(queue.dueAtOf(unknown)).toBeUndefined();
      expect(() => {
        queue.reschedule(unknown, 5);
      }).toThrow(expect.objectContaining({ code: "invalid_argument" }) as Error);
    }
    expect(queue.size).toBe(0);
  });

  it("R-62 gives room back, also where an entry held a high slot", () => {
    const queue = new DueQueue<Entry>();
    const slots = Array.from({ length: 10_000 }, (_, name) => queue.add(name, { name, slot: undefined }));
    expect(queue.capacity).toBe(16_384);
    const high = slots.pop();
    for (const slot of slots) queue.remove(slot);
    expect([queue.size, queue.capacity]).toEqual([1, 16_384]);
    if (high !== undefined) queue.remove(high);
    for (let name = 0; name < 3000; name += 1) queue.add(name, { name, slot: undefined });
    for (let name = 0; name < 3000; name += 1) expect(queue.popDue(Infinity)?.name).toBe(name);
    for (let round = 0; round < 5000; round += 1) {
      queue.add(round, { name: round, slot: undefined });
      expect(queue.popDue(Infinity)?.name).toBe(round);
    }
    expect(queue.capacity).toBe(16);
  });

  it("is empty after being cleared, and may be used again", () => {
    const queue = new DueQueue<Entry>();
    const slots = Array.from({ length: 100 }, (_, name) => queue.add(name, { name, slot: undefined }));
    queue.clear();
    queue.clear();
    expect([queue.size, queue.capacity, queue.peekDueAt()]).toEqual([0, 16, undefined]);
    expect(slots.map((slot) => queue.remove(slot)).includes(true)).toBe(false);
    queue.add(2, { name: 2, slot: undefined });
    queue.add(1, { name: 1, slot: undefined });
    expect(drain(queue)).toEqual([1, 2]);
  });

  it("R-62 holds 100 000 entries and gives them all back in order", () => {
    const queue = new DueQueue<Entry>();
    for (let name = 0; name < 100_000; name += 1) queue.add((name * 7919) % 100_003, { name, slot: undefined });
    let count = 0;
    let last = -Infinity;
    let disorder = 0;
    for (let dueAt = queue.peekDueAt(); dueAt !== undefined; dueAt = queue.peekDueAt()) {
      if (dueAt < last) disorder += 1;
      last = dueAt;
      if (queue.popDue(dueAt) !== undefined) count += 1;
    }
    expect([count, disorder, queue.size]).toEqual([100_000, 0, 0]);
  });
});
