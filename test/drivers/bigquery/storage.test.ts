// @google-cloud/bigquery-storage: the real client over gRPC, ours beside its own way.
import { createRequire } from "node:module";
import type * as storagePackage from "@google-cloud/bigquery-storage";
import { bigQueryAuthClient } from "warehouse-oauth/bigquery/driver";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { startStorageServer, trustOurselves, type StorageServer } from "./storage-server.ts";
import { MINUTE, OWN, openWorld, type World } from "./warehouse.ts";

type Storage = typeof storagePackage;

let storage: Storage;
let distrust = (): void => undefined;
const lines: string[] = [];

beforeAll(async () => {
  distrust = trustOurselves();
  storage = await import("@google-cloud/bigquery-storage");
});

afterAll(() => {
  distrust();
  console.log(["| scenario | with | calls | failed | requests for tokens | RPCs | refused |", ...lines].join("\n"));
});

afterEach(() => vi.useRealTimers());

type AuthClient = NonNullable<NonNullable<ConstructorParameters<Storage["BigQueryReadClient"]>[0]>["authClient"]>;

interface Contender {
  readonly name: string;
  open(world: World): AuthClient;
}

const OURS: Contender = { name: "warehouse-oauth", open: ({ session }) => bigQueryAuthClient(session) };

/** The copy of google-auth-library that gRPC's side of the client brings. */
const THEIRS: Contender = {
  name: OWN.name,
  open(world) {
    const fromHere = createRequire(import.meta.url);
    const fromStorage = createRequire(fromHere.resolve("@google-cloud/bigquery-storage"));
    const library = createRequire(fromStorage.resolve("google-gax"))("google-auth-library") as {
      OAuth2Client: new (options: object) => AuthClient;
    };
    const { clientId, clientSecret, tokenUrl } = world.credentials;
    const client = new library.OAuth2Client({ clientId, clientSecret, endpoints: { oauth2TokenUrl: tokenUrl } });
    client.setCredentials({
      refresh_token: world.login.refreshToken ?? "",
      access_token: world.login.accessToken,
      expiry_date: world.login.expiresAt ?? 0,
    });
    return client;
  },
};

interface Scene {
  readonly world: World;
  readonly server: StorageServer;
  /** One call, settled: the name of a read session, or what was thrown. */
  readonly call: () => Promise<unknown>;
}

async function withScene(contender: Contender, name: string, run: (scene: Scene) => Promise<void>): Promise<void> {
  const world = await openWorld();
  const server = await startStorageServer(world, storage.protos.google.cloud.bigquery.storage.v1);
  const client = new storage.BigQueryReadClient({
    projectId: "acme-analytics",
    apiEndpoint: "127.0.0.1",
    port: server.port,
    authClient: contender.open(world),
  });
  const failures: unknown[] = [];
  let calls = 0;
  const call = async (): Promise<unknown> => {
    calls += 1;
    try {
      const [session] = await client.createReadSession({ parent: "projects/acme-analytics", readSession: {} });
      return session.name;
    } catch (error) {
      failures.push(error);
      return error;
    }
  };
  try {
    await run({ world, server, call });
    const refused = server.calls.filter(({ good }) => !good).length;
    const failed =
      failures.length === 0 ? "0" : `${String(failures.length)}: ${String(failures[0]).split("\n")[0] ?? ""}`;
    const figures = [calls, failed, world.requests().token, server.calls.length, refused];
    lines.push(`| gRPC: ${name} | ${contender.name} | ${figures.join(" | ")} |`);
  } finally {
    await client.close();
    await server.close();
    await world.close();
  }
}

const NAME = "projects/acme-analytics/locations/us/sessions/1";
const eight = (call: () => Promise<unknown>): Promise<unknown[]> => Promise.all(Array.from({ length: 8 }, call));

describe.each([OURS, THEIRS])("$name", (contender) => {
  const ours = contender === OURS;

  test("one call with a fresh token", async () => {
    await withScene(contender, "one call with a fresh token", async ({ world, server, call }) => {
      expect(await call()).toBe(NAME);
      expect(server.calls).toEqual([{ authorization: `Bearer ${world.login.accessToken}`, good: true }]);
    });
  });

  test("eight calls at once, the token has ended: one refresh", async () => {
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() });
    await withScene(contender, "eight calls at once, the token has ended", async ({ world, server, call }) => {
      expect(await call()).toBe(NAME);
      vi.setSystemTime(Date.now() + 61 * MINUTE);
      expect(new Set(await eight(call))).toEqual(new Set([NAME]));
      expect(server.calls.filter(({ good }) => good)).toHaveLength(9);
      expect(new Set(server.calls.map(({ authorization }) => authorization)).size).toBe(2);
      expect(world.requests().token).toBe(1);
    });
  });

  test("four minutes before the end the token endpoint answers 503", async () => {
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() });
    await withScene(
      contender,
      "four minutes before the end the token endpoint answers 503",
      async ({ world, call }) => {
        vi.setSystemTime(Date.now() + 56 * MINUTE);
        world.fake.fail({ at: "token", kind: "status", status: 503, times: Infinity });
        const outcome = await call();
        if (ours) expect(outcome).toBe(NAME);
        else expect(outcome).toBeInstanceOf(Error);
      },
    );
  });

  test("the server refuses a token that looks fresh: nobody repeats; ours has a way on", async () => {
    await withScene(contender, "the server refuses a token that looks fresh", async ({ world, call }) => {
      world.fake.expireAccessTokens();
      expect(await call()).toMatchObject({ code: 16 });
      expect(await call()).toMatchObject({ code: 16 });
      if (!ours) return;
      await world.session.refresh();
      expect(await call()).toBe(NAME);
    });
  });

  test("the grant was withdrawn and the token has ended", async () => {
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() });
    await withScene(contender, "the grant was withdrawn and the token has ended", async ({ world, server, call }) => {
      world.fake.revokeGrants();
      vi.setSystemTime(Date.now() + 61 * MINUTE);
      const error = await call();
      expect(error).toBeInstanceOf(Error);
      expect(server.calls).toEqual([]);
      if (!ours) return;
      // gRPC makes an error of its own out of ours; the session says the same again, as itself.
      expect(String(error)).toContain("sign in again");
      await expect(world.session.getAccessToken()).rejects.toMatchObject({ code: "reauthorization_required" });
      expect(world.requests().token).toBe(1);
    });
  });
});
