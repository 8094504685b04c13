import { exportTokens, memoryStore } from "warehouse-oauth";
import type { TokenManager, TokenStore } from "warehouse-oauth";
import { fakeDatabricks } from "warehouse-oauth/testing";
import { expect, test } from "vitest";
import {
  createManager,
  keysByCustomer,
  readKeyRing,
  resealEverything,
  type KeyService,
} from "../../examples/encrypted-store.ts";

const newKey = (): string => Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64");
const OLD = `2025-11:${newKey()}`;
const NEW = `2026-11:${newKey()}`;

async function signIn(manager: TokenManager, tenant: string) {
  const fake = fakeDatabricks();
  const tokens = await fake.issueTokens();
  const session = await manager.save(fake.client, { subject: "ada", tenant }, tokens);
  return { fake, tokens, key: session.key, identity: session.identity };
}

async function everything(database: TokenStore): Promise<string> {
  const keys = (await database.keys?.({ limit: 1_000 })) ?? [];
  return JSON.stringify(await Promise.all(keys.map((key) => database.read(key, {}))));
}

test("a ring: rotated in four steps, and nobody signs in again", async () => {
  const database = memoryStore();
  const { fake, tokens, identity } = await signIn(createManager(database, readKeyRing(OLD)), "acme");
  const { accessToken, refreshToken = "" } = exportTokens(tokens);
  expect(await everything(database)).not.toContain(accessToken);
  expect(await everything(database)).not.toContain(refreshToken);
  const lines: string[] = [];
  for (const step of [`${OLD},${NEW}`, `${NEW},${OLD}`]) {
    expect(await createManager(database, readKeyRing(step)).session(fake.client, identity).getAccessToken()).toBe(
      accessToken,
    );
  }
  expect(await resealEverything(database, readKeyRing(`${NEW},${OLD}`), (line) => lines.push(line))).toMatchObject({
    resealed: 1,
    skipped: 0,
  });
  expect(lines).toEqual([expect.stringMatching(/^1 of 1 sealed anew/), "0 left for another run"]);
  expect(await createManager(database, readKeyRing(NEW)).session(fake.client, identity).getAccessToken()).toBe(
    accessToken,
  );
});

/** Speaks like the one of AWS, and keeps to its rules: a text opens with its key and its context only. */
class FakeKeyService implements KeyService {
  readonly disabled = new Set<string>();
  calls = 0;
  down = false;
  readonly #texts = new Map<string, { readonly key: string; readonly context: string; readonly plain: Uint8Array }>();

  encrypt({ KeyId, Plaintext, EncryptionContext }: Parameters<KeyService["encrypt"]>[0]) {
    this.#assertUp();
    const blob = crypto.getRandomValues(new Uint8Array(184));
    const context = JSON.stringify(EncryptionContext);
    this.#texts.set(String(blob), { key: KeyId, context, plain: Plaintext.slice() });
    return Promise.resolve({ KeyId, CiphertextBlob: blob });
  }

  decrypt({ CiphertextBlob, EncryptionContext }: Parameters<KeyService["decrypt"]>[0]) {
    this.#assertUp();
    const found = this.#texts.get(String(CiphertextBlob));
    if (found?.context !== JSON.stringify(EncryptionContext))
      return Promise.reject(named("InvalidCiphertextException"));
    if (this.disabled.has(found.key)) return Promise.reject(named("DisabledException"));
    return Promise.resolve({ Plaintext: found.plain.slice() });
  }

  #assertUp(): void {
    this.calls += 1;
    if (this.down) throw named("TimeoutError");
  }
}

function named(name: string): Error {
  return Object.assign(new Error("of the service"), { name });
}

test("a key service: one key for each customer, who can take it away", async () => {
  const database = memoryStore();
  const service = new FakeKeyService();
  const keys = keysByCustomer(service, (tenant) => `alias/${tenant ?? "ours"}`);
  const manager = createManager(database, keys);
  const ada = await signIn(manager, "acme");
  const bob = await signIn(manager, "globex");
  const read = (who: typeof ada): Promise<string> =>
    createManager(database, keys).session(who.fake.client, who.identity).getAccessToken();
  expect(service.calls).toBe(4); // two customers, two purposes
  expect(await read(ada)).toBe(ada.tokens.accessToken);

  service.down = true;
  await expect(read(ada)).rejects.toMatchObject({ code: "store_unavailable", action: "retry" });
  service.down = false;
  service.disabled.add("alias/acme");
  await expect(read(ada)).rejects.toMatchObject({ code: "unknown_key", action: "reauthorize" });
  expect(await read(bob)).toBe(bob.tokens.accessToken);

  // Somebody with a pen for the database: Ada's tokens do not open for Bob.
  const stolen = await database.read(ada.key, {});
  const place = await database.read(bob.key, {});
  await database.write(bob.key, { value: stolen?.record.value ?? "" }, { ifVersion: place?.version });
  await expect(read(bob)).rejects.toMatchObject({ code: "decrypt_failed", action: "reauthorize" });
});
