// Listeners: requirements S-104, R-74, DESIGN 9.
import { describe, expect, test } from "vitest";
import type { SessionEvent } from "warehouse-oauth";
import { EventHub } from "../../src/session/events.ts";

const closed = (): SessionEvent => ({ type: "circuit_closed", at: 1, warehouse: "acme", connectionId: "c" });
const started = (): SessionEvent => ({ type: "authorization_started", at: 1, warehouse: "acme", connectionId: "c" });

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("EventHub", () => {
  test("hands an event to those who asked for it, and to those who asked for all", async () => {
    const hub = new EventHub();
    const heard: string[] = [];
    hub.on("circuit_closed", (event) => heard.push(`one ${event.type}`));
    hub.on("*", (event) => heard.push(`all ${event.type}`));
    hub.emit(closed());
    hub.emit(started());
    await turn();
    expect(heard).toEqual(["one circuit_closed", "all circuit_closed", "all authorization_started"]);
  });

  test("S-104 calls nobody before emit has returned", async () => {
    const hub = new EventHub();
    let heard = 0;
    hub.on("*", () => (heard += 1));
    hub.emit(closed());
    expect(heard).toBe(0);
    await turn();
    expect(heard).toBe(1);
  });

  test("S-104 R-74 a listener that throws, rejects, hangs or emits again hurts nobody", async () => {
    const hub = new EventHub();
    let heard = 0;
    hub.on("*", () => {
      throw new Error("x");
    });
    hub.on("*", () => Promise.reject(new Error("x")));
    hub.on("*", () => new Promise(() => undefined));
    hub.on("circuit_closed", () => {
      hub.emit(started());
    });
    hub.on("*", () => (heard += 1));
    const unhandled: unknown[] = [];
    const note = (error: unknown): void => void unhandled.push(error);
    process.on("unhandledRejection", note);
    process.on("uncaughtException", note);
    hub.emit(closed());
    await turn();
    await turn();
    process.off("unhandledRejection", note);
    process.off("uncaughtException", note);
    expect(heard).toBe(2);
    expect(unhandled).toEqual([]);
  });

  test("what is said cannot be changed by who hears it", async () => {
    const hub = new EventHub();
    const seen: SessionEvent[] = [];
    hub.on("*", (event) => {
      (event as { at: number }).at = 9;
    });
    hub.on("*", (event) => seen.push(event));
    hub.emit(closed());
    await turn();
    expect(seen[0]?.at).toBe(1);
    expect(Object.isFrozen(seen[0])).toBe(true);
  });

  test("the same function twice is two listeners, ended one by one", async () => {
    const hub = new EventHub();
    let heard = 0;
    const listener = (): void => void (heard += 1);
    const first = hub.on("*", listener);
    const second = hub.on("*", listener);
    hub.emit(closed());
    await turn();
    expect(heard).toBe(2);
    first();
    first();
    hub.emit(closed());
    await turn();
    expect(heard).toBe(3);
    expect(hub.silent).toBe(false);
    second();
    expect(hub.silent).toBe(true);
  });

  test("silent until somebody listens, and again after all have stopped", () => {
    const hub = new EventHub();
    expect(hub.silent).toBe(true);
    const stop = hub.on("revoked", () => undefined);
    expect(hub.silent).toBe(false);
    stop();
    expect(hub.silent).toBe(true);
    const again = hub.on("revoked", () => undefined);
    stop();
    expect(hub.silent).toBe(false);
    again();
  });
});
