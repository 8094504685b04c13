import type { Adapter, AdapterPayload } from "oidc-provider";

/**
 * What the authorization server keeps. With a grace time, a refresh token that was used counts as used only when that
 * time is over: until then it brings further successors, as at servers with a "reuse interval". Afterwards, and at once
 * without it, using it again kills the whole family.
 */
export class ServerMemory {
  readonly #graceMs: number;
  readonly #items = new Map<string, AdapterPayload>();
  readonly #usedAt = new Map<string, number>();
  readonly #families = new Map<string, Set<string>>();

  constructor(graceMs: number) {
    this.#graceMs = graceMs;
  }

  /** What oidc-provider calls an adapter. */
  readonly adapterOf: (model: string) => Adapter = (model) => ({
    upsert: (id, payload) => {
      const key = `${model}:${id}`;
      this.#items.set(key, payload);
      if (payload.grantId !== undefined && model !== "Grant") this.#familyOf(payload.grantId).add(key);
      return Promise.resolve();
    },
    find: (id) => Promise.resolve(this.#find(`${model}:${id}`)),
    findByUid: () => Promise.resolve(undefined),
    findByUserCode: () => Promise.resolve(undefined),
    consume: (id) => {
      const key = `${model}:${id}`;
      if (!this.#usedAt.has(key)) this.#usedAt.set(key, Date.now());
      return Promise.resolve();
    },
    destroy: (id) => {
      this.#items.delete(`${model}:${id}`);
      return Promise.resolve();
    },
    revokeByGrantId: (grantId) => {
      for (const key of this.#familyOf(grantId)) this.#items.delete(key);
      this.#families.delete(grantId);
      return Promise.resolve();
    },
  });

  #find(key: string): AdapterPayload | undefined {
    const payload = this.#items.get(key);
    const usedAt = this.#usedAt.get(key);
    if (payload === undefined || usedAt === undefined) return payload;
    return Date.now() - usedAt < this.#graceMs ? payload : { ...payload, consumed: Math.floor(usedAt / 1000) };
  }

  #familyOf(grantId: string): Set<string> {
    let family = this.#families.get(grantId);
    if (family === undefined) this.#families.set(grantId, (family = new Set()));
    return family;
  }
}
