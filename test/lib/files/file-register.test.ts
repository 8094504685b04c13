import { describe, expect, test } from "vitest";
import { FileRegister, RegisterTrouble } from "../../../src/lib/files/file-register.ts";
import { FolderModel, seededRandom } from "./folder-model.ts";
import type { Actor } from "./folder-model.ts";

const PLACE = "room/shelf/register";

/** Orders of steps that are tried. `REGISTER_SCHEDULES=200000` tries many. */
const SCHEDULES = Number(process.env["REGISTER_SCHEDULES"] ?? 1_500);

/** What a process has just asked for, and what its steps did to the value. */
interface Call {
  readonly asked: string;
  /** Values that its steps brought about, with the one before. */
  readonly caused: { readonly from: string | undefined; readonly to: string | undefined }[];
  /** Values that stood at some time while it ran. */
  readonly stood: Set<string | undefined>;
}

/** The version that counts, read off the files without asking the code under test. */
function standing(model: FolderModel): string | undefined {
  const names = model.look(PLACE) ?? new Map<string, unknown>();
  const life = [...names.keys()].find((name) => name.startsWith("life-"))?.slice(5);
  if (life === undefined) return undefined;
  const numbers = [...names.keys()]
    .filter((name) => name.startsWith(`${life}-`))
    .map((name) => Number(name.split("-")[1]));
  const highest = `${life}-${String(Math.max(...numbers))}`;
  return String(names.get(highest)).startsWith("ended") ? undefined : highest;
}

interface Schedule {
  readonly seed: number;
  readonly actors: number;
  readonly calls: number;
  readonly abandoned?: number;
  readonly tornListings?: boolean;
  /** Share of processes that die somewhere. */
  readonly deaths?: number;
}

/** Plays one order of steps, and gives what was wrong about it. */
async function play({ seed, actors: count, calls, deaths = 0, ...rest }: Schedule): Promise<string[]> {
  const random = seededRandom(seed);
  const model = new FolderModel(random, rest);
  const wrong: string[] = [];
  const running = new Map<Actor, Call>();
  let before: string | undefined;
  model.onStep = (actor) => {
    const now = standing(model);
    if (now !== before) running.get(actor)?.caused.push({ from: before, to: now });
    before = now;
    for (const call of running.values()) call.stood.add(now);
  };

  const begin = (actor: Actor, asked: string): Call => {
    const call: Call = { asked, caused: [], stood: new Set([before]) };
    running.set(actor, call);
    return call;
  };
  const judge = (call: Call, from: string | undefined, to: string | undefined, said: string): void => {
    const [first, ...others] = call.caused;
    if (others.length > 0) wrong.push(`${call.asked} changed the value twice`);
    if (said === "done" && first === undefined) wrong.push(`${call.asked} said it was done, and nothing changed`);
    if (said === "done" && first !== undefined && (first.from !== from || first.to !== to)) {
      wrong.push(`${call.asked} changed ${String(first.from)} to ${String(first.to)}`);
    }
    // What was removed before anybody could look counts as never written; nothing else may.
    const isLiving = standing(model)?.split("-")[0] === first?.to?.split("-")[0];
    if (said === "conflict" && first !== undefined && isLiving) wrong.push(`${call.asked} wrote, and said conflict`);
  };

  const live = async (actor: Actor): Promise<void> => {
    const register = new FileRegister(actor.files, { durable: true });
    let known: string | undefined;
    for (let made = 0; made < calls; made++) {
      const dice = random();
      try {
        if (dice < 0.35) {
          const call = begin(actor, "read");
          known = (await register.read(PLACE))?.version;
          if (rest.tornListings !== true && !call.stood.has(known))
            wrong.push(`read gave ${String(known)}, which never stood meanwhile`);
        } else if (dice < 0.8) {
          const call = begin(actor, `write on ${String(known)}`);
          const version = await register.write(PLACE, "body", known, () => undefined);
          judge(call, known, version, version === undefined ? "conflict" : "done");
          if (version !== undefined) known = version;
        } else if (dice < 0.9) {
          const call = begin(actor, `remove ${String(known)}`);
          const removed = await register.remove(PLACE, known, () => undefined);
          if (call.caused.length > 0)
            judge(call, known ?? call.caused[0]?.from, undefined, removed ? "done" : "conflict");
          else if (removed && !call.stood.has(undefined)) wrong.push("remove said true, and something always stood");
          known = undefined;
        } else {
          begin(actor, "sweep");
          await register.sweep("room/shelf", (await actor.files.list("room/shelf")) ?? []);
          await register.sweepWrites(PLACE, (await actor.files.list(PLACE)) ?? []);
          await register.clearEnded(PLACE);
        }
      } catch (error) {
        if (!(error instanceof RegisterTrouble)) throw error;
        known = undefined;
      }
    }
    running.delete(actor);
  };

  const actors = Array.from({ length: count }, () => model.actor());
  const done = actors.map((actor) => live(actor));
  const dead = new Set<Actor>();
  let paused: Actor | undefined;
  for (;;) {
    await new Promise((resolve) => setImmediate(resolve));
    const able = actors.filter((actor) => actor.step !== undefined && !dead.has(actor));
    if (able.length === 0) break;
    // One is left behind for long, again and again; the others go on around it.
    if (random() < 0.05) paused = actors[Math.floor(random() * actors.length)];
    const others = able.filter((actor) => actor !== paused);
    const choice = others.length > 0 ? others : able;
    const actor = choice[Math.floor(random() * choice.length)];
    if (actor !== undefined && random() < deaths / 100) dead.add(actor);
    else actor?.step?.();
  }
  if (dead.size === 0) await Promise.all(done);
  // Whatever happened: it is readable, and can be written and removed by those who come next.
  const next = model.actor();
  const register = new FileRegister(next.files, { durable: true });
  const last = (async () => {
    const value = await register.read(PLACE);
    if (value?.version !== standing(model)) wrong.push("a read when all is quiet gave something else than stands");
    if ((await register.write(PLACE, "after", value?.version, () => undefined)) === undefined)
      wrong.push("nobody can write");
    if (!(await register.remove(PLACE, undefined, () => undefined))) wrong.push("nobody can remove");
  })();
  const state = { over: false };
  void last.finally(() => (state.over = true));
  while (!state.over) {
    await new Promise((resolve) => setImmediate(resolve));
    next.step?.();
  }
  await last;
  return wrong.map((text) => `seed ${String(seed)}: ${text}`);
}

describe("S-098 every order of the steps of several processes, paused between any two of them", () => {
  test.each<[string, Omit<Schedule, "seed">]>([
    ["two processes", { actors: 2, calls: 4 }],
    ["three processes", { actors: 3, calls: 4 }],
    ["four processes, of which some die", { actors: 4, calls: 3, deaths: 2 }],
    ["three processes, with listings that take time", { actors: 3, calls: 4, tornListings: true }],
    ["three processes whose clocks take everything for abandoned", { actors: 3, calls: 4, abandoned: 0.5 }],
  ])("%s", { timeout: 600_000 }, async (_, schedule) => {
    const wrong: string[] = [];
    for (let seed = 1; seed <= SCHEDULES && wrong.length < 5; seed++)
      wrong.push(...(await play({ seed, ...schedule })));
    expect(wrong).toEqual([]);
  });
});
