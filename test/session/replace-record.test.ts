import { describe, expect, test } from "vitest";
import { TokenManager, memoryStore } from "warehouse-oauth";
import type { Clock, OAuthClient, TokenStore } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import { StoreError } from "../../src/core/errors.ts";
import { acmeServer } from "./acme-room.ts";

const ADA = { subject: "ada" };

/** A store whose records of before were sealed with a key that is gone. */
function sealedByAnother(store: TokenStore): TokenStore & { readonly deleted: string[] } {
  const deleted: string[] = [];
  let sealed = true;
  return {
    ...store,
    capabilities: store.capabilities,
    deleted,
    read: (key, options) =>
      sealed ? Promise.reject(new StoreError("unknown_key", "no such key", "read")) : store.read(key, options),
    write: (key, record, options) => store.write(key, record, options),
    delete: (key, options) => {
      sealed = false;
      deleted.push(key);
      return store.delete(key, options);
    },
    lease: (key, options) => store.lease?.(key, options) ?? Promise.resolve(undefined),
  };
}

/** A store with this text where Ada's record should be. */
async function holding(text: string, client: OAuthClient, clock: Clock): Promise<TokenStore> {
  const store = memoryStore({ clock });
  const { key } = new TokenManager({ clock, store }).session(client, ADA);
  await store.write(key, { value: text }, { ifVersion: undefined });
  return store;
}

describe("S-077 a record that nobody can read", () => {
  test("is replaced by a login", async () => {
    const clock = manualClock();
    const server = acmeServer(clock);
    const store = memoryStore({ clock });
    const manager = new TokenManager({ clock, store });
    const { key } = await manager.save(server.client, ADA, server.tokens());
    const read = await store.read(key, {});
    await store.write(key, { value: "not what we wrote" }, { ifVersion: read?.version });

    const other = new TokenManager({ clock, store });
    await expect(other.session(server.client, ADA).getAccessToken()).rejects.toMatchObject({ code: "decrypt_failed" });
    const session = await other.save(server.client, ADA, server.tokens());
    expect(await session.status()).toMatchObject({ state: "active" });
    expect((await store.read(key, {}))?.version).not.toBe(read?.version);
  });

  test("is buried by a logout", async () => {
    const clock = manualClock();
    const server = acmeServer(clock);
    const store = memoryStore({ clock });
    const { key } = await new TokenManager({ clock, store }).save(server.client, ADA, server.tokens());
    const read = await store.read(key, {});
    await store.write(key, { value: "{}" }, { ifVersion: read?.version });

    const session = new TokenManager({ clock, store }).session(server.client, ADA);
    await session.forget();
    expect(await session.status()).toEqual({ state: "revoked" });
  });

  test("is deleted where the store itself cannot open it, and then replaced", async () => {
    const clock = manualClock();
    const server = acmeServer(clock);
    const store = sealedByAnother(memoryStore({ clock }));
    const manager = new TokenManager({ clock, store });
    const session = await manager.save(server.client, ADA, server.tokens());
    expect(store.deleted).toEqual([session.key]);
    expect(await session.status()).toMatchObject({ state: "active", generation: 1 });
  });

  test("S-077 cannot be revoked, and a logout says so: it is gone here and lives on at the warehouse", async () => {
    const clock = manualClock();
    const server = acmeServer(clock);
    for (const lost of [
      sealedByAnother(memoryStore({ clock })),
      await holding("not what we wrote", server.client, clock),
    ]) {
      const session = new TokenManager({ clock, store: lost }).session(server.client, ADA);
      await expect(session.revoke()).rejects.toMatchObject({
        name: "StoreError",
        code: expect.stringMatching(/^(unknown_key|decrypt_failed)$/) as string,
        message: expect.stringContaining("lives on at the warehouse") as string,
      });
      expect(await session.status()).toEqual({ state: "revoked" });
      expect(await session.revoke()).toMatchObject({ refreshToken: "absent" });
    }
    expect(server.calls).toEqual([]);
  });

  test("is no reason to write when the store does not answer at all", async () => {
    const clock = manualClock();
    const server = acmeServer(clock);
    const memory = memoryStore({ clock });
    const writes: string[] = [];
    const down: TokenStore = {
      ...memory,
      capabilities: memory.capabilities,
      read: () => Promise.reject(new Error("down")),
      write: (key) => {
        writes.push(key);
        return Promise.resolve("1");
      },
      delete: (key) => {
        writes.push(key);
        return Promise.resolve(true);
      },
      lease: () => Promise.resolve(undefined),
    };
    const manager = new TokenManager({ clock, store: down });
    await expect(manager.save(server.client, ADA, server.tokens())).rejects.toMatchObject({
      code: "store_unavailable",
    });
    expect(writes).toEqual([]);
  });
});
