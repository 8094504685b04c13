// Circuit, limit and budget of one endpoint: requirements.
import { beforeEach, describe, expect, test } from "vitest";
import {
  CircuitOpenError,
  RateLimitError,
  ReauthorizationRequiredError,
  StoreError,
  TokenEndpointError,
  TransportError,
} from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { EndpointGate } from "../../src/session/endpoint-gate.ts";
import type { ConcurrencyOptions, Place, PlaceRequest } from "../../src/session/endpoint-gate.ts";
import { thrownBy } from "./acme-room.ts";

/** Sessions, as far as a gate can tell. */
const [ada, bob, carol] = [{}, {}, {}];

let clock: ManualClock;
let said: string[];

beforeEach(() => {
  clock = manualClock();
  said = [];
});

function open(
  options: ConcurrencyOptions = { atOnce: 100, perSecond: 1_000 },
  random: () => number = () => 0,
): EndpointGate {
  return new EndpointGate(clock, random, options, {
    opened: (code) => said.push(`opened ${code}`),
    closed: () => said.push("closed"),
  });
}

function ask(
  gate: EndpointGate,
  options: { source?: object; foreground?: boolean; signal?: AbortSignal; waitMs?: number } = {},
): PlaceRequest {
  const { source = ada, foreground = true, signal = new AbortController().signal, waitMs = 10_000 } = options;
  const request = gate.request(source, { foreground, signal, waitMs });
  request.granted.catch(() => undefined);
  return request;
}

const down = (): TransportError => new TransportError("server_unavailable", "down");
const slow = (retryAfterMs: number): RateLimitError =>
  new RateLimitError("rate_limited", "slow", retryAfterMs, { status: 429 });
const badSecret = (): TokenEndpointError => new TokenEndpointError("client_auth_failed", "no");

async function failTimes(gate: EndpointGate, times: number, error: () => unknown = down): Promise<void> {
  for (let left = times; left > 0; left--) (await ask(gate).granted).failed(error());
}

/** Counts the places given out by now. */
async function grantedOf(requests: readonly PlaceRequest[]): Promise<Place[]> {
  const places: Place[] = [];
  for (const { granted } of requests)
    void granted.then(
      (place) => places.push(place),
      () => undefined,
    );
  await clock.advance(0);
  return places;
}

describe("R-33 limits", () => {
  test("by default 10 at once and 20 a second", async () => {
    const gate = open({});
    const requests = Array.from({ length: 30 }, () => ask(gate));
    const places = await grantedOf(requests);
    expect(places).toHaveLength(2);
    await clock.advance(2_000);
    expect(places).toHaveLength(10);
    for (const place of places.splice(0)) place.succeeded();
    await clock.advance(1_000);
    expect(places.length).toBeGreaterThan(0);
    expect(places.length).toBeLessThanOrEqual(10);
  });

  test("as configured", async () => {
    const gate = open({ atOnce: 3, perSecond: 1_000 });
    expect(await grantedOf(Array.from({ length: 5 }, () => ask(gate)))).toHaveLength(3);
  });

  test.each(["succeeded", "failed", "abandon"] as const)("a place that %s is free again", async (end) => {
    const gate = open({ atOnce: 1, perSecond: 1_000 });
    const first = await ask(gate).granted;
    const second = ask(gate);
    expect(await grantedOf([second])).toHaveLength(0);
    first[end](new Error("x"));
    expect(await grantedOf([second])).toHaveLength(1);
  });

  test("callers go first, and who is promoted goes with them", async () => {
    const gate = open({ atOnce: 1, perSecond: 1_000 });
    const held = await ask(gate).granted;
    const order: string[] = [];
    const note = (name: string, request: PlaceRequest): PlaceRequest => {
      void request.granted.then((place) => {
        order.push(name);
        place.succeeded();
      });
      return request;
    };
    note("background", ask(gate, { foreground: false }));
    const promoted = note("promoted", ask(gate, { foreground: false }));
    note("foreground", ask(gate));
    promoted.promote();
    held.succeeded();
    await clock.advance(100);
    expect(order).toEqual(["foreground", "promoted", "background"]);
  });

  test("who is promoted has a caller's time, whatever was left of the other", async () => {
    const gate = open({ atOnce: 1, perSecond: 1_000 });
    const held = await ask(gate).granted;
    const request = ask(gate, { foreground: false, waitMs: 10_000 });
    await clock.advance(9_900);
    request.promote();
    await clock.advance(200);
    held.succeeded();
    expect(await grantedOf([request])).toHaveLength(1);
  });

  test("a wait has a deadline", async () => {
    const gate = open({ atOnce: 1, perSecond: 1_000 });
    await ask(gate).granted;
    const late = thrownBy(() => ask(gate, { waitMs: 5_000 }).granted);
    await clock.advance(5_000);
    const error = await late;
    expect(error).toBeInstanceOf(RateLimitError);
    expect(error).toMatchObject({ code: "rate_limited", retryable: true });
    expect(Number.isInteger((error as RateLimitError).retryAfterMs)).toBe(true);
  });

  test("a signal ends the wait with its reason", async () => {
    const gate = open({ atOnce: 1, perSecond: 1_000 });
    await ask(gate).granted;
    const controller = new AbortController();
    const waiting = thrownBy(() => ask(gate, { signal: controller.signal }).granted);
    controller.abort("enough");
    expect(await waiting).toBe("enough");
  });

  test("says how long a place would take", async () => {
    const gate = open({ atOnce: 1, perSecond: 1 });
    expect(gate.waitMs(true)).toBe(0);
    (await ask(gate).granted).succeeded();
    expect(gate.waitMs(true)).toBe(1_000);
    ask(gate, { foreground: false });
    expect(gate.waitMs(true)).toBe(1_000);
    expect(gate.waitMs(false)).toBe(2_000);
  });
});

describe("R-31 one pause for all sessions", () => {
  test("a Retry-After holds everybody back", async () => {
    const gate = open();
    (await ask(gate).granted).failed(slow(7_000));
    expect(gate.waitMs(false)).toBe(7_000);
    const next = ask(gate, { source: bob });
    expect(await grantedOf([next])).toHaveLength(0);
    await clock.advance(6_999);
    expect(await grantedOf([next])).toHaveLength(0);
    await clock.advance(1);
    expect(await grantedOf([next])).toHaveLength(1);
  });

  test("the next in line, and who has a place and is not off yet, among them", async () => {
    const gate = open({ atOnce: 2, perSecond: 1_000 });
    const asked = await ask(gate).granted;
    const announcing = await ask(gate, { source: bob }).granted;
    const next = ask(gate, { source: carol });
    asked.failed(slow(7_000));
    expect(await grantedOf([next])).toHaveLength(0);
    expect(announcing.takeTurn()).toBe(7_000);
    await clock.advance(7_000);
    expect(await grantedOf([next])).toHaveLength(1);
    expect(announcing.takeTurn()).toBe(0);
  });

  test("so does that of a server that is down", async () => {
    const gate = open();
    (await ask(gate).granted).failed(
      new TransportError("server_unavailable", "x", { status: 503, retryAfterMs: 3_000 }),
    );
    expect(gate.waitMs(true)).toBe(3_000);
  });

  test("those who were told to pause do not come back together: up to a tenth is added", async () => {
    const gate = open(undefined, () => 0.5);
    (await ask(gate).granted).failed(slow(7_000));
    expect(gate.waitMs(true)).toBe(7_350);
  });

  test("R-13 R-34 what an obtain met elsewhere, or this process itself decided, pauses nobody", async () => {
    const gate = open();
    (await ask(gate).granted).failed(new RateLimitError("refresh_limit_reached", "its guard", 3_600_000));
    (await ask(gate).granted).failed(new CircuitOpenError("of another endpoint", 30_000));
    expect(gate.waitMs(true)).toBe(0);
  });

  test("what names no time pauses nobody", async () => {
    const gate = open();
    (await ask(gate).granted).failed(down());
    (await ask(gate).granted).failed("not even an error");
    (await ask(gate).granted).failed(Object.assign(new Error("of the application"), { retryAfterMs: 5_000 }));
    expect(gate.waitMs(true)).toBe(0);
  });

  test("who cannot wait that long learns it at once", async () => {
    const gate = open();
    (await ask(gate).granted).failed(slow(20_000));
    expect(await thrownBy(() => ask(gate, { waitMs: 10_000 }).granted)).toMatchObject({
      code: "rate_limited",
      retryAfterMs: 20_000,
    });
  });
});

describe("R-34 circuit", () => {
  test("who has a place and is not off yet when it opens is not sent", async () => {
    const gate = open();
    const places = await grantedOf(Array.from({ length: 4 }, () => ask(gate)));
    for (const place of places.slice(0, 3)) {
      place.takeTurn();
      place.failed(badSecret());
    }
    expect(() => places[3]?.takeTurn()).toThrow(CircuitOpenError);
    expect(() => places[3]?.isHeldUp()).toThrow(CircuitOpenError);
  });

  test("who has a place when it is time for a probe is the probe, once", async () => {
    const gate = open();
    const places = await grantedOf(Array.from({ length: 5 }, () => ask(gate)));
    for (const place of places.slice(0, 3)) place.failed(badSecret());
    await clock.advance(30_000);
    expect(places[3]?.takeTurn()).toBe(0);
    expect(places[3]?.isHeldUp()).toBe(false);
    expect(() => places[4]?.takeTurn()).toThrow(CircuitOpenError);
    places[3]?.abandon();
    expect(places[4]?.takeTurn()).toBe(0);
  });

  test("whose obtain asks others is no probe, and opens it again by what it sends itself", async () => {
    const gate = open();
    await failTimes(gate, 10);
    await clock.advance(60_000);
    const askers = Array.from({ length: 6 }, () => ({}));
    for (const asker of askers) gate.enterNow(asker)?.failed(new CircuitOpenError("of the one it asks", 1));
    said.length = 0;
    let sent = 0;
    for (const asker of askers) {
      try {
        const place = gate.enterNow(asker);
        place?.takeTurn();
        sent += 1;
        place?.failed(down());
      } catch (error) {
        expect(error).toBeInstanceOf(CircuitOpenError);
      }
    }
    expect(sent).toBe(1);
    expect(said).toEqual(["opened server_unavailable"]);
  });

  test.each([
    ["a dead session that was only read", new ReauthorizationRequiredError("refresh_token_dead", "sign in")],
    ["a store", new StoreError("store_unavailable", "down", "read")],
  ])("R-34 an obtain that passes on the error of %s closes nothing, and opens nothing", async (_name, error) => {
    const gate = open();
    await failTimes(gate, 10);
    await clock.advance(60_000);
    said.length = 0;
    (await ask(gate).granted).failed(error);
    expect(said).toEqual([]);
    (await ask(gate, { source: bob }).granted).succeeded(); // the probe is still to be had
    expect(said).toEqual(["closed"]);
  });

  test("opens for all after ten failures, and throws at once", async () => {
    const gate = open();
    await failTimes(gate, 10);
    expect(said).toEqual(["opened server_unavailable"]);
    expect(() => gate.request(bob, { foreground: true, signal: new AbortController().signal, waitMs: 1 })).toThrow(
      expect.objectContaining({ code: "circuit_open" }),
    );
  });

  test("sources are told apart: five are enough from two", async () => {
    const gate = open();
    await failTimes(gate, 4);
    (await ask(gate, { source: bob }).granted).failed(down());
    expect(said).toEqual(["opened server_unavailable"]);
  });

  test("R-71 who stands in line when it opens is not sent: three refusals, and no more", async () => {
    const gate = open({});
    let sent = 0;
    const codes: unknown[] = [];
    for (let session = 0; session < 50; session++) {
      ask(gate, { source: {} }).granted.then(
        (place) => {
          sent += 1;
          place.failed(badSecret());
        },
        (error: unknown) => codes.push((error as { code: unknown }).code),
      );
    }
    await clock.advance(10_000);
    expect(sent).toBe(3);
    expect(codes).toEqual(Array.from({ length: 47 }, () => "circuit_open"));
    expect(said).toEqual(["opened client_auth_failed"]);
  });

  test("one probe after the wait, and its success opens the door", async () => {
    const gate = open();
    await failTimes(gate, 10);
    await clock.advance(30_000);
    const probe = ask(gate);
    const other = ask(gate);
    const place = await probe.granted;
    expect(await thrownBy(() => other.granted)).toMatchObject({ code: "circuit_open" });
    place.succeeded();
    expect(said).toEqual(["opened server_unavailable", "closed"]);
    expect(await grantedOf([ask(gate), ask(gate)])).toHaveLength(2);
  });

  test("a refused second probe gives its place back", async () => {
    const gate = open({ atOnce: 2, perSecond: 1_000 });
    await failTimes(gate, 10);
    await clock.advance(30_000);
    const probe = await ask(gate).granted;
    for (let time = 0; time < 5; time++) await thrownBy(() => ask(gate).granted);
    probe.succeeded();
    expect(await grantedOf([ask(gate), ask(gate)])).toHaveLength(2);
  });

  test("a probe that was not sent leaves the place to the next", async () => {
    const gate = open();
    await failTimes(gate, 10);
    await clock.advance(30_000);
    (await ask(gate).granted).abandon();
    (await ask(gate).granted).succeeded();
    expect(said).toEqual(["opened server_unavailable", "closed"]);
  });

  test("an earlier request that was not sent after all does not end the probe of another", async () => {
    const gate = open();
    const early = await ask(gate).granted;
    await failTimes(gate, 10);
    await clock.advance(30_000);
    const probe = await ask(gate).granted;
    early.abandon();
    expect(await thrownBy(() => ask(gate).granted)).toMatchObject({ code: "circuit_open" });
    probe.succeeded();
    expect(said.at(-1)).toBe("closed");
  });
});

describe("R-32 budget", () => {
  test("ten retries, and a success pays half of one", async () => {
    const gate = open();
    for (let retry = 0; retry < 10; retry++) expect(gate.mayRetry(down())).toBe(true);
    expect(gate.mayRetry(down())).toBe(false);
    (await ask(gate).granted).succeeded();
    (await ask(gate).granted).succeeded();
    expect(gate.mayRetry(down())).toBe(true);
    expect(gate.mayRetry(down())).toBe(false);
  });
});

describe("idle: nothing would be lost with it", () => {
  test("at first, and when all is back to normal", async () => {
    const gate = open();
    expect(gate.idle).toBe(true);
    const place = await ask(gate).granted;
    expect(gate.idle).toBe(false);
    place.succeeded();
    await clock.advance(1_000);
    expect(gate.idle).toBe(true);
  });

  test("not with a spent budget, a pause, or failures", async () => {
    const spent = open();
    spent.mayRetry(down());
    expect(spent.idle).toBe(false);
    const failed = open();
    await failTimes(failed, 1);
    await clock.advance(1_000);
    expect(failed.idle).toBe(false);
    const paused = open();
    (await ask(paused).granted).failed(slow(60_000));
    await clock.advance(1_000);
    expect(paused.idle).toBe(false);
  });
});
