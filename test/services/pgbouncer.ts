import { spawn } from "node:child_process";
import { access, chown, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { acceptsLogins, unprivilegedUser, untilReady } from "./postgres.ts";
import { ended, freePort, reasonToSkip } from "./service.ts";
import type { Service } from "./service.ts";

/** Where Debian puts it; on the path of root only. */
const PROGRAM = "/usr/sbin/pgbouncer";

const program = await access(PROGRAM).then(
  () => PROGRAM,
  () => undefined,
);

/** Why there is no PgBouncer here; `undefined` if there is one. */
export const noPgBouncer: string | undefined = reasonToSkip(
  program,
  "left out: no PgBouncer here; install pgbouncer (Debian)",
);

/** Starts a pooler in transaction mode in front of a PostgreSQL, with fewer connections to it than it has clients. */
export async function startPgBouncer(database: Service): Promise<Pick<Service, "url" | "stop">> {
  const port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), "warehouse-oauth-pgbouncer-"));
  const user = await unprivilegedUser();
  const settings = join(folder, "pgbouncer.ini");
  const lines = [
    "[databases]",
    `postgres = host=127.0.0.1 port=${String(database.port)} dbname=postgres user=postgres`,
    "[pgbouncer]",
    "listen_addr = 127.0.0.1",
    `listen_port = ${String(port)}`,
    "unix_socket_dir =",
    "auth_type = any",
    "pool_mode = transaction",
    "default_pool_size = 2",
    "max_client_conn = 200",
  ];
  await writeFile(settings, lines.join("\n"));
  if (user !== undefined) for (const owned of [folder, settings]) await chown(owned, user.uid, user.gid);
  const pooler = spawn(PROGRAM, ["-q", settings], { cwd: "/", stdio: "ignore", ...user });
  await untilReady("PgBouncer", pooler, () => acceptsLogins(port));
  return {
    url: `postgres://postgres@127.0.0.1:${String(port)}/postgres`,
    async stop() {
      pooler.kill("SIGKILL");
      await ended(pooler);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
