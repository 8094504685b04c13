import type { Machine, MachineTime } from "./machine-lease.ts";

/** What {@link describeMachine} asks of a platform. */
export interface MachineSystem {
  readonly pid: number;
  /** As Node names it. */
  readonly platform: string;
  /** Monotonic milliseconds, the same for all processes of the machine. */
  elapsedMs(): number;
  /** Wall clock, epoch milliseconds. */
  wallMs(): number;
  readText(path: string): Promise<string>;
  readLink(path: string): Promise<string>;
  /** Whether there is a process of that number; true if that may not be asked. */
  isRunning(pid: number): boolean;
}

/** Fields after the name in `/proc/<pid>/stat` (proc_pid_stat(5), checked 2026-11-22): the state, and when it began. */
const STATE_FIELD = 0;
const START_FIELD = 19;

/** Finds out what tells apart runs of the machine and, on Linux, the spaces that containers may have to themselves. */
export async function describeMachine(system: MachineSystem): Promise<Machine> {
  const { pid, platform } = system;
  const isLinux = platform === "linux";
  const [boot, origin, pidSpace, processStart] = isLinux
    ? await Promise.all([
        orNothing(system.readText("/proc/sys/kernel/random/boot_id")),
        orNothing(system.readLink("/proc/self/ns/time")),
        orNothing(system.readLink("/proc/self/ns/pid")),
        startOf(system, pid),
      ])
    : ["", "", platform, undefined];
  const self = {
    pid,
    ...(pidSpace !== "" && { pidSpace }),
    ...(processStart !== undefined && { processStart }),
  };
  return {
    self,
    now: (): MachineTime => ({ elapsedMs: system.elapsedMs(), wallMs: system.wallMs(), boot, origin }),
    async isDead(lease) {
      if (lease.pidSpace === undefined || lease.pidSpace !== self.pidSpace) return false;
      if (!system.isRunning(lease.pid)) return true;
      if (lease.processStart === undefined) return false;
      const start = await startOf(system, lease.pid);
      return start !== undefined && start !== lease.processStart;
    },
  };
}

/** When a process began; of one that is dead and not yet buried, something else; `undefined` if nobody can tell. */
async function startOf(system: MachineSystem, pid: number): Promise<string | undefined> {
  const text = await orNothing(system.readText(`/proc/${String(pid)}/stat`));
  // The name stands in parentheses and may hold some of its own.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const state = fields[STATE_FIELD];
  return state === "Z" || state === "X" ? "dead" : fields[START_FIELD];
}

async function orNothing(text: Promise<string>): Promise<string> {
  try {
    return (await text).trim();
  } catch {
    return "";
  }
}
