import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { chown, mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { promisify } from "node:util";
import { ended, freePort, reasonToSkip } from "./service.ts";
import type { Service } from "./service.ts";

const VERSIONS = "/usr/lib/postgresql";

const programs = await findPrograms();

/** Why there is no PostgreSQL here; `undefined` if there is one. */
export const noPostgres: string | undefined = reasonToSkip(
  programs,
  "left out: no PostgreSQL here; install postgresql (Debian)",
);

const STARTS_WITHIN_MS = 120_000;

/** Starts a PostgreSQL with a database of its own that survives a crash of the server. */
export async function startPostgres(): Promise<Service> {
  const port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), "warehouse-oauth-postgres-"));
  const user = await unprivilegedUser();
  if (user !== undefined) await chown(folder, user.uid, user.gid);
  const cluster = ["-D", join(folder, "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"];
  const as = { cwd: "/", env: { PATH: process.env["PATH"], HOME: folder, LC_ALL: "C.UTF-8" }, ...user };
  await promisify(execFile)(join(programs ?? "", "initdb"), cluster, as);
  const launch = async (): Promise<ChildProcess> => {
    const options = ["-D", join(folder, "data"), "-p", String(port), "-k", folder, "-c", "listen_addresses=127.0.0.1"];
    const server = spawn(
      join(programs ?? "", "postgres"),
      [...options, "-c", "max_connections=300", "-c", "fsync=off"],
      {
        ...as,
        stdio: "ignore",
      },
    );
    await untilReady("PostgreSQL", server, () => acceptsLogins(port));
    return server;
  };
  let server = await launch();
  return {
    url: `postgres://postgres@127.0.0.1:${String(port)}/postgres`,
    port,
    async crash() {
      server.kill("SIGQUIT"); // "immediate": no checkpoint, and no orphans, as SIGKILL would leave
      await ended(server);
    },
    async restart() {
      server = await launch();
    },
    async stop() {
      server.kill("SIGQUIT");
      await ended(server);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Asks as a client does: the port is open before the server takes anybody. */
export async function untilReady(name: string, server: ChildProcess, isReady: () => Promise<boolean>): Promise<void> {
  const giveUpAt = Date.now() + STARTS_WITHIN_MS;
  while (Date.now() < giveUpAt) {
    if (server.exitCode !== null) throw new Error(`${name} ended with ${String(server.exitCode)}`);
    if (await isReady()) return;
    await wait(50);
  }
  throw new Error(`${name} did not start in time`);
}

/** Sends a startup message of protocol 3.0 and looks for the authentication answer ("R"), not the error ("E"). */
export function acceptsLogins(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const done = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("error", () => {
      done(false);
    });
    socket.once("data", (data) => {
      done(data[0] === "R".charCodeAt(0));
    });
    socket.once("connect", () => {
      const text = Buffer.from("\0\x03\0\0user\0postgres\0database\0postgres\0\0", "latin1");
      const length = Buffer.alloc(4);
      length.writeUInt32BE(text.length + 4);
      socket.write(Buffer.concat([length, text]));
    });
  });
}

/** The newest that Debian installed. */
async function findPrograms(): Promise<string | undefined> {
  const versions = await readdir(VERSIONS).catch(() => []);
  const newest = versions.toSorted((a, b) => Number(a) - Number(b)).at(-1);
  return newest === undefined ? undefined : join(VERSIONS, newest, "bin");
}

/** PostgreSQL and PgBouncer refuse to run as root; Debian makes them a user. */
export async function unprivilegedUser(): Promise<{ readonly uid: number; readonly gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const users = await readFile("/etc/passwd", "utf8");
  const [, , uid, gid] = /^postgres:.*$/m.exec(users)?.[0].split(":") ?? [];
  if (uid === undefined || gid === undefined)
    throw new Error("root cannot run PostgreSQL, and there is no user for it");
  return { uid: Number(uid), gid: Number(gid) };
}
