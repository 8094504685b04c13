import { loadDrivers, type Drivers } from "./drivers/load.ts";
import { walkThrough } from "./once.ts";
import { startDemo, type Demo } from "./server.ts";

/** Where the page is unless told otherwise: real accounts need a redirect URI that stays the same. */
const DEFAULT_PORT = 8642;

const HELP = `Usage: npm run demo -- [--port N] [--single-use] [--drivers] [--once]

  --port N       port of the page, 0 for any free one (default ${String(DEFAULT_PORT)})
  --single-use   the embedded Snowflake gives refresh tokens that work once
  --drivers      queries go through snowflake-sdk and @google-cloud/bigquery, which are installed if they are
                 missing; without it they go through the library's own fetch
  --once         walk through the whole demo without a browser, print each step, and stop

Real accounts: set SNOWFLAKE_ACCOUNT, SNOWFLAKE_CLIENT_ID …, DATABRICKS_HOST …, or GOOGLE_CLIENT_ID …;
README.md lists all of them.`;

interface Arguments {
  readonly once: boolean;
  readonly help: boolean;
  readonly singleUse: boolean;
  readonly drivers: boolean;
  /** `undefined` unless given. */
  readonly port: number | undefined;
}

function parseArguments(given: readonly string[]): Arguments {
  let once = false;
  let help = false;
  let singleUse = false;
  let drivers = false;
  let port: number | undefined;
  const rest = [...given];
  for (let argument = rest.shift(); argument !== undefined; argument = rest.shift()) {
    const [name = "", inline] = argument.split("=", 2);
    if (name === "--once") once = true;
    else if (name === "--help" || name === "-h") help = true;
    else if (name === "--single-use") singleUse = true;
    else if (name === "--drivers") drivers = true;
    else if (name === "--port") port = parsePort(inline ?? rest.shift());
    else throw new Error(`"${argument}" is no option of the demo; --help lists them`);
  }
  return { once, help, singleUse, drivers, port };
}

function parsePort(text: string | undefined): number {
  const port = text === undefined || !/^\d{1,5}$/.test(text) ? -1 : Number(text);
  if (port < 0 || port > 65_535) throw new Error("--port takes a number from 0 to 65535");
  return port;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

interface StartOptions {
  readonly singleUse: boolean;
  readonly drivers: Drivers | undefined;
}

async function start(port: number | undefined, options: StartOptions): Promise<Demo> {
  const environment = process.env;
  try {
    return await startDemo({ port: port ?? DEFAULT_PORT, environment, ...options });
  } catch (error) {
    const taken = error instanceof Error && "code" in error && error.code === "EADDRINUSE";
    if (!taken) throw error;
    if (port !== undefined) throw new Error(`port ${String(port)} is taken; choose another one with --port`);
    const demo = await startDemo({ environment, ...options });
    if (demo.realAccounts.length === 0) return demo;
    await demo.close();
    throw new Error(
      `port ${String(DEFAULT_PORT)} is taken, and a real account needs the redirect URI it was registered with`,
    );
  }
}

/** How often a program of npm's looks whether its shell is still there. */
const PARENT_MS = 500;

/** npm gives a signal to its shell. Some shells, such as dash, end of it and leave the program behind. */
function stopWithShell(stop: () => void): void {
  if (process.env["npm_lifecycle_event"] === undefined) return;
  const shell = process.ppid;
  setInterval(() => {
    if (process.ppid !== shell) stop();
  }, PARENT_MS).unref();
}

async function main(): Promise<void> {
  const { once, help, singleUse, port, ...given } = parseArguments(process.argv.slice(2));
  if (help) {
    print(HELP);
    return;
  }
  const drivers = given.drivers ? await loadDrivers(print) : undefined;
  if (once) {
    if (!(await walkThrough(print, { drivers }))) process.exitCode = 1;
    return;
  }
  const demo = await start(port, { singleUse, drivers });
  let stopping = false;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    void demo.close();
  };
  process.on("SIGINT", stop).on("SIGTERM", stop);
  stopWithShell(stop);
  print(`\n  warehouse-oauth demo: ${demo.origin}/\n`);
  for (const name of demo.realAccounts) {
    print(
      `  ${name} is a real account; its registration must have the redirect URI ${demo.origin}/callback/${name.toLowerCase()}`,
    );
  }
  print("  Ctrl+C stops it.");
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : "the demo could not start"}\n`);
  process.exitCode = 1;
}
