// Keys are replaced while everything runs: requirements S-077, R-73.
import { beforeEach, describe, expect, test } from "vitest";
import { TokenManager, memoryStore } from "warehouse-oauth";
import type { TokenStore } from "warehouse-oauth";
import { encryptedStore, keyRing, localKeyProvider } from "warehouse-oauth/stores/encrypted";
import type { EncryptedStoreOptions } from "warehouse-oauth/stores/encrypted";
import { fakeDatabricks } from "warehouse-oauth/testing";
import { chooseSeed } from "../fleet/random.ts";
import { thrownBy } from "../session/acme-room.ts";
import { keyService } from "./key-service.ts";
import { SealingLoad } from "./sealing-load.ts";

const random = (): Uint8Array => crypto.getRandomValues(new Uint8Array(32));
const OLD = { id: "2025", key: random() };
const NEW = { id: "2026", key: random() };
const SEED = chooseSeed();

let inner: Required<TokenStore>;

beforeEach(() => {
  inner = memoryStore() as Required<TokenStore>;
});

async function put(key: string, value: string, options: EncryptedStoreOptions): Promise<void> {
  const { version } = (await inner.read(key, {})) ?? {};
  await encryptedStore(inner, options).write(key, { value }, { ifVersion: version });
}

async function valueAt(key: string, options: EncryptedStoreOptions): Promise<string | undefined> {
  return (await encryptedStore(inner, options).read(key, {}))?.record.value;
}

/** Goes through the steps of a move and back again while all is in use, and expects that nobody notices. */
async function expectUnnoticed(
  first: EncryptedStoreOptions,
  move: (load: SealingLoad) => Promise<void>,
): Promise<void> {
  const keys = Array.from({ length: 40 }, (_, at) => `t${String(at % 3)}/${String(at).padStart(2, "0")}//c`);
  for (const key of keys) await put(key, SealingLoad.valueOf(0), first);
  const load = new SealingLoad(inner, keys, first, SEED);
  await move(load);
  await load.end();
  expect(load.failures).toEqual([]);
  // Each write counted one up from what it had read: the sum says whether one was lost.
  for (const key of keys) {
    expect(await valueAt(key, first)).toBe(SealingLoad.valueOf(load.written.get(key) ?? 0));
  }
}

describe(`S-077 R-73 rotation of the key under load (seed ${String(SEED)})`, () => {
  test("sweeps go over sessions whose refresh tokens are single-use, and none is lost or spent twice", async () => {
    const fake = fakeDatabricks({ refreshRotation: "single-use" });
    const subjects = Array.from({ length: 6 }, (_, at) => ({ subject: `s${String(at)}` }));
    const [oldFirst, newFirst] = [keyRing([OLD, NEW]), keyRing([NEW, OLD])];
    // One process for each ring, as in the middle of a deployment.
    const managers = [oldFirst, newFirst].map(
      (keys) =>
        new TokenManager({
          store: encryptedStore(inner, { keys }),
          refresh: { maxPerHour: 10_000 },
          concurrency: { perSecond: 1_000 },
        }),
    );
    const sessions = managers.flatMap((manager) => subjects.map((subject) => manager.session(fake.client, subject)));
    for (const subject of subjects) await managers[0]?.save(fake.client, subject, await fake.issueTokens());
    for (let round = 0; round < 5; round += 1) {
      const refreshes = sessions.map((session) => session.refresh());
      const refreshed = new Map(sessions.map(({ key }, at) => [key, refreshes[at]]));
      // What a sweep read is old by the time it writes: the session was refreshed in between.
      const late: TokenStore = {
        ...without(inner),
        async read(key, options) {
          const found = await inner.read(key, options);
          await refreshed.get(key);
          return found;
        },
      };
      const sweep = encryptedStore(late, { keys: round % 2 === 0 ? newFirst : oldFirst }).reseal();
      expect(await sweep).toMatchObject({ looked: subjects.length, unreadable: 0 });
      await Promise.all(refreshes);
    }
    for (const keys of [newFirst, oldFirst]) await encryptedStore(inner, { keys }).reseal();
    expect(await encryptedStore(inner, { keys: newFirst }).reseal()).toMatchObject({ resealed: subjects.length });
    const refreshes = fake.requests.filter(({ grant }) => grant === "refresh_token");
    expect(refreshes.every(({ status }) => status === 200)).toBe(true);
    for (const session of sessions) await session.refresh();
    for (const session of sessions) expect(await session.status()).toMatchObject({ state: "active", cause: undefined });
    await Promise.all(managers.map((manager) => manager.close()));
  });

  test("no read fails while rings change in steps and a sweep runs, forth and back", async () => {
    const [old, oldFirst, newFirst] = [keyRing([OLD]), keyRing([OLD, NEW]), keyRing([NEW, OLD])];
    await expectUnnoticed({ keys: old }, async (load) => {
      await load.deploy({ keys: oldFirst }); // all know the new key
      await load.deploy({ keys: newFirst }); // all seal with it
      await load.sweep({ keys: newFirst });
      await load.deploy({ keys: keyRing([NEW]) }); // the old one is gone
      await load.pass();
      await load.deploy({ keys: newFirst }); // and back again
      await load.deploy({ keys: oldFirst });
      await load.sweep({ keys: oldFirst });
      await load.deploy({ keys: old });
    });
  });
});

describe(`S-077 R-73 from a ring to a key service and back (seed ${String(SEED)})`, () => {
  // The service's key has the id of the ring's: ids alone tell nobody apart.
  const ring = keyRing([{ id: "a", key: random() }]);
  const provider = localKeyProvider(keyRing([{ id: "a", key: random() }]));
  const toService = { keys: provider, alsoOpens: ring };
  const toRing = { keys: ring, alsoOpens: provider };
  const KEY = "t/ada//c";
  const VALUE = '{"refreshToken":"rt"}';

  test("a sweep seals all anew although the ids are equal, each time once", async () => {
    await put(KEY, VALUE, { keys: ring });
    for (const [both, alone] of [
      [toService, { keys: provider }],
      [toRing, { keys: ring }],
    ] as const) {
      expect(await valueAt(KEY, both)).toBe(VALUE);
      expect(await thrownBy(() => valueAt(KEY, alone))).toMatchObject({ code: "unknown_key" });
      expect(await encryptedStore(inner, both).reseal()).toMatchObject({ resealed: 1, current: 0 });
      expect(await encryptedStore(inner, both).reseal()).toMatchObject({ resealed: 0, current: 1 });
      expect(await valueAt(KEY, alone)).toBe(VALUE);
    }
  });

  test("a sweep asks the service for its newest key, in either place", async () => {
    const service = keyService(keyRing([OLD]));
    const store = encryptedStore(inner, { keys: service, alsoOpens: ring });
    await put(KEY, VALUE, { keys: service });
    expect(await store.reseal()).toMatchObject({ current: 1 });
    service.ring = keyRing([NEW, OLD]);
    expect(await store.reseal()).toMatchObject({ resealed: 1 });
    service.ring = keyRing([NEW]);
    expect(await valueAt(KEY, { keys: ring, alsoOpens: service })).toBe(VALUE);
  });

  test("R-69 while the service is down, what the ring sealed still opens, and what it sealed itself does later", async () => {
    const service = keyService(keyRing([NEW]));
    await put("t/ring//c", VALUE, { keys: ring });
    await put("t/service//c", VALUE, { keys: service });
    service.down = true;
    for (const options of [
      { keys: service, alsoOpens: ring },
      { keys: ring, alsoOpens: service },
    ]) {
      expect(await valueAt("t/ring//c", options)).toBe(VALUE);
      expect(await thrownBy(() => valueAt("t/service//c", options))).toMatchObject({
        code: "store_unavailable",
        action: "retry",
      });
    }
    // On the way back nobody needs it to write.
    await put("t/ring//c", "again", { keys: ring, alsoOpens: service });
    expect(await valueAt("t/ring//c", { keys: ring })).toBe("again");
  });

  test("no read fails under load, forth and back", async () => {
    await expectUnnoticed({ keys: ring }, async (load) => {
      await load.deploy(toRing); // all can open what the service's keys will seal
      await load.deploy(toService);
      await load.sweep(toService);
      await load.deploy({ keys: provider }); // the ring is gone
      await load.pass();
      await load.deploy(toService); // and back again
      await load.deploy(toRing);
      await load.sweep(toRing);
      await load.deploy({ keys: ring });
    });
  });

  test.each<[string, EncryptedStoreOptions, string]>([
    ["two rings", { keys: ring, alsoOpens: keyRing([NEW]) }, "alsoOpens"],
    ["two services", { keys: provider, alsoOpens: localKeyProvider(ring) }, "alsoOpens"],
    ["something else", { keys: ring, alsoOpens: {} as never }, "alsoOpens"],
  ])("%s are refused", async (_, options, option) => {
    expect(await thrownBy(() => encryptedStore(inner, options))).toMatchObject({ code: "config_invalid", option });
  });

  test("a cache is for the service, in either place", () => {
    for (const options of [toRing, toService]) {
      expect(() => encryptedStore(inner, { ...options, dataKeys: { maxCount: 10 } })).not.toThrow();
    }
  });
});

/** The members that stay as they are. */
function without(store: Required<TokenStore>): TokenStore {
  return {
    capabilities: store.capabilities,
    read: (key, options) => store.read(key, options),
    write: (key, record, options) => store.write(key, record, options),
    delete: (key, options) => store.delete(key, options),
    keys: (options) => store.keys(options),
  };
}
