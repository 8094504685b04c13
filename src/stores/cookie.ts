/**
 * Keeps sessions in sealed cookies of the browser, for applications that keep nothing on the server.
 *
 * @module
 */
import { ConfigurationError, StoreError } from "../core/errors.ts";
import { systemClock } from "../lib/clock.ts";
import type { Clock } from "../lib/clock.ts";
import { MAX_CHUNKS, countChunks, formatChunks, formatRemovals, readChunks, sentBytes } from "../lib/cookie-chunks.ts";
import type { CookieForm, ReceivedChunks } from "../lib/cookie-chunks.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";
import { randomId } from "../lib/random-id.ts";
import { KeyRing } from "../lib/sealing/key-ring.ts";
import { INSPECT, REDACTED } from "../lib/redact.ts";
import { addressOf, openSealed, readSealedBy, sealText, sealedLength } from "../lib/sealing/seal.ts";
import type { SealPlace } from "../lib/sealing/seal.ts";
import type { StoredRecord, TokenStore } from "../session/store.ts";

/** One browser's cookies, and how they are written. */
export interface CookieStoreOptions {
  /** Made by `keyRing` of `warehouse-oauth/stores/encrypted`. The first key seals, all of them open. */
  readonly keys: KeyRing;
  /** The request whose cookies these are: a `Request`, or anything with its headers. */
  readonly request?: { readonly headers: Pick<Headers, "get"> };
  /** The `Cookie` header instead of a request; `undefined` for a browser that sent none. */
  readonly cookieHeader?: string | undefined;
  /** Default is `"__Host-warehouse"`. Must begin with `__Host-`. A number is added: `__Host-warehouse.0`. */
  readonly name?: string;
  /**
   * Default is 3 600 000, an hour from the first write, however often it is written later: for so long a copy of the cookie
   * works, whatever happens to the original. At most 86 400 000.
   */
  readonly maxAgeMs?: number;
  /** What the browser may have to send with each request. Default is 8 192, at most 15 360: Node takes 16 KB of headers. */
  readonly maxBytes?: number;
  /** Default is `"Lax"`. With `"Strict"` the cookie does not come along on the way back from the warehouse. */
  readonly sameSite?: "Lax" | "Strict";
  /** Default is the system's. */
  readonly clock?: Clock;
}

/**
 * The store of one request. Has neither compare-and-set nor a lease, since two tabs send the same cookie: refresh tokens
 * that rotate are refused with `store_incapable`.
 */
export interface CookieStore extends TokenStore {
  /** What the browser brought. `"invalid"` and `"expired"` count as no session. */
  presented(): Promise<"absent" | "valid" | "expired" | "invalid">;
  /** Forgets everything, and lets the age begin anew. Call it before a login is saved, and at a logout. */
  clear(): void;
  /** Gives the `Set-Cookie` headers that the response needs, each a header of its own; none if nothing changed. */
  setCookieHeaders(): Promise<readonly string[]>;
  /** Appends those headers, with `Cache-Control: no-store` and `Vary: Cookie`: no cache may give them to somebody else. */
  applyTo(headers: Headers): Promise<void>;
}

const DEFAULT_NAME = "__Host-warehouse";
/** Without the dot, which parts name and number. `__Host-Http-` is understood as `__Host-` where it is not known. */
const NAME = /^__Host-[A-Za-z0-9_-]{1,64}$/;

const HOUR_MS = 3_600_000;
const MAX_AGE_MS = 86_400_000;
const MIN_AGE_MS = 1_000;

const DEFAULT_MAX_BYTES = 8_192;
const LARGEST_MAX_BYTES = 15_360;

/** Servers whose clocks are apart by less are one deployment. */
const CLOCK_TOLERANCE_MS = 300_000;

/**
 * Opens the cookies of one request as a store. Make one for each request, and a `TokenManager` with it.
 *
 * @throws `ConfigurationError` `config_invalid`. What the browser sent never throws.
 *
 * @example
 *
 * ```ts
 * import { TokenManager } from "warehouse-oauth";
 * import { cookieStore } from "warehouse-oauth/stores/cookie";
 * import type { KeyRing } from "warehouse-oauth/stores/encrypted";
 *
 * declare const keys: KeyRing;
 *
 * export async function handle(request: Request): Promise<Response> {
 *   const store = cookieStore({ keys, request });
 *   const manager = new TokenManager({ store, background: "none" });
 *   const answer = await manager.session(client, { subject: "browser" }).fetch("/bigquery/v2/projects");
 *   const response = new Response(answer.body, { status: answer.status });
 *   await store.applyTo(response.headers);
 *   return response;
 * }
 * ```
 */
export function cookieStore(options: CookieStoreOptions): CookieStore {
  if (typeof options !== "object" || (options as unknown) === null)
    throw invalidArgument("cookieStore takes an object");
  const { keys, request, name = DEFAULT_NAME, maxAgeMs = HOUR_MS, maxBytes = DEFAULT_MAX_BYTES } = options;
  const { sameSite = "Lax" } = options;
  const check = (isRight: boolean, option: string, wanted: string): void => {
    if (!isRight) throw new ConfigurationError("config_invalid", `"${option}" must be ${wanted}`, option);
  };
  check(keys instanceof KeyRing, "keys", "made by keyRing");
  check(request === undefined || options.cookieHeader === undefined, "request", 'given without "cookieHeader"');
  check(NAME.test(name), "name", "__Host- and 1 to 64 letters, digits, _ or -");
  check(maxAgeMs >= MIN_AGE_MS && maxAgeMs <= MAX_AGE_MS, "maxAgeMs", "from 1 000 to 86 400 000");
  check(maxBytes >= 1 && maxBytes <= LARGEST_MAX_BYTES, "maxBytes", "from 1 to 15 360");
  check(["Lax", "Strict"].includes(sameSite), "sameSite", '"Lax" or "Strict"');
  const header = request === undefined ? options.cookieHeader : (request.headers.get("cookie") ?? undefined);
  const received = readChunks(header, name);
  const { clock = systemClock } = options;
  return new BrowserStore(received, { keys, form: { name, sameSite }, maxAgeMs, maxBytes, clock });
}

interface Settings {
  readonly keys: KeyRing;
  readonly form: CookieForm;
  readonly maxAgeMs: number;
  readonly maxBytes: number;
  readonly clock: Clock;
}

interface Kept {
  readonly record: StoredRecord;
  readonly version: string;
  /** Epoch milliseconds. Set by the first write, kept by all others. */
  readonly until: number;
}

interface Contents {
  readonly state: "absent" | "valid" | "expired" | "invalid";
  readonly records: Map<string, Kept>;
}

class BrowserStore implements CookieStore {
  readonly capabilities = { compareAndSet: false, durable: true } as const;
  readonly #settings: Settings;
  readonly #received: ReceivedChunks;
  #opened: Promise<Contents> | undefined;
  /** Those of {@link #opened}, once somebody began to change them. */
  #records: Map<string, Kept> | undefined;
  #changed = false;

  constructor(received: ReceivedChunks, settings: Settings) {
    this.#received = received;
    this.#settings = settings;
  }

  async presented(): Promise<Contents["state"]> {
    return (await this.#open()).state;
  }

  async read(key: string): Promise<{ readonly record: StoredRecord; readonly version: string } | undefined> {
    const kept = living(await this.#all(), this.#settings.clock.now()).get(key);
    return kept && { record: kept.record, version: kept.version };
  }

  async write(
    key: string,
    record: StoredRecord,
    { ifVersion }: { readonly ifVersion: string | undefined },
  ): Promise<string | undefined> {
    const { clock, maxAgeMs } = this.#settings;
    const now = clock.now();
    const records = living(await this.#all(), now);
    const before = records.get(key);
    if (before?.version !== ifVersion) return undefined;
    const version = randomId();
    const changed = new Map(records);
    changed.set(key, { record: { ...record }, version, until: before?.until ?? now + maxAgeMs });
    // Before anything is kept: what does not fit is refused, and what was there stays.
    this.#assertFits(changed, now);
    this.#replace(changed);
    return version;
  }

  async delete(key: string, { ifVersion }: { readonly ifVersion?: string } = {}): Promise<boolean> {
    const records = new Map(living(await this.#all(), this.#settings.clock.now()));
    const before = records.get(key);
    if (before === undefined) return true;
    if (ifVersion !== undefined && ifVersion !== before.version) return false;
    records.delete(key);
    this.#replace(records);
    return true;
  }

  clear(): void {
    this.#replace(new Map());
  }

  async setCookieHeaders(): Promise<readonly string[]> {
    if (!this.#changed) return [];
    const { form, keys, clock } = this.#settings;
    const { numbers } = this.#received;
    const now = clock.now();
    const records = living(await this.#all(), now);
    if (records.size === 0) return formatRemovals(numbers, form);
    const { text, length, count, maxAgeSeconds } = this.#measure(records, now);
    const sealed = await sealText(text, await placeOf(form.name, count, length), await keys.sealing("cookie"));
    if (sealed.length !== length) throw new TypeError("unreachable: a sealed text of another length");
    const cookies = formatChunks(sealed, form, maxAgeSeconds);
    return [
      ...cookies,
      ...formatRemovals(
        numbers.filter((number) => number >= count),
        form,
      ),
    ];
  }

  async applyTo(headers: Headers): Promise<void> {
    for (const cookie of await this.setCookieHeaders()) headers.append("set-cookie", cookie);
    headers.set("cache-control", "no-store");
    headers.append("vary", "Cookie");
  }

  toJSON(): string {
    return `CookieStore ${REDACTED}`;
  }

  [INSPECT](): string {
    return this.toJSON();
  }

  async #all(): Promise<Map<string, Kept>> {
    return this.#records ?? (await this.#open().then(({ records }) => this.#records ?? records));
  }

  #replace(records: Map<string, Kept>): void {
    this.#records = records;
    this.#changed = true;
  }

  #open(): Promise<Contents> {
    return (this.#opened ??= openCookies(this.#received, this.#settings));
  }

  #measure(
    records: ReadonlyMap<string, Kept>,
    now: number,
  ): { readonly text: string; readonly length: number; readonly count: number; readonly maxAgeSeconds: number } {
    const { form, keys } = this.#settings;
    const text = formatContents(records, now);
    const length = sealedLength(new TextEncoder().encode(text).length, "cookie", { id: keys.ids[0] ?? "" });
    const maxAgeSeconds = Math.ceil((endOf(records) - now) / 1_000);
    return { text, length, count: countChunks(length, form, maxAgeSeconds), maxAgeSeconds };
  }

  /** @throws {@link StoreError} `cookie_too_large`. */
  #assertFits(records: ReadonlyMap<string, Kept>, now: number): void {
    const { form, maxBytes } = this.#settings;
    const { length, count } = this.#measure(records, now);
    const bytes = sentBytes(length, count, form);
    if (bytes <= maxBytes && count <= MAX_CHUNKS) return;
    throw new StoreError(
      "cookie_too_large",
      `the tokens need ${String(bytes)} bytes of cookies, and "maxBytes" is ${String(maxBytes)}; keep them in a store on ` +
        "the server instead",
      "write",
    );
  }
}

/** Opens what came. Whatever is wrong with it, nobody is signed in, and nothing is thrown (requirements S-064). */
async function openCookies({ chunks, numbers }: ReceivedChunks, settings: Settings): Promise<Contents> {
  const without = (state: Contents["state"]): Contents => ({ state, records: new Map() });
  if (numbers.length === 0 && chunks !== undefined) return without("absent");
  const contents = chunks && (await openLeading(chunks, settings));
  const now = settings.clock.now();
  if (contents === undefined || contents.issuedAt > now + CLOCK_TOLERANCE_MS) return without("invalid");
  if (contents.expiresAt <= now) return without("expired");
  return { state: "valid", records: contents.records };
}

/**
 * Opens all of them or, where two responses met in the browser, those that the later one wrote: what the earlier one wrote
 * beyond is left over. How many belong together is authenticated.
 */
async function openLeading(
  chunks: readonly string[],
  { keys, form }: Settings,
): Promise<ReturnType<typeof parseContents>> {
  for (let count = chunks.length; count > 0; count -= 1) {
    const text = chunks.slice(0, count).join("");
    const sealedBy = readSealedBy(text, await placeOf(form.name, count, text.length));
    if (sealedBy === undefined) continue;
    const key = await keys.opening("cookie", undefined, sealedBy);
    const opened = key && (await openSealed(text, key));
    return opened === undefined ? undefined : parseContents(opened);
  }
  return undefined;
}

/** Count and length are authenticated with the rest: what was cut, mixed or made longer does not open. */
async function placeOf(name: string, count: number, length: number): Promise<SealPlace> {
  return { purpose: "cookie", address: await addressOf(JSON.stringify([name, count, length])) };
}

type Row = readonly [key: string, value: string, version: string, until: number, dueAt: unknown, deleteAfter: unknown];

function formatContents(records: ReadonlyMap<string, Kept>, now: number): string {
  const rows = [...records].map(
    ([
      key,
      {
        record: { value, dueAt, deleteAfter },
        version,
        until,
      },
    ]): Row => {
      return [key, value, version, until, dueAt, deleteAfter];
    },
  );
  return JSON.stringify({ iat: now, exp: endOf(records), records: rows });
}

function parseContents(
  text: string,
): { readonly issuedAt: number; readonly expiresAt: number; readonly records: Map<string, Kept> } | undefined {
  try {
    const { iat, exp, records } = JSON.parse(text) as Readonly<Record<string, unknown>>;
    if (typeof iat !== "number" || typeof exp !== "number" || !Array.isArray(records)) return undefined;
    const kept = (records as Row[]).map(([key, value, version, until, dueAt, deleteAfter]): [string, Kept] => {
      const times = {
        ...(typeof dueAt === "number" && { dueAt }),
        ...(typeof deleteAfter === "number" && { deleteAfter }),
      };
      return [key, { record: Object.freeze({ value, ...times }), version, until }];
    });
    return { issuedAt: iat, expiresAt: exp, records: new Map(kept) };
  } catch {
    return undefined;
  }
}

function endOf(records: ReadonlyMap<string, Kept>): number {
  return Math.max(0, ...[...records.values()].map(({ until }) => until));
}

function living(records: Map<string, Kept>, now: number): ReadonlyMap<string, Kept> {
  return new Map([...records].filter(([, { record, until }]) => until > now && (record.deleteAfter ?? Infinity) > now));
}
