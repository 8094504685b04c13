import { describe, expect, it } from "vitest";
import { SharedValues } from "../../src/lib/shared-values.ts";

describe("SharedValues", () => {
  it("gives the first value of a name to all who ask", () => {
    const shared = new SharedValues<readonly string[]>();
    const first = shared.get("a b", () => ["a", "b"]);
    expect(shared.get("a b", () => ["a", "b"])).toBe(first);
    expect(shared.get("a", () => ["a"])).toEqual(["a"]);
  });

  it("forgets when somebody thinks up names without end", () => {
    const shared = new SharedValues<object>();
    const first = shared.get("0", () => ({}));
    for (let name = 1; name < 1_000; name += 1) shared.get(String(name), () => ({}));
    expect(shared.get("0", () => ({}))).toBe(first);
    shared.get("1000", () => ({}));
    expect(shared.get("0", () => ({}))).not.toBe(first);
  });
});
