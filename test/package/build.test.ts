import { expect, inject, test } from "vitest";

test("the package builds", () => {
  expect(inject("build").failure).toBeUndefined();
});
