// A file system in memory whose every step waits for its turn: what real ones do in an order nobody chooses is done here
// in the order that a seed says, with pauses and deaths between any two steps.
import type { RegisterFiles } from "../../../src/lib/files/file-register.ts";

type Folder = Map<string, Folder | string>;

/** One process of the model. */
export interface Actor {
  readonly files: RegisterFiles;
  /** What it waits for; `undefined` while it computes, and when it is done. */
  step: (() => void) | undefined;
}

/** Gives the same numbers for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

export class FolderModel {
  readonly root: Folder = new Map();
  readonly #random: () => number;
  /** Share of unfinished things that a look takes for old: any clock may have jumped. */
  readonly #abandoned: number;
  /** A listing takes time, and what changes in the midst of it is in it or not. */
  readonly #tornListings: boolean;
  /** Called after every step that may have changed something. */
  onStep: (actor: Actor) => void = () => undefined;

  constructor(random: () => number, options: { readonly abandoned?: number; readonly tornListings?: boolean } = {}) {
    this.#random = random;
    this.#abandoned = options.abandoned ?? 0;
    this.#tornListings = options.tornListings ?? false;
  }

  actor(): Actor {
    const turn = <T>(work: () => T): Promise<T> =>
      new Promise<T>((resolve, reject) => {
        actor.step = () => {
          actor.step = undefined;
          try {
            const result = work();
            this.onStep(actor);
            resolve(result);
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)));
          }
        };
      });
    const files: RegisterFiles = {
      list: async (path) => {
        const folder = await turn(() => this.#find(path));
        if (!(folder instanceof Map)) return undefined;
        const before = new Set(folder.keys());
        if (!this.#tornListings) return [...before];
        const after = await turn(() => new Set(folder.keys()));
        const sometimes = (): boolean => this.#random() < 0.5;
        return [...new Set([...before, ...after])].filter(
          (name) => (before.has(name) && after.has(name)) || sometimes(),
        );
      },
      read: (path) =>
        turn(() => {
          const found = this.#find(path);
          return typeof found === "string" ? found : undefined;
        }),
      create: async (path, text) => {
        // Made empty, then filled: somebody may look, or the process die, in between.
        const made = await turn(() => this.#parent(path)?.set(nameOf(path), "") !== undefined);
        if (made)
          await turn(
            () => this.#parent(path)?.has(nameOf(path)) === true && this.#parent(path)?.set(nameOf(path), text),
          );
        return made;
      },
      link: (from, to) =>
        turn(() => {
          const found = this.#find(from);
          const parent = this.#parent(to);
          if (parent === undefined || typeof found !== "string") return "gone";
          if (parent.has(nameOf(to))) return "exists";
          parent.set(nameOf(to), found);
          return "linked";
        }),
      makeFolder: (path) =>
        turn(() => {
          let folder = this.root;
          for (const name of path.split("/")) {
            const next = folder.get(name) ?? (new Map() as Folder);
            if (!(next instanceof Map)) throw new Error("a file is in the way");
            folder.set(name, next);
            folder = next;
          }
        }),
      moveFolder: (from, to) =>
        turn(() => {
          const folder = this.#find(from);
          const there = this.#find(to);
          if (!(folder instanceof Map) || (there instanceof Map && there.size > 0)) return false;
          this.#parent(from)?.delete(nameOf(from));
          this.#parent(to)?.set(nameOf(to), folder);
          return true;
        }),
      remove: (path) =>
        turn(() => {
          if (typeof this.#find(path) === "string") this.#parent(path)?.delete(nameOf(path));
        }),
      removeFolder: (path) =>
        turn(() => {
          const folder = this.#find(path);
          if (folder instanceof Map && folder.size === 0) this.#parent(path)?.delete(nameOf(path));
        }),
      isAbandoned: () => turn(() => this.#random() < this.#abandoned),
      syncFolder: () => Promise.resolve(),
    };
    const actor: Actor = { files, step: undefined };
    return actor;
  }

  /** Names in a folder now, with their texts. */
  look(path: string): ReadonlyMap<string, Folder | string> | undefined {
    const found = this.#find(path);
    return found instanceof Map ? found : undefined;
  }

  #find(path: string): Folder | string | undefined {
    let found: Folder | string | undefined = this.root;
    for (const name of path.split("/")) found = found instanceof Map ? found.get(name) : undefined;
    return found;
  }

  #parent(path: string): Folder | undefined {
    const parent = this.#find(path.slice(0, path.lastIndexOf("/")));
    return parent instanceof Map ? parent : undefined;
  }
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
