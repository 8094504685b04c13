import type { Sending } from "./reference-model.ts";

/** When one process may ask the token endpoint for anything: not during a pause, and while its circuit is open only once. */
export class EndpointRules {
  readonly #violate: (what: string) => void;
  /** Pauses and circuits begin after what was sent at the same moment. */
  #pause = { from: Infinity, until: -Infinity };
  #circuit: { readonly from: number; readonly until: number } | undefined;
  /** What was sent while the circuit was open, and is not answered. */
  #probe: Sending | undefined;

  constructor(violate: (what: string) => void) {
    this.#violate = violate;
  }

  openCircuit(at: number, forMs: number): void {
    this.#circuit = { from: at, until: at + forMs };
  }

  closeCircuit(): void {
    this.#circuit = this.#probe = undefined;
  }

  send(sending: Sending): void {
    const { at, token, by } = sending;
    if (at > this.#pause.from && at < this.#pause.until) this.#violate(`${by.name} sent ${token} during a pause`);
    if (this.#circuit === undefined || at <= this.#circuit.from) return;
    if (at < this.#circuit.until) this.#violate(`${by.name} sent ${token} while the circuit was open`);
    if (this.#probe !== undefined) this.#violate(`${by.name} sent ${token} beside ${this.#probe.token}, the probe`);
    this.#probe = sending;
  }

  /** @param retryAfter Seconds, as the answer says. */
  end(sending: Sending, retryAfter: string | null | undefined): void {
    if (this.#probe === sending) this.#probe = undefined;
    if (retryAfter === null || retryAfter === undefined) return;
    const from = sending.by.world.elapsed;
    const until = from + 1_000 * Number(retryAfter);
    if (until > this.#pause.until) this.#pause = { from, until };
  }
}
