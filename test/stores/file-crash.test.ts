import { mkdtemp, readdir, rm, truncate, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileStore } from "warehouse-oauth/stores/file";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openFileProcesses } from "./file-processes.ts";
import { stepsOf, withSteps } from "./file-steps.ts";

/** `FILE_KILLS=all` kills a process at every step of every operation, not only around the decisive one. */
const ALL_KILLS = process.env["FILE_KILLS"] === "all";

const KEY = "acme/ada";
const HOUR_AND_MORE = 3_700_000;

let folder = "";
let processes: Awaited<ReturnType<typeof openFileProcesses>>;
let made = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "warehouse-oauth-crash-"));
  processes = await openFileProcesses();
});
afterAll(async () => {
  await processes.endAll();
  await rm(folder, { recursive: true, force: true });
});

type Store = ReturnType<typeof fileStore>;

/** A store of its own with what an operation needs to be there. */
async function openStore(isEmpty: boolean): Promise<{ store: Store; directory: string; version: string | undefined }> {
  made += 1;
  const directory = join(folder, String(made));
  const store = fileStore({ directory });
  const version = isEmpty ? undefined : await store.write(KEY, { value: "old" }, { ifVersion: undefined });
  return { store, directory, version };
}

interface Operation {
  readonly name: string;
  readonly does: "write" | "delete";
  readonly before: string | undefined;
  readonly after: string | undefined;
}

const OPERATIONS: readonly Operation[] = [
  { name: "the first write", does: "write", before: undefined, after: "new" },
  { name: "a write", does: "write", before: "old", after: "new" },
  { name: "a delete", does: "delete", before: "old", after: undefined },
];

function perform(store: Store, { does }: Operation, version: string | undefined): Promise<unknown> {
  return does === "write" ? store.write(KEY, { value: "new" }, { ifVersion: version }) : store.delete(KEY, {});
}

/** A promise that is settled from outside. */
function gate(): { readonly until: Promise<void>; open(): void } {
  let open = (): void => undefined;
  const until = new Promise<void>((resolve) => (open = resolve));
  return {
    until,
    open: () => {
      open();
    },
  };
}

async function filesIn(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true });
  return entries.map((entry) => join(directory, entry));
}

/** What everybody who comes after a crash must find. */
async function judge(directory: string, { before, after }: Operation): Promise<string | undefined> {
  const next = fileStore({ directory });
  const read = await next.read(KEY, {});
  expect([before, after]).toContain(read?.record.value);
  const version = await next.write(KEY, { value: "next" }, { ifVersion: read?.version });
  expect(version, "the next process goes on").toBeDefined();
  expect((await next.read(KEY, {}))?.record.value).toBe("next");
  // An hour later, the next to begin a record there and to write finds leftovers and removes them.
  const old = new Date(Date.now() - HOUR_AND_MORE);
  for (const path of await filesIn(directory)) if (path.includes("new-")) await utimes(path, old, old);
  await next.write(KEY, { value: "later" }, { ifVersion: version });
  await next.keys({ limit: 1 });
  expect((await filesIn(directory)).filter((path) => path.includes("new-"))).toEqual([]);
  return read?.record.value;
}

describe.each(OPERATIONS)("S-097 $name that ends at any of its steps", (operation) => {
  test("leaves the old or the new, the next goes on, leftovers go, and one that was only paused changes nothing", async () => {
    const rehearsal = await openStore(operation.before === undefined);
    const steps = await stepsOf(() => perform(rehearsal.store, operation, rehearsal.version));
    const found = new Set<string | undefined>();
    for (let at = 1; at <= steps.length; at++) {
      const { directory, version } = await openStore(operation.before === undefined);
      const pause = gate();
      const goOn = gate();
      const paused = withSteps(
        ({ number }) => {
          if (number !== at) return undefined;
          pause.open();
          return goOn.until;
        },
        () => perform(fileStore({ directory }), operation, version),
      );
      // For those who come after, a process that is gone and one that does not go on are the same.
      await Promise.race([pause.until, paused]);
      const left = await judge(directory, operation);
      found.add(left);
      goOn.open();
      const said = await paused;
      const isDone = left === operation.after;
      if (!isDone) expect(said, `paused before step ${String(at)}`).toBe(operation.does === "write" ? undefined : true);
      const read = await fileStore({ directory }).read(KEY, {});
      const isRemoved = operation.does === "delete" && !isDone;
      expect(read?.record.value, `paused before step ${String(at)}`).toBe(isRemoved ? undefined : "later");
    }
    expect(found, "some ended before the decisive step, some after").toEqual(
      new Set([operation.before, operation.after]),
    );
  });

  test("R-25 the same with kill -9 (FILE_KILLS=all: at every step)", { timeout: 300_000 }, async () => {
    const rehearsal = await openStore(operation.before === undefined);
    const steps = await stepsOf(() =>
      perform(fileStore({ directory: rehearsal.directory }), operation, rehearsal.version),
    );
    const decisive = 1 + steps.indexOf(operation.before === undefined ? "rename" : "link");
    const found = new Set<string | undefined>();
    const kill = async (atStep: number): Promise<void> => {
      const { directory, version } = await openStore(operation.before === undefined);
      const { does } = operation;
      const task = { directory, key: KEY, does, value: "new", signal: "SIGKILL", atStep } as const;
      const { ended } = processes.run(version === undefined ? task : { ...task, ifVersion: version });
      expect(await ended).toMatchObject({ signal: "SIGKILL", lines: [], errors: "" });
      found.add(await judge(directory, operation));
    };
    if (!ALL_KILLS) await Promise.all([kill(decisive), kill(decisive + 1)]);
    else for (let at = 1; at <= steps.length; at++) await kill(at);
    expect(found).toEqual(new Set([operation.before, operation.after]));
  });
});

test("S-097 a file with tokens that a killed writer left goes after an hour, although nobody writes that record", async () => {
  const { store, directory, version = "" } = await openStore(false);
  const rehearsal = await openStore(false);
  const steps = await stepsOf(() => perform(rehearsal.store, { does: "write" } as Operation, rehearsal.version));
  const task = { directory, key: KEY, does: "write", value: "new", signal: "SIGKILL", ifVersion: version } as const;
  await processes.run({ ...task, atStep: 1 + steps.indexOf("link") }).ended;
  const left = async (): Promise<string[]> => (await filesIn(directory)).filter((path) => path.includes("/new-"));
  const [file = ""] = await left();
  await store.keys({ limit: 1 });
  expect(await left()).toEqual([file]);
  const old = new Date(Date.now() - HOUR_AND_MORE);
  await utimes(file, old, old);
  await fileStore({ directory }).due({ before: 1, limit: 1 });
  expect(await left()).toEqual([]);
  expect((await store.read(KEY, {}))?.version).toBe(version);
});

test("S-097 a full disk, a read-only one and a broken one leave the old content, and say so", async () => {
  for (const [code, name] of [
    ["ENOSPC", "writeFile"],
    ["ENOSPC", "link"],
    ["EDQUOT", "open"],
    ["EROFS", "open"],
    ["EIO", "sync"],
  ] as const) {
    const { store, directory, version } = await openStore(false);
    let writing = false;
    const failing = withSteps(
      (step) => {
        writing ||= step.name === "open" && step.number > 5;
        if (writing && step.name === name) throw Object.assign(new Error(code), { code });
      },
      () => store.write(KEY, { value: "new" }, { ifVersion: version }),
    );
    await expect(failing).rejects.toMatchObject({ code: "store_unavailable", operation: "write", cause: { code } });
    const read = await fileStore({ directory }).read(KEY, {});
    expect(read).toEqual({ record: { value: "old" }, version });
    expect((await filesIn(directory)).filter((path) => path.includes("new-"))).toEqual([]);
    expect(await store.write(KEY, { value: "new" }, { ifVersion: version })).toBeDefined();
  }
});

test("S-097 a record that a crash of the machine cut is a coded error, and can be replaced", async () => {
  const { store, directory } = await openStore(false);
  const [file] = (await filesIn(directory)).filter((path) => /[0-9a-f]-1$/.test(path));
  for (const length of [20, 0]) {
    await truncate(file ?? "", length);
    await expect(store.read(KEY, {})).rejects.toMatchObject({ code: "decrypt_failed", action: "reauthorize" });
  }
  expect(await store.delete(KEY, {})).toBe(true);
  expect(await store.read(KEY, {})).toBeUndefined();
  expect(await store.write(KEY, { value: "new" }, { ifVersion: undefined })).toBeDefined();
  expect(await readdir(dirname(dirname(file ?? "")))).toHaveLength(1);
});
