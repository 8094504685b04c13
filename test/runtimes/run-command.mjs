import { spawnSync } from "node:child_process";

/** A suite that hangs must not hang the build machine. */
const LIMIT_MS = 3_600_000;

/** Runs a command to its end: its exit status, and all that it printed. */
export function runCommand(command, args, { cwd, env }) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    encoding: "utf8",
    timeout: LIMIT_MS,
    maxBuffer: 1 << 28,
    env: { ...env, NO_COLOR: "1", FORCE_COLOR: "0" },
  });
  return { status, output: `${stdout ?? ""}${stderr ?? ""}${error ? String(error) : ""}` };
}
