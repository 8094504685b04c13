// Watches every step that the file store takes on the file system, and can stop it there: the store knows nothing of it.
// Node's own functions are wrapped, for work that is run by `withSteps` and for no other.
import { AsyncLocalStorage } from "node:async_hooks";
import { promises } from "node:fs";
import { tmpdir } from "node:os";

/** Called before each step. What it returns is waited for; what it throws is what the file system says. */
export type OnStep = (step: { readonly name: string; readonly number: number }) => unknown;

interface Watch {
  readonly onStep: OnStep;
  taken: number;
}

const watches = new AsyncLocalStorage<Watch>();

const CALLS = ["mkdir", "open", "link", "rename", "unlink", "rmdir", "readdir", "lstat"] as const;
// Closing changes nothing that others could see.
const HANDLE_CALLS = ["stat", "read", "writeFile", "sync"] as const;

type Methods = Record<string, (...values: unknown[]) => Promise<unknown>>;

function wrap(target: object, names: readonly string[]): void {
  const methods = target as Methods;
  for (const name of names) {
    const original = methods[name];
    if (original === undefined) throw new Error(`there is no ${name}`);
    methods[name] = async function (this: unknown, ...values: unknown[]) {
      const watch = watches.getStore();
      if (watch !== undefined) {
        watch.taken += 1;
        await watch.onStep({ name, number: watch.taken });
      }
      return original.apply(this, values);
    };
  }
}

let wrapped: Promise<void> | undefined;

async function wrapAll(): Promise<void> {
  const handle = await promises.open(tmpdir(), "r");
  await handle.close();
  wrap(Object.getPrototypeOf(handle) as object, HANDLE_CALLS);
  wrap(promises, CALLS);
}

/** Runs work with its steps watched. */
export async function withSteps<T>(onStep: OnStep, work: () => Promise<T>): Promise<T> {
  wrapped ??= wrapAll();
  await wrapped;
  return watches.run({ onStep, taken: 0 }, work);
}

/** Gives the names of the steps that some work takes. */
export async function stepsOf(work: () => Promise<unknown>): Promise<string[]> {
  const names: string[] = [];
  await withSteps(({ name }) => names.push(name), work);
  return names;
}
