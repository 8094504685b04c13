// A program of its own, for tests of the file store with several processes: bundled and run by file-processes.ts.
// Its one argument says, as JSON, what it does. It answers with lines of JSON.
import { fileStore } from "warehouse-oauth/stores/file";
import type { FileTask } from "./file-processes.ts";
import { withSteps } from "./file-steps.ts";

const task = JSON.parse(process.argv[2] ?? "{}") as FileTask;
if (task.umask !== undefined) process.umask(task.umask);
const store = fileStore({ directory: task.directory });
const say = (line: unknown): void => void process.stdout.write(`${JSON.stringify(line ?? null)}\n`);

/** Adds one to a number in the store, and counts how often the store said it did. */
async function count(times: number): Promise<number> {
  let done = 0;
  for (let time = 0; time < times; time++) {
    for (;;) {
      const read = await store.read(task.key, {});
      const value = String(Number(read?.record.value ?? 0) + 1);
      const version = await store.write(task.key, { value }, { ifVersion: read?.version });
      if (version !== undefined) break;
    }
    done += 1;
  }
  return done;
}

async function work(): Promise<unknown> {
  switch (task.does) {
    case "count":
      return count(task.times ?? 1);
    case "write": {
      const { ifVersion } = task;
      return store.write(task.key, { value: task.value ?? "" }, { ifVersion });
    }
    case "delete":
      return store.delete(task.key, {});
    case "lease": {
      const lease = await store.lease(task.key, { ttlMs: task.ttlMs ?? 60_000 });
      say(lease === undefined ? "refused" : "held");
      if (task.holds === true) await new Promise((resolve) => setTimeout(resolve, 60_000));
      await lease?.release();
      return "released";
    }
  }
}

const { signal, atStep } = task;
say(
  await withSteps(({ number }) => {
    if (number !== atStep || signal === undefined) return undefined;
    // A signal to oneself may come a moment later: until then, and until it is told to go on, nothing is done.
    const goesOn = new Promise((resolve) => process.once("SIGCONT", resolve));
    const awake = setInterval(() => undefined, 1_000);
    process.kill(process.pid, signal);
    return goesOn.finally(() => {
      clearInterval(awake);
    });
  }, work).catch((error: unknown) => (error as { code: string }).code),
);
