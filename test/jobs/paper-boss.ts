import type { PgBossJob, PgBossQueue } from "warehouse-oauth/jobs/pg-boss";

/** A boss on paper. */
export interface PaperBoss extends PgBossQueue {
  /** What it was asked for, in order. */
  readonly log: string[];
  /** How often its database does not answer a `deleteJob`. */
  gone: number;
  /** Before `createQueue`, `work` and `deleteJob`; may take its time, or fail. */
  before: (what: "createQueue" | "work" | "deleteJob") => Promise<void>;
  /** Hands jobs to the loop that was begun last. */
  handle: (jobs: PgBossJob[]) => Promise<void>;
}

export function paperBoss(): PaperBoss {
  let begun = 0;
  const boss: PaperBoss = {
    log: [],
    gone: 0,
    before: () => Promise.resolve(),
    handle: () => Promise.reject(new Error("nobody works")),
    createQueue: () => boss.before("createQueue"),
    getQueue: () => Promise.resolve({ policy: "short" }),
    send: () => Promise.resolve("id"),
    async work(_name, _options, handler) {
      await boss.before("work");
      boss.handle = handler;
      boss.log.push(`work ${String((begun += 1))}`);
      return String(begun);
    },
    notifyWorker: (id) => void boss.log.push(`notify ${id}`),
    offWork({ id }) {
      boss.log.push(`off ${id}`);
      return Promise.resolve();
    },
    async deleteJob(_name, ids) {
      await boss.before("deleteJob");
      boss.log.push(`delete ${ids.join(" ")}`);
      if (boss.gone-- > 0) throw new Error("gone");
    },
  };
  return boss;
}
