// A stranger's test suite: no network, no waiting, no mocking of our modules.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { OAuthError, TokenManager, createAuthorizationRequest, exchangeCode, memoryStore, validateCallback } from "warehouse-oauth";
import { fakeSnowflake, manualClock, storeContract } from "warehouse-oauth/testing";

test("eight callers at expiry make one refresh", async () => {
  const clock = manualClock();
  const fake = fakeSnowflake({ clock, refreshRotation: "single-use" });
  const manager = new TokenManager({ clock });
  const session = await manager.save(fake.client, { subject: "ada" }, await fake.issueTokens({ subject: "ada" }));

  await clock.advance(600_000);
  const tokens = await Promise.all(Array.from({ length: 8 }, () => session.getAccessToken()));

  assert.equal(new Set(tokens).size, 1);
  assert.equal(fake.requests.filter((request) => request.grant === "refresh_token").length, 1);
  assert.equal(fake.grants[0]?.revoked, false);
});

test("a login from end to end", async () => {
  const fake = fakeSnowflake({ roles: ["ANALYST"] });
  const { url, pending } = await createAuthorizationRequest(fake.client, { role: "ANALYST" });
  const callback = validateCallback(fake.client, await fake.signIn(url, { user: "ada" }), pending);
  const tokens = await exchangeCode(fake.client, callback);
  assert.equal(tokens.user?.id, "ada");
  assert.deepEqual(JSON.parse(JSON.stringify(tokens)).redacted, true);
});

test("a lost answer and a busy server do not sign anybody out", async () => {
  const clock = manualClock();
  const fake = fakeSnowflake({ clock });
  const manager = new TokenManager({ clock, random: () => 0.5 });
  manager.start();
  const session = await manager.save(fake.client, { subject: "ada" }, await fake.issueTokens());

  fake.fail({ at: "token", grant: "refresh_token", kind: "drop", when: "before" });
  fake.fail({ at: "token", kind: "status", status: 503, retryAfter: "7", times: 6 });
  await clock.advance(500_000);
  assert.equal((await session.status()).state, "degraded");
  await clock.advance(60_000);
  assert.equal((await session.status()).state, "active");
});

test("an administrator withdraws the grant", async () => {
  const clock = manualClock();
  const fake = fakeSnowflake({ clock });
  const manager = new TokenManager({ clock });
  const session = await manager.save(fake.client, { subject: "ada" }, await fake.issueTokens());
  fake.revokeGrants();
  await clock.advance(600_000);
  await assert.rejects(session.getAccessToken(), (error) => OAuthError.is(error) && error.code === "reauthorization_required");
});

describe("my store", () => {
  for (const { name, run } of storeContract({ open: () => memoryStore() })) test(name, run);
});

// With msw: setupServer(...mswHandlers({ http }, fake)) of "warehouse-oauth/testing/msw".
