import { setTimeout as wait } from "node:timers/promises";
import { TokenManager, importTokens } from "warehouse-oauth";
import type { ExportedTokens, OAuthClient } from "warehouse-oauth";
import { bundlePrograms } from "./bundle.ts";
import { clientOf } from "./client.ts";
import { fingerprint } from "./fingerprint.ts";
import type {
  Login,
  ServerOperations,
  ServerSetup,
  StoreAddress,
  TokenRequest,
  WorkerOperations,
  WorkerSetup,
} from "./messages.ts";
import { openStore } from "./open-store.ts";
import type { OpenStore } from "./open-store.ts";
import { RemoteProgram } from "./remote.ts";

/** What others leave to the defaults. */
const LIFETIME_SECONDS = 3_600;
const LEASE_MS = 60_000;

export type Worker = RemoteProgram<WorkerOperations>;
export type Server = RemoteProgram<ServerOperations>;

/** The programs of a fleet, bundled once for a test file. */
export interface Programs {
  readonly worker: string;
  readonly server: string;
  remove(): Promise<void>;
}

/** Bundles what the workers run. */
export async function buildPrograms(): Promise<Programs> {
  const bundle = await bundlePrograms(["test/fleet/worker.ts", "test/fleet/authorization-server.ts"]);
  return {
    worker: bundle.pathOf("worker"),
    server: bundle.pathOf("authorization-server"),
    remove: () => bundle.remove(),
  };
}

/** What lies in the store, as far as tests look at it; tokens are fingerprints. */
export interface StoredSession {
  readonly generation: number;
  readonly state: string;
  readonly cause: string | undefined;
  readonly refreshToken: string | undefined;
  readonly accessToken: string | undefined;
  readonly hasIntent: boolean;
}

export interface FleetSetup extends Partial<ServerSetup> {
  /** Where workers find the store, if not where the harness does. */
  readonly workersUse?: StoreAddress;
  /** Puts something between workers and the token endpoint: gets the port, gives another. */
  readonly route?: (port: number) => Promise<number>;
}

/** An authorization server, a store, and the workers that share them. */
export class Fleet {
  readonly server: Server;
  readonly issuer: string;
  readonly tokenEndpoint: string;
  readonly client: OAuthClient;
  readonly #programs: Programs;
  readonly #address: StoreAddress;
  readonly #opened: OpenStore;
  readonly #manager: TokenManager;
  readonly #workers = new Set<Worker>();

  private constructor(
    programs: Programs,
    address: StoreAddress,
    server: Server,
    opened: OpenStore,
    endpoints: { readonly issuer: string; readonly tokenEndpoint: string },
  ) {
    this.#programs = programs;
    this.#address = address;
    this.server = server;
    this.issuer = endpoints.issuer;
    this.tokenEndpoint = endpoints.tokenEndpoint;
    this.#opened = opened;
    this.client = clientOf(endpoints);
    this.#manager = new TokenManager({ store: opened.store });
  }

  static async open(programs: Programs, address: StoreAddress, setup: FleetSetup = {}): Promise<Fleet> {
    const { route, workersUse = address, ...rest } = setup;
    const defaults: ServerSetup = { graceMs: 0, accessTokenSeconds: LIFETIME_SECONDS };
    const server = await RemoteProgram.start<ServerOperations>(programs.server, { ...defaults, ...rest });
    const issuer = await server.call("address", null);
    const port = Number(new URL(issuer).port);
    const tokenEndpoint = `http://127.0.0.1:${String((await route?.(port)) ?? port)}/token`;
    return new Fleet(programs, workersUse, server, await openStore(address), { issuer, tokenEndpoint });
  }

  async startWorker(name: string, changes: Partial<WorkerSetup> = {}): Promise<Worker> {
    const setup: WorkerSetup = {
      name,
      store: this.#address,
      issuer: this.issuer,
      tokenEndpoint: this.tokenEndpoint,
      leaseTtlMs: LEASE_MS,
      perSecond: 1_000,
      jitter: 1,
      resolves: false,
      managers: 1,
      ...changes,
    };
    const worker = await RemoteProgram.start<WorkerOperations>(this.#programs.worker, setup);
    this.#workers.add(worker);
    return worker;
  }

  startWorkers(count: number, changes: Partial<WorkerSetup> = {}): Promise<readonly Worker[]> {
    return Promise.all(Array.from({ length: count }, (_, index) => this.startWorker(`w${String(index)}`, changes)));
  }

  /** People sign in. @param agedMs How long ago, as the tokens say. */
  async logIn(subjects: readonly string[], { agedMs = 0 }: { readonly agedMs?: number } = {}): Promise<void> {
    const logins = await this.server.call("login", { count: subjects.length });
    await Promise.all(
      subjects.map((subject, index) => {
        const login = logins[index];
        if (login === undefined) throw new TypeError("unreachable: one login for each subject");
        return this.#manager.save(this.client, { subject }, importTokens(this.#exported(login, agedMs)));
      }),
    );
  }

  #exported({ accessToken, refreshToken }: Login, agedMs: number): ExportedTokens {
    const obtainedAt = Date.now() - agedMs;
    return {
      accessToken,
      refreshToken,
      tokenType: "Bearer",
      obtainedAt,
      expiresAt: obtainedAt + LIFETIME_SECONDS * 1_000,
      scopes: ["offline_access"],
      scopesAssumed: false,
      connectionId: this.client.connectionId,
    };
  }

  /** What the store holds, read past the manager. */
  async stored(subject: string): Promise<StoredSession> {
    const { key } = this.#manager.session(this.client, { subject });
    const found = await this.#opened.store.read(key, { signal: AbortSignal.timeout(5_000) });
    if (found === undefined) throw new Error("nothing is stored for this subject");
    const { generation, state, cause, tokens, intent } = JSON.parse(found.record.value) as {
      readonly generation: number;
      readonly state: string;
      readonly cause?: string;
      readonly tokens?: { readonly accessToken: string; readonly refreshToken: string };
      readonly intent?: object;
    };
    return {
      generation,
      state,
      cause,
      refreshToken: tokens && fingerprint(tokens.refreshToken),
      accessToken: tokens && fingerprint(tokens.accessToken),
      hasIntent: intent !== undefined,
    };
  }

  /** Waits until nobody has the lease of a session: of a process that was killed it ends by time. */
  async untilFree(subject: string): Promise<void> {
    const { key } = this.#manager.session(this.client, { subject });
    for (;;) {
      const lease = await this.#opened.store.lease?.(key, { ttlMs: LEASE_MS });
      if (lease !== undefined) return lease.release();
      await wait(50);
    }
  }

  /** Whether the server would take what the store holds. */
  async isStoredTokenLive(subject: string): Promise<boolean> {
    const { refreshToken } = await this.stored(subject);
    return refreshToken !== undefined && (await this.server.call("isLive", { fingerprint: refreshToken }));
  }

  log(from = 0): Promise<readonly TokenRequest[]> {
    return this.server.call("log", { from });
  }

  async close(): Promise<void> {
    await Promise.all([...this.#workers].map((worker) => worker.kill()));
    await this.server.kill();
    await this.#manager.close();
    await this.#opened.close();
  }
}
