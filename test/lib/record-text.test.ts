import fc from "fast-check";
import { expect, test } from "vitest";
import { formatKeyedRecord, parseKeyedRecord } from "../../src/lib/files/record-text.ts";

test("what was written is read, whatever is in it", () => {
  const times = fc.record({ dueAt: fc.integer(), deleteAfter: fc.integer() }, { requiredKeys: [] });
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), times, (key, value, more) => {
      const keyed = { key, record: { value, ...more } };
      expect(parseKeyedRecord(formatKeyedRecord(keyed))).toEqual(keyed);
    }),
  );
});

test("nothing else is", () => {
  const texts = ["", "{", "null", "1", "[]", "{}", '{"key":1,"value":""}', '{"key":""}', '{"key":"","value":1}'];
  for (const text of texts) expect(parseKeyedRecord(text), text).toBeUndefined();
  const odd = parseKeyedRecord('{"key":"k","value":"v","dueAt":"1","deleteAfter":null,"more":1}');
  expect(odd).toEqual({ key: "k", record: { value: "v" } });
});
