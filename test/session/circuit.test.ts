// The circuit of one token endpoint and client: requirement R-34.
import { beforeEach, describe, expect, test } from "vitest";
import {
  CircuitOpenError,
  ConfigurationError,
  RateLimitError,
  ReauthorizationRequiredError,
  TokenEndpointError,
  TransportError,
} from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import type { ManualClock } from "warehouse-oauth/testing";
import { Circuit } from "../../src/session/circuit.ts";

let clock: ManualClock;
let circuit: Circuit;
let said: unknown[];
let draw: number;

beforeEach(() => {
  clock = manualClock();
  said = [];
  draw = 0;
  circuit = new Circuit(clock, () => draw, {
    opened: (code, retryAfterMs) => said.push([code, retryAfterMs]),
    closed: () => said.push("closed"),
  });
});

const down = (): TransportError => new TransportError("server_unavailable", "down");
const badSecret = (): TokenEndpointError => new TokenEndpointError("client_auth_failed", "no");
const dead = (): ReauthorizationRequiredError => new ReauthorizationRequiredError("refresh_token_dead", "dead");

/** One request that passed, and failed. */
function fail(source: unknown = "ada", error: unknown = down(), times = 1): void {
  for (let left = times; left > 0; left--) {
    circuit.enter();
    circuit.failed(error, source);
  }
}

function openIt(): void {
  fail("ada", down(), 10);
}

const isOpen = (): boolean => {
  try {
    circuit.check();
    return false;
  } catch (error) {
    expect(error).toBeInstanceOf(CircuitOpenError);
    return true;
  }
};

describe("R-34 what opens it", () => {
  test("ten failures of one session, not nine", () => {
    fail("ada", down(), 9);
    expect(isOpen()).toBe(false);
    fail();
    expect(isOpen()).toBe(true);
    expect(said).toEqual([["server_unavailable", 30_000]]);
  });

  test("five failures of two sessions, not four", () => {
    fail("ada", down(), 3);
    fail("bob");
    expect(isOpen()).toBe(false);
    fail("bob");
    expect(isOpen()).toBe(true);
  });

  test("a second session that comes late counts what was before", () => {
    fail("ada", down(), 8);
    expect(isOpen()).toBe(false);
    fail("bob");
    expect(isOpen()).toBe(true);
  });

  test("three refusals of the client, from one session or several", () => {
    fail("ada", badSecret(), 2);
    expect(isOpen()).toBe(false);
    fail("ada", badSecret());
    expect(isOpen()).toBe(true);
    expect(said).toEqual([["client_auth_failed", 30_000]]);
  });

  test("failures and refusals are not added up", () => {
    fail("ada", down(), 4);
    fail("bob", badSecret(), 2);
    expect(isOpen()).toBe(false);
  });

  test("a success between them starts anew", () => {
    fail("ada", down(), 9);
    circuit.enter();
    circuit.succeeded();
    fail("ada", down(), 9);
    expect(isOpen()).toBe(false);
    expect(said).toEqual([]);
  });

  test.each([
    [60_000, true],
    [60_001, false],
  ])("failures %d ms apart: one outage is %s", async (apartMs, open) => {
    fail("ada", down(), 9);
    await clock.advance(apartMs);
    fail();
    expect(isOpen()).toBe(open);
  });

  test("after a quiet minute, several sessions are to be several again", async () => {
    fail("ada");
    fail("bob", badSecret(), 2);
    await clock.advance(60_001);
    fail("ada", down(), 5);
    expect(isOpen()).toBe(false);
    fail("ada", badSecret(), 2);
    expect(isOpen()).toBe(false);
  });

  test.each([
    ["a dead grant", dead()],
    ["a grant that is refused otherwise", new TokenEndpointError("token_http_error", "no")],
    ["too many requests", new RateLimitError("rate_limited", "slow", 1)],
    ["our own mistake", new ConfigurationError("tokens_invalid", "x")],
    ["a stranger's error", new Error("x")],
  ])("%s does not count", (_name, error) => {
    fail("ada", error, 20);
    fail("bob", error, 20);
    expect(isOpen()).toBe(false);
    expect(circuit.idle).toBe(true);
  });

  test("an answered grant error proves that the server is there: it starts anew", () => {
    fail("ada", down(), 9);
    fail("ada", dead());
    fail("ada", down(), 9);
    expect(isOpen()).toBe(false);
  });

  test("an answer that is none proves nothing: a page of something in between", () => {
    fail("ada", down(), 9);
    fail("ada", new TokenEndpointError("token_response_not_json", "x", { ambiguous: true }));
    fail("ada", down());
    expect(isOpen()).toBe(true);
  });
});

describe("R-34 open", () => {
  test.each([
    [0, 30_000],
    [0.5, 45_000],
    [0.999, 59_970],
  ])("with a draw of %d the next probe is %d ms away", async (value, waitMs) => {
    draw = value;
    openIt();
    expect(said).toEqual([["server_unavailable", waitMs]]);
    await clock.advance(waitMs - 1);
    expect(() => circuit.enter()).toThrow(expect.objectContaining({ code: "circuit_open", retryAfterMs: 1 }));
    await clock.advance(1);
    expect(isOpen()).toBe(false);
    expect(circuit.enter()).toBe(true);
  });

  test("the error names what the server said, and how long to wait", () => {
    openIt();
    expect(() => circuit.enter()).toThrow(/server_unavailable/);
    expect(() => circuit.enter()).toThrow(expect.objectContaining({ retryAfterMs: 30_000, retryable: true }));
  });

  test("a late failure or success of an earlier request", () => {
    openIt();
    circuit.failed(down(), "bob");
    expect(said).toHaveLength(1);
    expect(isOpen()).toBe(true);
    circuit.succeeded();
    expect(isOpen()).toBe(false);
    expect(said.at(-1)).toBe("closed");
  });

  test("the wall clock has no say", async () => {
    openIt();
    clock.jump(3_600_000);
    expect(isOpen()).toBe(true);
    clock.jump(-7_200_000);
    await clock.advance(30_000);
    expect(isOpen()).toBe(false);
  });
});

describe("R-34 half-open", () => {
  beforeEach(async () => {
    openIt();
    await clock.advance(30_000);
    said.length = 0;
  });

  test("exactly one probe", () => {
    expect(circuit.enter()).toBe(true);
    expect(() => circuit.enter()).toThrow(expect.objectContaining({ code: "circuit_open", retryAfterMs: 30_000 }));
    expect(isOpen()).toBe(true);
  });

  test("looking is not entering", () => {
    expect(isOpen()).toBe(false);
    expect(isOpen()).toBe(false);
    expect(circuit.enter()).toBe(true);
  });

  test("a probe that succeeds closes it, and all is forgotten", () => {
    circuit.enter();
    circuit.succeeded();
    expect(said).toEqual(["closed"]);
    expect(circuit.idle).toBe(true);
    expect(circuit.enter()).toBe(false);
    fail("ada", down(), 9);
    expect(isOpen()).toBe(false);
  });

  test("an answered grant error closes it", () => {
    fail("ada", dead());
    expect(said).toEqual(["closed"]);
    expect(isOpen()).toBe(false);
  });

  test.each([
    ["a failure", down(), "server_unavailable"],
    ["a refused client", badSecret(), "client_auth_failed"],
    ["too many requests", new RateLimitError("rate_limited", "slow", 1), "server_unavailable"],
    ["a stranger's error", new Error("x"), "server_unavailable"],
  ])("a probe that ends with %s opens it again", async (_name, error, code) => {
    fail("ada", error);
    expect(said).toEqual([[code, 30_000]]);
    await clock.advance(29_999);
    expect(isOpen()).toBe(true);
    await clock.advance(1);
    expect(isOpen()).toBe(false);
  });

  test("a probe that was not sent costs no time: the next request is the probe", () => {
    circuit.enter();
    circuit.abandon();
    expect(said).toEqual([]);
    expect(circuit.enter()).toBe(true);
    circuit.failed(down(), "ada");
    expect(said).toEqual([["server_unavailable", 30_000]]);
  });
});

test("abandoning without a probe changes nothing", () => {
  fail("ada", down(), 9);
  circuit.abandon();
  expect(circuit.idle).toBe(false);
  fail();
  circuit.abandon();
  expect(isOpen()).toBe(true);
});

test("idle: closed and without a memory", () => {
  expect(circuit.idle).toBe(true);
  circuit.succeeded();
  expect(said).toEqual([]);
  fail("ada", badSecret());
  expect(circuit.idle).toBe(false);
  circuit.succeeded();
  expect(circuit.idle).toBe(true);
  fail();
  expect(circuit.idle).toBe(false);
});

test("R-34 five failures within a minute open it, whenever the first ones were", async () => {
  fail("ada");
  await clock.advance(59_000);
  for (const source of ["ada", "bob", "ada"]) fail(source);
  expect(isOpen()).toBe(false);
  await clock.advance(1_001);
  fail("bob");
  expect(isOpen()).toBe(false); // the first is older than a minute: four
  fail("ada");
  expect(isOpen()).toBe(true);
});
