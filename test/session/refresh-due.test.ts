// What happens to a session when its time has come: requirements, DESIGN 7.
import { RateLimitError, memoryStore } from "warehouse-oauth";
import type { ExportedTokens, StoredRecord, WarehouseDefinition } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { describe, expect, test } from "vitest";
import { EventHub } from "../../src/session/events.ts";
import { refreshDue } from "../../src/session/refresh-due.ts";
import { DEFAULT_RETRY } from "../../src/session/retry.ts";
import { SessionEngine } from "../../src/session/session-engine.ts";
import type { EngineOptions } from "../../src/session/session-engine.ts";
import type { SessionEntry } from "../../src/session/session-entry.ts";
import { changeRecord } from "../../src/session/record.ts";
import { parseSessionKey } from "../../src/session/session-key.ts";
import { DAY, HOUR, MINUTE, acmeServer, storeWith } from "./acme-room.ts";
import type { AcmeServer } from "./acme-room.ts";

interface Room {
  readonly clock: ManualClock;
  readonly server: AcmeServer;
  readonly engine: SessionEngine;
  readonly entry: SessionEntry;
  /** What was written after the login. */
  readonly written: StoredRecord[];
  /** Another process writes. */
  readonly writeElsewhere: () => Promise<void>;
  /** Writes fail while it is down; how often one was tried. */
  readonly store: { isDown: boolean; tries: number };
}

/** A session with tokens of ten minutes, last used now. */
async function open(
  options: Partial<EngineOptions> = {},
  tokens: Partial<ExportedTokens> = {},
  definition: Partial<WarehouseDefinition<object>> = {},
): Promise<Room> {
  const clock = manualClock();
  const server = acmeServer(clock, definition);
  const inner = memoryStore({ clock });
  const written: StoredRecord[] = [];
  const store = { isDown: false, tries: 0 };
  const engine = new SessionEngine({
    store: storeWith(clock, {
      write: (key, record, writeOptions) => {
        store.tries += 1;
        if (store.isDown) return Promise.reject(new Error("down"));
        written.push(record);
        return inner.write(key, record, writeOptions);
      },
      read: (key, readOptions) => inner.read(key, readOptions),
    }),
    clock,
    random: () => 0,
    events: new EventHub(),
    refresh: {},
    retry: DEFAULT_RETRY,
    concurrency: {},
    background: "detached",
    resolveClient: undefined,
    leaseTtlMs: 60_000,
    rotateWithoutLease: false,
    ...options,
  });
  const entry = engine.directory.entryOf(engine.directory.connectionOf(server.client), { subject: "ada" });
  const record = {
    generation: 1,
    state: "active" as const,
    cause: undefined,
    tokens: server.tokens(tokens),
    rotates: false,
    loginAt: clock.now(),
    intent: undefined,
    revokeLate: false,
  };
  const version = await engine.store.write(entry.key, record, engine.freshness.storedTimes(entry, record), undefined);
  engine.apply(entry, { record, version: version ?? "" });
  const { key } = entry;
  const writeElsewhere = async (): Promise<void> => {
    const { signal } = new AbortController();
    const found = await inner.read(key, { signal });
    if (found !== undefined) await inner.write(key, found.record, { signal, ifVersion: found.version });
  };
  written.length = 0;
  return { clock, server, engine, entry, written, writeElsewhere, store };
}

/** The endpoint has just asked for a pause. */
async function pause({ engine, entry }: Room, pauseMs: number): Promise<void> {
  const options = { foreground: true, signal: new AbortController().signal, waitMs: 1_000 };
  const place = await engine.gateOf(entry.connection).request(entry, options).granted;
  place.failed(new RateLimitError("rate_limited", "too many", pauseMs, { status: 429 }));
}

/** Somebody looks at its token again and again. */
async function useFor({ clock, entry }: Room, durationMs: number): Promise<void> {
  for (let passedMs = 0; passedMs < durationMs; passedMs += 5 * MINUTE) {
    entry.usedAt = clock.now();
    await clock.advance(5 * MINUTE);
  }
}

const isKnown = ({ engine, entry }: Room): boolean => {
  const description = parseSessionKey(entry.key);
  return description !== undefined && engine.directory.find(description) === entry;
};

describe("a session that is in use (R-07)", () => {
  test("R-07 is refreshed, to the last millisecond of its hour", async () => {
    const room = await open();
    await room.clock.advance(HOUR);
    refreshDue(room.engine, room.entry);
    await room.clock.advance(0);
    expect(room.server.calls).toHaveLength(1);
    expect(room.entry.record?.generation).toBe(2);
  });

  test("R-11 not after the end, and not one that left memory", async () => {
    for (const end of ["closed", "evicted"] as const) {
      const room = await open();
      await room.clock.advance(500_000);
      if (end === "closed") room.engine.closed = true;
      else room.entry.evicted = true;
      refreshDue(room.engine, room.entry);
      await room.clock.advance(2 * HOUR);
      refreshDue(room.engine, room.entry);
      await room.clock.advance(0);
      expect(room.server.calls).toHaveLength(0);
      expect(room.written).toHaveLength(0);
    }
  });

  test("R-31 R-33 where the line is more than 5 s long it comes back in that time, more or less", async () => {
    for (const [dice, share] of [
      [0, 0.5],
      [0.5, 1],
      [0.75, 1.25],
    ] as const) {
      const room = await open({ random: () => dice });
      await room.clock.advance(500_000);
      await pause(room, 5_001);
      const lineMs = 5_001 * (1 + 0.1 * dice); // those who were told to pause do not come back together
      room.engine.scheduler.start();
      await room.clock.advance(lineMs * share - 1);
      expect(room.server.calls).toHaveLength(0);
      expect(room.entry.flight).toBeUndefined();
      await room.clock.advance(2);
      expect(room.entry.flight !== undefined || room.server.calls.length === 1).toBe(true);
    }
  });

  test("R-33 5 s are waited for", async () => {
    const room = await open();
    await room.clock.advance(500_000);
    await pause(room, 5_000);
    refreshDue(room.engine, room.entry);
    expect(room.entry.flight).toBeDefined();
    await room.clock.advance(6_000);
    expect(room.server.calls).toHaveLength(1);
  });

  test("R-33 those who wait in the background already stand before it", async () => {
    const room = await open({ concurrency: { perSecond: 0.1 } });
    await room.clock.advance(500_000);
    await pause(room, 6_000);
    const gate = room.engine.gateOf(room.entry.connection);
    const { signal } = new AbortController();
    gate.request({}, { foreground: false, signal, waitMs: HOUR }).granted.catch(() => undefined);
    expect(gate.waitMs(false)).toBeGreaterThan(gate.waitMs(true));
    expect(gate.waitMs(false)).toBe(20_000);
    room.engine.scheduler.start();
    await room.clock.advance(9_900);
    expect(room.entry.flight).toBeUndefined();
    expect(room.entry.trouble).toBeUndefined(); // it was not even tried
  });

  test("R-09 too early by a moment after a failure: it stays in the queue", async () => {
    const room = await open();
    await room.clock.advance(500_000);
    room.engine.scheduler.schedule(room.entry, undefined);
    room.entry.trouble = { error: undefined, failures: 1, retryAt: room.clock.monotonic() + 1 };
    refreshDue(room.engine, room.entry);
    expect(room.entry.flight).toBeUndefined();
    expect(room.entry.slot).toBeDefined();
    room.engine.scheduler.start();
    await room.clock.advance(2);
    expect(room.server.calls).toHaveLength(1);
  });
});

const others = ({ engine, server }: Room): void => {
  for (const subject of ["grace", "joan"]) {
    engine.directory.entryOf(engine.directory.connectionOf(server.client), { subject });
  }
};
const oneDay = { expiresAt: manualClock().now() + DAY };

describe("a session that nobody used for an hour (R-07)", () => {
  test("R-07 is taken off the list of due sessions, keeps its end, and leaves memory", async () => {
    const room = await open({}, { refreshExpiresAt: Date.UTC(2026, 5, 1) });
    await room.clock.advance(HOUR + 1);
    refreshDue(room.engine, room.entry);
    await room.clock.advance(0);
    expect(room.server.calls).toHaveLength(0);
    expect(room.written).toHaveLength(1);
    expect(room.written[0]).not.toHaveProperty("dueAt");
    expect(room.written[0]).toMatchObject({ deleteAfter: Date.UTC(2026, 5, 1) + DAY });
    expect(JSON.parse(room.written[0]?.value ?? "{}")).toMatchObject({ generation: 1, state: "active" });
    expect(isKnown(room)).toBe(false);
    expect(room.entry.evicted).toBe(true);
  });

  test("R-07 without a known end none is written", async () => {
    const room = await open();
    await room.clock.advance(HOUR + 1);
    refreshDue(room.engine, room.entry);
    await room.clock.advance(0);
    expect(room.written).toHaveLength(1);
    expect(room.written[0]).not.toHaveProperty("dueAt");
    expect(room.written[0]).not.toHaveProperty("deleteAfter");
  });

  test("R-07 used again while it is written: it stays, with the version that was written", async () => {
    const room = await open();
    await room.clock.advance(HOUR + 1);
    const before = room.entry.version;
    refreshDue(room.engine, room.entry);
    room.entry.usedAt = room.clock.now();
    await room.clock.advance(0);
    expect(isKnown(room)).toBe(true);
    expect(room.entry.version).not.toBe(before);
    expect(room.entry.version).toBeDefined();
  });

  test("R-07 another process wrote meanwhile: nothing is written over it, and its version is not known", async () => {
    const room = await open();
    await room.clock.advance(HOUR + 1);
    const before = room.entry.version;
    await room.writeElsewhere();
    refreshDue(room.engine, room.entry);
    await room.clock.advance(0);
    expect(room.entry.version).toBe(before);
    expect(isKnown(room)).toBe(false);
  });

  test("R-08 R-07 the clock went back since: its last use counts from now, and an hour later it rests", async () => {
    const room = await open();
    room.engine.scheduler.start();
    room.clock.jump(-365 * DAY);
    await room.clock.advance(2 * HOUR);
    expect(isKnown(room)).toBe(false);
    const before = room.server.calls.length;
    await room.clock.advance(10 * HOUR);
    expect(room.server.calls).toHaveLength(before);
  });

  test("R-07 used in the turn in which it was to leave: it stays, and is not refreshed before its time", async () => {
    const room = await open({}, oneDay);
    room.engine.scheduler.start();
    await room.clock.advance(HOUR + 1);
    others(room);
    await useFor(room, 22 * HOUR);
    expect(isKnown(room)).toBe(true);
    expect(room.server.calls).toHaveLength(0);
    expect(room.written).toHaveLength(0);
    await useFor(room, 55 * MINUTE);
    expect(room.server.calls).toHaveLength(1);
  });

  test("R-07 R-46 the store is down: it is tried again, a minute later at the earliest", async () => {
    const room = await open();
    room.engine.scheduler.start();
    await room.clock.advance(470_000);
    room.entry.usedAt = -Infinity;
    room.store.isDown = true;
    room.store.tries = 0;
    await room.clock.advance(MINUTE);
    expect(room.store.tries).toBe(1);
    await room.clock.advance(10 * MINUTE);
    expect(room.store.tries).toBeGreaterThan(9);
    expect(room.store.tries).toBeLessThan(13);
    room.store.isDown = false;
    expect(isKnown(room)).toBe(true);
    await room.clock.advance(MINUTE);
    expect(room.written).toHaveLength(1);
    expect(room.written[0]).not.toHaveProperty("dueAt");
    expect(isKnown(room)).toBe(false);
    expect(room.server.calls).toHaveLength(0);
  });

  test("R-07 R-46 the store was down, and somebody looked at it since: it is refreshed when its time comes", async () => {
    const room = await open({}, oneDay);
    room.engine.scheduler.start();
    await room.clock.advance(HOUR + 1);
    room.store.isDown = true;
    others(room);
    await room.clock.advance(1);
    room.store.isDown = false;
    await useFor(room, 22 * HOUR);
    expect(room.server.calls).toHaveLength(0);
    await useFor(room, 55 * MINUTE);
    expect(room.server.calls).toHaveLength(1);
  });

  test("R-07 used again while it is written: it is refreshed when its time comes", async () => {
    const room = await open({}, oneDay);
    room.engine.scheduler.start();
    await room.clock.advance(HOUR + 1);
    room.engine.scheduler.schedule(room.entry, undefined);
    refreshDue(room.engine, room.entry);
    await useFor(room, 22 * HOUR + 55 * MINUTE);
    expect(isKnown(room)).toBe(true);
    expect(room.server.calls).toHaveLength(1);
  });

  test("R-24 S-047 nothing is written for one that was never read, or that holds what nobody else has", async () => {
    for (const what of ["never read", "unsaved"] as const) {
      const room = await open();
      await room.clock.advance(HOUR + 1);
      if (what === "never read") room.entry.record = undefined;
      else room.entry.unsaved = {} as NonNullable<SessionEntry["unsaved"]>;
      refreshDue(room.engine, room.entry);
      await room.clock.advance(0);
      expect(room.written).toHaveLength(0);
      expect(isKnown(room)).toBe(true);
    }
  });

  test("R-07 R-10 kept alive: others are told of the time when it must be, instead of taking it up at once", async () => {
    const refreshExpiresAt = manualClock().now() + 20 * HOUR;
    const room = await open({ refresh: { keepAlive: true } }, { refreshExpiresAt }, { refreshExtends: "on-use" });
    room.engine.scheduler.start();
    room.entry.usedAt = -Infinity;
    await room.clock.advance(17 * HOUR);
    expect(room.written).toHaveLength(1);
    expect(room.written[0]).toMatchObject({ dueAt: refreshExpiresAt - 2 * HOUR, deleteAfter: refreshExpiresAt + DAY });
    expect(room.server.calls).toHaveLength(0);
    await room.clock.advance(HOUR);
    expect(room.server.calls).toHaveLength(1);
    expect(isKnown(room)).toBe(true);
  });

  test("R-07 R-46 kept alive: the store was down, and is told a minute later", async () => {
    const refreshExpiresAt = manualClock().now() + 20 * HOUR;
    const room = await open({ refresh: { keepAlive: true } }, { refreshExpiresAt }, { refreshExtends: "on-use" });
    room.engine.scheduler.start();
    room.entry.usedAt = -Infinity;
    room.store.isDown = true;
    await room.clock.advance(10 * MINUTE);
    room.store.isDown = false;
    await room.clock.advance(HOUR);
    expect(room.written).toHaveLength(1);
    expect(isKnown(room)).toBe(true);
  });

  test("R-07 kept alive: not before a tenth of the refresh token's life is left, then at once", async () => {
    const start = manualClock().now();
    const room = await open(
      { refresh: { keepAlive: true } },
      { refreshExpiresAt: start + 10 * DAY },
      { refreshExtends: "on-use" },
    );
    await room.clock.advance(9 * DAY - 1);
    refreshDue(room.engine, room.entry);
    expect(room.entry.flight).toBeUndefined();
    await room.clock.advance(1);
    refreshDue(room.engine, room.entry);
    expect(room.entry.flight).toBeDefined();
    await room.clock.advance(0);
    expect(room.server.calls).toHaveLength(1);
    expect(isKnown(room)).toBe(true);
  });

  describe("and that others pass by, who come in", () => {
    test("R-07 its time comes now: it is taken off the list of due sessions before it leaves memory", async () => {
      const room = await open({}, oneDay);
      room.engine.scheduler.start();
      await room.clock.advance(HOUR + 1);
      others(room);
      expect(isKnown(room)).toBe(true);
      await room.clock.advance(1);
      expect(room.written).toHaveLength(1);
      expect(room.written[0]).not.toHaveProperty("dueAt");
      expect(isKnown(room)).toBe(false);
      expect(room.server.calls).toHaveLength(0);
    });

    test("R-07 with a manager that was not started it leaves memory and the queue", async () => {
      const room = await open({}, oneDay);
      expect(room.entry.slot).toBeDefined();
      await room.clock.advance(HOUR + 1);
      others(room);
      expect(isKnown(room)).toBe(false);
      expect(room.entry.slot).toBeUndefined();
    });

    test("R-07 one that nobody can renew is not kept alive: it leaves memory", async () => {
      const refreshExpiresAt = manualClock().now() + 10 * DAY;
      const room = await open({ refresh: { keepAlive: true } }, { refreshExpiresAt }, { refreshExtends: "on-use" });
      const { record, version = "" } = room.entry;
      if (record === undefined) throw new Error("no record");
      room.engine.apply(room.entry, { record: changeRecord(record, { state: "reauthorization_required" }), version });
      await room.clock.advance(HOUR + 1);
      others(room);
      expect(isKnown(room)).toBe(false);
    });

    test("R-07 it stays if it is kept alive", async () => {
      const refreshExpiresAt = manualClock().now() + 10 * DAY;
      const room = await open(
        { refresh: { keepAlive: true } },
        { ...oneDay, refreshExpiresAt },
        { refreshExtends: "on-use" },
      );
      await room.clock.advance(HOUR + 1);
      others(room);
      expect(isKnown(room)).toBe(true);
    });
  });
});
