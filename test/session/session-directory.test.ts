// The sessions a process knows: requirements S-079, R-40, DESIGN 7 (idle sessions leave memory).
import { beforeEach, describe, expect, test } from "vitest";
import type { OAuthClient } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { abortable } from "../../src/lib/abortable.ts";
import { SessionDirectory } from "../../src/session/session-directory.ts";
import type { ResolveClient } from "../../src/session/session-directory.ts";
import type { SessionEntry } from "../../src/session/session-entry.ts";
import { parseSessionKey } from "../../src/session/session-key.ts";
import type { SessionDescription } from "../../src/session/session-key.ts";
import { DAY, HOUR, acmeServer, thrownBy } from "./acme-room.ts";
import type { AcmeServer } from "./acme-room.ts";

let clock: ManualClock;
let server: AcmeServer;
let evicted: SessionEntry[];

beforeEach(() => {
  clock = manualClock();
  server = acmeServer(clock);
  evicted = [];
  hurried = [];
  end = new AbortController();
  scheduled = undefined;
});

let hurried: SessionEntry[];
let end: AbortController;
let keptAlive: SessionEntry | undefined;
let scheduled: SessionEntry | undefined;

const open = (resolveClient?: ResolveClient): SessionDirectory =>
  new SessionDirectory({
    clock,
    idleMs: HOUR,
    resolveClient,
    isKeptAlive: (entry) => entry === keptAlive,
    onIdle: (entry) => {
      hurried.push(entry);
      return entry === scheduled;
    },
    untilClosed: (work) => abortable(work, end.signal),
    onEvicted: (entry) => evicted.push(entry),
  });

const use = (directory: SessionDirectory, subject: string, client: OAuthClient = server.client): SessionEntry =>
  directory.entryOf(directory.connectionOf(client), { subject });

function describeKey(entry: SessionEntry): SessionDescription {
  const description = parseSessionKey(entry.key);
  if (description === undefined) throw new Error("not a key");
  return description;
}

describe("entries", () => {
  test("S-079 one for each identity and client", () => {
    const directory = open();
    const ada = use(directory, "ada");
    expect(use(directory, "ada")).toBe(ada);
    expect(use(directory, "bob")).not.toBe(ada);
    expect(use(directory, "ada", server.register("other"))).not.toBe(ada);
    expect([...directory.entries()]).toHaveLength(3);
  });

  test("the same registration in another object is the same connection, and the newest object counts", () => {
    const directory = open();
    const ada = use(directory, "ada");
    const corrected = server.register("acme-client");
    expect(use(directory, "ada", corrected)).toBe(ada);
    expect(ada.connection.client).toBe(corrected);
  });

  test("another clock is a mistake, said at once", () => {
    const other = acmeServer(manualClock()).client;
    expect(() => open().connectionOf(other)).toThrow(
      expect.objectContaining({ code: "config_invalid", option: "clock" }),
    );
  });

  test("finds what it has, by key", () => {
    const directory = open();
    const ada = use(directory, "ada");
    expect(directory.find(describeKey(ada))).toBe(ada);
    const bob = use(open(), "bob");
    expect(directory.find(describeKey(bob))).toBeUndefined();
    expect(open().find(describeKey(ada))).toBeUndefined();
  });
});

describe("resolve", () => {
  const key = () => describeKey(use(open(), "ada"));

  test("known: nobody is asked", async () => {
    let asked = 0;
    const directory = open(() => void (asked += 1));
    const ada = use(directory, "ada");
    expect(await directory.resolve(describeKey(ada))).toBe(ada);
    expect(asked).toBe(0);
  });

  test("unknown: the application gives the client", async () => {
    const asked: SessionDescription[] = [];
    const directory = open((session) => {
      asked.push(session);
      return Promise.resolve(server.client);
    });
    const entry = await directory.resolve(key());
    expect(entry?.identity).toEqual({ subject: "ada" });
    expect(Object.isFrozen(entry?.identity)).toBe(true);
    expect(asked).toEqual([key()]);
    expect(use(directory, "ada")).toBe(entry);
  });

  test("tenant and label are kept", async () => {
    const directory = open(() => server.client);
    const identity = { subject: "ada", tenant: "acme", label: "X" };
    const full = open().entryOf(open().connectionOf(server.client), identity);
    expect((await directory.resolve(describeKey(full)))?.identity).toEqual(identity);
  });

  test("no longer ours: left alone", async () => {
    expect(await open(() => undefined).resolve(key())).toBeUndefined();
  });

  test("a client of another connection is refused, S-044", async () => {
    const error = await thrownBy(() => open(() => server.register("other")).resolve(key()));
    expect(error).toMatchObject({ code: "client_unresolved", option: "resolveClient" });
  });

  test("what the application throws passes", async () => {
    const own = new Error("db down");
    expect(await thrownBy(() => open(() => Promise.reject(own)).resolve(key()))).toBe(own);
  });

  test("R-11 an application that never answers is waited for no longer than until the end", async () => {
    const closed = new Error("closed");
    const asked = thrownBy(() => open(() => new Promise(() => undefined)).resolve(key()));
    end.abort(closed);
    expect(await asked).toBe(closed);
  });

  test("without it, a client that was used here before will do", async () => {
    const directory = open();
    expect(await directory.resolve(key())).toBeUndefined();
    use(directory, "bob");
    expect((await directory.resolve(key()))?.identity.subject).toBe("ada");
  });
});

describe("idle sessions leave memory", () => {
  test("after their time, not before", async () => {
    const directory = open();
    const ada = use(directory, "ada");
    await clock.advance(HOUR);
    expect(directory.evictIfIdle(ada)).toBe(false);
    await clock.advance(1);
    expect(directory.evictIfIdle(ada)).toBe(true);
    expect(evicted).toEqual([ada]);
    expect(ada.evicted).toBe(true);
    expect(directory.evictIfIdle(ada)).toBe(false);
    expect(use(directory, "ada")).not.toBe(ada);
  });

  test("what is left of it gives out no token", async () => {
    const directory = open();
    const ada = use(directory, "ada");
    Object.assign(ada, { accessToken: "secret", quickUntil: Infinity, expiredAt: Infinity });
    await clock.advance(HOUR + 1);
    directory.evictIfIdle(ada);
    expect(ada).toMatchObject({ accessToken: undefined, quickUntil: -Infinity, expiredAt: -Infinity });
  });

  test("not with a refresh in the air, not with tokens that nobody else has", async () => {
    const directory = open();
    const ada = use(directory, "ada");
    await clock.advance(2 * HOUR);
    ada.flight = {} as never;
    expect(directory.evictIfIdle(ada)).toBe(false);
    ada.flight = undefined;
    ada.unsaved = {} as never;
    expect(directory.evictIfIdle(ada)).toBe(false);
    ada.unsaved = undefined;
    expect(directory.evictIfIdle(ada)).toBe(true);
  });

  test("not where it is to be refreshed although nobody uses it", async () => {
    const directory = open();
    const ada = use(directory, "ada");
    keptAlive = ada;
    await clock.advance(2 * HOUR);
    expect(directory.evictIfIdle(ada)).toBe(false);
    keptAlive = undefined;
    expect(directory.evictIfIdle(ada)).toBe(true);
  });

  test("R-08 a use in the future was one before the clock went back: an hour from now", async () => {
    const directory = open();
    const ada = use(directory, "ada");
    clock.jump(-365 * DAY);
    expect(directory.evictIfIdle(ada)).toBe(false);
    await clock.advance(HOUR + 1);
    expect(directory.evictIfIdle(ada)).toBe(true);
  });

  test("R-07 one that is kept alive is not hurried, either", async () => {
    const directory = open();
    keptAlive = use(directory, "ada");
    await clock.advance(2 * HOUR);
    use(directory, "eve");
    use(directory, "bob");
    expect(hurried).toEqual([]);
  });

  test("R-07 one that waits for its time is left to the scheduler", async () => {
    const directory = open();
    scheduled = use(directory, "ada");
    await clock.advance(2 * HOUR);
    use(directory, "eve");
    use(directory, "bob");
    expect(evicted).toEqual([]);
    expect([...directory.entries()]).toContain(scheduled);
  });

  test("for each one that comes, two are looked at: a million idle ones do not stay", async () => {
    const directory = open();
    for (let n = 0; n < 1_000; n++) use(directory, `old-${String(n)}`);
    await clock.advance(HOUR + 1);
    const kept = use(directory, "old-0");
    kept.usedAt = clock.now();
    for (let n = 0; n < 520; n++) use(directory, `new-${String(n)}`);
    const subjects = [...directory.entries()].map(({ identity }) => identity.subject);
    expect(subjects.filter((subject) => subject.startsWith("old"))).toEqual(["old-0"]);
    expect(subjects).toHaveLength(521);
  });
});
