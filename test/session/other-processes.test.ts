// What others wrote is seen in time, and said: requirements, S-047.
import { beforeEach, expect, test } from "vitest";
import { TokenManager, memoryStore } from "warehouse-oauth";
import type { TokenStore } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { HOUR, MINUTE, SECOND, acmeServer, eventsOf, storeWith, success, thrownBy } from "./acme-room.ts";
import type { AcmeServer } from "./acme-room.ts";
import { follow, gate } from "./scene.ts";

let clock: ManualClock;
let server: AcmeServer;
let inner: TokenStore;

beforeEach(() => {
  clock = manualClock();
  server = acmeServer(clock, { refreshRotation: "single-use" }, 8 * 3_600);
  server.answer = (_call, n) => success(`access-${String(n)}`, { refresh_token: `r-${String(n)}`, expires_in: 28_800 });
  inner = memoryStore({ clock });
});

const open = (changes: Partial<TokenStore> = {}): TokenManager =>
  new TokenManager({ clock, random: () => 0.5, store: storeWith(clock, changes, inner) });

test.each([false, true])("R-60 S-047 a clock that goes back keeps no copy alive (started: %s)", async (isStarted) => {
  const [here, there] = [open(), open()];
  const session = await here.save(server.client, { subject: "ada" }, server.tokens());
  const theirs = there.session(server.client, { subject: "ada" });
  await clock.advance(45 * MINUTE);
  await session.getAccessToken();
  await theirs.getAccessToken();
  await clock.advance(0);
  if (isStarted) here.start();
  clock.jump(-40 * MINUTE);
  await theirs.forget();
  const last = follow(session.getAccessToken()); // finds the copy old, and looks behind its caller's back
  await clock.advance(SECOND);
  expect(last.state).toBe("fulfilled");
  expect(await thrownBy(() => session.getAccessToken())).toMatchObject({ code: "reauthorization_required" });
  expect(server.calls).toEqual([]);
});

test("R-12 a refresh of another process is told of when it is found by looking again", async () => {
  const [here, there] = [open(), open()];
  const events = eventsOf(here);
  await there.save(server.client, { subject: "ada" }, server.tokens());
  const session = here.session(server.client, { subject: "ada" });
  expect(await session.getAccessToken()).toBe("access-0");
  await there.session(server.client, { subject: "ada" }).refresh();
  await clock.advance(31 * SECOND);
  await session.getAccessToken();
  await clock.advance(0);
  expect(await session.getAccessToken()).toBe("access-1");
  expect(events.map(({ type }) => type)).toEqual(["refresh_adopted"]);
});

test("R-12 looking again tells of nothing where nobody refreshed, nor where somebody signed in for the first time", async () => {
  const [here, there] = [open(), open()];
  const events = eventsOf(here);
  const session = here.session(server.client, { subject: "ada" });
  expect((await session.status()).state).toBe("absent");
  await clock.advance(31 * SECOND);
  await there.save(server.client, { subject: "ada" }, server.tokens());
  expect((await session.status()).state).toBe("active");
  await clock.advance(31 * SECOND);
  expect((await session.status()).state).toBe("active");
  expect(events).toEqual([]);
});

test("R-47 a login here counts, whatever a copy that lags behind said meanwhile", async () => {
  const slow = gate();
  let reads = 0;
  const read: TokenStore["read"] = async () => {
    reads += 1;
    if (reads === 2) await slow.until;
    return undefined;
  };
  const manager = open({ read });
  const session = manager.session(server.client, { subject: "ada" });
  expect((await session.status()).state).toBe("absent");
  await clock.advance(MINUTE);
  const looked = follow(session.status());
  await clock.advance(0);
  await manager.save(server.client, { subject: "ada" }, server.tokens());
  slow.open();
  await clock.advance(3 * SECOND);
  expect(looked.value).toMatchObject({ state: "active" });
  expect(session.peek()).toBe("access-0");
});

test("S-047 status tells of a logout elsewhere, and does without a store that is down", async () => {
  let isDown = false;
  const read: TokenStore["read"] = (key, options) =>
    isDown ? Promise.reject(new Error("down")) : inner.read(key, options);
  const [here, there] = [open({ read }), open()];
  const events = eventsOf(here);
  const session = await here.save(server.client, { subject: "ada" }, server.tokens());
  await clock.advance(MINUTE);
  isDown = true;
  expect((await session.status()).state).toBe("active");
  isDown = false;
  await there.session(server.client, { subject: "ada" }).forget();
  expect((await session.status()).state).toBe("revoked");
  expect(events.map(({ type }) => type)).toEqual(["tokens_issued"]); // above all no refresh that was adopted
  isDown = true;
  await clock.advance(HOUR);
  expect(await thrownBy(() => open({ read }).session(server.client, { subject: "ada" }).status())).toMatchObject({
    code: "store_unavailable",
  });
});

test("R-40 an abort ends the wait for a second look at the store, too", async () => {
  let hangs = false;
  const read: TokenStore["read"] = (key, options) => (hangs ? new Promise(() => undefined) : inner.read(key, options));
  const session = await open({ read }).save(server.client, { subject: "ada" }, server.tokens());
  await clock.advance(MINUTE);
  hangs = true;
  const controller = new AbortController();
  const asked = thrownBy(() => session.status({ signal: controller.signal }));
  await clock.advance(1);
  controller.abort("bored");
  expect(await asked).toBe("bored");
});
