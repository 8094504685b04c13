import { internalsOf } from "../core/index.ts";
import type { OAuthClient } from "../core/index.ts";
import type { Clock } from "../lib/clock.ts";
import type { Connection } from "./connection.ts";
import { EndpointGate } from "./endpoint-gate.ts";
import type { ConcurrencyOptions } from "./endpoint-gate.ts";
import type { OwnConnectionEvent } from "./events.ts";

/** One gate for each client and what it authenticates with: a corrected secret starts with a closed circuit. */
export class EndpointGates {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #concurrency: ConcurrencyOptions;
  readonly #hash: (text: string) => string;
  readonly #emit: (connection: Connection, event: OwnConnectionEvent) => void;

  constructor(
    clock: Clock,
    random: () => number,
    concurrency: ConcurrencyOptions,
    hash: (text: string) => string,
    emit: (connection: Connection, event: OwnConnectionEvent) => void,
  ) {
    this.#clock = clock;
    this.#random = random;
    this.#concurrency = concurrency;
    this.#hash = hash;
    this.#emit = emit;
  }

  of(connection: Connection): EndpointGate {
    const credentials = this.#nameCredentials(connection.client);
    let gate = connection.gates.get(credentials);
    if (gate === undefined) {
      for (const [old, idle] of connection.gates) if (idle.idle) connection.gates.delete(old);
      gate = new EndpointGate(this.#clock, this.#random, this.#concurrency, {
        opened: (code, retryAfterMs) => {
          this.#emit(connection, { type: "circuit_opened", code, retryAfterMs });
        },
        closed: () => {
          this.#emit(connection, { type: "circuit_closed" });
        },
      });
      connection.gates.set(credentials, gate);
    }
    return gate;
  }

  /** What a function gives is not asked for here, so all functions have one name: what they give may change any time. */
  #nameCredentials(client: OAuthClient): string {
    const { clientSecret, isPublic } = internalsOf(client);
    if (typeof clientSecret === "string") return this.#hash(clientSecret);
    return isPublic ? "public" : "function";
  }
}
