import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { storeContract } from "warehouse-oauth/testing";
import { fileStore } from "warehouse-oauth/stores/file";
import { afterAll, beforeAll, describe, test } from "vitest";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "warehouse-oauth-file-"));
});
afterAll(() => rm(directory, { recursive: true }));

describe("the contract of stores", () => {
  for (const { name, run } of storeContract({ open: () => fileStore({ directory }), shared: true })) test(name, run);
});
