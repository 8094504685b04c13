import { execFileSync } from "node:child_process";
import {
  chmod,
  chown,
  link,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileStore } from "warehouse-oauth/stores/file";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openFileProcesses } from "./file-processes.ts";

const KEY = "acme/ada";
const IS_WINDOWS = process.platform === "win32";
const IS_ROOT = process.geteuid?.() === 0;

let folder = "";
let processes: Awaited<ReturnType<typeof openFileProcesses>>;
let made = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "warehouse-oauth-modes-"));
  processes = await openFileProcesses();
});
afterAll(async () => {
  await processes.endAll();
  await rm(folder, { recursive: true, force: true });
});

function newDirectory(): string {
  made += 1;
  return join(folder, String(made));
}

async function all(directory: string): Promise<{ path: string; kind: string; mode: number }[]> {
  const entries = ["", ...(await readdir(directory, { recursive: true }))];
  return Promise.all(
    entries.map(async (entry) => {
      const stats = await stat(join(directory, entry));
      return { path: entry, kind: stats.isDirectory() ? "folder" : "file", mode: stats.mode & 0o777 };
    }),
  );
}

async function recordFile(directory: string): Promise<string> {
  const names = await readdir(directory, { recursive: true });
  const found = names.find((name) => /[0-9a-f]-\d+$/.test(name) && !name.includes("life-"));
  if (found === undefined) throw new Error("there is no record");
  return join(directory, found);
}

describe.skipIf(IS_WINDOWS)("S-096 modes and owners (skipped on Windows, which has none)", () => {
  test.each([0o000, 0o022, 0o077])("umask %i: folders are 0700 and files 0600", async (umask) => {
    const directory = newDirectory();
    const task = { directory, key: KEY, umask } as const;
    await processes.run({ ...task, does: "write", value: "secret" }).ended;
    await processes.run({ ...task, does: "lease", signal: "SIGKILL", atStep: 999 }).ended;
    const { child, spoke, ended } = processes.run({ ...task, does: "lease", holds: true });
    await spoke;
    child.kill("SIGKILL");
    await ended;
    const found = await all(directory);
    expect(new Set(found.map(({ kind, mode }) => `${kind} ${mode.toString(8)}`))).toEqual(
      new Set(["folder 700", "file 600"]),
    );
    expect(found.filter(({ kind }) => kind === "file").length).toBeGreaterThanOrEqual(4);
  });

  test("no file name holds a key or a value, and the folders above are made", async () => {
    const directory = join(newDirectory(), "not", "there", "yet");
    await fileStore({ directory }).write("tenant/zoe@example.com", { value: "secret" }, { ifVersion: undefined });
    for (const { path } of await all(directory)) expect(path).not.toMatch(/zoe|tenant|secret/);
    expect(await readFile(await recordFile(directory), "utf8")).toContain("zoe@example.com");
  });

  const refusals = async (directory: string): Promise<void> => {
    const before = await all(directory).catch(() => []);
    const store = fileStore({ directory });
    for (const asked of [
      () => store.read(KEY, {}),
      () => store.write(KEY, { value: "more" }, { ifVersion: undefined }),
      () => store.delete(KEY, {}),
      () => store.due({ before: 1, limit: 1 }),
    ]) {
      await expect(asked()).rejects.toMatchObject({ code: "cache_permissions", action: "fix_config" });
    }
    expect(await all(directory).catch(() => [])).toEqual(before);
  };

  test("a file on the way to the directory is named as what it is", async () => {
    const file = join(newDirectory(), "file");
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, "");
    const reading = fileStore({ directory: join(file, "tokens") }).read(KEY, {});
    await expect(reading).rejects.toThrow("is a file and no folder");
  });

  test.each([0o755, 0o710, 0o701, 0o770])(
    "a folder with mode %i is refused, and nothing in it touched",
    async (mode) => {
      const directory = newDirectory();
      await mkdir(directory, 0o700);
      await chmod(directory, mode);
      await refusals(directory);
      await expect(fileStore({ directory }).lease(KEY, { ttlMs: 1_000 })).rejects.toMatchObject({
        code: "cache_permissions",
      });
      await chmod(directory, 0o700);
      expect(await fileStore({ directory }).write(KEY, { value: "v" }, { ifVersion: undefined })).toBeDefined();
    },
  );

  test("a link, a file or a pipe in place of the folder is refused", async () => {
    const real = newDirectory();
    await mkdir(real, 0o700);
    const [linked, plain, pipe] = [newDirectory(), newDirectory(), newDirectory()];
    await symlink(real, linked);
    await writeFile(plain, "", { mode: 0o600 });
    execFileSync("mkfifo", ["-m", "600", pipe]);
    for (const directory of [linked, plain, pipe]) {
      await expect(fileStore({ directory }).read(KEY, {}), directory).rejects.toMatchObject({
        code: "cache_permissions",
      });
      const writing = fileStore({ directory }).write(KEY, { value: "v" }, { ifVersion: undefined });
      await expect(writing).rejects.toMatchObject({ code: "cache_permissions" });
    }
    expect(await readdir(real)).toEqual([]);
  });

  test.each<[string, (path: string) => Promise<unknown> | undefined]>([
    ["a file that its group may read", (path) => chmod(path, 0o640)],
    ["a file that everybody may write", (path) => chmod(path, 0o602)],
    ["a link", (path) => rename(path, `${path}.moved`).then(() => symlink(`${path}.moved`, path))],
    ["a folder", (path) => rm(path).then(() => mkdir(path, 0o700))],
    ["a pipe", (path) => rm(path).then(() => execFileSync("mkfifo", ["-m", "600", path]))],
  ])("%s in place of a record is refused, not read, not waited for, not replaced", async (_, change) => {
    const directory = newDirectory();
    const store = fileStore({ directory });
    const version = await store.write(KEY, { value: "secret" }, { ifVersion: undefined });
    await change(await recordFile(directory));
    await expect(store.read(KEY, {})).rejects.toMatchObject({
      code: "cache_permissions",
      message: expect.not.stringContaining(folder) as string,
    });
    await expect(store.write(KEY, { value: "v" }, { ifVersion: version })).rejects.toMatchObject({
      code: "cache_permissions",
    });
    await expect(store.keys({ limit: 1 })).rejects.toMatchObject({ code: "cache_permissions" });
  });

  test.skipIf(!IS_ROOT)(
    "a folder or a file of another owner is refused (skipped unless root: nobody else can make one)",
    async () => {
      const directory = newDirectory();
      const store = fileStore({ directory });
      await store.write(KEY, { value: "secret" }, { ifVersion: undefined });
      await chown(await recordFile(directory), 12_345, 12_345);
      await expect(store.read(KEY, {})).rejects.toMatchObject({ code: "cache_permissions" });
      const foreign = newDirectory();
      await mkdir(foreign, 0o700);
      await chown(foreign, 12_345, 12_345);
      await refusals(foreign);
    },
  );

  test("a record that was copied to another's place is not that person's", async () => {
    const directory = newDirectory();
    const store = fileStore({ directory });
    await store.write("ada", { value: "ada's" }, { ifVersion: undefined });
    const adas = await recordFile(directory);
    const names = await readdir(directory, { recursive: true });
    await store.write("bob", { value: "bob's" }, { ifVersion: undefined });
    const more = (await readdir(directory, { recursive: true })).filter((name) => !names.includes(name));
    const bobs = join(directory, more.find((name) => /[0-9a-f]-1$/.test(name)) ?? "");
    await rm(bobs);
    await link(adas, bobs);
    await expect(store.read("bob", {})).rejects.toMatchObject({ code: "decrypt_failed", action: "reauthorize" });
    expect((await store.read("ada", {}))?.record.value).toBe("ada's");
  });
});

describe("what is given to it", () => {
  test('a wrong "directory" is refused', () => {
    expect(() => fileStore({ directory: "" })).toThrow(expect.objectContaining({ code: "config_invalid" }) as Error);
    expect(() => fileStore({ directory: "a\0b" })).toThrow(
      expect.objectContaining({ code: "config_invalid" }) as Error,
    );
    const missing = {} as { directory: string };
    expect(() => fileStore(missing)).toThrow(expect.objectContaining({ code: "invalid_argument" }) as Error);
  });

  test("a signal that has come ends a write before it is made, with its own reason", async () => {
    const directory = newDirectory();
    const store = fileStore({ directory });
    const reason = new Error("too late");
    const signal = AbortSignal.abort(reason);
    await expect(store.write(KEY, { value: "v" }, { ifVersion: undefined, signal })).rejects.toBe(reason);
    await expect(store.lease(KEY, { ttlMs: 1_000, signal })).rejects.toBe(reason);
    expect(await store.read(KEY, {})).toBeUndefined();
    const version = await store.write(KEY, { value: "v" }, { ifVersion: undefined });
    await expect(store.delete(KEY, { signal })).rejects.toBe(reason);
    expect((await store.read(KEY, {}))?.version).toBe(version);
  });

  test("records whose time is over are dropped when somebody lists, or begins one beside them", async () => {
    const directory = newDirectory();
    const store = fileStore({ directory });
    await store.write("over", { value: "v", dueAt: 1, deleteAfter: 2 }, { ifVersion: undefined });
    await store.write("good", { value: "v", dueAt: 1, deleteAfter: 4e12 }, { ifVersion: undefined });
    expect(await store.due({ before: 10, limit: 10 })).toEqual([{ key: "good", dueAt: 1 }]);
    expect(await store.read("over", {})).toBeUndefined();
    expect(await store.keys({ limit: 10 })).toEqual(["good"]);
  });
});
