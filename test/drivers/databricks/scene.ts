import type { DBSQLClient } from "@databricks/sql";
import { vi } from "vitest";
import { TokenManager, type TokenManagerOptions, type TokenSession } from "warehouse-oauth";
import { manualClock, type FakeDatabricksOptions, type ManualClock } from "warehouse-oauth/testing";
import { startWorkspace, type Workspace } from "./workspace.ts";

export const MINUTE = 60_000;
export const HOUR = 3_600_000;

/** A workspace whose time stands still until told, for the driver too, and Ada signed in. */
export interface Scene {
  readonly clock: ManualClock;
  readonly workspace: Workspace;
  readonly manager: TokenManager;
  readonly session: TokenSession;
  /** Lets time pass, for everybody. */
  readonly pass: (durationMs: number) => Promise<void>;
  readonly close: () => Promise<void>;
}

export async function openScene(
  options: FakeDatabricksOptions = {},
  managerOptions: Partial<TokenManagerOptions> = {},
): Promise<Scene> {
  const clock = manualClock();
  // The driver reads the time itself. Only the date is set: its timers and its sockets are real.
  vi.useFakeTimers({ toFake: ["Date"], now: clock.now() });
  const workspace = await startWorkspace({ clock, ...options });
  const manager = new TokenManager({ clock, random: () => 0.5, ...managerOptions });
  const session = await manager.save(workspace.client, { subject: "ada" }, await workspace.signIn());
  return {
    clock,
    workspace,
    manager,
    session,
    pass: async (durationMs) => {
      vi.setSystemTime(clock.now() + durationMs);
      await clock.advance(durationMs);
    },
    close: async () => {
      vi.useRealTimers();
      await manager.close();
      await workspace.close();
    },
  };
}

/** Lets the time of the manual clock pass while something is going on that waits for it: back-off, deadlines. */
export async function whilePassing<T>(scene: Scene, work: Promise<T>, stepMs = 100): Promise<T> {
  const state = { done: false };
  const settled = work.finally(() => (state.done = true));
  settled.catch(() => undefined);
  while (!state.done) {
    await scene.pass(stepMs);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return settled;
}

type DriverSession = Awaited<ReturnType<DBSQLClient["openSession"]>>;

/** Runs an operation of the driver: as it is, or with a retry around it. */
export type Attempt = <T>(operation: () => Promise<T>) => Promise<T>;

/** A whole query, as an application has it. */
export async function select(sql: DriverSession, attempt: Attempt = (operation) => operation()): Promise<object[]> {
  const operation = await attempt(() => sql.executeStatement("select 1"));
  try {
    return await operation.fetchAll();
  } finally {
    await operation.close();
  }
}

/** What was thrown; fails if nothing was. */
export async function thrownBy(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
  } catch (error) {
    return error;
  }
  throw new Error("expected it to throw");
}
