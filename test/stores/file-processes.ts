// Starts processes that use the file store. Everything that is started is ended by `endAll`.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

/** What a process does with the store. */
export interface FileTask {
  readonly directory: string;
  readonly key: string;
  readonly does: "count" | "write" | "delete" | "lease";
  readonly times?: number;
  readonly value?: string;
  readonly ifVersion?: string;
  readonly ttlMs?: number;
  /** Keeps a lease until it is ended. */
  readonly holds?: boolean;
  readonly umask?: number;
  /** What it sends itself before its step of that number. */
  readonly signal?: "SIGKILL" | "SIGSTOP";
  readonly atStep?: number;
}

export interface FileProcess {
  readonly child: ChildProcess;
  /** Everything it said, once it has ended. */
  readonly ended: Promise<{
    readonly lines: readonly unknown[];
    readonly signal: string | null;
    readonly errors: string;
  }>;
  /** Waits until it has said something. */
  readonly spoke: Promise<void>;
}

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Bundles the program once; gives functions to run it and to clean up. */
export async function openFileProcesses(): Promise<{ run(task: FileTask): FileProcess; endAll(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "warehouse-oauth-worker-"));
  const program = join(folder, "worker.mjs");
  await build({
    entryPoints: [join(root, "test/stores/file-worker.ts")],
    outfile: program,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    alias: { "warehouse-oauth/stores/file": join(root, "src/stores/file.ts") },
    logLevel: "error",
  });
  const children = new Set<ChildProcess>();
  return {
    run(task) {
      const child = spawn(process.execPath, [program, JSON.stringify(task)], { stdio: ["ignore", "pipe", "pipe"] });
      children.add(child);
      let output = "";
      let errors = "";
      const spoke = new Promise<void>((resolve) => {
        child.stdout.on("data", (data: Buffer) => {
          output += data.toString();
          resolve();
        });
      });
      child.stderr.on("data", (data: Buffer) => (errors += data.toString()));
      const ended = new Promise<Awaited<FileProcess["ended"]>>((resolve) => {
        child.once("close", (_code, signal) => {
          children.delete(child);
          const lines = output.split("\n").filter((line) => line !== "");
          resolve({ lines: lines.map((line) => JSON.parse(line) as unknown), signal, errors });
        });
      });
      return { child, ended, spoke };
    },
    async endAll() {
      for (const child of children) child.kill("SIGKILL");
      await rm(folder, { recursive: true, force: true });
    },
  };
}
