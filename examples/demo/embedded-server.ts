import type { OAuthClient } from "warehouse-oauth";
import type { FakeWarehouse, RegisterOptions } from "warehouse-oauth/testing";
import { listen, type ListeningFake } from "warehouse-oauth/testing/http";
import type { FakeControls } from "./warehouses.ts";

/** A port that somebody else took meanwhile may become free again. */
const RETRY_MS = 500;

/** How an embedded server behaves. */
export interface EmbeddedServerOptions {
  readonly lifetimeMs: number;
  readonly outageMs: number;
  readonly singleUse: boolean;
}

/** An embedded warehouse behind a port, with the handles to break it. */
export class EmbeddedServer<Login extends object> implements FakeControls {
  readonly lifetimeMs: number;
  readonly outageMs: number;
  readonly singleUse: boolean;
  readonly #fake: FakeWarehouse<Login>;
  readonly #port: number;
  #listening: ListeningFake<Login>;
  #downUntil: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  /** What armed faults will do, and the refresh that the first of them meets. */
  #plan: readonly string[] = [];
  #planFrom = 0;

  private constructor(
    fake: FakeWarehouse<Login>,
    listening: ListeningFake<Login>,
    { lifetimeMs, outageMs, singleUse }: EmbeddedServerOptions,
  ) {
    this.#fake = fake;
    this.#listening = listening;
    this.#port = Number(new URL(listening.origin).port);
    this.lifetimeMs = lifetimeMs;
    this.outageMs = outageMs;
    this.singleUse = singleUse;
  }

  /** Puts a fake behind a free port. */
  static async start<Login extends object>(
    fake: FakeWarehouse<Login>,
    options: EmbeddedServerOptions,
  ): Promise<EmbeddedServer<Login>> {
    return new EmbeddedServer(fake, await listen(fake), options);
  }

  /** Registers a client that reaches it through the port. */
  register(options: RegisterOptions<Login>): OAuthClient<Login> {
    return this.#listening.register(options);
  }

  get refreshRequests(): number {
    return this.#fake.requests.filter(({ at, grant }) => at === "token" && grant === "refresh_token").length;
  }

  get apiRequests(): readonly string[] {
    return this.#fake.requests
      .filter(({ at }) => at === "api")
      .map(({ parameters }) => `${parameters["method"] ?? ""} ${parameters["path"] ?? ""}`);
  }

  get planned(): readonly string[] {
    return this.#plan.slice(Math.max(0, this.refreshRequests - this.#planFrom));
  }

  get downUntil(): number | undefined {
    return this.#downUntil;
  }

  expireAccessTokens(): void {
    this.#fake.expireAccessTokens();
  }

  revokeGrants(): void {
    this.#fake.revokeGrants();
  }

  failRefreshes(times: number): void {
    this.#fake.fail({ at: "token", grant: "refresh_token", kind: "status", status: 503, times });
    this.#expect(Array.from({ length: times }, () => "503"));
  }

  dropNextAnswer(): void {
    this.#fake.fail({ at: "token", grant: "refresh_token", kind: "drop", when: "after" });
    this.#expect(["answer lost"]);
  }

  async kill(): Promise<void> {
    if (this.#downUntil !== undefined || this.#closed) return;
    this.#downUntil = Date.now() + this.outageMs;
    this.#wakeAfter(this.outageMs);
    await this.#listening.close();
  }

  /** Stops for good. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#listening.close();
  }

  #expect(plan: readonly string[]): void {
    this.#plan = [...this.planned, ...plan];
    this.#planFrom = this.refreshRequests;
  }

  #wakeAfter(delayMs: number): void {
    this.#timer = setTimeout(() => {
      this.#comeBack().catch(() => {
        if (!this.#closed) this.#wakeAfter(RETRY_MS);
      });
    }, delayMs);
  }

  async #comeBack(): Promise<void> {
    const listening = await listen(this.#fake, { port: this.#port });
    if (this.#closed) {
      await listening.close();
      return;
    }
    this.#listening = listening;
    this.#downUntil = undefined;
  }
}
