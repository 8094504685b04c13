import { randomId } from "../random-id.ts";

/** What a register needs of a file system. No path holds a secret. Everything else throws whatever the platform throws. */
export interface RegisterFiles {
  /** Gives the names in a folder; `undefined` if there is no such folder. */
  list(folder: string): Promise<readonly string[] | undefined>;
  /** Gives the text of a file; `undefined` if there is no such file. */
  read(path: string): Promise<string | undefined>;
  /** Makes a file that was not there, and puts it on the disk if `durable`; `false` if its folder is gone. */
  create(path: string, text: string, durable: boolean): Promise<boolean>;
  /** Gives a file a second name in one step, and never replaces what has that name. */
  link(from: string, to: string): Promise<"linked" | "exists" | "gone">;
  /** Makes a folder, and those above it. */
  makeFolder(path: string, durable: boolean): Promise<void>;
  /** Moves a folder in one step to where nothing is, or an empty folder; `false` if something is there. */
  moveFolder(from: string, to: string): Promise<boolean>;
  /** Removes a file. What cannot be removed stays. */
  remove(path: string): Promise<void>;
  /** Removes a folder if it is empty. What cannot be removed stays. */
  removeFolder(path: string): Promise<void>;
  /** Whether a file or folder is so old that whoever made it must have given it up. */
  isAbandoned(path: string): Promise<boolean>;
  /** Puts the names in a folder on the disk, if it is still there. */
  syncFolder(folder: string): Promise<void>;
}

/** What stands in a register. */
export interface Standing {
  readonly version: string;
  /** `undefined` if it cannot be read: a crash of the machine cut it, or somebody changed it. */
  readonly body: string | undefined;
}

/** Why a register gave no answer. */
export class RegisterTrouble extends Error {
  /** `busy`: others changed it faster than it could be read. `unknown`: written or not, nobody can tell any more. */
  readonly kind: "busy" | "unknown";

  constructor(kind: RegisterTrouble["kind"]) {
    super(kind);
    this.kind = kind;
  }
}

/** What a folder's names and its highest file say. */
interface Seen {
  readonly life: string;
  /** 0 if the file that should be there is not. */
  readonly number: number;
  /** Writes that led here, the last first. */
  readonly ids: readonly string[];
  readonly ended: boolean;
  readonly body: string | undefined;
}

/** Tries before a register counts as too busy: each one that fails means that somebody else got on. */
const MAX_TRIES = 100;

/** Listings without a numbered file, one after the other, that are damage and no accident of listing. */
const MAX_EMPTY_LISTINGS = 5;

/** How many writes may come between a write and its own check without the check losing its way. */
const KEPT_IDS = 16;

/** The file that says which life of a register is the living one. */
const LIFE = /^life-([0-9a-f]+)$/;
const NUMBERED = /^([0-9a-f]+)-(\d{1,15})$/;
/** Files and folders that somebody has not finished yet. */
const NEW = "new-";

/**
 * One value that many processes compare and set without a lock, in a folder of its own.
 *
 * The value of version n is the file `<life>-<n>`; the highest number counts. Whoever writes on version n gives a finished
 * file the name `<life>-<n + 1>`, which the file system does for one of them only. A process that was paused before that
 * step finds the name taken; or, if others were so far ahead that they removed it as outdated, gets a name below the
 * highest, which nobody reads, and finds that out when it looks once more. The folder appears by one move, complete, where
 * no folder with content is. It ends with a file that says so: then `life-<life>` is removed, and nothing can be written
 * in that life any more, whatever number it has.
 *
 * Nothing is ever replaced, and nothing is removed by a name that could come to mean something else.
 */
export class FileRegister {
  readonly #files: RegisterFiles;
  readonly #durable: boolean;

  constructor(files: RegisterFiles, options: { readonly durable: boolean }) {
    this.#files = files;
    this.#durable = options.durable;
  }

  /** @throws {@link RegisterTrouble} */
  async read(folder: string): Promise<Standing | undefined> {
    const seen = await this.#look(folder);
    if (seen === undefined || seen.ended) return undefined;
    return { version: formatVersion(seen.life, seen.number), body: seen.body };
  }

  /**
   * Writes if the version that stands is `ifVersion` (`undefined`: if nothing stands), and gives the new one; `undefined`
   * if another stands. Before the decisive step it asks `proceed`, which may throw.
   *
   * @throws {@link RegisterTrouble}
   */
  async write(
    folder: string,
    body: string,
    ifVersion: string | undefined,
    proceed: () => void,
  ): Promise<string | undefined> {
    if (ifVersion === undefined) return this.#begin(folder, body, proceed);
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const seen = await this.#look(folder);
      if (seen === undefined || seen.ended || formatVersion(seen.life, seen.number) !== ifVersion) return undefined;
      const outcome = await this.#append(folder, seen, body, proceed);
      if (outcome === "written") return formatVersion(seen.life, seen.number + 1);
      if (outcome !== "disturbed") return undefined;
    }
    throw new RegisterTrouble("busy");
  }

  /**
   * Removes what stands, if the version is `ifVersion` where given. `true` if nothing stands any more.
   *
   * @throws {@link RegisterTrouble}
   */
  async remove(folder: string, ifVersion: string | undefined, proceed: () => void): Promise<boolean> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const seen = await this.#look(folder);
      if (seen === undefined) return true;
      if (!seen.ended) {
        if (ifVersion !== undefined && formatVersion(seen.life, seen.number) !== ifVersion) return false;
        const outcome = await this.#append(folder, seen, undefined, proceed);
        if (outcome === "conflict" || outcome === "disturbed") continue;
      }
      await this.#clear(folder, seen.life);
      return true;
    }
    throw new RegisterTrouble("busy");
  }

  async #look(folder: string): Promise<Seen | undefined> {
    let emptyListings = 0;
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const names = await this.#files.list(folder);
      const life = names && lifeOf(names);
      if (names === undefined || life === undefined) return undefined;
      const number = highestOf(names, life);
      if (number === 0) {
        emptyListings += 1;
        if (emptyListings < MAX_EMPTY_LISTINGS) continue;
        return { life, number, ids: [], ended: false, body: undefined };
      }
      const text = await this.#files.read(`${folder}/${formatVersion(life, number)}`);
      if (text !== undefined) return { life, number, ...parseFile(text) };
    }
    throw new RegisterTrouble("busy");
  }

  /** Begins a life: everything is made elsewhere, and moved into place if the place is free. */
  async #begin(folder: string, body: string, proceed: () => void): Promise<string | undefined> {
    const shelf = folder.slice(0, folder.lastIndexOf("/"));
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const seen = await this.#look(folder);
      if (seen !== undefined && !seen.ended) return undefined;
      const life = randomId();
      const made = `${shelf}/${NEW}${randomId()}`;
      let isMoved = false;
      try {
        const isMade = await this.#make(made, life, body);
        proceed();
        isMoved = isMade && (await this.#files.moveFolder(made, folder));
      } finally {
        if (!isMoved) await this.#discard(made);
      }
      if (isMoved) {
        await this.#sync(shelf);
        return formatVersion(life, 1);
      }
      await this.#clear(folder, seen?.life);
    }
    throw new RegisterTrouble("busy");
  }

  /** @returns `false` if somebody took it for abandoned meanwhile. */
  async #make(folder: string, life: string, body: string): Promise<boolean> {
    await this.#files.makeFolder(folder, this.#durable);
    const first = `${folder}/${formatVersion(life, 1)}`;
    if (!(await this.#files.create(`${folder}/life-${life}`, "", this.#durable))) return false;
    if (!(await this.#files.create(first, formatFile([randomId()], body), this.#durable))) return false;
    await this.#sync(folder);
    return true;
  }

  /**
   * Removes what others began on a shelf and gave up. It is moved away first: whoever made it may only have been paused,
   * and must not put a half of it in place.
   */
  async sweep(shelf: string, names: readonly string[]): Promise<void> {
    for (const name of names) {
      if (!name.startsWith(NEW) || !(await this.#files.isAbandoned(`${shelf}/${name}`))) continue;
      const aside = `${shelf}/${NEW}${randomId()}`;
      if (await this.#files.moveFolder(`${shelf}/${name}`, aside)) await this.#discard(aside);
    }
  }

  /** Removes from a register's folder what others began to write and gave up. */
  async sweepWrites(folder: string, names: readonly string[]): Promise<void> {
    for (const name of names) {
      if (!name.startsWith(NEW) || !(await this.#files.isAbandoned(`${folder}/${name}`))) continue;
      await this.#files.remove(`${folder}/${name}`);
    }
  }

  /** Takes away what a remover left that died at it. Does nothing where something stands. */
  async clearEnded(folder: string): Promise<void> {
    const seen = await this.#look(folder);
    if (seen === undefined || seen.ended) await this.#clear(folder, seen?.life);
  }

  /** Removes a folder that nobody else knows. */
  async #discard(folder: string): Promise<void> {
    for (const name of (await this.#files.list(folder)) ?? []) await this.#files.remove(`${folder}/${name}`);
    await this.#files.removeFolder(folder);
  }

  /** Makes a file and gives it the next number; without `body`, one that says that this life has ended. */
  async #append(
    folder: string,
    seen: Seen,
    body: string | undefined,
    proceed: () => void,
  ): Promise<"written" | "conflict" | "ended" | "disturbed"> {
    const id = randomId();
    const made = `${folder}/${NEW}${randomId()}`;
    const place = `${folder}/${formatVersion(seen.life, seen.number + 1)}`;
    let outcome: Awaited<ReturnType<RegisterFiles["link"]>>;
    try {
      const text = formatFile([id, ...seen.ids].slice(0, KEPT_IDS), body);
      if (!(await this.#files.create(made, text, this.#durable))) return "disturbed";
      proceed();
      outcome = await this.#files.link(made, place);
    } finally {
      await this.#files.remove(made);
    }
    if (outcome !== "linked") return outcome === "exists" ? "conflict" : "disturbed";
    await this.#sync(folder);
    return this.#lookBack(folder, seen, id);
  }

  /** Finds out whether the name that we got was the next one, or one that others had left behind. */
  async #lookBack(
    folder: string,
    { life, number: before }: Seen,
    id: string,
  ): Promise<"written" | "conflict" | "ended"> {
    const ours = before + 1;
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const names = await this.#files.list(folder);
      if (names === undefined || lifeOf(names) !== life) {
        // Whether it ended on what we wrote or before, there was a moment with nothing: nothing of ours stands.
        await this.#files.remove(`${folder}/${formatVersion(life, ours)}`);
        return "ended";
      }
      const highest = highestOf(names, life);
      if (highest === ours) {
        await this.#tidy(folder, names, life, ours);
        return "written";
      }
      if (highest < ours) continue;
      const text = await this.#files.read(`${folder}/${formatVersion(life, highest)}`);
      if (text === undefined) continue;
      const written = parseFile(text).ids[highest - ours];
      if (written === undefined) throw new RegisterTrouble("unknown");
      if (written === id) return "written";
      await this.#files.remove(`${folder}/${formatVersion(life, ours)}`);
      return "conflict";
    }
    throw new RegisterTrouble("unknown");
  }

  /** Removes what is below the highest, the lowest first: who lists meanwhile must not take one of them for the highest. */
  async #tidy(folder: string, names: readonly string[], life: string, highest: number): Promise<void> {
    await this.sweepWrites(folder, names);
    const outdated: [number, string][] = [];
    for (const name of names) {
      const match = NUMBERED.exec(name);
      if (match === null) continue;
      const number = match[1] === life ? Number(match[2]) : 0;
      if (number < highest) outdated.push([number, name]);
    }
    for (const [, name] of outdated.sort(([a], [b]) => a - b)) await this.#files.remove(`${folder}/${name}`);
  }

  /**
   * Takes away what is left of an ended life. Its names are its own for ever: removing them late, after others have begun
   * a new one in the same place, removes nothing of that.
   */
  async #clear(folder: string, ended: string | undefined): Promise<void> {
    const names = await this.#files.list(folder);
    if (names === undefined) return;
    const life = lifeOf(names);
    if (life !== undefined && life !== ended) return;
    if (life !== undefined) await this.#files.remove(`${folder}/life-${life}`);
    for (const name of names) await this.#files.remove(`${folder}/${name}`);
    await this.#files.removeFolder(folder);
  }

  async #sync(folder: string): Promise<void> {
    if (this.#durable) await this.#files.syncFolder(folder);
  }
}

/** Gives the version that stands, by names alone; `undefined` if there is nothing. It may have ended. */
export function versionIn(names: readonly string[]): string | undefined {
  const life = lifeOf(names);
  return life === undefined ? undefined : formatVersion(life, highestOf(names, life));
}

function lifeOf(names: readonly string[]): string | undefined {
  for (const name of names) {
    const life = LIFE.exec(name)?.[1];
    if (life !== undefined) return life;
  }
  return undefined;
}

function highestOf(names: readonly string[], life: string): number {
  let highest = 0;
  for (const name of names) {
    const match = NUMBERED.exec(name);
    if (match?.[1] === life) highest = Math.max(highest, Number(match[2]));
  }
  return highest;
}

function formatVersion(life: string, number: number): string {
  return `${life}-${String(number)}`;
}

/** One line of ours, and the body as it is. A body that is absent ends the life. */
function formatFile(ids: readonly string[], body: string | undefined): string {
  return `${body === undefined ? "ended" : "stands"} ${ids.join(",")}\n${body ?? ""}`;
}

const FIRST_LINE = /^(ended|stands) ([0-9a-f,]*)$/;

function parseFile(text: string): Pick<Seen, "ids" | "ended" | "body"> {
  const end = text.indexOf("\n");
  const line = FIRST_LINE.exec(text.slice(0, Math.max(0, end)));
  if (line === null) return { ids: [], ended: false, body: undefined };
  const ended = line[1] === "ended";
  return { ids: (line[2] ?? "").split(","), ended, body: ended ? undefined : text.slice(end + 1) };
}
