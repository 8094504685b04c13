/**
 * Tokens in Redis, through the client that an application has already.
 *
 * @module
 */
import { ConfigurationError, StoreError } from "../core/errors.ts";
import type { ErrorAction } from "../core/errors.ts";
import { hexOf } from "../lib/hex.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";
import { compareKeys, endOfPrefix } from "../lib/key-order.ts";
import type { Lease, StoredRecord, TokenStore } from "../session/store.ts";

/** What {@link redisStore} needs of `ioredis` (`Redis`, `Cluster`). */
export interface IoredisClient {
  /** Runs a script by its text. */
  eval(script: string, numberOfKeys: number, ...keysAndArguments: string[]): Promise<unknown>;
  /** Runs a script that the server has, by its SHA-1. */
  evalsha(digest: string, numberOfKeys: number, ...keysAndArguments: string[]): Promise<unknown>;
}

/** What {@link redisStore} needs of `redis` (node-redis: clients, pools, clusters, sentinels). */
export interface NodeRedisClient {
  /** Runs a script by its text. */
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
  /** Runs a script that the server has, by its SHA-1. */
  evalSha(digest: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
}

/** Options of {@link redisStore}. */
export interface RedisStoreOptions {
  /** A client of ioredis or node-redis, connected by you and yours to end. */
  readonly client: IoredisClient | NodeRedisClient;
  /** What all keys of this store begin with, after the brace. Default is `warehouse-oauth`. */
  readonly prefix?: string;
  /**
   * Slots of a Redis Cluster that records are spread over, 1 to 64. Never change it for a prefix: what was stored would
   * not be found again. Default is 1.
   */
  readonly partitions?: number;
}

const DEFAULT_PREFIX = "warehouse-oauth";

/** Braces would move the hash tag; the rest is what people can type into a shell. */
const PREFIX = /^[\w:.-]{1,100}$/;

/** Each `due` and `keys` asks every partition. */
const MAX_PARTITIONS = 64;

/** Names of dead records that one write takes out of the lists: two for one, so that the dead never outgrow the living. */
const SWEEP_PER_WRITE = 2;

/** The same for one listing, which is rare and has time. */
const SWEEP_PER_LIST = 1000;

/** Takes a name out of the three lists. KEYS: record, due, names, ends. */
const FORGET = `local function forget(name)
  redis.call('ZREM', KEYS[2], name)
  redis.call('ZREM', KEYS[3], name)
  redis.call('ZREM', KEYS[4], name)
end
`;

/** Takes names of records out of the lists that Redis dropped at their end. */
const SWEEP = `${FORGET}local function sweep(limit)
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, limit)) do forget(name) end
end
`;

/**
 * Every script declares all its keys, and all of them have the same hash tag. A script runs on the primary only: a read by
 * script cannot come from a replica that lags behind.
 */
const SCRIPTS = {
  read: `${FORGET}local found = redis.call('HMGET', KEYS[1], 'version', 'value', 'due', 'end')
if found[1] then return found end
forget(ARGV[1])
return false`,
  // A client that lost its connection may send a script again: the second run finds its own version, and has passed.
  write: `${SWEEP}local name, ifVersion, version, value, due, ending, expireAt = unpack(ARGV)
local current = redis.call('HGET', KEYS[1], 'version') or ''
if current == version then return 1 end
if current ~= ifVersion then return 0 end
redis.call('HSET', KEYS[1], 'version', version, 'value', value, 'due', due, 'end', ending)
redis.call('ZADD', KEYS[3], 0, name)
if due == '' then redis.call('ZREM', KEYS[2], name) else redis.call('ZADD', KEYS[2], due, name) end
if expireAt == '' then
  redis.call('PERSIST', KEYS[1])
  redis.call('ZREM', KEYS[4], name)
else
  redis.call('PEXPIREAT', KEYS[1], expireAt)
  redis.call('ZADD', KEYS[4], expireAt, name)
end
sweep(${String(SWEEP_PER_WRITE)})
return 1`,
  delete: `${FORGET}local current = redis.call('HGET', KEYS[1], 'version')
if current and ARGV[2] ~= '' and current ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1])
forget(ARGV[1])
return 1`,
  takeLease: `if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('GET', KEYS[1]) == ARGV[1] then return 1 end
return 0`,
  renewLease: `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`,
  dropLease: `if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1`,
  due: `${SWEEP}sweep(${String(SWEEP_PER_LIST)})
return redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', 0, ARGV[2])`,
  keys: `${SWEEP}sweep(${String(SWEEP_PER_LIST)})
return redis.call('ZRANGEBYLEX', KEYS[3], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])`,
} as const;

type ScriptName = keyof typeof SCRIPTS;

/** What can be said of a refusal, by the first word of Redis's answer. Everything else is a failure that may pass. */
const ADVICE: readonly (readonly [word: RegExp, what: string, action: ErrorAction])[] = [
  [/\bREADONLY\b/, 'the server is a replica: "client" must reach the primary', "retry"],
  [/\bOOM\b/, "its memory is full: raise maxmemory", "retry"],
  [/\bMISCONF\b/, "it cannot save to disk, and takes no writes until it can", "retry"],
  [/\bLOADING\b/, "it is loading its data", "retry"],
  [/\b(?:CLUSTERDOWN|MASTERDOWN|TRYAGAIN)\b/, "the primary of this slot is away", "retry"],
  [/\bCROSSSLOT\b/, 'keys of one call lie in several slots: does the "client" rename keys?', "fix_config"],
  [/\bWRONGTYPE\b/, 'something else lies under the keys of "prefix": give the store a prefix of its own', "fix_config"],
  [/\bNOPERM\b/, "the user may not run scripts on these keys", "fix_config"],
  [/\b(?:NOAUTH|WRONGPASS)\b/, 'it wants a password: correct the connection of the option "client"', "fix_config"],
];

/**
 * Keeps records in Redis 6 or later: compare-and-set and leases as scripts, records that Redis drops after their
 * `deleteAfter`, `due` and `keys` from sorted sets that the same scripts keep. Values are stored as they come: seal them
 * with `encryptedStore`. What Redis forgets is lost: it needs `noeviction` and an append-only file.
 *
 * @throws `ConfigurationError` `config_invalid`: `prefix` or `partitions`; `TypeError`: `client` is none.
 *
 * @example
 *
 * ```ts
 * import { Redis } from "ioredis";
 * import { TokenManager } from "warehouse-oauth";
 * import { redisStore } from "warehouse-oauth/stores/redis";
 *
 * const redis = new Redis("redis://127.0.0.1:6379");
 * const manager = new TokenManager({ store: redisStore({ client: redis }) });
 * ```
 */
export function redisStore({
  client,
  prefix = DEFAULT_PREFIX,
  partitions = 1,
}: RedisStoreOptions): Required<TokenStore> {
  if (typeof (prefix as unknown) !== "string") throw invalidArgument('"prefix" must be a string');
  if (!PREFIX.test(prefix)) {
    throw new ConfigurationError(
      "config_invalid",
      '"prefix" must have 1 to 100 letters, digits, underscores, colons, dots and hyphens',
      "prefix",
    );
  }
  if (typeof (partitions as unknown) !== "number") throw invalidArgument('"partitions" must be a number');
  if (!Number.isInteger(partitions) || partitions < 1 || partitions > MAX_PARTITIONS) {
    throw new ConfigurationError(
      "config_invalid",
      `"partitions" must be a whole number from 1 to ${String(MAX_PARTITIONS)}`,
      "partitions",
    );
  }
  return new ScriptStore(scriptRunner(client), prefix, partitions);
}

type RunScript = (script: ScriptName, keys: string[], values: string[]) => Promise<unknown>;

interface EvalClient {
  readonly byText: (script: string, keys: string[], values: string[]) => Promise<unknown>;
  readonly byDigest: (digest: string, keys: string[], values: string[]) => Promise<unknown>;
}

function evalClientOf(client: IoredisClient | NodeRedisClient): EvalClient {
  const isObject = typeof client === "object" && (client as unknown) !== null;
  if (isObject && "evalSha" in client && typeof client.evalSha === "function") {
    return {
      byText: (script, keys, values) => client.eval(script, { keys, arguments: values }),
      byDigest: (digest, keys, values) => client.evalSha(digest, { keys, arguments: values }),
    };
  }
  if (isObject && "evalsha" in client && typeof client.evalsha === "function") {
    return {
      byText: (script, keys, values) => client.eval(script, keys.length, ...keys, ...values),
      byDigest: (digest, keys, values) => client.evalsha(digest, keys.length, ...keys, ...values),
    };
  }
  throw invalidArgument('"client" must be a client of ioredis or node-redis: it has neither "evalsha" nor "evalSha"');
}

/** Sends digests instead of texts; a server that does not know one, after a restart for example, gets the text. */
function scriptRunner(client: IoredisClient | NodeRedisClient): RunScript {
  const { byText, byDigest } = evalClientOf(client);
  const digests = new Map<ScriptName, string>();
  return async (script, keys, values) => {
    let digest = digests.get(script);
    if (digest === undefined) digests.set(script, (digest = await sha1(SCRIPTS[script])));
    try {
      return await byDigest(digest, keys, values);
    } catch (error) {
      if (!messageOf(error).startsWith("NOSCRIPT")) throw error;
      return byText(SCRIPTS[script], keys, values);
    }
  };
}

async function sha1(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-1", new TextEncoder().encode(text));
  return hexOf(new Uint8Array(digest));
}

class ScriptStore implements Required<TokenStore> {
  readonly capabilities = { compareAndSet: true, durable: true } as const;
  readonly #run: RunScript;
  readonly #prefix: string;
  readonly #partitions: number;

  constructor(run: RunScript, prefix: string, partitions: number) {
    this.#run = run;
    this.#prefix = prefix;
    this.#partitions = partitions;
  }

  async read(key: string, { signal }: Signal = {}): Promise<{ record: StoredRecord; version: string } | undefined> {
    const reply = await this.#call("read", "read", this.#keysOf(key), [key], signal);
    if (!Array.isArray(reply)) return undefined;
    const [version, value, due, end] = reply.map(assertText);
    if (version === undefined || value === undefined) throw strangeReply();
    const [dueAt, deleteAfter] = [timeOf(due), timeOf(end)];
    return {
      record: { value, ...(dueAt !== undefined && { dueAt }), ...(deleteAfter !== undefined && { deleteAfter }) },
      version,
    };
  }

  async write(
    key: string,
    { value, dueAt, deleteAfter }: StoredRecord,
    { ifVersion = "", signal }: Signal & { readonly ifVersion: string | undefined },
  ): Promise<string | undefined> {
    // Random, so that it comes back neither after a delete nor after a failover that lost the last writes.
    const version = crypto.randomUUID();
    const values = [key, ifVersion, version, value, numeral(dueAt), numeral(deleteAfter), expireAt(deleteAfter)];
    const passed = await this.#call("write", "write", this.#keysOf(key), values, signal);
    return isOne(passed) ? version : undefined;
  }

  async delete(
    key: string,
    { ifVersion = "", signal }: Signal & { readonly ifVersion?: string } = {},
  ): Promise<boolean> {
    return isOne(await this.#call("delete", "delete", this.#keysOf(key), [key, ifVersion], signal));
  }

  async lease(key: string, { ttlMs, signal }: Signal & { readonly ttlMs: number }): Promise<Lease | undefined> {
    const owner = crypto.randomUUID();
    const keys = [`${this.#tag(this.#partitionOf(key))}lease:${key}`];
    const ask = async (script: ScriptName, values: string[], until?: AbortSignal): Promise<boolean> =>
      isOne(await this.#call("lease", script, keys, [owner, ...values], until));
    const release = async (): Promise<void> => {
      await ask("dropLease", []);
    };
    signal?.throwIfAborted();
    const isTaken = await ask("takeLease", [wholeMs(ttlMs)], signal).catch((error: unknown) => {
      // Perhaps only the answer was lost: then it stands, nobody knows its owner, and all would wait for its end.
      release().catch(() => undefined);
      throw error;
    });
    if (!isTaken) return undefined;
    if (signal?.aborted === true) {
      // Whoever asked is gone, after waiting for a connection perhaps: nobody would give it back.
      await release();
      signal.throwIfAborted();
    }
    return { renew: (renewMs) => ask("renewLease", [wholeMs(renewMs)]), release };
  }

  async due({
    before,
    limit,
    signal,
  }: Signal & { readonly before: number; readonly limit: number }): Promise<
    readonly { readonly key: string; readonly dueAt: number }[]
  > {
    const pages = await this.#list("due", "due", [`(${String(before)}`, String(limit)], signal);
    const found = pages.flatMap((page) =>
      page.flatMap((key, at) => (at % 2 === 0 ? [{ key, dueAt: Number(page[at + 1]) }] : [])),
    );
    return found.sort((a, b) => a.dueAt - b.dueAt).slice(0, limit);
  }

  async keys({
    prefix = "",
    after,
    limit,
    signal,
  }: Signal & { readonly prefix?: string; readonly after?: string; readonly limit: number }): Promise<
    readonly string[]
  > {
    const first = after !== undefined && compareKeys(after, prefix) >= 0 ? `(${after}` : `[${prefix}`;
    const end = endOfPrefix(prefix);
    const range = [first, end === undefined ? "+" : `(${end}`, String(limit)];
    const pages = await this.#list("read", "keys", range, signal);
    return pages.length === 1 ? (pages[0] ?? []) : pages.flat().sort(compareKeys).slice(0, limit);
  }

  /** Asks every partition. */
  #list(
    operation: StoreError["operation"],
    script: ScriptName,
    values: string[],
    signal: AbortSignal | undefined,
  ): Promise<string[][]> {
    return Promise.all(
      Array.from({ length: this.#partitions }, async (_, partition) => {
        const reply = await this.#call(operation, script, this.#listKeys(partition, ""), values, signal);
        if (!Array.isArray(reply)) throw strangeReply();
        return reply.map(assertText);
      }),
    );
  }

  #keysOf(key: string): string[] {
    return this.#listKeys(this.#partitionOf(key), key);
  }

  #listKeys(partition: number, key: string): string[] {
    const tag = this.#tag(partition);
    return [`${tag}record:${key}`, `${tag}due`, `${tag}names`, `${tag}ends`];
  }

  /** What stands in braces decides the slot: all keys of one call lie together. */
  #tag(partition: number): string {
    return this.#partitions === 1 ? `{${this.#prefix}}` : `{${this.#prefix}:${String(partition)}}`;
  }

  /** FNV-1a: the same in every process and for ever, and even enough. */
  #partitionOf(key: string): number {
    let hash = 0x81_1c_9d_c5;
    for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key.charCodeAt(at), 0x01_00_01_93);
    return (hash >>> 0) % this.#partitions;
  }

  async #call(
    operation: StoreError["operation"],
    script: ScriptName,
    keys: string[],
    values: string[],
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    signal?.throwIfAborted();
    try {
      return await this.#run(script, keys, values);
    } catch (error) {
      throw storeError(operation, error);
    }
  }
}

/** Connections that broke, and what has no word here. */
const UNKNOWN = [undefined, "no answer, or refused", "retry"] as const;

interface Signal {
  readonly signal?: AbortSignal;
}

/** Absent is empty. */
function numeral(value: number | undefined): string {
  return value === undefined ? "" : String(value);
}

function timeOf(text: string | undefined): number | undefined {
  return text === undefined || text === "" ? undefined : Number(text);
}

/** When Redis may drop a record: not before its time, and never if that is further away than Redis can count. */
function expireAt(deleteAfter: number | undefined): string {
  const at = Math.ceil(deleteAfter ?? Infinity);
  return Number.isSafeInteger(at) ? String(at) : "";
}

/** Redis takes whole milliseconds: never fewer than were asked for, or the holder would believe in it for too long. */
function wholeMs(durationMs: number): string {
  return String(Math.ceil(durationMs));
}

/** Some clients can be told to give numbers as texts. */
function isOne(reply: unknown): boolean {
  return reply === 1 || reply === "1";
}

function assertText(reply: unknown): string {
  if (typeof reply !== "string") throw strangeReply();
  return reply;
}

function strangeReply(): StoreError {
  const message = 'Redis gave no text where there is one: is "client" set to give buffers?';
  return new StoreError("store_unavailable", message, "read", { action: "fix_config" });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : "";
}

function storeError(operation: StoreError["operation"], cause: unknown): StoreError {
  const message = messageOf(cause);
  const [, what, action] = ADVICE.find(([word]) => word.test(message)) ?? UNKNOWN;
  return new StoreError("store_unavailable", `Redis at "${operation}": ${what}`, operation, {
    action,
    cause,
  });
}
