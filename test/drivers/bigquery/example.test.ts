import { expect, test } from "vitest";
import { connect, report } from "./example.ts";
import { PROJECT, openWorld } from "./warehouse.ts";

test("the example: eight rows, as many with a refused token, and at the end a person to ask", async () => {
  const world = await openWorld();
  const bq = connect(world.session, { projectId: PROJECT, apiEndpoint: world.origin });
  expect(await report(bq, "select n from numbers")).toBe(8);
  world.fake.expireAccessTokens();
  expect(await report(bq, "select n from numbers")).toBe(8);
  world.fake.revokeGrants();
  expect(await report(bq, "select n from numbers")).toBe("sign in again");
  expect(world.requests()).toEqual({ token: 2, api: 4, refused: 2 });
  await world.close();
});
