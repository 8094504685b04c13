import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { storeContract } from "warehouse-oauth/testing";
import { fileStore } from "warehouse-oauth/stores/file";
import { afterAll, beforeAll, describe, test } from "vitest";
import { sealedStore } from "../fleet/open-store.ts";
import { buildRacer } from "./elsewhere.ts";
import type { Elsewhere } from "./elsewhere.ts";

let directory = "";
let elsewhere: Elsewhere;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "warehouse-oauth-file-"));
  elsewhere = await buildRacer();
});
afterAll(async () => {
  await rm(directory, { recursive: true });
  await elsewhere.remove();
});

describe("the contract of stores", () => {
  const cases = storeContract({
    open: () => fileStore({ directory }),
    shared: true,
    elsewhere: (plan) => elsewhere.race({ kind: "file", folder: directory }, plan),
  });
  for (const { name, run } of cases) test(name, run);
});

describe("the contract of stores, sealed by encryptedStore", () => {
  const sealedWith = randomBytes(32).toString("base64");
  const folder = (): string => join(directory, "sealed");
  const cases = storeContract({
    open: () => sealedStore(fileStore({ directory: folder() }), sealedWith),
    shared: true,
    elsewhere: (plan) => elsewhere.race({ kind: "file", folder: folder(), sealedWith }, plan),
  });
  for (const { name, run } of cases) test(name, run);
});
