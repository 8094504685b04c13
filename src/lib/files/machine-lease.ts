import { randomId } from "../random-id.ts";
import type { FileRegister, Standing } from "./file-register.ts";

/** What time it is on this machine, by the clocks that processes of one machine share. */
export interface MachineTime {
  /** Monotonic milliseconds since the machine started. Never jumps, and begins anew when the machine does. */
  readonly elapsedMs: number;
  /** Wall clock, epoch milliseconds. May jump. */
  readonly wallMs: number;
  /** Names the run of the machine, where the platform names it. */
  readonly boot: string;
  /** Names the origin of `elapsedMs`, where a machine may have several. */
  readonly origin: string;
}

/** A lease as its holder wrote it down. */
export interface MachineLease {
  readonly takenAt: MachineTime;
  readonly ttlMs: number;
  /** The holder's process. */
  readonly pid: number;
  /** Names the processes among which `pid` is one; absent where nobody can tell. */
  readonly pidSpace?: string;
  /** Tells this lease from all others of the same holder. */
  readonly owner?: string;
  /** When that process began, in whatever the platform counts: another process with the same `pid` has another one. */
  readonly processStart?: string;
}

/**
 * Says whether a lease is over by time. The monotonic clock decides, which no change of the time of day moves. It begins
 * anew with the machine: another name of the run or, where runs have no names, a clock that reads less than when the lease
 * was taken, is proof of a restart, which no holder survives. Only where two processes count from different origins is the
 * time of day asked.
 */
export function isLeaseOver({ takenAt, ttlMs }: MachineLease, now: MachineTime): boolean {
  if (takenAt.boot !== now.boot) return true;
  if (takenAt.origin !== now.origin) return now.wallMs >= takenAt.wallMs + ttlMs;
  const isRestarted = now.boot === "" && now.elapsedMs < takenAt.elapsedMs;
  return isRestarted || now.elapsedMs >= takenAt.elapsedMs + ttlMs;
}

/** What leases need to know of the machine and its processes. */
export interface Machine {
  now(): MachineTime;
  /** This process, as its leases name it. */
  readonly self: Pick<MachineLease, "pid" | "pidSpace" | "processStart">;
  /** Whether the holder's process is gone for certain. */
  isDead(lease: MachineLease): Promise<boolean>;
}

/** A lease in hand. */
export interface HeldLease {
  renew(ttlMs: number): Promise<boolean>;
  release(): Promise<void>;
}

/**
 * Leases as values of a register: taken, renewed and given back by compare-and-set, so that of all who find a lease over
 * at the same time, or found it so long ago, one gets it, and an old holder can do nothing to a new one's.
 */
export class MachineLeases {
  readonly #register: FileRegister;
  readonly #machine: Machine;

  constructor(register: FileRegister, machine: Machine) {
    this.#register = register;
    this.#machine = machine;
  }

  /** Tries once; `undefined` if somebody holds it. */
  async take(folder: string, ttlMs: number, proceed: () => void): Promise<HeldLease | undefined> {
    const standing = await this.#register.read(folder);
    if (standing !== undefined && !(await this.#isFree(standing))) return undefined;
    const owner = randomId();
    try {
      const taken = await this.#write(folder, owner, ttlMs, standing?.version, proceed);
      return taken && this.#hold(folder, owner, taken);
    } catch (error) {
      // Written or not: nobody else knows the owner, and all would wait for its end.
      this.#drop(folder, owner).catch(() => undefined);
      throw error;
    }
  }

  /** Removes a lease that nobody holds. */
  async dropFree(folder: string): Promise<void> {
    const standing = await this.#register.read(folder);
    if (standing === undefined || !(await this.#isFree(standing))) return;
    await this.#register.remove(folder, standing.version, () => undefined);
  }

  async #isFree({ body }: Standing): Promise<boolean> {
    // What is in a register came there complete: a crash of the machine cut this, and no holder survived that.
    const lease = body === undefined ? undefined : parseMachineLease(body);
    if (lease === undefined || isLeaseOver(lease, this.#machine.now())) return true;
    return this.#machine.isDead(lease);
  }

  async #write(
    folder: string,
    owner: string,
    ttlMs: number,
    ifVersion: string | undefined,
    proceed: () => void,
  ): Promise<Taken | undefined> {
    // Before the write: a pause in it shortens the lease, and never makes two of it.
    const takenAt = this.#machine.now();
    const lease: MachineLease = { takenAt, ttlMs, ...this.#machine.self, owner };
    const version = await this.#register.write(folder, JSON.stringify(lease), ifVersion, proceed);
    return version === undefined ? undefined : { version, lease };
  }

  /** Gives the version of what this owner holds, whatever became of its last write. */
  async #versionOf(folder: string, owner: string): Promise<string | undefined> {
    const standing = await this.#register.read(folder);
    const isOurs = standing?.body !== undefined && parseMachineLease(standing.body)?.owner === owner;
    return isOurs ? standing.version : undefined;
  }

  async #drop(folder: string, owner: string): Promise<void> {
    const version = await this.#versionOf(folder, owner);
    if (version !== undefined) await this.#register.remove(folder, version, () => undefined);
  }

  #hold(folder: string, owner: string, taken: Taken): HeldLease {
    let held: Taken | undefined = taken;
    /** A write failed, and may have been done all the same. */
    let isUnsure = false;
    let last: Promise<unknown> = Promise.resolve();
    // One after the other: a release must know the version that a renewal is writing.
    const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
      const next = last.then(work);
      last = next.catch(() => undefined);
      return next;
    };
    return {
      renew: (ttlMs) =>
        inTurn(async () => {
          if (held === undefined || isLeaseOver(held.lease, this.#machine.now())) return false;
          const version = isUnsure ? await this.#versionOf(folder, owner) : held.version;
          isUnsure = true;
          held = version === undefined ? undefined : await this.#write(folder, owner, ttlMs, version, () => undefined);
          isUnsure = false;
          return held !== undefined;
        }),
      release: () =>
        inTurn(async () => {
          if (isUnsure) await this.#drop(folder, owner);
          else if (held !== undefined) await this.#register.remove(folder, held.version, () => undefined);
          held = undefined;
        }),
    };
  }
}

/** A lease as its holder remembers it. */
interface Taken {
  readonly version: string;
  readonly lease: MachineLease;
}

/** Reads what a holder wrote with `JSON.stringify`; `undefined` for what nobody wrote whole. */
export function parseMachineLease(text: string): MachineLease | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { takenAt, ttlMs, pid, pidSpace, owner, processStart } = membersOf(value);
  const { elapsedMs, wallMs, boot, origin } = membersOf(takenAt);
  if (!isNumber(elapsedMs) || !isNumber(wallMs) || !isNumber(ttlMs) || !isNumber(pid)) return undefined;
  if (typeof boot !== "string" || typeof origin !== "string") return undefined;
  return {
    takenAt: { elapsedMs, wallMs, boot, origin },
    ttlMs,
    pid,
    ...(typeof pidSpace === "string" && { pidSpace }),
    ...(typeof owner === "string" && { owner }),
    ...(typeof processStart === "string" && { processStart }),
  };
}

function membersOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

function isNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}
