import { execFile, execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { OAuthError, TokenManager, memoryStore, type TokenStore } from "warehouse-oauth";
import { fileStore } from "warehouse-oauth/stores/file";
import { keychainStore } from "warehouse-oauth/stores/keychain";
import { fakeBigQuery, fakeSnowflake, storeContract } from "warehouse-oauth/testing";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { reasonToSkip } from "../services/service.ts";
import { fakeKeyring } from "./fake-keyring.ts";

const KEY = "acme/ada";

/** The whole contract takes a minute in a real keychain: `KEYCHAIN_CASES=` (empty) is all of it. */
const CASES =
  process.env["KEYCHAIN_CASES"] ?? "comes back as it was|compare-and-set writes|older versions? do|has one holder";
const root = fileURLToPath(new URL("../../", import.meta.url));

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "warehouse-oauth-keychain-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe("S-099 the keychain alone", () => {
  const keyring = fakeKeyring();
  const open = (): ReturnType<typeof keychainStore> => keychainStore({ service: "my-tool", keyring });
  const lacks = ["lease", "due", "keys"] as const;
  for (const { name, run } of storeContract({ open, shared: true, lacks })) test(name, run);

  test("no entry is left of what was deleted or replaced, and no name holds a key", async () => {
    expect(keyring.entries.size).toBe(0);
    const version = await open().write(KEY, { value: "v".repeat(150_000) }, { ifVersion: undefined });
    expect(keyring.entries.size).toBe(4); // three parts, and where they are
    await open().write(KEY, { value: "short" }, { ifVersion: version });
    expect(keyring.entries.size).toBe(2);
    for (const name of keyring.entries.keys()) expect(name).toMatch(/^my-tool\/[0-9a-f.-]+$/);
    await open().delete(KEY, {});
    expect(keyring.entries.size).toBe(0);
  });

  test("says that it has neither compare-and-set nor lease: a warehouse that rotates is refused, BigQuery is not", async () => {
    expect(open().capabilities).toEqual({ compareAndSet: false, durable: true });
    expect("lease" in open()).toBe(false);
    const manager = new TokenManager({ store: open() });
    const [snowflake, bigquery] = [fakeSnowflake(), fakeBigQuery()];
    const refused = manager.save(snowflake.client, { subject: "ada" }, await snowflake.issueTokens());
    await expect(refused).rejects.toMatchObject({ code: "store_incapable" });
    const session = await manager.save(bigquery.client, { subject: "ada" }, await bigquery.issueTokens());
    expect(await session.getAccessToken()).toBeTypeOf("string");
    await manager.close();
  });
});

describe("S-099 the keychain with files as index", () => {
  const keyring = fakeKeyring();
  const open = (): ReturnType<typeof keychainStore> =>
    keychainStore({ service: "my-tool", keyring, index: fileStore({ directory: join(folder, "index") }) });
  for (const { name, run } of storeContract({ open, shared: true })) test(name, run);

  test("a warehouse that rotates is taken, its tokens are in the keychain and in no file", async () => {
    expect(keyring.entries.size).toBe(0);
    const manager = new TokenManager({ store: open() });
    const fake = fakeSnowflake();
    const tokens = await fake.issueTokens();
    const session = await manager.save(fake.client, { subject: "ada" }, tokens);
    const next = await session.getAccessToken({ rejected: await session.getAccessToken() });
    await manager.close();
    const texts: string[] = [];
    for (const path of await readdir(join(folder, "index"), { recursive: true })) {
      const file = join(folder, "index", path);
      if ((await stat(file)).isFile()) texts.push(await readFile(file, "utf8"));
    }
    expect(texts.join()).toContain('"key"');
    for (const secret of [tokens.accessToken, tokens.refreshToken ?? "", next])
      expect(texts.join()).not.toContain(secret);
    expect([...keyring.entries.values()].map((bytes) => new TextDecoder().decode(bytes)).join()).toContain(next);
    expect(keyring.entries.size).toBe(1);
  });

  test("one that dies at any step leaves the old or the new, and what it held is replaced", async () => {
    const found = new Set<string | undefined>();
    for (let at = 1; at <= 3; at++) {
      const store = keychainStore({ service: "steps", keyring, index: memoryStore() });
      const version = await store.write(KEY, { value: "old" }, { ifVersion: undefined });
      let taken = 0;
      keyring.onStep = () => {
        taken += 1;
        if (taken >= at) throw new Error("no bus any more");
      };
      const writing = store.write(KEY, { value: "new" }, { ifVersion: version }).catch((error: unknown) => error);
      const outcome = await writing;
      keyring.onStep = () => undefined;
      const read = await store.read(KEY, {});
      found.add(read?.record.value);
      expect(typeof outcome === "string").toBe(read?.record.value === "new");
      expect(await store.write(KEY, { value: "next" }, { ifVersion: read?.version })).toBeDefined();
      expect((await store.read(KEY, {}))?.record.value).toBe("next");
    }
    expect(found).toEqual(new Set(["old", "new"]));
    keyring.entries.clear();
  });

  test("what is over goes from both, and the index alone drops nothing", async () => {
    keyring.entries.clear();
    const index = fileStore({ directory: join(folder, "over") });
    const store = keychainStore({ service: "my-tool", keyring, index });
    const over = Date.now() - 1;
    for (const key of ["a", "b", "c"])
      await store.write(key, { value: key, deleteAfter: over }, { ifVersion: undefined });
    // A login looks after eight records, some time after it was written. All are fewer.
    await store.write("new", { value: "new" }, { ifVersion: undefined });
    await vi.waitUntil(() => keyring.entries.size === 1, { timeout: 60_000 });
    expect(await store.keys?.({ limit: 10 })).toEqual(["new"]);
    await store.write("new too", { value: "" }, { ifVersion: undefined });
    expect(keyring.entries.size).toBe(2);
  });

  test("a delete leaves what is written meanwhile, in both", async () => {
    keyring.entries.clear();
    const inner = memoryStore();
    const index: TokenStore = {
      capabilities: inner.capabilities,
      read: (key, options) => inner.read(key, options),
      write: (key, record, options) => inner.write(key, record, options),
      async delete(key, options) {
        const { version } = (await store.read(KEY, {})) ?? {};
        await store.write(KEY, { value: "the login meanwhile" }, { ifVersion: version });
        return inner.delete(key, options);
      },
    };
    const store = keychainStore({ service: "my-tool", keyring, index });
    await store.write(KEY, { value: "old" }, { ifVersion: undefined });
    expect(await store.delete(KEY, {})).toBe(false);
    expect((await store.read(KEY, {}))?.record.value).toBe("the login meanwhile");
    expect(keyring.entries.size).toBe(1);
    keyring.entries.clear();
  });

  test("it cannot do what its index cannot", () => {
    const inner = memoryStore();
    const index: TokenStore = {
      capabilities: { compareAndSet: false, durable: false },
      read: (key, options) => inner.read(key, options),
      write: (key, record, options) => inner.write(key, record, options),
      delete: (key, options) => inner.delete(key, options),
    };
    const store = keychainStore({ service: "my-tool", keyring, index });
    for (const name of ["lease", "due", "keys"]) expect(name in store).toBe(false);
    expect(store.capabilities).toEqual({ compareAndSet: false, durable: false });
  });
});

describe.each(["alone", "with an index"])("what goes wrong, %s", (kind) => {
  const open = (keyring = fakeKeyring()): { store: ReturnType<typeof keychainStore>; keyring: typeof keyring } => {
    const index = kind === "alone" ? {} : { index: memoryStore() };
    return { store: keychainStore({ service: "my-tool", keyring, ...index }), keyring };
  };

  test("a keychain that does not answer is an outage, not a person who never signed in", async () => {
    const { store, keyring } = open();
    await store.write(KEY, { value: "v" }, { ifVersion: undefined });
    keyring.onStep = () => {
      throw Object.assign(new Error("Couldn't access platform storage: secret-text"), { code: "GenericFailure" });
    };
    const failure: unknown = await store.read(KEY, {}).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "store_unavailable", operation: "read", cause: { code: "GenericFailure" } });
    expect(JSON.stringify(failure) + String(failure)).not.toContain("secret-text");
    await expect(store.write("other", { value: "v" }, { ifVersion: undefined })).rejects.toMatchObject({
      code: "store_unavailable",
      operation: "write",
    });
    keyring.onStep = () => undefined;
    expect((await store.read(KEY, {}))?.record.value).toBe("v");
  });

  test("a value that somebody removed, cut or moved is a coded error, and can be replaced", async () => {
    for (const change of [
      (entries: Map<string, Uint8Array>, name: string) => entries.delete(name),
      (entries: Map<string, Uint8Array>, name: string) => entries.set(name, new Uint8Array([34])),
      (entries: Map<string, Uint8Array>, name: string) => entries.set(name, new TextEncoder().encode('["bob","v"]')),
    ]) {
      const { store, keyring } = open();
      await store.write(KEY, { value: "v" }, { ifVersion: undefined });
      const name = [...keyring.entries.keys()].find((each) => each.endsWith(".0")) ?? "";
      change(keyring.entries, name);
      await expect(store.read(KEY, {})).rejects.toMatchObject({ code: "decrypt_failed", action: "reauthorize" });
      expect(await store.delete(KEY, {})).toBe(true);
      expect(await store.write(KEY, { value: "w" }, { ifVersion: undefined })).toBeDefined();
      expect((await store.read(KEY, {}))?.record.value).toBe("w");
    }
  });

  test("a value that does not fit leaves nothing behind", async () => {
    const { store, keyring } = open();
    let sets = 0;
    keyring.onStep = ({ name }) => {
      if (name === "set" && (sets += 1) > 2) throw new Error("full");
    };
    const writing = store.write(KEY, { value: "v".repeat(200_000) }, { ifVersion: undefined });
    await expect(writing).rejects.toMatchObject({ code: "store_unavailable" });
    expect(keyring.entries.size).toBe(0);
    const signal = AbortSignal.abort(new Error("too late"));
    keyring.onStep = () => undefined;
    await expect(store.write(KEY, { value: "v" }, { ifVersion: undefined, signal })).rejects.toThrow("too late");
    expect(keyring.entries.size).toBe(0);
  });
});

test('a wrong "service" is refused', () => {
  for (const service of ["", " ", "a\nb", "x".repeat(201)]) {
    expect(() => keychainStore({ service })).toThrow(expect.objectContaining({ code: "config_invalid" }) as Error);
  }
  expect(() => keychainStore({} as { service: string })).toThrow(
    expect.objectContaining({ code: "invalid_argument" }) as Error,
  );
});

function has(program: string): boolean {
  try {
    execFileSync("sh", ["-c", `command -v ${program}`], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

const hasKeychain = process.platform === "linux" && ["dbus-run-session", "gnome-keyring-daemon"].every(has);
const noKeychain = reasonToSkip(
  hasKeychain ? "gnome-keyring-daemon" : undefined,
  "left out: no keychain of the system here; install gnome-keyring and dbus (Debian)",
);

/** A keychain of its own, unlocked, for as long as the program runs. */
const SESSION = `
printf 'password\\n' | gnome-keyring-daemon --foreground --unlock --components=secrets >/dev/null 2>&1 &
daemon=$!
trap 'kill $daemon' EXIT
for wait in $(seq 600); do
  dbus-send --session --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.NameHasOwner string:org.freedesktop.secrets 2>/dev/null | grep -q true && break
  sleep 0.2
done
"$@"
`;

describe("S-099 the keychain of the system", () => {
  // Where the package is found that the program loads by itself.
  const cache = join(root, "node_modules/.cache/warehouse-oauth");
  let program = "";
  beforeAll(async () => {
    await mkdir(cache, { recursive: true });
    program = join(await mkdtemp(join(cache, "keychain-")), "worker.mjs");
    await build({
      entryPoints: [join(root, "test/stores/keychain-worker.ts")],
      outfile: program,
      bundle: true,
      platform: "node",
      format: "esm",
      target: "node20",
      external: ["@napi-rs/keyring"],
      alias: {
        "warehouse-oauth/stores/file": join(root, "src/stores/file.ts"),
        "warehouse-oauth/stores/keychain": join(root, "src/stores/keychain.ts"),
        "warehouse-oauth/testing": join(root, "src/testing/index.ts"),
      },
      logLevel: "error",
    });
  });
  afterAll(() => rm(join(program, ".."), { recursive: true, force: true }));

  const run = async (file: string, values: string[]): Promise<unknown[]> => {
    const home = await mkdtemp(join(folder, "home-"));
    for (const path of [".cache", ".local/share/keyrings"]) await mkdir(join(home, path), { recursive: true });
    const environment = { ...process.env };
    delete environment["DBUS_SESSION_BUS_ADDRESS"];
    const { stdout } = await promisify(execFile)(file, values, {
      env: { ...environment, HOME: home, XDG_RUNTIME_DIR: home },
    });
    return stdout
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as unknown);
  };

  test.skipIf(noKeychain !== undefined).each(["alone", "index"])(
    `the contract, %s ${noKeychain ?? ""}`,
    async (mode) => {
      const values = [
        "--",
        "bash",
        "-c",
        SESSION,
        "bash",
        process.execPath,
        program,
        mode,
        join(folder, "real-index"),
        CASES,
      ];
      const lines = (await run("dbus-run-session", values)) as [string, string][];
      expect(lines.length).toBeGreaterThanOrEqual(mode === "alone" ? 2 : 3);
      expect(lines.filter(([, outcome]) => outcome !== "passed")).toEqual([]);
    },
  );

  test.skipIf(process.platform !== "linux")("without a bus (Linux): reading and writing both say so", async () => {
    expect(await run(process.execPath, [program, "absent"])).toEqual(["store_unavailable", "store_unavailable"]);
  });

  test("without the package: what to install", async () => {
    const away = await mkdtemp(join(folder, "away-"));
    await promisify(execFile)("cp", [program, join(away, "worker.mjs")]);
    expect(await run(process.execPath, [join(away, "worker.mjs"), "absent"])).toEqual([
      "config_invalid",
      "config_invalid",
    ]);
  });
});

test("errors are ours", async () => {
  const keyring = fakeKeyring();
  keyring.onStep = () => {
    throw new Error("locked");
  };
  const store = keychainStore({ service: "my-tool", keyring });
  expect(OAuthError.is(await store.read(KEY, {}).catch((error: unknown) => error))).toBe(true);
});
