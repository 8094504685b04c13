import { invalidArgument } from "./invalid-argument.ts";

declare const SLOT: unique symbol;

/**
 * Names one entry of a {@link DueQueue}. Valid from `add` until the entry is popped or removed; afterwards the number
 * is given to another entry, so its holder forgets it at that moment.
 */
export type DueSlot = number & { readonly [SLOT]: true };

/** Each node has 2^2 = 4 children: half the levels of a binary heap, and the four sit next to each other in memory. */
const ARITY_BITS = 2;
const ARITY = 1 << ARITY_BITS;

/** Entries there is room for from the start: an idle queue costs under a kilobyte. */
const MIN_CAPACITY = 16;

/** Room is given back when no more than a quarter is used: far enough from doubling that the two never alternate. */
const SHRINK_BITS = 2;

/** Ends the list of free slots, and is the position of a slot that holds nothing. */
const NONE = -1;

/**
 * Holds values in the order in which they become due: a 4-ary heap on typed arrays, made for a million entries.
 *
 * An entry costs 20 bytes beside its value. `add`, `reschedule`, `remove` and `popDue` take O(log n) time. Entries with
 * the same due time come out in the order in which they were added or last rescheduled (among any 2^31 successive
 * changes). The arrays double when full, and shrink when a quarter or less is used and no high slot is held.
 */
export class DueQueue<T extends object> {
  /** In heap order: when due, when added (a wrapping counter), and whose slot. */
  #dueAt = new Float64Array(MIN_CAPACITY);
  #order = new Int32Array(MIN_CAPACITY);
  #slotAt = new Int32Array(MIN_CAPACITY);
  /** By slot: the position in heap order, or, of a free slot, `-2 - next` with the next free slot. */
  #positionOf = new Int32Array(MIN_CAPACITY);
  /** By slot. */
  readonly #values: (T | undefined)[] = [];
  #capacity = MIN_CAPACITY;
  #size = 0;
  /** Slots from here on were never given out. */
  #slotCount = 0;
  #freeSlot = NONE;
  #nextOrder = 0;
  #freedSinceShrink = 0;

  /** Number of entries. */
  get size(): number {
    return this.#size;
  }

  /** Number of entries that there is room for. */
  get capacity(): number {
    return this.#capacity;
  }

  /** Puts in a value that is due at `dueAt` and gives the slot to name it by. */
  add(dueAt: number, value: T): DueSlot {
    assertDueAt(dueAt);
    let slot = this.#freeSlot;
    if (slot === NONE) {
      if (this.#slotCount === this.#capacity) this.#resize(this.#capacity * 2);
      slot = this.#slotCount;
      this.#slotCount += 1;
    } else {
      this.#freeSlot = -2 - read(this.#positionOf, slot);
    }
    this.#values[slot] = value;
    const position = this.#size;
    this.#size += 1;
    this.#siftUp(position, dueAt, this.#takeOrder(), slot);
    return slot as DueSlot;
  }

  /**
   * Moves an entry to another time; among equals it becomes the last.
   *
   * @throws TypeError with `invalid_argument`: the time is not finite, or the slot holds nothing.
   */
  reschedule(slot: DueSlot, dueAt: number): void {
    assertDueAt(dueAt);
    const position = this.#positionOfUsed(slot);
    if (position < 0) {
      throw invalidArgument(
        'expected "slot" to name an entry of the queue; forget a slot once it was popped or removed',
      );
    }
    this.#settle(position, dueAt, this.#takeOrder(), slot);
  }

  /** Takes an entry out; `false` if the slot held nothing. */
  remove(slot: DueSlot): boolean {
    const position = this.#positionOfUsed(slot);
    if (position < 0) return false;
    this.#removeAt(position);
    return true;
  }

  /** Tells when the entry is due, or `undefined` if the slot holds nothing. */
  dueAtOf(slot: DueSlot): number | undefined {
    const position = this.#positionOfUsed(slot);
    return position < 0 ? undefined : read(this.#dueAt, position);
  }

  /** Tells when the next entry is due. */
  peekDueAt(): number | undefined {
    return this.#size === 0 ? undefined : read(this.#dueAt, 0);
  }

  /** Takes out the entry that is due next, if that is at `now` or earlier. Its slot is free from then on. */
  popDue(now: number): T | undefined {
    // A `now` that is not a number makes nothing due.
    if (this.#size === 0 || !(read(this.#dueAt, 0) <= now)) return undefined;
    const value = this.#values[read(this.#slotAt, 0)];
    this.#removeAt(0);
    return value;
  }

  /**
   * Gives every entry the time that `dueAtFor` says, in O(n) all together: for a clock that jumped.
   *
   * The callback must not change the queue. If it throws, or answers what is no finite number, the entries not yet
   * visited keep their times, the queue stays in order, and the error goes to the caller.
   */
  rescheduleAll(dueAtFor: (value: T, dueAt: number) => number): void {
    try {
      this.#values.forEach((value, slot) => {
        if (value === undefined) return;
        const position = read(this.#positionOf, slot);
        const dueAt = dueAtFor(value, read(this.#dueAt, position));
        assertDueAt(dueAt);
        this.#dueAt[position] = dueAt;
      });
    } finally {
      this.#heapify();
    }
  }

  /** Takes everything out and gives the room back. All slots are free from then on. */
  clear(): void {
    this.#values.length = 0;
    this.#size = 0;
    this.#slotCount = 0;
    this.#freeSlot = NONE;
    this.#freedSinceShrink = 0;
    if (this.#capacity > MIN_CAPACITY) this.#resize(MIN_CAPACITY);
  }

  #takeOrder(): number {
    const order = this.#nextOrder;
    this.#nextOrder = (order + 1) | 0;
    return order;
  }

  #positionOfUsed(slot: number): number {
    return slot < this.#slotCount ? read(this.#positionOf, slot) : NONE;
  }

  #place(position: number, dueAt: number, order: number, slot: number): void {
    this.#dueAt[position] = dueAt;
    this.#order[position] = order;
    this.#slotAt[position] = slot;
    this.#positionOf[slot] = position;
  }

  /** Copies the entry at `from` to `to`, which is empty. */
  #move(from: number, to: number): void {
    this.#place(to, read(this.#dueAt, from), read(this.#order, from), read(this.#slotAt, from));
  }

  /** Whether the entry at `position` comes after one with this time and order. */
  #comesAfter(position: number, dueAt: number, order: number): boolean {
    const other = read(this.#dueAt, position);
    // The difference of wrapping counters is right as long as they are less than 2^31 apart.
    return other > dueAt || (other === dueAt && ((read(this.#order, position) - order) | 0) > 0);
  }

  /** Puts an entry at the empty `position`, or above it, or below it. */
  #settle(position: number, dueAt: number, order: number, slot: number): void {
    const parent = (position - 1) >> ARITY_BITS;
    if (position > 0 && this.#comesAfter(parent, dueAt, order)) this.#siftUp(position, dueAt, order, slot);
    else this.#siftDown(position, dueAt, order, slot);
  }

  #siftUp(start: number, dueAt: number, order: number, slot: number): void {
    let position = start;
    while (position > 0) {
      const parent = (position - 1) >> ARITY_BITS;
      if (!this.#comesAfter(parent, dueAt, order)) break;
      this.#move(parent, position);
      position = parent;
    }
    this.#place(position, dueAt, order, slot);
  }

  #siftDown(start: number, dueAt: number, order: number, slot: number): void {
    let position = start;
    for (;;) {
      const first = (position << ARITY_BITS) + 1;
      if (first >= this.#size) break;
      const next = this.#earliestOf(first, Math.min(first + ARITY, this.#size));
      if (this.#comesAfter(next, dueAt, order)) break;
      this.#move(next, position);
      position = next;
    }
    this.#place(position, dueAt, order, slot);
  }

  /** Finds the earliest entry of the positions from `first` to before `end`. */
  #earliestOf(first: number, end: number): number {
    let earliest = first;
    let dueAt = read(this.#dueAt, first);
    let order = read(this.#order, first);
    for (let position = first + 1; position < end; position += 1) {
      if (this.#comesAfter(position, dueAt, order)) continue;
      earliest = position;
      dueAt = read(this.#dueAt, position);
      order = read(this.#order, position);
    }
    return earliest;
  }

  #heapify(): void {
    for (let position = (this.#size - 2) >> ARITY_BITS; position >= 0; position -= 1) {
      this.#siftDown(position, read(this.#dueAt, position), read(this.#order, position), read(this.#slotAt, position));
    }
  }

  #removeAt(position: number): void {
    const freed = read(this.#slotAt, position);
    const last = this.#size - 1;
    this.#size = last;
    if (position < last) {
      // The last entry comes from another branch: it may belong above the gap as well as below.
      this.#settle(position, read(this.#dueAt, last), read(this.#order, last), read(this.#slotAt, last));
    }
    this.#free(freed);
    this.#freedSinceShrink += 1;
    const few = this.#capacity >> SHRINK_BITS;
    // Looking costs O(capacity), so it is done once in that many removals.
    if (this.#capacity > MIN_CAPACITY && last <= few && this.#freedSinceShrink >= few) this.#shrink();
  }

  #free(slot: number): void {
    this.#values[slot] = undefined;
    this.#positionOf[slot] = -2 - this.#freeSlot;
    this.#freeSlot = slot;
  }

  /** Gives back the room behind the highest slot in use; its holder knows the slot by number, so it cannot move. */
  #shrink(): void {
    this.#freedSinceShrink = 0;
    let used = this.#slotCount;
    while (used > 0 && read(this.#positionOf, used - 1) < 0) used -= 1;
    this.#slotCount = used;
    this.#values.length = used;
    // Low slots first from now on, so that the high ones get free as their entries come and go.
    this.#freeSlot = NONE;
    for (let slot = used - 1; slot >= 0; slot -= 1) if (read(this.#positionOf, slot) < 0) this.#free(slot);
    let capacity = this.#capacity;
    while (capacity > MIN_CAPACITY && capacity >> 1 >= used) capacity >>= 1;
    if (capacity < this.#capacity) this.#resize(capacity);
  }

  #resize(capacity: number): void {
    this.#capacity = capacity;
    this.#dueAt = copyInto(new Float64Array(capacity), this.#dueAt);
    this.#order = copyInto(new Int32Array(capacity), this.#order);
    this.#slotAt = copyInto(new Int32Array(capacity), this.#slotAt);
    this.#positionOf = copyInto(new Int32Array(capacity), this.#positionOf);
  }
}

/** Refuses what a heap cannot order. */
function assertDueAt(dueAt: number): void {
  if (!Number.isFinite(dueAt)) {
    throw invalidArgument(`expected "dueAt" to be a finite number of milliseconds, got ${String(dueAt)}`);
  }
}

/** Reads a number; outside the array there is {@link NONE}, which is the position of a slot that holds nothing. */
function read(numbers: Float64Array | Int32Array, index: number): number {
  return numbers[index] ?? NONE;
}

/** Copies as much as fits. */
function copyInto<Numbers extends Float64Array | Int32Array>(target: Numbers, source: Numbers): Numbers {
  target.set(source.length > target.length ? source.subarray(0, target.length) : source);
  return target;
}
