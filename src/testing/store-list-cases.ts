import { NO_OPTIONS, caseFor, expect, put, same } from "./store-case.ts";
import type { StoreCase } from "./store-case.ts";

/** Due before everything that a shared store may hold otherwise: the first milliseconds of 1970. */
const FIRST_DUE = 1;

/** `due` and `keys`, for stores that have them. */
export const LIST_CASES: readonly StoreCase[] = [
  caseFor(
    "due",
    "due lists what is due before a time, earliest first, and follows every write",
    async ({ store, key }) => {
      const at = (order: number): number => FIRST_DUE + order;
      const late = await put(store, key("late"), { value: "", dueAt: at(3) });
      await put(store, key("early"), { value: "", dueAt: at(1) });
      await put(store, key("at the line"), { value: "", dueAt: at(4) });
      await put(store, key("never"), { value: "" });
      const list = async (limit: number): Promise<string[]> => {
        const found = await store.due({ before: at(4), limit });
        return found.map(({ key: name }) => name);
      };
      expect(same(await list(10), [key("early"), key("late")]), '"due" is incomplete, unordered, or goes too far');
      expect(same(await list(1), [key("early")]), '"due" ignores "limit"');
      const entries = await store.due({ before: at(4), limit: 1 });
      expect(entries[0]?.dueAt === at(1), '"due" gives another time than was written');
      await put(store, key("late"), { value: "" }, late);
      await store.delete(key("early"), NO_OPTIONS);
      expect((await list(10)).length === 0, '"due" lists what was deleted or is due no more');
    },
  ),
  caseFor("keys", "keys lists keys of a prefix in order, page by page", async ({ store, key, prefix }) => {
    for (const part of ["c", "a", "b"]) await put(store, key(part), { value: "" });
    const all = await store.keys({ prefix, limit: 10 });
    expect(same(all, [key("a"), key("b"), key("c")]), '"keys" is incomplete, unordered, or ignores "prefix"');
    const page = await store.keys({ prefix, after: key("a"), limit: 1 });
    expect(same(page, [key("b")]), '"keys" ignores "after" or "limit"');
  }),
  caseFor("keys", "keys takes a prefix by its letters, and orders by their code", async ({ store, key, prefix }) => {
    await put(store, key("a/b"), { value: "" });
    for (const sign of ["_", "%", "*", "?", "[a]", "\\", "."]) {
      await put(store, key(`${sign}/a`), { value: "" });
      await put(store, key(`${sign}/B`), { value: "" });
      const found = await store.keys({ prefix: `${prefix}${sign}/`, limit: 10 });
      expect(same(found, [key(`${sign}/B`), key(`${sign}/a`)]), `"keys" takes "${sign}" in a prefix for a pattern`);
    }
  }),
];
