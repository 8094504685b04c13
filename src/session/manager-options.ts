import { ConfigurationError, assertKnownOptions, invalidArgument } from "../core/index.ts";
import type { ConcurrencyOptions } from "./endpoint-gate.ts";
import type { RefreshOptions } from "./refresh-policy.ts";
import { DEFAULT_RETRY } from "./retry.ts";
import type { RetryOptions, RetryPolicy } from "./retry.ts";
import type { TokenManagerOptions } from "./token-manager.ts";

const OPTIONS: ReadonlySet<string> = new Set<keyof TokenManagerOptions & string>([
  "store",
  "resolveClient",
  "refresh",
  "retry",
  "background",
  "concurrency",
  "leaseTtlMs",
  "clock",
  "random",
]);

const REFRESH_OPTIONS: ReadonlySet<string> = new Set<keyof RefreshOptions>([
  "leadTimeMs",
  "idleMs",
  "keepAlive",
  "maxPerHour",
]);

const RETRY_OPTIONS: ReadonlySet<string> = new Set<keyof RetryOptions>([
  "maxAttempts",
  "totalMs",
  "baseDelayMs",
  "maxDelayMs",
]);

const CONCURRENCY_OPTIONS: ReadonlySet<string> = new Set<keyof ConcurrencyOptions>(["atOnce", "perSecond"]);

/** Shorter, and a slow answer of the store would be a lost lease. */
const MIN_LEASE_MS = 1_000;

/** An option that is there and `undefined` counts as absent. */
export function retryPolicyOf(options: RetryOptions = {}): RetryPolicy {
  return {
    maxAttempts: options.maxAttempts ?? DEFAULT_RETRY.maxAttempts,
    totalMs: options.totalMs ?? DEFAULT_RETRY.totalMs,
    baseDelayMs: options.baseDelayMs ?? DEFAULT_RETRY.baseDelayMs,
    maxDelayMs: options.maxDelayMs ?? DEFAULT_RETRY.maxDelayMs,
  };
}

/**
 * Checks what the application asked for.
 *
 * @throws {@link ConfigurationError} `config_invalid`; TypeError `invalid_argument`.
 */
export function assertOptions(options: TokenManagerOptions): void {
  assertKnownOptions(options, "TokenManager", OPTIONS);
  const { background, leaseTtlMs, refresh, retry, concurrency } = options;
  assertStore(options.store);
  assertMembers("refresh", refresh, REFRESH_OPTIONS);
  assertMembers("retry", retry, RETRY_OPTIONS);
  assertMembers("concurrency", concurrency, CONCURRENCY_OPTIONS);
  if (background !== undefined && typeof background !== "function" && !["detached", "none"].includes(background)) {
    throw new ConfigurationError(
      "config_invalid",
      '"background" must be "detached", "none" or a function',
      "background",
    );
  }
  assertAtLeast("leaseTtlMs", leaseTtlMs, MIN_LEASE_MS);
  assertAtLeast("refresh.idleMs", refresh?.idleMs, 1);
  assertAtLeast("refresh.maxPerHour", refresh?.maxPerHour, 1);
  if (typeof refresh?.leadTimeMs === "number") assertAtLeast("refresh.leadTimeMs", refresh.leadTimeMs, 0);
  assertAtLeast("retry.maxAttempts", retry?.maxAttempts, 1);
  assertAtLeast("retry.totalMs", retry?.totalMs, 0);
  assertAtLeast("retry.baseDelayMs", retry?.baseDelayMs, 1);
  assertAtLeast("retry.maxDelayMs", retry?.maxDelayMs, 1);
  assertAtLeast("concurrency.atOnce", concurrency?.atOnce, 1);
  if (concurrency?.atOnce !== undefined && !Number.isInteger(concurrency.atOnce)) {
    throw new ConfigurationError("config_invalid", '"concurrency.atOnce" must be a whole number', "concurrency.atOnce");
  }
  assertAtLeast("concurrency.perSecond", concurrency?.perSecond, 0.001);
}

/** The options of `TokenManager.session`: a misspelt `obtain` would be a person who has to sign in. */
export function assertSessionOptions(options: object | undefined): void {
  assertMembers("options", options, SESSION_OPTIONS);
  const { obtain } = (options ?? {}) as { readonly obtain?: unknown };
  if (obtain !== undefined && typeof obtain !== "function") throw invalidArgument('"obtain" must be a function');
}

const SESSION_OPTIONS: ReadonlySet<string> = new Set(["obtain"]);

/** A database client is easily given in place of the store around it. */
function assertStore(store: unknown): void {
  if (store === undefined) return;
  const { capabilities, read, write } = Object(store) as Partial<Record<string, unknown>>;
  const isStore = typeof capabilities === "object" && typeof read === "function" && typeof write === "function";
  if (isStore && capabilities !== null) return;
  throw invalidArgument('"store" must be a TokenStore, for example redisStore({ client }) and not the client itself');
}

/** A misspelt limit would be no limit. */
function assertMembers(name: string, value: object | undefined, members: ReadonlySet<string>): void {
  if (value === undefined) return;
  if (typeof value !== "object" || (value as unknown) === null) throw invalidArgument(`"${name}" must be an object`);
  const unknown = Object.keys(value).find((member) => !members.has(member));
  if (unknown === undefined) return;
  const path = `${name}.${unknown}`;
  throw new ConfigurationError("config_invalid", `"${path}" is no option of TokenManager`, path);
}

function assertAtLeast(name: string, value: number | undefined, least: number): void {
  if (value !== undefined && !(Number.isFinite(value) && value >= least)) {
    throw new ConfigurationError("config_invalid", `"${name}" must be a number of ${String(least)} or more`, name);
  }
}
