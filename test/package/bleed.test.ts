import { describe, expect, test } from "vitest";
import { reachOf } from "./built-package.ts";
import { doors, warehouses } from "./repository.ts";

/** Hosts by which one knows whose code it is. A new warehouse needs a line here. */
const HOSTS: ReadonlyMap<string, readonly string[]> = new Map([
  ["snowflake", ["snowflakecomputing"]],
  ["databricks", ["databricks.com", "azuredatabricks", "databricksapps"]],
  ["bigquery", ["googleapis", "accounts.google"]],
  ["entra", ["microsoftonline", "login.windows.net"]],
  ["synapse", ["azuresynapse", "database.windows.net", "fabric.microsoft.com"]],
  ["redshift", ["amazonaws", "redshift"]],
]);

/** A warehouse that stands on another one holds its hosts as well. */
const STANDS_ON: ReadonlyMap<string, readonly string[]> = new Map([["synapse", ["entra"]]]);

/** Doors that may hold a Node import. */
const NODE_DOORS = /^\.\/(?:node|stores\/(?:file|keychain)|diagnostics-channel|testing\/http)$/;

/** Doors that hold fakes of every warehouse. */
const FAKE_DOORS = /^\.\/testing(?:\/|$)/;

/** Doors that do nothing without sealing. */
const SEALING_DOORS = /^\.\/stores\/(?:encrypted|cookie)$/;

/** What any door may reach of others. */
const PACKAGES = ["oauth4webapi", "jose"];

const cases = doors.map((door) => [door.subpath, door] as const);

describe("what a door reaches", () => {
  test("the list of hosts knows every warehouse", () => {
    expect(warehouses.filter((name) => !HOSTS.has(name))).toEqual([]);
  });

  test.each(cases)("%s holds no host of another warehouse", (subpath, { built }) => {
    const own = /^\.\/([^/]+)/.exec(subpath)?.[1] ?? "";
    const allowed = FAKE_DOORS.test(subpath) ? [...HOSTS.keys()] : [own, ...(STANDS_ON.get(own) ?? [])];
    const strange = [...HOSTS].flatMap(([warehouse, hosts]) => (allowed.includes(warehouse) ? [] : hosts));
    const found = [...reachOf(built).files].flatMap(([path, text]) =>
      strange.filter((host) => text.includes(host)).map((host) => `${path} holds "${host}"`),
    );
    expect(found).toEqual([]);
  });

  test.each(cases)("%s imports Node only where the table says so", (subpath, { built }) => {
    const { eager, lazy } = reachOf(built);
    const found = [...eager, ...lazy].filter((name) => name.startsWith("node:"));
    if (!NODE_DOORS.test(subpath)) expect(found).toEqual([]);
  });

  test.each(cases)("S-106 %s reaches no package of a vendor", (subpath, { built }) => {
    const { eager, lazy } = reachOf(built);
    const others = [...eager, ...lazy].filter((name) => !name.startsWith("node:") && !PACKAGES.includes(name));
    expect(others).toEqual(subpath === "./stores/keychain" ? ["@napi-rs/keyring"] : []);
  });

  test.each(cases.filter(([subpath]) => !FAKE_DOORS.test(subpath) && !SEALING_DOORS.test(subpath)))(
    "%s does not load jose before it is needed",
    (_, { built }) => {
      expect([...reachOf(built).eager]).not.toContain("jose");
    },
  );
});
