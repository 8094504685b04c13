import { TokenManager, clientSecretPost, createClient, defineWarehouse } from "warehouse-oauth";
import type { OAuthClient, TokenSession } from "warehouse-oauth";
import { EndpointRules } from "./endpoint-rules.ts";
import type { ReferenceModel } from "./reference-model.ts";
import { seededRandom } from "./repeatable-crypto.ts";
import type { RotatingServer } from "./rotating-server.ts";
import type { SharedStore } from "./shared-store.ts";
import { Process } from "./world.ts";
import type { World } from "./world.ts";

/** What all processes share, and what is known of it. */
export interface Surroundings {
  readonly world: World;
  readonly server: RotatingServer;
  readonly store: SharedStore;
  readonly model: ReferenceModel;
}

/** Whose session it is, in whatever process. */
export interface Person {
  readonly subject: string;
  /** Logins and logouts begun or ended so far: what was known before one of them counts no more. */
  logins: number;
  /** Logins and logouts that are under way. */
  replacing: number;
  /** The refresh token that the last one got. */
  lastLogin: string | undefined;
}

/** One session in one process. */
export interface Seat {
  readonly person: Person;
  readonly session: TokenSession;
  /** The last token that callers here got, and after how many logins. */
  last: { readonly token: string; readonly logins: number } | undefined;
}

/** Without use for longer than this, a session leaves memory as soon as others come in. */
export const IDLE_MS = 900_000;

/** Sessions that come in at once: with them everything that was idle is found. */
const GUESTS = 3;

/** One process of the application, with the library in it. */
export class Instance {
  readonly process: Process;
  readonly client: OAuthClient;
  readonly manager: TokenManager;
  readonly seats: readonly Seat[];
  /** How long the function that gives the client's secret takes, the next times. */
  readonly #secretDelays: number[] = [];
  #guests = 0;

  constructor(
    { world, server, store, model }: Surroundings,
    people: readonly Person[],
    options: { readonly number: number; readonly skewMs: number; readonly atOnce: number },
  ) {
    const { number, skewMs, atOnce } = options;
    const process = new Process(`process ${String(number)}`, world, skewMs);
    const { clock } = process;
    const rules = new EndpointRules((what) => model.violations.push(what));
    const clientSecret = (): Promise<string> =>
      process.call({ thereMs: 0, backMs: this.#secretDelays.shift() ?? 0 }, () => "secret");
    this.process = process;
    this.client = createClient({
      warehouse: WAREHOUSE,
      clientId: "app",
      clientAuthentication: clientSecretPost(clientSecret),
      fetch: server.openFor(process, store, model, rules),
      clock,
    });
    this.manager = new TokenManager({
      store: store.openFor(process),
      clock,
      random: seededRandom(number),
      // The guard against too many refreshes has its own tests; here it would only hide what comes after.
      refresh: { maxPerHour: 1_000, idleMs: IDLE_MS },
      concurrency: { atOnce },
    });
    this.seats = people.map((person) => ({
      person,
      session: this.manager.session(this.client, { subject: person.subject }),
      last: undefined,
    }));
    this.manager.on("refresh_started", ({ session: reference }) => {
      const seat = this.seats.find(({ session }) => session.reference === reference);
      model.begin(process, seat?.session.key ?? "", world.elapsed);
    });
    this.manager.on("circuit_opened", ({ retryAfterMs }) => {
      rules.openCircuit(world.elapsed, retryAfterMs);
    });
    this.manager.on("circuit_closed", () => {
      rules.closeCircuit();
    });
    this.manager.start();
  }

  delaySecret(ms: number): void {
    this.#secretDelays.push(ms);
  }

  /** Other sessions come in: what nobody uses leaves memory. */
  receiveGuests(): void {
    for (let left = GUESTS; left > 0; left--)
      this.manager.session(this.client, { subject: `guest ${String(++this.#guests)}` });
  }
}

const WAREHOUSE = defineWarehouse({
  id: "acme",
  issuer: "https://login.acme.example",
  authorizationEndpoint: "https://login.acme.example/authorize",
  tokenEndpoint: "https://login.acme.example/token",
  revocationEndpoint: "https://login.acme.example/revoke",
  defaultScopes: ["sql"],
  refreshRotation: "single-use",
});
