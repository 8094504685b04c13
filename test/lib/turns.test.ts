import { expect, test } from "vitest";
import { Turns, forEachAtOnce } from "../../src/lib/turns.ts";

test("so many run at once, the rest in the order in which they came, and a failure gives its place on", async () => {
  const turns = new Turns(2);
  const begun: number[] = [];
  const ends: (() => void)[] = [];
  const work = [0, 1, 2, 3].map((number) =>
    turns.run(async () => {
      begun.push(number);
      await new Promise<void>((resolve) => ends.push(resolve));
      if (number === 0) throw new Error("zero");
      return number;
    }),
  );
  const outcomes = Promise.allSettled(work);
  const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  await settle();
  expect(begun).toEqual([0, 1]);
  ends[0]?.();
  await settle();
  expect(begun).toEqual([0, 1, 2]);
  for (const at of [1, 2, 3]) {
    ends[at]?.();
    await settle();
  }
  expect((await outcomes).map(({ status }) => status)).toEqual(["rejected", "fulfilled", "fulfilled", "fulfilled"]);
  expect(await turns.run(() => Promise.resolve("free again"))).toBe("free again");
});

test("all items are worked through, a number of them at once", async () => {
  let running = 0;
  let most = 0;
  const seen: number[] = [];
  await forEachAtOnce([1, 2, 3, 4, 5], 2, async (item) => {
    most = Math.max(most, (running += 1));
    await Promise.resolve();
    running -= 1;
    seen.push(item);
  });
  expect([seen.sort(), most]).toEqual([[1, 2, 3, 4, 5], 2]);
  await forEachAtOnce([], 2, () => Promise.reject(new Error("there is nothing")));
});
