// What a store keeps: requirements S-033, S-079, R-24, R-45.
import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { StoreError, exportTokens } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import { fingerprintOf, formatRecord, parseRecord, readRecord } from "../../src/session/record.ts";
import type { SessionRecord } from "../../src/session/record.ts";
import { acmeServer } from "./acme-room.ts";

const clock = manualClock();
const tokens = acmeServer(clock).tokens({ refreshExpiresAt: clock.now() + 9_000 });

const RECORD: SessionRecord = {
  generation: 3,
  state: "active",
  cause: undefined,
  tokens,
  rotates: true,
  loginAt: 17,
  intent: { attemptId: "a", owner: "b", startedAt: 1, attempts: 2, fingerprint: "f" },
  revokeLate: true,
};

const TOMBSTONE: SessionRecord = {
  generation: 9,
  state: "revoked",
  cause: undefined,
  tokens: undefined,
  rotates: false,
  loginAt: 0,
  intent: undefined,
  revokeLate: false,
};

const plain = (record: SessionRecord): unknown => ({ ...record, tokens: record.tokens && exportTokens(record.tokens) });

function written(changes: Record<string, unknown>): string {
  const value = JSON.parse(formatRecord(RECORD, {}).value) as Record<string, unknown>;
  return JSON.stringify({ ...value, ...changes });
}

describe("record", () => {
  test.each([
    ["active", RECORD],
    ["a tombstone", TOMBSTONE],
    ["dead", { ...RECORD, state: "reauthorization_required", cause: "rotation_lost", intent: undefined } as const],
  ])("comes back as it was written: %s", (_name, record) => {
    expect(plain(parseRecord(formatRecord(record, {}).value))).toEqual(plain(record));
  });

  test("carries its times beside the text, and only those", () => {
    expect(formatRecord(TOMBSTONE, { dueAt: 5, deleteAfter: 6 })).toMatchObject({ dueAt: 5, deleteAfter: 6 });
    expect(Object.keys(formatRecord(TOMBSTONE, {}))).toEqual(["value"]);
  });

  test("is written as text only for a store that looks at it", () => {
    const stored = formatRecord(RECORD, { dueAt: 5 });
    expect(readRecord(stored)).toBe(RECORD);
    expect(Object.isFrozen(stored)).toBe(true);
    const copy = { ...stored };
    expect(copy).toEqual({ value: expect.any(String) as string, dueAt: 5 });
    expect(readRecord(copy)).not.toBe(RECORD);
    expect(plain(readRecord(copy))).toEqual(plain(RECORD));
  });

  test("S-082 on its way to a store it prints no secret", () => {
    expect(inspect(formatRecord(RECORD, {}), { showHidden: true })).not.toContain(tokens.accessToken);
  });

  test("names its format", () => {
    expect(JSON.parse(formatRecord(RECORD, {}).value)).toMatchObject({ format: 1 });
  });

  test.each([
    ["no JSON", "{"],
    ["empty", ""],
    ["null", "null"],
    ["a number", "7"],
    ["a list", "[]"],
    ["an empty object", "{}"],
    ["a later format", written({ format: 2 })],
    ["no format", written({ format: undefined })],
    ["a state nobody knows", written({ state: "paused" })],
    ["no generation", written({ generation: undefined })],
    ["a negative generation", written({ generation: -1 })],
    ["a generation as text", written({ generation: "3" })],
    ["no login", written({ loginAt: null })],
    ["a negative login", written({ loginAt: -1 })],
    ["redacted tokens", written({ tokens })],
    ["tokens that are none", written({ tokens: "secret" })],
    ["an intent without owner", written({ intent: { ...RECORD.intent, owner: 7 } })],
    ["an intent without attempt", written({ intent: { ...RECORD.intent, attemptId: undefined } })],
    ["an intent without fingerprint", written({ intent: { ...RECORD.intent, fingerprint: null } })],
    ["an intent that never began", written({ intent: { ...RECORD.intent, startedAt: "x" } })],
    ["an intent with negative attempts", written({ intent: { ...RECORD.intent, attempts: -1 } })],
  ])("refuses %s", (_name, text) => {
    expect(() => parseRecord(text)).toThrow(StoreError);
    expect(() => parseRecord(text)).toThrow(expect.objectContaining({ code: "decrypt_failed", operation: "read" }));
  });

  test("no text of a store reaches a message", () => {
    const text = written({ tokens: { accessToken: "hunter2" } });
    expect(() => parseRecord(text)).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining("hunter2") as string }),
    );
  });

  test("only true is true", () => {
    expect(parseRecord(written({ rotates: 1, revokeLate: "true" }))).toMatchObject({
      rotates: false,
      revokeLate: false,
    });
    expect(parseRecord(written({ intent: "x" })).intent).toBeUndefined();
    expect(parseRecord(written({ intent: null })).intent).toBeUndefined();
  });

  test("S-033 unknown members are left out, and prototypes are no members", () => {
    const record = parseRecord(written({ extra: 1, intent: { ...RECORD.intent, more: 2 } }));
    expect(Object.keys(record)).toEqual(Object.keys(RECORD));
    expect(record.intent).toEqual(RECORD.intent);
    expect(() => parseRecord('{"__proto__":{"format":1,"generation":1,"loginAt":1,"state":"revoked"}}')).toThrow(
      StoreError,
    );
  });
});

describe("fingerprintOf", () => {
  test("the same for the same token in every process, another for another, and short", () => {
    expect(fingerprintOf("")).toBe("d70077739d4b921e"); // SipHash-2-4 of nothing under sixteen zero bytes
    expect(fingerprintOf("abc")).toBe(fingerprintOf("abc"));
    expect(fingerprintOf("abd")).not.toBe(fingerprintOf("abc"));
  });
});
