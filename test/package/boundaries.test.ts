import { describe, expect, test } from "vitest";
import { listFiles, listImports, listSources, parseSource, resolveRelative } from "./repository.ts";

/** Who may import whom: the table of the house, ring by ring. A room that is not built yet has its row already. */
interface Room {
  readonly name: string;
  /** The files of the room. */
  readonly files: RegExp;
  /** What it may import of ours, apart from its own room. Paths from `src`. */
  readonly ours: readonly RegExp[];
  /** What it may import of ours as types only. */
  readonly oursAsTypes?: readonly RegExp[];
  readonly packages?: readonly string[];
  readonly node?: boolean;
  /** Files of the room may not import each other. */
  readonly islands?: boolean;
}

/** Across rooms one imports the room's door or a named port file, never what lies behind. */
const core = /^core\/index\.ts$/;
const coreErrors = /^core\/errors\.ts$/;
const session = /^session\/index\.ts$/;
const sessionPorts = /^session\/(?:index|store|record|events)\.ts$/;
const adapter = /^adapters\/[^/]+\/index\.ts$/;
const lib = /^lib\/(?:(?:sealing|files)\/)?[^/]+\.ts$/;

const ROOMS: readonly Room[] = [
  { name: "lib", files: /^lib\//, ours: [], packages: ["jose"] },
  { name: "core", files: /^core\//, ours: [lib], packages: ["oauth4webapi", "jose"] },
  {
    name: "adapters/synapse",
    files: /^adapters\/synapse\/(?!driver\.ts$)/,
    ours: [core, coreErrors, lib, /^adapters\/entra\/index\.ts$/],
  },
  {
    name: "adapters/*/driver",
    files: /^adapters\/[^/]+\/driver\.ts$/,
    ours: [coreErrors, lib],
    oursAsTypes: [core, sessionPorts],
  },
  { name: "adapters/*", files: /^adapters\/[^/]+\//, ours: [core, coreErrors, lib] },
  { name: "session", files: /^session\//, ours: [core, coreErrors, lib] },
  {
    name: "stores (Node)",
    files: /^stores\/(?:file|keychain)\.ts$/,
    ours: [coreErrors, sessionPorts, lib],
    packages: ["@napi-rs/keyring"],
    node: true,
    islands: true,
  },
  { name: "stores", files: /^stores\//, ours: [coreErrors, sessionPorts, lib], islands: true },
  {
    name: "telemetry (Node)",
    files: /^telemetry\/diagnostics-channel\.ts$/,
    ours: [lib],
    oursAsTypes: [sessionPorts, core],
    node: true,
    islands: true,
  },
  { name: "telemetry", files: /^telemetry\//, ours: [lib], oursAsTypes: [sessionPorts, core], islands: true },
  { name: "web", files: /^web\//, ours: [core, coreErrors, session, lib] },
  { name: "node", files: /^node\//, ours: [core, coreErrors, session, lib], node: true },
  { name: "jobs", files: /^jobs\//, ours: [lib], oursAsTypes: [session, core] },
  {
    name: "testing (Node)",
    files: /^testing\/http\.ts$/,
    ours: [core, coreErrors, sessionPorts, adapter, lib],
    packages: ["jose"],
    node: true,
  },
  { name: "testing", files: /^testing\//, ours: [core, coreErrors, sessionPorts, adapter, lib], packages: ["jose"] },
  { name: "cli", files: /^cli\//, ours: [/^(?!testing\/)/], node: true },
  { name: "index", files: /^index\.ts$/, ours: [core, session] },
];

function roomOf(path: string): Room | undefined {
  return ROOMS.find((room) => room.files.test(path));
}

/** Lists what the imports of one file do against the table. `path` and the answer are relative to `src`. */
function checkFile(path: string, text?: string): string[] {
  const room = roomOf(path);
  if (room === undefined) return [`${path}: stands in no room of the table`];
  return listImports(parseSource(`src/${path}`, text)).flatMap(({ specifier, typeOnly, place }) => {
    if (specifier === undefined) return [`${place}: import() of something that is not a literal`];
    if (specifier.startsWith("node:"))
      return room.node === true ? [] : [`${place}: "${specifier}" in room ${room.name}`];
    if (!specifier.startsWith(".")) {
      const isAllowed = room.packages?.includes(specifier) === true;
      return isAllowed ? [] : [`${place}: package "${specifier}" in room ${room.name}`];
    }
    if (!specifier.endsWith(".ts")) return [`${place}: "${specifier}" does not end in ".ts"`];
    const target = resolveRelative(`src/${path}`, specifier).replace(/^src\//, "");
    if (isOwnRoom(room, path, target)) return [];
    const allowed = [...room.ours, ...(typeOnly ? (room.oursAsTypes ?? []) : [])];
    if (allowed.some((pattern) => pattern.test(target))) return [];
    return [`${place}: room ${room.name} may not import "${target}"${typeOnly ? "" : " at run time"}`];
  });
}

function isOwnRoom(room: Room, from: string, target: string): boolean {
  if (room.islands === true || target.startsWith("..")) return false;
  const folder = (path: string): string =>
    path
      .split("/")
      .slice(0, path.startsWith("adapters/") ? 2 : 1)
      .join("/");
  return from.includes("/") && folder(from) === folder(target);
}

describe("the import table", () => {
  test.each(listSources().map((path) => path.replace(/^src\//, "")))(
    "src/%s imports only what its room may",
    (path) => {
      expect(checkFile(path)).toEqual([]);
    },
  );

  test("nothing but TypeScript lies in src", () => {
    expect(listFiles("src", (path) => !path.endsWith(".ts"))).toEqual([]);
  });

  test.each([
    ["lib/a.ts", 'import { x } from "../core/index.ts";'],
    ["lib/a.ts", 'import { readFileSync } from "node:fs";'],
    ["core/a.ts", 'import { x } from "../session/index.ts";'],
    ["core/a.ts", 'import { x } from "../adapters/snowflake/index.ts";'],
    ["core/a.ts", 'import x from "left-pad";'],
    ["core/a.ts", 'export * from "../session/token-session.ts";'],
    ["core/a.ts", 'type X = import("../session/index.ts").X;'],
    ["core/a.ts", "const x = await import(name);"],
    ["core/a.ts", 'import { x } from "./b.js";'],
    ["adapters/snowflake/index.ts", 'import { x } from "../../core/client.ts";'],
    ["adapters/snowflake/index.ts", 'import { x } from "../databricks/index.ts";'],
    ["adapters/snowflake/driver.ts", 'import { TokenSession } from "../../session/index.ts";'],
    ["stores/redis.ts", 'import { x } from "./postgres.ts";'],
    ["telemetry/audit.ts", 'import { x } from "../session/events.ts";'],
    ["testing/index.ts", 'import { createServer } from "node:http";'],
    ["cli/main.ts", 'import { x } from "../testing/index.ts";'],
    ["index.ts", 'export { x } from "./adapters/snowflake/index.ts";'],
    ["index.ts", 'export { x } from "./testing/index.ts";'],
    ["helpers/a.ts", ""],
  ])("refuses, in src/%s: %s", (path, text) => {
    expect(checkFile(path, text)).toHaveLength(1);
  });

  test.each([
    [
      "core/a.ts",
      'import * as oauth from "oauth4webapi"; import { x } from "./b.ts"; import { y } from "../lib/c.ts";',
    ],
    ["adapters/synapse/index.ts", 'import { x } from "../entra/index.ts";'],
    ["adapters/snowflake/driver.ts", 'import type { TokenSource } from "../../session/index.ts"; import "./index.ts";'],
    ["stores/keychain.ts", 'const x = await import("@napi-rs/keyring"); import "node:os";'],
    ["index.ts", 'export * from "./core/index.ts"; export * from "./session/index.ts";'],
  ])("takes, in src/%s: %s", (path, text) => {
    expect(checkFile(path, text)).toEqual([]);
  });
});
