import type { Clock, Lease, StoredRecord, TokenStore } from "warehouse-oauth";
import { memoryStore } from "warehouse-oauth";

/** One thing that is done to a store. Writes are told apart by what they write. */
export type Step =
  "read" | "lease" | "intent" | "tokens" | "dead" | "tombstone" | "renew" | "release" | "due" | "delete";

/** What lies in the store, as far as tests look at it. */
export interface StoredSession {
  readonly generation: number;
  readonly state: "active" | "reauthorization_required" | "revoked";
  readonly cause?: string;
  readonly rotates: boolean;
  readonly loginAt: number;
  readonly revokeLate: boolean;
  readonly intent?: { readonly attempts: number; readonly owner: string };
  readonly tokens?: {
    readonly accessToken: string;
    readonly refreshToken?: string;
    readonly scopes: readonly string[];
  };
}

/** A step that is stopped at a gate. */
export interface Held {
  /** Resolves when the step is there. */
  readonly reached: Promise<void>;
  /** Lets it go on. */
  readonly open: () => void;
}

interface Rule {
  readonly matches: (step: Step, index: number) => boolean;
  left: number;
  readonly run: (work: () => Promise<unknown>) => Promise<unknown>;
}

interface Kept {
  readonly record: StoredRecord;
  readonly version: string;
}

/** A store whose every operation can be watched, held and broken. Durable, as far as the manager is told. */
export interface GateStore extends TokenStore {
  /** What was asked of it, in order. */
  readonly steps: Step[];
  /** Holds the next such step before it is done, or its answer after. */
  hold(step: Step, when?: "before" | "after"): Held;
  /** Holds the step of this index, counted from now. */
  holdNth(index: number, when: "before" | "after"): Held;
  /** Fails, and does nothing. */
  fail(step: Step, times?: number): void;
  /** Does it, and fails all the same. */
  loseAnswer(step: Step, times?: number): void;
  /** Never answers. */
  hang(step: Step, times?: number): void;
  /** Reads give what lay there so many writes ago. */
  lag(times: number, writesAgo?: number): void;
  /** Undoes all that was told. */
  heal(): void;
  /** What lies there, secrets and all. */
  stored(): StoredSession | undefined;
  /** Writes over it, as another process would. */
  put(changes: Partial<Record<keyof StoredSession, unknown>>): Promise<void>;
  /** Takes the lease, as another process would. */
  takeLease(ttlMs: number): Promise<Lease | undefined>;
}

export function gateStore(clock: Clock, { durable = true }: { readonly durable?: boolean } = {}): GateStore {
  const inner = memoryStore({ clock });
  const steps: Step[] = [];
  let rules: Rule[] = [];
  let armedAt = 0;
  const history: Kept[] = [];
  let lastKey = "";
  const signal = new AbortController().signal;

  const pass = async <T>(step: Step, work: () => Promise<T>): Promise<T> => {
    const index = steps.length - armedAt;
    steps.push(step);
    const rule = rules.find(({ matches, left }) => left > 0 && matches(step, index));
    if (rule === undefined) return work();
    rule.left -= 1;
    return (await rule.run(work)) as T;
  };
  const arm = (step: Step | ((index: number) => boolean), times: number, run: Rule["run"]): void => {
    const matches =
      typeof step === "function" ? (_: Step, index: number) => step(index) : (found: Step) => found === step;
    rules.push({ matches, left: times, run });
  };
  const held = (step: Step | ((index: number) => boolean), when: "before" | "after"): Held => {
    let reach = (): void => undefined;
    let open = (): void => undefined;
    const reached = new Promise<void>((resolve) => (reach = resolve));
    const opened = new Promise<void>((resolve) => (open = resolve));
    arm(step, 1, async (work) => {
      if (when === "before") {
        reach();
        await opened;
        return work();
      }
      const result = await work();
      reach();
      await opened;
      return result;
    });
    return {
      reached,
      open: () => {
        open();
      },
    };
  };

  return {
    capabilities: { compareAndSet: true, durable },
    steps,
    read(key) {
      lastKey = key;
      return pass("read", () => inner.read(key, { signal }));
    },
    write(key, record, options) {
      lastKey = key;
      return pass(stepOf(record), async () => {
        // A copy, as everything that leaves the process: its text is written and read.
        const version = await inner.write(key, { ...record }, options);
        if (version !== undefined) history.push({ record, version });
        return version;
      });
    },
    delete: (key, options) => pass("delete", () => inner.delete(key, options)),
    lease: (key, options) =>
      pass("lease", async () => {
        const lease = await inner.lease?.(key, options);
        return (
          lease && {
            renew: (ttlMs) => pass("renew", () => lease.renew(ttlMs)),
            release: () => pass("release", () => lease.release()),
          }
        );
      }),
    due: (options) => pass("due", async () => (await inner.due?.(options)) ?? []),
    hold: (step, when = "before") => held(step, when),
    holdNth(index, when) {
      armedAt = steps.length;
      return held((at) => at === index, when);
    },
    fail: (step, times = 1) => {
      arm(step, times, () => Promise.reject(new Error("the store broke")));
    },
    loseAnswer(step, times = 1) {
      arm(step, times, async (work) => {
        await work();
        throw new Error("the store broke after it wrote");
      });
    },
    hang: (step, times = 1) => {
      arm(step, times, () => new Promise<never>(() => undefined));
    },
    lag: (times, writesAgo = 1) => {
      arm("read", times, () => Promise.resolve(history.at(-1 - writesAgo)));
    },
    heal: () => {
      rules = [];
    },
    stored: () => parse(history.at(-1)?.record),
    async put(changes) {
      const kept = await inner.read(lastKey, { signal });
      const value = { ...(JSON.parse(kept?.record.value ?? "{}") as object), ...changes };
      const record = { ...kept?.record, value: JSON.stringify(value) };
      const version = await inner.write(lastKey, record, { signal, ifVersion: kept?.version });
      if (version !== undefined) history.push({ record, version });
    },
    takeLease: async (ttlMs) => inner.lease?.(lastKey, { signal, ttlMs }),
  };
}

function parse(record: StoredRecord | undefined): StoredSession | undefined {
  return record && (JSON.parse(record.value) as StoredSession);
}

function stepOf(record: StoredRecord): Step {
  const stored = parse(record);
  if (stored?.state === "revoked") return "tombstone";
  if (stored?.state === "reauthorization_required") return "dead";
  return stored?.intent === undefined ? "tokens" : "intent";
}

/** The same store for a manager that is told of no compare-and-set, and gets no lease. */
export function withoutCoordination(store: TokenStore): TokenStore {
  return {
    capabilities: { compareAndSet: false, durable: true },
    read: (key, options) => store.read(key, options),
    write: (key, record, options) => store.write(key, record, options),
    delete: (key, options) => store.delete(key, options),
  };
}
