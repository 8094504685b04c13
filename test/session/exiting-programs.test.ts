// Programs that end, are stopped or put to sleep: requirements.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("../../", import.meta.url));
let folder = "";
let program = "";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "warehouse-oauth-exit-"));
  program = join(folder, "program.mjs");
  await build({
    entryPoints: [join(root, "test/session/exiting-program.ts")],
    outfile: program,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    alias: { "warehouse-oauth": join(root, "src/index.ts") },
    logLevel: "error",
  });
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly lines: readonly string[];
  readonly errors: string;
}

/** Runs the program beside a token endpoint that plays a script, and gives how it ended. */
async function runProgram(
  mode: string,
  answers: readonly { readonly status: number; readonly delayMs?: number }[],
  onReady?: (child: ChildProcess) => void,
): Promise<Ended & { readonly requests: number }> {
  const isReadyWhenAsked = mode === "in flight" || mode === "never answered";
  let requests = 0;
  const server = createServer((request, response) => {
    request.resume();
    const { status, delayMs = 0 } = answers[Math.min(requests, answers.length - 1)] ?? { status: 500 };
    requests += 1;
    if (isReadyWhenAsked) child.emit("ready");
    if (delayMs === Infinity) return;
    setTimeout(() => {
      response.writeHead(status, { "content-type": "application/json" });
      const tokens = { access_token: "second-token", refresh_token: "second-refresh", token_type: "Bearer" };
      response.end(JSON.stringify(status === 200 ? { ...tokens, expires_in: 3600 } : {}));
    }, delayMs);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const child = spawn(process.execPath, [program, mode, `http://127.0.0.1:${String(port)}/token`]);
  let output = "";
  let errors = "";
  child.once("ready", () => onReady?.(child));
  child.stdout.on("data", (data: Buffer) => {
    output += data.toString();
    if (!isReadyWhenAsked && /^ready$/m.test(output)) child.emit("ready");
  });
  child.stderr.on("data", (data: Buffer) => (errors += data.toString()));
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
    child.once("close", (...end) => {
      resolve(end);
    });
  });
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  return { code, signal, lines: output.trim().split("\n"), errors, requests };
}

const terminate = (child: ChildProcess): void => void child.kill("SIGTERM");

/** Not by the signal, and with the exit code that the program set itself. */
const OWN_END = { code: 7, signal: null };

describe("real processes (R-07, R-72)", () => {
  test("R-07 a started manager does not keep the process alive", async () => {
    const ended = await runProgram("idle", []);
    expect(ended).toMatchObject({ code: 0, errors: "", lines: ["first-token"], requests: 0 });
  });

  test("R-07 a script that only awaits a token is not cut off, through a retry and a slow answer", async () => {
    const ended = await runProgram("awaits", [{ status: 502 }, { status: 200, delayMs: 700 }]);
    expect(ended).toMatchObject({ code: 0, errors: "", requests: 2 });
    expect(ended.lines.slice(-2)).toEqual(["saved", "second-token"]);
  });

  test("R-07 R-46 nor by a store that never answers and keeps nothing alive: it is told so", async () => {
    const ended = await runProgram("silent store", []);
    expect(ended).toMatchObject({ code: 0, errors: "", lines: ["store_unavailable"], requests: 0 });
  });

  test("R-07 nor while it waits for somebody else's lease", async () => {
    const ended = await runProgram("busy lease", [{ status: 200 }]);
    expect(ended).toMatchObject({ code: 0, errors: "", requests: 1 });
    expect(ended.lines.at(-1)).toBe("second-token");
  });

  test("R-24 R-72 tokens that cannot be saved are reported, and keep no process alive after close", async () => {
    const ended = await runProgram("unsaved", [{ status: 200 }]);
    expect(ended).toMatchObject({ code: 0, errors: "", lines: ["second-token", "1"] });
  });

  test("R-72 SIGTERM, idle", async () => {
    const ended = await runProgram("idle, stopped by a signal", [], terminate);
    expect(ended).toMatchObject({ ...OWN_END, errors: "", lines: ["ready", "closed 0"] });
  });

  test("R-72 SIGTERM in backoff: nothing more is sent", async () => {
    const ended = await runProgram("in backoff", [{ status: 502 }], terminate);
    expect(ended).toMatchObject({ ...OWN_END, errors: "", requests: 1 });
    expect(ended.lines).toEqual(expect.arrayContaining(["manager_closed", "closed 0"]));
  });

  test("R-72 SIGTERM in flight: the answer is saved first", async () => {
    const ended = await runProgram("in flight", [{ status: 200, delayMs: 700 }], terminate);
    expect(ended).toMatchObject({ ...OWN_END, errors: "", requests: 1 });
    expect(ended.lines).toEqual(expect.arrayContaining(["saved", "second-token", "closed 0"]));
  });

  test("R-59 R-09 SIGSTOP until the token has ended, SIGCONT: one refresh at the wake, asked by nobody", async () => {
    const sleepWell = (child: ChildProcess): void => {
      child.kill("SIGSTOP");
      setTimeout(() => child.kill("SIGCONT"), 6_000);
    };
    const ended = await runProgram("put to sleep", [{ status: 200 }], sleepWell);
    expect(ended).toMatchObject({ ...OWN_END, errors: "", requests: 1, lines: ["ready", "saved", "closed 0"] });
  });

  test("R-72 SIGTERM in save: it is finished, although the store keeps nothing alive", async () => {
    const ended = await runProgram("in save", [{ status: 200 }], terminate);
    expect(ended).toMatchObject({ ...OWN_END, errors: "", requests: 1 });
    expect(ended.lines).toEqual(expect.arrayContaining(["ready", "saved", "closed 0"]));
  });

  test("R-72 SIGTERM in flight, never answered: close ends before the deadline does, and the process by itself", async () => {
    const ended = await runProgram("never answered", [{ status: 200, delayMs: Infinity }], terminate);
    expect(ended).toMatchObject({ ...OWN_END, errors: "", requests: 1 });
    expect(ended.lines.at(0)).toBe("closed 0");
    expect(ended.lines.at(-1)).toBe("manager_closed");
  });
});
