// Programs of their own that can be asked things, killed and stopped. Calls and answers are JSON over the IPC channel.
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";

/** What a program can be asked: one argument, one answer, both plain JSON. */
export type Operations<Ops> = { readonly [Name in keyof Ops]: (argument: never) => unknown };

interface Call {
  readonly id: number;
  readonly name: string;
  readonly argument: unknown;
}

interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

interface Notice {
  readonly notice: string;
}

interface Word {
  readonly word: unknown;
}

/** In the program: answers calls until the harness is gone. */
export function answerCalls<Ops extends Operations<Ops>>(operations: Ops): void {
  process.on("message", (message: unknown) => {
    const { id, name, argument } = message as Call;
    const operation: (argument: never) => unknown = operations[name as keyof Ops];
    Promise.resolve()
      .then(() => operation(argument as never))
      .then(
        (value) => process.send?.({ id, value }),
        (error: unknown) => process.send?.({ id, error: error instanceof Error ? error.stack : String(error) }),
      );
  });
  process.once("disconnect", () => {
    process.exit();
  });
  process.send?.({ notice: "ready" });
}

/** In the program: tells the harness that something was reached; resolves when that has left this process. */
export function giveNotice(notice: string): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined) throw new TypeError("unreachable: started without a harness");
    process.send({ notice }, () => {
      resolve();
    });
  });
}

/** In the program: tells the harness something; resolves when that has left this process. */
export function tell(word: unknown): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined) throw new TypeError("unreachable: started without a harness");
    process.send({ word }, () => {
      resolve();
    });
  });
}

/** In the program: what it was started with. */
export function readSetup(): unknown {
  return JSON.parse(process.argv[2] ?? "");
}

/** A program as the harness sees it. */
export class RemoteProgram<Ops extends Operations<Ops>> {
  /** What it told, in order. */
  readonly words: unknown[] = [];
  readonly #child: ChildProcess;
  readonly #calls = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  readonly #notices: string[] = [];
  #onNotice: (() => void) | undefined;
  #count = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on("message", (message: Answer | Notice | Word) => {
      if ("word" in message) {
        this.words.push(message.word);
        return;
      }
      if ("notice" in message) {
        this.#notices.push(message.notice);
        this.#onNotice?.();
        return;
      }
      const call = this.#calls.get(message.id);
      this.#calls.delete(message.id);
      if (message.error === undefined) call?.resolve(message.value);
      else call?.reject(new Error(message.error));
    });
    child.once("exit", () => {
      for (const { reject } of this.#calls.values()) reject(new Error("gone"));
      this.#calls.clear();
      this.#onNotice?.();
    });
  }

  /** Starts it and waits until it can be asked. */
  static async start<Ops extends Operations<Ops>>(file: string, setup: unknown): Promise<RemoteProgram<Ops>> {
    const child = fork(file, [JSON.stringify(setup)], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
    const program = new RemoteProgram<Ops>(child);
    await program.until("ready");
    return program;
  }

  get gone(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** @throws What the operation threw, as text; "gone" if the program ended first. */
  call<Name extends keyof Ops & string>(
    name: Name,
    argument: Parameters<Ops[Name]>[0],
  ): Promise<Awaited<ReturnType<Ops[Name]>>> {
    const id = this.#count++;
    const answer = new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject });
    });
    if (this.gone || !this.#child.connected) {
      this.#calls.get(id)?.reject(new Error("gone"));
      this.#calls.delete(id);
    } else {
      this.#child.send({ id, name, argument } satisfies Call, (error) => {
        if (error !== null) this.#calls.get(id)?.reject(new Error("gone"));
      });
    }
    return answer as Promise<Awaited<ReturnType<Ops[Name]>>>;
  }

  /** Waits for a notice that was not waited for yet. @throws If the program ended first. */
  async until(notice: string): Promise<void> {
    for (;;) {
      const index = this.#notices.indexOf(notice);
      if (index >= 0) {
        this.#notices.splice(index, 1);
        return;
      }
      if (this.gone) throw new Error(`ended before "${notice}"`);
      await new Promise<void>((resolve) => (this.#onNotice = resolve));
    }
  }

  signal(signal: "SIGCONT" | "SIGSTOP"): void {
    this.#child.kill(signal);
  }

  /** kill -9. */
  async kill(): Promise<void> {
    if (!this.gone) this.#child.kill("SIGKILL");
    await this.ended();
  }

  async ended(): Promise<void> {
    if (!this.gone) await once(this.#child, "exit");
  }
}
