// What another process saved while a refresh waits here: DESIGN 6.3, requirements R-41.
import { describe, expect, test } from "vitest";
import type { TokenSession } from "warehouse-oauth";
import { hardMarginOf } from "../../src/session/refresh-policy.ts";
import { HOUR, follow, openScene } from "./scene.ts";
import type { Outcome, Scene } from "./scene.ts";

/** A caller waits here while another process refreshes. */
async function waiting(): Promise<{ readonly scene: Scene; readonly token: Outcome<string> }> {
  const scene = await openScene();
  await scene.clock.advance(HOUR);
  await scene.store.takeLease(25_000);
  const token = follow((scene.session satisfies TokenSession).getAccessToken());
  await scene.clock.advance(1_000);
  expect(token.state).toBe("pending");
  return { scene, token };
}

/** Another process saves a token that it got so long ago, and that lives so long. */
async function save(scene: Scene, generation: number, agoMs: number, lifetimeMs: number): Promise<void> {
  const obtainedAt = scene.clock.now() - agoMs;
  const times = { obtainedAt, expiresAt: obtainedAt + lifetimeMs };
  const tokens = { ...scene.store.stored()?.tokens, ...times, accessToken: `theirs-${String(generation)}` };
  await scene.store.put({ generation, tokens });
  await scene.clock.advance(1_000);
}

describe("adoption", () => {
  test("R-41 a good token is handed out", async () => {
    const { scene, token } = await waiting();
    await save(scene, 2, HOUR / 2, HOUR);
    expect(token.value).toBe("theirs-2");
    expect(scene.heard().filter((type) => type === "refresh_adopted")).toHaveLength(1);
  });

  test("R-41 tokens that ended before this refresh began are passed over, however many come", async () => {
    const { scene, token } = await waiting();
    for (let generation = 2; generation <= 5; generation++) {
      await save(scene, generation, HOUR, HOUR / 2);
      expect(token.state).toBe("pending");
    }
    expect(scene.heard()).not.toContain("refresh_adopted");
    await scene.clock.advance(25_000);
    expect(token.state).toBe("fulfilled"); // by a refresh of its own, once the lease was free
    expect(scene.refreshes()).toHaveLength(1);
  });

  test("R-41 of tokens that end as soon as they are made, one is passed over and the next handed out", async () => {
    const { scene, token } = await waiting();
    await save(scene, 2, 100, 50);
    expect(token.state).toBe("pending");
    await save(scene, 3, 100, 50);
    expect(token.value).toBe("theirs-3");
    expect(scene.refreshes()).toHaveLength(0);
  });

  test("R-41 what is older than what was seen is nothing new", async () => {
    const { scene, token } = await waiting();
    await save(scene, 1, 100, HOUR);
    expect(token.state).toBe("pending");
  });

  test("R-41 of tokens that end as soon as they are made, one made in the moment of the call counts", async () => {
    const { scene, token } = await waiting();
    await save(scene, 2, 100, 50);
    expect(token.state).toBe("pending");
    await save(scene, 3, 2_000, 50);
    expect(token.value).toBe("theirs-3");
  });

  for (const [leftMs, state] of [
    [0, "pending"],
    [1, "fulfilled"],
  ] as const) {
    test(`R-41 a token with ${String(leftMs)} ms left before its margin: ${state}`, async () => {
      const { scene, token } = await waiting();
      const lifetimeMs = 100_000;
      const marginMs = hardMarginOf(lifetimeMs, scene.client.warehouse);
      const nextLookMs = 200;
      await save(scene, 2, lifetimeMs - marginMs - nextLookMs - leftMs, lifetimeMs);
      expect(token.state).toBe(state);
    });
  }

  test("S-044 tokens of another client are not adopted, however new", async () => {
    const { scene, token } = await waiting();
    await save(scene, 2, 100, 50);
    const tokens = { ...scene.store.stored()?.tokens, connectionId: "another", obtainedAt: scene.clock.now() };
    await scene.store.put({ generation: 3, tokens });
    await scene.clock.advance(1_000);
    expect(token.error).toMatchObject({ code: "reauthorization_required", reason: "connection_changed" });
    expect(scene.heard()).not.toContain("refresh_adopted");
  });

  test("R-03 S-045 a session that was buried with a good token: it is handed out, and nothing was refreshed", async () => {
    const { scene, token } = await waiting();
    await scene.store.put({ state: "reauthorization_required", cause: "interaction_required" });
    await save(scene, 2, 100, HOUR);
    expect(token.value).toBe("theirs-2");
    expect(scene.heard()).not.toContain("refresh_adopted");
    expect(await scene.session.status()).toMatchObject({ state: "reauthorization_required" });
  });
});
