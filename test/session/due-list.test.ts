// Sessions that one process takes off the store's list of due ones while another uses them: requirements, DESIGN 7.
import { beforeEach, describe, expect, test } from "vitest";
import { TokenManager, memoryStore } from "warehouse-oauth";
import type { TokenManagerOptions, TokenSession, TokenStore } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { DAY, HOUR, MINUTE, acmeServer, storeWith, storeWithout, success } from "./acme-room.ts";
import type { AcmeServer } from "./acme-room.ts";

let clock: ManualClock;
let server: AcmeServer;
let inner: TokenStore;
/** What was written since the login: whether it is on the list. */
let writes: boolean[];

beforeEach(() => {
  clock = manualClock();
  server = acmeServer(clock, {}, 24 * 3600);
  inner = memoryStore({ clock });
  writes = [];
});

const write: TokenStore["write"] = (key, record, options) => {
  writes.push(record.dueAt !== undefined);
  return inner.write(key, record, options);
};

const open = (options: TokenManagerOptions = {}): TokenManager => {
  const store = storeWith(clock, { write }, inner);
  const manager = new TokenManager({ clock, random: () => 0.5, store, resolveClient: () => server.client, ...options });
  manager.start();
  return manager;
};

const openAda = (manager: TokenManager): TokenSession => manager.session(server.client, { subject: "ada" });

/** Others come in, and who is idle is let go. */
function pass(manager: TokenManager, visit: number): void {
  for (const name of ["grace", "joan"]) manager.session(server.client, { subject: `${name}-${String(visit)}` });
}

async function logIn(manager: TokenManager): Promise<TokenSession> {
  const session = await manager.save(server.client, { subject: "ada" }, server.tokens());
  writes.length = 0;
  return session;
}

/** Somebody asks for the token every ten minutes. */
async function useFor(durationMs: number, session: TokenSession, elsewhere?: TokenManager): Promise<void> {
  for (let passedMs = 0; passedMs < durationMs; passedMs += 10 * MINUTE) {
    await session.getAccessToken();
    await clock.advance(10 * MINUTE);
    if (elsewhere !== undefined) pass(elsewhere, passedMs);
  }
}

/** A process that starts finds it once its time has come. */
async function expectTakenUp(): Promise<void> {
  const before = server.calls.length;
  open();
  await clock.advance(DAY);
  expect(server.calls.length).toBe(before + 1);
}

describe("R-10 a session that another process uses", () => {
  test("is put back on the list, once, and taken up when that process is gone", async () => {
    const idle = open();
    await logIn(idle);
    const busy = open();
    await useFor(8 * HOUR, openAda(busy), idle);
    expect(writes).toEqual([false, true]);
    await busy.close();
    await idle.close();
    await expectTakenUp();
  });

  test("is put back by a process that only serves, for those that refresh ahead of time", async () => {
    const idle = open();
    await logIn(idle);
    const serving = open();
    serving.stop();
    const session = openAda(serving);
    await useFor(3 * HOUR, session, idle);
    expect(writes).toEqual([false, true]);
    await useFor(24 * HOUR, session);
    expect(server.calls).toHaveLength(1);
  });

  test("is put back although the other one keeps it alive, and lists it for the time when it must", async () => {
    server = acmeServer(clock, { refreshExtends: "on-use" }, 3600);
    const listed: number[] = [];
    const write: TokenStore["write"] = (key, record, options) => {
      listed.push((record.dueAt ?? Infinity) - clock.now());
      return inner.write(key, record, options);
    };
    const store = storeWith(clock, { write }, inner);
    const idle = open({ store, refresh: { keepAlive: true, idleMs: 10 * MINUTE, leadTimeMs: 40 * MINUTE } });
    const tokens = server.tokens({ refreshExpiresAt: clock.now() + 10 * DAY });
    await idle.save(server.client, { subject: "ada" }, tokens);
    const busy = openAda(open({ store }));
    await busy.getAccessToken();
    await clock.advance(30 * MINUTE);
    expect(listed.at(-1)).toBeGreaterThan(8 * DAY);
    await useFor(10 * MINUTE, busy);
    expect(listed.at(-1)).toBeLessThan(HOUR);
    expect(listed).toHaveLength(3);
    expect(server.calls).toHaveLength(0);
  });
});

test("R-10 a session that is used again after it had left memory is taken up if that process dies", async () => {
  const manager = open();
  const session = await logIn(manager);
  await clock.advance(2 * HOUR);
  pass(manager, 0);
  await clock.advance(MINUTE);
  expect(writes).toEqual([false]);
  await session.getAccessToken();
  await clock.advance(0);
  expect(writes).toEqual([false, true]);
  await manager.close();
  await expectTakenUp();
});

describe("nothing is written", () => {
  test("for one that is on the list, whenever each process would refresh it", async () => {
    await logIn(open({ refresh: { leadTimeMs: MINUTE } }));
    await useFor(3 * HOUR, openAda(open({ refresh: { leadTimeMs: 8 * HOUR } })));
    expect(writes).toEqual([]);
  });

  test("for one that is due only when it must be kept alive, and listed for then", async () => {
    const definition = {
      refreshExtends: "on-rotation",
      refreshRotation: "single-use",
      rotationVoidsAccessTokens: true,
    } as const;
    server = acmeServer(clock, definition, 3600);
    const manager = open({ refresh: { keepAlive: true } });
    const tokens = server.tokens({ refreshExpiresAt: clock.now() + 10 * DAY });
    await manager.save(server.client, { subject: "ada" }, tokens);
    await useFor(50 * MINUTE, openAda(open({ refresh: { keepAlive: true } })));
    expect(writes).toEqual([true]);
    expect(server.calls).toEqual([]);
  });

  test("for a copy that nobody here used for an hour, though a job looks at it", async () => {
    const idle = open();
    await logIn(idle);
    const worker = open();
    const { key } = openAda(worker);
    await worker.refresh(key);
    await clock.advance(2 * HOUR);
    pass(idle, 0);
    await clock.advance(MINUTE);
    await worker.refresh(key);
    await clock.advance(0);
    expect(writes).toEqual([false]);
  });

  test("for one that is due already: it is refreshed, and written then", async () => {
    const idle = open();
    const session = await logIn(idle);
    await clock.advance(2 * HOUR);
    pass(idle, 0);
    await clock.advance(23 * HOUR);
    writes.length = 0;
    await session.getAccessToken();
    await clock.advance(0);
    expect(writes).toEqual([true]);
    expect(server.calls).toHaveLength(1);
  });

  test.each([
    ["lists no due sessions", () => ({ ...storeWithout(clock, ["due"], inner), write })],
    ["ends with this process", () => storeWith(clock, { write, capabilities: inner.capabilities }, inner)],
    [
      "lets two writers win",
      () => storeWith(clock, { write, capabilities: { compareAndSet: false, durable: true } }, inner),
    ],
  ])("where the store %s", async (_, makeStore) => {
    const manager = open({ store: makeStore() });
    const session = await logIn(manager);
    await clock.advance(2 * HOUR);
    pass(manager, 0);
    await clock.advance(MINUTE);
    writes.length = 0;
    await useFor(HOUR, session);
    expect(writes).toEqual([]);
  });
});

test("R-10 what is put back at the same moment as somebody refreshes does not stand in the way", async () => {
  server = acmeServer(clock, { refreshRotation: "single-use" }, 24 * 3600);
  server.answer = (_, index) =>
    success(`access-${String(index)}`, { expires_in: 24 * 3600, refresh_token: `refresh-${String(index)}` });
  const manager = open();
  const session = await logIn(manager);
  await clock.advance(2 * HOUR);
  pass(manager, 0);
  await clock.advance(MINUTE);
  await session.refresh();
  expect(server.calls).toHaveLength(1);
  expect(await session.getAccessToken()).toBe("access-1");
  await manager.close();
  await expectTakenUp();
});
