import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, rename, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { fileStore } from "warehouse-oauth/stores/file";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openFileProcesses } from "./file-processes.ts";
import { stepsOf, withSteps } from "./file-steps.ts";

const KEY = "acme/ada";
const LONG_MS = 60_000;

let folder = "";
let processes: Awaited<ReturnType<typeof openFileProcesses>>;
let made = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "warehouse-oauth-lock-"));
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

async function filesIn(directory: string): Promise<string[]> {
  return (await readdir(directory, { recursive: true })).map((entry) => join(directory, entry));
}

/** The file that says who holds the lease. */
async function leaseFile(directory: string): Promise<string> {
  const found = (await filesIn(join(directory, "leases"))).find(
    (path) => /-\d+$/.test(path) && !path.includes("life-"),
  );
  if (found === undefined) throw new Error("there is no lease");
  return found;
}

/** Waits until the system says that a process is stopped. */
async function untilStopped(pid: number): Promise<void> {
  for (;;) {
    const { stdout } = await promisify(execFile)("ps", ["-o", "state=", "-p", String(pid)]);
    if (stdout.trim().startsWith("T")) return;
    await sleep(5);
  }
}

describe("several processes on one record", () => {
  test("S-098 of all increments that they were told are done, none is lost", async () => {
    const directory = newDirectory();
    const started = Array.from({ length: 4 }, () => processes.run({ directory, key: KEY, does: "count", times: 15 }));
    const ended = await Promise.all(started.map((each) => each.ended));
    expect(ended.map(({ lines, errors }) => [lines, errors])).toEqual(ended.map(() => [[15], ""]));
    expect((await fileStore({ directory }).read(KEY, {}))?.record.value).toBe("60");
  });

  test("R-67 one that is stopped (SIGSTOP) right before its write, and goes on later, overwrites nothing", async () => {
    const directory = newDirectory();
    const store = fileStore({ directory });
    const version = await store.write(KEY, { value: "old" }, { ifVersion: undefined });
    const rehearsal = newDirectory();
    const first = await fileStore({ directory: rehearsal }).write(KEY, { value: "old" }, { ifVersion: undefined });
    const steps = await stepsOf(() =>
      fileStore({ directory: rehearsal }).write(KEY, { value: "new" }, { ifVersion: first }),
    );
    // Beyond sixteen writes nobody can tell any more, and says so; what stands stays all the same.
    for (const [others, said] of [
      [1, null],
      [2, null],
      [20, "store_unavailable"],
    ] as const) {
      const before = await store.read(KEY, {});
      const task = { directory, key: KEY, does: "write", value: "stale", signal: "SIGSTOP" } as const;
      const ifVersion = before?.version ?? "";
      const { child, ended } = processes.run({ ...task, ifVersion, atStep: 1 + steps.indexOf("link") });
      await untilStopped(child.pid ?? 0);
      let current = before?.version;
      for (let count = 0; count < others; count++) {
        current = await store.write(KEY, { value: String(count) }, { ifVersion: current });
      }
      child.kill("SIGCONT");
      expect(await ended).toMatchObject({ lines: [said], errors: "", signal: null });
      expect(await store.read(KEY, {})).toEqual({ record: { value: String(others - 1) }, version: current });
    }
    expect(version).toBeDefined();
  });
});

const sleep = (durationMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, durationMs));

describe("R-68 a lease that was left behind", () => {
  test("its holder was killed: of those who ask next, one gets it at once", async () => {
    const directory = newDirectory();
    const holder = processes.run({ directory, key: KEY, does: "lease", ttlMs: LONG_MS, holds: true });
    await holder.spoke;
    expect(await fileStore({ directory }).lease(KEY, { ttlMs: LONG_MS })).toBeUndefined();
    holder.child.kill("SIGKILL");
    await holder.ended;
    const taken = await Promise.all(
      Array.from({ length: 5 }, () => fileStore({ directory }).lease(KEY, { ttlMs: LONG_MS })),
    );
    expect(taken.filter((lease) => lease !== undefined)).toHaveLength(1);
  });

  test("its holder was stopped beyond its time: another gets it, and keeps it when the first goes on", async () => {
    const directory = newDirectory();
    const holder = processes.run({ directory, key: KEY, does: "lease", ttlMs: 400, signal: "SIGSTOP", holds: true });
    await holder.spoke;
    holder.child.kill("SIGSTOP");
    const store = fileStore({ directory });
    let lease = await store.lease(KEY, { ttlMs: LONG_MS });
    while (lease === undefined) {
      await sleep(20);
      lease = await store.lease(KEY, { ttlMs: LONG_MS });
    }
    holder.child.kill("SIGCONT");
    expect(await lease.renew(LONG_MS)).toBe(true);
    expect(await fileStore({ directory }).lease(KEY, { ttlMs: LONG_MS })).toBeUndefined();
    holder.child.kill("SIGKILL");
    await holder.ended;
    expect(await lease.renew(LONG_MS)).toBe(true);
    await lease.release();
    expect(await filesIn(join(directory, "leases"))).toHaveLength(1); // its shelf
  });

  test("a process that is paused at any step of taking it does not get what another has by then", async () => {
    const over = async (): Promise<string> => {
      const directory = newDirectory();
      await fileStore({ directory }).lease(KEY, { ttlMs: 1 });
      await sleep(2);
      return directory;
    };
    const rehearsal = await over();
    const steps = await stepsOf(() => fileStore({ directory: rehearsal }).lease(KEY, { ttlMs: LONG_MS }));
    for (let step = 1; step <= steps.length; step++) {
      const directory = await over();
      let open = (): void => undefined;
      const until = new Promise<void>((resolve) => (open = resolve));
      let reached = (): void => undefined;
      const isPaused = new Promise<void>((resolve) => (reached = resolve));
      const paused = withSteps(
        ({ number }) => {
          if (number !== step) return undefined;
          reached();
          return until;
        },
        () => fileStore({ directory }).lease(KEY, { ttlMs: LONG_MS }),
      );
      await Promise.race([isPaused, paused]);
      const [one, other] = [fileStore({ directory }), fileStore({ directory })];
      const first = await one.lease(KEY, { ttlMs: LONG_MS });
      const second = await other.lease(KEY, { ttlMs: LONG_MS });
      open();
      const late = await paused;
      const holders = [first, second, late].filter((lease) => lease !== undefined);
      expect(holders, `paused before step ${String(step)}`).toHaveLength(1);
      expect(await holders[0]?.renew(LONG_MS)).toBe(true);
      await holders[0]?.release();
    }
  });

  test("a file that a crash of the machine emptied: it is free", async () => {
    const directory = newDirectory();
    await fileStore({ directory }).lease(KEY, { ttlMs: LONG_MS });
    await truncate(await leaseFile(directory), 0);
    const lease = await fileStore({ directory }).lease(KEY, { ttlMs: LONG_MS });
    expect(await lease?.renew(LONG_MS)).toBe(true);
  });

  test.each<[string, (path: string) => Promise<unknown>]>([
    ["others may read it", (path) => chmod(path, 0o644)],
    ["a folder", (path) => rm(path).then(() => mkdir(path, 0o700))],
    [
      "a link to a file of its owner",
      (path) => rename(path, `${path}.moved`).then(() => symlink(`${path}.moved`, path)),
    ],
  ])("in its place is what cannot be trusted (%s): cache_locked, at once and again", async (_, change) => {
    const directory = newDirectory();
    await fileStore({ directory }).lease(KEY, { ttlMs: LONG_MS });
    const path = await leaseFile(directory);
    await change(path);
    for (let tries = 0; tries < 2; tries++) {
      const asked = fileStore({ directory }).lease(KEY, { ttlMs: LONG_MS });
      await expect(asked).rejects.toMatchObject({ code: "cache_locked", operation: "lease", retryable: true });
    }
    expect(await fileStore({ directory }).lease("another key", { ttlMs: LONG_MS })).toBeDefined();
    await rm(join(directory, "leases"), { recursive: true });
    expect(await fileStore({ directory }).lease(KEY, { ttlMs: LONG_MS })).toBeDefined();
  });

  test("a folder in the place of the record of leases, and a file in the place of a folder", async () => {
    const directory = newDirectory();
    await fileStore({ directory }).lease(KEY, { ttlMs: LONG_MS });
    const place = dirname(await leaseFile(directory));
    await rm(place, { recursive: true });
    await mkdir(place, 0o700);
    const lease = await fileStore({ directory }).lease(KEY, { ttlMs: LONG_MS });
    expect(lease).toBeDefined();
    await lease?.release();
    await writeFile(place, "", { mode: 0o600 });
    const asked = fileStore({ directory }).lease(KEY, { ttlMs: LONG_MS });
    await expect(asked).rejects.toMatchObject({ code: "cache_locked" });
  });
});
