import { describe, expect, test } from "vitest";
import { TokenManager, memoryStore } from "warehouse-oauth";

const nothing = (): undefined => undefined;

const refusal = (code: string): Error => expect.objectContaining({ code }) as Error;

describe("what an application may give by mistake", () => {
  test.each([
    ["a map", new Map()],
    ["nothing", null],
    ["text", "redis://127.0.0.1"],
    ["a client of a database", { query: nothing, connect: nothing }],
    ["half a store", { capabilities: {}, read: nothing }],
    ["a store without capabilities", { read: nothing, write: nothing }],
    ["a store with none", { capabilities: null, read: nothing, write: nothing }],
  ])("%s as the store is refused, with what to do", (_, store) => {
    const open = (): unknown => new TokenManager({ store: store as never });
    expect(open).toThrow(refusal("invalid_argument"));
    expect(open).toThrow('"store" must be a TokenStore, for example redisStore({ client })');
  });

  test("a store is taken, and none is the one in memory", () => {
    expect(() => new TokenManager({ store: memoryStore() })).not.toThrow();
    expect(() => new TokenManager({ store: undefined } as never)).not.toThrow();
  });

  test.each(["refreshed", "", "toString", "*.*"])("an event that never comes is refused: %j", (type) => {
    const listen = (): unknown => new TokenManager().on(type as "*", nothing);
    expect(listen).toThrow(refusal("config_invalid"));
    expect(listen).toThrow(`there is no event "${type}"`);
  });
});
