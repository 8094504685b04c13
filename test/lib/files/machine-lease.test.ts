import { describe, expect, test } from "vitest";
import { FileRegister } from "../../../src/lib/files/file-register.ts";
import { describeMachine } from "../../../src/lib/files/machine.ts";
import type { MachineSystem } from "../../../src/lib/files/machine.ts";
import { MachineLeases, isLeaseOver, parseMachineLease } from "../../../src/lib/files/machine-lease.ts";
import type { MachineLease, MachineTime } from "../../../src/lib/files/machine-lease.ts";
import type { RegisterFiles } from "../../../src/lib/files/file-register.ts";
import { FolderModel, seededRandom } from "./folder-model.ts";
import type { Actor } from "./folder-model.ts";

const WALL = 1_800_000_000_000;
const at = (changes: Partial<MachineTime> = {}): MachineTime => ({
  elapsedMs: 1_000_000,
  wallMs: WALL,
  boot: "boot-1",
  origin: "time:[1]",
  ...changes,
});
const lease: MachineLease = { takenAt: at(), ttlMs: 60_000, pid: 7 };

describe("R-45 a lease ends by the machine's own clock", () => {
  test.each<[string, Partial<MachineTime>, boolean]>([
    ["at once", {}, false],
    ["a moment before its end", { elapsedMs: 1_059_999 }, false],
    ["at its end", { elapsedMs: 1_060_000 }, true],
    ["after the time of day jumped forward a year", { wallMs: WALL + 31_536_000_000 }, false],
    ["after the time of day jumped back a year", { wallMs: WALL - 31_536_000_000, elapsedMs: 1_030_000 }, false],
    ["at its end, with the time of day still back", { wallMs: WALL - 31_536_000_000, elapsedMs: 1_060_000 }, true],
    ["after a restart, by the name of the run", { boot: "boot-2", elapsedMs: 1_010_000 }, true],
    ["before its end by the time of day, seen from another origin", { origin: "time:[2]", elapsedMs: 5 }, false],
    ["at its end by the time of day, seen from another origin", { origin: "time:[2]", wallMs: WALL + 60_000 }, true],
  ])("%s", (_, now, over) => {
    expect(isLeaseOver(lease, at(now))).toBe(over);
  });

  test("after a restart, by a clock that began anew, where runs have no names; where they have, that proves nothing", () => {
    const nameless = { ...lease, takenAt: at({ boot: "" }) };
    expect(isLeaseOver(nameless, at({ boot: "", elapsedMs: 30 }))).toBe(true);
    expect(isLeaseOver(nameless, at({ boot: "", elapsedMs: 1_000_001 }))).toBe(false);
    expect(isLeaseOver(lease, at({ elapsedMs: 999_999 }))).toBe(false);
  });

  test("what was written whole is read, and nothing else", () => {
    expect(parseMachineLease(JSON.stringify(lease))).toEqual(lease);
    const full = { ...lease, pidSpace: "pid:[1]", owner: "aa", processStart: "99" };
    expect(parseMachineLease(JSON.stringify(full))).toEqual(full);
    const broken = ["", "{", "null", "[]", "{}", JSON.stringify({ ...lease, ttlMs: "1" })];
    const noBoot = JSON.stringify({ ...lease, takenAt: { ...at(), boot: 1 } });
    for (const text of [...broken, noBoot]) expect(parseMachineLease(text), text).toBeUndefined();
  });
});

interface FakeProcess {
  readonly start: number;
  readonly state?: string;
}

/** A machine with these processes, seen by process 1. */
function system(processes: Readonly<Record<number, FakeProcess>>, changes: Partial<MachineSystem> = {}): MachineSystem {
  const texts = new Map([["/proc/sys/kernel/random/boot_id", "boot-1\n"]]);
  for (const [pid, { start, state = "S" }] of Object.entries(processes)) {
    texts.set(`/proc/${pid}/stat`, `${pid} (odd ) name) ${state} ${"0 ".repeat(18)}${String(start)} 0\n`);
  }
  const find = (found: string | undefined): Promise<string> =>
    found === undefined ? Promise.reject(new Error("ENOENT")) : Promise.resolve(found);
  return {
    pid: 1,
    platform: "linux",
    elapsedMs: () => 5,
    wallMs: () => WALL,
    readText: (path) => find(texts.get(path)),
    readLink: (path) => find(`${path.slice(path.lastIndexOf("/") + 1)}:[1]`),
    isRunning: (pid) => pid in processes,
    ...changes,
  };
}

describe("R-68 whether a holder is dead", () => {
  const holder: MachineLease = { ...lease, pidSpace: "pid:[1]", processStart: "50" };

  test("this process is described as it will be looked for", async () => {
    const machine = await describeMachine(system({ 1: { start: 11 } }));
    expect(machine.self).toEqual({ pid: 1, pidSpace: "pid:[1]", processStart: "11" });
    expect(machine.now()).toEqual({ elapsedMs: 5, wallMs: WALL, boot: "boot-1", origin: "time:[1]" });
  });

  test.each<[string, Readonly<Record<number, FakeProcess>>, Partial<MachineLease>, boolean]>([
    ["it runs", { 7: { start: 50 } }, {}, false],
    ["there is no such process", {}, {}, true],
    ["the number is another process's now", { 7: { start: 51 } }, {}, true],
    ["it is dead, and nobody buried it", { 7: { start: 50, state: "Z" } }, {}, true],
    ["it is of another container", {}, { pidSpace: "pid:[2]" }, false],
  ])("%s", async (_, processes, changes, dead) => {
    const machine = await describeMachine(system({ 1: { start: 11 }, ...processes }));
    expect(await machine.isDead({ ...holder, ...changes })).toBe(dead);
  });

  test("nobody can tell: it counts as alive, and its lease ends by time", async () => {
    const { processStart, ...noStart } = holder;
    const hidden = await describeMachine(system({ 1: { start: 11 } }, { isRunning: () => true }));
    expect([await hidden.isDead(holder), await hidden.isDead(noStart), processStart]).toEqual([false, false, "50"]);
    const { pidSpace, ...noSpace } = noStart;
    expect([await hidden.isDead(noSpace), pidSpace]).toEqual([false, "pid:[1]"]);
    const without = {
      readText: () => Promise.reject(new Error("no /proc")),
      readLink: () => Promise.reject(new Error("no /proc")),
    };
    const blind = await describeMachine(system({}, without));
    expect(blind.self).toEqual({ pid: 1 });
    expect(blind.now()).toMatchObject({ boot: "", origin: "" });
    expect(await blind.isDead(noSpace)).toBe(false);
  });

  test("elsewhere than on Linux the number alone is asked for", async () => {
    const mac = await describeMachine(system({ 7: { start: 1 } }, { platform: "darwin" }));
    expect(mac.self).toEqual({ pid: 1, pidSpace: "darwin" });
    expect(await mac.isDead({ ...lease, pidSpace: "darwin" })).toBe(false);
    expect(await mac.isDead({ ...lease, pidSpace: "darwin", pid: 8 })).toBe(true);
  });
});

/** Takes each step of one process at once. */
async function settle<T>(actor: Actor, work: Promise<T>): Promise<T> {
  const state = { over: false };
  const done = (): void => void (state.over = true);
  work.then(done, done);
  while (!state.over) {
    await new Promise((resolve) => setImmediate(resolve));
    actor.step?.();
  }
  return work;
}

test("a lease that is over is not renewed, although nobody took it", async () => {
  const actor = new FolderModel(seededRandom(1)).actor();
  let elapsedMs = 0;
  const machine = { self: { pid: 1 }, now: () => at({ elapsedMs }), isDead: () => Promise.resolve(false) };
  const leases = new MachineLeases(new FileRegister(actor.files, { durable: false }), machine);
  const held = await settle(
    actor,
    leases.take("room/shelf/lease", 100, () => undefined),
  );
  elapsedMs = 99;
  expect(held).toBeDefined();
  expect(held && (await settle(actor, held.renew(100)))).toBe(true);
  elapsedMs = 199;
  expect(held && (await settle(actor, held.renew(100)))).toBe(false);
  await settle(actor, leases.dropFree("room/shelf/lease"));
  await settle(actor, leases.dropFree("room/shelf/lease"));
  expect(held && (await settle(actor, held.renew(100)))).toBe(false);
});

describe("R-46 a disk that fails after the decisive step", () => {
  const PLACE = "room/shelf/lease";

  /** A process whose disk fails at what comes after a link or a move, as often as told. */
  function openLeases(): {
    readonly leases: MachineLeases;
    readonly actor: Actor;
    readonly model: FolderModel;
    readonly failAfterNext: () => void;
  } {
    const model = new FolderModel(seededRandom(1));
    const actor = model.actor();
    let fails: "no" | "next" | "now" = "no";
    const files: RegisterFiles = {
      ...actor.files,
      async list(folder) {
        if (fails === "now") {
          fails = "no";
          throw new Error("the disk");
        }
        return actor.files.list(folder);
      },
      async link(from, to) {
        const done = await actor.files.link(from, to);
        if (fails === "next") fails = "now";
        return done;
      },
      async moveFolder(from, to) {
        const done = await actor.files.moveFolder(from, to);
        if (fails !== "next") return done;
        fails = "no";
        throw new Error("the disk");
      },
    };
    const machine = { self: { pid: 1 }, now: () => at(), isDead: () => Promise.resolve(false) };
    return {
      leases: new MachineLeases(new FileRegister(files, { durable: false }), machine),
      actor,
      model,
      failAfterNext: () => void (fails = "next"),
    };
  }

  test("a renewal that was written goes on being ours: it is renewed again, and given back", async () => {
    for (const renewsAgain of [true, false]) {
      const { leases, actor, model, failAfterNext } = openLeases();
      const held = await settle(
        actor,
        leases.take(PLACE, 100, () => undefined),
      );
      if (held === undefined) throw new Error("it was free");
      failAfterNext();
      await expect(settle(actor, held.renew(100))).rejects.toThrow("the disk");
      if (renewsAgain) expect(await settle(actor, held.renew(100))).toBe(true);
      await settle(actor, held.release());
      expect(model.look("room/shelf")?.size).toBe(0);
    }
  });

  test("one that was taken, and whose taker does not know it, is given back at once", async () => {
    const { leases, actor, model, failAfterNext } = openLeases();
    failAfterNext();
    await expect(
      settle(
        actor,
        leases.take(PLACE, 100, () => undefined),
      ),
    ).rejects.toThrow("the disk");
    // Nobody waits for it.
    while ((model.look("room/shelf")?.size ?? 0) > 0)
      await settle(actor, new Promise((resolve) => setImmediate(resolve)));
    expect(
      await settle(
        actor,
        leases.take(PLACE, 100, () => undefined),
      ),
    ).toBeDefined();
  });

  test("another's is not ours, whatever failed before", async () => {
    const { leases, actor, failAfterNext } = openLeases();
    const register = new FileRegister(actor.files, { durable: false });
    const held = await settle(
      actor,
      leases.take(PLACE, 100, () => undefined),
    );
    failAfterNext();
    await expect(held && settle(actor, held.renew(100))).rejects.toThrow("the disk");
    await settle(
      actor,
      register.remove(PLACE, undefined, () => undefined),
    );
    const other = await settle(
      actor,
      leases.take(PLACE, 100, () => undefined),
    );
    expect(held && (await settle(actor, held.renew(100)))).toBe(false);
    await settle(actor, held?.release() ?? Promise.resolve());
    expect(other && (await settle(actor, other.renew(100)))).toBe(true);
  });
});

const SCHEDULES = Number(process.env["REGISTER_SCHEDULES"] ?? 500);

test(
  "S-098 in every order of the steps of three processes, a lease has one holder at a time",
  { timeout: 600_000 },
  async () => {
    const wrong: string[] = [];
    for (let seed = 1; seed <= SCHEDULES && wrong.length === 0; seed++) {
      const random = seededRandom(seed);
      const model = new FolderModel(random);
      let elapsedMs = 0;
      /** Until when each of them may believe that it holds the lease: it asked before it was given. */
      const believed = new Map<number, number>();
      const live = async (pid: number): Promise<void> => {
        const actor = actors[pid];
        if (actor === undefined) return;
        const machine = { self: { pid }, now: () => at({ elapsedMs }), isDead: () => Promise.resolve(false) };
        const leases = new MachineLeases(new FileRegister(actor.files, { durable: false }), machine);
        for (let round = 0; round < 3; round++) {
          let askedAt = elapsedMs;
          const held = await leases.take("room/shelf/lease", 100, () => undefined);
          if (held === undefined) continue;
          believed.set(pid, askedAt + 100);
          while (random() < 0.5) {
            askedAt = elapsedMs;
            if (await held.renew(100)) believed.set(pid, askedAt + 100);
            else believed.delete(pid);
          }
          believed.delete(pid);
          await held.release();
        }
      };
      const actors = [0, 1, 2].map(() => model.actor());
      const all = actors.map((_, pid) => live(pid));
      for (;;) {
        await new Promise((resolve) => setImmediate(resolve));
        const able = actors.filter(({ step }) => step !== undefined);
        if (able.length === 0) break;
        // Time passes between steps; now and then so much that leases end, whoever is in the midst of what.
        elapsedMs += random() < 0.1 ? 60 : 1;
        able[Math.floor(random() * able.length)]?.step?.();
        await new Promise((resolve) => setImmediate(resolve));
        const holders = [...believed].filter(([, until]) => until > elapsedMs);
        if (holders.length > 1) wrong.push(`seed ${String(seed)}: ${String(holders.length)} hold it`);
      }
      await Promise.all(all);
    }
    expect(wrong).toEqual([]);
  },
);
